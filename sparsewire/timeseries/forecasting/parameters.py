"""Which parameters does the forecaster take, and what network and method do they stand for?

They are stored as they are given and checked in `fit`, as scikit-learn wants it; the forecaster
documents them.
"""

import copy
import os
from abc import ABC
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from torch import nn
from torch.optim import Adam, Optimizer

from sparsewire.core import GraNet, InvalidArgumentError, Method, RigL, SparsityHandle, sparsify
from sparsewire.timeseries.forecasting.models import (
    DLinear,
    NLinear,
    NSTransformer,
    RecurrentForecaster,
    Transformer,
)
from sparsewire.timeseries.pals import PALS
from sparsewire.timeseries.recurrent.backbones import CELLS
from sparsewire.timeseries.recurrent.gates import SelfishRNN

MODELS: dict[str, type[nn.Module]] = {
    "dlinear": DLinear,
    "nlinear": NLinear,
    "transformer": Transformer,
    "nstransformer": NSTransformer,
    "lstm": RecurrentForecaster,
    "gru": RecurrentForecaster,
}
LEARNING_RATES = {
    "dlinear": 5e-3,
    "nlinear": 5e-3,
    "transformer": 5e-4,
    "nstransformer": 5e-4,
    "lstm": 5e-3,
    "gru": 5e-3,
}
"""DLinear's published rate for ETTh1; half a thousandth for narrow transformers (the paper's 1e-4
is for a width of 512); for recurrent networks the best of 1e-3 and 5e-3 on illness and ETTh1."""

Factory = Callable[[int, int, int], nn.Module]


class ForecasterParameters(BaseEstimator, ABC):
    """The parameters of a sparse forecaster."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "model": [StrOptions(set(MODELS)), nn.Module, callable],
        "input_size": [Interval(Integral, 1, None, closed="left")],
        "horizon": [Interval(Integral, 1, None, closed="left")],
        "individual": ["boolean"],
        "d_model": [Interval(Integral, 2, None, closed="left")],
        "n_heads": [Interval(Integral, 1, None, closed="left")],
        "d_ff": [Interval(Integral, 1, None, closed="left")],
        "n_encoder_layers": [Interval(Integral, 1, None, closed="left")],
        "n_decoder_layers": [Interval(Integral, 1, None, closed="left")],
        "projector_sizes": ["array-like"],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "sparsity": [None, StrOptions({"pals", "static", "dynamic", "granet"})],
        "density": [Interval(Real, 0, 1, closed="right")],
        "prune_factor": [Interval(Real, 1, None, closed="left")],
        "loss_freedom": [Interval(Real, 1, None, closed="left")],
        "pals_options": [None, Mapping],
        "decision_windows": [None, Interval(Integral, 1, None, closed="left")],
        "scale": [StrOptions({"standard", "none"})],
        "missing": [StrOptions({"raise", "linear"})],
        "loss": [StrOptions({"mse", "mae", "huber"})],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [None, Interval(Real, 0, None, closed="neither")],
        "validation_size": [
            Interval(Real, 0, 1, closed="neither"),
            Interval(Integral, 1, None, closed="left"),
        ],
        "patience": [None, Interval(Integral, 1, None, closed="left")],
        "checkpoint": [None, str, os.PathLike],
        "device": [StrOptions({"cpu", "cuda", "auto"})],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        model: str | nn.Module | Factory = "dlinear",
        *,
        input_size: int = 96,
        horizon: int = 96,
        individual: bool = False,
        d_model: int = 64,
        n_heads: int = 4,
        d_ff: int = 128,
        n_encoder_layers: int = 2,
        n_decoder_layers: int = 1,
        projector_sizes: Sequence[int] = (64, 64),
        dropout: float = 0.05,
        sparsity: Literal["pals", "static", "dynamic", "granet"] | None = "pals",
        density: float = 0.2,
        prune_factor: float = 1.1,
        loss_freedom: float = 1.1,
        pals_options: Mapping[str, Any] | None = None,
        decision_windows: int | None = 256,
        scale: Literal["standard", "none"] = "standard",
        missing: Literal["raise", "linear"] = "raise",
        loss: Literal["mse", "mae", "huber"] = "mse",
        max_epochs: int = 10,
        batch_size: int = 32,
        learning_rate: float | None = None,
        validation_size: float | int = 0.2,
        patience: int | None = 3,
        checkpoint: str | os.PathLike[str] | None = None,
        device: Literal["cpu", "cuda", "auto"] = "cpu",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.model = model
        self.input_size = input_size
        self.horizon = horizon
        self.individual = individual
        self.d_model = d_model
        self.n_heads = n_heads
        self.d_ff = d_ff
        self.n_encoder_layers = n_encoder_layers
        self.n_decoder_layers = n_decoder_layers
        self.projector_sizes = projector_sizes
        self.dropout = dropout
        self.sparsity = sparsity
        self.density = density
        self.prune_factor = prune_factor
        self.loss_freedom = loss_freedom
        self.pals_options = pals_options
        self.decision_windows = decision_windows
        self.scale = scale
        self.missing = missing
        self.loss = loss
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.validation_size = validation_size
        self.patience = patience
        self.checkpoint = checkpoint
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def _check_parameters(self) -> None:
        transformer = self.model in ("transformer", "nstransformer")
        if transformer and (self.d_model % 2 or self.d_model % self.n_heads):
            raise InvalidArgumentError(
                f"d_model must be even and a multiple of n_heads, got d_model={self.d_model} and "
                f"n_heads={self.n_heads}."
            )
        sizes: list[Any] = list(self.projector_sizes)
        if not sizes or not all(isinstance(n, Integral) and int(n) >= 1 for n in sizes):
            raise InvalidArgumentError(
                f"projector_sizes must be at least one integer >= 1, got {self.projector_sizes!r}."
            )
        if self.checkpoint is not None and not isinstance(self.random_state, Integral):
            raise InvalidArgumentError(
                f"a checkpoint needs an integer random_state, got {self.random_state!r}; else no "
                "other run could continue it."
            )

    def _draw_seed(self) -> int:
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _takes_time(self) -> bool:
        kind = MODELS[self.model] if isinstance(self.model, str) else self.model
        return bool(getattr(kind, "takes_time_features", False))

    def _rate(self) -> float:
        if self.learning_rate is not None:
            return float(self.learning_rate)
        return LEARNING_RATES.get(self.model, 1e-3) if isinstance(self.model, str) else 1e-3

    def _new_network(self, n_channels: int, n_time_features: int, seed: int) -> nn.Module:
        """Build the network; its initial weights follow from the seed alone."""
        sizes = (int(self.input_size), int(self.horizon), n_channels)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if isinstance(self.model, nn.Module):
                return copy.deepcopy(self.model)
            if not isinstance(self.model, str):
                return self.model(*sizes)
            if self.model in ("dlinear", "nlinear"):
                return MODELS[self.model](*sizes, individual=bool(self.individual))
            shared: dict[str, Any] = {"d_model": int(self.d_model), "dropout": float(self.dropout)}
            if self.model in CELLS:
                shared |= {"cell": self.model, "n_layers": int(self.n_encoder_layers)}
                return MODELS[self.model](*sizes, **shared)
            own = {"projector_sizes": list(self.projector_sizes)}
            return MODELS[self.model](
                *sizes,
                n_time_features=n_time_features,
                n_heads=int(self.n_heads),
                d_ff=int(self.d_ff),
                n_encoder_layers=int(self.n_encoder_layers),
                n_decoder_layers=int(self.n_decoder_layers),
                **shared,
                **(own if self.model == "nstransformer" else {}),
            )

    def _sparsify(
        self, network: nn.Module, steps_per_epoch: int, seed: int
    ) -> tuple[SparsityHandle, PALS | None]:
        """Make the network sparse; a dense one has a topology of all weights."""
        optimizer = Adam(network.parameters(), lr=self._rate())
        total = steps_per_epoch * int(self.max_epochs)
        interval = update_interval(steps_per_epoch)
        if self.sparsity == "pals":
            options = {
                "prune_factor": float(self.prune_factor),
                "loss_freedom": float(self.loss_freedom),
                "update_interval": interval,
                **(self.pals_options or {}),
            }
            try:
                pals = PALS(network, optimizer, total_steps=total, seed=seed, **options)
            except TypeError as error:
                raise InvalidArgumentError(f"pals_options={self.pals_options}: {error}") from error
            return pals.handle, pals
        return self._handle(network, optimizer, interval, total, seed), None

    def _handle(
        self, network: nn.Module, optimizer: Optimizer, interval: int, total: int, seed: int
    ) -> SparsityHandle:
        recurrent = self.model in CELLS
        end = int(0.7 * total) + 1
        method: str | Method = "static"
        if self.sparsity in ("dynamic", "granet") and interval >= end:
            raise InvalidArgumentError(
                f"a run of {total} optimizer steps has no time for a topology update, which "
                f"sparsity={self.sparsity!r} needs; raise max_epochs or lower batch_size."
            )
        if self.sparsity == "granet":
            method = GraNet(end=end, update_interval=interval)
        elif self.sparsity == "dynamic" and recurrent:
            method = SelfishRNN(network, update_interval=interval, end=end)
        elif self.sparsity == "dynamic":
            method = RigL(end=end, update_interval=interval)
        return sparsify(
            network,
            optimizer,
            density=1.0 if self.sparsity is None else float(self.density),
            method=method,
            # Published for recurrent networks, and better in our measurements.
            allocation="uniform" if recurrent else "erk",
            seed=seed,
        )


def update_interval(steps_per_epoch: int) -> int:
    """Return how many steps lie between topology updates: 20, or a quarter of a short epoch.

    Examples
    --------
    >>> update_interval(264), update_interval(20)
    (20, 5)
    """
    return max(1, min(20, steps_per_epoch // 4))
