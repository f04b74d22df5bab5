"""While an optimizer steps, second moments of missing connections are 1; nothing else differs."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

import sparsewire
from sparsewire.core import roots

Optimizers = dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]]
OPTIMIZERS: Optimizers = {
    "adam": (torch.optim.Adam, {"weight_decay": 1e-3}),
    "amsgrad": (torch.optim.AdamW, {"amsgrad": True}),
    "foreach": (torch.optim.Adam, {"foreach": True}),
    "fused": (torch.optim.Adam, {"fused": True}),
    "nadam": (torch.optim.NAdam, {}),
    "radam": (torch.optim.RAdam, {}),
    "rmsprop": (torch.optim.RMSprop, {"centered": True, "momentum": 0.9}),
    "adadelta": (torch.optim.Adadelta, {}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9, "lr": 0.1}),
}
Trained = tuple[nn.Module, torch.optim.Optimizer, sparsewire.SparsityHandle]


def sparsified(name: str = "adam", seed: int = 0) -> Trained:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5))
    kind, options = OPTIMIZERS[name]
    optimizer = kind(model.parameters(), **options)
    handle = sparsewire.sparsify(
        model, optimizer, density=0.2, method=sparsewire.RigL(update_interval=5), seed=1
    )
    return model, optimizer, handle


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    generator = torch.Generator().manual_seed(2)
    for _ in range(steps):
        x = torch.randn(16, 20, generator=generator)
        y = torch.randint(0, 5, (16,), generator=generator)
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(model(x), y))
        optimizer.step()


def moments(optimizer: torch.optim.Optimizer, weight: torch.Tensor) -> list[torch.Tensor]:
    state = optimizer.state[weight].values()
    return [t for t in state if isinstance(t, torch.Tensor) and t.shape == weight.shape]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_detour_changes_no_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for size in (1, 10**9):  # always, and never
        monkeypatch.setattr(roots, "_WORTH_IT", size)
        model, optimizer, handle = sparsified(name)
        train(model, optimizer, 23)
        tensors = [p.detach() for p in model.parameters()]
        for layer in (model[0], model[2]):  # type: ignore[index]
            tensors += moments(optimizer, layer.weight)
            missing = ~layer.weight_mask
            assert all(not m[missing].any() for m in moments(optimizer, layer.weight))
        results.append(tensors)
        assert handle.updates == 4
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_the_optimizer_meets_no_zero_where_a_connection_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(roots, "_WORTH_IT", 1)
    model, optimizer, handle = sparsified()
    seen = []

    def look(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        weight = model[0].weight  # type: ignore[index]
        if weight in optimizer.state:
            second = optimizer.state[weight]["exp_avg_sq"]
            seen.append(second[~handle.masks()["0.weight"]].unique().tolist())

    optimizer.register_step_pre_hook(look)
    train(model, optimizer, 4)
    assert seen == [[1.0]] * 3


def test_a_step_that_fails_leaves_nothing_behind_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roots, "_WORTH_IT", 1)
    model, optimizer, _ = sparsified()
    train(model, optimizer, 2)

    def fail() -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        optimizer.step(fail)
    train(model, optimizer, 1)
    layer = model[0]  # type: ignore[index]
    assert all(not m[~layer.weight_mask].any() for m in moments(optimizer, layer.weight))


def test_copies_carry_no_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roots, "_WORTH_IT", 1)
    model, optimizer, handle = sparsified()
    train(model, optimizer, 2)
    twin, twins_optimizer, _ = copy.deepcopy((model, optimizer, handle))
    train(model, optimizer, 7)
    train(twin, twins_optimizer, 7)
    pairs = zip(model.parameters(), twin.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
