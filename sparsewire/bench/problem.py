"""What is computed when one layer is timed?

The output of a layer without bias, ``Y = W @ X``, and the gradients ``W.T @ dY`` and, at the
connections alone, ``dY @ X.T``. Activations here are feature-major, shape (features, batch).
"""

from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sparsewire.core.csr import SparseLinear
from sparsewire.core.csr.autograd import feature_major
from sparsewire.core.csr.index import Index

Floats = npt.NDArray[np.float32]


class Case(NamedTuple):
    """A layer's shape and density, and the size of the batch."""

    n_in: int
    n_out: int
    density: float
    batch: int

    @property
    def connections(self) -> int:
        """Number of connections."""
        return round(self.density * self.n_in * self.n_out)


class Problem:
    """The numbers of one case, drawn from a generator of its own."""

    def __init__(self, case: Case) -> None:
        own = torch.Generator().manual_seed(0)
        self.case = case
        self.layer = SparseLinear(
            case.n_in, case.n_out, n_connections=case.connections, bias=False, generator=own
        )
        # Of its own, so that it is seen whether the kernels need the other side.
        self.index = replace(self.layer.index)
        self.w: Floats = self.layer.weight.detach().numpy()
        self.x = torch.randn(case.batch, case.n_in, generator=own)
        self.dy = torch.randn(case.batch, case.n_out, generator=own)
        # Padded to whole vectors for our kernels; the other contenders see the batch itself.
        self.padded_X: Floats = feature_major(self.x).numpy()
        self.padded_dY: Floats = feature_major(self.dy).numpy()
        self.X: Floats = np.ascontiguousarray(self.padded_X[:, : case.batch])
        self.dY: Floats = np.ascontiguousarray(self.padded_dY[:, : case.batch])

    @cached_property
    def major(self) -> npt.NDArray[np.int32]:
        """The major row of every connection."""
        rows = np.arange(self.index.n_major, dtype=np.int32)
        return np.repeat(rows, np.diff(self.index.indptr))

    @cached_property
    def flat(self) -> Tensor:
        """The position of every connection in a flattened dense weight matrix."""
        minor = self.index.indices.astype(np.int64)
        by_input = self.index.layout == "csc"
        out, own = (minor, self.major) if by_input else (self.major, minor)
        return torch.from_numpy(out * np.int64(self.index.n_in) + own)

    @property
    def sides(self) -> tuple[Floats, Floats]:
        """Activations of the major side and of the minor side."""
        return (self.X, self.dY) if self.index.layout == "csc" else (self.dY, self.X)

    @cached_property
    def other_side(self) -> tuple[npt.NDArray[Any], ...]:
        """Pointers, indices and order along the minor side."""
        return replace(self.index).other_side

    @property
    def activation_bytes(self) -> int:
        """Bytes of the output and of the gradient for the input."""
        return 4 * (self.index.n_in + self.index.n_out) * self.case.batch

    @property
    def result_bytes(self) -> int:
        """Bytes of both, and of a gradient with one number per connection."""
        return self.activation_bytes + self.w.nbytes

    @property
    def dense_bytes(self) -> int:
        """Bytes of one dense matrix."""
        return 4 * self.index.n_in * self.index.n_out


def index_bytes(index: Index) -> int:
    """Return the bytes of an index, with those of the other side if it is held as well."""
    arrays = [index.indptr, index.indices, *vars(index).get("other_side", ())]
    return sum(array.nbytes for array in arrays)
