"""Is every point of the path an honest cross-validated score, and the chosen one well chosen?"""

import dataclasses
import random
from itertools import pairwise
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.decomposition import PCA
from sklearn.feature_selection import RFE, SelectKBest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold, PredefinedSplit, StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from sparsewire.core import InvalidArgumentError
from sparsewire.featsel.filters import LaplacianScore, RandomSelector
from sparsewire.featsel.neurofs import NeuroFS
from sparsewire.featsel.path import FeaturePath, feature_path
from sparsewire.featsel.plots import path_curve
from sparsewire.featsel.stable import StableSelector

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Data = tuple[Floats, Labels]
N_FEATURES = 8


@pytest.fixture(name="data")
def _data() -> Data:
    X, y = make_classification(90, N_FEATURES, n_informative=4, n_classes=3, random_state=0)
    return X, y


SELECTORS = [
    RandomSelector(random_state=0),
    LaplacianScore(),
    LaplacianScore(redundancy=0.8),
    StableSelector(LaplacianScore(), subsample=0.7, random_state=0),
    RFE(DecisionTreeClassifier(random_state=0)),
    NeuroFS(hidden_layer_sizes=(10, 6), epochs=3, random_state=0),
]


# ------------------------------------------------------------------ the scores


@pytest.mark.parametrize("selector", SELECTORS, ids=lambda one: type(one).__name__)
def test_every_score_is_that_of_a_pipeline_cross_validated_alone(selector: Any, data: Data) -> None:
    judge = KNeighborsClassifier(3)
    path = feature_path(selector, *data, counts=[5, 1, 8], estimator=judge, cv=3)
    assert path.counts.tolist() == [1, 5, 8]
    for count, scores in zip(path.counts, path.scores, strict=True):
        alone = clone(selector).set_params(n_features_to_select=int(count))
        expected = cross_val_score(make_pipeline(alone, judge), *data, cv=3)
        np.testing.assert_array_equal(scores, expected)


def test_the_default_judge_is_an_svc_on_standardised_columns(data: Data) -> None:
    X, y = data[0] * np.logspace(-3, 3, N_FEATURES), data[1]
    path = feature_path(RandomSelector(random_state=0), X, y, counts=[4])
    judged = make_pipeline(RandomSelector(4, random_state=0), StandardScaler(), SVC())
    np.testing.assert_array_equal(path.scores[0], cross_val_score(judged, X, y, cv=5))


def test_noise_scores_no_better_than_chance_because_test_rows_do_not_select() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 2000)), np.arange(60) % 2
    selector = RFE(LogisticRegression(), step=0.5)
    leaking = X[:, clone(selector).set_params(n_features_to_select=20).fit(X, y).support_]
    assert cross_val_score(LogisticRegression(), leaking, y).mean() > 0.8
    path = feature_path(selector, X, y, counts=[20], estimator=LogisticRegression())
    assert abs(path.mean[0] - 0.5) < 0.2


class Counting(RandomSelector):
    """Counts how often it is fitted, and on how many rows."""

    rows: ClassVar[list[int]] = []  # shared by the clones on purpose

    def fit(self, X: Any, y: Any = None) -> Self:
        self.rows.append(len(X))
        super().fit(X, y)
        return self


def test_a_selector_that_can_be_cut_is_fitted_once_per_fold(data: Data) -> None:
    Counting.rows.clear()
    feature_path(Counting(random_state=0), *data, cv=3)
    assert Counting.rows == [60, 60, 60]


@pytest.mark.parametrize("selector", SELECTORS[1:], ids=lambda one: type(one).__name__)
def test_the_number_of_workers_does_not_matter(selector: Any, data: Data) -> None:
    one, two = (
        feature_path(selector, *data, counts=[2, 6], cv=3, n_jobs=jobs).scores for jobs in (1, 2)
    )
    np.testing.assert_array_equal(one, two)


def test_the_given_selector_and_estimator_are_left_alone(data: Data) -> None:
    selector, judge = LaplacianScore(3, random_state=1), KNeighborsClassifier(3)
    before = selector.get_params(), judge.get_params()
    feature_path(selector, *data, counts=[2], estimator=judge)
    assert (selector.get_params(), judge.get_params()) == before
    for given in (selector, judge):
        assert not [name for name in vars(given) if name.endswith("_")]


def test_global_random_number_generators_are_left_alone(data: Data) -> None:
    def states() -> tuple[object, ...]:
        kind, keys, *rest = np.random.get_state()  # noqa: NPY002
        return torch.get_rng_state().tolist(), kind, list(keys), *rest, random.getstate()

    before = states()
    feature_path(LaplacianScore(random_state=0), *data)
    assert states() == before


@pytest.mark.parametrize("container", [sparse.csr_array, sparse.csc_matrix, sparse.coo_array])
def test_sparse_data_give_the_scores_of_dense_data(container: Any, data: Data) -> None:
    X, y = np.where(np.abs(data[0]) < 0.5, 0.0, data[0]), data[1]
    dense = feature_path(LaplacianScore(), X, y, counts=[2, 5])
    given = feature_path(LaplacianScore(), container(X), y, counts=[2, 5])
    np.testing.assert_allclose(given.scores, dense.scores)


def test_frames_lists_and_labels_of_text_are_understood(data: Data) -> None:
    X, y = data
    expected = feature_path(LaplacianScore(), X, y, counts=[3]).scores
    labels = np.array(["red", "green", "blue"])[y]
    frame = pd.DataFrame(X, columns=[f"column {index}" for index in range(N_FEATURES)])
    for table in (frame, X.tolist()):
        found = feature_path(LaplacianScore(), table, labels.tolist(), counts=[3]).scores
        np.testing.assert_array_equal(found, expected)


def test_folds_and_scoring_are_those_asked_for(data: Data) -> None:
    X, y = data
    folds = StratifiedKFold(4, shuffle=True, random_state=3)
    judge = LogisticRegression(max_iter=1000)
    selector = LaplacianScore(3)
    expected = cross_val_score(
        make_pipeline(selector, judge), X, y, cv=folds, scoring="neg_log_loss"
    )
    for cv in (folds, list(folds.split(X, y)), iter(list(folds.split(X, y)))):
        path = feature_path(
            selector, X, y, counts=[3], estimator=judge, cv=cv, scoring="neg_log_loss"
        )
        np.testing.assert_array_equal(path.scores[0], expected)


def test_a_regressor_is_scored_on_unstratified_folds(data: Data) -> None:
    X = data[0]
    y = X[:, 0] + 0.1 * X[:, 1]
    path = feature_path(RandomSelector(random_state=0), X, y, counts=[8], estimator=Ridge(), cv=3)
    np.testing.assert_array_equal(path.scores[0], cross_val_score(Ridge(), X, y, cv=KFold(3)))
    assert path.mean[0] > 0.99


@pytest.mark.parametrize(
    ("n_features", "counts"),
    [
        (1, [1]),
        (3, [1, 2, 3]),
        (8, [1, 2, 3, 4, 6, 8]),
        (1000, [1, 2, 5, 10, 22, 46, 100, 215, 464, 1000]),
    ],
)
def test_default_counts_grow_by_a_factor_from_one_to_all(
    n_features: int, counts: list[int]
) -> None:
    X, y = np.random.default_rng(0).normal(size=(20, n_features)), np.arange(20) % 2
    judge = KNeighborsClassifier(1)
    path = feature_path(RandomSelector(random_state=0), X, y, estimator=judge, cv=2)
    assert path.counts.tolist() == counts
    assert path.scores.shape == (len(counts), 2)


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize("count", [0, -1, 9, 2.0, True, "3", None])
def test_a_count_out_of_range_is_refused_with_the_range(count: Any, data: Data) -> None:
    with pytest.raises(InvalidArgumentError, match=r"integers in \[1, 8\].*got"):
        feature_path(LaplacianScore(), *data, counts=[2, count])


@pytest.mark.parametrize("counts", [[], [2, 3, 2]])
def test_counts_are_distinct_and_not_none_at_all(counts: list[int], data: Data) -> None:
    with pytest.raises(InvalidArgumentError, match="distinct and at least one"):
        feature_path(LaplacianScore(), *data, counts=counts)


def test_a_selector_that_cannot_be_used_is_named_with_what_is_missing(data: Data) -> None:
    with pytest.raises(InvalidArgumentError, match=r"PCA has no get_support\(\)"):
        feature_path(PCA(), *data)
    with pytest.raises(InvalidArgumentError, match="SelectKBest has no parameter n_features_to_se"):
        feature_path(SelectKBest(), *data)


def test_bad_data_are_refused(data: Data) -> None:
    X, y = data
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        feature_path(LaplacianScore(), X, y[:-1])
    with pytest.raises(InvalidArgumentError, match=r"two dimensions, got shape \(90,\)"):
        feature_path(LaplacianScore(), X[:, 0], y)
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        feature_path(LaplacianScore(), X, X[:, 0])
    X[3, 3] = np.nan
    with pytest.raises(ValueError, match="contains NaN"):
        feature_path(LaplacianScore(), X, y)


# ------------------------------------------------------------------ what is made of the scores


def test_mean_and_deviation_are_taken_over_the_folds() -> None:
    path = FeaturePath(np.array([1, 5]), np.array([[0.2, 0.4, 0.6], [1.0, 1.0, 1.0]]))
    np.testing.assert_allclose(path.mean, [0.4, 1.0])
    np.testing.assert_allclose(path.std, [np.sqrt(0.08 / 3), 0.0])


@pytest.mark.parametrize(
    ("means", "spread", "best"),
    [
        ([0.5, 0.9, 0.8], 0.0, 2),  # the best, where there is no spread
        ([0.5, 0.9, 0.9], 0.0, 2),  # the first of equals
        ([0.5, 0.86, 0.9], 0.1, 2),  # 0.1 * sqrt(2) / sqrt(2) = 0.1: one step down is allowed
        ([0.81, 0.86, 0.9], 0.1, 1),  # and so are two
        ([0.79, 0.79, 0.9], 0.1, 4),
    ],
)
def test_the_best_count_is_the_smallest_within_one_standard_error_of_the_best(
    means: list[float], spread: float, best: int
) -> None:
    scores = np.array([[mean - spread, mean + spread] for mean in means])
    assert FeaturePath(np.array([1, 2, 4]), scores).best_count == best


def test_a_single_fold_has_no_standard_error(data: Data) -> None:
    cv = PredefinedSplit(np.repeat([0, -1], [30, 60]))
    path = feature_path(LaplacianScore(), *data, cv=cv)
    assert path.scores.shape == (6, 1)
    assert path.best_count == path.counts[path.mean.argmax()]


def test_a_path_cannot_be_changed() -> None:
    path = FeaturePath(np.array([1]), np.array([[0.5]]))
    with pytest.raises(dataclasses.FrozenInstanceError):
        path.counts = np.array([2])  # type: ignore[misc]


def test_the_curve_shows_mean_band_and_chosen_count() -> None:
    scores = np.array([[0.4, 0.6], [0.8, 0.9], [0.85, 0.9]])
    path = FeaturePath(np.array([1, 10, 100]), scores)
    axes: Any = path_curve(path).axes[0]
    line, chosen = (one for one in axes.lines if one.get_marker() != "None")
    np.testing.assert_allclose(line.get_xydata(), np.stack([path.counts, path.mean], axis=1))
    np.testing.assert_allclose(chosen.get_xydata(), [[10, 0.85]])
    assert to_hex(chosen.get_color()) != to_hex(line.get_color())
    band = axes.collections[0].get_paths()[0].vertices
    np.testing.assert_allclose(sorted(set(band[band[:, 0] == 1, 1])), [0.4, 0.6])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "10", "100"]
    assert axes.get_title().startswith("10:")


def test_labels_of_many_counts_do_not_touch() -> None:
    path = FeaturePath(np.arange(1, 65), np.linspace(0, 1, 64)[:, None] + [[0.0, 0.1]])
    figure = path_curve(path)
    figure.canvas.draw()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
    assert len(boxes) > 5
    assert all(one.x1 < other.x0 for one, other in pairwise(boxes))
