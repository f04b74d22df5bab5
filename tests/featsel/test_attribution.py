"""Does neuron attribution measure derivatives, train as described, and find what matters?"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import Tensor, nn

from sparsewire.core import ERK, SparseLinear, TrainingDivergedError, sparsify
from sparsewire.core.budget import LayerShape
from sparsewire.datasets import load
from sparsewire.featsel import evaluate
from sparsewire.featsel.attribution import MEASURE_EVERY, AttributionSelector, seeded
from sparsewire.featsel.input_gradients import absolute_gradients, class_gradients, input_strength
from sparsewire.featsel.mlp import MLP
from sparsewire.featsel.rows import shuffled_batches
from sparsewire.featsel.validation import hold_out

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
StorageName = Literal["csr", "masked", "dense"]
N_SAMPLES, N_FEATURES, N_CLASSES, HIDDEN = 60, 9, 3, (12, 6)
SMALL: dict[str, Any] = {
    "hidden_layer_sizes": HIDDEN,
    "density": 0.4,
    "update_interval": 3,
    "epochs": 6,
    "batch_size": 16,
    "learning_rate": 0.01,
    "random_state": 0,
}


def small(n_features_to_select: Any = 4, **parameters: Any) -> AttributionSelector:
    """Return a selector that fits in milliseconds."""
    return AttributionSelector(n_features_to_select, **{**SMALL, **parameters})


@pytest.fixture(name="X")
def _table() -> Floats:
    return np.random.default_rng(7).normal(size=(N_SAMPLES, N_FEATURES))


@pytest.fixture(name="y")
def _labels(X: Floats) -> Ints:
    """Three classes that depend on the first two columns."""
    return (X[:, 0] > 0).astype(np.int64) + (X[:, 0] * X[:, 1] > 0)


def importances(X: Any, y: Any, **parameters: Any) -> Floats:
    result: Floats = small(**parameters).fit(X, y).feature_importances_
    return result


# ------------------------------------------------------------------ derivatives


def network_of(storage: StorageName, sizes: tuple[int, ...] = (5, 8, 6, 3)) -> MLP:
    """Return a network in float64 with random weights and biases."""
    network = MLP(sizes, activation="relu", dtype=torch.float64)
    generator = torch.Generator().manual_seed(3)
    for parameter in network.parameters():
        nn.init.normal_(parameter, generator=generator)
    if storage != "dense":
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        handle = sparsify(network, optimizer, density=0.6, method="static", storage=storage)
        handle.initialize(lambda _, count: torch.randn(count, generator=generator))
    return network


def some_rows(n: int, d: int) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(n, d, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("storage", ["masked", "csr", "dense"])
@pytest.mark.parametrize("n_classes", [2, 3, 5])
@pytest.mark.parametrize("n_rows", [1, 7])
def test_class_gradients_equal_finite_differences(
    n_rows: int, n_classes: int, storage: StorageName
) -> None:
    network, x, h = network_of(storage, (5, 8, 6, n_classes)), some_rows(n_rows, 5), 1e-5
    expected = np.zeros(5)
    with torch.no_grad():
        for j in range(5):
            moved = h * torch.eye(5, dtype=torch.float64)[j]
            difference = network(x + moved).softmax(1) - network(x - moved).softmax(1)
            expected[j] = (difference / (2 * h)).abs().mean(0).sum()
    np.testing.assert_allclose(class_gradients(network, x), expected, rtol=0, atol=1e-8)
    assert expected.max() > 0.01


def test_derivatives_of_a_linear_network_are_its_weights() -> None:
    weight = some_rows(4, 6)
    x = some_rows(11, 6).requires_grad_()
    found = absolute_gradients(x @ weight.T + 1, x) / 11
    torch.testing.assert_close(found, weight.abs().sum(0))


def test_derivatives_of_a_softmax_regression_have_a_closed_form() -> None:
    layer = nn.Linear(6, 4, dtype=torch.float64)
    x = some_rows(11, 6)
    p, weight = layer(x).softmax(1).detach().numpy(), layer.weight.detach().numpy()
    # d p_c / d x_j = p_c (w_cj - sum_k p_k w_kj)
    jacobian = p[:, :, None] * (weight[None] - (p @ weight)[:, None])
    np.testing.assert_allclose(
        class_gradients(layer, x), np.abs(jacobian).mean(0).sum(0), rtol=1e-12
    )
    np.testing.assert_allclose(jacobian.sum(1), 0, atol=1e-15)  # why the absolute value is inside


@pytest.mark.parametrize("storage", ["masked", "csr", "dense"])
def test_measuring_leaves_parameters_and_their_gradients_alone(storage: StorageName) -> None:
    network, x = network_of(storage), some_rows(4, 5)
    network(x).sum().backward()
    before = [(p.detach().clone(), p.grad.clone()) for p in network.parameters()]  # type: ignore[union-attr]
    first = network.layers[0]
    assert isinstance(first, nn.Linear | SparseLinear)
    class_gradients(network, x)
    input_strength(first)
    for parameter, (value, gradient) in zip(network.parameters(), before, strict=True):
        assert parameter.requires_grad
        assert torch.equal(parameter, value)
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, gradient)
    assert x.grad is None
    assert not x.requires_grad


@pytest.mark.parametrize("storage", ["masked", "csr", "dense"])
def test_strength_is_the_sum_of_absolute_weights(storage: StorageName) -> None:
    layer = network_of(storage).layers[0]
    assert isinstance(layer, nn.Linear | SparseLinear)
    dense = layer.to_dense() if isinstance(layer, SparseLinear) else layer
    torch.testing.assert_close(input_strength(layer), dense.weight.detach().abs().sum(0))


# ------------------------------------------------------------------ arithmetic


def _adam(value: Tensor, moments: list[Tensor], gradient: Tensor, step: int) -> None:
    """Take one step of Adam with an L2 penalty, written out."""
    first, second = moments
    rate, decay, eps = 0.01, 0.1, 1e-8
    gradient = gradient + decay * value
    first.mul_(0.9).add_(0.1 * gradient)
    second.mul_(0.999).add_(0.001 * gradient**2)
    root = (second / (1 - 0.999**step)).sqrt() + eps
    value.sub_(rate * first / (1 - 0.9**step) / root)


class _Reference:
    """Training with a topology that never changes, in plain loops."""

    def __init__(self, masks: list[Tensor], seed: int) -> None:
        weights, biases = seeded(seed, "weights"), seeded(seed, "biases")
        self.masks = masks
        self.parameters: list[Tensor] = []
        for mask in masks:
            n_out, n_in = mask.shape
            weight = torch.zeros(n_out, n_in, dtype=torch.float64)
            drawn = weights.uniform(-(n_in**-0.5), n_in**-0.5, int(mask.sum()))
            weight[mask] = torch.from_numpy(drawn)
            bias = biases.uniform(-1, 1, n_out) * n_in**-0.5
            self.parameters += [weight, torch.from_numpy(bias)]
        self.moments = [[torch.zeros_like(p), torch.zeros_like(p)] for p in self.parameters]
        self.steps = 0

    def logits(self, x: Tensor, parameters: list[Tensor]) -> Tensor:
        for place in range(0, len(parameters), 2):
            x = (x if place == 0 else x.relu()) @ parameters[place].T + parameters[place + 1]
        return x

    def loss(self, x: Tensor, y: Tensor) -> float:
        chosen = self.logits(x, self.parameters).softmax(1)[torch.arange(len(y)), y]
        return float(-chosen.log().mean())

    def importances(self, x: Tensor, importance: str) -> Tensor:
        if importance == "strength":
            return self.parameters[0].abs().sum(0)
        jacobians = [
            torch.autograd.functional.jacobian(  # type: ignore[no-untyped-call]
                lambda row: self.logits(row[None], self.parameters).softmax(1)[0], row
            )
            for row in x
        ]
        return torch.stack(jacobians).abs().mean(0).sum(0)

    def step(self, x: Tensor, y: Tensor) -> None:
        held = [p.clone().requires_grad_() for p in self.parameters]
        loss = -self.logits(x, held).softmax(1)[torch.arange(len(y)), y].log().mean()
        gradients = torch.autograd.grad(loss, held)
        self.steps += 1
        for place, gradient in enumerate(gradients):
            masked = gradient if place % 2 else gradient * self.masks[place // 2]
            _adam(self.parameters[place], self.moments[place], masked, self.steps)


@pytest.mark.parametrize("accumulate", ["all", "last_epoch", "last"])
@pytest.mark.parametrize(
    ("topology", "importance", "storage", "validation_fraction"),
    [
        ("static", "attribution", "csr", 0.25),
        ("static", "attribution", "masked", 0.0),
        ("dense", "attribution", "csr", 0.25),
        ("static", "strength", "csr", 0.25),
    ],
)
def test_a_fit_equals_a_reference_in_plain_loops(
    topology: Any,
    importance: Any,
    storage: Any,
    validation_fraction: float,
    accumulate: str,
    X: Floats,
    y: Ints,
) -> None:
    epochs, batch_size = 4, 7
    selector = small(
        topology=topology, importance=importance, storage=storage, accumulate=accumulate,
        validation_fraction=validation_fraction, epochs=epochs, batch_size=batch_size, scale=None,
        weight_decay=0.1, dtype="float64", random_state=11,
    ).fit(X, y)  # fmt: skip
    seed = int(check_random_state(11).randint(2**31 - 1))
    masks = [torch.zeros(layer.shape[::-1], dtype=torch.bool) for layer in selector.connections_]
    for mask, layer in zip(masks, selector.connections_, strict=True):
        mask.T[layer.nonzero()] = True
    reference = _Reference(masks, seed)
    learnt, held_out = hold_out(y, validation_fraction, seeded(seed, "split"))
    order = seeded(seed, "order")
    rows, labels = torch.from_numpy(X), torch.from_numpy(y)
    total, lowest, expected = torch.zeros(N_FEATURES), math.inf, torch.zeros(N_FEATURES)
    for epoch in range(epochs):
        of_epoch = []
        for index in (learnt[i] for i in shuffled_batches(len(learnt), batch_size, order)):
            reference.step(rows[index], labels[index])
            of_epoch.append(reference.importances(rows[index], importance))
        total = total + sum(of_epoch[::-MEASURE_EVERY])
        if len(held_out):
            loss = reference.loss(rows[held_out], labels[held_out])
            assert selector.history_["validation_loss"][epoch] == pytest.approx(loss, rel=1e-9)
        if not len(held_out) or loss < lowest:
            lowest = loss if len(held_out) else math.inf
            choices = {"all": total, "last_epoch": sum(of_epoch[::-MEASURE_EVERY])}
            expected = torch.as_tensor({**choices, "last": of_epoch[-1]}[accumulate])
    np.testing.assert_allclose(selector.feature_importances_, expected, rtol=1e-8)
    for place, layer in enumerate(selector.connections_):
        weight = reference.parameters[2 * place].T
        np.testing.assert_allclose(layer.toarray(), weight, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("topology", ["set", "rigl", "static"])
@pytest.mark.parametrize("importance", ["attribution", "strength"])
def test_both_storages_give_the_same_result(
    importance: str, topology: str, X: Floats, y: Ints
) -> None:
    one, other = (
        small(topology=topology, importance=importance, storage=name, dtype="float64").fit(X, y)
        for name in ("csr", "masked")
    )
    np.testing.assert_allclose(one.feature_importances_, other.feature_importances_, rtol=1e-6)
    assert one.history_["validation_loss"] == pytest.approx(other.history_["validation_loss"])
    for left, right in zip(one.connections_, other.connections_, strict=True):
        np.testing.assert_allclose(left.toarray(), right.toarray(), rtol=1e-6, atol=1e-9)


# ------------------------------------------------------------------ topology


def _structure(selector: AttributionSelector) -> set[tuple[int, int]]:
    return set(zip(*map(np.ndarray.tolist, selector.connections_[0].nonzero()), strict=True))


@pytest.mark.parametrize("topology", ["set", "rigl", "static"])
@pytest.mark.parametrize("storage", ["csr", "masked"])
@pytest.mark.parametrize("density", [0.03, 0.1, 0.4, 1.0])
def test_every_layer_keeps_the_connections_that_erk_gives_it(
    density: float, storage: str, topology: str, X: Floats, y: Ints
) -> None:
    sizes = (N_FEATURES, *HIDDEN, N_CLASSES)
    shapes = [LayerShape(str(i), (sizes[i + 1], sizes[i])) for i in range(3)]
    total = round(density * sum(shape.numel for shape in shapes))
    counts = list(ERK().counts(shapes, total).values())
    selector = small(density=density, storage=storage, topology=topology, drop_fraction=0.5)
    selector.fit(X, y)
    assert [layer.nnz for layer in selector.connections_] == counts
    assert selector.history_["n_connections"] == [total] * 6
    assert [layer.shape for layer in selector.connections_] == list(pairwise(sizes))


def test_a_dense_network_has_all_connections_whatever_the_density(X: Floats, y: Ints) -> None:
    selector = small(topology="dense", density=0.01).fit(X, y)
    assert [layer.nnz for layer in selector.connections_] == [9 * 12, 12 * 6, 6 * 3]
    assert selector.density_ == 1.0


def test_connections_move_unless_the_topology_is_static(X: Floats, y: Ints) -> None:
    static = _structure(small(topology="static").fit(X, y))
    assert _structure(small(topology="set", drop_fraction=0).fit(X, y)) == static
    assert _structure(small(topology="set", update_interval=10**6).fit(X, y)) == static
    evolved, grown = (_structure(small(topology=name).fit(X, y)) for name in ("set", "rigl"))
    assert len({frozenset(static), frozenset(evolved), frozenset(grown)}) == 3


def test_the_storage_has_no_effect_on_a_dense_network(X: Floats, y: Ints) -> None:
    np.testing.assert_array_equal(
        importances(X, y, topology="dense", storage="csr"),
        importances(X, y, topology="dense", storage="masked"),
    )


# ------------------------------------------------------------------ validation and stopping


@given(
    classes=st.lists(st.integers(2, 12), min_size=2, max_size=5),
    fraction=st.floats(0, 0.99),
    seed=st.integers(0, 100),
)
def test_a_split_is_complete_and_gives_every_class_its_share(
    classes: list[int], fraction: float, seed: int
) -> None:
    y = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(classes)), classes))
    learnt, held_out = hold_out(y, fraction, np.random.default_rng(seed))
    assert sorted([*learnt, *held_out]) == list(range(len(y)))
    assert len(held_out) == math.floor(len(y) * fraction)
    for label, count in enumerate(classes):
        assert abs((y[held_out] == label).sum() - fraction * count) < 1


def test_a_class_of_one_member_makes_the_split_unstratified_with_a_warning(
    X: Floats, y: Ints
) -> None:
    y[:] = np.arange(N_SAMPLES) % 2
    y[5] = 2
    with pytest.warns(UserWarning, match="one member only"):
        selector = small().fit(X, y)
    assert selector.classes_.tolist() == [0, 1, 2]
    with pytest.warns(UserWarning, match="one member only"):
        _, held_out = hold_out(y, 0.2, np.random.default_rng(0))
    assert len(held_out) == 12
    small(validation_fraction=0.0).fit(X, y)  # nothing to split, nothing to warn of


def test_training_stops_when_the_validation_loss_has_not_fallen_for_long(
    X: Floats, y: Ints
) -> None:
    selector = small(epochs=300, patience=7, learning_rate=0.05).fit(X, y)
    losses = selector.history_["validation_loss"]
    best = int(np.argmin(losses))
    assert len(losses) == selector.n_iter_ == best + 1 + 7
    assert {len(values) for values in selector.history_.values()} == {selector.n_iter_}


@pytest.mark.parametrize("accumulate", ["all", "last_epoch", "last"])
def test_epochs_after_the_best_one_do_not_count(accumulate: str, X: Floats, y: Ints) -> None:
    given_ = {"topology": "static", "learning_rate": 0.05, "accumulate": accumulate}
    long = small(epochs=100, patience=30, **given_).fit(X, y)
    best = int(np.argmin(long.history_["validation_loss"])) + 1
    assert 1 < best < long.n_iter_
    short = small(epochs=best, **given_).fit(X, y)
    np.testing.assert_array_equal(long.feature_importances_, short.feature_importances_)


def test_without_validation_all_rows_are_learnt_for_all_epochs(X: Floats, y: Ints) -> None:
    selector = small(validation_fraction=0.0, epochs=9, patience=1).fit(X, y)
    assert selector.n_iter_ == 9
    assert "validation_loss" not in selector.history_


def test_four_rows_leave_none_for_validation() -> None:
    X = np.random.default_rng(0).normal(size=(4, 3))
    selector = small(2).fit(X, [0, 1, 0, 1])
    assert "validation_loss" not in selector.history_
    assert (selector.feature_importances_ > 0).any()


# ------------------------------------------------------------------ targets and parameters


def test_labels_of_any_kind_give_the_same_result(X: Floats, y: Ints) -> None:
    expected = importances(X, y)
    names = np.array(["ash", "beech", "cedar"])
    for labels in (names[y], names.astype(object)[y], y.astype(float), y.tolist(), y * 10 - 7):
        selector = small().fit(X, labels)
        np.testing.assert_array_equal(selector.feature_importances_, expected)
        assert selector.classes_.tolist() == np.unique(labels).tolist()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda y: None, "requires y to be passed, but the target y is None"),
        (lambda y: np.zeros(len(y)), "has 1 class"),
        (lambda y: y + 0.5, "Unknown label type: continuous"),
        (lambda y: np.stack([y, y], axis=1), r"1d array"),
        (lambda y: y[:-1], "inconsistent numbers of samples"),
        (lambda y: np.where(y == 0, np.nan, y), "NaN"),
    ],
    ids=["missing", "one class", "continuous", "two columns", "too short", "NaN"],
)
def test_an_unusable_target_is_an_error(
    make: Callable[[Ints], Any], message: str, X: Floats, y: Ints
) -> None:
    with pytest.raises(ValueError, match=message):
        small().fit(X, make(y))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("importance", "gradient"),
        ("topology", "SET"),
        ("accumulate", "best"),
        ("hidden_layer_sizes", (10, 0)),
        ("hidden_layer_sizes", (10, 2.5)),
        ("hidden_layer_sizes", (10, True)),
        ("hidden_layer_sizes", 100),
        ("density", 0.0),
        ("density", 1.5),
        ("density", 1e-9),
        ("drop_fraction", -0.1),
        ("update_interval", 0),
        ("validation_fraction", 1.0),
        ("patience", 0),
        ("weight_decay", -1e-4),
    ],
)
def test_a_parameter_out_of_range_is_an_error_that_names_it(
    name: str, value: Any, X: Floats, y: Ints
) -> None:
    with pytest.raises(ValueError, match=name):
        small(**{name: value}).fit(X, y)


def test_divergence_is_an_error_that_names_epoch_and_learning_rate(X: Floats, y: Ints) -> None:
    with pytest.raises(TrainingDivergedError, match=r"epoch 1: .*learning_rate=1e\+30"):
        small(learning_rate=1e30).fit(X, y)


@pytest.mark.parametrize(
    "parameters",
    [
        {"epochs": 1},
        {"epochs": 1, "batch_size": 10**6},
        {"hidden_layer_sizes": []},
        {"hidden_layer_sizes": np.array([5])},
        {"hidden_layer_sizes": (9, 9, 9, 9)},
        {"drop_fraction": 1.0, "update_interval": 1},
        {"batch_size": 1, "epochs": 2},
        {"validation_fraction": 0.95},
        {"weight_decay": 0.0, "scale": None},
    ],
    ids=str,
)
@pytest.mark.parametrize("topology", ["set", "rigl", "dense"])
def test_extreme_but_legal_parameters_work(
    topology: str, parameters: dict[str, Any], X: Floats, y: Ints
) -> None:
    selector = small(topology=topology, **parameters).fit(X, y)
    assert np.isfinite(selector.feature_importances_).all()
    assert (selector.feature_importances_ > 0).any()


@parametrize_with_checks([AttributionSelector(hidden_layer_sizes=(8,), epochs=2)])  # type: ignore[untyped-decorator]
def test_a_small_selector_passes_every_scikit_learn_check(
    estimator: AttributionSelector, check: Callable[[AttributionSelector], None]
) -> None:
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([AttributionSelector()])  # type: ignore[untyped-decorator]
def test_the_default_selector_passes_every_scikit_learn_check(
    estimator: AttributionSelector, check: Callable[[AttributionSelector], None]
) -> None:
    check(estimator)


# ------------------------------------------------------------------ learning


def _informative(seed: int) -> tuple[Floats, Ints, npt.NDArray[np.bool_]]:
    """Six columns, two of which tell each of three classes from the others, among 94 of noise."""
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(300, 100)), rng.integers(0, 3, 300)
    relevant = np.zeros(100, dtype=bool)
    relevant[rng.permutation(100)[:6]] = True
    X[:, relevant] += 1.5 * np.eye(3)[y][:, [0, 1, 2, 0, 1, 2]]
    return X, y, relevant


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("importance", "topology", "ratio"),
    [
        ("attribution", "set", 4),
        ("attribution", "rigl", 4),
        ("attribution", "static", 2.5),
        ("attribution", "dense", 2),
        ("strength", "set", 2.5),
        ("strength", "rigl", 2.5),
        ("strength", "static", 1.5),
        ("strength", "dense", 1.25),
    ],
)
def test_informative_columns_are_recovered_from_noise(
    importance: Any, topology: Any, ratio: float, seed: int
) -> None:
    # Measured for seeds 0 to 2: all 6, but 4 to 6 with a static topology, which cannot connect
    # them better; mean importances 7.3 to 9.4 (set, rigl), 4.5 to 4.8 (static) and 3.4 to 3.8
    # times (dense) those of the noise, strengths 3.9 to 5.5, 2.2 to 2.4 and 1.5 to 1.7 times.
    X, y, relevant = _informative(seed)
    selector = AttributionSelector(
        6, importance=importance, topology=topology, hidden_layer_sizes=(50,), epochs=30,
        batch_size=20, random_state=seed,
    ).fit(X, y)  # fmt: skip
    assert selector.support_[relevant].sum() >= (3 if topology == "static" else 5)
    score = selector.feature_importances_
    assert score[relevant].mean() > ratio * score[~relevant].mean()


def _accuracy(name: str, k: int, seed: int, **parameters: Any) -> float:
    data = load(name)
    if name == "madelon":
        n_train, X, y = data.n_train, data.X[: data.n_train], data.y[: data.n_train]
    else:
        n_train = None
        X, _, y, _ = train_test_split(data.X, data.y, test_size=0.2, random_state=42)
    selector = AttributionSelector(k, random_state=seed, **parameters).fit(X, y)
    judged = evaluate(data.X, data.y, selector.support_, protocol="attribution", n_train=n_train)
    return judged["svc"]


@pytest.mark.slow
@pytest.mark.usefixtures("data_dir")
def test_text_features_reach_the_published_accuracy() -> None:
    # PCMAC; the paper's SET-Attr has 87.9 +- 1.3 %, random columns 57. Measured for seeds 0 to 4:
    # 85.6 to 88.7, mean 87.6. The default patience changes nothing but the time: the lowest
    # validation loss is that of epoch 1 or 2.
    accuracies = [_accuracy("pcmac", 100, seed, batch_size=32, patience=5) for seed in range(5)]
    assert np.mean(accuracies) >= 0.86


@pytest.mark.slow
@pytest.mark.usefixtures("data_dir")
@pytest.mark.parametrize("seed", [0, 1])
def test_image_features_reach_the_published_accuracy(seed: int) -> None:
    # COIL-20; the paper's SET-Attr has 98.0 +- 1.9 %. Measured for seeds 0 and 1: 99.7 and
    # 99.3 %.
    assert _accuracy("coil20", 100, seed, epochs=40) >= 0.98


@pytest.mark.slow
@pytest.mark.usefixtures("data_dir")
def test_madelon_features_are_far_better_than_random() -> None:
    # Measured for seeds 0 to 4: 77.0, 76.2, 78.2, 71.2 and 78.2 %; the paper's SET-Attr has 76.6 +-
    # 2.4, random columns 51 to 54.
    accuracies = [_accuracy("madelon", 20, seed, patience=5) for seed in range(5)]
    assert np.mean(accuracies) >= 0.70
