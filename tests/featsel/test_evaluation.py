"""Protocols against published numbers, judges against plain scikit-learn, and every refusal."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.feature_selection import f_classif
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from sparsewire.datasets import load
from sparsewire.featsel.evaluation import (
    Split,
    clustering_accuracy,
    evaluate,
    score_support,
    split_and_scale,
)

PROTOCOLS = ("quickselection", "neurofs", "wast", "attribution", "clean")


@pytest.fixture(scope="module")
def cancer() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    data = load("breast_cancer")
    return data.X, data.y


# ------------------------------------------------------------------ published numbers, real data


@pytest.mark.parametrize(("name", "svc", "knn"), [("coil20", 100.0, 100.0), ("arcene", 77.5, 92.5)])
def test_neurofs_protocol_repeats_the_published_scores_of_all_features(
    name: str, svc: float, knn: float, data_dir: Path
) -> None:
    data = load(name)
    every = np.ones(data.X.shape[1], dtype=bool)
    scores = evaluate(data.X, data.y, every, protocol="neurofs")
    assert 100 * scores["svc"] == pytest.approx(svc, abs=0.005)
    assert 100 * scores["knn"] == pytest.approx(knn, abs=0.005)


def test_all_features_of_madelon_under_its_canonical_split_and_standard_scaling(
    data_dir: Path,
) -> None:
    data = load("madelon")
    scores = evaluate(
        data.X,
        data.y,
        np.arange(500),
        protocol="clean",
        scaler="standard",
        n_train=data.n_train,
    )
    assert 100 * scores["svc"] == pytest.approx(58.17, abs=0.005)
    assert 100 * scores["knn"] == pytest.approx(48.5, abs=0.005)


def test_anova_ranking_of_arcene_repeats_the_published_fisher_score_row(data_dir: Path) -> None:
    data = load("arcene")
    split = split_and_scale(data.X, data.y, protocol="neurofs")
    varying = np.flatnonzero(split.X_train.std(axis=0) > 0)
    order = varying[np.argsort(-f_classif(split.X_train[:, varying], split.y_train)[0])]
    scores = score_support(split, order[:50], judges=("svc", "knn"))
    assert scores == {"svc": pytest.approx(0.675), "knn": pytest.approx(0.70)}


@pytest.mark.slow
def test_quickselection_protocol_on_all_features_of_coil20(data_dir: Path) -> None:
    data = load("coil20")
    scores = evaluate(data.X, data.y, np.arange(1024), protocol="quickselection")
    assert scores["extra_trees"] == pytest.approx(1.0, abs=0.005)
    assert scores["kmeans"] == pytest.approx(0.656, abs=0.02)


# ------------------------------------------------------------------------ splitting and scaling


def change_test_rows(protocol: Any) -> tuple[Split, Split]:
    X = np.random.default_rng(0).normal(size=(50, 4))
    y = np.arange(50) % 2
    stratify = y if protocol == "clean" else None
    _, test = train_test_split(np.arange(50), test_size=0.2, random_state=42, stratify=stratify)
    changed = X.copy()
    changed[test] *= 100.0
    return split_and_scale(X, y, protocol=protocol), split_and_scale(changed, y, protocol=protocol)


@pytest.mark.parametrize("protocol", ["quickselection", "wast", "attribution", "clean"])
def test_test_rows_do_not_influence_the_scaled_training_rows(protocol: str) -> None:
    original, changed = change_test_rows(protocol)
    np.testing.assert_array_equal(original.X_train, changed.X_train)
    assert not np.allclose(original.X_test, changed.X_test)


def test_test_rows_leak_into_the_scaled_training_rows_under_neurofs() -> None:
    original, changed = change_test_rows("neurofs")
    assert not np.allclose(original.X_train, changed.X_train)


@pytest.mark.parametrize("protocol", ["quickselection", "wast", "attribution"])
def test_default_preparation_is_the_plain_split_with_standard_scores(
    protocol: Any, cancer: Any
) -> None:
    X, y = cancer
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, random_state=42)
    scaler = StandardScaler().fit(X_train)
    split = split_and_scale(X, y, protocol=protocol)
    np.testing.assert_array_equal(split.X_train, scaler.transform(X_train))
    np.testing.assert_array_equal(split.X_test, scaler.transform(X_test))
    np.testing.assert_array_equal(split.y_train, y_train)
    np.testing.assert_array_equal(split.y_test, y_test)


def test_neurofs_rows_are_float32_and_fill_the_unit_interval(cancer: Any) -> None:
    split = split_and_scale(*cancer, protocol="neurofs")
    both = np.vstack([split.X_train, split.X_test])
    assert both.dtype == np.float32
    np.testing.assert_allclose(both.min(axis=0), 0.0, atol=1e-6)
    np.testing.assert_allclose(both.max(axis=0), 1.0, atol=1e-6)


def test_the_clean_split_keeps_class_shares_and_the_plain_one_need_not() -> None:
    X, y = np.zeros((100, 1)), np.repeat([0, 1], [90, 10])
    assert split_and_scale(X, y, protocol="clean").y_test.sum() == 2
    plain = train_test_split(y, test_size=0.2, random_state=42)[1]
    assert plain.sum() != 2
    np.testing.assert_array_equal(split_and_scale(X, y, protocol="wast").y_test, plain)


def test_an_explicit_scaler_replaces_the_protocols_own() -> None:
    X = np.array([[0.0], [2.0], [4.0], [8.0]])
    y = [0, 1, 0, 1]
    minmax = split_and_scale(X, y, protocol="quickselection", scaler="minmax", n_train=3)
    np.testing.assert_allclose(minmax.X_train.ravel(), [0.0, 0.5, 1.0])
    np.testing.assert_allclose(minmax.X_test, [[2.0]])
    standard = split_and_scale(X, y, protocol="neurofs", scaler="standard", n_train=3)
    expected = (X.ravel() - 3.5) / X.std()
    np.testing.assert_allclose(standard.X_train.ravel(), expected[:3], rtol=1e-6)
    np.testing.assert_allclose(standard.X_test.ravel(), expected[3:], rtol=1e-6)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_n_train_makes_the_leading_rows_the_training_rows(protocol: Any) -> None:
    X, y = np.random.default_rng(1).normal(size=(30, 2)), np.arange(30) // 3
    split = split_and_scale(X, y, protocol=protocol, n_train=21)
    np.testing.assert_array_equal(split.y_train, y[:21])
    np.testing.assert_array_equal(split.y_test, y[21:])


def test_a_constant_column_becomes_zero_and_no_error() -> None:
    X = np.column_stack([np.full(20, 7.0), np.arange(20.0)])
    split = split_and_scale(X, np.arange(20) % 2, protocol="clean")
    np.testing.assert_array_equal(split.X_train[:, 0], 0.0)
    np.testing.assert_array_equal(split.X_test[:, 0], 0.0)


# ---------------------------------------------------------------------------------------- judges


@pytest.mark.parametrize(
    ("protocol", "judges"),
    [
        ("quickselection", {"extra_trees", "kmeans"}),
        ("neurofs", {"svc", "knn", "extra_trees"}),
        ("wast", {"svc"}),
        ("attribution", {"svc"}),
        ("clean", {"svc", "knn", "extra_trees"}),
    ],
)
def test_every_protocol_reports_its_own_judges(protocol: Any, judges: set[str]) -> None:
    X = np.random.default_rng(0).normal(size=(40, 3))
    scores = evaluate(X, np.arange(40) % 2, [0, 2], protocol=protocol)
    assert set(scores) == judges
    assert all(0.0 <= score <= 1.0 for score in scores.values())


def test_scores_are_those_of_scikit_learns_estimators_on_the_selected_columns(cancer: Any) -> None:
    X, y = cancer
    support = [0, 5, 9]
    train, test = train_test_split(np.arange(len(y)), test_size=0.2, random_state=42, stratify=y)
    scaler = StandardScaler().fit(X[train])
    A, B = scaler.transform(X[train])[:, support], scaler.transform(X[test])[:, support]
    expected = {
        "svc": SVC().fit(A, y[train]).score(B, y[test]),
        "knn": KNeighborsClassifier(1).fit(A, y[train]).score(B, y[test]),
        "extra_trees": ExtraTreesClassifier(50, random_state=3).fit(A, y[train]).score(B, y[test]),
    }
    assert evaluate(X, y, support, seed=3) == pytest.approx(expected)


def test_evaluate_is_split_and_scale_followed_by_score_support(cancer: Any) -> None:
    X, y = cancer
    split = split_and_scale(X, y, protocol="quickselection")
    direct = evaluate(X, y, [1, 20], protocol="quickselection", seed=4)
    assert direct == score_support(split, [1, 20], judges=("extra_trees", "kmeans"), seed=4)


def test_a_mask_its_indices_and_their_reverse_score_alike(cancer: Any) -> None:
    X, y = cancer
    mask = np.zeros(30, dtype=bool)
    mask[[3, 7, 21]] = True
    expected = evaluate(X, y, mask)
    assert evaluate(X, y, np.array([3, 7, 21])) == expected
    assert evaluate(X, y, [21, 7, 3]) == expected


def test_unselected_columns_have_no_influence(cancer: Any) -> None:
    X, y = cancer
    spoiled = X.copy()
    spoiled[:, 2:] = np.nan
    assert evaluate(spoiled, y, [0, 1]) == evaluate(X, y, [0, 1])


def test_data_frames_and_string_labels_are_accepted(cancer: Any) -> None:
    pandas = pytest.importorskip("pandas")
    X, y = cancer
    names = np.array(["0: malignant", "1: benign"])[y]
    assert evaluate(pandas.DataFrame(X), names, [0, 1]) == evaluate(X, y, [0, 1])


def test_the_seed_repeats_and_changes_trees_without_touching_the_global_generator() -> None:
    X, y = np.random.default_rng(0).normal(size=(200, 5)), np.arange(200) % 2
    state = np.random.get_state(legacy=False)  # noqa: NPY002 - it is what must not be touched
    runs = [evaluate(X, y, [0, 1, 2], seed=seed) for seed in (0, 0, 1, 2, 3)]
    after = np.random.get_state(legacy=False)  # noqa: NPY002
    np.testing.assert_equal(after, state)
    assert runs[0] == runs[1]
    assert len({run["extra_trees"] for run in runs}) > 1
    assert len({run["svc"] for run in runs}) == 1


def test_kmeans_recovers_separated_classes_on_the_training_rows() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    informative = 10.0 * y + rng.normal(size=90)
    X = np.column_stack([informative, rng.normal(size=90)])
    assert evaluate(X, y, [0], protocol="quickselection")["kmeans"] == 1.0
    assert evaluate(X, y, [1], protocol="quickselection")["kmeans"] < 0.6


# --------------------------------------------------------------------------- clustering accuracy


def best_of_all_permutations(y_true: list[int], labels: list[int]) -> float:
    return max(
        sum(permutation[cluster] == true for true, cluster in zip(y_true, labels, strict=True))
        for permutation in itertools.permutations(range(4))
    ) / len(y_true)


pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30)


@given(pairs)
def test_clustering_accuracy_is_the_best_over_all_relabellings(
    pairs: list[tuple[int, int]],
) -> None:
    y_true, labels = (list(column) for column in zip(*pairs, strict=True))
    expected = best_of_all_permutations(y_true, labels)
    assert clustering_accuracy(y_true, labels) == pytest.approx(expected)


@given(pairs, st.permutations(range(4)))
def test_clustering_accuracy_ignores_the_names_of_clusters(
    pairs: list[tuple[int, int]], names: list[int]
) -> None:
    y_true, labels = (list(column) for column in zip(*pairs, strict=True))
    renamed = [f"cluster {names[label]}" for label in labels]
    assert clustering_accuracy(y_true, renamed) == clustering_accuracy(y_true, labels)


def test_surplus_clusters_and_surplus_classes_count_as_wrong() -> None:
    assert clustering_accuracy([0, 0, 0, 0], [0, 1, 2, 3]) == 0.25
    assert clustering_accuracy([0, 1, 2, 3], [0, 0, 0, 0]) == 0.25


# -------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("support", "message"),
    [
        ([], "non-empty"),
        ([[0, 1]], "one-dimensional"),
        (3, "one-dimensional"),
        ([True, False], "mask of 2 entries, but X has 3 columns"),
        ([False, False, False], "selects no column"),
        ([0, 3], "0 to 2"),
        ([-1], "0 to 2"),
        ([1, 1], "more than once"),
        ([0.0, 1.0], "float64"),
        (["a"], "booleans or integers"),
    ],
)
def test_an_invalid_support_is_refused_with_the_reason(support: Any, message: str) -> None:
    X, y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2
    with pytest.raises(ValueError, match=message):
        evaluate(X, y, support)
    with pytest.raises(ValueError, match=message):
        score_support(split_and_scale(X, y), support)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"protocol": "nips"}, "protocol='nips' is unknown: choose from quickselection, neurofs"),
        ({"scaler": "robust"}, "scaler='robust' is unknown: choose from standard, minmax"),
        ({"n_train": 0}, "n_train=0.*between 1 and 19"),
        ({"n_train": 20}, "n_train=20.*between 1 and 19"),
    ],
)
def test_arguments_out_of_range_are_refused_with_the_range(arguments: Any, message: str) -> None:
    X, y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2
    with pytest.raises(ValueError, match=message):
        evaluate(X, y, [0], **arguments)


def test_an_unknown_judge_is_refused() -> None:
    split = split_and_scale(np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2)
    with pytest.raises(ValueError, match="judge='lda' is unknown"):
        score_support(split, [0], judges=["lda"])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.linspace(0.1, 0.9, 20), "Unknown label type"),
        (np.arange(19) % 2, "inconsistent numbers of samples"),
    ],
)
def test_unusable_labels_are_refused(y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(np.zeros((20, 3)), y, [0])


def test_missing_values_in_selected_columns_are_refused() -> None:
    X = np.zeros((20, 3))
    X[4, 1] = np.nan
    with pytest.raises(ValueError, match="contains NaN"):
        evaluate(X, np.arange(20) % 2, [1])


def test_sparse_data_are_refused() -> None:
    with pytest.raises(TypeError, match=r"[Ss]parse data"):
        evaluate(sparse.csr_array(np.eye(20)), np.arange(20) % 2, [0])


@pytest.mark.parametrize(("y", "labels"), [([], []), ([0, 1], [0]), ([[0]], [[0]])])
def test_clustering_accuracy_refuses_arguments_that_do_not_pair_up(y: Any, labels: Any) -> None:
    with pytest.raises(ValueError, match="same length and not empty"):
        clustering_accuracy(y, labels)
