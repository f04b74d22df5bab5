"""Do the compiled functions do what their Python text says?

Python checks every type and index of a plain numba function where the compiler trusts it, and the
coverage report sees its lines only then.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sparsewire.core.csr import assemble, portable

DENSITIES = [0.0, 0.2, 1.0]
WIDTHS = [1, 2]
each_density = pytest.mark.parametrize("density", DENSITIES)

# Which arrays a kernel takes, and whether its minor side is gathered from.
KERNELS = {
    "gather": "w bias minor major",
    "gather_at": "position w bias minor major",
    "scatter": "w major minor",
    "dot": "g major minor",
    "gather_dot": "w g major minor major",
    "scatter_dot": "w g minor major minor",
}


def index_of(density: float, n_major: int = 7, n_minor: int = 9) -> tuple[Any, Any, Any]:
    """Return flat positions, indptr and indices of random connections, one row full, one empty."""
    mask = np.random.default_rng(1).random((n_major, n_minor)) < density
    mask[2], mask[4] = density > 0, False
    positions = np.flatnonzero(mask)
    indptr = np.concatenate([[0], mask.sum(1).cumsum()]).astype(np.int64)
    return positions, indptr, (positions % n_minor).astype(np.int32)


def both(function: Any, arguments: Callable[[], tuple[Any, ...]]) -> tuple[Any, Any]:
    """Return what the compiled and the interpreted function make of equal arguments."""
    return function(*arguments()), function.py_func(*arguments())


def assert_same(compiled: Any, interpreted: Any) -> None:
    assert len(compiled) == len(interpreted)
    for one, other in zip(compiled, interpreted, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", KERNELS)
@each_density
def test_a_kernel_computes_what_its_text_says(
    density: float, name: str, dtype: Any, width: int
) -> None:
    def arguments() -> tuple[Any, ...]:
        rng = np.random.default_rng(0)
        _, indptr, indices = index_of(density)
        lanes = (width + 1) * (64 // np.dtype(dtype).itemsize)
        n = len(indices)
        shapes: dict[str, Any] = {
            "w": n, "g": n, "bias": 7, "major": (7, lanes), "minor": (9, lanes)
        }  # fmt: skip
        arrays = [
            rng.permutation(n).astype(np.int32)
            if kind == "position"
            else rng.standard_normal(shapes[kind]).astype(dtype)
            for kind in KERNELS[name].split()
        ]
        return (0,) * width, (indptr, indices, *arrays), 1, 6, lanes // (width + 1)

    kernel = getattr(portable, name)
    compiled, interpreted = arguments(), arguments()
    kernel(*compiled)
    kernel.py_func(*interpreted)
    untouched = arguments()[1]
    changed = 0
    for one, other, before in zip(compiled[1], interpreted[1], untouched, strict=True):
        tolerance = 1e-4 if dtype == np.float32 else 1e-12
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)
        changed += not np.array_equal(other, before)
    assert changed == (0 if density == 0 and name in ("scatter", "dot", "scatter_dot") else 1) + (
        density > 0 and name in ("gather_dot", "scatter_dot")
    )


@each_density
def test_positions_make_an_index_and_an_index_positions(density: float) -> None:
    positions, indptr, indices = index_of(density)
    for function in (assemble.compress, assemble.compress.py_func):
        assert_same(function(positions, 7, 9), (indptr, indices))
    for function in (assemble.flatten, assemble.flatten.py_func):
        np.testing.assert_array_equal(function(indptr, indices, 9), positions)


@each_density
def test_an_index_is_turned_as_its_text_says(density: float) -> None:
    _, indptr, indices = index_of(density)
    assert_same(*both(assemble.transpose, lambda: (9, indptr, indices)))


@pytest.mark.parametrize("again", [False, True], ids=["elsewhere", "where dropped"])
@each_density
def test_connections_are_exchanged_as_the_text_says(density: float, again: bool) -> None:
    positions, indptr, indices = index_of(density)
    rng = np.random.default_rng(2)
    dropped = np.sort(rng.permutation(positions)[: len(positions) // 3])
    free = np.setdiff1d(np.arange(63), positions)
    new = rng.permutation(free)[: len(dropped)]
    grown = np.sort(np.concatenate([dropped[::2], new[1::2]]) if again else new)
    order = rng.permutation(len(indices)).astype(np.int32)
    compiled, interpreted = both(
        assemble.merge, lambda: (indptr, indices, order, 9, dropped, grown)
    )
    assert_same(compiled, interpreted)
    expected = np.union1d(np.setdiff1d(positions, dropped), grown)
    np.testing.assert_array_equal(assemble.flatten(*compiled[:2], 9), expected)


def test_damage_is_found_where_the_text_says() -> None:
    _, indptr, indices = index_of(0.4)
    damages: list[tuple[str, int, int]] = [
        ("indptr", 0, 1), ("indptr", -1, 3), ("indptr", 3, 10**6), ("indptr", 3, -1),
        ("indices", 0, -1), ("indices", 5, 9), ("indices", 3, 0),
    ]  # fmt: skip
    for name, slot, value in [("indptr", 0, 0), *damages]:
        arrays = {"indptr": indptr.copy(), "indices": indices.copy()}
        arrays[name][slot] = value
        compiled = assemble.first_fault(9, *arrays.values())
        assert compiled == assemble.first_fault.py_func(9, *arrays.values())
        assert (compiled == -1) == (value == 0 and slot == 0)
