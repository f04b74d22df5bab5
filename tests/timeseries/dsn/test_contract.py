"""Is the classifier well-behaved in scikit-learn's eyes, with tables, panels and bad input?"""

import copy
import pickle
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from sparsewire.core import InvalidArgumentError, TrainingDivergedError
from sparsewire.timeseries.dsn import DSNClassifier
from tests.timeseries.dsn.helpers import small, waves

# Their tables have two columns, which no kernel worth the name is shorter than.
cuts_kernels = pytest.mark.filterwarnings("ignore:kernel_size=.* is cut:UserWarning")


@cuts_kernels
@parametrize_with_checks(  # type: ignore[untyped-decorator]
    [
        DSNClassifier(
            n_filters=4, depth=2, kernel_size=4, n_epochs=20, learning_rate=0.03, batch_size=32
        )
    ]
)
def test_scikit_learn_s_checks_pass(
    estimator: DSNClassifier, check: Callable[[DSNClassifier], None]
) -> None:
    check(estimator)


def test_the_constructor_s_defaults_are_those_decided() -> None:
    chosen = DSNClassifier().get_params()
    expected = {"n_filters": 47, "depth": 4, "kernel_size": 39, "n_groups": 3, "density": 0.2}
    assert {name: chosen[name] for name in expected} == expected
    assert (chosen["padding"], chosen["pad_value"]) == ("centre", "zero")


def test_two_fits_with_one_seed_are_equal_and_another_seed_differs() -> None:
    X, y = waves()
    probabilities = [small(random_state=s).fit(X, y).predict_proba(X) for s in (3, 3, 4)]
    np.testing.assert_array_equal(probabilities[0], probabilities[1])
    assert not np.array_equal(probabilities[0], probabilities[2])


def test_global_generators_are_left_alone() -> None:
    X, y = waves()
    states: list[Any] = [torch.get_rng_state(), np.random.get_state(), random.getstate()]  # noqa: NPY002
    small(validation_fraction=0.2).fit(X, y).predict(X)
    assert torch.equal(torch.get_rng_state(), states[0])
    found: Any = np.random.get_state()  # noqa: NPY002
    np.testing.assert_array_equal(found[1], states[1][1])
    assert random.getstate() == states[2]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
def test_copies_predict_the_same_and_pickles_hold_no_tensor(
    copied: Callable[[DSNClassifier], DSNClassifier],
) -> None:
    X, y = waves()
    fitted = small().fit(X, y)
    np.testing.assert_array_equal(copied(fitted).predict_proba(X), fitted.predict_proba(X))
    assert b"torch" not in pickle.dumps(fitted).replace(b"torch_", b"")


def test_a_clone_is_not_fitted() -> None:
    X, y = waves()
    with pytest.raises(NotFittedError):
        clone(small().fit(X, y)).predict(X)


def test_it_fits_into_searches_pipelines_and_cross_validation() -> None:
    X, y = waves(channels=2)
    assert len(cross_val_score(make_pipeline(small()), X, y, cv=2)) == 2
    search = GridSearchCV(small(n_epochs=2), {"density": [0.2, 0.5]}, cv=2).fit(X, y)
    assert search.best_params_["density"] in (0.2, 0.5)


@pytest.mark.parametrize(
    "labels",
    [["b", "a"], [-1, 1], [7, 3], [0.0, 2.0], [True, False]],
    ids=["strings", "negative", "gaps", "floats", "bools"],
)
def test_labels_of_any_kind_come_back(labels: list[Any]) -> None:
    X, _ = waves()
    y = np.array(labels)[np.arange(20) % 2]
    fitted = small().fit(X, y)
    assert fitted.classes_.tolist() == sorted(labels)
    predicted = fitted.predict(X)
    assert set(predicted) <= set(labels)
    assert predicted.dtype == y.dtype


def test_fifty_contiguous_labels_keep_their_identity() -> None:
    y = np.repeat(np.arange(1, 51), 2)
    X = np.random.default_rng(0).normal(size=(100, 1, 12))
    fitted = small(n_epochs=1).fit(X, y)
    assert fitted.classes_.tolist() == list(range(1, 51))
    assert fitted.network_.shape.n_classes == 50


def test_a_class_may_be_missing_in_the_test_set_and_an_unknown_one_is_just_wrong() -> None:
    X, y = waves()
    fitted = small(n_epochs=30).fit(X, y)
    slow = y == "slow"
    assert fitted.score(X[slow], y[slow]) > 0.5
    assert fitted.score(X, np.full(20, "never seen")) == 0.0


@pytest.mark.parametrize("shape", [(6, 1, 8), (4, 12, 250), (2, 1, 40), (6, 3, 1)])
@cuts_kernels
def test_probabilities_sum_to_one_for_every_shape(shape: tuple[int, int, int]) -> None:
    X = np.random.default_rng(0).normal(size=shape)
    y = np.arange(len(X)) % 2
    found = small(n_epochs=1).fit(X, y).predict_proba(X)
    assert found.shape == (len(X), 2)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-7)
    assert small(n_epochs=1).fit(X, y).predict_proba(X[:1]).shape == (1, 2)


def test_a_kernel_longer_than_the_series_is_cut_with_a_warning() -> None:
    X, y = waves(length=8)
    with pytest.warns(UserWarning, match="kernel_size=39 is cut to 8"):
        fitted = small(kernel_size=39).fit(X, y)
    assert fitted.network_.shape.kernel_size == 8


def test_the_prediction_for_a_series_does_not_depend_on_its_company() -> None:
    X, y = waves(n=40)
    fitted = small().fit(X, y)
    alone = np.concatenate([fitted.predict_proba(x[None]) for x in X])
    np.testing.assert_allclose(fitted.predict_proba(X), alone, rtol=0, atol=1e-7)


def test_containers_of_the_same_series_give_the_same_network() -> None:
    X, y = waves()
    frame = pd.DataFrame({"c": [pd.Series(x[0]) for x in X]})
    expected = small().fit(X, y).predict_proba(X)
    for same in (X[:, 0], list(X), frame):
        np.testing.assert_array_equal(small().fit(same, y).predict_proba(same), expected)


def test_a_fit_on_panels_forgets_the_columns_of_an_earlier_table() -> None:
    X, y = waves()
    fitted = small().fit(pd.DataFrame(X[:, 0]).add_prefix("t"), y)
    assert fitted.n_features_in_ == 30
    fitted.fit(X, y)
    assert not hasattr(fitted, "n_features_in_")
    assert not hasattr(fitted, "feature_names_in_")


def with_hole() -> Any:
    X, _ = waves()
    X[3, 0, 5] = np.nan
    return X


@pytest.mark.parametrize(
    ("X", "parameters", "message"),
    [
        (np.zeros((20, 1, 1, 9)), {}, "dim|4"),
        (with_hole(), {"missing": "raise"}, "1 missing values"),
        ([np.ones(30)] * 19 + [np.ones(20)], {"unequal": "raise"}, "series 19 has length 20"),
        (np.full((20, 1, 30), 1e39), {}, "too large for float32"),
        (waves()[0], {"density": 0.0}, "density"),
        (waves()[0], {"n_filters": 2.5}, "n_filters"),
        (waves()[0], {"depth": True}, "depth"),
        (waves()[0], {"padding": "left"}, "padding"),
        (waves()[0], {"validation_fraction": 0.01}, "validation_fraction=0.01"),
        (waves()[0], {"checkpoint": "x", "random_state": None}, "integer random_state"),
        (waves(n=10)[0], {}, "inconsistent numbers of samples"),
    ],
)
def test_unusable_input_is_refused_with_the_reason(
    X: Any, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        small(**parameters).fit(X, waves()[1])


def test_one_class_is_refused() -> None:
    X, _ = waves()
    with pytest.raises(InvalidArgumentError, match="one class, a;"):
        small().fit(X, ["a"] * 20)


def test_another_number_of_channels_is_refused() -> None:
    X, y = waves()
    with pytest.raises(InvalidArgumentError, match="2 channels"):
        small().fit(X, y).predict(waves(channels=2)[0])


def test_divergence_is_reported_with_the_epoch() -> None:
    X, y = waves()
    with pytest.raises(TrainingDivergedError, match="diverged in epoch"):
        small(learning_rate=1e38, depth=1, n_epochs=5).fit(X, y)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_missing_device_is_named() -> None:
    X, y = waves()
    with pytest.raises(InvalidArgumentError, match="device='cuda'"):
        small(device="cuda").fit(X, y)
