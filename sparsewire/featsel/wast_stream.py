"""What does WAST have to remember between two chunks of rows?

Everything that changes while it trains, as NumPy arrays, so that a selector in the middle of a
stream is copied and pickled like any other; and the moments of all rows so far, which tell how to
scale the next. How it trains is in `sparsewire.featsel.wast`.

Moments are merged by the formula of Chan, Golub & LeVeque (1983, The American Statistician 37:242).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sparsewire.core import InvalidArgumentError, SparsityHandle
from sparsewire.featsel.autoencoder import Autoencoder
from sparsewire.featsel.rows import Floats, RowScaler, Statistics, column_extremes, column_moments
from sparsewire.featsel.training import Training
from sparsewire.featsel.wast_topology import AttentionTopology


@dataclass(frozen=True)
class Moments:
    """What is known of the columns of all rows so far.

    Attributes
    ----------
    n_rows : int
        How many there were.
    low, high, mean, spread : ndarray of shape (d,), float64
        Smallest and largest value of every column, its mean, and the sum of squared deviations.

    Examples
    --------
    >>> one, two = Moments.of(np.array([[0.0], [2.0]])), Moments.of(np.array([[7.0]]))
    >>> both = one.merged(two)
    >>> float(both.mean[0]), float(both.spread[0])
    (3.0, 26.0)
    """

    n_rows: int
    low: Floats
    high: Floats
    mean: Floats
    spread: Floats

    @classmethod
    def of(cls, X: Any) -> Self:
        """Return the moments of a dense or sparse matrix."""
        with np.errstate(over="ignore", invalid="ignore"):
            mean, deviation = column_moments(X)
            return cls(X.shape[0], *column_extremes(X), mean, X.shape[0] * deviation**2)

    @property
    def constant(self) -> npt.NDArray[np.bool_]:
        """Which columns have had one value only, shape (d,)."""
        constant: npt.NDArray[np.bool_] = self.low == self.high
        return constant

    def merged(self, other: "Moments") -> "Moments":
        """Return the moments of the rows of both."""
        n_rows = self.n_rows + other.n_rows
        with np.errstate(over="ignore", invalid="ignore"):
            step = other.mean - self.mean
            between = step**2 * (self.n_rows * other.n_rows / n_rows)
            return Moments(
                n_rows,
                np.minimum(self.low, other.low),
                np.maximum(self.high, other.high),
                self.mean + step * (other.n_rows / n_rows),
                self.spread + other.spread + between,
            )

    def statistics(self, scale: str | None) -> Statistics:
        """Return what `RowScaler` needs for the scale "standard", "global" or None."""
        shift, factor = np.zeros_like(self.mean), np.ones_like(self.mean)
        with np.errstate(over="ignore", invalid="ignore"):
            variance = self.spread / self.n_rows
            if scale == "standard":
                shift = np.where(self.constant, self.low, self.mean)
                factor = np.where(self.constant, 1.0, np.sqrt(variance))
            elif scale == "global":
                whole = self.mean.mean()
                shift += whole
                factor *= np.sqrt((variance + (self.mean - whole) ** 2).mean()) or 1.0
        return shift, factor, self.constant


class MeasuredRows(RowScaler):
    """Rows scaled by moments, which may be those of more rows than these.

    Parameters
    ----------
    X : ndarray or CSR matrix, shape (n, d)
        The data; never changed.
    scale : {"standard", "global"} or None
        As of `RowScaler`.
    dtype : {"float32", "float64"}
        Type of the rows.
    moments : Moments
        Kept as an attribute.
    """

    def __init__(self, X: Any, scale: str | None, dtype: str, moments: Moments) -> None:
        super().__init__(X, scale, dtype, statistics=moments.statistics(scale))
        self.moments = moments


@dataclass
class Run:
    """Everything that changes while WAST trains.

    Attributes
    ----------
    training : Training
        Network, optimizer and handle.
    network : Autoencoder
        The network.
    handle : SparsityHandle
        What keeps it sparse.
    topology : AttentionTopology
        Its method, which holds the importances.
    order : numpy.random.Generator
        Draws the order of the rows.
    noise : torch.Generator
        Draws the noise on the inputs.
    """

    training: Training
    network: Autoencoder
    handle: SparsityHandle
    topology: AttentionTopology
    order: np.random.Generator
    noise: torch.Generator


@dataclass(frozen=True)
class Memory:
    """A run at rest, without any torch object.

    Attributes
    ----------
    seed : int
        From which it began.
    settings : dict
        The parameters that cannot change any more.
    moments : Moments
        Of all rows so far.
    state : dict
        The state of everything in `Run`.
    """

    seed: int
    settings: dict[str, Any]
    moments: Moments
    state: dict[str, Any]

    @classmethod
    def of(cls, run: Run, seed: int, settings: dict[str, Any], moments: Moments) -> Self:
        """Return a copy of all there is to remember of a run."""
        state = {
            "network": dict(run.network.state_dict()),
            "optimizer": run.training.optimizer.state_dict()["state"],
            "handle": run.handle.state_dict(),
            "importances": [run.topology.inputs, run.topology.outputs],
            "noise": run.noise.get_state(),
        }
        plain = {
            "order": run.order.bit_generator.state,
            "history": {key: list(values) for key, values in run.training.history.items()},
        }
        return cls(seed, settings, moments, _without_tensors(state) | plain)

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        """Raise `InvalidArgumentError` if a parameter of the network or its input has changed."""
        for name, value in settings.items():
            if value != self.settings[name]:
                raise InvalidArgumentError(
                    f"{name} was {self.settings[name]!r} and is {value!r}; it cannot change "
                    "between calls of partial_fit. Set it back, or call fit or clone to start anew."
                )

    def restore(self, run: Run) -> None:
        """Bring a run that was built with the same settings and seed to the remembered state."""
        state = {name: _with_tensors(self.state[name]) for name in ("network", "handle", "noise")}
        run.network.load_state_dict(state["network"])
        optimizer = run.training.optimizer
        optimizer.load_state_dict(
            optimizer.state_dict() | {"state": _with_tensors(self.state["optimizer"])}
        )
        run.handle.load_state_dict(state["handle"])
        for importance, known in zip(
            (run.topology.inputs, run.topology.outputs), self.state["importances"], strict=True
        ):
            importance.copy_(torch.from_numpy(known))
        run.noise.set_state(state["noise"])
        run.order.bit_generator.state = self.state["order"]
        run.training.history = {key: list(values) for key, values in self.state["history"].items()}


def _without_tensors(value: Any) -> Any:
    """Return nested containers with a NumPy copy of every tensor."""
    if isinstance(value, Tensor):
        return value.detach().cpu().numpy().copy()
    if isinstance(value, dict):
        return {key: _without_tensors(item) for key, item in value.items()}
    return [_without_tensors(item) for item in value] if isinstance(value, list) else value


def _with_tensors(value: Any) -> Any:
    """Undo `_without_tensors`, with copies."""
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    if isinstance(value, dict):
        return {key: _with_tensors(item) for key, item in value.items()}
    return value
