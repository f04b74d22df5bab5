"""A topology update is a transaction: plans against a slow twin, refusals, and exact commits."""

import pickle
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import sparsewire
from sparsewire.core.criteria import (
    DROP_RULES,
    GRADIENT,
    GROW_RULES,
    MAGNITUDE,
    RANDOM,
    SIGN,
    DenseGradient,
    DropRule,
    LayerView,
    drop_count,
)
from sparsewire.core.errors import NonFiniteError, TopologyError
from sparsewire.core.methods import Method
from sparsewire.core.schedule import Every
from sparsewire.core.topology import LayerPlan, check, commit, no_change, plan_drop_and_grow
from tests.core.helpers import mask_of, view_of, weight_of


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_view(seed: int, numel: int = 60, density: float = 0.4) -> LayerView:
    """A layer with distinct weights and gradients."""
    source = generator(seed)
    mask = torch.zeros(numel, dtype=torch.bool)
    mask[torch.randperm(numel, generator=source)[: max(1, round(density * numel))]] = True
    weight = torch.randn(numel, generator=source, dtype=torch.float64) * mask
    gradient = torch.randn(numel, generator=source, dtype=torch.float64)
    return view_of(weight, mask, gradient)


def twin(
    layer: LayerView, fraction: float, keep_regrown: bool, signs: bool
) -> tuple[list[int], list[int]]:
    """One round of drop and gradient growth, one connection at a time, with plain lists."""
    assert isinstance(layer.gradient, DenseGradient)
    weight, gradient = weight_of(layer).tolist(), layer.gradient.values.tolist()
    active = layer.active.tolist()
    inactive = [i for i in range(layer.numel) if i not in active]
    if not inactive:
        return [], []
    pools = [active]
    if signs:
        pools = [[i for i in active if weight[i] < 0], [i for i in active if weight[i] >= 0]]
    dropped: list[int] = []
    for pool in pools:
        for _ in range(drop_count(len(pool), fraction)):
            weakest = min((i for i in pool if i not in dropped), key=lambda i: abs(weight[i]))
            dropped.append(weakest)
    candidates, grown = inactive + dropped, []
    for _ in range(len(dropped)):
        best = max((i for i in candidates if i not in grown), key=lambda i: abs(gradient[i]))
        grown.append(best)
    if keep_regrown:
        again = set(dropped) & set(grown)
        dropped, grown = (
            [i for i in dropped if i not in again],
            [i for i in grown if i not in again],
        )
    return sorted(dropped), sorted(grown)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("keep_regrown", [True, False])
@pytest.mark.parametrize("drop", [MAGNITUDE, SIGN], ids=lambda rule: rule.name)
def test_a_round_agrees_with_the_slow_twin(drop: DropRule, keep_regrown: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    layer = random_view(seed, int(rng.integers(2, 80)), float(rng.uniform(0.05, 1.0)))
    fraction = float(rng.uniform())
    plan = plan_drop_and_grow(
        layer, drop, GRADIENT, fraction, generator(), keep_regrown=keep_regrown
    )
    found = plan.dropped.tolist(), plan.grown.tolist()
    assert found == twin(layer, fraction, keep_regrown, signs=drop is SIGN)


tied = st.sampled_from([-1.0, -0.0, 0.0, 1.0])


@given(
    st.lists(st.tuples(tied, st.booleans(), tied), min_size=1, max_size=40),
    st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.999, 1.0]),
    st.sampled_from(sorted(DROP_RULES)),
    st.sampled_from(sorted(GROW_RULES)),
    st.booleans(),
)
def test_every_plan_is_sound_and_keeps_the_number_of_connections(
    cells: list[tuple[float, bool, float]], fraction: float, drop: str, grow: str, keep: bool
) -> None:
    mask = torch.tensor([on for _, on, _ in cells])
    weight = torch.tensor([w for w, _, _ in cells]) * mask
    layer = view_of(weight, mask, torch.tensor([g for _, _, g in cells]))
    before = [t.clone() for t in (layer.values, layer.active)]
    plan = plan_drop_and_grow(
        layer, DROP_RULES[drop], GROW_RULES[grow], fraction, generator(), keep_regrown=keep
    )
    check(plan, layer, int(mask.sum()))
    dropped, grown = set(plan.dropped.tolist()), set(plan.grown.tolist())
    active = set(mask.nonzero().flatten().tolist())
    assert dropped <= active
    assert len(dropped) == len(grown)
    assert grown.isdisjoint(active - dropped)
    if keep:
        assert dropped.isdisjoint(grown)
    assert torch.equal(layer.values, before[0])
    assert torch.equal(layer.active, before[1])


@pytest.mark.parametrize("grow", list(GROW_RULES))
def test_a_dense_layer_is_left_alone(grow: str) -> None:
    layer = view_of(torch.randn(9), torch.ones(9, dtype=torch.bool), torch.randn(9))
    plan = plan_drop_and_grow(
        layer, MAGNITUDE, GROW_RULES[grow], 0.5, generator(), keep_regrown=False
    )
    assert plan.dropped.numel() == plan.grown.numel() == 0


def test_a_layer_without_a_captured_gradient_is_left_alone() -> None:
    layer = view_of(torch.tensor([1.0, 0.0]), torch.tensor([True, False]), None)
    plan = plan_drop_and_grow(layer, MAGNITUDE, GRADIENT, 1.0, generator(), keep_regrown=True)
    assert plan.dropped.numel() == plan.grown.numel() == 0


def test_more_drops_than_inactive_positions_regrow_some_of_the_dropped() -> None:
    mask = torch.tensor([True] * 9 + [False])
    layer = view_of(torch.arange(1.0, 11.0) * mask, mask, torch.arange(10.0))
    plan = plan_drop_and_grow(layer, MAGNITUDE, GRADIENT, 1.0, generator(), keep_regrown=True)
    assert plan.dropped.tolist() == [0]  # the smallest gradient of the ten
    assert plan.grown.tolist() == [9]


def test_a_layer_with_one_connection_can_move_it() -> None:
    mask = torch.tensor([False, True, False])
    layer = view_of(torch.tensor([0.0, 3.0, 0.0]), mask, torch.tensor([5.0, 1.0, 2.0]))
    plan = plan_drop_and_grow(layer, SIGN, GRADIENT, 1.0, generator(), keep_regrown=True)
    assert (plan.dropped.tolist(), plan.grown.tolist()) == ([1], [0])


def test_fraction_zero_changes_nothing() -> None:
    layer = random_view(0)
    plan = plan_drop_and_grow(layer, SIGN, RANDOM, 0.0, generator(), keep_regrown=False)
    assert plan.dropped.numel() == plan.grown.numel() == 0


def test_random_growth_reaches_just_dropped_positions_as_often_as_others() -> None:
    mask = torch.tensor([True] * 5 + [False] * 5)
    layer = view_of(torch.arange(1.0, 11.0) * mask, mask)
    hits = torch.zeros(10)
    for seed in range(500):
        plan = plan_drop_and_grow(
            layer, MAGNITUDE, RANDOM, 0.4, generator(seed), keep_regrown=False
        )
        hits[plan.grown] += 1
    assert hits[2:5].sum() == 0  # these three stay
    # Two of seven: 143 expected each, standard deviation 10.1.
    assert bool((hits[[0, 1, 5, 6, 7, 8, 9]] - 143).abs().max() < 50)


def test_the_same_generator_state_gives_the_same_plan() -> None:
    mask = torch.arange(1000) % 3 == 0
    layer = view_of(mask.float(), mask, torch.zeros(1000))
    plans = [
        plan_drop_and_grow(layer, SIGN, GRADIENT, 0.3, generator(seed), keep_regrown=False)
        for seed in (1, 1, 2)
    ]
    assert torch.equal(plans[0].dropped, plans[1].dropped)
    assert torch.equal(plans[0].grown, plans[1].grown)
    assert not torch.equal(plans[0].grown, plans[2].grown)


def test_planning_does_not_touch_the_global_random_state() -> None:
    before = torch.get_rng_state()
    numpy_before = pickle.dumps(np.random.get_state())  # noqa: NPY002
    layer = view_of(torch.zeros(99), torch.arange(99) % 2 == 0, torch.zeros(99))
    plan_drop_and_grow(layer, SIGN, RANDOM, 0.5, generator(), keep_regrown=False, grown_std=0.1)
    assert torch.equal(torch.get_rng_state(), before)
    assert pickle.dumps(np.random.get_state()) == numpy_before  # noqa: NPY002


def test_a_layer_with_nan_weights_is_refused() -> None:
    layer = random_view(0)
    layer.values[0] = float("nan")
    with pytest.raises(NonFiniteError):
        plan_drop_and_grow(layer, MAGNITUDE, RANDOM, 0.3, generator(), keep_regrown=True)


def test_initial_values_have_the_requested_spread_and_the_type_of_the_weight() -> None:
    mask = torch.arange(20_000) % 2 == 0
    layer = view_of(mask.to(torch.bfloat16), mask)
    plan = plan_drop_and_grow(
        layer, MAGNITUDE, RANDOM, 1.0, generator(), keep_regrown=False, grown_std=0.1
    )
    assert plan.values is not None
    assert plan.values.dtype == torch.bfloat16
    assert plan.values.shape == plan.grown.shape
    assert float(plan.values.float().std()) == pytest.approx(0.1, rel=0.05)


def test_a_layer_above_two_to_the_24_weights_is_updated_to_the_unit() -> None:
    rows, columns = 4099, 4099  # 16,801,801 weights; float32 counts odd numbers only to 2**24
    numel = rows * columns
    assert numel > 2**24
    mask = torch.ones(rows, columns, dtype=torch.bool)
    mask.view(-1)[:7] = False
    weight = torch.rand(rows, columns, generator=generator()).add_(0.5).mul_(mask)
    gradient = torch.zeros(numel)
    gradient[:7] = 1.0
    layer = view_of(weight, mask, gradient, "big")
    active = int(mask.sum())
    assert active == numel - 7
    fraction = 7.5 / active
    plan = plan_drop_and_grow(layer, MAGNITUDE, GRADIENT, fraction, generator(), keep_regrown=True)
    check(plan, layer, active)
    assert plan.grown.tolist() == list(range(7))
    smallest = weight.view(-1)[7:].topk(7, largest=False).indices + 7
    assert torch.equal(plan.dropped, smallest.sort().values)
    commit([plan], [0], weight, mask, [])
    assert int(mask.sum()) == active
    assert bool(mask.view(-1)[:7].all())
    assert not bool(mask.view(-1)[plan.dropped].any())


# Refusals


def index(*positions: int) -> Tensor:
    return torch.tensor(positions, dtype=torch.int64)


def small_view() -> LayerView:
    mask = torch.tensor([True, True, True, False, False, False])
    return view_of(torch.tensor([1.0, 2.0, 3.0, 0.0, 0.0, 0.0]), mask)


UNSOUND = {
    "dropped twice": (LayerPlan("demo", index(0, 0), index(3, 4)), 3, "dropped positions repeat"),
    "grown twice": (LayerPlan("demo", index(0, 1), index(3, 3)), 3, "grown positions repeat"),
    "dropped too high": (LayerPlan("demo", index(6), index(3)), 3, "dropped positions lie outside"),
    "dropped negative": (LayerPlan("demo", index(-1), index(3)), 3, "dropped positions lie outs"),
    "grown too high": (LayerPlan("demo", index(0), index(6)), 3, "grown positions lie outside"),
    "grown negative": (LayerPlan("demo", index(0), index(-6)), 3, "grown positions lie outside"),
    "drops inactive": (LayerPlan("demo", index(3), index(4)), 3, "drops connections that are not"),
    "grows active": (LayerPlan("demo", index(0), index(1)), 3, "grows connections that are active"),
    "one too few": (LayerPlan("demo", index(0, 1), index(3)), 3, "leaves 2 connections instead of"),
    "one too many": (LayerPlan("demo", index(0), index(3, 4)), 3, "leaves 4 connections instead"),
    "unchanged but expected fewer": (LayerPlan("demo", index(), index()), 2, "leaves 3 conn"),
    "too few values": (
        LayerPlan("demo", index(0, 1), index(3, 4), torch.zeros(1)),
        3,
        "1 initial values for 2 grown",
    ),
    "too many values": (
        LayerPlan("demo", index(0), index(3), torch.zeros(2)),
        3,
        "2 initial values for 1 grown",
    ),
    "value is nan": (LayerPlan("demo", index(0), index(3), torch.tensor([torch.nan])), 3, "demo"),
    "value is infinite": (
        LayerPlan("demo", index(0), index(3), torch.tensor([-torch.inf])),
        3,
        "demo",
    ),
}


@pytest.mark.parametrize("case", list(UNSOUND))
def test_an_unsound_plan_is_refused_and_the_layer_stays(case: str) -> None:
    plan, count, message = UNSOUND[case]
    layer, untouched = small_view(), small_view()
    with pytest.raises(TopologyError, match=message):
        check(plan, layer, count)
    assert torch.equal(layer.active, untouched.active)
    assert torch.equal(layer.values, untouched.values)


def test_sound_plans_are_accepted() -> None:
    layer = small_view()
    check(LayerPlan("demo", index(0, 2), index(3, 5)), layer, 3)
    check(LayerPlan("demo", index(0, 2), index(0, 5)), layer, 3)  # one starts afresh
    check(LayerPlan("demo", index(0), index()), layer, 2)
    check(LayerPlan("demo", index(2, 0), index(5, 3), torch.ones(2)), layer, 3)
    check(no_change(layer), layer, 3)


@pytest.mark.parametrize("case", ["dropped twice", "grown twice", "drops inactive"])
def test_the_order_of_positions_in_a_plan_hides_no_fault(case: str) -> None:
    dropped, grown = {
        "dropped twice": (index(2, 0, 2), index(5, 4, 3)),
        "grown twice": (index(2, 0, 1), index(5, 3, 5)),
        "drops inactive": (index(5, 0, 1), index(4, 3, 2)),
    }[case]
    message = UNSOUND[case][2]
    with pytest.raises(TopologyError, match=message):
        check(LayerPlan("demo", dropped, grown), small_view(), 3)


class Sabotage(Method):
    """Plans every layer soundly but the last, whose plan is the one given."""

    def __init__(self, plan: LayerPlan) -> None:
        self.bad = plan

    @property
    def when(self) -> Every:
        return Every(1)

    def plan(
        self, layer: LayerView, target: int, step: int, generator: torch.Generator
    ) -> LayerPlan:
        if layer.name == "2.weight":
            return LayerPlan(layer.name, self.bad.dropped, self.bad.grown, self.bad.values)
        return plan_drop_and_grow(layer, MAGNITUDE, RANDOM, 0.5, generator, keep_regrown=False)


def snapshot(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[Tensor]:
    state = [
        value
        for parameter in model.parameters()
        for value in optimizer.state[parameter].values()
        if isinstance(value, Tensor)
    ]
    return [t.detach().clone() for t in (*model.state_dict().values(), *state)]


@pytest.mark.parametrize(
    "bad",
    [
        LayerPlan("", index(0, 0), index(1, 2)),
        LayerPlan("", index(999), index(0)),
        LayerPlan("", index(), index(), torch.zeros(3)),
        LayerPlan("", torch.arange(12), index()),
    ],
    ids=["repeats", "outside", "values", "drops everything"],
)
def test_an_unsound_plan_for_one_layer_changes_no_layer(bad: LayerPlan) -> None:
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9)
    handle = sparsewire.sparsify(
        model, optimizer, density=0.5, method=Sabotage(bad), allocation="uniform"
    )
    for name, parameter in model.named_parameters():
        mask = handle.masks().get(name, torch.ones_like(parameter))
        optimizer.state[parameter]["momentum_buffer"] = mask.to(parameter.dtype)
    before, counts = snapshot(model, optimizer), handle.summary()
    with pytest.raises(TopologyError, match=r"2\.weight"):
        optimizer.step()  # no gradients: the optimizer itself changes nothing
    assert all(torch.equal(a, b) for a, b in zip(snapshot(model, optimizer), before, strict=True))
    assert handle.summary().layers == counts.layers
    assert handle.updates == 0


# Commits


def twin_commit(
    plans: Sequence[LayerPlan], offsets: Sequence[int], tensors: list[Tensor], mask: Tensor
) -> tuple[list[list[float]], list[bool]]:
    """Apply plans cell by cell to plain lists; `tensors[0]` is the weight."""
    rows = [t.reshape(-1).tolist() for t in tensors]
    bits = mask.reshape(-1).tolist()
    for plan, offset in zip(plans, offsets, strict=True):
        for position in plan.dropped.tolist():
            bits[offset + position] = False
            for row in rows:
                row[offset + position] = 0.0
        for number, position in enumerate(plan.grown.tolist()):
            bits[offset + position] = True
            for row in rows:
                row[offset + position] = 0.0
            if plan.values is not None:
                rows[0][offset + position] = float(plan.values[number])
    return rows, bits


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("keep_regrown", [True, False])
def test_a_commit_agrees_with_the_slow_twin_in_every_type_and_layout(
    dtype: torch.dtype, layout: torch.memory_format, keep_regrown: bool
) -> None:
    shape = (8, 6, 3, 3)
    mask = (torch.rand(shape, generator=generator(1)) < 0.4).contiguous(memory_format=layout)
    weight = torch.randn(shape, generator=generator(2)).to(dtype).contiguous(memory_format=layout)
    weight.masked_fill_(~mask, 0)
    states = [weight.clone() * 2, (weight * 3).contiguous()]  # one in the other layout
    gradient = torch.randn(shape, generator=generator(3))
    half = weight.numel() // 2
    rows = [t.reshape(2, half) for t in (weight, mask, gradient)]
    views = [view_of(rows[0][i], rows[1][i], rows[2][i], "ab"[i]) for i in range(2)]
    plans = [
        plan_drop_and_grow(
            layer,
            SIGN,
            GRADIENT,
            0.7,
            generator(),
            keep_regrown=keep_regrown,
            grown_std=0.5 if layer.name == "a" else 0.0,
        )
        for layer in views
    ]
    expected, bits = twin_commit(plans, [0, half], [weight, *states], mask)
    active = int(mask.sum())
    commit(plans, [0, half], weight, mask, states)
    for tensor, row in zip((weight, *states), expected, strict=True):
        assert tensor.dtype == dtype
        assert tensor.reshape(-1).tolist() == row
    assert mask.reshape(-1).tolist() == bits
    assert int(mask.sum()) == active
    assert weight.is_contiguous(memory_format=layout)
    assert bool((weight[~mask] == 0).all())


@pytest.mark.parametrize("keep_regrown", [True, False])
def test_a_regrown_connection_keeps_value_and_state_only_when_asked(keep_regrown: bool) -> None:
    mask = torch.tensor([True, True, True, False])
    weight, momentum = torch.tensor([0.1, 2.0, 3.0, 0.0]), torch.tensor([7.0, 8.0, 9.0, 0.0])
    # Position 0 is the smallest weight and has the largest gradient of all.
    layer = view_of(weight, mask, torch.tensor([9.0, 0.0, 0.0, 1.0]))
    plan = plan_drop_and_grow(
        layer, MAGNITUDE, GRADIENT, 0.34, generator(), keep_regrown=keep_regrown
    )
    commit([plan], [0], weight, mask, [momentum])
    assert mask.tolist() == [True, True, True, False]
    kept = keep_regrown
    assert weight.tolist() == pytest.approx([0.1 if kept else 0.0, 2.0, 3.0, 0.0])
    assert momentum.tolist() == [7.0 if kept else 0.0, 8.0, 9.0, 0.0]


def test_a_commit_clears_stale_state_under_a_grown_connection() -> None:
    layer = small_view()
    weight, mask = weight_of(layer), mask_of(layer)
    weight[3] = torch.nan  # whatever an optimizer may have left there
    momentum, square = torch.full((6,), 5.0), torch.full((6,), torch.inf)
    commit([LayerPlan("demo", index(0), index(3))], [0], weight, mask, [momentum, square])
    assert weight.tolist() == [0.0, 2.0, 3.0, 0.0, 0.0, 0.0]
    assert momentum.tolist() == [0.0, 5.0, 5.0, 0.0, 5.0, 5.0]
    assert square[[0, 3]].tolist() == [0.0, 0.0]


def test_an_empty_commit_changes_nothing() -> None:
    layer = random_view(3)
    weight, mask = weight_of(layer), mask_of(layer)
    commit([no_change(layer)], [0], weight, mask, [])
    assert torch.equal(weight, weight_of(layer))
    assert torch.equal(mask, mask_of(layer))


def test_a_commit_works_on_a_parameter_that_requires_gradients() -> None:
    parameter = nn.Parameter(torch.ones(2, 3))
    mask = torch.tensor([[True, True, False], [False, True, False]])
    commit([LayerPlan("x", index(0), index(5))], [0], parameter, mask, [])
    assert parameter.requires_grad
    assert parameter.grad_fn is None
    assert mask.tolist() == [[False, True, False], [False, True, True]]


def test_initial_values_of_another_precision_are_cast_to_the_weight() -> None:
    layer = small_view()
    weight, mask = weight_of(layer).to(torch.bfloat16), mask_of(layer)
    plan = LayerPlan("demo", index(0), index(3), torch.tensor([0.5]))
    check(plan, view_of(weight, mask), 3)
    commit([plan], [0], weight, mask, [])
    assert weight.tolist() == [0.0, 2.0, 3.0, 0.5, 0.0, 0.0]
    assert mask.tolist() == [False, True, True, True, False, False]
