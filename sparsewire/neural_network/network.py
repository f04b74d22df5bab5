"""Which network do the estimators train, and how does a table reach it?

A multilayer perceptron whose hidden layers are made on torch's "meta" device wherever connections
alone will be stored, so that nothing dense ever exists. How it becomes sparse, and how it is
trained, is the business of `sparsewire.neural_network.training`.

References
----------
Curci, Mocanu & Pechenizkiy (2021). Truly sparse neural networks at scale; arXiv:2102.01732.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch import Tensor, nn

from sparsewire.core.csr import AllReLU, SparseLinear
from sparsewire.core.csr.break_even import break_even
from sparsewire.core.masked import MASK_SUFFIX

ACTIVATIONS: dict[str, Callable[[float, int], nn.Module]] = {
    "all-relu": AllReLU,
    "relu": lambda slope, layer: nn.ReLU(),
    "tanh": lambda slope, layer: nn.Tanh(),
    "logistic": lambda slope, layer: nn.Sigmoid(),
}
"""By name: makes the activation of a hidden layer from slope and number of the layer, from 1."""

Layer = nn.Linear | SparseLinear
Rows = npt.NDArray[np.int64]

_PREDICTED_AT_ONCE = 2**24
"""Activations of the widest layer that a batch of predictions may hold: 64 MiB."""


class Perceptron(nn.Module):
    """A multilayer perceptron, to be made sparse and filled by `draw_` before it is used.

    The output layer has ``epsilon * (n_in + n_out)`` connections, too, and keeps its topology.

    Parameters
    ----------
    sizes : sequence of int
        Numbers of inputs, of neurons in each hidden layer, and of outputs.
    activation : str
        A key of ``ACTIVATIONS``.
    slope : float
        Slope of All-ReLU.
    dropout : float
        Share of hidden neurons silenced in a forward pass of training.
    epsilon : float
        Sparsity of the output layer.
    storage : {"csr", "masked", "auto"}
        How the connections of the hidden layers will be stored.
    generator : torch.Generator
        Source of the output layer's topology.

    Examples
    --------
    >>> from sparsewire import sparsify
    >>> generator = torch.Generator().manual_seed(0)
    >>> network = Perceptron(
    ...     [4, 8, 3], activation="relu", slope=0, dropout=0, epsilon=1,
    ...     storage="csr", generator=generator,
    ... )
    >>> optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    >>> handle = sparsify(
    ...     network, optimizer, density=0.5, method="set", exclude="output", storage="csr"
    ... )
    >>> network.draw_(generator)
    >>> [layer.n_connections for layer in network.layers]
    [16, 11]
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        activation: str,
        slope: float,
        dropout: float,
        epsilon: float,
        storage: str,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        *pairs, (n_in, n_out) = pairwise(sizes)
        self.hidden = nn.ModuleList(
            _hidden_layer(*pair, dense=_is_dense(*pair, epsilon, storage)) for pair in pairs
        )
        self.activations = nn.ModuleList(
            ACTIVATIONS[activation](slope, number) for number in range(1, len(sizes) - 1)
        )
        self.dropout = dropout
        # Sparse in any case: even with all connections it is as fast as a dense layer, and what it
        # computes for a row does not depend on the other rows.
        self.output = SparseLinear(
            n_in, n_out, epsilon=epsilon, generator=generator, device="cpu", dtype=torch.float32
        )
        self.sizes = tuple(sizes)

    @property
    def n_weights(self) -> int:
        """Weights of the dense network of this shape."""
        return sum(a * b for a, b in pairwise(self.sizes))

    @property
    def layers(self) -> list[Layer]:
        """Hidden layers and output layer."""
        return cast(list[Layer], [*self.hidden, self.output])

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the outputs, shape (n, n_outputs); given a generator, with dropout."""
        for layer, activation in zip(self.hidden, self.activations, strict=True):
            x = activation(layer(x))
            if generator is not None and self.dropout:
                x = x * self._scale(x, generator)
        output: Tensor = self.output(x)
        return output

    def _scale(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Draw 0 for silenced neurons and what makes up for them for the others."""
        share = 1 - self.dropout
        # Feature-major, as sparse layers lay out their output.
        kept = torch.empty((x.shape[1], x.shape[0]), dtype=x.dtype, device="cpu")
        return kept.bernoulli_(share, generator=generator).div_(share).T

    @torch.no_grad()
    def draw_(self, generator: torch.Generator) -> None:
        """Draw all weights, He-uniform, and set the biases to 0.

        The bound is ``sqrt(6 / k)``, with k the mean number of connections that a neuron of the
        layer really has.
        """
        for layer in self.layers:
            assert layer.bias is not None
            count = n_connections(layer)
            bound = math.sqrt(6 / max(1.0, count / layer.bias.numel()))
            values = torch.empty(count, dtype=torch.float32, device="cpu")
            values.uniform_(-bound, bound, generator=generator)
            if isinstance(layer, SparseLinear):
                layer.set_values(values)
            else:
                layer.weight[_mask(layer)] = values
            layer.bias.zero_()

    @torch.no_grad()
    def predict(self, X: Any, rows: Rows | None = None) -> npt.NDArray[np.float64]:
        """Return the outputs for rows of a table, computed in batches of bounded memory.

        Parameters
        ----------
        X : ndarray or CSR matrix, shape (n_samples, n_features)
            The table.
        rows : ndarray of int64, optional
            Which rows; None means all of them.

        Returns
        -------
        ndarray of shape (n_rows, n_outputs), float64
        """
        # A multiple of 16, the unit of the kernels.
        size = min(1024, max(16, _PREDICTED_AT_ONCE // max(self.sizes) // 16 * 16))
        rows = np.arange(X.shape[0]) if rows is None else rows
        batches = in_batches(rows, size, None)
        parts = [self(dense_rows(X, batch)).numpy() for batch in batches]
        return np.concatenate(parts).astype(np.float64)


def _is_dense(n_in: int, n_out: int, epsilon: float, storage: str) -> bool:
    """Tell whether a hidden layer needs a dense matrix."""
    if storage != "auto":
        return storage == "masked"
    density = epsilon * (n_in + n_out) / (n_in * n_out)
    return density > break_even(n_out, n_in, torch.get_num_threads())


def _hidden_layer(n_in: int, n_out: int, *, dense: bool) -> nn.Linear:
    """Build a layer on "meta", as its usual initialisation draws from the global generator."""
    layer = nn.Linear(n_in, n_out, device="meta", dtype=torch.float32)
    if dense:
        layer.to_empty(device="cpu")
        nn.init.zeros_(layer.weight)
    return layer


def _mask(layer: nn.Linear) -> Tensor:
    return layer.get_buffer(f"weight{MASK_SUFFIX}")


def n_connections(layer: Layer) -> int:
    """Return the number of connections of a masked or sparse layer."""
    if isinstance(layer, SparseLinear):
        return layer.n_connections
    return int(_mask(layer).count_nonzero())


def connections(layer: Layer) -> sparse.csr_array:
    """Return the weights as a CSR array of shape (inputs, outputs); zeros stay stored."""
    if isinstance(layer, nn.Linear):
        layer = SparseLinear.from_masked(layer)
    return layer.to_scipy().T.tocsr()


def dense_rows(X: Any, rows: Rows) -> Tensor:
    """Return rows of a dense or CSR matrix as a float32 tensor; too large values become inf."""
    batch = X[rows]
    dense = batch.toarray() if sparse.issparse(batch) else batch
    with np.errstate(over="ignore"):
        return torch.from_numpy(np.ascontiguousarray(dense, dtype=np.float32))


def in_batches(rows: Rows, size: int, order: np.random.Generator | None) -> Iterator[Rows]:
    """Yield `rows` in batches, in random order if a generator is given; the last may be smaller.

    Examples
    --------
    >>> [len(batch) for batch in in_batches(np.arange(5), 2, np.random.default_rng(0))]
    [2, 2, 1]
    """
    rows = rows if order is None else order.permutation(rows)
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
