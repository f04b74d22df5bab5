"""Which auto-encoders watch a series, and how are they set up?

An `Ensemble` of auto-encoders that differ in how far their skip-LSTMs look back. Each reconstructs
the present window from its own code and from samples that lie `gap` steps before. All parameters of
a member are one row of an array, so a state is saved, copied and compared as one array. Which of
them exist in a sparse ensemble is decided in `sparsewire.timeseries.change_points.topology`.

References
----------
Atashgahi, Mocanu, Veldhuis & Pechenizkiy (2022). Memory-free online change-point detection: a novel
neural network approach; arXiv:2207.03932.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsewire.timeseries.change_points import kernels
from sparsewire.timeseries.change_points.topology import Arrays, Gates, Topology

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of the auto-encoders.

    Parameters
    ----------
    n_channels : int
        Numbers in a sample.
    window : int
        Samples that are reconstructed.
    gap : int
        Steps between a sample and the latest one that the autoregressive path sees.
    n_lags : int
        Samples that the autoregressive path sees.
    n_units : int
        Hidden units of the encoder and of the decoder.
    skips : tuple of int
        How many steps each member looks back; its length is the number of members.
    aligned : bool
        Whether every sample of a window is explained by the samples that lie `gap` steps before
        that sample. The reference pairs them in reverse order, so that the oldest sample of a
        window is among its own lags.
    density : float or None, default None
        Share of the gates' input and recurrent weights that are connections; None if all are.

    Examples
    --------
    >>> shape = Shape(n_channels=2, window=6, gap=4, n_lags=6, n_units=20, skips=(3, 5, 7))
    >>> shape.span, shape.n_parameters
    (15, 7456)
    """

    n_channels: int
    window: int
    gap: int
    n_lags: int
    n_units: int
    skips: tuple[int, ...]
    aligned: bool = True
    density: float | None = None

    @property
    def span(self) -> int:
        """Samples that one window and its lags reach over."""
        return self.window + self.gap + self.n_lags - 1

    def blocks(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield name and shape of every parameter, in the order in which they are stored."""
        units, n_out = self.n_units, self.window * self.n_channels
        for cell, n_in in (("encoder", self.n_channels), ("decoder", units)):
            yield f"{cell}.input", (n_in, 4 * units)
            yield f"{cell}.recurrent", (units, 4 * units)
            yield f"{cell}.bias", (4 * units,)
            yield f"{cell}.skip", (units, units)
            yield f"{cell}.skip_bias", (units,)
            yield f"{cell}.mix", (1,)
        yield "output", (self.window * units, n_out)
        yield "output_bias", (n_out,)
        yield "lags", (self.window, self.n_lags)
        yield "lags_bias", (self.window,)

    @property
    def n_parameters(self) -> int:
        """Parameters of one member."""
        return sum(math.prod(shape) for _, shape in self.blocks())

    def gates(self) -> Iterator[Gates]:
        """Yield the matrices of gates and where they lie among the parameters."""
        at = 0
        for name, dims in self.blocks():
            if name.endswith((".input", ".recurrent")):
                yield Gates(name, at, dims[0], self.n_units)
            at += math.prod(dims)


def draw(shape: Shape, generator: np.random.Generator) -> Floats:
    """Draw the initial parameters of one member.

    Weights of the recurrent gates are orthogonal, all others uniform as Glorot and Bengio draw
    them. Biases are 0, but 1 for the forget gate; an LSTM and its look back are mixed half and
    half.

    Parameters
    ----------
    shape : Shape
        Sizes.
    generator : numpy.random.Generator
        The only source of randomness.

    Returns
    -------
    ndarray of shape (n_parameters,)

    Examples
    --------
    >>> shape = Shape(n_channels=1, window=2, gap=1, n_lags=2, n_units=3, skips=(1,))
    >>> draw(shape, np.random.default_rng(0)).shape == (shape.n_parameters,)
    True
    """
    return np.concatenate([_block(name, dims, generator).ravel() for name, dims in shape.blocks()])


def _block(name: str, dims: tuple[int, ...], generator: np.random.Generator) -> Floats:
    if name.endswith(".mix"):
        return np.full(dims, 0.5)
    if len(dims) == 1:
        bias = np.zeros(dims)
        if name.endswith(".bias"):
            units = dims[0] // 4
            bias[units : 2 * units] = 1.0  # gates are stored as input, forget, cell, output
        return bias
    if name.endswith(".recurrent"):
        q, r = np.linalg.qr(generator.standard_normal(dims[::-1]))
        return np.ascontiguousarray((q * np.sign(np.diag(r))).T)
    # One linear map for each sample of the window, not one matrix.
    n_in, n_out = (dims[1], 1) if name == "lags" else dims
    bound = math.sqrt(6.0 / (n_in + n_out))
    return generator.uniform(-bound, bound, dims)


class Ensemble:
    """Auto-encoders that are trained on the same windows.

    Parameters
    ----------
    shape : Shape
        Sizes.
    seed : int
        Seeds the initial parameters of every member, and its connections.

    Attributes
    ----------
    members : ndarray of shape (n_members, n_parameters)
        All parameters; training changes them in place.
    topology : Topology or None
        The connections of a sparse ensemble.

    Raises
    ------
    InfeasibleDensityError
        If the density leaves less than one connection for each gate.

    Examples
    --------
    >>> shape = Shape(n_channels=1, window=2, gap=1, n_lags=2, n_units=3, skips=(1, 2))
    >>> ensemble = Ensemble(shape, seed=0)
    >>> observed, lags = ensemble.windows(np.sin(np.arange(10.0))[:, np.newaxis])
    >>> before = ensemble.losses(observed, lags)
    >>> ensemble.train(observed, lags, np.tile(np.arange(7), 20), 0.1)
    >>> before.shape, bool((ensemble.losses(observed, lags) < before).all())
    ((2, 7), True)
    """

    def __init__(self, shape: Shape, seed: int) -> None:
        self.shape = shape
        within, lags = np.arange(shape.window), np.arange(shape.n_lags)
        first = within if shape.aligned else within[::-1]
        self._observed = shape.span - shape.window + within
        self._lags = first[:, np.newaxis] + lags
        self._skips = np.array(shape.skips, dtype=np.int64)
        self.members = np.stack(
            [draw(shape, np.random.default_rng([seed, k])) for k in range(len(shape.skips))]
        )
        self.topology: Topology | None = None
        if shape.density is not None:
            self.topology = Topology(tuple(shape.gates()), self.members, shape.density, seed)
        self._all = np.ones((len(shape.skips), 0), dtype=np.bool_)
        self._kept: Arrays = {}

    def windows(self, samples: Floats) -> tuple[Floats, Floats]:
        """Cut successive samples into windows and what the autoregressive path sees of each.

        Parameters
        ----------
        samples : ndarray of shape (n, n_channels)
            At least ``shape.span`` samples.

        Returns
        -------
        observed : ndarray of shape (n - span + 1, window, n_channels)
            Windows, by the index of their last sample.
        lags : ndarray of shape (n - span + 1, window, n_lags, n_channels)
            For each sample of a window, earlier ones, oldest first.
        """
        begin = np.arange(len(samples) - self.shape.span + 1)
        return (
            samples[begin[:, np.newaxis] + self._observed],
            samples[begin[:, np.newaxis, np.newaxis] + self._lags],
        )

    def losses(self, observed: Floats, lags: Floats) -> Floats:
        """Return the mean squared error of every member on every window, (n_members, n_windows).

        Parameters
        ----------
        observed, lags : ndarray
            From `windows`.
        """
        found: Floats = kernels.losses(
            self.members, self._skips, self.shape.n_units, observed, lags
        )
        return found

    def train(
        self, observed: Floats, lags: Floats, order: npt.NDArray[np.int64], learning_rate: float
    ) -> None:
        """Make one step of gradient descent for every entry of `order`, in place.

        Parameters without a connection stay exactly 0.

        Parameters
        ----------
        observed, lags : ndarray
            From `windows`.
        order : ndarray of int64
            Which window each step learns from.
        learning_rate : float
            Step size; shortened where the linear part of the output would overshoot.
        """
        kernels.descend(
            self.members,
            self._all if self.topology is None else self.topology.active,
            self._skips,
            self.shape.n_units,
            observed,
            lags,
            order,
            learning_rate,
        )

    def rewire(self) -> None:
        """Replace the weakest connections of a sparse ensemble; a dense one stays as it is."""
        if self.topology is not None:
            self.topology.update(self.members)

    def keep(self) -> None:
        """Remember the present parameters and connections for `go_back`."""
        self._kept = {"kept_members": self.members.copy()}
        if self.topology is not None:
            self._kept["kept_active"] = self.topology.active.copy()

    def go_back(self) -> None:
        """Return to what `keep` remembered last, if anything."""
        if self._kept:
            self.members[:] = self._kept["kept_members"]
            if self.topology is not None:
                self.topology.active[:] = self._kept["kept_active"]

    def arrays(self) -> Arrays:
        """Return everything that training changes, as arrays (not copies)."""
        connections = {} if self.topology is None else self.topology.arrays()
        return {"members": self.members, **connections, **self._kept}

    def set_arrays(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Continue from `arrays` of the same form; see `Topology.set_arrays`."""
        if self.topology is not None:
            if self._kept:
                self.topology.check(arrays["kept_active"], arrays["kept_members"])
            self.topology.set_arrays(arrays)
        self.members = arrays["members"].copy()
        self._kept = {name: arrays[name].copy() for name in self._kept}
