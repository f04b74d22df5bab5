"""Runs that take a second: tiny networks, few steps."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.save_util import load_from_zip_file

from sparsewire.rl.command.runs import Run
from sparsewire.rl.command.settings import Settings

PARAMS: dict[str, Any] = {
    "policy_kwargs": {"net_arch": [8, 8]},
    "learning_starts": 40,
    "buffer_size": 300,
    "batch_size": 8,
}
EVENTS = {"update_interval": 10}


def settings(**changes: Any) -> Settings:
    """A run of 160 steps with topology events, in which an episode has 200 steps."""
    algo = changes.get("algo", "anf-td3")
    sparse = {"sparse_kwargs": EVENTS} if "-" in algo else {}
    given: dict[str, Any] = {
        "algo": algo,
        "env": "NoisyPendulum-v1",
        "env_kwargs": {"noise_fraction": 0.75},
        "n_timesteps": 160,
        "eval_freq": 80,
        "eval_episodes": 1,
        "save_replay_buffer": True,
    }
    params = PARAMS | sparse | changes.pop("params", {})
    return Settings(**(given | changes), params=params)


def leaves(content: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """All tensors and numbers inside dictionaries and lists, by their path."""
    if isinstance(content, dict | list | tuple):
        items = content.items() if isinstance(content, dict) else enumerate(content)
        for key, value in items:
            yield from leaves(value, f"{name}/{key}")
    else:
        yield name, content


def stored(path: Path) -> dict[str, Any]:
    """Everything torch has stored in a model file: networks, optimizers, masks, counters."""
    _, parameters, variables = load_from_zip_file(path, load_data=False)
    return dict(leaves({"parameters": parameters, "variables": variables}))


def assert_same_model(first: Run, second: Run) -> None:
    ours, theirs = stored(first.model_file), stored(second.model_file)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        same = torch.equal(value, theirs[name]) if torch.is_tensor(value) else value == theirs[name]
        assert same, name


def global_keys() -> npt.NDArray[np.uint32]:
    """A copy of what NumPy's global generator will draw from."""
    state: Any = np.random.get_state(legacy=False)  # noqa: NPY002
    keys: npt.NDArray[np.uint32] = np.append(state["state"]["key"], state["state"]["pos"])
    return keys


class Corridor(gym.Env[Any, Any]):
    """Four cells of which the agent sees the number; a picture shows it as a brighter column."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "human"], "render_fps": 10}  # noqa: RUF012
    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, render_mode: str | None = None, fail: bool = False) -> None:
        self.render_mode, self.fail = render_mode, fail

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.cell = 0
        self.start = self.np_random.uniform(-1, 1)
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self.fail:
            raise RuntimeError("the corridor has caved in")
        self.cell += 1
        return self._observe(), self.start + float(action[0]), self.cell == 4, False, {}

    def render(self) -> Any:
        if self.render_mode == "human":
            raise OSError("no display")
        picture = np.zeros((16, 64, 3), np.uint8)
        picture[:, 16 * self.cell : 16 * (self.cell + 1)] = 255
        return picture

    def _observe(self) -> Any:
        return np.array([self.cell / 4, self.start], np.float32)


gym.register("Corridor-v0", f"{__name__}:Corridor")
