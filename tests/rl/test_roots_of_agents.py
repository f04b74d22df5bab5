"""Roots without zeros change nothing but the time they take."""

from typing import Any

import pytest
import torch

from sparsewire.core import roots
from tests.rl.helpers import assert_same_tensors, assert_sparse, sparse_agent, tensors_of, train_on

OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "adam": (torch.optim.Adam, {"weight_decay": 2e-4}),
    "amsgrad": (torch.optim.AdamW, {"amsgrad": True}),
    "foreach": (torch.optim.Adam, {"foreach": True}),
    "fused": (torch.optim.Adam, {"fused": True}),
    "rmsprop": (torch.optim.RMSprop, {"centered": True}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9}),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_detour_changes_no_bit(optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, options = OPTIMIZERS[optimizer]
    net = {"net_arch": [24, 24], "optimizer_class": kind, "optimizer_kwargs": options}
    agents = []
    for size in (1, 10**9):  # always, and never
        monkeypatch.setattr(roots, "_WORTH_IT", size)
        agents.append(sparse_agent("td3", "ds", policy_kwargs=net))
        agents[-1].learn(20)
        for step in range(25):
            train_on(agents[-1], 1, step)
            assert_sparse(agents[-1])
    assert_same_tensors(tensors_of(agents[0]), tensors_of(agents[1]))


def test_an_optimizer_sees_ones_and_nobody_else_does() -> None:
    model = sparse_agent(
        "sac", "anf", {"density": 0.5}, env=None, policy_kwargs={"net_arch": [4096]}
    )
    weight = model.critic.qf0[0].weight
    mask = model.critic.qf0[0].weight_mask
    seen = []

    def look(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if weight in optimizer.state:
            seen.append(optimizer.state[weight]["exp_avg_sq"][~mask].unique().tolist())

    model.critic.optimizer.register_step_pre_hook(look)
    model.learn(24)
    assert seen == [[1.0]] * 3
    assert not model.critic.optimizer.state[weight]["exp_avg_sq"][~mask].any()
