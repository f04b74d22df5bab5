"""How is an index put together, turned, checked and changed?

One pass each over the connections, without temporaries of their size.
"""

from typing import Any

import numpy as np
from numba import njit

from sparsewire.core.csr.portable import BOUNDS_CHECK

_JIT: dict[str, Any] = {"cache": not BOUNDS_CHECK, "nogil": True, "boundscheck": BOUNDS_CHECK}


@njit(**_JIT)
def compress(positions: Any, n_out: int, n_in: int) -> Any:
    """Return indptr and indices, by output, of ascending flat positions."""
    indptr, indices = np.zeros(n_out + 1, np.int64), np.empty(len(positions), np.int32)
    row, first = 0, 0
    for k in range(len(positions)):
        while positions[k] >= first + n_in:
            row += 1
            first += n_in
            indptr[row] = k
        indices[k] = positions[k] - first
    indptr[row + 1 :] = len(positions)
    return indptr, indices


@njit(**_JIT)
def flatten(indptr: Any, indices: Any, n_in: int) -> Any:
    """Return the flat positions of an index by output."""
    positions = np.empty(len(indices), np.int64)
    for row in range(len(indptr) - 1):
        for k in range(indptr[row], indptr[row + 1]):
            positions[k] = row * n_in + indices[k]
    return positions


@njit(**_JIT)
def merge(indptr: Any, indices: Any, order: Any, n_in: int, dropped: Any, grown: Any) -> Any:
    """Return the index by output after a change, and where each connection's number comes from.

    Number k of the old index lies at `order[k]`; `dropped` and `grown` are ascending positions. A
    source below 0 means a new connection: -1 is the first of `grown`, -2 the second, and so on. The
    last array tells where the number of each of `grown` was if it has just been dropped, or is -1.
    """
    previous = np.full(len(grown), -1, np.int32)
    n = len(indices) - len(dropped) + len(grown)
    new_indptr, new_indices = np.zeros_like(indptr), np.empty(n, np.int32)
    source = np.empty(n, np.int32)
    slot = d = g = 0
    for row in range(len(indptr) - 1):
        k, last = indptr[row], indptr[row + 1]
        while True:
            while k < last and d < len(dropped) and dropped[d] == row * n_in + indices[k]:
                again = np.searchsorted(grown, dropped[d])
                if again < len(grown) and grown[again] == dropped[d]:
                    previous[again] = order[k]
                k += 1
                d += 1
            column = indices[k] if k < last else n_in
            if g < len(grown) and grown[g] < row * n_in + column:
                new_indices[slot], source[slot] = grown[g] - row * n_in, -1 - g
                g += 1
            elif k < last:
                new_indices[slot], source[slot] = column, order[k]
                k += 1
            else:
                break
            slot += 1
        new_indptr[row + 1] = slot
    return new_indptr, new_indices, source, previous


@njit(**_JIT)
def transpose(n_minor: int, indptr: Any, indices: Any) -> Any:
    """Return indptr and indices seen from the minor side, and where each number lay before."""
    start = np.zeros(n_minor + 1, np.int64)
    for k in range(len(indices)):
        start[indices[k] + 1] += 1
    for i in range(n_minor):
        start[i + 1] += start[i]
    turned, position = np.empty(len(indices), np.int32), np.empty(len(indices), np.int32)
    free = start[:-1].copy()
    for major in range(len(indptr) - 1):
        for k in range(indptr[major], indptr[major + 1]):
            slot = free[indices[k]]
            free[indices[k]] = slot + 1
            turned[slot], position[slot] = major, k
    return start, turned, position


@njit(**_JIT)
def first_fault(n_minor: int, indptr: Any, indices: Any) -> int:
    """Return the first major row whose entries are not ascending and in range, or -1."""
    if indptr[0] != 0 or indptr[-1] != len(indices):
        return 0
    for major in range(len(indptr) - 1):
        if not 0 <= indptr[major] <= indptr[major + 1] <= len(indices):
            return major
        before = -1
        for k in range(indptr[major], indptr[major + 1]):
            if not before < indices[k] < n_minor:
                return major
            before = indices[k]
    return -1
