"""Who is compared on one layer's forward and backward pass?

Every contender gets the same connections, inputs and output gradients in the memory layout it
likes best, and returns the output, the gradient for the input and that at the connections.

The memory a contender needs is computed, not sampled: the bytes of its weights and indices, and of
all arrays that live at the worst moment of a step. The inputs and output gradients that all are
given do not count, nor does what a library allocates and frees inside one operation.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from sparsewire.bench.problem import Floats, Problem, index_bytes
from sparsewire.bench.timing import Step
from sparsewire.core.csr import multiply, portable
from sparsewire.core.csr.index import Index

Result = tuple[Floats, Floats, Floats]
"""Y (n_out, batch), dX (n_in, batch), gradient (n_connections,) in the order of the index."""
Read = Callable[[Any], Result]

_CHUNK = 4_000_000
"""Numbers that scipy's gradient gathers at once from each side."""


def kernels(problem: Problem) -> tuple[Step, Read]:
    """Call our kernels with arrays."""
    index, w, X, dY = problem.index, problem.w, problem.padded_X, problem.padded_dY
    batch = problem.case.batch

    def step() -> Any:
        Y = multiply.multiply(index, w, None, X)
        return Y, *multiply.gradients(index, w, X, dY, inputs=True, weights=True)

    return step, lambda r: (r[0][:, :batch], r[1][:, :batch], r[2])


@contextmanager
def _backend(module: ModuleType) -> Iterator[None]:
    """Let our layers use other kernels inside the block."""
    before = multiply.backend
    multiply.backend = lambda: module  # type: ignore[assignment]
    try:
        yield
    finally:
        multiply.backend = before


def portable_kernels(problem: Problem) -> tuple[Step, Read]:
    """Run the same on the kernels of machines where explicit vectors do not compile."""
    vectors, read = kernels(problem)

    def step() -> object:
        with _backend(portable):
            return vectors()

    return step, read


def layer(problem: Problem) -> tuple[Step, Read]:
    """Use `SparseLinear` through autograd, as a model does."""
    module = problem.layer
    x = torch.from_numpy(problem.X).t().requires_grad_()
    dy = torch.from_numpy(problem.dY).t()

    def step() -> Any:
        y = module(x)
        return y.detach(), *torch.autograd.grad(y, (x, module.weight), dy)

    return step, lambda r: (r[0].t().numpy(), r[1].t().numpy(), r[2].numpy())


def dense(problem: Problem) -> tuple[Step, Read]:
    """Do three dense matrix products, nothing else: the least that any dense layer costs."""
    weight = _dense(problem)
    x, dy = problem.x, problem.dy
    return lambda: (x @ weight.t(), dy @ weight, dy.t() @ x), _dense_read(problem)


def masked(problem: Problem) -> tuple[Step, Read]:
    """Multiply weights, then gradients, of a dense layer by a mask in every step."""
    weight = _dense(problem)
    mask = torch.zeros(weight.numel()).index_fill_(0, problem.flat, 1).view_as(weight)
    x, dy = problem.x, problem.dy

    def step() -> object:
        current = weight * mask
        return x @ current.t(), dy @ current, (dy.t() @ x).mul_(mask)

    return step, _dense_read(problem)


def _dense(problem: Problem) -> Tensor:
    shape = problem.index.n_out, problem.index.n_in
    flat = torch.zeros(shape[0] * shape[1])
    flat[problem.flat] = torch.from_numpy(problem.w)
    return flat.view(shape)


def _dense_read(problem: Problem) -> Read:
    return lambda r: (r[0].t().numpy(), r[1].t().numpy(), r[2].flatten()[problem.flat].numpy())


def torch_sparse(problem: Problem) -> tuple[Step, Read]:
    """Use ``torch.sparse`` CSR (MKL): the matrix, its transpose, and a sampled product."""
    index, (A, B) = problem.index, problem.sides
    indptr, indices, position = problem.other_side
    w, order = torch.from_numpy(problem.w), torch.from_numpy(position)
    shape = index.n_major, index.n_minor
    own = _csr(index.indptr, index.indices, w, shape)
    pattern = _csr(index.indptr, index.indices, torch.zeros_like(w), shape)
    other = _csr(indptr, indices, w[order], shape[::-1])
    a, b = torch.from_numpy(A), torch.from_numpy(B)
    by_input = index.layout == "csc"

    def step() -> Any:
        torch.index_select(w, 0, order, out=other.values())
        towards_minor, towards_major = other @ a, own @ b
        g = torch.sparse.sampled_addmm(pattern, a, b.t(), beta=0.0)
        ends = (towards_minor, towards_major) if by_input else (towards_major, towards_minor)
        return *ends, g.values()

    return step, lambda r: tuple(tensor.numpy() for tensor in r)


def _csr(indptr: Any, indices: Any, values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Make a torch matrix with 32-bit indices, which MKL takes without conversion."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
        arrays = torch.from_numpy(indptr.astype(np.int32)), torch.from_numpy(indices)
        return torch.sparse_csr_tensor(*arrays, values, size=shape, check_invariants=False)


def scipy_sparse(problem: Problem) -> tuple[Step, Read]:
    """Use ``scipy.sparse``; the gradient at the connections gathers rows in chunks."""
    index, w, (A, B) = problem.index, problem.w, problem.sides
    pointers = index.indptr.astype(np.int32)
    own = sparse.csr_array((w, index.indices, pointers), shape=(index.n_major, index.n_minor))
    major, minor = problem.major, index.indices
    step_size = max(1, _CHUNK // A.shape[1])
    g = np.empty_like(w)
    by_input = index.layout == "csc"

    def step() -> Any:
        towards_minor, towards_major = own.T @ A, own @ B
        for first in range(0, len(w), step_size):
            part = slice(first, first + step_size)
            np.einsum("kb,kb->k", A[major[part]], B[minor[part]], out=g[part])
        ends = (towards_minor, towards_major) if by_input else (towards_major, towards_minor)
        return *ends, g

    return step, lambda r: r


@dataclass(frozen=True)
class Contender:
    """Who takes part; the cost of a dense one follows the size of the whole matrix."""

    build: Callable[[Problem], tuple[Step, Read]]
    peak_bytes: Callable[[Problem], int]
    dense: bool = False


def _own_bytes(problem: Problem, index: Index) -> int:
    return index_bytes(index) + problem.w.nbytes + problem.result_bytes


def _torch_bytes(problem: Problem) -> int:
    # Of both sides: pointers, indices and weights; the order of one; zeros as a pattern.
    neurons = problem.index.n_in + problem.index.n_out
    return 4 * (neurons + 2) + 6 * problem.w.nbytes + problem.result_bytes


def _scipy_bytes(problem: Problem) -> int:
    # Pointers, indices, weights, major rows; two sides of a chunk.
    chunk = 4 * min(_CHUNK, len(problem.w) * problem.case.batch)
    own = 4 * (problem.index.n_major + 1) + 3 * problem.w.nbytes
    return own + 2 * chunk + problem.result_bytes


CONTENDERS: dict[str, Contender] = {
    "kernels": Contender(kernels, lambda p: _own_bytes(p, p.index)),
    "SparseLinear": Contender(layer, lambda p: _own_bytes(p, p.layer.index)),
    "portable": Contender(portable_kernels, lambda p: _own_bytes(p, p.index)),
    "dense": Contender(dense, lambda p: 2 * p.dense_bytes + p.activation_bytes, dense=True),
    "masked": Contender(masked, lambda p: 4 * p.dense_bytes + p.activation_bytes, dense=True),
    "torch.sparse": Contender(torch_sparse, _torch_bytes),
    "scipy": Contender(scipy_sparse, _scipy_bytes),
}
"""All contenders; the first is the one that ratios refer to."""
