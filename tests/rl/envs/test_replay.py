"""The buffer that redraws noise: against a slow twin, in a training run, saved and loaded."""

import io
import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import SAC, TD3
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize

from sparsewire.core.errors import InvalidArgumentError, UnsupportedError
from sparsewire.rl import FeatureHistogram, FreshNoiseReplayBuffer, NoisyFeatures
from sparsewire.rl.envs._random import named_generator
from tests.rl.envs.helpers import Array, laplace, noisy_counter

ACTIONS = gym.spaces.Box(-1, 1, (1,), np.float32)


def vector(n_envs: int, **arguments: Any) -> DummyVecEnv:
    envs = DummyVecEnv([lambda: noisy_counter(**arguments) for _ in range(n_envs)])
    envs.seed(0)
    return envs


def fill(buffer: ReplayBuffer, envs: Any, steps: int) -> list[tuple[Any, ...]]:
    """Store transitions as an off-policy algorithm does; return their clean halves by hand."""
    clean = []
    observation = envs.reset()
    for step in range(steps):
        actions = np.full((envs.num_envs, 1), step / 100, dtype=np.float32)
        new, rewards, dones, infos = envs.step(actions)
        following = new.copy()
        for i in np.flatnonzero(dones):
            following[i] = infos[i]["terminal_observation"]
        buffer.add(observation, following, actions, rewards, dones, infos)
        order = [
            envs.envs[i].layout.permutation(infos[i]["noise_phase"]) for i in range(len(infos))
        ]
        clean.append(
            (unpermuted(observation, order), unpermuted(following, order), rewards, dones, infos)
        )
        observation = new
    return clean


def unpermuted(observation: Array, order: list[Any]) -> Array:
    real = np.empty((len(observation), 3))
    for i, row in enumerate(observation):
        for place, feature in enumerate(order[i]):
            if feature < 3:
                real[i, feature] = row[place]
    return real


def make_buffer(envs: Any, size: int = 1000, **arguments: Any) -> FreshNoiseReplayBuffer:
    arguments.setdefault("seed", 3)
    return FreshNoiseReplayBuffer(
        size, envs.observation_space, ACTIONS, "cpu", envs.num_envs, **arguments
    )


def sample(buffer: ReplayBuffer, n: int = 64, seed: int = 0, env: Any = None) -> list[Array]:
    np.random.seed(seed)  # noqa: NPY002 - Stable-Baselines3 draws the transitions with it
    return [array.numpy() for array in buffer.sample(n, env=env) if torch.is_tensor(array)]


@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("truncate", [False, True])
def test_samples_equal_a_stock_buffer_of_clean_states_plus_noise(
    n_envs: int, truncate: bool
) -> None:
    envs = vector(n_envs, truncate=truncate, permute_every=7)
    buffer = make_buffer(envs, size=90)
    clean_space = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)
    stock = ReplayBuffer(90, clean_space, ACTIONS, "cpu", n_envs)
    for step, (obs, following, rewards, dones, infos) in enumerate(fill(buffer, envs, 40)):
        actions = np.full((n_envs, 1), step / 100, dtype=np.float32)
        stock.add(obs, following, actions, rewards, dones, infos)
    assert min(buffer.phases) > 0
    ours, theirs = sample(buffer), sample(stock)
    generator = named_generator("replay", 3)
    noise = generator.standard_normal((64, 7), dtype=np.float32)
    next_noise = generator.standard_normal((64, 7), dtype=np.float32)
    order = buffer.layout.permutation(int(buffer.phases[0]))  # all environments switch together
    for got, states, drawn in ((ours[0], theirs[0], noise), (ours[2], theirs[2], next_noise)):
        expected = [[[*s, *z][i] for i in order] for s, z in zip(states, drawn, strict=True)]
        assert np.array_equal(got, np.array(expected, dtype=np.float32))
    for i in (1, 3, 4):
        assert np.array_equal(ours[i], theirs[i])


def test_noise_of_both_ends_is_independent_and_new_each_time() -> None:
    envs = vector(1)
    buffer = make_buffer(envs)
    fill(buffer, envs, 30)
    first, again = sample(buffer), sample(buffer)
    assert np.array_equal(first[0][:, :3], again[0][:, :3])
    noise = np.concatenate([first[0], first[2], again[0], again[2]])[:, 3:]
    assert len(np.unique(noise)) == noise.size
    assert abs(noise.mean()) < 5 / np.sqrt(noise.size)
    assert noise.std() == pytest.approx(1, abs=0.05)


def test_noise_of_an_episode_is_shared_by_both_ends_of_a_transition() -> None:
    envs = vector(1, refresh="episode")
    buffer = make_buffer(envs)
    fill(buffer, envs, 30)
    first = sample(buffer)
    assert np.array_equal(first[0][:, 3:], first[2][:, 3:])


@pytest.mark.parametrize("distribution", [laplace, FeatureHistogram.fit(np.eye(3)), "uniform"])
def test_replayed_noise_has_the_distribution_of_the_environment(distribution: Any) -> None:
    envs = vector(1, distribution=distribution)
    buffer = make_buffer(envs)
    fill(buffer, envs, 5)
    expected = (
        envs.envs[0].get_wrapper_attr("layout").noise.draw(named_generator("replay", 3), 64, 7)
    )
    assert np.array_equal(sample(buffer)[0][:, 3:], expected)


def test_each_environment_replays_in_its_own_phase() -> None:
    envs = vector(2)
    envs.env_method("set_phase", 2, indices=1)
    buffer = make_buffer(envs)
    fill(buffer, envs, 20)
    assert buffer.phases.tolist() == [0, 2]
    observation = sample(buffer)[0]
    moved = observation[:, buffer.layout.places(2)]
    plain_rows = observation[:, 0] == -observation[:, 2]  # as in every state of the environment
    moved_rows = moved[:, 0] == -moved[:, 2]
    assert plain_rows.any()
    assert moved_rows.any()
    assert (plain_rows ^ moved_rows).all()


def test_old_transitions_follow_a_new_permutation() -> None:
    envs = vector(1)
    buffer = make_buffer(envs)
    fill(buffer, envs, 20)
    before = sample(buffer)[0][:, :3]
    stored = buffer.observations[:20].copy()
    envs.env_method("set_phase", 1)
    fill(buffer, envs, 1)
    assert np.array_equal(buffer.observations[:20], stored)
    buffer.pos = 20  # sample the same transitions as before
    assert np.array_equal(sample(buffer)[0][:, buffer.layout.places(1)], before)


def test_memory_for_observations_shrinks_to_the_share_of_real_features() -> None:
    env = gym.make("NoisyHalfCheetah-v5", noise_fraction=0.98)
    space, actions = env.observation_space, env.action_space
    ours = FreshNoiseReplayBuffer(500, space, actions, seed=0)
    stock = ReplayBuffer(500, space, actions)
    for name in ("observations", "next_observations"):
        assert getattr(ours, name).nbytes * 850 == getattr(stock, name).nbytes * 17


def test_one_array_can_hold_both_ends_of_the_transitions() -> None:
    envs = vector(2)
    arguments: Any = {"optimize_memory_usage": True, "handle_timeout_termination": False}
    buffer = make_buffer(envs, size=24, **arguments)
    clean_space = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)
    stock = ReplayBuffer(24, clean_space, ACTIONS, "cpu", 2, **arguments)
    for step, (obs, following, rewards, dones, infos) in enumerate(fill(buffer, envs, 30)):
        actions = np.full((2, 1), step / 100, dtype=np.float32)
        stock.add(obs, following, actions, rewards, dones, infos)
    assert not hasattr(buffer, "next_observations")
    ours, theirs = sample(buffer), sample(stock)
    assert np.array_equal(ours[0][:, :3], theirs[0])
    assert np.array_equal(ours[2][:, :3], theirs[2])


def test_samples_are_normalised_noise_and_all() -> None:
    envs: Any = VecNormalize(vector(1, noise_std=5.0), clip_obs=100.0)
    buffer = make_buffer(envs)
    raw = envs.reset()
    for _ in range(40):
        obs = envs.get_original_obs()
        _, _, dones, infos = envs.step(np.zeros((1, 1)))
        buffer.add(obs, obs, np.zeros((1, 1)), envs.get_original_reward(), dones, infos)
    assert raw.shape == (1, 10)
    twin = pickle.loads(pickle.dumps(buffer))
    plain, normalised = sample(buffer), sample(twin, env=envs)
    assert np.allclose(normalised[0], envs.normalize_obs(plain[0]))
    assert np.allclose(normalised[4], envs.normalize_reward(plain[4]))
    assert plain[0][:, 3:].std() == pytest.approx(5, rel=0.1)


def test_a_saved_buffer_continues_its_noise_bit_for_bit() -> None:
    envs = vector(1, permute_every=4)
    buffer = make_buffer(envs)
    fill(buffer, envs, 30)
    sample(buffer)
    twin = pickle.loads(pickle.dumps(buffer))
    assert twin.phases.tolist() == buffer.phases.tolist() != [0]
    for ours, theirs in zip(sample(buffer, seed=1), sample(twin, seed=1), strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("algorithm", [TD3, SAC])
def test_an_algorithm_needs_nothing_but_the_class(algorithm: Any) -> None:
    def train(seed: int) -> Any:
        env = Monitor(gym.make("NoisyPendulum-v1", noise_fraction=0.8))
        return algorithm(
            "MlpPolicy",
            env,
            seed=seed,
            learning_starts=50,
            buffer_size=500,
            batch_size=16,
            replay_buffer_class=FreshNoiseReplayBuffer,
            policy_kwargs={"net_arch": [8]},
        ).learn(80)

    def weights(model: Any) -> Array:
        return torch.cat([p.detach().ravel() for p in model.policy.parameters()]).numpy()

    model = train(0)
    assert model.replay_buffer.observations.shape == (500, 1, 3)
    assert np.array_equal(weights(model), weights(train(0)))
    assert not np.array_equal(weights(model), weights(train(1)))


def test_training_resumes_from_saved_model_and_buffer_bit_for_bit() -> None:
    """The transitions stay as they are: what has to be restored is the model and the noise."""

    def steps(model: Any) -> dict[str, Any]:
        np.random.seed(9)  # noqa: NPY002 - saved by neither model nor buffer
        torch.manual_seed(9)
        model.train(gradient_steps=10, batch_size=16)
        weights: dict[str, Any] = model.policy.state_dict()
        return weights

    env = make_vec_env("NoisyPendulum-v1", 2, seed=0, env_kwargs={"permute_every": 200})
    model = TD3(
        "MlpPolicy",
        env,
        seed=0,
        buffer_size=1000,
        replay_buffer_class=FreshNoiseReplayBuffer,
        replay_buffer_kwargs={"seed": 4},
        policy_kwargs={"net_arch": [8]},
    ).learn(450)
    model.save("model")
    model.save_replay_buffer("buffer")
    again = TD3.load("model", env=env)
    again.load_replay_buffer("buffer")
    model._logger = again._logger = model.logger
    assert again.replay_buffer is not None
    assert getattr(again.replay_buffer, "phases").tolist() == [1, 1]  # noqa: B009 - for mypy
    expected, resumed = steps(model), steps(again)
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)


def test_global_random_state_is_read_but_not_advanced() -> None:
    envs = vector(1)

    def noise(seed: int) -> Array:
        np.random.seed(seed)  # noqa: NPY002
        buffer = make_buffer(envs, seed=None)
        following = np.random.random()  # noqa: NPY002
        np.random.seed(seed)  # noqa: NPY002
        assert np.random.random() == following  # noqa: NPY002
        fill(buffer, envs, 3)
        return sample(buffer)[0][:, 3:]

    assert np.array_equal(noise(1), noise(1))
    assert not np.isclose(noise(1), noise(2)).any()


def test_observations_without_layout_are_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"wrap the environment in NoisyFeatures"):
        FreshNoiseReplayBuffer(10, gym.spaces.Box(-1, 1, (3,)), ACTIONS)
    stacked = VecFrameStack(vector(1), 2)
    with pytest.raises(UnsupportedError, match="outermost"):
        make_buffer(stacked)


def test_infos_without_phase_are_refused() -> None:
    envs = vector(1)
    obs: Any = envs.reset()
    with pytest.raises(UnsupportedError, match="noise_phase"):
        make_buffer(envs).add(obs, obs, np.zeros((1, 1)), np.zeros(1), np.zeros(1), [{}])


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="seed"):
        make_buffer(vector(1), seed=-1)


def test_ordinary_buffers_store_what_the_agent_saw() -> None:
    env = NoisyFeatures(gym.make("Pendulum-v1"), noise_fraction=0.5)
    model = TD3("MlpPolicy", env, buffer_size=100, policy_kwargs={"net_arch": [4]})
    assert model.replay_buffer is not None
    assert model.replay_buffer.observations.shape == (100, 1, 6)
    assert model.replay_buffer.observations.dtype == np.float32
    file = io.BytesIO()
    model.save_replay_buffer(file)
    assert file.tell() > 0
