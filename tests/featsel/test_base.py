"""Do shadows, redundancy, scaling and another number of features work as they should?"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.exceptions import NotFittedError

from sparsewire.core import InvalidArgumentError
from sparsewire.featsel import QuickSelection
from sparsewire.featsel.base import BaseSelector, SupervisedSelector
from sparsewire.featsel.probe import with_shadows
from sparsewire.featsel.redundancy import greedy_order
from sparsewire.featsel.rows import Floats, RowScaler

Seeds = st.integers(0, 2**32 - 1)


class Spread(BaseSelector):
    """Importance is the standard deviation of a column; nothing is trained."""

    def __init__(
        self,
        n_features_to_select: int | float | str | None = None,
        *,
        redundancy: float = 0.0,
        random_state: int | None = 0,
    ) -> None:
        self.n_features_to_select = n_features_to_select
        self.redundancy = redundancy
        self.random_state = random_state

    def _train(self, rows: RowScaler, y: npt.NDArray[Any] | None, seed: int) -> Floats:
        everything = rows.rows(np.arange(rows.shape[0])).astype(np.float64)
        spread: Floats = everything.std(axis=0)
        return spread


class Dependence(Spread):
    """Importance is the largest absolute correlation with another column."""

    def _train(self, rows: RowScaler, y: npt.NDArray[Any] | None, seed: int) -> Floats:
        correlation = np.abs(np.corrcoef(rows.rows(np.arange(rows.shape[0])).T))
        np.fill_diagonal(correlation, 0)
        strongest: Floats = correlation.max(axis=1)
        return strongest


def small(n_features_to_select: Any = 3, **parameters: Any) -> QuickSelection:
    fast = {"hidden_size": 20, "epochs": 5, "batch_size": 20, "random_state": 0}
    return QuickSelection(n_features_to_select, **{**fast, **parameters})


@pytest.fixture(name="X")
def _table() -> Floats:
    """Six columns that share three sources and six of noise."""
    rng = np.random.default_rng(0)
    related = rng.normal(size=(120, 3)) @ rng.normal(size=(3, 6))
    return np.hstack([related + 0.1 * rng.normal(size=related.shape), rng.normal(size=(120, 6))])


# ------------------------------------------------------------------ redundancy


def slow_greedy(X: Floats, importances: Floats, count: int, weight: float) -> list[int]:
    """Choose as `greedy_order` is documented to, with numpy's own correlations."""
    correlation = np.abs(np.corrcoef(X.T))
    relevance = importances / importances.max()
    chosen: list[int] = []
    while len(chosen) < count:
        gains = {
            j: relevance[j] - weight * (correlation[j, chosen].mean() if chosen else 0.0)
            for j in range(X.shape[1])
            if j not in chosen
        }
        chosen.append(max(gains, key=lambda j: gains[j]))
    return chosen


@given(Seeds, st.floats(0, 3), st.booleans())
def test_the_greedy_order_equals_a_slow_obvious_one(
    seed: int, weight: float, as_sparse: bool
) -> None:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(30, 8)) @ rng.normal(size=(8, 8)) * (rng.random((30, 8)) < 0.7)
    importances = rng.random(8)
    data = sparse.csr_array(X) if as_sparse else X
    found = greedy_order(data, importances, 6, weight)
    assert found.tolist() == slow_greedy(X, importances, 6, weight)


def test_a_copy_of_a_chosen_feature_waits_until_nothing_else_is_left(X: Floats) -> None:
    doubled = np.hstack([X[:, :1] * 10, X[:, :1] * 9.9, X[:, 6:9]])
    plain = Spread(2).fit(doubled)
    careful = Spread(2, redundancy=1.0).fit(doubled)
    assert plain.get_support(indices=True).tolist() == [0, 1]
    assert 0 in careful.get_support(indices=True)
    assert 1 not in careful.get_support(indices=True)


def test_redundancy_changes_the_order_and_no_importance(X: Floats) -> None:
    plain, careful = Spread(6).fit(X), Spread(6, redundancy=2.0).fit(X)
    np.testing.assert_array_equal(plain.feature_importances_, careful.feature_importances_)
    assert plain.order_.tolist() != careful.order_.tolist()
    assert sorted(careful.order_.tolist()) == list(range(12))
    rest = careful.order_[6:]
    assert (np.diff(careful.feature_importances_[rest]) <= 0).all()


@pytest.mark.filterwarnings("ignore:2 of 14 features are constant:UserWarning")
def test_a_constant_feature_is_never_preferred_for_being_uncorrelated(X: Floats) -> None:
    with_constants = np.hstack([np.ones((120, 2)), X])
    selector = Spread(12, redundancy=50.0).fit(with_constants)
    assert not selector.support_[:2].any()
    assert sorted(selector.order_[-2:].tolist()) == [0, 1]


@pytest.mark.parametrize("redundancy", [-0.1, "much", True])
def test_an_impossible_redundancy_is_refused(redundancy: Any, X: Floats) -> None:
    with pytest.raises(ValueError, match="redundancy"):
        Spread(2, redundancy=redundancy).fit(X)


@pytest.mark.parametrize("change", [lambda X: X * 1e160, lambda X: X * 1e-200, lambda X: X + 1e6])
@pytest.mark.parametrize("as_sparse", [False, True])
def test_the_greedy_order_depends_on_no_unit_and_no_offset(
    as_sparse: bool, change: Callable[[Floats], Floats], X: Floats
) -> None:
    convert = sparse.csr_array if as_sparse else np.asarray
    importances = np.linspace(1.0, 0.5, 12)
    expected = slow_greedy(X, importances, 8, 2.0)
    assert greedy_order(convert(change(X)), importances, 8, 2.0).tolist() == expected


@pytest.mark.filterwarnings("ignore:2 of 14 features are constant:UserWarning")
def test_an_order_that_is_complete_but_for_constants_allows_any_number(X: Floats) -> None:
    with_constants = np.hstack([np.ones((120, 2)), X])
    selector = Spread(13, redundancy=0.5).fit(with_constants)
    for count in (2, 14, 13, 1):
        assert selector.set_n_features(count).support_.sum() == count


def test_what_counts_is_the_redundancy_of_the_fit(X: Floats) -> None:
    selector = Spread(4, redundancy=0.5).fit(X)
    selector.redundancy = 0.0
    with pytest.raises(InvalidArgumentError, match="fit with n_features_to_select=5"):
        selector.set_n_features(5)


# ------------------------------------------------------------------ shadows


@given(Seeds, st.booleans())
def test_a_shadow_has_the_values_of_its_column(seed: int, as_sparse: bool) -> None:
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 3, size=(17, 5)).astype(np.float64)
    before = X.copy()
    shadowed = with_shadows(sparse.csr_array(X) if as_sparse else X, np.random.default_rng(seed))
    dense = shadowed.toarray() if as_sparse else shadowed
    np.testing.assert_array_equal(dense[:, :5], before)
    np.testing.assert_array_equal(np.sort(dense[:, 5:], axis=0), np.sort(before, axis=0))
    np.testing.assert_array_equal(X, before)


def test_shadows_of_different_columns_are_shuffled_differently() -> None:
    column = np.arange(50.0)
    shadowed = with_shadows(np.stack([column, column], axis=1), np.random.default_rng(0))
    assert abs(np.corrcoef(shadowed[:, 2:].T)[0, 1]) < 0.5


def test_the_probe_keeps_what_beats_every_shadow(X: Floats) -> None:
    selector = Dependence("probe").fit(X)
    kept = selector.feature_importances_ > selector.shadow_importance_
    np.testing.assert_array_equal(selector.support_, kept)
    assert selector.n_features_to_select_ == kept.sum()
    assert selector.feature_importances_.shape == (12,)


def test_the_probe_of_a_network_finds_related_columns_and_hardly_any_noise() -> None:
    found, false = [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        related = rng.normal(size=(400, 3)) @ rng.normal(size=(3, 20))
        noise = rng.normal(size=(400, 100))
        X = np.hstack([related + 0.1 * rng.normal(size=related.shape), noise])
        selector = small("probe", hidden_size=200, epochs=20, random_state=seed).fit(X)
        found.append(selector.support_[:20].sum())
        false.append(selector.support_[20:].sum())
        assert selector.connections_[0].shape == (240, 200)
        assert selector.transform(X).shape == (400, selector.n_features_to_select_)
    assert np.mean(found) >= 8  # 12, 11, 8 and 12 of 20 when written
    assert np.mean(false) <= 1  # 0, 2, 0 and 0 of 100: one is to be expected of as many shadows


def test_the_probe_gives_the_same_on_sparse_and_repeats_with_its_seed(X: Floats) -> None:
    first, again = Dependence("probe").fit(X), Dependence("probe").fit(X)
    np.testing.assert_array_equal(first.support_, again.support_)
    assert first.shadow_importance_ == again.shadow_importance_
    other = Dependence("probe", random_state=1).fit(X)
    assert other.shadow_importance_ != first.shadow_importance_


def test_without_any_feature_beyond_the_shadows_the_best_is_kept_with_a_warning() -> None:
    noise = np.random.default_rng(0).normal(size=(40, 4))
    with pytest.warns(UserWarning, match="no feature is more important") as caught:
        selector = Spread("probe").fit(noise)  # a shadow has the spread of its column
    assert caught[0].filename == __file__
    assert selector.support_.sum() == 1


def test_another_word_than_probe_is_refused(X: Floats) -> None:
    with pytest.raises(ValueError, match="'probe'"):
        Spread("half").fit(X)


@pytest.mark.parametrize("redundancy", [0.5, 5.0])
def test_redundancy_keeps_nothing_that_a_shadow_beats(redundancy: float, X: Floats) -> None:
    plain = Dependence("probe").fit(X)
    careful = Dependence("probe", redundancy=redundancy).fit(X)
    np.testing.assert_array_equal(careful.support_, plain.support_)


def test_a_fit_without_shadows_forgets_those_of_an_earlier_one(X: Floats) -> None:
    selector = Dependence("probe").fit(X)
    assert not hasattr(selector.set_params(n_features_to_select=2).fit(X), "shadow_importance_")


# ------------------------------------------------------------------ fits that fail


def test_after_a_failed_fit_the_selector_is_not_fitted(X: Floats) -> None:
    selector = Spread(2)
    with pytest.raises(InvalidArgumentError, match="constant"):
        selector.fit(np.ones((5, 3)))
    with pytest.raises(NotFittedError):
        selector.transform(X[:, :3])
    selector.fit(X)
    with pytest.raises(InvalidArgumentError, match="more than"):
        selector.set_params(n_features_to_select=99).fit(X[:, :4])
    with pytest.raises(NotFittedError):
        selector.get_support()


def test_all_zeros_are_called_constant_under_the_global_scale() -> None:
    with pytest.raises(InvalidArgumentError, match="constant"):
        small(1, scale="global").fit(np.zeros((9, 3)))


# ------------------------------------------------------------------ another number of features


@pytest.mark.parametrize("count", [1, 5, 12, 0.25])
def test_another_number_gives_what_a_new_fit_gives(count: int | float, X: Floats) -> None:
    changed = small(4).fit(X).set_n_features(count)
    fresh = small(count).fit(X)
    np.testing.assert_array_equal(changed.support_, fresh.support_)
    np.testing.assert_array_equal(changed.ranking_, fresh.ranking_)
    assert changed.n_features_to_select_ == fresh.n_features_to_select_
    assert changed.n_features_to_select == 4


def test_fewer_features_with_redundancy_equal_a_new_fit_and_more_are_refused(X: Floats) -> None:
    selector = Spread(6, redundancy=1.0).fit(X)
    np.testing.assert_array_equal(
        selector.set_n_features(3).support_, Spread(3, redundancy=1.0).fit(X).support_
    )
    with pytest.raises(InvalidArgumentError, match="fit with n_features_to_select=7"):
        selector.set_n_features(7)
    assert selector.set_n_features(6).support_.sum() == 6


@pytest.mark.parametrize("count", [0, -1, 13, 1.5, 0.0, True, "all", None, float("nan")])
def test_an_impossible_number_is_refused_and_changes_nothing(count: Any, X: Floats) -> None:
    selector = Spread(4).fit(X)
    with pytest.raises(InvalidArgumentError):
        selector.set_n_features(count)
    assert selector.support_.sum() == selector.n_features_to_select_ == 4


def test_the_number_cannot_be_changed_before_fit() -> None:
    with pytest.raises(NotFittedError):
        Spread(4).set_n_features(2)


# ------------------------------------------------------------------ scaling and precision


@given(Seeds, st.booleans())
def test_the_global_scale_is_one_standard_score_of_all_values(seed: int, as_sparse: bool) -> None:
    rng = np.random.default_rng(seed)
    X = rng.normal(3.0, 2.0, size=(9, 6)) * (rng.random((9, 6)) < 0.6)
    scaler = RowScaler(sparse.csr_array(X) if as_sparse else X, "global", "float64")
    np.testing.assert_allclose(
        scaler.rows(np.arange(9)), (X - X.mean()) / X.std(), rtol=1e-9, atol=1e-12
    )


def test_double_precision_trains_in_double_precision(X: Floats) -> None:
    single, double = small().fit(X), small(dtype="float64").fit(X)
    assert single.connections_[0].dtype == np.float32
    assert double.connections_[0].dtype == np.float64
    np.testing.assert_allclose(single.feature_importances_, double.feature_importances_, rtol=1e-3)


@pytest.mark.parametrize("scale", ["standard", "minmax", "global", None])
def test_storages_agree_in_double_precision(scale: str | None, X: Floats) -> None:
    csr, masked = (
        small(storage=storage, dtype="float64", scale=scale).fit(X) for storage in ("csr", "masked")
    )
    np.testing.assert_allclose(csr.feature_importances_, masked.feature_importances_, rtol=1e-9)
    assert csr.history_["n_active_inputs"] == masked.history_["n_active_inputs"]


def test_a_supervised_base_cannot_be_instantiated() -> None:
    with pytest.raises(TypeError, match="abstract"):
        SupervisedSelector()
