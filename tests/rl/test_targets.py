"""Target networks against slow, obvious ones."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3.common.utils import set_random_seed

from sparsewire.rl.targets import truncate_
from tests.rl.helpers import masked_layers, sparse_agent, train_on


def truncated_slowly(values: list[float], limit: int) -> list[float]:
    """Zero one weight after the other: the smallest that is left, the first of equal ones."""
    kept = list(values)
    while sum(v != 0 for v in kept) > limit:
        smallest = min((i for i, v in enumerate(kept) if v != 0), key=lambda i: abs(kept[i]))
        kept[smallest] = 0.0
    return kept


small_numbers = st.sampled_from([0.0, -0.5, 0.5, 1.0, -1.0, 2.0, 3.5, 1e-30])


@given(
    values=st.lists(small_numbers, min_size=1, max_size=30),
    limit=st.integers(0, 30),
    bound=st.sampled_from([0.0, 1e-40, 0.5, 1.0, 100.0, float("inf")]),
)
def test_truncation_keeps_the_largest_weights(values: Any, limit: int, bound: float) -> None:
    weight = torch.tensor(values).reshape(1, -1)
    truncate_(weight, limit, bound)
    assert weight.flatten().tolist() == torch.tensor(truncated_slowly(values, limit)).tolist()


def test_truncation_keeps_exactly_the_largest_of_many() -> None:
    weight = torch.randn(50, 40)
    expected = weight.abs().flatten().sort(descending=True).values[:123]
    bound = truncate_(weight, 123)
    assert torch.equal(weight[weight != 0].abs().sort(descending=True).values, expected)
    assert truncate_(weight, 123, bound) == bound


@pytest.mark.parametrize("algorithm", ["td3", "sac"])
@pytest.mark.parametrize("gradient_steps", [1, 4])
def test_magnitude_targets_are_those_of_a_loop_that_truncates_after_each_average(
    algorithm: str, gradient_steps: int
) -> None:
    """The slow twin averages by hand and truncates by sorting, in every gradient step."""
    model = sparse_agent(algorithm, "ds")
    slow = sparse_agent(algorithm, "ds")
    for agent in (model, slow):
        set_random_seed(0)
        agent.learn(20)
    pairs = [
        (getattr(slow, f"{name}_target"), getattr(slow, name), slow.topology.handles[name])
        for name in ("actor", "critic")
        if hasattr(slow, f"{name}_target")
    ]
    slow.topology._truncations.clear()
    tau = slow.tau
    for seed in range(12):
        train_on(model, gradient_steps, seed)
        set_random_seed(seed)
        for _ in range(gradient_steps):
            slow.tau = 0.0
            slow.train(1, 32)
            slow.tau = tau
            if slow._n_updates % getattr(slow, "policy_delay", 1):
                continue
            for target, online, handle in pairs:
                average_and_truncate(target, online, handle, tau)
        for (target, _, _), name in zip(pairs, ("actor", "critic")[-len(pairs) :], strict=True):
            fast = dict(getattr(model, f"{name}_target").named_parameters())
            for key, value in target.named_parameters():
                assert torch.equal(value, fast[key]), (name, key)
    assert model.topology.events["critic"] > 0


@torch.no_grad()
def average_and_truncate(target: Any, online: Any, handle: Any, tau: float) -> None:
    for mine, theirs in zip(target.parameters(), online.parameters(), strict=True):
        mine.data.mul_(1 - tau)
        torch.add(mine.data, theirs.data, alpha=tau, out=mine.data)
    masks = handle.masks()
    for name, parameter in target.named_parameters():
        if name in masks:
            values = parameter.flatten().numpy()
            order = np.argsort(-np.abs(values), kind="stable")
            gone = order[int(masks[name].sum()) :]
            # argsort leaves the first of equal values in front, truncation drops it first.
            ties = np.abs(values[gone]) == np.abs(values[order[int(masks[name].sum()) - 1]])
            assert not (ties & (values[gone] != 0)).any()
            values[gone] = 0


def test_magnitude_targets_have_a_topology_of_their_own_after_an_event() -> None:
    model = sparse_agent("td3", "ds")
    model.learn(60)
    own = [
        bool((model.critic_target.get_submodule(name).weight[~mask] != 0).any())
        for name, _, mask in masked_layers(model.critic)
    ]
    assert all(own)


@pytest.mark.parametrize("algorithm", ["td3", "sac"])
def test_a_target_keeps_the_weights_of_connections_that_stay(algorithm: str) -> None:
    model = sparse_agent(algorithm, "anf", {"update_interval": 5, "density": 0.4})
    model.learn(20)
    train_on(model, 4, 0)
    model.tau = 0.0  # so that only the event changes the target
    name, _, mask = next(masked_layers(model.critic))
    target = model.critic_target.get_submodule(name)
    before, old = target.weight.detach().clone(), mask.clone()
    train_on(model, 1, 1)
    assert not torch.equal(mask, old)
    assert torch.equal(target.weight[mask & old], before[mask & old])
    assert not target.weight[~(mask & old)].any()
