"""Does an update on demand see the gradient it is given and leave the network in order?"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import sparsewire
from sparsewire.core import NonFiniteError, SparseLinear, SparsityHandle, StateError
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
def test_growth_sees_the_dense_gradient_of_the_given_loss(storage: str) -> None:
    model, handle = sparse_line(storage, sparsewire.RigL(begin=NEVER, drop_fraction=0.5))
    x = torch.randn(7, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    before = handle.masks()["0.weight"]
    layer = model[0]
    dense = layer.to_dense() if isinstance(layer, SparseLinear) else layer
    assert isinstance(dense, nn.Linear)
    weight = dense.weight.detach().clone().requires_grad_()
    (x @ weight.T - 1).square().sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None

    update_topology(handle, loss_on(model, x))

    after = handle.masks()["0.weight"]
    magnitudes = torch.where(before, weight.detach().abs(), torch.inf).flatten()
    count = int(before.sum()) // 2
    dropped = magnitudes.argsort()[:count]
    kept = before.flatten().clone()
    kept[dropped] = False
    score = weight.grad.abs().flatten().masked_fill(kept, -1)
    kept[score.argsort(descending=True)[:count]] = True
    assert torch.equal(after.flatten(), kept)
    assert handle.updates == 1
    assert handle.step == 0


@pytest.mark.parametrize("storage", STORAGES)
def test_without_a_loss_random_growth_keeps_the_count_and_gradients_are_gone(storage: str) -> None:
    model, handle = sparse_line(storage, sparsewire.SET(begin=NEVER, drop_fraction=0.5))
    x = torch.ones(2, 12, dtype=torch.float64)
    loss_on(model, x)().backward()  # type: ignore[no-untyped-call]
    before = handle.masks()["0.weight"]
    update_topology(handle)
    after = handle.masks()["0.weight"]
    assert int(before.sum()) == int(after.sum())
    assert not torch.equal(before, after)
    assert all(p.grad is None for p in model.parameters())


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


def test_a_gradient_that_is_not_finite_changes_nothing() -> None:
    model, handle = sparse_line("masked", sparsewire.RigL(begin=NEVER))
    before = handle.masks()["0.weight"]
    with pytest.raises(NonFiniteError, match="gradient"):
        update_topology(handle, lambda: model(torch.full((1, 12), torch.nan).double()).sum())
    assert torch.equal(handle.masks()["0.weight"], before)
    assert handle.updates == 0


def test_a_finalized_handle_is_refused() -> None:
    _, handle = sparse_line("masked", sparsewire.SET(begin=NEVER))
    handle.finalize()
    with pytest.raises(StateError, match="finalized"):
        update_topology(handle)
