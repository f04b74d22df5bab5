"""Stable-Baselines3 around the environments: vectors, wrappers, the mask, and evaluation phases."""

import io
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import TD3
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecFrameStack,
    VecNormalize,
)

from sparsewire.core.errors import InvalidArgumentError
from sparsewire.rl import PhaseCallback, relevant_mask
from tests.rl.envs.helpers import Array, noisy_counter

NOISY = "NoisyPendulum-v1"


def make(n_envs: int = 1, seed: int | None = 0, **arguments: Any) -> Any:
    arguments.setdefault("noise_fraction", 0.5)
    return make_vec_env(NOISY, n_envs, seed=seed, env_kwargs=arguments)


def train(env: Any, steps: int, callback: Any = None) -> TD3:
    model = TD3("MlpPolicy", env, seed=0, buffer_size=500, policy_kwargs={"net_arch": [4]})
    model.learning_starts = 10_000
    return model.learn(steps, callback)


def test_environments_of_a_vector_have_different_noise_and_the_same_when_seeded_again() -> None:
    first = make(3).reset()
    assert first.shape == (3, 6)
    assert len(np.unique(first[:, 3:])) == 9
    assert np.array_equal(make(3).reset(), first)
    assert not np.isclose(make(3, seed=7).reset()[:, 3:], first[:, 3:]).any()
    assert len(np.unique(make(3, seed=None).reset()[:, 3:])) == 9


def test_phases_can_be_set_through_a_vector() -> None:
    envs = make(2)
    envs.env_method("set_phase", 1, indices=1)
    envs.reset()
    assert envs.get_attr("phase") == [0, 1]


def test_the_mask_is_found_under_every_wrapper_and_follows_the_phase() -> None:
    envs = VecNormalize(make(2))
    envs.reset()
    assert np.array_equal(mask_of(envs), np.arange(6) < 3)
    envs.env_method("set_phase", 1)
    envs.reset()
    order = envs.get_attr("layout")[0].permutation(1)
    assert np.array_equal(mask_of(envs), order < 3)
    single = Monitor(gym.make(NOISY, noise_fraction=0.5))
    assert np.array_equal(mask_of(single), np.arange(6) < 3)


def mask_of(env: Any) -> Array:
    mask = relevant_mask(env)
    assert mask is not None
    return mask


def test_the_mask_is_unknown_without_noise_and_for_stacked_frames() -> None:
    assert relevant_mask(make_vec_env("Pendulum-v1")) is None
    assert relevant_mask(VecFrameStack(make(), 2)) is None


@pytest.mark.slow
def test_workers_answer_for_mask_and_phase() -> None:
    # With the module, since a worker process has not imported it yet.
    envs = make_vec_env(f"sparsewire.rl:{NOISY}", 2, seed=0, vec_env_cls=SubprocVecEnv)
    try:
        envs.env_method("set_phase", 1)
        envs.reset()
        *_, infos = envs.step(np.zeros((2, 1)))
        assert [info["noise_phase"] for info in infos] == [1, 1]
        assert mask_of(envs).sum() == 3
    finally:
        envs.close()


def test_statistics_of_normalisation_see_the_noise() -> None:
    envs: Any = VecNormalize(make(noise_std=4.0))
    envs.reset()
    for _ in range(400):
        envs.step(np.zeros((1, 1)))
    spread = np.sqrt(envs.obs_rms.var)
    assert spread[3:] == pytest.approx(4, rel=0.2)


def test_monitor_reports_the_episodes_of_the_time_limit() -> None:
    model = train(make(), 410)
    assert [episode["l"] for episode in model.ep_info_buffer or []] == [200, 200]


class Phases(EvalCallback):
    """Remembers in which phases the training and the evaluation environment were."""

    def _on_training_start(self) -> None:
        super()._on_training_start()
        self.seen: list[tuple[int, int]] = []

    def _on_step(self) -> bool:
        going_on = super()._on_step()
        if self.n_calls % self.eval_freq == 0:
            phases = [info["noise_phase"] for info in self.locals["infos"]]
            self.seen.append((max(phases), *self.eval_env.get_attr("phase")))
        return going_on


@pytest.mark.parametrize("n_envs", [1, 2])
def test_evaluation_happens_in_the_phase_of_the_training(n_envs: int) -> None:
    eval_env = make(permute_every=1)
    phases = Phases(eval_env, n_eval_episodes=2, eval_freq=90, verbose=0)
    train(make(n_envs, permute_every=300), 810 * n_envs, [PhaseCallback(eval_env), phases])
    assert phases.seen == [(0, 0)] * 4 + [(1, 1)] * 4 + [(2, 2)]


def test_evaluation_starts_in_the_phase_that_training_resumes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    env, eval_env = make(), gym.make(NOISY, noise_fraction=0.5)
    env.env_method("set_phase", 3)
    train(env, 10, PhaseCallback(eval_env, verbose=1))
    eval_env.reset()
    assert eval_env.get_wrapper_attr("phase") == 3
    assert "Evaluating in phase 3" in capsys.readouterr().out


def test_evaluation_without_noise_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="eval_env has no noise features"):
        PhaseCallback(gym.make("Pendulum-v1"))
    with pytest.raises(InvalidArgumentError, match="the training environment has no noise"):
        train(make_vec_env("Pendulum-v1"), 10, PhaseCallback(make()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"permutation_seed": 1}, "eval_env has permutation_seed=1"),
        ({"noise_fraction": 0.75}, "eval_env has n_features=12"),
    ],
)
def test_evaluation_in_other_orders_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        train(make(), 10, PhaseCallback(make(**arguments)))


def test_a_model_saved_with_its_noisy_space_loads_without_an_environment() -> None:
    file = io.BytesIO()
    train(make(), 10).save(file)
    file.seek(0)
    model = TD3.load(file)
    assert model.observation_space == make().observation_space
    observation: Any = DummyVecEnv([noisy_counter]).reset()
    assert model.predict(observation[:, :6])[0].shape == (1, 1)
