"""Does NeuroFS remove, exchange and grow what it says, and does it find what matters?"""

import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.model_selection import train_test_split
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import Tensor

from sparsewire.core import InvalidArgumentError, SparseLinear, TrainingDivergedError
from sparsewire.core.criteria import LayerView
from sparsewire.core.csr.gradient import OuterGradient
from sparsewire.core.topology import check
from sparsewire.datasets import load
from sparsewire.featsel import NeuroFS, evaluate
from sparsewire.featsel.mlp import MLP
from sparsewire.featsel.neurofs_growth import Regrow, gradients, grow_highest, observe
from sparsewire.featsel.neurofs_topology import InputSchedule, NeuronEvolution
from sparsewire.featsel.training import Training

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int64]
N_SAMPLES, N_FEATURES = 60, 12
REGROW: list[Regrow] = ["loss", "activation", "random"]
STORAGES: list[Literal["csr", "masked"]] = ["csr", "masked"]


def small(n_features_to_select: Any = 3, **parameters: Any) -> NeuroFS:
    """Return a selector that fits in milliseconds."""
    fast = {"hidden_layer_sizes": (10, 8, 8), "epsilon": 2.5, "epochs": 10, "batch_size": 16}
    return NeuroFS(n_features_to_select, **{"random_state": 0, **fast, **parameters})


@pytest.fixture(name="X")
def _table() -> Floats:
    return np.random.default_rng(7).normal(size=(N_SAMPLES, N_FEATURES))


@pytest.fixture
def y(X: Floats) -> Codes:
    return (X[:, 2] > X[:, 7]).astype(np.int64) + (X[:, 4] > 1)


# ------------------------------------------------------------------ scikit-learn's own checks


@parametrize_with_checks([NeuroFS(hidden_layer_sizes=(8, 8), epochs=4)])  # type: ignore[untyped-decorator]
def test_a_small_selector_passes_every_scikit_learn_check(
    estimator: NeuroFS, check: Callable[[NeuroFS], None]
) -> None:
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([NeuroFS()])  # type: ignore[untyped-decorator]
def test_the_default_selector_passes_every_scikit_learn_check(
    estimator: NeuroFS, check: Callable[[NeuroFS], None]
) -> None:
    check(estimator)


# ------------------------------------------------------------------ the schedule of input counts


def test_the_schedule_on_the_shape_of_coil20_is_the_published_one() -> None:
    counts = InputSchedule(1024, 50, 100, drop_fraction=0.2, shrink_fraction=0.65).counts()
    assert counts[:2] == [1024, 1024]
    assert counts[10:71:10] == [907, 783, 663, 543, 423, 303, 255]
    assert counts[64:] == [255] * 36


def test_a_fit_on_the_shape_of_coil20_has_exactly_the_scheduled_inputs() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.random((40, 1024)), np.arange(40) % 4
    selector = small(50, hidden_layer_sizes=(20, 10), epsilon=15, epochs=100, batch_size=20)
    counts = selector.fit(X, y).history_["n_active_inputs"]
    assert counts[:2] == [1024, 1024]
    assert counts[10:71:10] == [907, 783, 663, 543, 423, 303, 255]
    assert counts[64:] == [255] * 36


@given(
    n_inputs=st.integers(1, 300),
    selected=st.floats(0, 1),
    epochs=st.integers(1, 40),
    drop_fraction=st.floats(0, 1),
    shrink_fraction=st.floats(0, 1),
)
def test_the_number_of_inputs_falls_to_the_surplus_and_never_below_what_is_selected(
    n_inputs: int, selected: float, epochs: int, drop_fraction: float, shrink_fraction: float
) -> None:
    n_selected = max(1, int(selected * n_inputs))
    schedule = InputSchedule(n_inputs, n_selected, epochs, drop_fraction, shrink_fraction)
    counts = schedule.counts()
    assert len(counts) == epochs
    assert all(early >= late for early, late in pairwise(counts))
    assert min(counts) >= n_selected
    assert schedule.surplus >= 0
    # The first and only update that may shrink needs a third epoch, and a fourth after it.
    if epochs >= 4 and int(shrink_fraction * epochs) < epochs - 1:
        assert counts[-1] == n_inputs - schedule.surplus
    if epochs < 4:
        assert counts == [n_inputs] * epochs
    for epoch in range(epochs):
        assert 0 <= schedule.exchanged(epoch, schedule.surplus) <= schedule.surplus


@given(
    n_features=st.integers(1, 25),
    n_selected=st.integers(1, 25),
    epochs=st.integers(1, 12),
    drop_fraction=st.sampled_from([0, 0.2, 0.5, 1]),
    shrink_fraction=st.sampled_from([0, 0.65, 1]),
    regrow=st.sampled_from(REGROW),
    storage=st.sampled_from(STORAGES),
    seed=st.integers(0, 99),
)
@settings(max_examples=40)
def test_a_fit_has_the_scheduled_inputs_and_a_constant_number_of_connections(
    n_features: int,
    n_selected: int,
    epochs: int,
    drop_fraction: float,
    shrink_fraction: float,
    regrow: Regrow,
    storage: str,
    seed: int,
) -> None:
    n_selected = min(n_selected, n_features)
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(30, n_features)), np.arange(30) % 3
    selector = small(
        n_selected,
        epochs=epochs,
        hidden_layer_sizes=(9, 6),
        epsilon=3,
        drop_fraction_input=drop_fraction,
        # The first two updates may leave an input bare, but not if they change nothing.
        drop_fraction=0,
        shrink_fraction=shrink_fraction,
        regrow=regrow,
        storage=storage,
        random_state=seed,
    ).fit(X, y)
    schedule = InputSchedule(n_features, n_selected, epochs, drop_fraction, shrink_fraction)
    started = selector.history_["n_active_inputs"][0]
    expected = schedule.counts()
    if started == n_features:
        assert selector.history_["n_active_inputs"] == expected
    first, second, last = selector.connections_
    nominal = min(3 * (n_features + 9), n_features * 9)
    least = min([min(nominal, 9 * count) for count in expected])
    if started == n_features:
        assert first.nnz == least
    assert (second.nnz, last.nnz) == (3 * (9 + 6), 6 * 3)
    total = first.nnz + second.nnz + last.nnz
    assert selector.history_["n_connections"][-1] == total
    assert selector.density_ == total / (n_features * 9 + 9 * 6 + 6 * 3)


@pytest.mark.parametrize("n_features_to_select", [11, N_FEATURES, 1.0])
def test_no_input_leaves_where_almost_all_are_to_be_selected(
    n_features_to_select: float, X: Floats, y: Codes
) -> None:
    selector = small(n_features_to_select).fit(X, y)
    assert selector.history_["n_active_inputs"] == [N_FEATURES] * 10


# ------------------------------------------------------------------ one update against an oracle


@dataclass
class _Reference:
    """The first layer's updates, cell by cell, from the description of the algorithm.

    What the number of inputs removed is, and which inputs are protected, is kept from epoch to
    epoch as in the released code.
    """

    n_selected: int
    epochs: int
    zeta: float
    shrink: float
    removed: int = 0
    protected: set[int] = field(default_factory=set)

    def update(self, epoch: int, W: Floats, active: Bools, G: Floats) -> Bools:
        """Return which connections there are after an update; arrays are (inputs, outputs)."""
        d, n_out = W.shape
        surplus = int((1 - self.zeta) * d - self.n_selected)
        n_swap = int(self.removed * self.zeta * (1 - epoch / self.epochs))
        finished, n_leave = self.removed >= surplus, 0
        if not finished:
            epochs_left = max(1, int(self.shrink * self.epochs) - epoch)
            n_leave = math.ceil((surplus - self.removed) / epochs_left)
        self.removed += n_leave
        strength = np.abs(W).sum(axis=1)
        before = [i for i in range(d) if active[i].any()]
        ranked = sorted(before, key=lambda i: -strength[i])
        top = ranked[: d - self.removed - n_swap]
        out = [i for i in before if i not in top and (finished or i not in self.protected)]
        if not finished and len(out) < n_leave + n_swap:
            n_swap = len(out) - n_leave
            if n_swap < 0:
                self.removed += n_swap
                n_swap = 0
        after = active.copy()
        after[out] = False
        after &= ~_weak_per_sign(np.where(after, W, 0), after, self.zeta)
        inactive = [i for i in range(d) if i not in before]
        back = sorted(inactive, key=lambda i: -np.abs(G[i]).max())[:n_swap]
        self.protected = set(back)
        alive = sorted(set(before) - set(out) | set(back))
        for i in alive:
            if not after[i].any():
                after[i, np.abs(G[i]).argmax()] = True
        score = np.full(W.shape, -1.0)
        score[alive] = np.abs(G[alive])
        score[after] = -1
        missing = min(active.sum(), len(alive) * n_out) - after.sum()
        best = np.argsort(-score, axis=None)[:missing]
        after[np.unravel_index(best, W.shape)] = True
        return after


def _weak_per_sign(W: Floats, active: Bools, fraction: float) -> Bools:
    """Tell which connections the per-sign rule drops."""
    weak = np.zeros_like(active)
    for sign in (1, -1):
        cells = np.argwhere(active & (np.sign(W) == sign))
        cells = cells[np.argsort([abs(W[i, j]) for i, j in cells], kind="stable")]
        for i, j in cells[: math.floor(Fraction(str(fraction)) * len(cells))]:
            weak[i, j] = True
    return weak


def _view(name: str, W: Floats, active: Bools) -> LayerView:
    """Return a layer as the engine shows it: by output, ascending."""
    flat = np.flatnonzero(active.T)
    values = W.T.flatten()[flat]
    return LayerView(name, W.T.shape, torch.from_numpy(flat), torch.from_numpy(values))


def _applied(method: NeuronEvolution, view: LayerView) -> Bools:
    """Return which connections there are after a planned update, which must be sound."""
    target = view.active.numel()
    plan = method.plan(view, target, 0, torch.Generator().manual_seed(0))
    check(plan, view, min(target, method.count(target, view.numel, 0)))
    assert plan.values is None  # new weights are 0
    dense = np.zeros(view.numel, dtype=bool)
    dense[view.active] = True
    dense[plan.dropped] = False
    dense[plan.grown] = True
    return dense.reshape(view.shape).T


@given(
    seed=st.integers(0, 10**6),
    n_inputs=st.integers(5, 30),
    n_outputs=st.integers(1, 8),
    n_selected=st.integers(1, 5),
    epochs=st.integers(4, 20),
    zeta=st.sampled_from([0, 0.2, 0.5, 0.75, 1]),
    shrink=st.sampled_from([0, 0.65, 1]),
    density=st.sampled_from([0.3, 0.6, 1]),
    block=st.sampled_from([1, 2**24]),
)
@settings(max_examples=60)
def test_updates_of_the_first_layer_follow_the_description_epoch_by_epoch(
    seed: int,
    n_inputs: int,
    n_outputs: int,
    n_selected: int,
    epochs: int,
    zeta: float,
    shrink: float,
    density: float,
    block: int,
) -> None:
    rng = np.random.default_rng(seed)
    active = rng.random((n_inputs, n_outputs)) < density
    active[np.arange(n_inputs), rng.integers(n_outputs, size=n_inputs)] = True
    schedule = InputSchedule(n_inputs, n_selected, epochs, zeta, shrink)
    constant = torch.zeros(n_inputs, dtype=torch.bool)
    method = NeuronEvolution(schedule, 0.3, "first", constant)
    reference = _Reference(n_selected, epochs, zeta, shrink)
    for epoch in range(2, epochs - 1):
        W = np.where(active, rng.normal(size=active.shape), 0)
        X, deltas = rng.normal(size=(n_inputs, 7)), rng.normal(size=(n_outputs, 7))
        pair = torch.from_numpy(X), torch.from_numpy(deltas)
        outer = OuterGradient([pair], pair[0], (n_outputs, n_inputs), block=block)
        method.epoch, method.gradients = epoch, {"first": outer}
        expected = reference.update(epoch, W, active, X @ deltas.T)
        found = _applied(method, _view("first", W, active))
        np.testing.assert_array_equal(found, expected)
        active = found
    if epochs > 4 and int(shrink * epochs) < epochs - 1:
        assert active.any(axis=1).sum() == schedule.counts()[-1]


@pytest.mark.parametrize(("name", "epoch"), [("first", 0), ("first", 1), ("second", 0), ("x", 50)])
def test_other_layers_and_early_epochs_follow_the_per_sign_rule_and_the_largest_gradients(
    name: str, epoch: int
) -> None:
    rng = np.random.default_rng(3)
    active = rng.random((20, 15)) < 0.4
    W = np.where(active, rng.normal(size=active.shape), 0)
    X, deltas = rng.normal(size=(20, 5)), rng.normal(size=(15, 5))
    pair = torch.from_numpy(X), torch.from_numpy(deltas)
    schedule = InputSchedule(20, 4, 100, 0.2, 0.65)
    method = NeuronEvolution(schedule, 0.3, "first", torch.zeros(20, dtype=torch.bool))
    method.epoch, method.gradients = epoch, {name: OuterGradient([pair], pair[0], (15, 20))}
    kept = active & ~_weak_per_sign(W, active, 0.3)
    score = np.where(kept, -1, np.abs(X @ deltas.T))
    best = np.argsort(-score, axis=None)[: active.sum() - kept.sum()]
    expected = kept.copy()
    expected[np.unravel_index(best, W.shape)] = True
    np.testing.assert_array_equal(_applied(method, _view(name, W, active)), expected)


def test_random_growth_depends_on_the_generator_alone_and_reaches_every_cell() -> None:
    active = np.zeros((12, 4), dtype=bool)
    active[:7] = True
    W = np.where(active, np.random.default_rng(0).normal(size=active.shape), 0)
    view = _view("first", W, active)
    # Five inputs are out for good; two of the others are exchanged.
    schedule = InputSchedule(12, 1, 10, 0.5, 0.5)
    seen = np.zeros(view.numel, dtype=bool)
    for seed in range(100):
        plans = []
        for _ in range(2):
            method = NeuronEvolution(schedule, 0.3, "first", torch.zeros(12, dtype=torch.bool))
            method.epoch = 2
            generator = torch.Generator().manual_seed(seed)
            plans.append(method.plan(view, len(view.active), 0, generator))
        assert torch.equal(plans[0].grown, plans[1].grown)
        seen[plans[0].grown] = True
        assert len(set((plans[0].grown % 12).tolist()) - set(range(7))) == 2
    cells = seen.reshape(4, 12).T
    weakest = np.argsort(np.abs(W[:7]).sum(axis=1))[:2]
    assert cells[7:].all()
    assert not cells[weakest].any()


# ------------------------------------------------------------------ what growth sees


def test_evidence_is_the_inputs_and_output_gradients_of_every_layer() -> None:
    network = MLP([4, 5, 3, 2], activation="tanh", dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    x = torch.randn(7, 4, generator=generator, dtype=torch.float64)
    loss = network(x).square().sum()
    names = [f"layers.{place}.weight" for place in range(2)]
    dense = torch.autograd.grad(loss, [network.get_parameter(name) for name in names])

    seen = observe(network.layers[:-1], lambda: network(x).square().sum())

    assert list(seen) == names
    by_loss, by_activation = gradients(seen, "loss"), gradients(seen, "activation")
    for name, expected in zip(names, dense, strict=True):
        torch.testing.assert_close(_whole(by_loss[name]), expected)
        inputs, deltas = seen[name]
        outer = torch.outer(deltas.abs().mean(0), inputs.abs().mean(0))
        torch.testing.assert_close(_whole(by_activation[name]), outer)
    assert gradients(seen, "random") == {}
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(layer._forward_hooks for layer in network.layers)


def _whole(gradient: OuterGradient) -> Tensor:
    return torch.cat([block for _, block in gradient.blocks()]).view(gradient.shape)


@given(
    seed=st.integers(0, 10**6),
    n_inputs=st.integers(1, 60),
    n_outputs=st.integers(1, 40),
    share_kept=st.floats(0, 1),
    share_grown=st.floats(0, 1),
    rounded=st.booleans(),
    block=st.sampled_from([1, 100, 2**24]),
)
def test_growth_in_one_pass_takes_the_highest_magnitudes(
    seed: int,
    n_inputs: int,
    n_outputs: int,
    share_kept: float,
    share_grown: float,
    rounded: bool,
    block: int,
) -> None:
    rng = np.random.default_rng(seed)
    X, deltas = rng.normal(size=(n_inputs, 3)), rng.normal(size=(n_outputs, 3))
    if rounded:  # many ties and zeros
        X, deltas = np.round(X), np.round(deltas)
    pair = torch.from_numpy(X), torch.from_numpy(deltas)
    gradient = OuterGradient([pair], pair[0], (n_outputs, n_inputs), block=block)
    cells = n_inputs * n_outputs
    kept = np.sort(rng.choice(cells, int(share_kept * cells), replace=False))
    count = int(share_grown * (cells - len(kept)))
    active = torch.from_numpy(kept)
    layer = LayerView("demo", (n_outputs, n_inputs), active, pair[0].flatten(), gradient)
    grown = grow_highest(layer, active, count, torch.Generator().manual_seed(0)).numpy()
    magnitudes = np.abs(deltas @ X.T).flatten()
    free = np.setdiff1d(np.arange(cells), kept)
    assert len(set(grown)) == count
    assert set(grown) <= set(free)
    np.testing.assert_allclose(
        np.sort(magnitudes[grown]), np.sort(magnitudes[free])[len(free) - count :], atol=1e-12
    )


# ------------------------------------------------------------------ weights and momentum


@dataclass
class _State:
    """Weight and momentum of every connection, by position."""

    weights: dict[int, float]
    momentum: dict[int, float]


def _states(training: Training) -> list[_State]:
    states = []
    for layer in training.network.layers[:-1]:
        weight = layer.get_parameter("weight")
        momentum = training.optimizer.state[weight]["momentum_buffer"]
        if isinstance(layer, SparseLinear):
            positions, values = layer.positions(), layer.values()
            assert len(set(positions.tolist())) == len(positions)
            ascending = torch.empty_like(momentum)
            ascending[layer.stored(torch.arange(len(positions)))] = momentum
            momentum = ascending
        else:
            positions = layer.get_buffer("weight_mask").flatten().nonzero().squeeze(1)
            elsewhere = ~layer.get_buffer("weight_mask")
            assert not weight[elsewhere].any()
            assert not momentum[elsewhere].any()
            values, momentum = weight.flatten()[positions], momentum.flatten()[positions]
        keys = positions.tolist()
        states.append(
            _State(
                dict(zip(keys, values.tolist(), strict=True)),
                dict(zip(keys, momentum.tolist(), strict=True)),
            )
        )
    return states


class _Watched(NeuroFS):
    """Remembers the state around every topology update."""

    def _evolve(self, training: Training, *rest: Any) -> None:
        before = _states(training)
        super()._evolve(training, *rest)
        self.__dict__.setdefault("seen", []).append((before, _states(training)))


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("regrow", REGROW)
def test_new_connections_start_at_zero_without_momentum_and_the_others_stay_as_they_are(
    regrow: Regrow, storage: str, X: Floats, y: Codes
) -> None:
    selector = _Watched(**small(regrow=regrow, storage=storage).get_params()).fit(X, y)
    assert len(selector.seen) == 9  # none after the last epoch
    n_new = 0
    for layers in selector.seen:
        for before, after in zip(*layers, strict=True):
            for position, weight in after.weights.items():
                untouched = (
                    position in before.weights
                    and weight == before.weights[position]
                    and after.momentum[position] == before.momentum[position]
                )
                if not untouched:
                    assert weight == 0
                    assert after.momentum[position] == 0
                    n_new += 1
    assert n_new > 9


# ------------------------------------------------------------------ training against a reference


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("storage", STORAGES)
def test_training_equals_a_reference_written_out_by_hand(
    storage: Literal["csr", "masked"],
    activation: Literal["tanh", "relu"],
    task: Literal["classification", "regression"],
) -> None:
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(7, 4)), np.array([0, 1, 2, 0, 1, 2, 0])
    rate, momentum, decay = 0.05, 0.8, 0.01
    selector = NeuroFS(
        4, hidden_layer_sizes=(5, 3), epsilon=1.5, drop_fraction=0, drop_fraction_input=0,
        activation=activation, task=task, scale=None, epochs=1, batch_size=3, learning_rate=rate,
        momentum=momentum, weight_decay=decay, storage=storage, dtype="float64", random_state=11,
    )  # fmt: skip
    seed = int(np.random.RandomState(11).randint(2**31 - 1))
    weights_from, order_from, _ = np.random.default_rng(seed).spawn(3)
    selector.fit(X, y)
    masks = [(layer.toarray() != 0).astype(float) for layer in selector.connections_]
    weights = []
    for mask in masks:
        bound = math.sqrt(6 / sum(mask.shape))
        weight = np.zeros_like(mask)
        weight.T[mask.T == 1] = weights_from.uniform(-bound, bound, int(mask.sum()))
        weights.append(weight)
    biases = [np.zeros(weight.shape[1]) for weight in weights]
    parameters = [*weights, *biases]
    velocities = [np.zeros_like(parameter) for parameter in parameters]
    order = order_from.permutation(7)
    standard = (y - y.mean()) / y.std()
    total = 0.0
    for index in (order[:3], order[3:6], order[6:]):
        target = standard[index][:, None] if task == "regression" else np.eye(3)[y[index]]
        loss, slopes = _slopes(X[index], target, weights, biases, activation, task)
        total += loss * len(index)
        for value, velocity, slope in zip(parameters, velocities, slopes, strict=True):
            velocity *= momentum
            velocity += slope + 2 * decay * value
            value -= rate * velocity
            if value.ndim == 2:
                value *= masks[[id(w) for w in weights].index(id(value))]
    assert selector.history_["loss"][0] == pytest.approx(total / 7, rel=1e-12)
    for layer, expected in zip(selector.connections_, weights, strict=True):
        np.testing.assert_allclose(layer.toarray(), expected, rtol=1e-10, atol=1e-13)


def _slopes(
    x: Floats,
    target: Floats,
    weights: list[Floats],
    biases: list[Floats],
    activation: str,
    task: str,
) -> tuple[float, list[Floats]]:
    """Return the mean loss and its derivatives, of weights first, then of biases."""
    inputs = [x]
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        z = inputs[-1] @ weight + bias
        inputs.append(np.tanh(z) if activation == "tanh" else np.maximum(z, 0))
    output = inputs[-1] @ weights[-1] + biases[-1]
    if task == "regression":
        loss = float(((output - target) ** 2).mean())
        delta = 2 * (output - target) / len(x)
    else:
        shares = np.exp(output) / np.exp(output).sum(axis=1, keepdims=True)
        loss = -float((target * np.log(shares)).sum(axis=1).mean())
        delta = (shares - target) / len(x)
    of_weights: list[Floats] = []
    of_biases: list[Floats] = []
    for place in reversed(range(len(weights))):
        of_weights.insert(0, inputs[place].T @ delta)
        of_biases.insert(0, delta.sum(axis=0))
        below = inputs[place]
        slope = 1 - below**2 if activation == "tanh" else (below > 0).astype(float)
        delta = (delta @ weights[place].T) * slope
    return loss, [*of_weights, *of_biases]


# ------------------------------------------------------------------ results


@pytest.mark.parametrize("regrow", REGROW)
def test_both_storages_give_the_same_result_in_double_precision(
    regrow: Regrow, X: Floats, y: Codes
) -> None:
    csr, masked = (
        small(regrow=regrow, storage=storage, dtype="float64").fit(X, y) for storage in STORAGES
    )
    np.testing.assert_allclose(csr.feature_importances_, masked.feature_importances_, atol=1e-6)
    np.testing.assert_array_equal(csr.order_, masked.order_)
    for one, other in zip(csr.connections_, masked.connections_, strict=True):
        np.testing.assert_array_equal(one.indices, other.indices)
        np.testing.assert_allclose(one.toarray(), other.toarray(), atol=1e-6)
    for key in ("n_connections", "n_active_inputs"):
        assert csr.history_[key] == masked.history_[key]


def test_importance_is_the_sum_of_absolute_weights_and_zero_for_removed_inputs(
    X: Floats, y: Codes
) -> None:
    selector = small(2).fit(X, y)
    first = selector.connections_[0]
    strength = np.abs(first.toarray().astype(np.float64)).sum(axis=1)
    np.testing.assert_allclose(selector.feature_importances_, strength, rtol=1e-12)
    connected = np.diff(first.indptr) > 0
    assert connected.sum() == selector.history_["n_active_inputs"][-1] == 5
    assert (selector.feature_importances_[~connected] == 0).all()
    assert connected[selector.support_].all()
    np.testing.assert_array_equal(selector.order_[5:], np.flatnonzero(~connected))


def test_history_has_one_entry_per_epoch_and_the_loss_falls(X: Floats, y: Codes) -> None:
    selector = small(epochs=30, epsilon=10, learning_rate=0.1).fit(X, y)
    assert {len(values) for values in selector.history_.values()} == {30}
    assert selector.n_iter_ == 30
    assert selector.history_["loss"][0] == pytest.approx(math.log(3), rel=0.2)
    assert selector.history_["loss"][-1] < 0.6 * selector.history_["loss"][0]


def test_a_seed_fixes_every_result_and_another_one_changes_it(X: Floats, y: Codes) -> None:
    one, two, other = (small(random_state=seed).fit(X, y) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.feature_importances_, two.feature_importances_)
    assert one.history_["loss"] == two.history_["loss"]
    assert not np.array_equal(one.feature_importances_, other.feature_importances_)


def test_labels_may_be_text_and_sparse_rows_give_the_same_result(X: Floats, y: Codes) -> None:
    X[X < 0] = 0
    expected = small().fit(X, y)
    named = small().fit(sparse.csr_array(X), np.array(["ash", "birch", "oak"])[y])
    assert named.classes_.tolist() == ["ash", "birch", "oak"]
    np.testing.assert_allclose(
        named.feature_importances_, expected.feature_importances_, rtol=1e-5, atol=1e-7
    )


@pytest.mark.filterwarnings("ignore:7 of 12 features are constant:UserWarning")
@pytest.mark.parametrize("scale", ["minmax", None])
@pytest.mark.parametrize("regrow", REGROW)
def test_constant_features_leave_first_and_are_not_selected(
    regrow: Regrow, scale: str | None, X: Floats, y: Codes
) -> None:
    constant = [0, 1, 3, 5, 6, 8, 9]
    X[:, constant] = 100.0 if scale else 1.0
    selector = small(2, regrow=regrow, scale=scale).fit(X, y)
    connected = np.diff(selector.connections_[0].indptr) > 0
    assert np.flatnonzero(connected).tolist() == [2, 4, 7, 10, 11]
    assert not selector.support_[constant].any()


@pytest.mark.parametrize("regrow", REGROW)
@pytest.mark.parametrize("seed", [0, 1])
def test_informative_features_are_found_among_noise(seed: int, regrow: Regrow) -> None:
    # Measured for seeds 0 to 3 and all rules: at least 2.6 times the strength of any other.
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(500, 60))
    informative = [3, 17, 30, 44]
    y = (X[:, informative] @ [1.0, -1.0, 1.0, 1.0] > 0).astype(int)
    selector = small(4, hidden_layer_sizes=(60, 40), epsilon=6, epochs=20, learning_rate=0.03)
    selector.set_params(regrow=regrow, random_state=seed).fit(X, y)
    assert np.flatnonzero(selector.support_).tolist() == informative
    assert selector.feature_importances_[selector.order_[3:5]] @ [1, -1.5] > 0


def test_a_numeric_target_is_learned_whatever_its_unit() -> None:
    rng = np.random.default_rng(2)
    X = rng.normal(size=(300, 40))
    y = X[:, 5] - 2 * X[:, 11] + X[:, 20] + 0.1 * rng.normal(size=300)
    selector = small(3, task="regression", hidden_layer_sizes=(60, 40), epsilon=6, epochs=20)
    importances = selector.fit(X, y).feature_importances_
    assert np.flatnonzero(selector.support_).tolist() == [5, 11, 20]
    assert selector.history_["loss"][-1] < 0.5 * selector.history_["loss"][0]
    assert selector.connections_[-1].shape == (40, 1)
    assert not hasattr(selector, "classes_")
    again = selector.fit(X, 2.0**1000 * y).feature_importances_
    np.testing.assert_allclose(again, importances, rtol=1e-4, atol=1e-6)


def test_a_refit_for_regression_forgets_the_classes(X: Floats, y: Codes) -> None:
    selector = small().fit(X, y)
    assert hasattr(selector, "classes_")
    assert not hasattr(selector.set_params(task="regression").fit(X, y), "classes_")


@pytest.mark.parametrize(
    "parameters",
    [
        {"epochs": 1},
        {"epochs": 2},
        {"epochs": 3},
        {"epochs": 4},
        {"drop_fraction": 0, "drop_fraction_input": 0},
        {"drop_fraction": 1, "drop_fraction_input": 1},
        {"drop_fraction": 1, "drop_fraction_input": 1, "regrow": "random"},
        {"shrink_fraction": 0},
        {"shrink_fraction": 1},
        {"momentum": 0, "weight_decay": 0},
        {"epsilon": 1e-9},
        {"epsilon": 0.2, "epochs": 12},
        {"epsilon": 1e9},
        {"hidden_layer_sizes": (1,)},
        {"hidden_layer_sizes": [np.int64(3), 4]},
        {"batch_size": 1, "epochs": 4},
        {"batch_size": 10**6},
        {"activation": "relu"},
        {"scale": "standard"},
        {"scale": "global"},
        {"redundancy": 0.5},
    ],
    ids=str,
)
@pytest.mark.parametrize("storage", STORAGES)
def test_extreme_but_legal_parameters_work(
    storage: str, parameters: dict[str, Any], X: Floats, y: Codes
) -> None:
    selector = small(storage=storage, **parameters).fit(X, y)
    assert np.isfinite(selector.feature_importances_).all()
    assert selector.support_.sum() == 3
    assert len(selector.history_["loss"]) == selector.get_params()["epochs"]


def test_one_feature_and_two_rows_are_enough() -> None:
    assert small(None).fit([[0.0], [1.0]], [0, 1]).support_.tolist() == [True]


# ------------------------------------------------------------------ errors


def test_another_number_of_features_needs_another_fit(X: Floats, y: Codes) -> None:
    selector = small().fit(X, y)
    assert not hasattr(selector, "set_n_features")
    with pytest.raises(AttributeError, match="fit again with another n_features_to_select"):
        _ = selector.set_n_features


def test_a_probe_is_refused_with_the_reason(X: Floats, y: Codes) -> None:
    with pytest.raises(InvalidArgumentError, match="'probe' needs importances that do not depend"):
        small("probe").fit(X, y)


@pytest.mark.parametrize("sizes", [(), (0,), (10, -1), (True,), (2.0,), ((3, 4),), ("a",)])
def test_layer_sizes_are_positive_integers(sizes: Any, X: Floats, y: Codes) -> None:
    with pytest.raises(InvalidArgumentError, match="hidden_layer_sizes must be one or more"):
        small(hidden_layer_sizes=sizes).fit(X, y)


def test_targets_that_cannot_be_learned_are_refused(X: Floats, y: Codes) -> None:
    with pytest.raises(ValueError, match="Unknown label type"):
        small().fit(X, X[:, 0])
    with pytest.raises(ValueError, match="1 class"):
        small().fit(X, np.zeros(N_SAMPLES))
    with pytest.raises(ValueError, match="requires y to be passed, but the target y is None"):
        small().fit(X)
    with pytest.raises(ValueError, match="requires y to be passed, but the target y is None"):
        small(task="regression").fit(X)
    with pytest.raises(InvalidArgumentError, match=r"y has one value only, 3\.0"):
        small(task="regression").fit(X, np.full(N_SAMPLES, 3))
    with pytest.raises(ValueError, match="y contains NaN"):
        small(task="regression").fit(X, np.where(y == 0, np.nan, 1.0))


@pytest.mark.parametrize("storage", STORAGES)
def test_divergence_names_epoch_and_learning_rate(storage: str, X: Floats) -> None:
    with pytest.raises(TrainingDivergedError, match=r"in epoch \d+.*learning_rate=1e\+30"):
        small(task="regression", activation="relu", learning_rate=1e30, storage=storage).fit(
            X, X[:, 0]
        )


# ------------------------------------------------------------------ accuracy and cost


def _accuracy(name: str, seed: int, **parameters: Any) -> float:
    """Return the accuracy of 50 features of a data set, selected on the training rows."""
    data = load(name)
    train, _ = train_test_split(np.arange(len(data.X)), test_size=0.2, random_state=42)
    selector = NeuroFS(50, random_state=seed, **parameters).fit(data.X[train], data.y[train])
    judged = evaluate(data.X, data.y, selector.support_, protocol="neurofs")
    accuracy: float = judged["svc"]
    return accuracy


@pytest.mark.slow
@pytest.mark.usefixtures("data_dir")
@pytest.mark.parametrize("seed", [0, 1, 2, 3, 4])
def test_fifty_pixels_of_coil20_reach_the_measured_accuracy(seed: int) -> None:
    # Measured for seeds 0 to 4: 99.0, 95.1, 97.6, 97.6 and 98.6 %, mean 97.6. Random pixels give
    # 96.3 % +- 1.7, and a mean of 93.6 is what the rule was expected to reach.
    assert _accuracy("coil20", seed) >= 0.935


@pytest.mark.slow
@pytest.mark.usefixtures("data_dir")
@pytest.mark.filterwarnings("ignore:52 of 10000 features are constant:UserWarning")
@pytest.mark.parametrize(
    ("regrow", "seed", "at_least"),
    [
        # Measured for seeds 0 to 4: 72.5, 65.0, 67.5, 67.5 and 65.0 %. A row is worth 2.5.
        ("loss", 0, 0.65),
        ("loss", 2, 0.60),
        # Measured for seeds 0 to 3: 75.0, 77.5, 75.0 and 80.0 %.
        ("activation", 0, 0.70),
        ("activation", 3, 0.70),
    ],
)
def test_fifty_features_of_arcene_reach_the_measured_accuracy(
    regrow: Regrow, seed: int, at_least: float
) -> None:
    assert _accuracy("arcene", seed, batch_size=20, regrow=regrow) >= at_least


WIDE = """
import resource, time
import numpy as np
import torch
torch.set_num_threads(1)
from sparsewire.featsel import NeuroFS
rng = np.random.default_rng(0)
X = rng.random((200, 100_000), dtype=np.float32)
y = (X[:, :20].sum(axis=1) > 10).astype(int)
NeuroFS(50, epochs=4, batch_size=20, random_state=0).fit(X[:, :1000], y)  # compiles the kernels
started = time.process_time()
selector = NeuroFS(50, epochs=4, batch_size=20, random_state=0).fit(X, y)
seconds = time.process_time() - started
assert selector.history_["n_active_inputs"] == [100_000, 100_000, 20_050, 20_050]
print(seconds / 4, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


@pytest.mark.slow
def test_a_hundred_thousand_features_take_seconds_per_epoch_and_little_memory() -> None:
    # Measured on a busy machine: 2.0 s of CPU time per epoch, two of the four with all inputs, and
    # 1.2 GiB. The first layer with masks would take 1.1 GiB for weights, gradient and momentum.
    run = subprocess.run([sys.executable, "-c", WIDE], capture_output=True, text=True, check=True)
    seconds, gib = map(float, run.stdout.split())
    assert seconds < 6
    assert gib < 2.5
