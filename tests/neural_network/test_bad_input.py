"""What do the estimators say to parameters and data that make no sense?"""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.exceptions import NotFittedError

from sparsewire.core import (
    GMP,
    SET,
    InvalidArgumentError,
    NonFiniteError,
    RigL,
    TrainingDivergedError,
)
from sparsewire.neural_network import SparseMLPClassifier
from tests.neural_network.helpers import N_SAMPLES, classifier, regressor, table


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"hidden_layer_sizes": ()}, "hidden_layer_sizes must be at least one integer"),
        ({"hidden_layer_sizes": (10, 0)}, r"got \(10, 0\)"),
        ({"hidden_layer_sizes": 0}, "hidden_layer_sizes"),
        ({"hidden_layer_sizes": (10, 2.5)}, "hidden_layer_sizes must be"),
        ({"hidden_layer_sizes": "ten"}, "hidden_layer_sizes"),
        ({"activation": "gelu"}, "all-relu"),
        ({"activation_slope": -0.1}, "activation_slope"),
        ({"epsilon": 0}, "epsilon"),
        ({"method": "sett"}, "set-magnitude"),
        ({"method": GMP}, "method"),
        ({"drop_fraction": 1.1}, "drop_fraction"),
        ({"importance_pruning": 0}, "importance_pruning"),
        ({"importance_pruning": 1.0}, "importance_pruning"),
        ({"importance_pruning": 0.1}, "must be less than max_iter=4"),
        ({"importance_pruning": 0.1, "importance_pruning_begin": 4}, "would never happen"),
        ({"dropout": 1}, "dropout"),
        ({"solver": "lbfgs"}, "solver"),
        ({"learning_rate_init": 0}, "learning_rate_init"),
        ({"momentum": 1}, "momentum"),
        ({"weight_decay": 1}, "weight_decay"),
        ({"batch_size": 0}, "batch_size"),
        ({"max_iter": 0}, "max_iter"),
        ({"max_iter": True}, "max_iter must not be a bool"),
        ({"epsilon": True}, "epsilon must not be a bool"),
        ({"shuffle": "no"}, "shuffle"),
        ({"tol": -1}, "tol"),
        ({"n_iter_no_change": 0}, "n_iter_no_change"),
        ({"early_stopping": "yes"}, "early_stopping"),
        ({"validation_fraction": 0}, "validation_fraction"),
        ({"early_stopping": True, "validation_fraction": 0.01}, "less than two rows"),
        ({"storage": "dense"}, "storage"),
        ({"checkpoint": 3}, "checkpoint"),
        ({"checkpoint": "run.pt", "random_state": None}, "needs an integer random_state"),
        ({"checkpoint": "run.pt", "warm_start": True}, "exclude each other"),
        ({"random_state": -1}, "random_state"),
    ],
    ids=str,
)
def test_a_parameter_out_of_range_is_named(parameters: dict[str, Any], message: str) -> None:
    X, _, y = table()
    with pytest.raises(ValueError, match=message):
        regressor(**parameters).fit(X, y)


def test_early_stopping_needs_two_rows_of_every_class() -> None:
    X, y, _ = table()
    y[0] = 9
    with pytest.raises(ValueError, match="least populated class"):
        classifier(early_stopping=True).fit(X, y)


def test_partial_fit_knows_no_early_stopping() -> None:
    X, _, y = table()
    with pytest.raises(InvalidArgumentError, match="early_stopping=True"):
        regressor(early_stopping=True).partial_fit(X, y)


def test_partial_fit_of_a_classifier_asks_for_the_classes_first() -> None:
    X, y, _ = table()
    with pytest.raises(ValueError, match="classes must be passed"):
        classifier().partial_fit(X, y)
    with pytest.raises(InvalidArgumentError, match=r"y contains .*2.*, which is none of"):
        classifier().partial_fit(X, y, classes=[0, 1])
    model = classifier().partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="is not the same as"):
        model.partial_fit(X, y, classes=[0, 1, 2, 3])


def test_a_continued_network_keeps_its_inputs_and_outputs() -> None:
    X, labels, values = table()
    model = regressor(warm_start=True).fit(X, values)
    with pytest.raises(ValueError, match="X has 8 features"):
        model.partial_fit(X[:, :-1], values)
    two = np.stack([values, values], axis=1)
    for call in (model.partial_fit, model.fit):
        with pytest.raises(InvalidArgumentError, match="y has 2 outputs, the network has 1"):
            call(X, two)
    known = classifier(warm_start=True).fit(X, labels)
    with pytest.raises(InvalidArgumentError, match=r"none of the classes \[0 1 2\]"):
        known.fit(X, labels + 1)


@pytest.mark.parametrize("as_sparse", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_are_refused(value: float, as_sparse: bool) -> None:
    convert = sparse.csr_array if as_sparse else np.asarray
    X, _, y = table()
    model = regressor().fit(convert(X), y)
    X[3, 2] = value
    with pytest.raises(ValueError, match="contains"):
        regressor().fit(convert(X), y)
    with pytest.raises(ValueError, match="contains"):
        model.predict(convert(X))


def test_nothing_can_be_asked_before_fit() -> None:
    X, _, _ = table()
    for name in ("predict", "predict_proba", "predict_log_proba"):
        with pytest.raises(NotFittedError):
            getattr(SparseMLPClassifier(), name)(X)
    with pytest.raises(AttributeError):
        _ = SparseMLPClassifier().coefs_


@pytest.mark.parametrize("storage", ["csr", "masked"])
@pytest.mark.parametrize("method", ["set", "rigl"])
@pytest.mark.parametrize(("rate", "max_iter"), [(1e6, 4), (1e37, 1)])
def test_divergence_is_reported_and_leaves_nothing_fitted(
    max_iter: int, rate: float, method: str, storage: str
) -> None:
    # At the second rate the first step, which is the last one, makes the weights infinite.
    parameters = {"activation": "tanh", "batch_size": N_SAMPLES // 2 if max_iter > 1 else 10**6}
    X, _, y = table()
    model = regressor(method=method, storage=storage, **parameters).fit(X, y)
    model.set_params(learning_rate_init=rate, max_iter=max_iter)
    with pytest.raises(TrainingDivergedError, match=r"in epoch \d+.*learning_rate_init=1e\+|0\.0"):
        model.fit(X, 1e4 * y)
    with pytest.raises(NotFittedError):
        model.predict(X)


@pytest.mark.parametrize("storage", ["csr", "masked"])
@pytest.mark.parametrize("kind", [SET, RigL], ids=lambda kind: kind.__name__)
def test_what_a_topology_update_notices_is_reported_as_divergence(
    kind: type[SET] | type[RigL], storage: str
) -> None:
    X, _, y = table()
    model = regressor(method=kind(update_interval=1), storage=storage, activation="tanh")
    with pytest.raises(TrainingDivergedError) as caught:
        model.set_params(learning_rate_init=1e37).fit(X, 1e4 * y)
    assert isinstance(caught.value.__cause__, NonFiniteError)


@pytest.mark.parametrize("huge", [1e39, 1e300])
def test_values_beyond_single_precision_are_reported_as_divergence(huge: float) -> None:
    X, _, y = table()
    with pytest.raises(TrainingDivergedError, match="scale the features"):
        regressor().fit(huge * X, y)
    with pytest.raises(TrainingDivergedError, match="scale the features"):
        regressor().fit(X, huge * y)


@pytest.mark.parametrize(
    "parameters",
    [
        {"hidden_layer_sizes": 1},
        {"hidden_layer_sizes": np.array([5, 4])},
        {"epsilon": 1e-9},
        {"epsilon": 1e9},
        {"drop_fraction": 0},
        {"drop_fraction": 1},
        {"method": "rigl", "max_iter": 1},
        {"method": "rigl", "max_iter": 2, "batch_size": N_SAMPLES},
        {"method": "itop"},
        {"method": "rigl-itop", "drop_fraction": 0},
        {"method": GMP(update_interval=3, end=14)},
        {"batch_size": 1},
        {"batch_size": 10**6},
        {"momentum": 0, "weight_decay": 0},
        {"shuffle": False},
        {"n_iter_no_change": np.inf, "tol": 0},
        {"activation": "logistic", "dropout": 0.9},
    ],
    ids=str,
)
@pytest.mark.parametrize("storage", ["csr", "masked"])
def test_extreme_but_legal_parameters_work(storage: str, parameters: dict[str, Any]) -> None:
    X, _, y = table()
    model = regressor(storage=storage, **parameters).fit(X, y)
    assert np.isfinite(model.predict(X)).all()
    assert model.history_["n_connections"][-1] == model.n_connections_


def test_numpy_scalars_are_as_good_as_python_numbers() -> None:
    X, y, _ = table()
    plain = {"hidden_layer_sizes": 12, "max_iter": 3, "batch_size": 16, "random_state": 3}
    shares = {"dropout": 0.25, "drop_fraction": 0.5, "epsilon": 2.0, "weight_decay": 0.125}
    wrapped = {name: np.int64(value) for name, value in plain.items()} | {
        name: np.float32(value) for name, value in shares.items()
    }
    one = classifier(**wrapped).fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(one, classifier(**plain, **shares).fit(X, y).predict_proba(X))


def test_one_row_is_enough() -> None:
    X, labels, values = table()
    assert classifier().fit(X[:1], labels[:1]).predict(X).tolist() == [labels[0]] * N_SAMPLES
    assert regressor().fit(X[:1], values[:1]).predict(X[:1]).shape == (1,)


def test_the_widest_layer_may_be_too_large_for_a_dense_matrix() -> None:
    X, y, _ = table()
    model = classifier(hidden_layer_sizes=(100_000, 100_000), epsilon=1, max_iter=2).fit(X, y)
    # Dense matrices would need 40 GB.
    assert [layer.nnz for layer in model.coefs_] == [100_009, 200_000, 100_003]
    assert torch.isfinite(torch.from_numpy(model.predict_proba(X))).all()
