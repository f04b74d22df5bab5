"""Environments simple enough to predict, and the noise distributions that the tests pass."""

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from sparsewire.rl import NoisyFeatures

Array = npt.NDArray[Any]


class Counter(gym.Env[Array, Array]):
    """Observation (t, seed, -t) with t steps since the reset; ends after `length` steps."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (3,), np.float64)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, length: int = 5, truncate: bool = False) -> None:
        self.length = length
        self.truncate = truncate
        self.t = 0
        self.start = 0.0

    def _observation(self) -> Array:
        return np.array([self.t, self.start, -self.t], dtype=np.float64)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        self.start = float(self.np_random.integers(100))
        return self._observation(), {"base": "kept"}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        self.t += 1
        over = self.t >= self.length
        ends = (False, over) if self.truncate else (over, False)
        return self._observation(), float(self.t), *ends, {"base": "kept"}


class Painted(Counter):
    """A counter that can be looked at: a picture as bright as the number of steps."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__()
        self.render_mode = render_mode

    def render(self) -> Any:
        return np.full((32, 32, 3), self.t, dtype=np.uint8)


def laplace(generator: np.random.Generator, size: tuple[int, int]) -> Array:
    return generator.laplace(size=size)


def one_vector(generator: np.random.Generator, size: tuple[int, int]) -> Array:
    return generator.normal(size=size[1])


def not_a_number(generator: np.random.Generator, size: tuple[int, int]) -> Array:
    return np.full(size, np.nan)


def observations(env: gym.Env[Any, Any], steps: int, seed: int | None = None) -> Array:
    """Reset, then step with action 0 and reset whenever an episode ends; stack what was seen."""
    seen = [env.reset(seed=seed)[0]]
    action = np.zeros(env.action_space.shape or (), dtype=np.float32)
    for _ in range(steps):
        observation, _, terminated, truncated, _ = env.step(action)
        seen.append(observation)
        if terminated or truncated:
            seen.append(env.reset()[0])
    return np.array(seen)


def noisy_counter(**arguments: Any) -> NoisyFeatures:
    length = arguments.pop("length", 5)
    truncate = arguments.pop("truncate", False)
    arguments.setdefault("noise_fraction", 0.7)
    return NoisyFeatures(Counter(length, truncate), **arguments)
