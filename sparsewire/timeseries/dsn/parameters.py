"""Which parameters does the classifier take, and what network and run do they stand for?

They are stored as they are given and checked in `fit`, as scikit-learn wants it. The classifier
documents them.
"""

import os
import warnings
from abc import ABC
from numbers import Integral, Real
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from sklearn.utils._param_validation import Interval, StrOptions

from sparsewire.core import SparsityHandle
from sparsewire.core.devices import resolve_device
from sparsewire.timeseries.classification.base import BaseSeriesClassifier
from sparsewire.timeseries.classification.parameters import CONSTRAINTS
from sparsewire.timeseries.classification.preparation import Missing, Normalise, Unequal
from sparsewire.timeseries.dsn.network import Architecture, DSNNetwork
from sparsewire.timeseries.dsn.regions import Padding, PadValue
from sparsewire.timeseries.dsn.topology import Exploration, Growth, Init, Topology, make_sparse


class DSNParameters(BaseSeriesClassifier, ABC):
    """The parameters of a dynamic sparse network."""

    _shape_type = Architecture

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_filters": [Interval(Integral, 1, None, closed="left")],
        "depth": [Interval(Integral, 1, None, closed="left")],
        "kernel_size": [Interval(Integral, 1, None, closed="left")],
        "n_groups": [Interval(Integral, 1, None, closed="left")],
        "density": [Interval(Real, 0, 1, closed="right")],
        "padding": [StrOptions({"centre", "right", "same"})],
        "pad_value": [StrOptions({"zero", "replicate"})],
        "topology": [StrOptions({"dynamic", "static", "dense"})],
        "init": [StrOptions({"left", "random"})],
        "growth": [StrOptions({"random", "gradient"})],
        "drop_fraction": [Interval(Real, 0, 1, closed="both")],
        **CONSTRAINTS,
    }

    def __init__(
        self,
        *,
        n_filters: int = 47,
        depth: int = 4,
        kernel_size: int = 39,
        n_groups: int = 3,
        density: float = 0.2,
        padding: Padding = "centre",
        pad_value: PadValue = "zero",
        topology: Topology = "dynamic",
        init: Init = "left",
        growth: Growth = "random",
        drop_fraction: float = 0.5,
        n_epochs: int = 200,
        batch_size: int | Literal["auto"] = "auto",
        learning_rate: float = 3e-4,
        validation_fraction: float = 0.0,
        patience: int | None = None,
        normalise: Normalise = "none",
        unequal: Unequal = "mask",
        missing: Missing = "linear",
        checkpoint: str | os.PathLike[str] | None = None,
        device: Literal["cpu", "cuda", "auto"] = "cpu",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.n_filters = n_filters
        self.depth = depth
        self.kernel_size = kernel_size
        self.n_groups = n_groups
        self.density = density
        self.padding = padding
        self.pad_value = pad_value
        self.topology = topology
        self.init = init
        self.growth = growth
        self.drop_fraction = drop_fraction
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.normalise = normalise
        self.unequal = unequal
        self.missing = missing
        self.checkpoint = checkpoint
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def _architecture(self, n_channels: int, n_classes: int, longest: int) -> Architecture:
        kernel = int(self.kernel_size)
        if longest < kernel:
            warnings.warn(
                f"kernel_size={kernel} is cut to {longest}, the length of the longest series.",
                UserWarning,
                stacklevel=4,
            )
            kernel = longest
        return Architecture(
            n_channels=n_channels,
            n_classes=n_classes,
            n_filters=int(self.n_filters),
            depth=int(self.depth),
            kernel_size=kernel,
            n_groups=int(self.n_groups),
            padding=self.padding,
            pad_value=self.pad_value,
        )

    @staticmethod
    def _new_network(shape: Architecture) -> DSNNetwork:
        return DSNNetwork(shape)

    def _sparsified(self, shape: Architecture, steps: int, seed: int) -> SparsityHandle:
        network = DSNNetwork(shape)
        network.draw_(seed)
        network.to(resolve_device(self.device))
        return make_sparse(
            network,
            torch.optim.Adam(network.parameters(), lr=float(self.learning_rate), fused=True),
            density=float(self.density),
            topology=self.topology,
            init=self.init,
            exploration=Exploration(
                steps, int(self.n_epochs), float(self.drop_fraction), self.growth
            ),
            seed=seed,
        )
