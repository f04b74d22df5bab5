"""Are the estimators well-behaved in scikit-learn's eyes and polite guests in a process?"""

import copy
import pickle
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

import sparsewire.neural_network
from sparsewire.neural_network import SparseMLPClassifier, SparseMLPRegressor
from sparsewire.neural_network.base import BaseSparseMLP
from tests.neural_network.helpers import (
    N_SAMPLES,
    Estimator,
    Floats,
    assert_same_run,
    classifier,
    regressor,
    table,
)

SMALL = [
    SparseMLPClassifier((10,), max_iter=30, batch_size=16),
    SparseMLPRegressor((20,), max_iter=30, batch_size=16, learning_rate_init=0.003),
]
EXTRA_CHECKS = [
    estimator_checks.check_param_validation,
    estimator_checks.check_dataframe_column_names_consistency,
    estimator_checks.check_n_features_in_after_fitting,
    estimator_checks.check_inplace_ensure_writeable,
]
SPARSE_CONTAINERS = [
    sparse.csr_matrix,
    sparse.csc_matrix,
    sparse.coo_matrix,
    sparse.csr_array,
    sparse.csc_array,
    sparse.coo_array,
]
Make = Callable[..., Estimator]
each_kind = pytest.mark.parametrize("make", [classifier, regressor], ids=lambda f: f.__name__)


def problem(make: Make) -> tuple[Floats, Any]:
    X, labels, values = table()
    return X, labels if make is classifier else values


# ------------------------------------------------------------------ scikit-learn's own checks


@parametrize_with_checks(SMALL)  # type: ignore[untyped-decorator]
def test_a_small_estimator_passes_every_scikit_learn_check(
    estimator: Estimator, check: Callable[[Estimator], None]
) -> None:
    check(estimator)


# Two of the checks mix frames and arrays on purpose, about which scikit-learn itself warns.
@pytest.mark.filterwarnings("ignore:X (does not have valid|has) feature names:UserWarning")
@pytest.mark.parametrize("estimator", SMALL, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("check", EXTRA_CHECKS, ids=lambda check: check.__name__)
def test_a_small_estimator_passes_checks_that_check_estimator_leaves_out(
    check: Callable[[str, Estimator], None], estimator: Estimator
) -> None:
    check(type(estimator).__name__, estimator)


def test_the_base_class_cannot_be_instantiated() -> None:
    with pytest.raises(TypeError, match="abstract"):
        BaseSparseMLP()


def test_the_package_lists_and_finds_its_public_names() -> None:
    assert dir(sparsewire.neural_network) == ["SparseMLPClassifier", "SparseMLPRegressor"]
    with pytest.raises(AttributeError, match="no attribute 'SparseMLP'"):
        _ = sparsewire.neural_network.SparseMLP


def test_the_kinds_differ_in_two_defaults_only() -> None:
    one, other = SparseMLPClassifier().get_params(), SparseMLPRegressor().get_params()
    assert one.keys() == other.keys()
    differing = {name for name in one if one[name] != other[name]}
    assert differing == {"activation", "learning_rate_init"}


# ------------------------------------------------------------------ targets


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["low", "middle", "high"]),
        np.array(["low", "middle", "high"], dtype=object),
        np.array([-1.0, 0.0, 7.0]),
        np.array([3, 2, 1]),
        np.array([False, True, True]),
    ],
    ids=lambda labels: f"{labels.dtype}-{len(set(labels.tolist()))}",
)
def test_labels_of_any_kind_are_learned_alike(labels: Any) -> None:
    X, y, _ = table()
    model = classifier(max_iter=60, activation="relu", epsilon=10).fit(X, labels[y])
    assert model.classes_.tolist() == sorted(set(labels.tolist()))
    assert model.predict(X).dtype == labels.dtype
    assert model.score(X, labels[y]) > 0.85  # measured: 0.93 to 1.0
    assert model.n_outputs_ == len(model.classes_)


def test_probabilities_fit_together() -> None:
    X, y, _ = table()
    model = classifier().fit(X, y)
    probabilities = model.predict_proba(X)
    assert probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), probabilities, rtol=1e-12)
    np.testing.assert_array_equal(model.classes_[probabilities.argmax(axis=1)], model.predict(X))
    assert np.isfinite(model.predict_log_proba(1e6 * X)).all()


def test_several_labels_per_row_are_refused() -> None:
    X, y, _ = table()
    with pytest.raises(ValueError, match=r"y has 3 columns.*MultiOutputClassifier"):
        classifier().fit(X, np.eye(3, dtype=int)[y])


def test_numbers_are_no_labels() -> None:
    X, _, values = table()
    with pytest.raises(ValueError, match="Unknown label type"):
        classifier().fit(X, values)


def test_several_values_per_row_are_learned_together() -> None:
    X, _, _ = table()
    targets = np.stack([X[:, 0], -X[:, 1]], axis=1)
    model = regressor(hidden_layer_sizes=50, max_iter=200, n_iter_no_change=200).fit(X, targets)
    assert model.predict(X).shape == (N_SAMPLES, 2)
    assert model.predict(X).dtype == np.float64
    assert model.score(X, targets) > 0.9


# ------------------------------------------------------------------ forms of the table


@each_kind
@pytest.mark.parametrize("container", SPARSE_CONTAINERS, ids=lambda kind: kind.__name__)
def test_sparse_input_equals_dense_input(container: Any, make: Make) -> None:
    X, y = problem(make)
    one, other = make(early_stopping=True).fit(X, y), make(early_stopping=True).fit(container(X), y)
    assert_same_run(one, other)
    np.testing.assert_array_equal(one.predict(X), other.predict(container(X)))


@each_kind
def test_a_frame_float32_and_float64_equal_one_another(make: Make) -> None:
    X, y = problem(make)
    single = X.astype(np.float32)
    one = make().fit(single, y)
    assert_same_run(one, make().fit(single.astype(np.float64), y))
    frame = pd.DataFrame(single, columns=list("abcdefghi"))
    named = make().fit(frame, y)
    assert_same_run(one, named)
    assert named.feature_names_in_.tolist() == list("abcdefghi")
    np.testing.assert_array_equal(one.predict(single), named.predict(frame))


@each_kind
def test_read_only_memory_mapped_input_is_accepted(make: Make, tmp_path: Path) -> None:
    X, y = problem(make)
    joblib.dump(X.astype(np.float32), tmp_path / "X.joblib")
    mapped = joblib.load(tmp_path / "X.joblib", mmap_mode="r")
    assert not mapped.flags.writeable
    model = make().fit(mapped, y)
    assert_same_run(model, make().fit(X.astype(np.float32), y))
    assert len(model.predict(mapped)) == N_SAMPLES


@each_kind
@pytest.mark.parametrize("size", [1, 2, 15, 16, 17, 33])
def test_a_prediction_does_not_depend_on_the_other_rows(size: int, make: Make) -> None:
    X, y = problem(make)
    model = make(hidden_layer_sizes=(70, 40)).fit(X, y)
    parts = [model.predict(X[start : start + size]) for start in range(0, N_SAMPLES, size)]
    np.testing.assert_array_equal(np.concatenate(parts), model.predict(X))


def test_many_rows_are_predicted_in_batches() -> None:
    X, _, values = table()
    model = regressor().fit(X, values)
    many = np.tile(X, (50, 1))
    np.testing.assert_array_equal(model.predict(many), np.tile(model.predict(X), 50))


# ------------------------------------------------------------------ scikit-learn's tools


@pytest.mark.parametrize("n_jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_grid_search_finds_what_fits_one_by_one_find(n_jobs: int) -> None:
    X, y, _ = table()
    pipeline = make_pipeline(StandardScaler(), classifier())
    epsilons = [1, 3.5]
    grid = {"sparsemlpclassifier__epsilon": epsilons}
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=n_jobs).fit(X, y)
    for epsilon, score in zip(epsilons, search.cv_results_["mean_test_score"], strict=True):
        alone = make_pipeline(StandardScaler(), classifier(epsilon=epsilon))
        assert score == cross_val_score(alone, X, y, cv=2).mean()
    expected = clone(pipeline).set_params(**search.best_params_).fit(X, y)
    np.testing.assert_array_equal(search.predict_proba(X), expected.predict_proba(X))


def test_a_regressor_can_be_tuned() -> None:
    X, _, y = table()
    steps = Pipeline([("scale", StandardScaler()), ("net", regressor())])
    search = GridSearchCV(steps, {"net__solver": ["sgd", "adam"]}, cv=2).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@each_kind
def test_clone_copies_every_parameter_and_no_result(make: Make) -> None:
    X, y = problem(make)
    model = make(method="rigl", activation="tanh", dropout=0.1).fit(X, y)
    copied = clone(model)
    assert copied.get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        copied.predict(X)


@each_kind
def test_fit_changes_no_parameter(make: Make) -> None:
    X, y = problem(make)
    model = make(hidden_layer_sizes=[7], batch_size=10_000)
    before = model.get_params()
    assert model.fit(X, y).get_params() == before


def by_pickle(model: Estimator) -> Estimator:
    copied: Estimator = pickle.loads(pickle.dumps(model))
    return copied


@each_kind
@pytest.mark.parametrize("duplicate", [copy.deepcopy, by_pickle], ids=["deepcopy", "pickle"])
@pytest.mark.parametrize("storage", ["csr", "masked", "auto"])
@pytest.mark.parametrize("method", ["set", "rigl"])
def test_a_copy_predicts_the_same_and_learns_on_in_the_same_way(
    method: str, storage: str, duplicate: Callable[[Estimator], Estimator], make: Make
) -> None:
    X, y = problem(make)
    model = make(method=method, storage=storage, dropout=0.2).fit(X, y)
    copied = duplicate(model)
    assert_same_run(model, copied)
    np.testing.assert_array_equal(model.predict(X), copied.predict(X))
    for _ in range(3):
        model.partial_fit(X, y)
    assert copied.n_iter_ == 4
    for _ in range(3):
        copied.partial_fit(X, y)
    assert_same_run(model, copied)


# ------------------------------------------------------------------ manners in a shared process


@each_kind
@pytest.mark.parametrize("storage", ["csr", "masked"])
def test_global_random_number_generators_are_left_alone(storage: str, make: Make) -> None:
    def states() -> tuple[object, ...]:
        kind, keys, *rest = np.random.get_state()  # noqa: NPY002
        return torch.get_rng_state().tolist(), kind, list(keys), *rest, random.getstate()

    X, y = problem(make)
    before = states()
    parameters = {"dropout": 0.3, "early_stopping": True, "storage": storage}
    make(**parameters).fit(X, y).predict(X)
    make(random_state=np.random.RandomState(0), storage=storage).fit(X, y)
    assert states() == before


@each_kind
def test_torch_keeps_its_settings(make: Make) -> None:
    def settings() -> tuple[object, ...]:
        return (
            torch.get_num_threads(),
            torch.get_num_interop_threads(),
            torch.is_grad_enabled(),
            torch.get_default_dtype(),
            torch.get_default_device(),
            torch.are_deterministic_algorithms_enabled(),
        )

    X, y = problem(make)
    before = settings()
    make().fit(X, y).predict(X)
    assert settings() == before


@pytest.fixture
def _restore_torch_defaults() -> Iterator[None]:
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)


@each_kind
@pytest.mark.usefixtures("_restore_torch_defaults")
@pytest.mark.parametrize("storage", ["csr", "masked"])
@pytest.mark.parametrize("change", ["dtype", "device"])
def test_the_defaults_of_torch_have_no_effect(change: str, storage: str, make: Make) -> None:
    X, y = problem(make)
    expected = make(storage=storage, dropout=0.2).fit(X, y)
    if change == "dtype":
        torch.set_default_dtype(torch.float64)
    else:
        torch.set_default_device("meta")
    model = make(storage=storage, dropout=0.2).fit(X, y)
    assert_same_run(model, expected)
    np.testing.assert_array_equal(model.predict(X), expected.predict(X))


@each_kind
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_fitting_works_where_the_caller_switched_gradients_off(
    mode: Callable[[], Any], make: Make
) -> None:
    X, y = problem(make)
    expected = make().fit(X, y).partial_fit(X, y)
    with mode():
        model = make().fit(X, y)
        model.predict(X)
        model.partial_fit(X, y)
        assert not torch.is_grad_enabled()
    assert_same_run(model, expected)


@each_kind
@pytest.mark.parametrize("verbose", [0, 1, True])
def test_a_progress_bar_appears_only_if_asked_for_and_only_on_stderr(
    verbose: int, make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    X, y = problem(make)
    name = type(make(verbose=verbose).fit(X, y)).__name__
    captured = capsys.readouterr()
    assert captured.out == ""
    assert (name in captured.err and "4/4" in captured.err) == bool(verbose)
    assert bool(captured.err) == bool(verbose)
