"""How is a sparse layer applied to a batch on a CPU, and how are its gradients formed?

Activations are feature-major: row `i` of an array of shape (features, lanes) holds feature `i` of
every sample of the batch, so one connection combines two contiguous rows. The number of lanes is a
multiple of what a vector register holds. This module chooses, for a shape and batch, the kernel
that gathers or the one that scatters, cuts the work into tiles of lanes, and shares it between
threads.
"""

import functools
import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sparsewire.core.csr import portable
from sparsewire.core.csr.index import Index, Int64s

Floats = npt.NDArray[np.floating[Any]]
Task = Callable[[], object]

VECTOR_BYTES = 64
_TILE = 8
"""Vectors per kernel call: what fits the registers beside the sums."""
_WIDE = 2**14
_FEW = 16
_MANY = 2**22
_SERIAL = 2**22
"""Products (connections times lanes) below which starting a thread costs more than it saves."""


@functools.cache
def backend() -> ModuleType:
    """Return the module of kernels in use: explicit vectors, or portable where they fail."""
    if portable.BOUNDS_CHECK:
        return portable
    try:
        from sparsewire.core.csr import vector

        one = np.ones((1, VECTOR_BYTES // 4), np.float32)
        index = np.array([0, 1]), np.zeros(1, np.int32)
        out = np.zeros_like(one)
        vector.gather((0,), (*index, one[0], np.zeros(1, np.float32), one, out), 0, 1, 0)
        works = bool((out == 1).all())
    except Exception:  # a compiler may fail in any way; the portable kernels are always right
        works = False
    return vector if works else portable


class _Pool:
    """Threads that run kernels, which do not hold the interpreter's lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None
        self._size = 0

    def run(self, tasks: list[Task]) -> None:
        """Run all tasks, the first one here."""
        waiting = [self._workers(len(tasks) - 1).submit(task) for task in tasks[1:]]
        tasks[0]()
        for future in waiting:
            future.result()

    def _workers(self, count: int) -> ThreadPoolExecutor:
        with self._lock:
            if self._executor is None or count > self._size:
                self._executor, self._size = ThreadPoolExecutor(count, "sparsewire"), count
            return self._executor

    def forget(self) -> None:
        """Start afresh in a forked process, which has no threads."""
        self._lock = threading.Lock()
        self._executor, self._size = None, 0


_pool = _Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.forget)


def lanes_of(dtype: np.dtype[Any]) -> int:
    """Return the number of lanes in a vector; batches are padded to a multiple of it."""
    return VECTOR_BYTES // dtype.itemsize


def multiply(
    index: Index, w: Floats, bias: Floats | None, X: Floats, out: Floats | None = None
) -> Floats:
    """Return ``W @ X + bias``.

    Parameters
    ----------
    index : Index
        Connections of W, shape (n_out, n_in).
    w : ndarray, shape (n_connections,)
        Their weights, in the order of the index.
    bias : ndarray, shape (n_out,), or None
        None means zeros.
    X : ndarray, shape (n_in, lanes), C-contiguous
        Lanes are a multiple of `lanes_of`.
    out : ndarray, shape (n_out, lanes), optional
        Where to put the result.

    Returns
    -------
    ndarray, shape (n_out, lanes)
        Of the dtype of all arguments.
    """
    if bias is None:
        bias = np.zeros(index.n_out, w.dtype)
    if out is None:
        out = np.empty((index.n_out, X.shape[1]), w.dtype)
    if index.layout == "csr":
        _by_rows("gather", index.indptr, (index.indptr, index.indices, w, bias, X, out))
    elif _scatters(index, X):
        out[:] = bias[:, None]
        arrays = (index.indptr, index.indices, w, X, out)
        _by_lanes("scatter", index, [arrays] * _threads(index, X))
    else:
        indptr, indices, position = index.other_side
        _by_rows("gather_at", indptr, (indptr, indices, position, w, bias, X, out))
    return out


def _scatters(index: Index, X: Floats) -> bool:
    """Tell whether an input-major layer is applied faster without its output-major index.

    So it is if the rows of a small output side stay in the cache and inputs have enough
    connections to be worth a visit each, and if a huge layer meets a batch too small to pay for the
    second index.
    """
    n = len(index.indices)
    few_outputs = index.n_in >= _WIDE and index.n_in > 4 * index.n_out and n >= _FEW * index.n_in
    return few_outputs or (X.shape[1] <= lanes_of(X.dtype) and n > _MANY)


def gradients(
    index: Index,
    w: Floats,
    X: Floats,
    dY: Floats,
    *,
    inputs: bool = True,
    weights: bool = True,
    dX: Floats | None = None,
    g: Floats | None = None,
) -> tuple[Floats | None, Floats | None]:
    """Return the gradients of `multiply` for X and w, each only if wanted.

    Parameters
    ----------
    index, w, X
        As in `multiply`.
    dY : ndarray, shape (n_out, lanes), C-contiguous
        Gradient for its result; 0 in padded lanes.
    inputs, weights : bool, default True
        Which gradients are wanted.
    dX, g : ndarray, optional
        Where to put them.

    Returns
    -------
    dX : ndarray, shape (n_in, lanes), or None
        ``W.T @ dY``.
    g : ndarray, shape (n_connections,), or None
        ``dY @ X.T`` at the connections alone, in the order of the index.
    """
    if inputs and dX is None:
        dX = np.empty((index.n_in, dY.shape[1]), w.dtype)
    if weights and g is None:
        g = np.empty_like(w)
    if dX is not None and g is not None:
        _both(index, w, X, dY, dX, g)
    elif dX is not None:
        _for_inputs(index, w, dY, dX)
    elif g is not None:
        g.fill(0)
        sides = (X, dY) if index.layout == "csc" else (dY, X)
        _by_rows("dot", index.indptr, (index.indptr, index.indices, g, *sides))
    return dX, g


def _both(index: Index, w: Floats, X: Floats, dY: Floats, dX: Floats, g: Floats) -> None:
    g.fill(0)
    own = index.indptr, index.indices, w
    if index.layout == "csc":
        _by_rows("gather_dot", index.indptr, (*own, g, X, dY, dX))
        return
    dX.fill(0)
    parts = [g, *(np.zeros_like(w) for _ in range(1, _threads(index, X)))]
    _by_lanes("scatter_dot", index, [(*own, part, X, dY, dX) for part in parts])
    with np.errstate(invalid="ignore", over="ignore"):
        for part in parts[1:]:
            g += part


def _for_inputs(index: Index, w: Floats, dY: Floats, dX: Floats) -> None:
    own = index.indptr, index.indices, w
    if index.layout == "csc":
        _by_rows("gather", index.indptr, (*own, np.zeros(index.n_in, w.dtype), dY, dX))
    else:
        dX.fill(0)
        _by_lanes("scatter", index, [(*own, dY, dX)] * _threads(index, dY))


def _vectors(X: Floats) -> int:
    return int(X.shape[1]) // lanes_of(X.dtype)


def _threads(index: Index, X: Floats) -> int:
    """Return how many threads share the lanes of X."""
    if len(index.indices) * X.shape[1] < _SERIAL:
        return 1
    return _most_threads(_vectors(X))


def _call(
    kernel: Any, arrays: tuple[Any, ...], rows: tuple[int, int], span: tuple[int, int]
) -> None:
    """Run a kernel on a range of major rows and a range of vectors, tile by tile."""
    first, last = span
    step = VECTOR_BYTES // arrays[-1].itemsize
    while first < last:
        width = min(_TILE, last - first)
        kernel((0,) * width, arrays, *rows, first * step)
        first += width


def _by_rows(name: str, indptr: Int64s, arrays: tuple[Any, ...]) -> None:
    """Share the major rows, with equal numbers of connections; their results are independent."""
    kernel = getattr(backend(), name)
    n, vectors = len(indptr) - 1, _vectors(arrays[-1])
    if len(arrays[1]) * arrays[-1].shape[1] < _SERIAL or (threads := _most_threads(n)) == 1:
        _call(kernel, arrays, (0, n), (0, vectors))
        return
    shares = [len(arrays[1]) * t // threads for t in range(1, threads)]
    cuts = [0, *np.searchsorted(indptr, shares).tolist(), n]
    _pool.run(
        [
            functools.partial(_call, kernel, arrays, (begin, end), (0, vectors))
            for begin, end in itertools.pairwise(cuts)
        ]
    )


def _most_threads(shares: int) -> int:
    """Return torch's number of threads, but no more than there is work for."""
    return max(1, min(int(torch.get_num_threads()), shares))


def _by_lanes(name: str, index: Index, arrays: list[tuple[Any, ...]]) -> None:
    """Share the lanes, one thread for each entry of `arrays`, because rows write to each other."""
    kernel = getattr(backend(), name)
    vectors, threads = _vectors(arrays[0][-1]), len(arrays)
    cuts = [vectors * t // threads for t in range(threads + 1)]
    _pool.run(
        [
            functools.partial(_call, kernel, own, (0, index.n_major), (begin, end))
            for own, (begin, end) in zip(arrays, itertools.pairwise(cuts), strict=True)
        ]
    )
