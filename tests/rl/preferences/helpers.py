"""An environment simple enough to predict, and random preferences that features decide."""

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from sparsewire.rl import Preferences, SegmentBuffer, Segments

Array = npt.NDArray[Any]


class Drift(gym.Env[Array, Any]):
    """A point that the first action moves; its reward is far above any that a model predicts."""

    def __init__(self, length: int = 20, discrete: bool = False, n: int = 4) -> None:
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (n,), np.float64)
        self.action_space = gym.spaces.Discrete(3) if discrete else gym.spaces.Box(-2, 2, (1,))
        self.length = length
        self.t = 0
        self.state = np.zeros(n)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        self.state = self.np_random.normal(size=len(self.state))
        return self.state.copy(), {}

    def step(self, action: Any) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        self.t += 1
        move = float(np.ravel(action)[0])
        self.state = np.append(self.state[0] + 0.1 * move, self.np_random.normal(size=3))
        return self.state.copy(), 1000 + float(self.state[0]), False, self.t >= self.length, {}


def random_segments(seed: int, n: int, length: int, n_observation: int) -> Segments:
    generator = np.random.default_rng(seed)
    observations = generator.normal(size=(n, length, n_observation)).astype(np.float32)
    return Segments(observations, generator.normal(size=(n, length, 1)).astype(np.float32))


def decided_by_the_first_feature(
    seed: int, n: int = 64, length: int = 5, n_observation: int = 10
) -> Preferences:
    first = random_segments(2 * seed, n, length, n_observation)
    second = random_segments(2 * seed + 1, n, length, n_observation)
    gap = (second.observations - first.observations)[..., 0].sum(axis=1)
    return Preferences(first, second, (gap > 0).astype(np.float32))


def filled_buffer(
    seed: int, steps: int, n_envs: int = 1, capacity: int = 1000, end: float = 0.1
) -> SegmentBuffer:
    """Steps with random ends of episodes; observations tell step, environment and episode."""
    generator = np.random.default_rng(seed)
    buffer = SegmentBuffer(3, 1, n_envs, capacity)
    episode = np.zeros(n_envs)
    for t in range(steps):
        seen = np.stack([np.full(n_envs, t), np.arange(n_envs), episode], axis=1)
        dones = generator.random(n_envs) < end
        buffer.add(seen, -seen[:, :1], 2.0 ** -(t % 7) * np.ones(n_envs), dones)
        episode += dones
    return buffer
