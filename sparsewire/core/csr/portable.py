"""What do the same kernels look like in plain numba?

They take the arguments of `sparsewire.core.csr.vector` and are what runs where explicit vectors do
not compile; they are also what the vector kernels are tested against. Several connections share
one pass over the lanes, which saves loads and stores of the sums. With `SPARSEWIRE_BOUNDS_CHECK=1`
in the environment they check every index, and are used whatever the machine.
"""

import os
from typing import Any

from numba import njit

BOUNDS_CHECK = os.environ.get("SPARSEWIRE_BOUNDS_CHECK", "0") == "1"
_JIT: dict[str, Any] = {
    "cache": not BOUNDS_CHECK,
    "nogil": True,
    "error_model": "numpy",
    "boundscheck": BOUNDS_CHECK,
    # Sums may be reordered, which vectorises them; NaN and infinity survive.
    "fastmath": {"contract", "reassoc", "nsz"},
}


@njit(**_JIT)
def _tile(lanes: Any, row: Any, low: int) -> Any:
    """Return the tile's lanes of a row; a vector has 64 bytes."""
    return row[low : low + len(lanes) * (64 // row.itemsize)]


@njit(**_JIT)
def gather(lanes: Any, arrays: Any, begin: int, end: int, low: int) -> None:
    """Arrays: indptr, indices, w, bias, X, out."""
    indptr, indices, w, bias, X, out = arrays
    for major in range(begin, end):
        y = _tile(lanes, out[major], low)
        y[:] = bias[major]
        k, last = indptr[major], indptr[major + 1]
        while k + 4 <= last:
            v0, v1, v2, v3 = w[k], w[k + 1], w[k + 2], w[k + 3]
            x0, x1 = _tile(lanes, X[indices[k]], low), _tile(lanes, X[indices[k + 1]], low)
            x2, x3 = _tile(lanes, X[indices[k + 2]], low), _tile(lanes, X[indices[k + 3]], low)
            for b in range(len(y)):
                y[b] += (v0 * x0[b] + v1 * x1[b]) + (v2 * x2[b] + v3 * x3[b])
            k += 4
        while k < last:
            x = _tile(lanes, X[indices[k]], low)
            for b in range(len(y)):
                y[b] += w[k] * x[b]
            k += 1


@njit(**_JIT)
def gather_at(lanes: Any, arrays: Any, begin: int, end: int, low: int) -> None:
    """Arrays: indptr, indices, position, w, bias, X, out."""
    indptr, indices, position, w, bias, X, out = arrays
    for major in range(begin, end):
        y = _tile(lanes, out[major], low)
        y[:] = bias[major]
        k, last = indptr[major], indptr[major + 1]
        while k + 4 <= last:
            v0, v1 = w[position[k]], w[position[k + 1]]
            v2, v3 = w[position[k + 2]], w[position[k + 3]]
            x0, x1 = _tile(lanes, X[indices[k]], low), _tile(lanes, X[indices[k + 1]], low)
            x2, x3 = _tile(lanes, X[indices[k + 2]], low), _tile(lanes, X[indices[k + 3]], low)
            for b in range(len(y)):
                y[b] += (v0 * x0[b] + v1 * x1[b]) + (v2 * x2[b] + v3 * x3[b])
            k += 4
        while k < last:
            v, x = w[position[k]], _tile(lanes, X[indices[k]], low)
            for b in range(len(y)):
                y[b] += v * x[b]
            k += 1


@njit(**_JIT)
def scatter(lanes: Any, arrays: Any, begin: int, end: int, low: int) -> None:
    """Arrays: indptr, indices, w, X, out."""
    indptr, indices, w, X, out = arrays
    for major in range(begin, end):
        x = _tile(lanes, X[major], low)
        for k in range(indptr[major], indptr[major + 1]):
            y = _tile(lanes, out[indices[k]], low)
            for b in range(len(x)):
                y[b] += w[k] * x[b]


@njit(**_JIT)
def dot(lanes: Any, arrays: Any, begin: int, end: int, low: int) -> None:
    """Arrays: indptr, indices, g, A, B."""
    indptr, indices, g, A, B = arrays
    for major in range(begin, end):
        a = _tile(lanes, A[major], low)
        for k in range(indptr[major], indptr[major + 1]):
            other = _tile(lanes, B[indices[k]], low)
            total = g.dtype.type(0)
            for b in range(len(a)):
                total += a[b] * other[b]
            g[k] += total


@njit(**_JIT)
def gather_dot(lanes: Any, arrays: Any, begin: int, end: int, low: int) -> None:
    """Arrays: indptr, indices, w, g, X, dY, dX."""
    indptr, indices, w, g, X, dY, dX = arrays
    for major in range(begin, end):
        x, d = _tile(lanes, X[major], low), _tile(lanes, dX[major], low)
        d[:] = 0
        k, last = indptr[major], indptr[major + 1]
        while k + 2 <= last:
            v0, v1 = w[k], w[k + 1]
            y0, y1 = _tile(lanes, dY[indices[k]], low), _tile(lanes, dY[indices[k + 1]], low)
            s0 = s1 = g.dtype.type(0)
            for b in range(len(x)):
                d[b] += v0 * y0[b] + v1 * y1[b]
                s0 += y0[b] * x[b]
                s1 += y1[b] * x[b]
            g[k] += s0
            g[k + 1] += s1
            k += 2
        while k < last:
            v, y = w[k], _tile(lanes, dY[indices[k]], low)
            s = g.dtype.type(0)
            for b in range(len(x)):
                d[b] += v * y[b]
                s += y[b] * x[b]
            g[k] += s
            k += 1


@njit(**_JIT)
def scatter_dot(lanes: Any, arrays: Any, begin: int, end: int, low: int) -> None:
    """Arrays: indptr, indices, w, g, X, dY, dX."""
    indptr, indices, w, g, X, dY, dX = arrays
    for major in range(begin, end):
        y = _tile(lanes, dY[major], low)
        for k in range(indptr[major], indptr[major + 1]):
            x, d = _tile(lanes, X[indices[k]], low), _tile(lanes, dX[indices[k]], low)
            s = g.dtype.type(0)
            for b in range(len(y)):
                s += x[b] * y[b]
                d[b] += w[k] * y[b]
            g[k] += s
