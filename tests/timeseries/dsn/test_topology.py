"""Do explorations move the right taps, and as many as the paper says?"""

import math
from typing import Any, Literal

import pytest
import torch

from sparsewire.core.criteria import LayerView
from sparsewire.timeseries.dsn.topology import Exploration
from tests.timeseries.dsn.helpers import architecture, sparse_network


def test_left_taps_are_active_first_ordered_by_tap_then_output_then_input() -> None:
    _, handle = sparse_network(architecture(n_filters=5))
    for name, mask in handle.masks().items():
        in_order = mask[:, :, 0].permute(2, 0, 1).flatten()
        count = int(in_order.sum())
        assert bool(in_order[:count].all()), name


def test_random_taps_are_spread_over_the_region() -> None:
    _, handle = sparse_network(architecture(), init="random")
    mask = handle.masks()["blocks.1.regions.groups.2.weight"]
    shares = mask.float().mean(dim=(0, 1, 2))
    assert bool(((shares - 0.2).abs() < 0.04).all())


def test_initial_weights_have_the_bound_of_full_length_kernels() -> None:
    network, _ = sparse_network(architecture())
    for name, conv in network.region_convs:
        weight = conv.weight.detach()
        values = weight[weight != 0].abs()
        bound = 1 / math.sqrt(conv.in_channels * 39)
        assert 0.9 * bound < float(values.max()) <= bound, name


@pytest.mark.parametrize(("options", "dense"), [({"topology": "dense"}, True), ({}, False)])
def test_only_the_dense_topology_has_all_taps(options: dict[str, Any], dense: bool) -> None:
    _, handle = sparse_network(architecture(n_filters=4), **options)
    assert (handle.density() == 1.0) is dense


def test_kernels_of_less_than_five_taps_stay_dense() -> None:
    _, handle = sparse_network(architecture(n_filters=4, kernel_size=4))
    assert handle.density() == 1.0
    _, handle = sparse_network(architecture(n_filters=4, kernel_size=5))
    assert handle.density() < 1.0


def test_the_drop_fraction_falls_by_a_cosine_and_then_stays() -> None:
    schedule = Exploration(steps_per_epoch=10, n_epochs=100).schedule
    assert schedule(0) == 0.5
    assert schedule(400) == pytest.approx(0.2505)
    assert schedule(800) == schedule(1000) == 0.001


@pytest.mark.parametrize("growth", ["random", "gradient"])
def test_a_hundred_explorations_keep_counts_and_exact_zeros(
    growth: Literal["random", "gradient"],
) -> None:
    exploration = Exploration(1, 500, growth=growth)
    network, handle = sparse_network(architecture(n_filters=3, kernel_size=9, depth=2), exploration)
    before = {name: int(mask.sum()) for name, mask in handle.masks().items()}
    torch.manual_seed(0)
    for _ in range(501):
        handle.optimizer.zero_grad()
        torch.autograd.backward(network(torch.randn(4, 1, 20)).square().sum())
        handle.optimizer.step()
    assert handle.updates == 100
    for name, mask in handle.masks().items():
        assert int(mask.sum()) == before[name]
        assert not network.get_parameter(name)[~mask].any()
    assert handle.exploration_rate() > handle.density()


def layer(values: list[float]) -> LayerView:
    active = torch.arange(len(values))
    return LayerView("l", (1, 1, 1, 4000), active, torch.tensor(values))


def test_the_smallest_taps_go_and_their_number_is_rounded_up() -> None:
    method = Exploration(10, 100, drop_fraction=0.3)
    fraction = method.schedule(51)
    assert 0.2 < fraction < 0.3
    generator = torch.Generator().manual_seed(1)
    plan = method.plan(layer([5.0, 0.1, -3.0, 0.2]), 4, 51, generator)
    assert plan.dropped.tolist() == [1, 3]  # ceil(0.29... * 4) = 2
    assert plan.grown.numel() == 2
    last = method.plan(layer([5.0, 0.1, -3.0, 0.2]), 4, 951, generator)
    assert last.dropped.tolist() == [1]  # ceil(0.001 * 4): exploration never stops


def test_a_tap_dropped_and_grown_at_once_keeps_its_weight() -> None:
    exploration = Exploration(1, 10, drop_fraction=0.9)
    network, handle = sparse_network(
        architecture(n_filters=2, kernel_size=6, depth=1), exploration, density=0.9
    )
    handle.optimizer.param_groups[0]["lr"] = 0.0  # so that only explorations change weights
    name = "blocks.0.regions.groups.2.weight"
    before = network.get_parameter(name).detach().clone()
    for _ in range(6):
        handle.optimizer.zero_grad()
        torch.autograd.backward(network(torch.ones(2, 1, 10)).square().sum())
        handle.optimizer.step()
    after = network.get_parameter(name).detach()
    kept = handle.masks()[name] & (before != 0)
    assert handle.updates == 1
    assert 0 < int(kept.sum()) < before.count_nonzero()
    assert torch.equal(after[kept], before[kept])
    assert not after[~kept].any()
