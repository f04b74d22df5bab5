"""Without a preset, and with a density of 1, the algorithms are Stable-Baselines3's, bit by bit."""

import functools
from typing import Any

import numpy as np
import pytest
import torch

from tests.rl.helpers import (
    PRESETS,
    Generators,
    assert_same_tensors,
    generators,
    sparse_agent,
    stock_agent,
    tensors_of,
    train_on,
)

UPDATES = [pytest.param(120, id="120"), pytest.param(500, id="500", marks=pytest.mark.slow)]
WIDE: dict[str, Any] = {"policy_kwargs": {"net_arch": [256, 256]}, "batch_size": 100}
EVERYTHING = {"layers": ["input", "hidden", "output"], "density": 1.0}


def trained(model: Any, updates: int) -> Any:
    return model.learn(20 + updates)


@functools.cache
def stock_result(algorithm: str, updates: int) -> tuple[dict[str, torch.Tensor], Generators]:
    tensors = tensors_of(trained(stock_agent(algorithm), updates))
    return tensors, generators()


def assert_stock(model: Any, algorithm: str, updates: int) -> None:
    """All tensors but the masks, and the global generators, are those of the stock class."""
    tensors, state = stock_result(algorithm, updates)
    trained(model, updates)
    after = generators()
    assert_same_tensors(tensors, without_masks(model))
    assert torch.equal(after[0], state[0])
    assert np.array_equal(after[1], state[1])


def without_masks(model: Any) -> dict[str, torch.Tensor]:
    return {name: t for name, t in tensors_of(model).items() if not name.endswith("_mask")}


@pytest.mark.parametrize("updates", UPDATES)
@pytest.mark.parametrize("algorithm", ["td3", "sac", "ddpg"])
def test_without_a_preset_it_is_stable_baselines3(algorithm: str, updates: int) -> None:
    stock_result(algorithm, updates)
    ours = sparse_agent(algorithm, None)
    assert_stock(ours, algorithm, updates)
    assert type(ours.policy) is type(stock_agent(algorithm).policy)
    assert not ours.critic.optimizer._optimizer_step_pre_hooks
    assert ours._n_updates == updates


@pytest.mark.parametrize("updates", UPDATES)
@pytest.mark.parametrize("preset", [p for p in PRESETS if p != "rlx2"])
@pytest.mark.parametrize("algorithm", ["td3", "sac"])
def test_density_one_is_the_stock_algorithm(algorithm: str, preset: str, updates: int) -> None:
    stock_result(algorithm, updates)
    ours = sparse_agent(algorithm, preset, EVERYTHING)
    assert len(tensors_of(ours)) > len(without_masks(ours))
    assert_stock(ours, algorithm, updates)


@pytest.mark.parametrize("algorithm", ["td3", "sac"])
def test_density_one_is_the_stock_algorithm_with_four_gradient_steps(algorithm: str) -> None:
    options = {"gradient_steps": 4, "train_freq": 4}
    stock = trained(stock_agent(algorithm, **options), 100)
    ours = trained(sparse_agent(algorithm, "anf", {"density": 1.0}, **options), 100)
    assert_same_tensors(tensors_of(stock), without_masks(ours))


@pytest.mark.parametrize("algorithm", ["td3", "sac"])
def test_a_static_agent_is_a_hand_written_masked_loop(algorithm: str) -> None:
    """Gradients masked by tensor hooks and weights after each step, in a stock agent."""
    ours = sparse_agent(algorithm, "static", {"layers": ["input", "hidden"]})
    ours.learn(21)
    stock = stock_agent(algorithm)
    masks = {
        n.removesuffix("_mask"): m for n, m in ours.policy.state_dict().items() if "_mask" in n
    }
    parameters = dict(stock.policy.named_parameters())
    with torch.no_grad():
        for name, mask in masks.items():
            parameters[name].mul_(mask)

    def mask_again(optimizer: torch.optim.Optimizer, *_: object) -> None:
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        with torch.no_grad():
            for name, mask in masks.items():
                if id(parameters[name]) in held:
                    parameters[name].mul_(mask)

    for name, mask in masks.items():
        parameters[name].register_hook(lambda grad, mask=mask: grad * mask)
    for network in (stock.actor, stock.critic):
        network.optimizer.register_step_post_hook(mask_again)
    stock.learn(21)
    for step in range(40):
        for model in (ours, stock):
            train_on(model, 1, step)
    for name, value in stock.policy.named_parameters():
        assert torch.equal(value, dict(ours.policy.named_parameters())[name]), name


@pytest.mark.parametrize("interval", [2, 5])
def test_target_update_interval_agrees_with_stock_sac_where_that_counts_right(
    interval: Any,
) -> None:
    options = {"gradient_steps": 10, "train_freq": 10, "target_update_interval": interval}
    stock = trained(stock_agent("sac", **options), 60)
    ours = trained(sparse_agent("sac", None, **options), 60)
    assert_same_tensors(tensors_of(stock), tensors_of(ours))


@pytest.mark.parametrize("preset", [None, "ds"])
@pytest.mark.parametrize("gradient_steps", [1, 3])
def test_hard_target_updates_happen_every_interval(preset: str | None, gradient_steps: int) -> None:
    model = sparse_agent("sac", preset, tau=1.0, target_update_interval=7)
    model.learn(21)
    for _ in range(30):
        before = [p.clone() for p in model.critic_target.parameters()]
        done = model._n_updates
        model.train(gradient_steps, 16)
        due = any(step % 7 == 0 for step in range(done, done + gradient_steps))
        after = list(model.critic_target.parameters())
        same = all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
        assert same is not due
        if due and preset is None and (model._n_updates - 1) % 7 == 0:
            online = list(model.critic.parameters())
            assert all(torch.equal(a, b) for a, b in zip(after, online, strict=True))
    assert model.tau == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["td3", "sac"])
def test_wide_networks_are_the_stock_ones_too(algorithm: str) -> None:
    stock = tensors_of(trained(stock_agent(algorithm, **WIDE), 500))
    for preset, density in ((None, None), ("ds", EVERYTHING), ("anf", EVERYTHING)):
        ours = sparse_agent(algorithm, preset, density, **WIDE)  # seeds the global generators
        assert_same_tensors(stock, without_masks(trained(ours, 500)))
