"""Does RowScaler give what scikit-learn's scalers give, batch by batch, dense and sparse?"""

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from sparsewire.featsel.rows import RowScaler, shuffled_batches

Floats = npt.NDArray[np.float64]
SCALERS = {"standard": StandardScaler, "minmax": MinMaxScaler}
STORES: list[Callable[[Any], Any]] = [
    np.asarray,
    np.asfortranarray,
    sparse.csr_matrix,
    sparse.csr_array,
]

scales = pytest.mark.parametrize("scale", list(SCALERS))
stores = pytest.mark.parametrize("store", STORES, ids=lambda store: store.__name__)


def table(n_rows: int = 40, n_columns: int = 7, seed: int = 0) -> Floats:
    """Columns of different size and position, half of the entries exactly zero."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n_rows, n_columns)) * 10.0 ** np.arange(n_columns) + 3.0
    values[rng.random(values.shape) < 0.5] = 0.0
    return values


def all_rows(X: Any, scale: str | None) -> npt.NDArray[np.float32]:
    return RowScaler(X, scale).rows(np.arange(X.shape[0]))


def standardised(X: npt.ArrayLike) -> Floats:
    """Standard scores in extended precision, so that no rounding of the reference counts."""
    wide = np.asarray(X, dtype=np.longdouble)
    centred = wide - wide.mean(axis=0)
    scores: Floats = (centred / np.sqrt((centred**2).mean(axis=0))).astype(np.float64)
    return scores


# ------------------------------------------------------------------ values


@scales
@stores
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rows_equal_those_of_scikit_learns_scaler(
    dtype: type[np.floating[Any]], store: Callable[[Any], Any], scale: str
) -> None:
    X = table().astype(dtype)
    expected = SCALERS[scale]().fit_transform(X.astype(np.float64))
    found = all_rows(store(X), scale)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@given(seed=st.integers(0, 2**32 - 1), n_rows=st.integers(2, 30), n_columns=st.integers(1, 6))
def test_dense_and_sparse_rows_agree_for_any_table(seed: int, n_rows: int, n_columns: int) -> None:
    X = table(n_rows, n_columns, seed)
    for scale in ("standard", "minmax", None):
        dense, thin = RowScaler(X, scale), RowScaler(sparse.csr_array(X), scale)
        index = np.random.default_rng(seed).permutation(n_rows)[: n_rows // 2 + 1]
        np.testing.assert_array_equal(dense.constant, thin.constant)
        np.testing.assert_allclose(thin.rows(index), dense.rows(index), rtol=1e-5, atol=1e-6)


@stores
def test_without_scaling_rows_are_the_values_themselves(store: Callable[[Any], Any]) -> None:
    X = table()
    np.testing.assert_array_equal(all_rows(store(X), None), X.astype(np.float32))


def test_rows_come_in_the_order_asked_for() -> None:
    scaler = RowScaler(table(), "standard")
    every = scaler.rows(np.arange(40))
    index = np.array([5, 0, 5, 39])
    np.testing.assert_array_equal(scaler.rows(index), every[index])


def test_the_input_is_never_changed() -> None:
    X = table()
    X.flags.writeable = False
    before = X.copy()
    RowScaler(X, "standard").rows(np.arange(3))[:] = 7.0
    np.testing.assert_array_equal(X, before)


# ------------------------------------------------------------------ hard numbers


@scales
@stores
@pytest.mark.parametrize("power", [-60, 100])
def test_columns_of_any_size_scale_alike(
    power: int, store: Callable[[Any], Any], scale: str
) -> None:
    # 2**100 is 1.3e30; a power of two changes no digit, so the rows have to agree bit for bit.
    X = table()
    np.testing.assert_array_equal(all_rows(store(X * 2.0**power), scale), all_rows(store(X), scale))


@scales
@stores
def test_huge_float32_values_do_not_overflow(store: Callable[[Any], Any], scale: str) -> None:
    X = (table(n_columns=3) * 1e30).astype(np.float32)
    expected = SCALERS[scale]().fit_transform(X.astype(np.float64))
    np.testing.assert_allclose(all_rows(store(X), scale), expected, rtol=1e-6, atol=1e-6)


@stores
@pytest.mark.parametrize("mean", [1e3, 1e6, 1e8])
def test_a_mean_far_from_zero_costs_no_precision(mean: float, store: Callable[[Any], Any]) -> None:
    # Unit steps are exact in float64 at all of these means.
    X = np.random.default_rng(1).integers(-5, 6, size=(200, 4)) + mean
    np.testing.assert_allclose(all_rows(store(X), "standard"), standardised(X), rtol=1e-5)


@scales
@stores
def test_adding_a_constant_to_a_column_changes_no_row(
    store: Callable[[Any], Any], scale: str
) -> None:
    # Integers, and a power of two many rows: sums and means are exact with and without the shift.
    X = np.random.default_rng(2).integers(-8, 9, size=(64, 5)).astype(np.float64)
    shifted = X + np.array([0.0, 1.0, -(2.0**10), 2.0**20, 2.0**40])
    np.testing.assert_allclose(
        all_rows(store(shifted), scale), all_rows(store(X), scale), rtol=1e-6, atol=1e-7
    )


@scales
@stores
@pytest.mark.parametrize("value", [0.0, 0.1, -3.0, 1.7e18, 1e30])
def test_constant_columns_are_found_and_become_zero(
    value: float, store: Callable[[Any], Any], scale: str
) -> None:
    X = table(n_rows=60, n_columns=3)
    X[:, 1] = value
    scaler = RowScaler(store(X), scale)
    np.testing.assert_array_equal(scaler.constant, [False, True, False])
    np.testing.assert_allclose(scaler.rows(np.arange(60))[:, 1], 0.0, atol=1e-6)


@stores
def test_a_column_is_not_constant_if_a_single_entry_differs(store: Callable[[Any], Any]) -> None:
    X = np.ones((50, 2))
    X[17, 1] = np.nextafter(1.0, 2.0)
    scaler = RowScaler(store(X), "standard")
    np.testing.assert_array_equal(scaler.constant, [True, False])
    assert np.isfinite(scaler.rows(np.arange(50))).all()


def test_a_sparse_column_is_constant_only_if_its_unstored_zeros_agree() -> None:
    X = np.array([[5.0, 5.0, 0.0], [5.0, 0.0, 0.0], [5.0, 5.0, 0.0]])
    scaler = RowScaler(sparse.csr_array(X), "standard")
    np.testing.assert_array_equal(scaler.constant, [True, False, True])


# ------------------------------------------------------------------ memory and batches


@scales
def test_a_sparse_matrix_is_never_made_dense_as_a_whole(scale: str) -> None:
    n_rows, n_columns = 20_000, 1_000
    X = sparse.random_array((n_rows, n_columns), density=1e-3, format="csr", rng=0)
    tracemalloc.start()
    scaler = RowScaler(X, scale)
    for start in range(0, n_rows, 2_000):
        scaler.rows(np.arange(start, start + 100))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < n_rows * n_columns * 4 / 10


@given(n_samples=st.integers(1, 50), batch_size=st.integers(1, 60))
def test_an_epoch_holds_every_row_once_in_full_batches_but_the_last(
    n_samples: int, batch_size: int
) -> None:
    batches = list(shuffled_batches(n_samples, batch_size, np.random.default_rng(0)))
    np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(n_samples))
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert 1 <= len(batches[-1]) <= batch_size


def test_every_epoch_has_its_own_order() -> None:
    generator = np.random.default_rng(0)
    first, second = (next(shuffled_batches(50, 50, generator)) for _ in range(2))
    assert not np.array_equal(first, second)
