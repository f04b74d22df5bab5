"""Methods are rows of the grid: their published settings, windows, densities and semantics."""

import math
import pickle
import random
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import sparsewire
from sparsewire.core.criteria import LayerView
from sparsewire.core.errors import InvalidArgumentError, UnknownMethodError
from sparsewire.core.methods import GMP, ITOP, METHODS, SET, Method, RigL, Static, resolve_method
from sparsewire.core.methods.base import BaseDropAndGrow
from sparsewire.core.schedule import Constant, Cosine
from sparsewire.core.topology import LayerPlan, check, commit
from tests.core.helpers import mask_of, view_of, weight_of

DYNAMIC: list[type[RigL | SET | ITOP]] = [RigL, SET, ITOP]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def layer_of(weights: list[float], gradient: list[float]) -> LayerView:
    """A layer whose connections are its non-zero weights."""
    mask = torch.tensor([w != 0 for w in weights])
    return view_of(torch.tensor(weights), mask, torch.tensor(gradient))


def plan(method: Method, layer: LayerView, step: int = 1, seed: int = 0) -> LayerPlan:
    made = method.plan(layer, layer.active.numel(), step, generator(seed))
    check(made, layer, layer.active.numel())
    return made


# Published settings


def test_rigl_has_the_published_defaults() -> None:
    method = RigL()
    assert (method.update_interval, method.drop_fraction) == (100, 0.3)
    assert method.needs_gradient
    assert method.schedule == Constant(0.3)
    assert RigL(end=1000).schedule == Cosine(0.3, 0.0, end=1000)


def test_set_has_the_published_defaults() -> None:
    method = SET()
    assert method.drop == "sign"
    assert method.schedule == Constant(0.3)
    assert SET(end=1000).schedule == Constant(0.3)
    assert not method.needs_gradient


def test_set_with_a_plain_number_and_an_end_is_annealed() -> None:
    assert SET(drop_fraction=0.4, begin=10, end=500).schedule == Cosine(0.4, 0.0, 500, begin=10)


def test_itop_has_the_published_defaults() -> None:
    method = ITOP(end=10_000)
    assert method.schedule == Cosine(0.5, 0.005, end=10_000)
    assert method.update_interval == 1500
    assert not method.needs_gradient
    assert ITOP(growth="gradient").needs_gradient


def test_itop_never_anneals_upwards() -> None:
    schedule = ITOP(drop_fraction=0.001, end=3000).schedule
    assert {schedule(step) for step in (0, 1500, 3000)} == {0.001}


@pytest.mark.parametrize("cls", DYNAMIC)
def test_the_annealing_starts_at_begin_and_ends_at_end(cls: type[BaseDropAndGrow]) -> None:
    make: Any = cls
    method = make(update_interval=10, drop_fraction=0.4, begin=100, end=301)
    assert method.schedule(100) == 0.4
    assert method.when.due(100)
    assert method.when.last == 300
    assert method.schedule(301) == method._annealed_to
    middle = (0.4 + method._annealed_to) / 2
    assert method.schedule(200) == pytest.approx(middle, abs=0.005)


def test_a_schedule_of_the_users_own_is_used_as_it_is() -> None:
    schedule = Cosine(0.5, 0.1, end=77)
    assert RigL(drop_fraction=schedule, end=1000).schedule is schedule


def test_names_resolve_to_the_published_settings() -> None:
    expected = {
        "static": Static(),
        "set": SET(),
        "set-magnitude": SET(drop="magnitude"),
        "rigl": RigL(),
        "itop": ITOP(),
        "set-itop": ITOP(growth="random", update_interval=1500),
        "rigl-itop": ITOP(growth="gradient", update_interval=4000),
    }
    assert expected == METHODS
    assert {name: resolve_method(name.upper()) for name in expected} == expected


def test_a_method_object_resolves_to_itself() -> None:
    method = RigL(end=500)
    assert resolve_method(method) is method


def test_gmp_by_name_asks_for_the_end_of_the_ramp() -> None:
    with pytest.raises(InvalidArgumentError, match=r"GMP\(end=number_of_steps\)"):
        resolve_method("gmp")


@pytest.mark.parametrize("wrong", ["rigel", "", None, 3, RigL, ["rigl"]])
def test_an_unknown_method_is_refused_with_the_known_names(wrong: Any) -> None:
    with pytest.raises(UnknownMethodError, match=r"unknown method .*set-magnitude, rigl"):
        resolve_method(wrong)


def test_a_misspelt_method_gets_a_suggestion() -> None:
    with pytest.raises(UnknownMethodError, match="Did you mean 'rigl'"):
        resolve_method("rigel")


BAD: dict[str, Callable[[], Method]] = {
    "interval zero": lambda: RigL(update_interval=0),
    "interval a float": lambda: SET(update_interval=1.5),  # type: ignore[arg-type]
    "fraction above one": lambda: RigL(drop_fraction=1.5),
    "fraction negative": lambda: ITOP(drop_fraction=-0.1),
    "fraction nan": lambda: SET(drop_fraction=math.nan),
    "fraction a string": lambda: RigL(drop_fraction="0.3"),  # type: ignore[arg-type]
    "begin negative": lambda: ITOP(begin=-1),
    "end before the first update": lambda: RigL(end=100),
    "end at begin": lambda: SET(begin=500, end=500),
    "annealed fraction out of range": lambda: RigL(drop_fraction=2, end=1000),
    "unknown drop": lambda: SET(drop="size"),  # type: ignore[arg-type]
    "unknown growth": lambda: ITOP(growth="momentum"),  # type: ignore[arg-type]
    "negative spread": lambda: SET(grown_std=-0.1),
    "spread nan": lambda: SET(grown_std=math.nan),
    "spread infinite": lambda: SET(grown_std=math.inf),
    "spread a string": lambda: SET(grown_std="0.1"),  # type: ignore[arg-type]
    "ramp without an update": lambda: GMP(end=100),
    "ramp of zero steps": lambda: GMP(end=0),
    "ramp with a bad interval": lambda: GMP(end=100, update_interval=0),
}


@pytest.mark.parametrize("case", list(BAD))
def test_a_value_out_of_range_is_refused(case: str) -> None:
    with pytest.raises(InvalidArgumentError):
        BAD[case]()


@pytest.mark.parametrize("method", [*METHODS.values(), GMP(end=1001)], ids=repr)
def test_methods_are_plain_values(method: Method) -> None:
    assert pickle.loads(pickle.dumps(method)) == method
    assert hash(method) == hash(pickle.loads(pickle.dumps(method)))
    assert type(method).__name__ in repr(method)


# What a round does


def test_static_never_changes_anything() -> None:
    assert Static().when is None
    made = plan(Static(), layer_of([1.0, 0.0], [0.0, 9.0]))
    assert made.dropped.numel() == made.grown.numel() == 0


def test_rigl_replaces_the_smallest_weights_by_the_largest_gradients() -> None:
    layer = layer_of([0.1, -5.0, 0.2, 4.0, 0.0, 0.0, 0.0], [0, 0, 0, 0, 1.0, -3.0, 2.0])
    made = plan(RigL(drop_fraction=0.5), layer)
    assert made.dropped.tolist() == [0, 2]
    assert made.grown.tolist() == [5, 6]
    assert made.values is None


def test_rigl_leaves_a_connection_dropped_and_regrown_untouched() -> None:
    layer = layer_of([0.1, -5.0, 0.2, 4.0, 0.0, 0.0], [9.0, 0.0, 0.0, 0.0, 1.0, 0.0])
    made = plan(RigL(drop_fraction=0.5), layer)
    weight, mask, momentum = weight_of(layer), mask_of(layer), torch.full((6,), 3.0)
    commit([made], [0], weight, mask, [momentum])
    assert weight.tolist() == pytest.approx([0.1, -5.0, 0.0, 4.0, 0.0, 0.0])
    assert momentum.tolist() == [3.0, 3.0, 0.0, 3.0, 0.0, 3.0]
    assert mask.tolist() == [True, True, False, True, True, False]


def test_set_starts_a_regrown_connection_afresh() -> None:
    # Four connections, one free place: two fall, so at least one of them comes back.
    for seed in range(10):
        layer = layer_of([0.1, -0.1, 5.0, -5.0, 0.0], [0.0] * 5)
        made = plan(SET(drop_fraction=0.5), layer, seed=seed)
        assert made.dropped.tolist() == [0, 1]
        weight, mask, momentum = weight_of(layer), mask_of(layer), torch.full((5,), 3.0)
        commit([made], [0], weight, mask, [momentum])
        assert weight.tolist() == [0.0, 0.0, 5.0, -5.0, 0.0]
        assert int(mask.sum()) == 4
        assert momentum[:2].tolist() == [0.0, 0.0]
        assert momentum[2:4].tolist() == [3.0, 3.0]


def test_itop_keeps_a_connection_dropped_and_regrown() -> None:
    layer = layer_of([0.1, -0.1, 5.0, -5.0, 0.0], [0.0] * 5)
    for seed in range(10):
        made = plan(ITOP(drop_fraction=0.5), layer, seed=seed)
        assert set(made.dropped.tolist()).isdisjoint(made.grown.tolist())
        weight, mask = weight_of(layer), mask_of(layer)
        commit([made], [0], weight, mask, [])
        again = [i for i in (0, 1) if mask[i]]
        assert again
        assert all(float(weight[i]) == float(weight_of(layer)[i]) for i in again)


@pytest.mark.parametrize(("drop", "expected"), [("sign", [0, 1, 4]), ("magnitude", [0, 1, 2])])
def test_set_drops_by_sign_or_by_magnitude(drop: Any, expected: list[int]) -> None:
    layer = layer_of([0.1, 0.2, 0.3, 0.4, -5.0, -6.0, 0.0, 0.0, 0.0], [0.0] * 9)
    assert plan(SET(drop_fraction=0.5, drop=drop), layer).dropped.tolist() == expected


def test_set_draws_initial_values_only_when_asked() -> None:
    layer = layer_of([1.0, -1.0, 2.0, -2.0, 0.0, 0.0], [0.0] * 6)
    assert plan(SET(drop_fraction=0.5), layer).values is None
    values = plan(SET(drop_fraction=0.5, grown_std=0.1), layer).values
    assert values is not None
    assert values.shape == (2,)
    assert bool((values != 0).all())


@pytest.mark.parametrize("method", [m for n, m in METHODS.items() if n != "static"], ids=repr)
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_scale_of_a_layer_does_not_change_its_round(method: Method, scale: float) -> None:
    source = generator(1)
    mask = torch.rand(300, generator=source) < 0.3
    weight = torch.randn(300, generator=source, dtype=torch.float64) * mask
    gradient = torch.randn(300, generator=source, dtype=torch.float64)
    first = plan(method, view_of(weight, mask, gradient))
    second = plan(method, view_of(weight * scale, mask, gradient * scale))
    assert torch.equal(first.dropped, second.dropped)
    assert torch.equal(first.grown, second.grown)


# Gradual magnitude pruning


def test_gmp_follows_the_cubic_ramp_and_hits_the_target_at_the_last_update() -> None:
    method = GMP(end=1000, begin=200, update_interval=150)
    assert method.when.last == 950
    for step in (0, 100, 200):
        assert method.count(37, 1000, step) == 1000
    for step in range(200, 950, 150):
        remaining = (1 - Fraction(step - 200, 750)) ** 3
        assert method.count(37, 1000, step) == 37 + round(963 * remaining)
    for step in (950, 999, 1000, 10**6):
        assert method.count(37, 1000, step) == 37


@given(
    st.integers(1, 5000),
    st.integers(0, 5000),
    st.integers(1, 40),
    st.integers(0, 100),
    st.integers(1, 300),
)
def test_gmp_counts_never_rise_and_end_exactly_on_the_target(
    target: int, surplus: int, interval: int, begin: int, length: int
) -> None:
    first = begin if begin > 0 else interval
    method = GMP(end=first + length, begin=begin, update_interval=interval)
    updates = [step for step in range(first + length) if method.when.due(step)]
    counts = [method.count(target, target + surplus, step) for step in [0, *updates]]
    assert counts[0] == target + surplus
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == target
    assert updates[-1] == method.when.last


def test_gmp_with_a_single_update_prunes_at_once() -> None:
    method = GMP(end=101, begin=100)
    assert [method.count(5, 50, step) for step in (0, 99, 100, 101)] == [50, 50, 5, 5]


@pytest.mark.parametrize("numel", [2**24 + 3, 10**9 + 7])
def test_gmp_counts_are_exact_for_layers_above_two_to_the_24(numel: int) -> None:
    method = GMP(end=1001)
    assert method.count(numel, numel, 0) == numel
    assert method.count(12_345, numel, 1000) == 12_345
    assert method.count(numel - 8, numel, 500) == numel - 8 + 1  # an eighth of the surplus


def test_gmp_removes_exactly_the_smallest_weights() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=200)
    layer = view_of(torch.from_numpy(values), torch.ones(200, dtype=torch.bool))
    method = GMP(end=1001)
    made = method.plan(layer, 20, 500, generator())
    left = method.count(20, 200, 500)
    check(made, layer, left)
    assert set(made.dropped.tolist()) == set(np.argsort(np.abs(values))[: 200 - left].tolist())
    assert made.grown.numel() == 0


def test_gmp_prunes_equal_weights_to_the_exact_number() -> None:
    layer = view_of(torch.zeros(101), torch.ones(101, dtype=torch.bool))
    check(GMP(end=1001).plan(layer, 7, 1000, generator()), layer, 7)


def test_gmp_never_revives_a_connection_in_a_real_run() -> None:
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    handle = sparsewire.sparsify(
        model, optimizer, density=0.1, method=GMP(end=30, begin=5, update_interval=4)
    )
    assert handle.density() == 1.0
    x, y = torch.randn(16, 20), torch.randint(4, (16,))
    masks = handle.masks()
    for step in range(1, 35):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        after = handle.masks()
        assert not any(bool((after[name] & ~masks[name]).any()) for name in masks)
        if handle.method.when is not None and not handle.method.when.due(step):
            assert all(torch.equal(after[name], masks[name]) for name in masks)
        masks = after
        if step >= 29:
            assert sum(int(mask.sum()) for mask in masks.values()) == round(0.1 * 720)
    assert handle.updates == 7


# Whole rounds on a model


def rounds(method: Method, seed: int, reverse: bool = False, steps: int = 6) -> dict[str, Any]:
    """Masks after some rounds of a two-branch model whose layers may be defined in either order."""
    source = generator(9)
    weights = {
        name: torch.randn(12, 16, generator=source, dtype=torch.float64) for name in ("a", "b")
    }
    x = torch.randn(32, 16, generator=source, dtype=torch.float64)
    names = ("b", "a") if reverse else ("a", "b")
    model = nn.ModuleDict({n: nn.Linear(16, 12, bias=False, dtype=torch.float64) for n in names})
    with torch.no_grad():
        for name in names:
            model.get_submodule(name).get_parameter("weight").copy_(weights[name])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    handle = sparsewire.sparsify(
        model, optimizer, density=0.25, method=method, allocation="uniform", seed=seed
    )
    for _ in range(steps):
        optimizer.zero_grad()
        loss: torch.Tensor = (model["a"](x).sin() * model["b"](x).cos()).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert handle.updates > 0
    return handle.masks()


SHORT: list[Method] = [
    SET(update_interval=2),
    RigL(update_interval=2),
    ITOP(update_interval=2),
    GMP(end=6, update_interval=2),
]


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("method", SHORT, ids=repr)
def test_the_same_seed_gives_the_same_topology_and_another_seed_another(method: Method) -> None:
    assert same(rounds(method, seed=1), rounds(method, seed=1))
    if not isinstance(method, GMP):
        assert not same(rounds(method, seed=1), rounds(method, seed=2))


@pytest.mark.parametrize("method", SHORT, ids=repr)
def test_the_order_of_layers_does_not_change_their_topology(method: Method) -> None:
    assert same(rounds(method, seed=1), rounds(method, seed=1, reverse=True))


@pytest.mark.parametrize("method", SHORT, ids=repr)
def test_a_run_neither_reads_nor_moves_the_global_random_state(method: Method) -> None:
    torch.manual_seed(1)
    first = rounds(method, seed=3)
    torch.manual_seed(2)
    assert same(first, rounds(method, seed=3))
    model = nn.Linear(30, 30)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = (torch.get_rng_state(), random.getstate(), pickle.dumps(np.random.get_state()))  # noqa: NPY002
    sparsewire.sparsify(model, optimizer, density=0.2, method=method)
    for _ in range(5):
        optimizer.zero_grad()
        model(torch.ones(2, 30)).square().sum().backward()
        optimizer.step()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert pickle.dumps(np.random.get_state()) == before[2]  # noqa: NPY002


def test_two_layers_of_one_shape_get_different_topologies() -> None:
    masks = rounds(SET(update_interval=2), seed=1)
    assert not torch.equal(masks["a.weight"], masks["b.weight"])


def test_set_converges_to_no_change_of_counts_with_tiny_layers() -> None:
    # One connection per layer: the floor of 0.3 is zero, so nothing can ever move.
    model = nn.Sequential(nn.Linear(5, 1), nn.Linear(1, 5))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    handle = sparsewire.sparsify(model, optimizer, density=0.2, method=SET(update_interval=1))
    before = handle.masks()
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.ones(1, 5)).sum().backward()
        optimizer.step()
    assert handle.updates == 3
    assert same(before, handle.masks())
    assert [int(mask.sum()) for mask in before.values()] == [1, 1]


EXTREMES: dict[str, Callable[[], tuple[nn.Module, torch.Tensor]]] = {
    "1x1 convolution": lambda: (nn.Conv2d(6, 5, 1), torch.randn(2, 6, 3, 3)),
    "depthwise convolution": lambda: (nn.Conv2d(6, 6, 3, groups=6), torch.randn(2, 6, 5, 5)),
    "transposed convolution": lambda: (nn.ConvTranspose2d(4, 3, 3), torch.randn(2, 4, 3, 3)),
    "single output": lambda: (nn.Linear(11, 1), torch.randn(3, 11)),
    "single input": lambda: (nn.Linear(1, 11), torch.randn(3, 1)),
    "single weight": lambda: (nn.Linear(1, 1), torch.randn(3, 1)),
}


@pytest.mark.parametrize("shape", list(EXTREMES))
@pytest.mark.parametrize("density", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("cls", DYNAMIC)
def test_counts_hold_for_every_extreme_of_shape_density_and_fraction(
    shape: str, density: float, fraction: float, cls: type[BaseDropAndGrow]
) -> None:
    model, x = EXTREMES[shape]()
    numel = model.get_parameter("weight").numel()
    density = max(density, 1 / numel)  # zero stands for one connection
    make: Any = cls
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    handle = sparsewire.sparsify(
        model, optimizer, density=density, method=make(update_interval=1, drop_fraction=fraction)
    )
    for _ in range(4):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
        mask = handle.masks()["weight"]
        assert int(mask.sum()) == round(density * numel)
        assert bool((model.get_parameter("weight")[~mask] == 0).all())
    assert handle.updates == 4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("cls", DYNAMIC)
def test_half_and_double_precision_weights_keep_their_counts_and_type(
    dtype: torch.dtype, cls: type[BaseDropAndGrow]
) -> None:
    model = nn.Linear(20, 15).to(dtype)
    make: Any = cls
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    handle = sparsewire.sparsify(model, optimizer, density=0.2, method=make(update_interval=1))
    start = handle.masks()["weight"]
    for _ in range(5):
        optimizer.zero_grad()
        model(torch.ones(2, 20, dtype=dtype)).square().mean().backward()
        optimizer.step()
        assert int(handle.masks()["weight"].sum()) == 60
    assert model.weight.dtype == dtype
    assert not torch.equal(start, handle.masks()["weight"])


def test_a_channels_last_model_evolves_like_a_contiguous_one() -> None:
    masks = []
    for layout in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Conv2d(8, 6, 3)).double()
        model = model.to(memory_format=layout)  # type: ignore[call-overload]
        optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
        handle = sparsewire.sparsify(model, optimizer, density=0.3, method=SET(update_interval=1))
        x = torch.randn(2, 4, 8, 8, generator=generator(), dtype=torch.float64)
        for _ in range(4):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            optimizer.step()
        masks.append(handle.masks())
        assert all(
            bool((model.get_parameter(name)[~mask] == 0).all()) for name, mask in masks[-1].items()
        )
    assert same(masks[0], masks[1])
