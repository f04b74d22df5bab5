"""Are the filters what they claim: the Laplacian score of the paper, and a fair lot?

That they are well-behaved selectors is tested in test_contract, with all others.
"""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.stats import chisquare, kstest
from sklearn.base import clone

from sparsewire.core import InvalidArgumentError
from sparsewire.datasets import load
from sparsewire.featsel import filters
from sparsewire.featsel.evaluation import score_support, split_and_scale
from sparsewire.featsel.filters import LaplacianScore, RandomSelector

Floats = npt.NDArray[np.float64]
Filter = LaplacianScore | RandomSelector
FILTERS = [LaplacianScore(random_state=0), RandomSelector(random_state=0)]
N_SAMPLES, N_FEATURES = 60, 9


def each_filter(test: Callable[..., None]) -> Any:
    return pytest.mark.parametrize("selector", FILTERS, ids=lambda one: type(one).__name__)(test)


@pytest.fixture(name="X")
def _table() -> Floats:
    """Rows of rank 3 plus noise, a third of the entries exactly zero."""
    rng = np.random.default_rng(5)
    dense = rng.normal(size=(N_SAMPLES, 3)) @ rng.normal(size=(3, N_FEATURES))
    dense += 0.1 * rng.normal(size=dense.shape)
    dense[rng.random(dense.shape) < 1 / 3] = 0.0
    return dense


def laplacian_score_slowly(X: Floats, n_neighbors: int) -> Floats:
    """The formulas of He, Cai and Niyogi with the n x n matrices written out; small is good."""
    n_samples = len(X)
    squared = np.array([[((one - other) ** 2).sum() for other in X] for one in X])
    nearest = [
        sorted((j for j in range(n_samples) if j != i), key=lambda j: squared[i, j])[:n_neighbors]
        for i in range(n_samples)
    ]
    width = np.mean([squared[i, j] for i in range(n_samples) for j in nearest[i]])
    S = np.zeros((n_samples, n_samples))
    for i in range(n_samples):
        for j in nearest[i]:
            S[i, j] = S[j, i] = np.exp(-squared[i, j] / width)
    D = np.diag(S.sum(axis=1))
    ones = np.ones(n_samples)
    scores = []
    for column in X.T:
        centred = column - (column @ D @ ones) / (ones @ D @ ones)
        scores.append((centred @ (D - S) @ centred) / (centred @ D @ centred))
    return np.array(scores)


# ------------------------------------------------------------------ both filters


@each_filter
def test_a_constant_column_ranks_last_with_importance_0(selector: Filter, X: Floats) -> None:
    X[:, 4] = 7.0
    with pytest.warns(UserWarning, match="1 of 9 features are constant"):
        fitted = clone(selector).fit(X)
    assert fitted.order_[-1] == 4
    assert fitted.feature_importances_[4] == 0


@each_filter
def test_bad_input_is_refused(selector: Filter, X: Floats) -> None:
    with pytest.raises(ValueError, match=r"1 sample.*minimum of 2"):
        clone(selector).fit(X[:1])
    with pytest.raises(InvalidArgumentError, match="n_features_to_select=10 is more than the 9"):
        clone(selector).set_params(n_features_to_select=10).fit(X)
    with pytest.raises(InvalidArgumentError, match="n_features_to_select must not be a bool"):
        clone(selector).set_params(n_features_to_select=True).fit(X)
    X[3, 2] = np.nan
    with pytest.raises(ValueError, match="contains NaN"):
        clone(selector).fit(X)


# ------------------------------------------------------------------ the Laplacian score


@given(
    n_samples=st.integers(2, 25),
    n_features=st.integers(1, 6),
    n_neighbors=st.integers(1, 8),
    seed=st.integers(0, 10**6),
)
def test_the_score_equals_the_formulas_of_the_paper(
    n_samples: int, n_features: int, n_neighbors: int, seed: int
) -> None:
    X = np.random.default_rng(seed).normal(size=(n_samples, n_features))
    fitted = LaplacianScore(n_neighbors=n_neighbors, scale=None).fit(X)
    slow = laplacian_score_slowly(X, min(n_neighbors, n_samples - 1))
    np.testing.assert_allclose(fitted.feature_importances_, 1 - slow / 2, atol=1e-12)
    assert (fitted.feature_importances_ >= 0).all()


def test_columns_are_scaled_before_distances_are_taken(X: Floats) -> None:
    low, high = X.min(axis=0), X.max(axis=0)
    found = LaplacianScore().fit(X).feature_importances_
    expected = LaplacianScore(scale=None).fit((X - low) / (high - low)).feature_importances_
    np.testing.assert_allclose(found, expected)
    assert not np.allclose(found, LaplacianScore(scale=None).fit(X).feature_importances_)


@pytest.mark.parametrize(("rows", "values"), [(1, 10**9), (7, 10**9), (512, 20), (60, 1)])
def test_block_sizes_do_not_matter(
    rows: int, values: int, X: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = LaplacianScore().fit(X).feature_importances_
    monkeypatch.setattr(filters, "_BLOCK_ROWS", rows)
    monkeypatch.setattr(filters, "_BLOCK_VALUES", values)
    np.testing.assert_allclose(LaplacianScore().fit(X).feature_importances_, expected, rtol=1e-12)


def test_permuting_rows_or_columns_permutes_the_importances(X: Floats) -> None:
    rng = np.random.default_rng(0)
    rows, columns = rng.permutation(N_SAMPLES), rng.permutation(N_FEATURES)
    expected = LaplacianScore().fit(X).feature_importances_
    np.testing.assert_allclose(LaplacianScore().fit(X[rows]).feature_importances_, expected)
    np.testing.assert_allclose(
        LaplacianScore().fit(X[:, columns]).feature_importances_, expected[columns]
    )


def test_a_large_number_added_to_a_column_changes_nothing(X: Floats) -> None:
    shift = np.array([1e6] * 4 + [0.0] * 5)
    np.testing.assert_allclose(
        LaplacianScore(scale=None).fit(X + shift).feature_importances_,
        LaplacianScore(scale=None).fit(X).feature_importances_,
        rtol=1e-6,
    )


def test_a_feature_that_follows_the_clusters_beats_noise() -> None:
    rng = np.random.default_rng(0)
    cluster = rng.integers(3, size=200)
    informative = cluster[:, None] * [1.0, -1.0, 2.0] + 0.05 * rng.normal(size=(200, 3))
    X = np.hstack([rng.normal(size=(200, 4)), informative])
    assert set(LaplacianScore(3).fit(X).get_support(indices=True)) == {4, 5, 6}


def test_repeated_rows_are_legal(X: Floats) -> None:
    fitted = LaplacianScore(n_neighbors=2).fit(np.repeat(X, 5, axis=0))
    # All neighbours are copies, so no feature differs between them.
    np.testing.assert_array_equal(fitted.feature_importances_, 1.0)


def test_more_neighbours_than_rows_join_all_rows(X: Floats) -> None:
    np.testing.assert_array_equal(
        LaplacianScore(n_neighbors=1000).fit(X).feature_importances_,
        LaplacianScore(n_neighbors=N_SAMPLES - 1).fit(X).feature_importances_,
    )


def test_the_sample_is_drawn_by_seed_and_only_if_there_are_too_many_rows(X: Floats) -> None:
    def importances(seed: int, max_samples: int) -> Floats:
        selector = LaplacianScore(max_samples=max_samples, random_state=seed).fit(X)
        return np.asarray(selector.feature_importances_)

    np.testing.assert_array_equal(importances(0, 20), importances(0, 20))
    assert not np.array_equal(importances(0, 20), importances(1, 20))
    np.testing.assert_array_equal(importances(0, N_SAMPLES), importances(1, N_SAMPLES))


def test_a_column_that_does_not_vary_in_the_sample_has_importance_0() -> None:
    X = np.random.default_rng(0).normal(size=(500, 4))
    X[:, 1] = 0.1
    X[0, 1] = 5.0
    fitted = LaplacianScore(max_samples=20, random_state=1).fit(X)
    assert fitted.feature_importances_[1] == 0
    assert (fitted.feature_importances_[[0, 2, 3]] > 0).all()


def test_rows_too_far_apart_for_double_precision_are_an_error_that_names_the_fix() -> None:
    X = np.random.default_rng(0).normal(size=(10, 3))
    X[0, 0] = 1e200
    with pytest.raises(InvalidArgumentError, match="scale='minmax'"):
        LaplacianScore(scale=None).fit(X)
    assert LaplacianScore().fit(X).feature_importances_[0] > 0


@pytest.mark.parametrize(
    ("name", "value"), [("n_neighbors", 0), ("max_samples", 1), ("scale", "log")]
)
def test_a_parameter_out_of_range_is_refused(name: str, value: Any, X: Floats) -> None:
    with pytest.raises(ValueError, match=f"The '{name}' parameter of LaplacianScore must be"):
        LaplacianScore(**{name: value}).fit(X)


@pytest.mark.parametrize("name", ["n_neighbors", "max_samples"])
def test_a_bool_is_no_number(name: str, X: Floats) -> None:
    with pytest.raises(ValueError, match=f"(?i){name}.* must"):
        LaplacianScore(**{name: True}).fit(X)  # type: ignore[arg-type]


def test_memory_is_that_of_blocks_and_not_of_a_scaled_copy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(filters, "_BLOCK_VALUES", 2**17)
    X = sparse.random_array((400, 4000), density=0.02, format="csr", rng=0)
    LaplacianScore().fit(X)
    tracemalloc.start()
    LaplacianScore().fit(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.6 * 8 * X.shape[0] * X.shape[1]


@pytest.mark.usefixtures("data_dir")
@pytest.mark.parametrize(
    ("name", "accuracy", "tolerance"),
    [
        ("madelon", 85.33, 0.2),
        ("coil20", 75.69, 0.01),
        ("isolet1560", 71.47, 0.01),
        ("pcmac", 50.64, 0.01),
        ("usps", 88.23, 0.5),
    ],
)
def test_accuracies_equal_those_measured_with_another_implementation(
    name: str, accuracy: float, tolerance: float
) -> None:
    # Per cent, protocol neurofs, 50 features (Madelon 20). The rows are scaled already. Madelon
    # may differ by one test row of 600; on USPS another 4000 of the 7438 rows are sampled.
    data, madelon = load(name), name == "madelon"
    split = split_and_scale(
        data.X,
        data.y,
        protocol="neurofs",
        scaler="standard" if madelon else None,
        n_train=2000 if madelon else None,
    )
    selector = LaplacianScore(20 if madelon else 50, scale=None, random_state=0)
    support = selector.fit(split.X_train).support_
    found = 100 * score_support(split, support, judges=["svc"])["svc"]
    assert found == pytest.approx(accuracy, abs=tolerance)


# ------------------------------------------------------------------ the lot


def test_random_importances_are_uniform() -> None:
    X = np.random.default_rng(0).normal(size=(3, 5000))
    importances = RandomSelector(random_state=0).fit(X).feature_importances_
    assert kstest(importances, "uniform").pvalue > 0.01


def test_every_feature_is_chosen_equally_often(X: Floats) -> None:
    chosen = [RandomSelector(2, random_state=seed).fit(X).support_ for seed in range(300)]
    assert chisquare(np.sum(chosen, axis=0)).pvalue > 0.01


def test_the_draw_depends_on_the_seed_and_not_on_the_data(X: Floats) -> None:
    order = RandomSelector(random_state=3).fit(X).order_
    np.testing.assert_array_equal(order, RandomSelector(random_state=3).fit(-(X[:10] ** 3)).order_)
    assert not np.array_equal(order, RandomSelector(random_state=4).fit(X).order_)


def test_filters_offer_no_training_parameters() -> None:
    common = {"n_features_to_select", "redundancy", "random_state"}
    assert set(RandomSelector().get_params()) == common
    assert set(LaplacianScore().get_params()) == common | {"n_neighbors", "scale", "max_samples"}


def test_data_on_disk_are_read_and_left_alone(X: Floats, tmp_path: Path) -> None:
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    np.testing.assert_array_equal(
        LaplacianScore().fit(mapped).feature_importances_,
        LaplacianScore().fit(X).feature_importances_,
    )
