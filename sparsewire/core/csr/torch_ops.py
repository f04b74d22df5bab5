"""How is a sparse layer computed where the numba kernels do not run?

With torch's own sparse matrices, on any device that has them, such as CUDA. Correct first: the
index is moved to the device with every call.
"""

import torch
from torch import Tensor

from sparsewire.core.csr.index import Index

_CHUNK = 2**24
"""Numbers gathered at once when weight gradients are formed."""


def multiply(index: Index, weight: Tensor, bias: Tensor | None, X: Tensor) -> Tensor:
    """Return ``W @ X + bias``; arguments as in `sparsewire.core.csr.multiply.multiply`."""
    with torch.autocast(X.device.type, enabled=False):
        Y = _matrix(index, weight, transposed=False) @ X.detach()
    return Y if bias is None else Y + bias.detach()[:, None]


def gradients(
    index: Index, weight: Tensor, X: Tensor, dY: Tensor, *, inputs: bool, weights: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of `multiply` for X and the weights, each only if wanted."""
    dX = None
    if inputs:
        with torch.autocast(dY.device.type, enabled=False):
            dX = _matrix(index, weight, transposed=True) @ dY
    return dX, _at_connections(index, X, dY) if weights else None


def _matrix(index: Index, weight: Tensor, *, transposed: bool) -> Tensor:
    shape = (index.n_in, index.n_out) if transposed else (index.n_out, index.n_in)
    values = weight.detach()
    if (index.layout == "csc") == transposed:
        indptr, indices = index.indptr, index.indices
    else:
        indptr, indices, position = index.other_side
        values = values[torch.from_numpy(position).to(weight.device)]
    return torch.sparse_csr_tensor(
        torch.from_numpy(indptr).to(weight.device),
        torch.from_numpy(indices).to(weight.device, torch.int64),
        values,
        size=shape,
        check_invariants=False,
    )


def _at_connections(index: Index, X: Tensor, dY: Tensor) -> Tensor:
    counts = torch.from_numpy(index.indptr).to(X.device).diff()
    major = torch.arange(index.n_major, device=X.device).repeat_interleave(counts)
    minor = torch.from_numpy(index.indices).to(X.device, torch.int64)
    A, B = (X, dY) if index.layout == "csc" else (dY, X)
    step = max(1, _CHUNK // max(1, X.shape[1]))
    parts = [
        (A[major[k : k + step]] * B[minor[k : k + step]]).sum(1) for k in range(0, len(minor), step)
    ]
    return torch.cat(parts) if parts else X.new_zeros(0)
