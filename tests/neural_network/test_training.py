"""Does training do what it says: the arithmetic, the topology, when it stops, what it learns?"""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.datasets import load_diabetes, load_digits, make_friedman1
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state

from sparsewire.core import SET, Constant, Cosine, Every, Method, RigL, Static
from sparsewire.neural_network.parameters import once_per_epoch
from tests.neural_network.helpers import (
    N_FEATURES,
    N_SAMPLES,
    Estimator,
    Floats,
    assert_same_network,
    assert_same_run,
    classifier,
    regressor,
    structure,
    table,
)

BATCHES = math.ceil(N_SAMPLES / 16)


def initial(**parameters: Any) -> Estimator:
    """Return an estimator with the weights it starts from."""
    X, y, _ = table()
    still = {"learning_rate_init": 1e-300, "weight_decay": 0, "max_iter": 1}
    model = classifier(**{**parameters, **still})
    model.fit(X, y)
    return model


# ------------------------------------------------------------------ the network


@pytest.mark.parametrize("storage", ["csr", "masked"])
@pytest.mark.parametrize("epsilon", [0.1, 2, 3.3, 1e6])
def test_every_layer_has_epsilon_times_its_neurons_in_connections(
    epsilon: float, storage: str
) -> None:
    X, y, _ = table()
    model = classifier(epsilon=epsilon, hidden_layer_sizes=(12, 30, 5), storage=storage).fit(X, y)
    sizes = [N_FEATURES, 12, 30, 5, 3]
    expected = [min(a * b, max(1, round(epsilon * (a + b)))) for a, b in pairwise(sizes)]
    assert [layer.nnz for layer in model.coefs_] == expected
    assert [layer.shape for layer in model.coefs_] == list(pairwise(sizes))
    assert [bias.shape for bias in model.intercepts_] == [(n,) for n in sizes[1:]]
    assert model.n_connections_ == sum(expected)
    assert model.density_ == sum(expected) / sum(a * b for a, b in pairwise(sizes))
    assert model.history_["n_connections"] == [sum(expected)] * 4


@pytest.mark.parametrize("storage", ["csr", "masked"])
def test_initial_weights_are_he_uniform_for_the_connections_there_are(storage: str) -> None:
    model = initial(hidden_layer_sizes=(300, 300), epsilon=10, storage=storage)
    for weights, bias in zip(model.coefs_, model.intercepts_, strict=True):
        bound = math.sqrt(6 * weights.shape[1] / weights.nnz)
        assert 0.98 * bound < np.abs(weights.data).max() <= bound
        assert abs(weights.data.mean()) < 4 * bound / math.sqrt(3 * weights.nnz)
        assert weights.data.var() == pytest.approx(bound**2 / 3, rel=0.1)
        assert not bias.any()


def test_both_storages_start_from_the_same_weights() -> None:
    assert_same_network(initial(storage="csr"), initial(storage="masked"))


# ------------------------------------------------------------------ arithmetic


class Reference:
    """Static training in float64, every derivative written out by hand."""

    def __init__(self, start: Estimator, activation: str, rate: float, solver: str) -> None:
        self.weights = [layer.toarray().astype(np.float64) for layer in start.coefs_]
        self.masks = [layer.toarray() != 0 for layer in start.coefs_]
        self.biases = [np.zeros(layer.shape[1]) for layer in start.coefs_]
        self.first = [np.zeros_like(p) for p in (*self.weights, *self.biases)]
        self.second = [np.zeros_like(p) for p in (*self.weights, *self.biases)]
        self.activation, self.rate, self.solver, self.steps = activation, rate, solver, 0

    def act(self, z: Floats, layer: int) -> tuple[Floats, Floats]:
        """Return value and derivative; layers count from 1."""
        if self.activation == "tanh":
            return np.tanh(z), 1 - np.tanh(z) ** 2
        if self.activation == "logistic":
            value = 1 / (1 + np.exp(-z))
            return value, value * (1 - value)
        slope = {"relu": 0.0, "all-relu": -0.6 if layer % 2 else 0.6}[self.activation]
        return np.where(z > 0, z, slope * z), np.where(z > 0, 1.0, slope)

    def step(self, x: Floats, target: Floats, *, classify: bool) -> float:
        inputs, slopes = [x], []
        for layer, (w, b) in enumerate(zip(self.weights[:-1], self.biases[:-1], strict=True), 1):
            value, slope = self.act(inputs[-1] @ w + b, layer)
            inputs.append(value)
            slopes.append(slope)
        output = inputs[-1] @ self.weights[-1] + self.biases[-1]
        if classify:
            output = softmax(output, axis=1)
            loss = -np.log(output[target.astype(bool)]).mean()
        else:
            loss = 0.5 * ((output - target) ** 2).sum(axis=1).mean()
        delta = (output - target) / len(x)
        gradients: list[Floats] = []
        sums: list[Floats] = []
        for w, mask, value in zip(
            reversed(self.weights), reversed(self.masks), reversed(inputs), strict=True
        ):
            gradients.insert(0, (value.T @ delta) * mask)
            sums.insert(0, delta.sum(axis=0))
            delta = delta @ w.T
            if slopes:
                delta = delta * slopes.pop()
        self.update([*gradients, *sums])
        return float(loss)

    def update(self, gradients: list[Floats]) -> None:
        self.steps += 1
        for p, g, m, v in zip(
            (*self.weights, *self.biases), gradients, self.first, self.second, strict=True
        ):
            p *= 1 - 0.01
            if self.solver == "sgd":
                m *= 0.8
                m += g
                p -= self.rate * m
            else:
                m += 0.1 * (g - m)
                v += 0.001 * (g**2 - v)
                bias1, bias2 = 1 - 0.9**self.steps, 1 - 0.999**self.steps
                p -= self.rate * (m / bias1) / (np.sqrt(v / bias2) + 1e-8)


@pytest.mark.parametrize("storage", ["csr", "masked"])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("activation", ["all-relu", "relu", "tanh", "logistic"])
@pytest.mark.parametrize("make", [classifier, regressor], ids=lambda f: f.__name__)
def test_training_equals_a_reference_written_out_by_hand(
    make: Any, activation: str, solver: str, storage: str
) -> None:
    parameters = {
        "hidden_layer_sizes": (6, 5, 4), "activation": activation, "solver": solver,
        "method": "static", "momentum": 0.8, "weight_decay": 0.01, "shuffle": False,
        "epsilon": 1, "storage": storage, "learning_rate_init": 0.05,
    }  # fmt: skip
    X, labels, values = table()
    X = X.astype(np.float32).astype(np.float64)
    classify = make is classifier
    y: Any = labels if classify else np.stack([values, X[:, 0], -values], axis=1)
    target: Floats = np.eye(3)[labels] if classify else y
    model = make(**parameters).fit(X, y)
    reference = Reference(initial(**parameters), activation, 0.05, solver)
    for loss in model.loss_curve_:
        expected = 0.0
        for start in range(0, N_SAMPLES, 16):
            rows = slice(start, start + 16)
            x = X[rows]
            expected += reference.step(x, target[rows], classify=classify) * len(x)
        assert loss == pytest.approx(expected / N_SAMPLES, rel=1e-5)
    for weights, values_ in zip(reference.weights, model.coefs_, strict=True):
        np.testing.assert_allclose(values_.toarray(), weights, rtol=1e-3, atol=1e-5)
    for biases, found in zip(reference.biases, model.intercepts_, strict=True):
        np.testing.assert_allclose(found, biases, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("method", ["set", "rigl", "set-magnitude", "itop"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_both_storages_learn_the_same(dropout: float, method: str) -> None:
    X, y, _ = table()
    parameters = {"method": method, "dropout": dropout, "max_iter": 8}
    one, other = (classifier(storage=s, **parameters).fit(X, y) for s in ("csr", "masked"))
    np.testing.assert_allclose(one.loss_curve_, other.loss_curve_, rtol=1e-4)
    for layer in range(3):
        assert structure(one, layer) == structure(other, layer)
    np.testing.assert_allclose(one.predict_proba(X), other.predict_proba(X), atol=1e-4)


def test_auto_storage_learns_the_same_too() -> None:
    X, y, _ = table()
    one, other = (classifier(storage=s).fit(X, y) for s in ("auto", "csr"))
    np.testing.assert_allclose(one.predict_proba(X), other.predict_proba(X), atol=1e-4)


# ------------------------------------------------------------------ determinism


def test_a_seed_fixes_the_result_and_another_changes_it() -> None:
    X, y, _ = table()
    parameters = {"dropout": 0.2, "early_stopping": True}
    first = classifier(**parameters).fit(X, y)
    assert_same_run(first, classifier(**parameters).fit(X, y))
    assert_same_run(first, classifier(**parameters).fit(X[:, :5], y).fit(X, y))
    other = classifier(**parameters, random_state=1).fit(X, y)
    assert not np.array_equal(first.predict_proba(X), other.predict_proba(X))
    unseeded = [classifier(random_state=None).fit(X, y).loss_curve_ for _ in range(2)]
    assert unseeded[0] != unseeded[1]


def test_a_random_state_instance_is_drawn_from() -> None:
    X, y, _ = table()
    state = np.random.RandomState(0)
    first, second = (classifier(random_state=state).fit(X, y) for _ in range(2))
    assert_same_run(first, classifier(random_state=0).fit(X, y))
    assert first.loss_curve_ != second.loss_curve_


def test_shuffling_changes_the_order_of_the_rows() -> None:
    X, y, _ = table()
    assert classifier().fit(X, y).loss_curve_ != classifier(shuffle=False).fit(X, y).loss_curve_


# ------------------------------------------------------------------ topology


@pytest.mark.parametrize("storage", ["csr", "masked"])
def test_the_topology_changes_between_epochs_and_that_of_the_output_never(storage: str) -> None:
    X, y, _ = table()
    parameters = {"storage": storage, "hidden_layer_sizes": (20, 20), "epsilon": 0.8}
    static = classifier(method="static", max_iter=3, **parameters).fit(X, y)
    one, two, three = (classifier(max_iter=n, **parameters).fit(X, y) for n in (1, 2, 3))
    assert structure(static, 2) == structure(three, 2)
    for layer in range(2):
        assert structure(one, layer) == structure(static, layer)
        # Of each sign 30 % go, of which chance brings some back.
        gone = len(structure(one, layer) - structure(two, layer))
        assert 1 <= gone <= 0.3 * len(structure(one, layer))
        assert structure(two, layer) != structure(three, layer)


def test_an_update_replaces_the_drop_fraction() -> None:
    X, y, _ = table()
    parameters = {"hidden_layer_sizes": (200, 200), "epsilon": 5, "max_iter": 2}
    before = classifier(**{**parameters, "max_iter": 1}).fit(X, y)
    for fraction in (0.0, 0.1, 0.5):
        after = classifier(drop_fraction=fraction, **parameters).fit(X, y)
        lost = len(structure(before, 1) - structure(after, 1))
        # Of 2000 connections among 40 000 places.
        assert 0.9 * fraction * 2000 <= lost <= fraction * 2000


@pytest.mark.parametrize("name", ["set", "set-magnitude", "rigl", "itop", "set-itop", "rigl-itop"])
@pytest.mark.parametrize("steps", [1, 10])
def test_a_named_method_updates_after_the_first_step_of_each_epoch_but_the_first(
    steps: int, name: str
) -> None:
    for epochs in (1, 2, 5, None):
        when = once_per_epoch(name, 0.3, steps, epochs).when
        assert isinstance(when, Every)
        last = 8 if epochs is None else epochs
        due = [step for step in range(1, last * steps + 1) if when.due(step)]
        assert due == [epoch * steps + 1 for epoch in range(1, last)]


def test_methods_keep_their_schedule_of_the_drop_fraction() -> None:
    constant = once_per_epoch("set", 0.2, 10, 5)
    annealed = once_per_epoch("rigl", 0.2, 10, 5)
    assert isinstance(constant, SET)
    assert isinstance(annealed, RigL)
    assert constant.schedule == Constant(0.2)
    assert annealed.schedule == Cosine(0.2, 0.0, end=51, begin=11)
    assert isinstance(once_per_epoch("static", 0.2, 10, 5), Static)


@pytest.mark.parametrize("method", [SET(update_interval=2), RigL(3, 0.5, end=9)], ids=str)
def test_a_method_object_is_used_as_it_is(method: Method) -> None:
    assert once_per_epoch(method, 0.9, 100, 5) is method
    X, y, _ = table()
    model = classifier(method=method, max_iter=1, drop_fraction=0.01).fit(X, y)
    static = classifier(method="static", max_iter=1).fit(X, y)
    assert structure(model, 0) != structure(static, 0)


# ------------------------------------------------------------------ importance pruning


@pytest.mark.parametrize("storage", ["csr", "masked"])
@pytest.mark.parametrize("method", ["set", "static"])
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_importance_pruning_removes_the_connections_into_the_weakest_neurons(
    share: float, method: str, storage: str
) -> None:
    X, y, _ = table()
    parameters = {"hidden_layer_sizes": (40, 30), "method": method, "storage": storage}
    before = classifier(**parameters, max_iter=3).fit(X, y)
    pruned = {"importance_pruning": share, "importance_pruning_begin": 3}
    after = classifier(**parameters, **pruned, max_iter=4).fit(X, y)
    for layer, weights in enumerate(before.coefs_[:-1]):
        strength = np.abs(weights.toarray().astype(np.float64)).sum(axis=0)
        weak = strength <= np.quantile(strength, share)
        removed = {(i, j) for i, j in structure(before, layer) if weak[j]}
        assert removed
        assert len(structure(before, layer)) - len(structure(after, layer)) == len(removed)
        if method == "static":
            assert structure(after, layer) == structure(before, layer) - removed
    assert structure(after, 2) == structure(before, 2)


def test_importance_pruning_comes_every_ten_epochs_and_connections_only_get_fewer() -> None:
    X, y, _ = table()
    model = classifier(
        importance_pruning=0.2, importance_pruning_begin=5, max_iter=37, n_iter_no_change=np.inf
    ).fit(X, y)
    counts = np.array(model.history_["n_connections"])
    assert (np.diff(counts) <= 0).all()
    assert (np.flatnonzero(np.diff(counts)) + 1).tolist() == [5, 15, 25, 35]
    assert model.n_connections_ == counts[-1] == sum(layer.nnz for layer in model.coefs_)


# ------------------------------------------------------------------ when training stops


def test_early_stopping_keeps_the_network_with_the_best_score() -> None:
    X, y, _ = table()
    rng = np.random.default_rng(0)
    y = np.where(rng.random(N_SAMPLES) < 0.5, y, rng.integers(0, 3, N_SAMPLES))
    parameters = {"early_stopping": True, "validation_fraction": 0.3, "learning_rate_init": 0.1}
    model = classifier(max_iter=60, n_iter_no_change=5, **parameters).fit(X, y)
    scores = model.validation_scores_
    best = int(np.argmax(scores))
    assert model.best_validation_score_ == max(scores)
    assert model.best_loss_ is None
    assert best < model.n_iter_ - 1 < 59
    assert len(scores) == len(model.loss_curve_) == model.n_iter_
    seed = int(check_random_state(0).randint(2**31 - 1))
    _, held_out = train_test_split(
        np.arange(N_SAMPLES), test_size=0.3, random_state=seed, stratify=y
    )
    assert model.score(X[held_out], y[held_out]) == pytest.approx(max(scores))
    # The best network is the one of a run that ends there, and not the last one.
    shorter = classifier(max_iter=best + 1, n_iter_no_change=np.inf, **parameters).fit(X, y)
    assert_same_network(model, shorter)


def test_training_stops_after_more_than_n_epochs_without_improvement() -> None:
    X, y, _ = table()
    model = classifier(tol=1e6, n_iter_no_change=3, max_iter=50).fit(X, y)
    # The first epoch improves on nothing at all.
    assert model.n_iter_ == 5
    assert classifier(tol=1e6, n_iter_no_change=np.inf, max_iter=12).fit(X, y).n_iter_ == 12
    stopping = regressor(early_stopping=True, tol=1e6, n_iter_no_change=2, max_iter=50)
    assert stopping.fit(X, X[:, 0]).n_iter_ == 4


def test_the_best_loss_is_the_smallest() -> None:
    X, _, y = table()
    model = regressor(max_iter=20).fit(X, y)
    assert model.best_loss_ == min(model.loss_curve_)
    assert model.validation_scores_ is None
    assert model.best_validation_score_ is None


# ------------------------------------------------------------------ going on


@pytest.mark.parametrize("storage", ["csr", "masked"])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_epochs_of_partial_fit_equal_one_fit(solver: str, storage: str) -> None:
    X, labels, values = table()
    parameters = {"solver": solver, "dropout": 0.2, "storage": storage}
    model = classifier(**parameters)
    for _ in range(4):
        model.partial_fit(X, labels, classes=[0, 1, 2])
    assert_same_run(model, classifier(**parameters).fit(X, labels))
    other = regressor(**parameters)
    for _ in range(4):
        other.partial_fit(X, values)
    assert_same_run(other, regressor(**parameters).fit(X, values))


def test_a_warm_start_goes_on_where_training_ended() -> None:
    X, _, y = table()
    model = regressor(warm_start=True, max_iter=3).fit(X, y)
    assert model.n_iter_ == 3
    model.set_params(max_iter=5).fit(X, y)
    assert_same_run(model, regressor(max_iter=8).fit(X, y))


def test_a_warm_start_never_forgets_the_best_network() -> None:
    X, y, _ = table()
    parameters = {"early_stopping": True, "validation_fraction": 0.3, "n_iter_no_change": np.inf}
    model = classifier(warm_start=True, max_iter=10, **parameters).fit(X, y)
    for rate in (0.01, 1.0):
        model.set_params(learning_rate_init=rate, max_iter=3).fit(X, y)
        best = int(np.argmax(model.validation_scores_))
        assert model.best_validation_score_ == model.validation_scores_[best]
    assert model.n_iter_ == 16


def test_partial_fit_learns_from_a_stream_of_uneven_chunks() -> None:
    X, y = load_digits(return_X_y=True)
    X = X / 16
    model = classifier(hidden_layer_sizes=(100,), epsilon=5, batch_size=32, learning_rate_init=0.05)
    rng = np.random.default_rng(0)
    for _ in range(6):
        order = rng.permutation(1300)
        for chunk in np.split(order, [200, 500, 533, 900]):
            model.partial_fit(X[chunk], y[chunk], classes=range(10))
    assert model.n_iter_ == 30
    assert model.score(X[1300:], y[1300:]) > 0.8  # measured: 0.87 to 0.89


# ------------------------------------------------------------------ learning


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_network_with_seven_percent_of_the_weights_learns_digits(seed: int) -> None:
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=0.3, random_state=seed, stratify=y
    )
    scaler = StandardScaler().fit(X_train)
    model = classifier(
        hidden_layer_sizes=(200, 200, 200), epsilon=5, batch_size=32, max_iter=15, random_state=seed
    ).fit(scaler.transform(X_train), y_train)
    assert model.density_ < 0.07
    assert model.score(scaler.transform(X_test), y_test) > 0.9  # measured: 0.92 to 0.95


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_regressor_learns_what_a_linear_model_cannot(seed: int) -> None:
    X, y = make_friedman1(1000, 10, noise=1.0, random_state=seed)
    X, y = StandardScaler().fit_transform(X), (y - y.mean()) / y.std()
    parameters = {"hidden_layer_sizes": (100, 100), "epsilon": 5, "batch_size": 32, "max_iter": 50}
    model = regressor(**parameters, random_state=seed).fit(X[:700], y[:700])
    linear = LinearRegression().fit(X[:700], y[:700]).score(X[700:], y[700:])
    assert model.score(X[700:], y[700:]) > linear + 0.05  # measured: 0.11 to 0.15


def test_a_regressor_beats_chance_on_diabetes() -> None:
    X, y = load_diabetes(return_X_y=True)
    X, y = StandardScaler().fit_transform(X), (y - y.mean()) / y.std()
    parameters = {"hidden_layer_sizes": (100, 100), "epsilon": 5, "batch_size": 32, "max_iter": 50}
    model = regressor(**parameters, learning_rate_init=0.001).fit(X[:300], y[:300])
    assert model.score(X[300:], y[300:]) > 0.3  # measured: 0.42 to 0.50
