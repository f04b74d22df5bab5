"""Do region kernels compute what masked kernels of full length compute, at the exact counts?"""

import itertools

import pytest
import torch
from torch.nn import functional as F

from sparsewire.timeseries.dsn.network import DSNNetwork, pooling
from sparsewire.timeseries.dsn.regions import (
    Padding,
    PadValue,
    RegionConv,
    active_taps,
    region_lengths,
)
from tests.timeseries.dsn.helpers import architecture, sparse_network

PADDINGS: list[Padding] = ["centre", "right", "same"]
VALUES: list[PadValue] = ["zero", "replicate"]
MODES = list(itertools.product(PADDINGS, VALUES))


def test_the_counts_of_the_paper_s_network_are_exact() -> None:
    _, handle = sparse_network(architecture())
    masks = list(handle.masks().values())
    assert [int(m.sum()) for m in masks[:6]] == [122, 244, 366, 5743, 11486, 17230]
    assert sum(int(m.sum()) for m in masks[:3]) == 732
    for block in (1, 2, 3):
        assert sum(int(m.sum()) for m in masks[3 * block : 3 * block + 3]) == 34459


@pytest.mark.parametrize("density", [0.1, 0.2, 0.5])
def test_two_thirds_of_the_full_kernels_lie_in_regions(density: float) -> None:
    active = sum(active_taps(300, 1, r, density) for r in region_lengths(39, 3))
    assert active / (900 * 39) == pytest.approx(density * 2 / 3, abs=1e-4)


def test_the_floor_of_a_count_is_not_spoiled_by_binary_fractions() -> None:
    assert 0.29 * 100 < 29
    assert active_taps(10, 10, 1, 0.29) == 29


def window(x: torch.Tensor, time: int, first: int, length: int, value: PadValue) -> torch.Tensor:
    """Return the samples a kernel sees, one by one."""
    columns = []
    for place in range(time + first, time + first + length):
        inside = min(max(place, 0), x.shape[1] - 1)
        column = x[:, inside]
        columns.append(column if inside == place or value == "replicate" else 0 * column)
    return torch.stack(columns, dim=1)


@pytest.mark.parametrize(("padding", "value"), MODES)
@pytest.mark.parametrize("kernel_size", [9, 12])
def test_a_region_convolution_equals_a_loop_over_time_steps(
    padding: Padding, value: PadValue, kernel_size: int
) -> None:
    torch.manual_seed(0)
    conv = RegionConv(2, 3, kernel_size, 3, padding, value)
    x = torch.randn(2, 2, 1, 7)
    found = conv(x, None)
    assert found.shape == (2, 9, 1, 7)
    third = kernel_size // 3
    for group, time in itertools.product(range(3), range(7)):
        length = third * (group + 1)
        first = {"centre": -((length - 1) // 2), "right": 0, "same": -((kernel_size - 1) // 2)}
        weight: torch.Tensor = conv.groups[group].weight  # type: ignore[assignment]
        for b in range(2):
            seen = window(x[b, :, 0], time, first[padding], length, value)
            expected = (weight[:, :, 0] * seen).sum(dim=(1, 2))
            torch.testing.assert_close(found[b, 3 * group : 3 * group + 3, 0, time], expected)


@pytest.mark.parametrize("value", VALUES)
def test_right_padding_equals_masked_kernels_of_full_length(value: PadValue) -> None:
    torch.manual_seed(0)
    conv = RegionConv(4, 5, 39, 3, "right", value)
    full = torch.zeros(15, 4, 39)
    for group, one in enumerate(conv.groups):
        full[5 * group : 5 * group + 5, :, : 13 * (group + 1)] = one.weight[:, :, 0]  # type: ignore[index]
    x = torch.randn(3, 4, 50)
    padded = F.pad(x, (0, 38), mode="constant" if value == "zero" else "replicate")
    torch.testing.assert_close(conv(x[:, :, None], None)[:, :, 0], F.conv1d(padded, full))


@pytest.mark.parametrize("length", [1, 3, 8, 50, 51, 150])
def test_pooling_is_adaptive_average_pooling(length: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, length)
    torch.testing.assert_close(x @ pooling(x, None), F.adaptive_avg_pool1d(x, 50))


@pytest.mark.parametrize(("padding", "value"), MODES)
def test_trailing_padding_changes_nothing(padding: Padding, value: PadValue) -> None:
    shape = architecture(
        n_channels=2, n_filters=4, kernel_size=12, padding=padding, pad_value=value
    )
    network, _ = sparse_network(shape)
    network.eval()
    torch.manual_seed(0)
    short, long = torch.randn(1, 2, 11), torch.randn(1, 2, 40)
    both = torch.zeros(2, 2, 40)
    both[0, :, :11], both[1] = short[0], long[0]
    together = network(both, torch.tensor([11, 40]))
    torch.testing.assert_close(together, torch.cat([network(short), network(long)]))


def test_statistics_in_training_come_from_the_series_own_steps() -> None:
    shape = architecture(n_filters=4, kernel_size=9, depth=2)
    torch.manual_seed(0)
    series = torch.randn(4, 1, 12)
    plain, _ = sparse_network(shape)
    padded, _ = sparse_network(shape)
    wide = F.pad(series, (0, 9))
    ends = torch.full((4,), 12)
    torch.testing.assert_close(padded(wide, ends), plain(series))
    for (name, a), b in zip(padded.state_dict().items(), plain.state_dict().values(), strict=True):
        if not name.endswith("num_batches_tracked"):  # unused where there is a momentum
            torch.testing.assert_close(a, b, msg=name)


def test_making_a_network_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    DSNNetwork(architecture()).draw_(0)
    assert torch.equal(torch.get_rng_state(), before)
