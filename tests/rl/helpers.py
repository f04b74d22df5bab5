"""Small agents on Pendulum, and what has to hold for a sparse one at any time."""

from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import DDPG, SAC, TD3
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.utils import set_random_seed
from torch import Tensor, nn

from sparsewire.rl import SparseDDPG, SparseSAC, SparseTD3

SPARSE = {"td3": SparseTD3, "sac": SparseSAC, "ddpg": SparseDDPG}
STOCK = {"td3": TD3, "sac": SAC, "ddpg": DDPG}
PRESETS = ("ds", "anf", "static", "rigl", "rlx2", "gmp")

# So many events in a short run as there are in the papers' long ones.
OFTEN: dict[str, dict[str, Any]] = {
    "ds": {"update_interval": 10, "drop_fraction": 0.2},
    "anf": {"update_interval": 10, "drop_fraction": 0.2},
    "static": {},
    "rigl": {"update_interval": 10, "total_steps": 200},
    "rlx2": {"update_interval": 10, "total_steps": 200},
    "gmp": {"update_interval": 10, "total_steps": 200},
}


def arguments(algorithm: str, env: Any = None, **changes: Any) -> dict[str, Any]:
    """Arguments that stock and sparse classes share: small networks, early learning."""
    actions = np.zeros(1 if env is None else env.action_space.shape)
    noise = {"action_noise": NormalActionNoise(actions, actions + 0.1)}
    return {
        "policy": "MlpPolicy",
        "env": gym.make("Pendulum-v1") if env is None else env,
        "seed": 0,
        "learning_starts": 20,
        "buffer_size": 2000,
        "batch_size": 32,
        "policy_kwargs": {"net_arch": [24, 24]},
        **({} if algorithm == "sac" else noise),
        **changes,
    }


def sparse_agent(
    algorithm: str, preset: str | None, sparse_kwargs: Mapping[str, Any] | None = None, **more: Any
) -> Any:
    """A sparse agent with frequent events."""
    changes = None if preset is None else OFTEN[preset] | dict(sparse_kwargs or {})
    kwargs = arguments(algorithm, more.pop("env", None), **more)
    return SPARSE[algorithm](**kwargs, preset=preset, sparse_kwargs=changes)


def stock_agent(algorithm: str, **more: Any) -> Any:
    """The agent of Stable-Baselines3 with the same arguments."""
    return STOCK[algorithm](**arguments(algorithm, more.pop("env", None), **more))


def tensors_of(model: Any) -> dict[str, Tensor]:
    """All weights, target weights, masks and moments by name."""
    found = dict(model.policy.state_dict())
    for name in ("actor", "critic"):
        optimizer = getattr(model, name).optimizer
        for i, state in optimizer.state_dict()["state"].items():
            for key, value in state.items():
                if isinstance(value, Tensor):
                    found[f"{name}.optimizer.{i}.{key}"] = value
    return {name: tensor.detach().clone() for name, tensor in found.items()}


def assert_same_tensors(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    different = [name for name in a if not torch.equal(a[name], b[name])]
    assert not different


def train_on(model: Any, gradient_steps: int, seed: int) -> None:
    """Train on the buffer alone, with the global generators in a known state."""
    set_random_seed(seed)
    model.train(gradient_steps, 32)


Generators = tuple[Tensor, Any]


def generators() -> Generators:
    """The states of the global generators that Stable-Baselines3 draws from."""
    state: Any = np.random.get_state()  # noqa: NPY002
    return torch.random.get_rng_state(), state[1].copy()


def masked_layers(network: nn.Module) -> Iterator[tuple[str, nn.Linear, Tensor]]:
    """Name, module and mask of every layer that has one."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear) and hasattr(module, "weight_mask"):
            yield name, module, module.get_buffer("weight_mask")


def is_positive_zero(values: Tensor) -> bool:
    return bool((values == 0).all()) and not bool(torch.signbit(values).any())


def assert_sparse(model: Any) -> None:
    """Weights, moments and, where masks are followed, target weights are 0 off the mask."""
    for name in ("actor", "critic"):
        network, target = getattr(model, name), getattr(model, f"{name}_target", None)
        others = {} if target is None else dict(target.named_modules())
        for layer, module, mask in masked_layers(network):
            assert is_positive_zero(module.weight.detach()[~mask]), (name, layer)
            for value in network.optimizer.state.get(module.weight, {}).values():
                if isinstance(value, Tensor) and value.shape == mask.shape:
                    assert is_positive_zero(value[~mask]), (name, layer)
            if target is None:
                continue
            weight = others[layer].weight.detach()
            if model.sparsity["target"] == "mask":
                assert torch.equal(others[layer].weight_mask, mask)
                assert is_positive_zero(weight[~mask])
            else:
                assert int(weight.count_nonzero()) <= int(mask.sum())


def connections(model: Any) -> dict[str, int]:
    return {
        f"{name}.{layer}": int(mask.sum())
        for name, handle in model.topology.handles.items()
        for layer, mask in handle.masks().items()
    }
