"""Does sparsity help a reward model among noise? On preferences about a random policy, offline."""

from typing import NamedTuple

import gymnasium as gym
import numpy as np
import pytest
from scipy import stats

from sparsewire.rl import Preferences, RewardModel, ScriptedTeacher, SegmentBuffer, relevant_mask
from tests.rl.preferences.helpers import Array

SEEDS = range(5)


class Result(NamedTuple):
    dense: float
    sparse: float
    focus_before: float
    focus_after: float


def random_policy(seed: int, steps: int = 6000) -> tuple[SegmentBuffer, Array]:
    env = gym.make("NoisyPendulum-v1", noise_fraction=0.9)
    env.action_space.seed(seed)
    observation, _ = env.reset(seed=seed)
    buffer = SegmentBuffer(len(observation), 1, capacity=steps)
    for _ in range(steps):
        action = env.action_space.sample()
        following, reward, terminated, truncated, _ = env.step(action)
        over = terminated or truncated
        buffer.add(observation[None], action[None] / 2, [float(reward)], [over])
        observation = env.reset()[0] if over else following
    mask = relevant_mask(env)
    assert mask is not None
    return buffer, mask


def ask(buffer: SegmentBuffer, seed: int, n: int = 1000, length: int = 5) -> Preferences:
    generator = np.random.default_rng(seed)
    (first, one), (second, two) = (buffer.sample(n, length, generator) for _ in range(2))
    return Preferences(first, second, ScriptedTeacher().compare(one, two))


def focus(model: RewardModel, mask: Array) -> float:
    members = model.focus(mask)
    return float(np.mean([m.real for m in members]) / np.mean([m.noise for m in members]))


def measure(seed: int) -> Result:
    buffer, mask = random_policy(seed)
    training, others = ask(buffer, seed), ask(random_policy(1000 + seed)[0], seed)
    accuracy, before, after = {}, 0.0, 0.0
    for preset in (None, "anf"):
        model = RewardModel(
            len(mask), 1, preset, net_arch=[64, 64], learning_rate=1e-3, batch_size=64, seed=seed
        )
        before = focus(model, mask)
        model.fit(training, epochs=15, stop_accuracy=1.0)
        after = focus(model, mask)
        accuracy[preset] = model.accuracy(others)
    return Result(accuracy[None], accuracy["anf"], before, after)


@pytest.fixture(scope="module")
def results() -> list[Result]:
    return [measure(seed) for seed in SEEDS]


@pytest.mark.slow
def test_a_sparse_model_agrees_with_more_new_preferences_than_a_dense_one(
    results: list[Result],
) -> None:
    gains = [result.sparse - result.dense for result in results]
    interval = stats.t.interval(0.95, len(gains) - 1, np.mean(gains), stats.sem(gains))
    assert interval[0] > 0, results
    assert min(result.sparse for result in results) > 0.9


@pytest.mark.slow
def test_connections_move_to_real_features(results: list[Result]) -> None:
    rise = [result.focus_after / result.focus_before for result in results]
    assert min(rise) > 1, results
    assert np.mean(rise) > 1.1, results
