"""Which layers form a chain, and which models are refused."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsewire.continual.chain import Chain
from sparsewire.core.errors import InvalidArgumentError, UnknownLayerError, UnsupportedError


def described(model: nn.Module, layers: list[str] | None = None) -> list[tuple[str, int, Any]]:
    links = Chain.discover(model, layers).links
    return [(link.name, link.block, link.grid(model).shape) for link in links]


class Functional(nn.Module):
    """A convolutional network as people write it, with everything but layers in `forward`."""

    def __init__(self, view: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.view = view
        self.head = nn.Linear(20, 5)  # defined first, used last
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 6, 3)
        self.norm2, self.norm1 = nn.BatchNorm2d(6), nn.BatchNorm2d(4)
        self.hidden = nn.Linear(24, 20)

    def forward(self, x: Tensor) -> Any:
        x = F.max_pool2d(F.relu(self.norm1(self.conv1(x))), 2)
        x = F.relu(self.norm2(self.conv2(x)))
        x = F.dropout(self.hidden(self.view(x)).relu(), 0.5, self.training)
        return self.head(x)


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.view(x.size(0), -1),
        lambda x: x.view(-1, x.shape[1] * x.shape[2] * x.shape[3]),
        lambda x: torch.flatten(x, 1),
        lambda x: x.flatten(1),
        lambda x: x.reshape(x.size()[0], x.numel() // x.size(0)),
    ],
)
def test_the_order_is_that_of_use_however_the_map_is_flattened(
    view: Callable[[Tensor], Tensor],
) -> None:
    model = Functional(view)
    chain = Chain.discover(model)
    assert chain.has_head
    assert described(model) == [
        ("conv1", 9, (4, 1)),
        ("conv2", 9, (6, 4)),
        ("hidden", 4, (20, 6)),
        ("head", 1, (5, 20)),
    ]
    norm = ("weight", "bias", "running_mean", "running_var")
    assert set(chain.links[0].vectors) == {("conv1", "bias"), *(("norm1", key) for key in norm)}
    assert set(chain.links[1].vectors) == {("conv2", "bias"), *(("norm2", key) for key in norm)}
    assert chain.links[3].vectors == (("head", "bias"),)


def test_named_layers_of_a_traceable_model_keep_their_own_normalisation() -> None:
    model = Functional(lambda x: x.flatten(1))
    named = Chain.discover(model, ["conv1", "conv2", "hidden", "head"])
    assert named == Chain.discover(model)


def test_pooling_to_one_value_per_channel_leaves_single_weights() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
    )
    assert described(model) == [("0", 9, (8, 3)), ("3", 1, (2, 8))]


def test_other_dimensions_of_convolution_and_vectors_per_unit() -> None:
    model = nn.Sequential(
        nn.Conv1d(2, 4, 3), nn.PReLU(4), nn.Flatten(), nn.Linear(20, 4, bias=False), nn.PReLU()
    )
    chain = Chain.discover(model)
    assert [link.block for link in chain.links] == [3, 5]
    assert chain.links[0].vectors == (("0", "bias"), ("1", "weight"))
    assert chain.links[1].vectors == ()


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.first(x).relu()
        return self.last(x + self.second(x).relu())


class Joined(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 8), nn.Linear(4, 8), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Any:
        return self.last(torch.cat([self.first(x), self.second(x)], 1))


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.first(x)
        return self.last(x * x.mean(1, keepdim=True))


@pytest.mark.parametrize("kind", [Residual, Joined, Gated])
def test_models_that_branch_are_refused_with_advice(kind: type[nn.Module]) -> None:
    with pytest.raises(UnsupportedError, match=r"branches at .*layers=\[\.\.\.\]"):
        Chain.discover(kind())


def test_a_part_of_a_model_that_branches_can_be_named() -> None:
    assert described(Residual(), ["second", "last"]) == [
        ("second", 1, (8, 8)),
        ("last", 1, (3, 8)),
    ]
    assert described(Residual(), ["first", "last"]) == [("first", 1, (8, 4)), ("last", 1, (3, 8))]


def test_names_that_are_no_layers_are_refused() -> None:
    with pytest.raises(UnknownLayerError, match=r"'frist'.*Did you mean 'first'"):
        Chain.discover(Residual(), ["frist", "last"])
    with pytest.raises(UnknownLayerError, match="no linear or convolutional layer"):
        Chain.discover(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)), ["0", "1"])
    with pytest.raises(InvalidArgumentError, match="once"):
        Chain.discover(Residual(), ["first", "first"])
    with pytest.raises(UnsupportedError, match="8 outputs"):
        Chain.discover(nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 5), nn.Linear(5, 2)), ["0", "2"])


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.same, self.last = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        return self.last(self.same(self.same(x).relu()).relu())


def test_a_layer_that_is_used_twice_has_no_single_place() -> None:
    with pytest.raises(UnsupportedError, match="same is used 2 times"):
        Chain.discover(Twice())


@pytest.mark.parametrize(
    "mixing",
    [
        nn.LayerNorm(8),
        nn.GroupNorm(2, 8),
        nn.Sequential(nn.Unflatten(1, (8, 1)), nn.ConvTranspose1d(8, 8, 1), nn.Flatten()),
        nn.Sequential(nn.LayerNorm(8), nn.ReLU()),
    ],
)
def test_what_mixes_the_units_of_all_tasks_is_refused(mixing: nn.Module) -> None:
    with pytest.raises(UnsupportedError, match="mixes the units of all tasks"):
        Chain.discover(nn.Sequential(nn.Linear(4, 8), mixing, nn.Linear(8, 3)))


def test_other_models_that_are_no_chain_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="1 linear or convolutional"):
        Chain.discover(nn.Sequential(nn.Linear(4, 8), nn.ReLU()))
    with pytest.raises(UnsupportedError, match="0 linear or convolutional"):
        Chain.discover(nn.ReLU())
    with pytest.raises(UnsupportedError, match="grouped"):
        Chain.discover(
            nn.Sequential(nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 1, groups=2), nn.Conv2d(4, 2, 1))
        )
    with pytest.raises(UnsupportedError, match="9 inputs, but 0 before it has 4"):
        Chain.discover(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(9, 2)))


class Untraceable(nn.Module):
    """Control flow on values, which a graph cannot hold."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        if x.sum() > 0:
            x = -x
        return self.last(self.first(x).relu())


def test_a_model_that_cannot_be_traced_is_taken_as_defined() -> None:
    chain = Chain.discover(Untraceable())
    assert chain.has_head
    assert [link.name for link in chain.links] == ["first", "last"]


class Heads(nn.Module):
    """A head per task, chosen by a label."""

    def __init__(self, tasks: int = 2) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({str(i): nn.Linear(8, 2) for i in range(tasks)})
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor, task: int = 0) -> Any:
        return self.heads[str(task)](self.second(self.first(x).relu()).relu())


def test_heads_by_task_lie_behind_the_chain() -> None:
    chain = Chain.discover(Heads())
    assert not chain.has_head
    assert [link.name for link in chain.links] == ["first", "second"]


def test_task_labels_that_are_not_used_are_no_branch() -> None:
    class Labelled(Untraceable):
        def forward(self, x: Tensor, labels: Tensor | None = None) -> Any:
            return self.last(self.first(x).relu())

    assert Chain.discover(Labelled()).has_head
