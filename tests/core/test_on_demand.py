"""Does an update on demand leave the network in order?"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import sparsewire
from sparsewire.core import SparseLinear, SparsityHandle, StateError
from sparsewire.core.on_demand import update_topology

NEVER = 10**9
STORAGES = ["masked", "csr"]


def sparse_line(
    storage: str, method: sparsewire.core.Method, momentum: float = 0.9
) -> tuple[nn.Sequential, SparsityHandle]:
    model = nn.Sequential(nn.Linear(12, 10, bias=False)).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=momentum)
    handle = sparsewire.sparsify(
        model,
        optimizer,
        density=0.3,
        method=method,
        storage=storage,  # type: ignore[arg-type]
        seed=3,
    )
    generator = torch.Generator().manual_seed(0)
    handle.initialize(lambda _, count: torch.randn(count, generator=generator, dtype=torch.float64))
    return model, handle


def loss_on(model: nn.Module, x: Tensor) -> Callable[[], Tensor]:
    return lambda: (model(x) - 1).square().sum()


@pytest.mark.parametrize("storage", STORAGES)
def test_random_growth_keeps_the_count(storage: str) -> None:
    _, handle = sparse_line(storage, sparsewire.SET(begin=NEVER, drop_fraction=0.5))
    before = handle.masks()["0.weight"]
    update_topology(handle)
    after = handle.masks()["0.weight"]
    assert int(before.sum()) == int(after.sum())
    assert not torch.equal(before, after)
    assert handle.updates == 1
    assert handle.step == 0


@pytest.mark.parametrize("storage", STORAGES)
def test_momentum_of_what_changed_starts_afresh_and_training_goes_on(storage: str) -> None:
    model, handle = sparse_line(storage, sparsewire.SET(begin=NEVER, drop_fraction=0.5))
    x = torch.ones(2, 12, dtype=torch.float64)
    for _ in range(3):
        handle.optimizer.zero_grad()
        loss_on(model, x)().backward()  # type: ignore[no-untyped-call]
        handle.optimizer.step()
        before = handle.masks()["0.weight"]
        update_topology(handle)
        new = handle.masks()["0.weight"] & ~before
        (weight,) = model.parameters()
        momentum = handle.optimizer.state[weight]["momentum_buffer"]
        if isinstance(layer := model[0], SparseLinear):
            dense = torch.zeros(layer.shape, dtype=torch.float64).flatten()
            order = layer.index.order()
            taken = momentum if order is None else momentum[torch.from_numpy(order).long()]
            dense[layer.positions()] = taken
            momentum = dense.view(layer.shape)
        assert not bool(momentum[new].any())
    handle.verify()
    assert handle.step == 3
    assert handle.updates == 3


def test_growth_by_a_gradient_that_nobody_brings_changes_nothing() -> None:
    _, handle = sparse_line("masked", sparsewire.RigL(begin=NEVER))
    before = handle.masks()["0.weight"]
    update_topology(handle)
    assert torch.equal(handle.masks()["0.weight"], before)


def test_a_finalized_handle_is_refused() -> None:
    _, handle = sparse_line("masked", sparsewire.SET(begin=NEVER))
    handle.finalize()
    with pytest.raises(StateError, match="finalized"):
        update_topology(handle)
