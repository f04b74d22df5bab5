"""GraNet: an exact density ramp on which the largest gradients come back."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparsewire.core import GMP, GraNet, InvalidArgumentError, sparsify
from sparsewire.core.criteria import DenseGradient, LayerView
from sparsewire.core.methods import Method, resolve_method
from sparsewire.core.topology import LayerPlan, check


def layer_of(active: int, numel: int, seed: int, *, gradient: bool = True) -> LayerView:
    generator = torch.Generator().manual_seed(seed)
    positions = torch.randperm(numel, generator=generator)[:active].sort().values
    values = torch.randn(active, generator=generator)
    dense = DenseGradient(torch.randn(numel, generator=generator)) if gradient else None
    return LayerView("layer", (numel,), positions, values, dense)


def plan(method: Method, layer: LayerView, target: int, step: int) -> LayerPlan:
    return method.plan(layer, target, step, torch.Generator().manual_seed(0))


@given(st.integers(2, 400), st.integers(0, 300), st.integers(0, 100), st.integers(0, 9))
def test_every_plan_is_sound_and_hits_the_ramp(
    target: int, surplus: int, step: int, seed: int
) -> None:
    method, numel = GraNet(end=101, update_interval=10), target + surplus
    present = method.count(target, numel, max(0, step - 10))
    layer = layer_of(present, numel, seed)
    check(plan(method, layer, target, step), layer, method.count(target, numel, step))


def test_the_smallest_go_and_the_largest_gradients_come() -> None:
    method = GraNet(end=101, update_interval=10)
    layer = layer_of(300, 400, seed=0)
    step, target = 50, 100
    count = method.count(target, 400, step)
    back = math.floor(0.5 * (1 + math.cos(math.pi * 50 / 101)) / 2 * count)
    order = layer.values.abs().argsort()
    staying = set(layer.active[order[300 - count + back :]].tolist())
    assert layer.gradient is not None
    [(_, gradient)] = layer.gradient.blocks()
    candidates = [p for p in gradient.abs().argsort(descending=True).tolist() if p not in staying]
    made = plan(method, layer, target, step)
    left = (set(layer.active.tolist()) - set(made.dropped.tolist())) | set(made.grown.tolist())
    assert left == staying | set(candidates[:back])


def test_without_a_gradient_it_only_prunes() -> None:
    made = plan(
        GraNet(end=101, update_interval=10),
        layer_of(300, 300, 0, gradient=False),
        target=100,
        step=50,
    )
    assert made.grown.numel() == 0


def test_the_density_is_that_of_gradual_magnitude_pruning() -> None:
    granet, gmp = GraNet(end=901, update_interval=100), GMP(end=901)
    assert [granet.count(7, 99, t) for t in range(1000)] == [
        gmp.count(7, 99, t) for t in range(1000)
    ]


def test_a_model_ends_at_the_density_asked_for() -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(20, 20)
    optimizer = torch.optim.Adam(model.parameters())
    method = GraNet(end=21, update_interval=5)
    handle = sparsify(model, optimizer, density=0.25, method=method, seed=0)
    densities = []
    for _ in range(25):
        optimizer.zero_grad()
        torch.autograd.backward(model(torch.randn(8, 20)).square().mean())
        optimizer.step()
        densities.append(handle.density())
    assert densities[0] == 1.0
    assert densities == sorted(densities, reverse=True)
    assert densities[-1] == 0.25
    assert handle.summary().layers[0].grown > 0


def test_granet_by_name_asks_for_the_end_of_the_ramp() -> None:
    with pytest.raises(InvalidArgumentError, match=r"GraNet\(end=number_of_steps\)"):
        resolve_method("granet")


@pytest.mark.parametrize(
    "arguments",
    [{"end": 0}, {"end": 1000}, {"end": 5000, "drop_fraction": 1.5}, {"end": 5000, "begin": -1}],
)
def test_a_value_out_of_range_is_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(InvalidArgumentError):
        GraNet(**arguments)  # type: ignore[arg-type]
