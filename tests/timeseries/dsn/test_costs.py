"""Are the theoretical costs those of the literature and of the engine?"""

import pytest
import torch

from sparsewire.timeseries.dsn.costs import count_flops
from tests.timeseries.dsn.helpers import architecture, sparse_network


@pytest.mark.parametrize("length", [1, 150])
def test_the_costs_of_the_paper_s_network_are_those_of_the_table(length: int) -> None:
    network, _ = sparse_network(architecture())
    flops = count_flops(network, length)
    assert flops.dense == 2 * 800_739 * length
    assert flops.regions == 2 * 540_453 * length
    assert flops.sparse == 2 * 123_990 * length
    assert flops.macs_per_step == 123_990


def test_the_engine_counts_the_same_apart_from_the_head() -> None:
    network, handle = sparse_network(architecture(n_channels=3, n_filters=4))
    flops = count_flops(network, 20)
    head = 2 * 12 * 2 * 20
    summary = handle.summary(torch.zeros(1, 3, 20))
    assert summary.flops == flops.sparse + head
    assert summary.dense_flops == flops.regions + head
