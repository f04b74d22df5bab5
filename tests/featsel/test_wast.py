"""Does WAST compute what it says, go on in the middle of a stream, and find what matters?"""

import io
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.estimator_checks import parametrize_with_checks

from sparsewire.core import InvalidArgumentError, SparseLinear, TrainingDivergedError
from sparsewire.core.criteria import LayerView
from sparsewire.core.topology import LayerPlan
from sparsewire.datasets import load
from sparsewire.featsel import WAST, evaluate
from sparsewire.featsel.rows import RowScaler, shuffled_batches
from sparsewire.featsel.training import Training
from sparsewire.featsel.wast_stream import Moments
from sparsewire.featsel.wast_topology import ENCODER, AttentionTopology, fill_up

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
N_SAMPLES, N_FEATURES, HIDDEN = 60, 9, 12


def small(n_features_to_select: int | float | str | None = 4, **parameters: Any) -> WAST:
    """Return a selector that fits in milliseconds."""
    fast = {"hidden_size": HIDDEN, "epochs": 3, "batch_size": 16, "random_state": 0}
    return WAST(n_features_to_select, **{**fast, **parameters})  # type: ignore[arg-type]


@pytest.fixture(name="X")
def _table() -> Floats:
    rng = np.random.default_rng(7)
    low_rank = rng.normal(size=(N_SAMPLES, 3)) @ rng.normal(size=(3, N_FEATURES))
    return low_rank + 0.1 * rng.normal(size=low_rank.shape)


# ------------------------------------------------------------------ scikit-learn's own checks


@parametrize_with_checks([WAST(hidden_size=8, epochs=2)])  # type: ignore[untyped-decorator]
def test_a_small_selector_passes_every_scikit_learn_check(
    estimator: WAST, check: Callable[[WAST], None]
) -> None:
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([WAST()])  # type: ignore[untyped-decorator]
def test_the_default_selector_passes_every_scikit_learn_check(
    estimator: WAST, check: Callable[[WAST], None]
) -> None:
    check(estimator)


# ------------------------------------------------------------------ topology updates


@dataclass
class Update:
    """One layer's update: what it was made from, the importances used, and what it does."""

    layer: LayerView
    importance: Floats
    plan: LayerPlan

    @property
    def visible(self) -> npt.NDArray[np.int64]:
        """The visible neuron of every connection."""
        n_in = self.layer.shape[1]
        active: npt.NDArray[np.int64] = self.layer.active.numpy()
        return active % n_in if self.layer.name == ENCODER else active // n_in


@pytest.fixture(name="updates")
def _updates(monkeypatch: pytest.MonkeyPatch) -> list[Update]:
    """Every topology update of the fits in a test, in order."""
    seen: list[Update] = []
    real = AttentionTopology.plan

    def plan(
        self: AttentionTopology, layer: LayerView, target: int, step: int, g: torch.Generator
    ) -> LayerPlan:
        made = real(self, layer, target, step, g)
        importance = self.inputs if layer.name == ENCODER else self.outputs
        seen.append(Update(layer, importance.numpy().copy(), made))
        return made

    monkeypatch.setattr(AttentionTopology, "plan", plan)
    return seen


def nearest_to_zero(scores: Floats, fraction: float) -> Bools:
    """Of each sign on its own, mark the given share that is nearest to zero."""
    marked = np.zeros(len(scores), dtype=bool)
    for side in (scores < 0, scores >= 0):
        members = np.flatnonzero(side)
        count = int(np.floor(fraction * len(members) + 1e-9))
        marked[members[np.argsort(np.abs(scores[members]), kind="stable")[:count]]] = True
    return marked


@pytest.mark.parametrize("storage", ["csr", "masked"])
@pytest.mark.parametrize("drop_fraction", [0.1, 0.3, 1.0])
def test_every_update_drops_by_sign_what_is_nearest_to_zero_in_weight_times_importance(
    drop_fraction: float, storage: str, X: Floats, updates: list[Update]
) -> None:
    small(drop_fraction=drop_fraction, storage=storage, density=0.4).fit(X)
    assert len(updates) == 2 * 3 * 4
    for update in updates:
        scores = update.layer.values.double().numpy() * update.importance[update.visible]
        expected = update.layer.active.numpy()[nearest_to_zero(scores, drop_fraction)]
        np.testing.assert_array_equal(np.sort(update.plan.dropped.numpy()), expected)


@pytest.mark.parametrize("storage", ["csr", "masked"])
def test_every_update_fills_the_most_important_neurons_and_keeps_the_count(
    storage: str, X: Floats, updates: list[Update]
) -> None:
    small(density=0.3, storage=storage).fit(X)
    for update in updates:
        layer, plan = update.layer, update.plan
        kept = np.setdiff1d(layer.active.numpy(), plan.dropped.numpy())
        after = np.concatenate([kept, plan.grown.numpy()])
        assert len(np.unique(after)) == len(after) == len(layer.active)
        mask = np.zeros(layer.numel, dtype=bool)
        grown = np.zeros_like(mask)
        mask[kept], grown[plan.grown.numpy()] = True, True
        by_neuron = (-1, layer.shape[1])
        empty, new = ~mask.reshape(by_neuron), grown.reshape(by_neuron)
        if layer.name == ENCODER:
            empty, new = empty.T, new.T
        order = np.argsort(-update.importance, kind="stable")
        full = np.minimum(np.cumsum(empty.sum(1)[order]), len(plan.grown))
        np.testing.assert_array_equal(new.sum(1)[order], np.diff(full, prepend=0))


@pytest.mark.parametrize("storage", ["csr", "masked"])
def test_new_connections_start_with_weight_and_momentum_zero_and_dropped_ones_are_gone(
    storage: str, X: Floats, updates: list[Update], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Training.step
    checked = 0

    def step(self: Training, loss: torch.Tensor, **options: Any) -> float:
        nonlocal checked
        value = real(self, loss, **options)
        assert self.handle is not None
        for store, update in zip(self.handle._network.stores, updates[-2:], strict=True):
            momentum = self.optimizer.state[store.weight]["momentum_buffer"]
            grown = update.plan.grown
            if storage == "csr":
                layer = self.network.layers[0 if update.layer.name == ENCODER else 1]
                assert isinstance(layer, SparseLinear)
                index = layer.index
                order = index.order()
                momentum = momentum if order is None else momentum[torch.from_numpy(order).long()]
                place = torch.searchsorted(torch.from_numpy(index.positions()), grown)
            else:
                momentum, place = momentum.flatten(), grown
                gone = store.mask.logical_not()
                assert not store.weight.detach()[gone].any()
                assert not momentum[gone.flatten()].any()
            assert momentum.any()
            assert not momentum[place].any()
            (view,) = store.views()
            assert not view.values[torch.searchsorted(view.active, grown)].any()
            checked += len(grown)
        return value

    monkeypatch.setattr(Training, "step", step)
    small(storage=storage).fit(X)
    assert checked > 100


def test_an_update_per_epoch_changes_the_topology_at_its_end_only(
    X: Floats, updates: list[Update]
) -> None:
    small(update="epoch").fit(X)
    changed = [bool(len(update.plan.grown)) for update in updates]
    assert changed == ([False] * 2 * 3 + [True] * 2) * 3


@given(
    shape=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    of_inputs=st.booleans(),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=100)
def test_filling_up_equals_going_through_the_neurons_one_by_one(
    shape: tuple[int, int], of_inputs: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < rng.random()
    importance = rng.integers(0, 4, size=shape[1] if of_inputs else shape[0]).astype(float)
    count = int(rng.integers(0, (~mask).sum() + 1))
    kept = torch.from_numpy(np.flatnonzero(mask))
    visible = kept % shape[1] if of_inputs else kept // shape[1]
    grown = fill_up(
        shape,
        kept,
        visible,
        torch.from_numpy(importance),
        count,
        torch.Generator().manual_seed(seed % 1000),
        of_inputs=of_inputs,
    ).numpy()
    assert (np.diff(grown) > 0).all()
    assert not mask.ravel()[grown].any()
    counted = np.bincount(grown % shape[1] if of_inputs else grown // shape[1], minlength=6)
    left = count
    for neuron in np.argsort(-importance, kind="stable"):
        room = int((~mask)[:, neuron].sum() if of_inputs else (~mask)[neuron].sum())
        assert counted[neuron] == min(left, room)
        left -= min(left, room)
    assert left == 0


# ------------------------------------------------------------------ arithmetic


@dataclass
class Reference:
    """The whole algorithm in dense float64, every formula written out."""

    weights: list[Floats]
    masks: list[Bools]
    biases: list[Floats]
    rate: float
    momentum: float
    sensitivity: float
    drop_fraction: float
    velocities: list[Floats] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.velocities = [np.zeros_like(p) for p in (*self.weights, *self.biases)]
        self.inputs = np.zeros(len(self.weights[0]))
        self.outputs = np.zeros(len(self.weights[0]))

    def step(self, clean: Floats, noisy: Floats) -> float:
        """Take an optimizer step, gather importance, and return the loss before it."""
        (encoder, decoder), (inner, outer) = self.weights, self.biases
        hidden = 1 / (1 + np.exp(-(noisy @ encoder + inner)))
        residual = hidden @ decoder + outer - clean
        delta_out = 2 * residual / residual.size
        delta_hidden = (delta_out @ decoder.T) * hidden * (1 - hidden)
        gradients = [
            (noisy.T @ delta_hidden) * self.masks[0],
            (hidden.T @ delta_out) * self.masks[1],
            delta_hidden.sum(axis=0),
            delta_out.sum(axis=0),
        ]
        parameters = [encoder, decoder, inner, outer]
        for value, velocity, gradient in zip(parameters, self.velocities, gradients, strict=True):
            velocity *= self.momentum
            velocity += gradient
            value -= self.rate * (gradient + self.momentum * velocity)
        error = np.abs(residual).mean(axis=0)
        strengths = np.abs(encoder).sum(axis=1), np.abs(decoder).sum(axis=0)
        self.inputs += self.sensitivity * error + (1 - self.sensitivity) * strengths[0]
        self.outputs += self.sensitivity * error + (1 - self.sensitivity) * strengths[1]
        return float((residual**2).mean())

    def update(self, place: int, grown: Bools) -> None:
        """Drop by the rule and grow where told, in the encoder (0) or the decoder (1)."""
        mask, weight, velocity = self.masks[place], self.weights[place], self.velocities[place]
        importance = self.inputs[:, None] if place == 0 else self.outputs[None, :]
        scores = (weight * importance)[mask]
        dropped = np.zeros_like(mask)
        dropped[mask] = nearest_to_zero(scores, self.drop_fraction)
        mask[dropped] = False
        mask[grown] = True
        weight[dropped | grown] = velocity[dropped | grown] = 0.0


def begin(seed: int, X: Floats, masks: list[Bools], **parameters: Any) -> tuple[Any, Reference]:
    """Return the generator of the row order and a reference with the selector's first weights."""
    order = np.random.default_rng(seed)
    d, hidden = masks[0].shape
    weights = [np.zeros(mask.shape) for mask in masks]
    for mask, weight, edge in zip(masks, weights, (d**-0.5, hidden**-0.5), strict=True):
        weight.T[mask.T] = order.uniform(-edge, edge, int(mask.sum()))
    edges = (d**-0.5, hidden), (hidden**-0.5, d)
    biases = [order.uniform(-edge, edge, size) for edge, size in edges]
    return order, Reference(weights, masks, biases, **parameters)


def as_mask(positions: torch.Tensor, shape: tuple[int, ...]) -> Bools:
    """Return a mask of shape (inputs, outputs) from flat positions of the layer."""
    flat = np.zeros(shape[0] * shape[1], dtype=bool)
    flat[positions.numpy()] = True
    return flat.reshape(shape).T.copy()


@pytest.mark.parametrize("storage", ["csr", "masked"])
@pytest.mark.parametrize("density", [0.4, 1.0])
@pytest.mark.parametrize(
    ("sensitivity", "momentum", "update", "noise"),
    [(0.9, 0.9, "batch", 0.2), (0.0, 0.5, "epoch", 0.0), (1.0, 0.0, "batch", 0.5)],
)
def test_training_and_importances_equal_a_reference_written_out_by_hand(
    sensitivity: float,
    momentum: float,
    update: Literal["batch", "epoch"],
    noise: float,
    density: float,
    storage: Literal["csr", "masked"],
    updates: list[Update],
) -> None:
    n, d, hidden, rate = 11, 5, 4, 0.3
    X = np.random.default_rng(3).normal(size=(n, d))
    selector = WAST(
        2, hidden_size=hidden, density=density, sensitivity=sensitivity, noise=noise,
        update=update, scale=None, epochs=3, batch_size=4, learning_rate=rate, momentum=momentum,
        storage=storage, dtype="float64", random_state=11,
    ).fit(X)  # fmt: skip
    seed = int(check_random_state(11).randint(2**31 - 1))
    gaussian = torch.Generator().manual_seed(seed)
    order, reference = begin(
        seed, X, [as_mask(u.layer.active, u.layer.shape) for u in updates[:2]],
        rate=rate, momentum=momentum, sensitivity=sensitivity, drop_fraction=0.3,
    )  # fmt: skip
    seen = iter(updates)
    for epoch in range(3):
        total = 0.0
        for number, index in enumerate(shuffled_batches(n, 4, order)):
            drawn = torch.randn((d, len(index)), generator=gaussian).double().numpy().T
            total += reference.step(X[index], X[index] + noise * drawn) * len(index)
            for place in (0, 1):
                plan = next(seen).plan
                if density < 1 and (update == "batch" or number == 2):
                    # Which cells of the last neuron are filled is drawn; another test holds the
                    # others to the rule.
                    reference.update(place, as_mask(plan.grown, updates[place].layer.shape))
        assert selector.history_["loss"][epoch] == pytest.approx(total / n, rel=1e-10)
    np.testing.assert_allclose(selector.feature_importances_, reference.inputs, rtol=1e-10)
    for layer, expected, mask in zip(
        selector.connections_, reference.weights, reference.masks, strict=True
    ):
        np.testing.assert_allclose(layer.toarray(), expected, rtol=1e-8, atol=1e-12)
        assert layer.nnz == mask.sum()


def test_the_importances_of_two_batches_are_those_computed_by_hand() -> None:
    # One hidden neuron, dense, no momentum: two batches of one row each, every number spelt out.
    X = np.array([[1.0, -2.0], [3.0, 0.5]])
    selector = WAST(
        1, hidden_size=1, density=1.0, sensitivity=0.25, noise=0.0, scale=None, epochs=1,
        batch_size=1, learning_rate=0.5, momentum=0.0, dtype="float64", random_state=5,
    ).fit(X)  # fmt: skip
    draw = np.random.default_rng(int(check_random_state(5).randint(2**31 - 1)))
    w1, w2 = draw.uniform(-(2**-0.5), 2**-0.5, 2)  # encoder
    v1, v2 = draw.uniform(-1, 1, 2)  # decoder
    b = draw.uniform(-(2**-0.5), 2**-0.5, 1)[0]
    c1, c2 = draw.uniform(-1, 1, 2)
    importance = np.zeros(2)
    for row in draw.permutation(2):
        x1, x2 = X[row]
        h = 1 / (1 + np.exp(-(w1 * x1 + w2 * x2 + b)))
        r1, r2 = v1 * h + c1 - x1, v2 * h + c2 - x2
        # The loss is (r1**2 + r2**2) / 2, so its derivative by r1 is r1.
        back = (r1 * v1 + r2 * v2) * h * (1 - h)
        w1, w2, b = w1 - 0.5 * back * x1, w2 - 0.5 * back * x2, b - 0.5 * back
        v1, v2, c1, c2 = v1 - 0.5 * r1 * h, v2 - 0.5 * r2 * h, c1 - 0.5 * r1, c2 - 0.5 * r2
        importance += 0.25 * np.abs([r1, r2]) + 0.75 * np.abs([w1, w2])
    np.testing.assert_allclose(selector.feature_importances_, importance, rtol=1e-12)


@pytest.mark.parametrize("update", ["batch", "epoch"])
@pytest.mark.parametrize("density", [0.05, 0.3, 0.9])
def test_both_storages_give_the_same_result_in_float64(density: float, update: str) -> None:
    X = np.random.default_rng(1).normal(size=(150, 3)) @ np.random.default_rng(2).normal(
        size=(3, 40)
    )
    one, other = (
        small(storage=storage, density=density, update=update, dtype="float64", epochs=5).fit(X)
        for storage in ("csr", "masked")
    )
    np.testing.assert_allclose(one.feature_importances_, other.feature_importances_, rtol=1e-6)
    for left, right in zip(one.connections_, other.connections_, strict=True):
        np.testing.assert_allclose(left.toarray(), right.toarray(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("density", [0.02, 0.2, 0.77, 1.0])
def test_the_number_of_connections_is_exactly_the_density_in_every_epoch(
    density: float, X: Floats
) -> None:
    selector = small(density=density).fit(X)
    count = round(density * 2 * N_FEATURES * HIDDEN)
    assert selector.history_["n_connections"] == [count] * 3
    encoder, decoder = selector.connections_
    assert (encoder.shape, decoder.shape) == ((N_FEATURES, HIDDEN), (HIDDEN, N_FEATURES))
    assert abs(encoder.nnz - decoder.nnz) <= 1


def test_integers_are_scaled_as_they_are(X: Floats) -> None:
    # The released code divides unsigned bytes by 255 after measuring them as they are.
    counts = np.random.default_rng(0).poisson(2.0, size=(N_SAMPLES, N_FEATURES))
    np.testing.assert_array_equal(
        small().fit(counts.astype(np.uint8)).feature_importances_,
        small().fit(counts.astype(np.float64)).feature_importances_,
    )


def test_a_global_scale_keeps_the_spread_of_columns_and_a_standard_one_does_not(X: Floats) -> None:
    X = X / X.std(axis=0)
    X[:, 3] *= 20
    assert small(1, sensitivity=1.0).fit(X).order_[0] == 3
    standard = small(sensitivity=1.0, scale="standard").fit(X).feature_importances_
    X[:, 3] /= 20
    np.testing.assert_allclose(
        standard, small(sensitivity=1.0, scale="standard").fit(X).feature_importances_, rtol=1e-4
    )


# ------------------------------------------------------------------ chunk by chunk


class _TorchRefusing(pickle.Unpickler):
    """Loads a pickle as a machine would that cannot rebuild any torch object."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "torch":
            raise AssertionError(f"the pickle holds {module}.{name}")
        return super().find_class(module, name)


def same(one: WAST, other: WAST) -> None:
    """Assert that everything two selectors have learnt is equal to the last bit."""
    np.testing.assert_array_equal(one.feature_importances_, other.feature_importances_)
    np.testing.assert_array_equal(one.order_, other.order_)
    np.testing.assert_array_equal(one.support_, other.support_)
    assert one.history_["loss"] == other.history_["loss"]
    for left, right in zip(one.connections_, other.connections_, strict=True):
        np.testing.assert_array_equal(left.toarray(), right.toarray())


@pytest.mark.parametrize("storage", ["csr", "masked", "auto"])
@pytest.mark.parametrize("scale", ["global", "standard", None])
@pytest.mark.parametrize("update", ["batch", "epoch"])
def test_a_stream_goes_on_from_a_pickle_bit_for_bit_and_without_torch(
    update: str, scale: str | None, storage: str, X: Floats
) -> None:
    through = small(storage=storage, scale=scale, update=update)
    broken = clone(through)
    for chunk in np.split(X, 4):
        through.partial_fit(chunk)
        broken = _TorchRefusing(io.BytesIO(pickle.dumps(broken.partial_fit(chunk)))).load()
    same(through, broken)
    assert through.n_iter_ == len(through.history_["loss"]) == 4


@pytest.mark.parametrize("storage", ["csr", "masked"])
@pytest.mark.parametrize("scale", ["global", "standard", None])
def test_passes_over_the_same_rows_one_by_one_equal_that_many_epochs(
    scale: str | None, storage: str, X: Floats
) -> None:
    # Up to rounding: the moments of rows that were seen twice are those of rows seen once.
    parameters = {"scale": scale, "storage": storage, "dtype": "float64"}
    whole = small(epochs=4, **parameters).fit(X)
    passes = small(**parameters)
    for _ in range(4):
        passes.partial_fit(X)
    continued = small(epochs=2, **parameters).fit(X).partial_fit(X).partial_fit(X)
    for selector in (passes, continued):
        np.testing.assert_allclose(
            selector.feature_importances_, whole.feature_importances_, rtol=1e-6
        )
        np.testing.assert_allclose(selector.history_["loss"], whole.history_["loss"], rtol=1e-6)
        assert selector.history_["n_connections"] == whole.history_["n_connections"]


def test_fit_starts_anew_whatever_came_before(X: Floats) -> None:
    expected = small().fit(X)
    same(small().partial_fit(X[:30]).fit(X), expected)
    same(small().fit(X[:, :4]).fit(X), expected)
    assert small().partial_fit(X[:, :4]).fit(X).partial_fit(X).n_iter_ == 4


@pytest.mark.filterwarnings("ignore:no feature is more important than the best shadow")
def test_a_stream_after_a_fit_with_shadows_or_ranges_starts_anew(X: Floats) -> None:
    expected = small().partial_fit(X)
    for other in ({"n_features_to_select": "probe"}, {"scale": "minmax"}):
        selector = small().set_params(**other).fit(X)
        same(selector.set_params(n_features_to_select=4, scale="global").partial_fit(X), expected)


@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csc_array, sparse.coo_array])
def test_sparse_chunks_are_as_good_as_dense_ones(container: Any, X: Floats) -> None:
    X[np.abs(X) < 1] = 0.0
    one, other = small(dtype="float64"), small(dtype="float64")
    for chunk in np.split(X, 3):
        one.partial_fit(chunk)
        other.partial_fit(container(chunk))
    np.testing.assert_allclose(one.feature_importances_, other.feature_importances_, rtol=1e-6)


def test_every_call_brings_the_selection_up_to_date(X: Floats) -> None:
    selector = small()
    for number, chunk in enumerate(np.split(X, 5), 1):
        selector.partial_fit(chunk)
        order = np.argsort(-selector.feature_importances_, kind="stable")
        np.testing.assert_array_equal(selector.order_, order)
        assert set(np.flatnonzero(selector.support_)) == set(order[:4])
        assert {len(values) for values in selector.history_.values()} == {number}
    selector.set_params(n_features_to_select=2).partial_fit(X[:1])
    assert selector.transform(X).shape == (N_SAMPLES, 2)


@pytest.mark.filterwarnings("error")
def test_a_feature_matters_only_once_it_has_varied(X: Floats) -> None:
    late = X.copy()
    late[:30, 2], late[:, 5] = 1.5, 4.0
    selector = small(8).partial_fit(late[:30])
    assert np.flatnonzero(selector.feature_importances_ == 0).tolist() == [2, 5]
    assert selector.order_[-2:].tolist() == [2, 5]
    selector.partial_fit(late[30:])
    assert np.flatnonzero(selector.feature_importances_ == 0).tolist() == [5]
    # Constant in each chunk, but not the same.
    jumping = X.copy()
    jumping[:30, 2], jumping[30:, 2] = 0.0, 1.0
    selector = small(8).partial_fit(jumping[:30]).partial_fit(jumping[30:])
    assert (selector.feature_importances_ > 0).all()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_chunks_are_learnt_where_the_caller_switched_gradients_off(
    mode: Callable[[], Any], X: Floats
) -> None:
    expected = small().partial_fit(X).partial_fit(X)
    before = torch.get_rng_state()
    with mode():
        found = small().partial_fit(X).partial_fit(X)
    same(found, expected)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.filterwarnings("ignore:no feature is more important than the best shadow")
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_features_to_select": "probe"}, "'probe' needs all rows.*use a number, or fit"),
        ({"scale": "minmax"}, "'minmax' needs all rows.*use 'global'"),
        ({"redundancy": 0.5}, "redundancy=0.5 needs all rows.*use 0, or fit"),
    ],
)
def test_what_needs_all_rows_at_once_is_refused_in_a_stream(
    parameters: dict[str, Any], message: str, X: Floats
) -> None:
    small().set_params(**parameters).fit(X)
    with pytest.raises(InvalidArgumentError, match=message):
        small().set_params(**parameters).partial_fit(X)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden_size", 13),
        ("density", 0.5),
        ("scale", "standard"),
        ("storage", "masked"),
        ("dtype", "float64"),
    ],
)
def test_what_shapes_the_network_cannot_change_in_a_stream(
    name: str, value: object, X: Floats
) -> None:
    selector = small().partial_fit(X)
    before = getattr(selector, name)
    with pytest.raises(InvalidArgumentError, match=f"{name} was {before!r} and is {value!r}"):
        selector.set_params(**{name: value}).partial_fit(X)
    same(
        selector.set_params(**{name: before}).partial_fit(X), small().partial_fit(X).partial_fit(X)
    )


def test_how_the_network_learns_may_change_in_a_stream(X: Floats) -> None:
    selector = small().partial_fit(X)
    kept = pickle.dumps(selector)
    plain = selector.partial_fit(X).feature_importances_
    for name, value in {
        "learning_rate": 0.01, "momentum": 0.0, "drop_fraction": 0.1, "sensitivity": 0.1,
        "noise": 0.0, "batch_size": 7, "update": "epoch",
    }.items():  # fmt: skip
        other = pickle.loads(kept).set_params(**{name: value}).partial_fit(X)
        assert not np.array_equal(other.feature_importances_, plain), name


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda X: np.where(np.arange(N_FEATURES) == 2, np.nan, X), "contains NaN"),
        (lambda X: X[:, :-1], "X has 8 features.*expecting 9"),
        (lambda X: X[:0], "0 sample"),
        (lambda X: np.tile("a", X.shape), "could not convert"),
    ],
)
def test_a_bad_chunk_is_refused_and_forgotten(
    spoil: Callable[[Floats], Any], message: str, X: Floats
) -> None:
    selector = small().partial_fit(X)
    with pytest.raises(ValueError, match=message):
        selector.partial_fit(spoil(X))
    same(selector.partial_fit(X), small().partial_fit(X).partial_fit(X))


def test_a_chunk_on_which_training_diverges_leaves_the_selector_as_it_was(X: Floats) -> None:
    selector = small().partial_fit(X)
    with pytest.raises(TrainingDivergedError, match=r"learning_rate=1e\+30"):
        selector.set_params(learning_rate=1e30).partial_fit(X)
    same(selector, small().partial_fit(X))
    same(
        selector.set_params(learning_rate=0.1).partial_fit(X),
        small().partial_fit(X).partial_fit(X),
    )


def test_the_first_chunk_has_two_rows_and_something_that_varies(X: Floats) -> None:
    with pytest.raises(ValueError, match=r"1 sample.*minimum of 2"):
        small().partial_fit(X[:1])
    with pytest.raises(InvalidArgumentError, match=r"all 9 feature\(s\) of X are constant"):
        small().partial_fit(np.tile(X[0], (5, 1)))


@given(
    sizes=st.lists(st.integers(1, 9), min_size=2, max_size=5),
    shift=st.sampled_from([0.0, -3.0, 1e6]),
    scale=st.sampled_from(["global", "standard", None]),
    seed=st.integers(0, 2**32),
)
def test_moments_of_chunks_are_those_of_all_rows(
    sizes: list[int], shift: float, scale: str | None, seed: int
) -> None:
    X = np.random.default_rng(seed).normal(size=(sum(sizes), 4)) + shift
    X[:, 1] = 2.5
    first, *others = np.split(X, np.cumsum(sizes)[:-1])
    moments = Moments.of(first)
    for chunk in others:
        moments = moments.merged(Moments.of(chunk))
    expected = RowScaler(X, scale)
    shifts, factors, constant = moments.statistics(scale)
    np.testing.assert_allclose(shifts, expected._shift, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(factors, expected._factor, rtol=1e-6)
    np.testing.assert_array_equal(constant, expected.constant)


# ------------------------------------------------------------------ learning


def _hidden_group(seed: int) -> tuple[Floats, Bools]:
    """Twenty mixtures of three factors scattered among 180 columns of independent noise."""
    rng = np.random.default_rng(seed)
    group = rng.normal(size=(500, 3)) @ rng.normal(size=(3, 20)) + 0.1 * rng.normal(size=(500, 20))
    X = np.hstack([group, rng.normal(size=(500, 180))])
    place = rng.permutation(200)
    return X[:, place], place < 20


def wast_accuracy(name: str, seed: int, count: int, sensitivity: float) -> float:
    """Select on the training rows of a data set and judge as the paper does."""
    data = load(name)
    n_train = data.n_train if name == "madelon" else None
    rows = np.arange(len(data.X))
    # The split of the protocol, so that no test row takes part in the selection.
    train = rows[:n_train] if n_train else train_test_split(rows, test_size=0.2, random_state=42)[0]
    selector = WAST(count, sensitivity=sensitivity, random_state=seed).fit(data.X[train])
    judged = evaluate(data.X, data.y, selector.support_, protocol="wast", n_train=n_train)
    return 100 * judged["svc"]


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_correlated_features_are_recovered_from_independent_noise(seed: int) -> None:
    X, related = _hidden_group(seed)
    # Measured for seeds 0, 1 and 2: 14, 15 and 14 of 20; random columns would hold 2 on average.
    selector = WAST(20, batch_size=32, random_state=seed).fit(X)
    assert selector.support_[related].sum() >= 12


@pytest.mark.usefixtures("data_dir")
def test_ten_epochs_on_madelon_beat_random_features_by_far() -> None:
    # Random columns give 54.2 % +- 4.5 (five seeds, measured with the same protocol).
    assert wast_accuracy("madelon", 0, 20, 0.9) >= 80


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("data_dir")
@pytest.mark.filterwarnings("ignore:.* features are constant:UserWarning")
@pytest.mark.parametrize(
    ("name", "count", "sensitivity", "at_least"),
    [
        # Measured, mean and deviation of these five seeds: 99.2 +- 0.1, 95.0 +- 0.7, 83.1 +- 0.6
        # and 78.4 +- 0.7. The specification's probes had 97.3, 94.7, 83.2 and 77.0.
        ("coil20", 50, 0.4, 98.0),
        ("usps", 50, 0.4, 93.7),
        ("madelon", 20, 0.9, 82.0),
        ("pcmac", 50, 0.9, 77.0),
    ],
)
def test_the_mean_of_five_seeds_reaches_the_measured_accuracy(
    name: str, count: int, sensitivity: float, at_least: float
) -> None:
    found = [wast_accuracy(name, seed, count, sensitivity) for seed in range(5)]
    assert np.mean(found) >= at_least, found


@pytest.mark.parametrize(
    "parameters",
    [
        {"n_features_to_select": -3},
        {"n_features_to_select": 1.5},
        {"sensitivity": 7},
        {"noise": -3},
        {"drop_fraction": 5},
        {"momentum": 2},
        {"update": "never"},
        {"redundancy": -1},
        {"batch_size": 0},
        {"learning_rate": -1},
    ],
    ids=str,
)
def test_parameters_are_checked_before_every_chunk(parameters: dict[str, Any]) -> None:
    X = np.random.default_rng(0).normal(size=(30, 6))
    selector = WAST(2, hidden_size=10, random_state=0).partial_fit(X)
    before = selector.support_.copy()
    with pytest.raises(ValueError, match=next(iter(parameters))):
        selector.set_params(**parameters).partial_fit(X)
    np.testing.assert_array_equal(selector.support_, before)
