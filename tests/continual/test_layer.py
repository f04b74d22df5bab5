"""Owners of the connections of one layer: allocation, growth of the layer, saved states."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sparsewire.continual.chain import Chain
from sparsewire.continual.layer import OwnedLayer, check_unowned
from sparsewire.core.errors import CheckpointError, StateError, TopologyError, UnsupportedError
from sparsewire.core.topology import LayerPlan


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(2, 3, 2)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.body(x).flatten(1))


def parts() -> tuple[Net, torch.optim.Optimizer, OwnedLayer, OwnedLayer]:
    model = Net()
    chain = Chain.discover(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    body, head = (OwnedLayer(link, model) for link in chain.links)
    return model, optimizer, body, head


def plan(dropped: list[int], grown: list[int]) -> LayerPlan:
    return LayerPlan("layer", torch.tensor(dropped).long(), torch.tensor(grown).long())


def test_whole_kernels_and_maps_change_hands() -> None:
    torch.manual_seed(0)
    initial = Net()
    torch.manual_seed(0)
    model, optimizer, body, head = parts()
    assert (body.grid.shape, body.grid.block) == ((3, 2), 4)
    assert (head.grid.shape, head.grid.block) == ((4, 3), 4)
    body.commit(plan([], [1, 4]), 1, optimizer, fresh=True)
    head.commit(plan([], [5]), 1, optimizer, fresh=True)
    assert body.owner.tolist() == [[0, 1], [0, 0], [1, 0]]
    for unit, channel in ((0, 1), (2, 0)):
        kernel = model.body.weight[unit, channel]
        assert torch.equal(kernel, initial.body.weight[unit, channel])
    assert model.body.weight.count_nonzero() == 8
    assert torch.equal(model.head.weight[1, 8:], initial.head.weight[1, 8:])
    assert model.head.weight.count_nonzero() == 4
    body.commit(plan([1], [0]), 1, optimizer, fresh=False)
    assert model.body.weight.count_nonzero() == 4
    assert body.owned(1).tolist() == [0, 4]
    assert body.free(torch.tensor([0, 1, 2, 4])).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("dropped", "grown", "count", "message"),
    [
        ([], [0], 2, "instead of"),
        ([], [1], 3, "active already"),
        ([], [3], 3, "others own"),
        ([3], [0], 2, "not active"),
        ([], [0, 0], 4, "repeat"),
        ([], [6], 3, "outside"),
    ],
)
def test_plans_that_break_ownership_are_refused(
    dropped: list[int], grown: list[int], count: int, message: str
) -> None:
    _, optimizer, body, _ = parts()
    body.commit(plan([], [1, 2]), 1, optimizer, fresh=True)
    body.commit(plan([], [3]), 2, optimizer, fresh=True)
    with pytest.raises(TopologyError, match=message):
        body.check(plan(dropped, grown), 1, count)
    body.check(plan([1], [1, 4]), 1, 3)  # dropped and grown again


def test_a_replaced_layer_may_gain_outputs_and_nothing_else() -> None:
    model, optimizer, _, head = parts()
    head.commit(plan([], [0, 5]), 1, optimizer, fresh=True)
    wider = nn.Linear(12, 6)
    with torch.no_grad():
        wider.weight[:4] = model.head.weight
    fresh = wider.weight[4:].detach().clone()
    model.head = wider
    assert not head.is_bound(model)
    head.bind(model)
    assert head.is_bound(model)
    assert head.owner.shape == (6, 3)
    assert head.owned(1).tolist() == [0, 5]
    assert model.head.weight.count_nonzero() == 8
    head.commit(plan([], [15]), 2, optimizer, fresh=True)
    assert torch.equal(model.head.weight[5, :4], fresh[1, :4])
    for wrong in (nn.Linear(12, 5), nn.Linear(16, 6)):
        model.head = wrong
        with pytest.raises(UnsupportedError, match="gain output units"):
            head.bind(model)


def test_a_parameter_that_is_replaced_by_a_longer_one_is_noticed() -> None:
    model, optimizer, _, head = parts()
    head.commit(plan([], [0]), 1, optimizer, fresh=True)
    model.head.weight = nn.Parameter(torch.cat([model.head.weight.detach(), torch.ones(1, 12)]))
    assert not head.is_bound(model)
    head.bind(model)
    assert model.head.weight[4].count_nonzero() == 0


def test_a_layer_has_one_mask_only() -> None:
    model, _, body, _ = parts()
    with pytest.raises(StateError, match="build the model anew"):
        check_unowned(body.link, model)


def test_saved_owners_must_be_those_of_the_loaded_weights() -> None:
    model, optimizer, body, _ = parts()
    body.commit(plan([], [1, 2]), 1, optimizer, fresh=True)
    state = body.state()
    body.check_state(state)
    other = state["owner"].clone()
    other.view(-1)[2] = 0
    for wrong in (
        {"owner": other},  # a weight that nobody owns
        {"owner": state["owner"] + 1},  # a weight that is not in the model's mask
        {"owner": state["owner"].long()},
        {"owner": state["owner"][:2]},
        {"owner": None},
        {"initial": None},
        {"initial": state["initial"].double()},
        {"initial": state["initial"][:1]},
    ):
        with pytest.raises(CheckpointError):
            body.check_state(state | wrong)
    with torch.no_grad():
        model.body.weight[0, 0] = 1
    with pytest.raises(CheckpointError, match=r"model\.state_dict"):
        body.check_state(state)
