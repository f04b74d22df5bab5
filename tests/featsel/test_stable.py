"""Do several runs agree, and is what they agree on put together as promised?"""

import io
import pickle
import random
from collections.abc import Callable
from itertools import combinations
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import make_classification
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import RFE, SelectKBest, SelectorMixin
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import check_is_fitted

from sparsewire.core import InvalidArgumentError
from sparsewire.featsel.filters import LaplacianScore, RandomSelector
from sparsewire.featsel.stability import selection_stability
from sparsewire.featsel.stable import StableSelector
from tests.featsel.fast_selectors import NETWORKS, maker
from tests.featsel.test_contract import EXTRA_CHECKS, SPARSE_CONTAINERS

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Masks = npt.NDArray[np.bool_]
N_SAMPLES, N_FEATURES = 60, 8


def unsupervised(**parameters: Any) -> StableSelector:
    inner = LaplacianScore(3, n_neighbors=3, max_samples=20)
    return StableSelector(inner, **{"n_runs": 4, "random_state": 0, **parameters})


def supervised(**parameters: Any) -> StableSelector:
    inner = RFE(DecisionTreeClassifier(max_features=2), n_features_to_select=3)
    return StableSelector(inner, **{"n_runs": 4, "random_state": 0, **parameters})


@pytest.fixture(name="data")
def _data() -> tuple[Floats, Labels]:
    X, y = make_classification(
        N_SAMPLES, N_FEATURES, n_informative=4, n_classes=3, weights=[0.6, 0.3], random_state=0
    )
    return X, y


@pytest.fixture(name="X")
def _table(data: tuple[Floats, Labels]) -> Floats:
    return data[0]


class Remembering(SelectorMixin, BaseEstimator):  # type: ignore[misc]
    """Orders features by index, selects as many as its seed says and remembers what it saw."""

    def __init__(self, needs_y: bool = False, random_state: int | None = None) -> None:
        self.needs_y = needs_y
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        self.X_, self.y_ = X, y
        self.order_ = np.arange(X.shape[1])
        self.count_ = 1 + (self.random_state or 0) % 4
        return self

    def _get_support_mask(self) -> Masks:
        check_is_fitted(self)
        mask: Masks = self.order_ < self.count_
        return mask

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = self.needs_y
        return tags


# ------------------------------------------------------------------ scikit-learn's own checks

CHECKED = [
    StableSelector(RandomSelector(), n_runs=2),
    StableSelector(LaplacianScore(), n_runs=2, subsample=0.8, aggregate="frequency"),
    StableSelector(RFE(DecisionTreeClassifier()), n_runs=2, subsample=0.8),
]


@parametrize_with_checks(CHECKED)  # type: ignore[untyped-decorator]
def test_it_passes_every_scikit_learn_check(
    estimator: StableSelector, check: Callable[[StableSelector], None]
) -> None:
    check(estimator)


# Two of the checks mix frames and arrays on purpose, about which scikit-learn itself warns.
@pytest.mark.filterwarnings("ignore:X (does not have valid|has) feature names:UserWarning")
@pytest.mark.parametrize("check", EXTRA_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("estimator", CHECKED, ids=lambda one: type(one.estimator).__name__)
def test_it_passes_checks_that_check_estimator_leaves_out(
    estimator: StableSelector, check: Callable[[str, StableSelector], None]
) -> None:
    check("StableSelector", clone(estimator))


# ------------------------------------------------------------------ the runs


@pytest.mark.parametrize("make", [unsupervised, supervised])
@pytest.mark.parametrize("subsample", [1.0, 0.7])
def test_the_number_of_workers_does_not_matter(
    make: Callable[..., StableSelector], subsample: float, data: tuple[Floats, Labels]
) -> None:
    one, two = (make(subsample=subsample, n_jobs=jobs).fit(*data) for jobs in (1, 2))
    np.testing.assert_array_equal(one.mean_rank_, two.mean_rank_)
    np.testing.assert_array_equal(one.order_, two.order_)
    np.testing.assert_array_equal(one.selection_frequency_, two.selection_frequency_)


def test_a_run_on_all_rows_is_what_its_estimator_does_alone(data: tuple[Floats, Labels]) -> None:
    stable = supervised().fit(*data)
    seeds = [run.estimator.random_state for run in stable.estimators_]
    assert len(set(seeds)) == 4
    for run in stable.estimators_:
        np.testing.assert_array_equal(clone(run).fit(*data).ranking_, run.ranking_)


def test_more_runs_begin_with_the_same_runs(X: Floats) -> None:
    few, many = (unsupervised(n_runs=runs, subsample=0.7).fit(X) for runs in (2, 5))
    for one, other in zip(few.estimators_, many.estimators_, strict=False):
        assert one.random_state == other.random_state
        np.testing.assert_array_equal(one.feature_importances_, other.feature_importances_)


def test_the_seed_decides_and_is_left_as_given(X: Floats) -> None:
    def ranks(seed: Any) -> Any:
        return unsupervised(random_state=seed).fit(X).mean_rank_

    np.testing.assert_array_equal(ranks(1), ranks(1))
    np.testing.assert_array_equal(ranks(1), ranks(np.random.RandomState(1)))
    assert not np.array_equal(ranks(1), ranks(2))


def test_the_given_estimator_is_not_fitted_and_keeps_its_parameters(X: Floats) -> None:
    inner = LaplacianScore(3, random_state=7)
    before = inner.get_params()
    StableSelector(inner, random_state=0).fit(X)
    assert inner.get_params() == before
    assert not [name for name in vars(inner) if name.endswith("_")]


@pytest.mark.parametrize(("subsample", "count"), [(0.5, 30), (0.01, 2), (0.999, 60), (1.0, 60)])
def test_a_run_sees_distinct_rows_as_many_as_asked_for(subsample: float, count: int) -> None:
    X = np.arange(2.0 * N_SAMPLES).reshape(N_SAMPLES, 2)
    fitted = StableSelector(Remembering(), subsample=subsample, random_state=0).fit(X)
    for run in fitted.estimators_:
        assert len(run.X_) == count
        assert (np.diff(run.X_[:, 0]) > 0).all()  # none twice, in their order
    assert len({run.X_[:, 0].tobytes() for run in fitted.estimators_}) == (5 if count < 60 else 1)


def test_rows_are_drawn_with_the_shares_of_the_classes() -> None:
    X, y = np.arange(100.0).reshape(50, 2), np.repeat(["a", "b", "c"], [30, 15, 5])
    fitted = StableSelector(Remembering(needs_y=True), subsample=0.4, random_state=0).fit(X, y)
    for run in fitted.estimators_:
        assert np.unique(run.y_, return_counts=True)[1].tolist() == [12, 6, 2]
        np.testing.assert_array_equal(run.y_, y[(run.X_[:, 0] / 2).astype(int)])


@pytest.mark.parametrize("y", [np.linspace(0, 1, 50), np.repeat(["a", "b"], [49, 1])])
def test_rows_are_drawn_without_strata_where_a_label_occurs_once(y: npt.NDArray[Any]) -> None:
    X = np.arange(100.0).reshape(50, 2)
    fitted = StableSelector(Remembering(needs_y=True), subsample=0.5, random_state=0).fit(X, y)
    assert all(len(run.y_) == 25 for run in fitted.estimators_)


def test_an_unsupervised_estimator_needs_no_target_and_sees_one_that_is_given(X: Floats) -> None:
    labels = ["a", "b"] * (N_SAMPLES // 2)
    fitted = StableSelector(Remembering(), subsample=0.5, random_state=0).fit(X, labels)
    assert all(len(run.y_) == 30 for run in fitted.estimators_)
    assert all(run.y_ is None for run in StableSelector(Remembering()).fit(X).estimators_)


# ------------------------------------------------------------------ putting the runs together


@pytest.mark.parametrize("make", [unsupervised, supervised])
def test_frequencies_and_ranks_are_means_over_the_runs(
    make: Callable[..., StableSelector], data: tuple[Floats, Labels]
) -> None:
    fitted = make(subsample=0.6).fit(*data)
    for feature in range(N_FEATURES):
        chosen = [run.get_support()[feature] for run in fitted.estimators_]
        assert fitted.selection_frequency_[feature] == pytest.approx(sum(chosen) / 4)
        ranks = []
        for run in fitted.estimators_:
            badness = run.ranking_ if make is supervised else -run.feature_importances_
            better = sum(badness < badness[feature])
            equal = sum(badness == badness[feature])
            ranks.append(better + (equal + 1) / 2)
        assert fitted.mean_rank_[feature] == pytest.approx(sum(ranks) / 4)


@pytest.mark.parametrize("aggregate", ["mean_rank", "frequency"])
def test_the_order_follows_the_aggregate_and_the_other_one_breaks_ties(
    aggregate: Any, data: tuple[Floats, Labels]
) -> None:
    fitted = supervised(aggregate=aggregate, subsample=0.6, n_runs=3).fit(*data)
    keys = list(zip(fitted.mean_rank_, -fitted.selection_frequency_, strict=True))
    if aggregate == "frequency":
        keys = [(frequency, rank) for rank, frequency in keys]
    in_order = [keys[feature] for feature in fitted.order_]
    assert in_order == sorted(in_order)
    importances = fitted.feature_importances_
    assert (np.diff(importances[fitted.order_]) <= 0).all()
    assert ((importances >= 0) & (importances <= 1)).all()


def test_importances_are_1_for_the_best_and_0_for_the_worst_where_all_runs_agree() -> None:
    fitted = StableSelector(Remembering(), random_state=0).fit(np.ones((5, 4)))
    np.testing.assert_allclose(fitted.feature_importances_, [1, 2 / 3, 1 / 3, 0])
    np.testing.assert_array_equal(fitted.order_, range(4))


def test_none_keeps_as_many_as_the_runs_selected_on_average() -> None:
    fitted = StableSelector(Remembering(), n_runs=7, random_state=0).fit(np.ones((5, 6)))
    counts = [run.get_support().sum() for run in fitted.estimators_]
    assert len(set(counts)) > 1
    assert fitted.n_features_to_select_ == round(np.mean(counts))


@pytest.mark.parametrize(("wanted", "count"), [(1, 1), (8, 8), (0.5, 4), (1.0, 8), (0.01, 1)])
def test_the_number_kept_can_be_set_before_and_after_fitting(
    wanted: int | float, count: int, X: Floats
) -> None:
    before = unsupervised(n_features_to_select=wanted).fit(X)
    after = unsupervised().fit(X).set_n_features(wanted)
    for fitted in (before, after):
        assert fitted.n_features_to_select_ == fitted.support_.sum() == count
        assert fitted.support_[fitted.order_[:count]].all()
        ranks = fitted.ranking_[fitted.order_]
        assert ranks.tolist() == [1] * count + list(range(2, N_FEATURES - count + 2))
    np.testing.assert_array_equal(before.selection_frequency_, after.selection_frequency_)


def test_features_a_run_does_not_tell_apart_share_a_rank_and_constant_ones_come_last() -> None:
    class Indifferent(Remembering):
        """Knows one good feature; the order of the rest is by index, a constant one last."""

        def fit(self, X: Any, y: Any = None) -> Self:
            super().fit(X, y)
            self.feature_importances_ = np.array([0.0, 0.0, 0.0, 5.0, 0.0])
            self.order_ = np.array([3, 0, 2, 4, 1])
            return self

    fitted = StableSelector(Indifferent(), random_state=0).fit(np.ones((5, 5)))
    np.testing.assert_array_equal(fitted.mean_rank_, [3.5, 3.5, 3.5, 1.0, 3.5])
    assert fitted.order_[0] == 3
    fitted = StableSelector(RandomSelector(2), n_runs=3, random_state=0)
    X = np.random.default_rng(0).normal(size=(20, 4))
    X[:, 1] = 2.0
    with pytest.warns(UserWarning, match="1 of 4 features are constant"):
        assert fitted.fit(X).order_[-1] == 1


def test_stable_features_are_found_where_single_runs_waver() -> None:
    X = np.random.default_rng(0).normal(size=(150, 30))
    y = X[:, :4].sum(axis=1) > 0
    inner = RFE(ExtraTreesClassifier(5, max_depth=3), n_features_to_select=4, step=0.5)
    fitted = StableSelector(inner, n_runs=20, subsample=0.5, random_state=0).fit(X, y)
    alone = [run.get_support()[:4].sum() for run in fitted.estimators_]
    assert fitted.get_support()[:4].sum() == 4 > np.mean(alone)
    assert 0 < fitted.stability_ < 1


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_can_be_made_stable(name: str, data: tuple[Floats, Labels]) -> None:
    X, y = data
    fitted = StableSelector(maker(name)(3), n_runs=3, subsample=0.8, random_state=0).fit(X, y)
    assert fitted.transform(X).shape == (N_SAMPLES, 3)
    assert fitted.selection_frequency_.sum() == pytest.approx(3)
    assert len({run.connections_[0].data.tobytes() for run in fitted.estimators_}) == 3


@pytest.mark.parametrize("container", SPARSE_CONTAINERS, ids=lambda kind: kind.__name__)
def test_sparse_input_gives_the_same_selection_as_dense(container: Any, X: Floats) -> None:
    X[np.abs(X) < 0.3] = 0.0
    found = unsupervised(subsample=0.7).fit(container(X))
    np.testing.assert_array_equal(found.order_, unsupervised(subsample=0.7).fit(X).order_)
    assert found.transform(container(X)).format == "csr"


def test_tags_are_those_of_the_estimator() -> None:
    for inner in (LaplacianScore(), RFE(DecisionTreeClassifier()), Remembering()):
        own, other = get_tags(StableSelector(inner)), get_tags(inner)
        assert own.input_tags == other.input_tags
        assert own.target_tags.required == other.target_tags.required


def test_column_names_come_through(X: Floats) -> None:
    frame = pd.DataFrame(X, columns=list("abcdefgh"))
    fitted = unsupervised().set_output(transform="pandas").fit(frame)
    assert list(fitted.transform(frame)) == list(frame.columns[fitted.support_])
    np.testing.assert_array_equal(fitted.order_, unsupervised().fit(X).order_)


def test_a_grid_search_gives_the_same_scores_on_one_and_two_workers(
    data: tuple[Floats, Labels],
) -> None:
    pipeline = Pipeline([("select", supervised()), ("judge", KNeighborsClassifier(3))])
    grid = {"select__n_features_to_select": [1, 4], "select__estimator__step": [1, 2]}
    one, two = (GridSearchCV(pipeline, grid, cv=2, n_jobs=jobs).fit(*data) for jobs in (1, 2))
    np.testing.assert_array_equal(
        one.cv_results_["mean_test_score"], two.cv_results_["mean_test_score"]
    )
    assert one.best_params_ == two.best_params_


class _TorchRefusing(pickle.Unpickler):
    """Loads a pickle as a machine would that cannot rebuild any torch object."""

    def find_class(self, module: str, name: str) -> Any:
        assert module.split(".")[0] != "torch", f"the pickle holds {module}.{name}"
        return super().find_class(module, name)


def test_a_pickle_selects_the_same_and_holds_no_torch_object(X: Floats) -> None:
    fitted = unsupervised().fit(X)
    copied = _TorchRefusing(io.BytesIO(pickle.dumps(fitted))).load()
    np.testing.assert_array_equal(copied.transform(X), fitted.transform(X))
    assert copied.stability_ == fitted.stability_


@pytest.mark.parametrize("make", [unsupervised, supervised])
def test_global_random_number_generators_are_left_alone(
    make: Callable[..., StableSelector], data: tuple[Floats, Labels]
) -> None:
    def states() -> tuple[object, ...]:
        kind, keys, *rest = np.random.get_state()  # noqa: NPY002
        return torch.get_rng_state().tolist(), kind, list(keys), *rest, random.getstate()

    before = states()
    make(subsample=0.5).fit(*data)
    assert states() == before


# ------------------------------------------------------------------ errors


def test_an_estimator_that_does_not_select_is_refused_by_name(data: tuple[Floats, Labels]) -> None:
    with pytest.raises(InvalidArgumentError, match=r"RandomForestClassifier has no get_support"):
        StableSelector(RandomForestClassifier(), random_state=0).fit(*data)


def test_a_selector_that_does_not_order_is_refused_with_what_is_missing(
    data: tuple[Floats, Labels],
) -> None:
    with pytest.raises(
        InvalidArgumentError, match=r"SelectKBest.*order_, feature_importances_ and ranking_"
    ):
        StableSelector(SelectKBest(k=2), random_state=0).fit(*data)


def test_a_supervised_estimator_without_a_target_is_an_error(X: Floats) -> None:
    with pytest.raises(ValueError, match="requires y to be passed, but the target y is None"):
        supervised().fit(X)


def test_too_many_features_are_refused_before_any_run(X: Floats) -> None:
    class Untouchable(Remembering):
        def fit(self, X: Any, y: Any = None) -> Self:
            raise AssertionError("fitted before the number was checked")

    with pytest.raises(InvalidArgumentError, match=r"n_features_to_select=9 .* \[1, 8\]"):
        StableSelector(Untouchable(), n_features_to_select=9).fit(X)


@pytest.mark.parametrize("wanted", [0, -1, 9, 0.0, 1.5, float("nan"), True, "half", None])
def test_set_n_features_refuses_what_is_no_number_of_features(wanted: Any, X: Floats) -> None:
    fitted = unsupervised().fit(X)
    with pytest.raises(InvalidArgumentError, match=r"out of range.*\[1, 8\] or a fraction"):
        fitted.set_n_features(wanted)
    assert fitted.support_.sum() == 3


def test_nothing_works_before_fit() -> None:
    with pytest.raises(NotFittedError):
        unsupervised().set_n_features(2)
    with pytest.raises(NotFittedError):
        unsupervised().get_support()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_runs", 1),
        ("subsample", 0.0),
        ("subsample", 1.1),
        ("aggregate", "median"),
        ("n_features_to_select", 0),
        ("n_features_to_select", "probe"),
        ("estimator", None),
    ],
)
def test_a_parameter_out_of_range_is_refused(name: str, value: Any, X: Floats) -> None:
    with pytest.raises(ValueError, match=f"The '{name}' parameter of StableSelector must be"):
        unsupervised().set_params(**{name: value}).fit(X)


@pytest.mark.parametrize("name", ["n_runs", "subsample", "n_features_to_select"])
def test_a_bool_is_no_number(name: str, X: Floats) -> None:
    with pytest.raises(ValueError, match=f"{name}.* must"):
        unsupervised().set_params(**{name: True}).fit(X)


def test_bad_data_are_refused(data: tuple[Floats, Labels]) -> None:
    X, y = data
    with pytest.raises(ValueError, match=r"1 sample.*minimum of 2"):
        unsupervised().fit(X[:1])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        unsupervised().fit(X, y[:-1])
    X[0, 0] = np.inf
    with pytest.raises(ValueError, match="contains infinity"):
        unsupervised().fit(X)


# ------------------------------------------------------------------ the stability measure


def kuncheva(supports: Masks) -> float:
    """Mean over all pairs of the overlap beyond chance (Kuncheva 2007), for equal sizes."""
    n_features, size = supports.shape[1], int(supports[0].sum())
    chance = size**2 / n_features
    pairs = [
        ((one & other).sum() - chance) / (size - chance) for one, other in combinations(supports, 2)
    ]
    return float(np.mean(pairs))


@given(
    n_features=st.integers(2, 12),
    n_runs=st.integers(2, 6),
    seed=st.integers(0, 10**6),
    data=st.data(),
)
def test_it_is_kunchevas_index_where_all_selections_have_the_same_size(
    n_features: int, n_runs: int, seed: int, data: st.DataObject
) -> None:
    size = data.draw(st.integers(1, n_features - 1))
    rng = np.random.default_rng(seed)
    supports = np.array([rng.permutation(n_features) < size for _ in range(n_runs)])
    assert selection_stability(supports) == pytest.approx(kuncheva(supports))


def test_it_equals_the_closed_form_where_sizes_differ() -> None:
    # Frequencies 1, 1/2, 1/2, 0 of two runs: variances 0, 1/2, 1/2, 0 (unbiased), mean 1/4;
    # the mean size is 2 of 4, so a random selection has variance 1/4.
    assert selection_stability([[1, 1, 1, 0], [1, 0, 0, 0]]) == pytest.approx(0.0)
    # Frequencies 1, 1, 1/2 of two runs: mean variance 1/6; mean share 5/6, random 5/36.
    assert selection_stability([[1, 1, 1], [1, 1, 0]]) == pytest.approx(1 - (1 / 6) / (5 / 36))


@given(arrays(np.bool_, st.tuples(st.integers(2, 6), st.integers(2, 8))))
def test_it_lies_between_its_bounds_and_ignores_the_order_of_runs_and_features(
    supports: Masks,
) -> None:
    assume(0 < supports.mean() < 1)
    value = selection_stability(supports)
    assert -1 / (len(supports) - 1) - 1e-12 <= value <= 1 + 1e-12
    assert selection_stability(supports[::-1, ::-1]) == pytest.approx(value)
    assert (value == pytest.approx(1)) == (supports == supports[0]).all()


def test_random_selections_have_stability_0_on_average() -> None:
    rng = np.random.default_rng(0)
    draws = rng.permuted(np.tile(np.arange(20) < 5, (2000, 5, 1)), axis=2)
    values = [selection_stability(supports) for supports in draws]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(len(values))


@pytest.mark.parametrize("value", [0, 1])
def test_it_is_not_defined_where_all_or_nothing_is_selected(value: int) -> None:
    assert np.isnan(selection_stability(np.full((3, 4), value)))


@pytest.mark.parametrize("shape", [(1, 5), (5,), (0, 5), (2, 0)])
def test_it_needs_two_selections(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidArgumentError, match="at least two selections"):
        selection_stability(np.ones(shape))


def test_the_selector_reports_the_stability_of_its_runs(data: tuple[Floats, Labels]) -> None:
    fitted = supervised(subsample=0.5).fit(*data)
    supports = np.array([run.get_support() for run in fitted.estimators_])
    assert fitted.stability_ == pytest.approx(kuncheva(supports))
    X = np.random.default_rng(0).normal(size=(10, 200))
    lot = StableSelector(RandomSelector(50), n_runs=30, random_state=0).fit(X)
    assert abs(lot.stability_) < 0.05
