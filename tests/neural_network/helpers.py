"""Small problems, and estimators that fit in milliseconds."""

from typing import Any

import numpy as np
import numpy.typing as npt

from sparsewire.neural_network import SparseMLPClassifier, SparseMLPRegressor

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Estimator = SparseMLPClassifier | SparseMLPRegressor
N_SAMPLES, N_FEATURES = 60, 9
FAST = {
    "hidden_layer_sizes": (12, 10),
    "epsilon": 2,
    "batch_size": 16,
    "max_iter": 4,
    "learning_rate_init": 0.01,
    "random_state": 0,
}


def classifier(**parameters: Any) -> SparseMLPClassifier:
    return SparseMLPClassifier(**{**FAST, **parameters})


def regressor(**parameters: Any) -> SparseMLPRegressor:
    return SparseMLPRegressor(**{**FAST, **parameters})


def table() -> tuple[Floats, Ints, Floats]:
    """Rows of rank 3 plus noise, a third of the entries exactly zero; three classes, a value."""
    rng = np.random.default_rng(5)
    factors = rng.normal(size=(N_SAMPLES, 3))
    X = factors @ rng.normal(size=(3, N_FEATURES))
    X += 0.1 * rng.normal(size=X.shape)
    X[rng.random(X.shape) < 1 / 3] = 0.0
    return X, factors.argmax(axis=1), factors[:, 0] * factors[:, 1]


def assert_same_network(one: Estimator, other: Estimator) -> None:
    """Compare every bit of topology, weights and biases."""
    for a, b in zip(one.coefs_, other.coefs_, strict=True):
        assert a.shape == b.shape
        np.testing.assert_array_equal(a.indptr, b.indptr)
        np.testing.assert_array_equal(a.indices, b.indices)
        np.testing.assert_array_equal(a.data, b.data)
    for c, d in zip(one.intercepts_, other.intercepts_, strict=True):
        np.testing.assert_array_equal(c, d)


def assert_same_run(one: Estimator, other: Estimator) -> None:
    """Compare the networks and all that was recorded of their training but the time it took."""
    assert_same_network(one, other)
    assert one.n_iter_ == other.n_iter_
    assert one.loss_curve_ == other.loss_curve_
    assert one.validation_scores_ == other.validation_scores_
    assert one.best_loss_ == other.best_loss_
    assert one.best_validation_score_ == other.best_validation_score_
    assert one.history_["n_connections"] == other.history_["n_connections"]


def structure(estimator: Estimator, layer: int) -> set[tuple[int, int]]:
    """Return the connections of a layer as pairs (input, output)."""
    array = estimator.coefs_[layer].tocoo()
    return set(zip(array.row.tolist(), array.col.tolist(), strict=True))
