"""Which parameters does the classifier take, and what network and run do they stand for?

They are stored as they are given and checked in `fit`, as scikit-learn wants it. The classifier
documents them.
"""

import os
import warnings
from numbers import Integral, Real
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from sparsewire.core import InvalidArgumentError
from sparsewire.timeseries.dsn.network import Architecture, DSNNetwork
from sparsewire.timeseries.dsn.preparation import Missing, Normalise, Series, Unequal
from sparsewire.timeseries.dsn.regions import Padding, PadValue
from sparsewire.timeseries.dsn.topology import Exploration, Growth, Init, Topology, make_sparse
from sparsewire.timeseries.dsn.training import (
    Labelled,
    Trainer,
    default_batch_size,
    steps_per_epoch,
)


class DSNParameters(BaseEstimator):
    """The parameters of a dynamic sparse network."""

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
        "n_epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 2, None, closed="left"), StrOptions({"auto"})],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "patience": [None, Interval(Integral, 1, None, closed="left")],
        "normalise": [StrOptions({"none", "instance", "train"})],
        "unequal": [StrOptions({"mask", "pad", "raise"})],
        "missing": [StrOptions({"linear", "zero", "raise"})],
        "checkpoint": [None, str, os.PathLike],
        "device": [StrOptions({"cpu", "cuda", "auto"})],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
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

    def _check_parameters(self) -> None:
        if self.checkpoint is not None and not isinstance(self.random_state, Integral):
            raise InvalidArgumentError(
                f"a checkpoint needs an integer random_state, got {self.random_state!r}; else no "
                "other run could continue it."
            )
        for name in ("n_filters", "depth", "kernel_size", "n_groups", "n_epochs", "batch_size"):
            if isinstance(getattr(self, name), (bool, np.bool_)):
                raise InvalidArgumentError(f"{name} must be an integer, got a bool.")

    def _draw_seed(self) -> int:
        return int(check_random_state(self.random_state).randint(2**31 - 1))

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

    def _labelled(self, series: Series, target: Any, seed: int) -> Labelled:
        """Hold out the asked share of the series, stratified by class."""
        rows, held_out = np.arange(len(series)), np.arange(0)
        if self.validation_fraction:
            try:
                rows, held_out = train_test_split(
                    rows, test_size=self.validation_fraction, random_state=seed, stratify=target
                )
            except ValueError as error:
                raise InvalidArgumentError(
                    f"validation_fraction={self.validation_fraction} cannot be held out by class: "
                    f"{error} Give more series, or set it to 0."
                ) from error
        return Labelled(series, target, rows, held_out)

    def _trainer(self, shape: Architecture, data: Labelled, seed: int) -> Trainer:
        network = DSNNetwork(shape)
        network.draw_(seed)
        network.to(resolve_device(self.device))
        size = (
            default_batch_size(len(data.train))
            if self.batch_size == "auto"
            else int(self.batch_size)
        )
        rate = float(self.learning_rate)
        handle = make_sparse(
            network,
            torch.optim.Adam(network.parameters(), lr=rate, fused=True),
            density=float(self.density),
            topology=self.topology,
            init=self.init,
            exploration=Exploration(
                steps_per_epoch(len(data.train), size),
                int(self.n_epochs),
                float(self.drop_fraction),
                self.growth,
            ),
            seed=seed,
        )
        return Trainer(
            handle,
            data,
            batch_size=size,
            n_epochs=int(self.n_epochs),
            learning_rate=rate,
            seed=seed,
        )


def resolve_device(device: str) -> torch.device:
    """Return the device for "cpu", "cuda" or "auto"; raise RuntimeError if CUDA is missing.

    Examples
    --------
    >>> resolve_device("cpu")
    device(type='cpu')
    """
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise RuntimeError("device='cuda' but no CUDA device is available; use 'cpu' or 'auto'.")
    return torch.device("cuda" if available and device != "cpu" else "cpu")
