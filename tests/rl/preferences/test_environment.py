import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import SAC
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from sparsewire.core import UnsupportedError
from sparsewire.rl.preferences.environment import (
    ActionEncoder,
    LearnedReward,
    as_vec_env,
    layers_of_env,
)
from tests.rl.preferences.helpers import Array, Drift


class Constant:
    """A source of rewards that keeps what it is told."""

    def __init__(self) -> None:
        self.steps: list[tuple[Array, ...]] = []
        self.interruptions = 0

    def reward(self, observations: Array, actions: Array) -> Array:
        return np.full(len(observations), 0.25, np.float32)

    def remember(self, *step: Array) -> None:
        self.steps.append(tuple(np.array(part) for part in step))

    def interrupt(self) -> None:
        self.interruptions += 1


def test_actions_are_scaled_as_stable_baselines3_stores_them() -> None:
    env = gym.make("Pendulum-v1")
    model = SAC("MlpPolicy", env, buffer_size=1)
    actions = np.array([[-2.0], [0.3], [2.0]], np.float32)
    encoder = ActionEncoder(env.action_space)
    np.testing.assert_allclose(encoder(actions), model.policy.scale_action(actions), rtol=1e-6)
    np.testing.assert_array_equal(encoder.of_buffer(actions / 2), actions / 2)


def test_numbered_actions_become_one_hot_vectors_whatever_their_first_number() -> None:
    encoder = ActionEncoder(spaces.Discrete(3, start=5))
    assert encoder(np.array([7, 5])).tolist() == [[0, 0, 1], [1, 0, 0]]
    stored = np.array([[[6]], [[5]]])  # (rows, n_envs, 1)
    assert encoder.of_buffer(stored).tolist() == [[[0, 1, 0]], [[1, 0, 0]]]
    assert encoder.size == 3


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-1, 1, (2, 2)),
        spaces.Box(-np.inf, np.inf, (2,)),
        spaces.MultiDiscrete([2, 2]),
        spaces.MultiBinary(3),
    ],
    ids=str,
)
def test_other_actions_are_refused(space: spaces.Space[Array]) -> None:
    with pytest.raises(UnsupportedError, match="bounded vectors or numbers"):
        ActionEncoder(space)


def test_rewards_are_replaced_and_the_true_ones_passed_on_to_the_source_and_info() -> None:
    source = Constant()
    inner = DummyVecEnv([lambda: Drift(length=3), lambda: Drift(length=2)])
    env = LearnedReward(inner, source)
    env.seed(0)
    before = env.reset()
    assert source.interruptions == 1
    rows = []
    for t in range(4):
        actions = np.array([[0.5 * t], [-0.5]], np.float32)
        after, rewards, dones, infos = env.step(actions)
        assert rewards.tolist() == [0.25, 0.25]
        assert min(info["true_reward"] for info in infos) > 900
        rows.append((before, actions / 2, [info["true_reward"] for info in infos], dones))
        before = after
    assert [step[3].tolist() for step in source.steps] == [row[3].tolist() for row in rows]
    for step, row in zip(source.steps, rows, strict=True):
        np.testing.assert_allclose(step[0], row[0], rtol=1e-6)
        np.testing.assert_allclose(step[1], row[1], rtol=1e-6)
        np.testing.assert_allclose(step[2], row[2], rtol=1e-6)


def test_what_the_source_keeps_does_not_change_when_the_environment_reuses_its_memory() -> None:
    class Reusing(DummyVecEnv):
        def _obs_from_buf(self) -> Array:
            (observations,) = self.buf_obs.values()
            return observations

    source = Constant()
    env = LearnedReward(Reusing([Drift]), source)
    env.seed(0)
    first = np.array(env.reset())
    env.step(np.ones((1, 1), np.float32))
    np.testing.assert_allclose(source.steps[0][0], first, rtol=1e-6)


def test_without_a_source_rewards_stay_true() -> None:
    env = LearnedReward(DummyVecEnv([Drift]), None)
    env.reset()
    _, rewards, _, infos = env.step(np.zeros((1, 1), np.float32))
    assert rewards[0] > 900
    assert infos[0]["true_reward"] == pytest.approx(rewards[0])


def test_one_environment_is_monitored_once() -> None:
    env = Monitor(Drift())
    inner = as_vec_env(env)
    assert isinstance(inner, DummyVecEnv)
    assert inner.envs[0] is env
    assert as_vec_env(inner) is inner
    bare = as_vec_env(Drift())
    assert isinstance(bare, DummyVecEnv)
    assert isinstance(bare.envs[0], Monitor)
    with pytest.raises(UnsupportedError, match="got str"):
        as_vec_env("Pendulum-v1")  # type: ignore[arg-type]


def test_all_layers_of_an_environment_are_listed() -> None:
    inner = as_vec_env(Drift())
    outer = LearnedReward(inner, None)
    assert layers_of_env(outer) == [outer, inner]
