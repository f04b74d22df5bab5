"""What Stable-Baselines3's own tests ask of its algorithms, asked of the sparse ones."""

import copy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import BitFlippingEnv, SimpleMultiObsEnv
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import nn

from sparsewire.rl import SparseSAC, SparseTD3
from sparsewire.rl.policies import SparsePolicyMixin, SparseSACPolicy, SparseTD3Policy
from tests.rl.helpers import (
    assert_same_tensors,
    assert_sparse,
    masked_layers,
    sparse_agent,
    tensors_of,
    train_on,
)

ALGORITHMS = ["td3", "sac", "ddpg"]
DYNAMIC = ["ds", "anf", "rigl"]


@pytest.mark.parametrize("preset", [None, *DYNAMIC])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_same_seed_gives_the_same_agent(algorithm: str, preset: str | None) -> None:
    a, b = (sparse_agent(algorithm, preset).learn(50) for _ in range(2))
    assert_same_tensors(tensors_of(a), tensors_of(b))


@pytest.mark.parametrize("algorithm", ["td3", "sac"])
def test_another_seed_gives_another_topology(algorithm: str) -> None:
    a, b = (sparse_agent(algorithm, "anf", seed=seed).topology for seed in (0, 1))
    assert not torch.equal(
        a.handles["critic"].masks()["qf0.0.weight"], b.handles["critic"].masks()["qf0.0.weight"]
    )


@pytest.mark.parametrize("preset", ["anf", "ds"])
@pytest.mark.parametrize("algorithm", ["td3", "sac"])
def test_several_environments_and_normalised_observations(algorithm: str, preset: str) -> None:
    env = VecNormalize(make_vec_env("Pendulum-v1", n_envs=2))
    model = sparse_agent(algorithm, preset, env=env, gradient_steps=-1).learn(100)
    assert model._n_updates == model.topology.handles["critic"].step > 0
    assert_sparse(model)
    observation = env.reset()
    assert model.predict(observation)[0].shape == (2, 1)


@pytest.mark.parametrize("algorithm", ["td3", "sac"])
def test_predictions_have_the_shapes_of_stable_baselines3(algorithm: str) -> None:
    env = gym.make("Pendulum-v1")
    model = sparse_agent(algorithm, "anf", env=env)
    observation = env.reset()[0]
    action, state = model.predict(observation, deterministic=True)
    assert action.shape == (1,)
    assert state is None
    assert env.action_space.contains(action)
    batch, _ = model.predict(np.stack([observation] * 3), deterministic=True)
    assert batch.shape == (3, 1)
    assert model.predict(observation, deterministic=True)[0] == pytest.approx(batch[0])


@pytest.mark.parametrize("algorithm", ["td3", "sac", "ddpg"])
@pytest.mark.parametrize("storage", ["masked", "csr"])
def test_hindsight_replay_with_dictionaries_of_observations(algorithm: str, storage: str) -> None:
    env = BitFlippingEnv(n_bits=4, continuous=True)
    model = sparse_agent(
        algorithm,
        "anf",
        {"storage": storage, "layers": ["input", "hidden"]},
        policy="MultiInputPolicy",
        env=env,
        replay_buffer_class=HerReplayBuffer,
        replay_buffer_kwargs={"n_sampled_goal": 2},
        learning_starts=20,
    ).learn(60)
    assert model.topology.events["critic"] == 4
    if storage == "masked":
        assert_sparse(model)


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("algorithm", ["td3", "sac"])
def test_a_features_extractor_stays_dense(algorithm: str, share: bool) -> None:
    model = sparse_agent(
        algorithm,
        "rigl",
        policy="MultiInputPolicy",
        env=SimpleMultiObsEnv(random_start=False, discrete_actions=False),
        policy_kwargs={"net_arch": [16], "share_features_extractor": share},
        batch_size=8,
    ).learn(50)
    for network in (model.actor, model.critic):
        names = [name for name, _, _ in masked_layers(network)]
        assert names
        assert not [name for name in names if "features_extractor" in name]
        convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
        assert convolutions
        assert all(bool((conv.weight != 0).all()) for conv in convolutions)
    assert_sparse(model)


@pytest.mark.parametrize("algorithm", ["td3", "sac"])
def test_architectures_and_activations_are_those_asked_for(algorithm: str) -> None:
    net = {"net_arch": {"pi": [12, 8, 6], "qf": [10]}, "activation_fn": nn.Tanh, "n_critics": 3}
    model = sparse_agent(algorithm, "rigl", policy_kwargs=net).learn(50)
    trunk = {"td3": "mu", "sac": "latent_pi"}[algorithm]
    assert isinstance(model.actor.get_submodule(f"{trunk}.1"), nn.Tanh)
    roles = [name for name, _, _ in masked_layers(model.actor)]
    assert roles[:3] == [f"{trunk}.{i}" for i in (0, 2, 4)]
    assert [n for n, _, _ in masked_layers(model.critic)] == [
        f"qf{i}.{j}" for i in range(3) for j in (0, 2)
    ]
    assert_sparse(model)


def test_state_dependent_exploration_works() -> None:
    model = sparse_agent("sac", "rigl", use_sde=True, policy_kwargs={"net_arch": [16]}).learn(60)
    assert "mu.0" in [name for name, _, _ in masked_layers(model.actor)]
    assert isinstance(model.actor.log_std, nn.Parameter)
    assert_sparse(model)


@pytest.mark.parametrize("kind", [NormalActionNoise, OrnsteinUhlenbeckActionNoise])
def test_action_noise_is_passed_on(kind: type) -> None:
    noise = kind(np.zeros(1), 0.1 * np.ones(1))
    model = sparse_agent("td3", "anf", action_noise=noise)
    assert model.action_noise is noise
    model.learn(30)


def test_td3_without_action_noise_warns() -> None:
    with pytest.warns(UserWarning, match="explores by action noise and has none"):
        sparse_agent("td3", "anf", action_noise=None)
    sparse_agent("td3", None, action_noise=None)
    sparse_agent("sac", "anf", action_noise=None)


class _Clock(BaseCallback):
    """Stops after some steps, having noted the events so far in each."""

    def __init__(self, stop: int) -> None:
        super().__init__()
        self.stop = stop
        self.seen: list[int] = []

    def _on_step(self) -> bool:
        assert isinstance(self.model, SparseTD3)
        assert self.model.topology is not None
        self.seen.append(self.model.topology.events["critic"])
        return self.n_calls < self.stop


def test_callbacks_see_the_topology_and_stop_learning() -> None:
    callback = _Clock(45)
    sparse_agent("td3", "anf").learn(100, callback)
    assert len(callback.seen) == 45
    assert callback.seen[-1] == 2


def test_learning_schedules_and_episodic_training_work() -> None:
    model = sparse_agent(
        "td3", "anf", learning_rate=lambda progress: 1e-3 * progress, train_freq=(1, "episode"),
        gradient_steps=-1,
    )  # fmt: skip
    model.learn(400)
    assert model._n_updates == 400
    assert model.critic.optimizer.param_groups[0]["lr"] < 1e-3


@pytest.mark.parametrize("algorithm", ["td3", "sac"])
def test_multi_step_returns_work(algorithm: str) -> None:
    model = sparse_agent(algorithm, "rlx2", n_steps=3).learn(40)
    assert model.replay_buffer.n_steps == 3


@pytest.mark.parametrize("kind", [SparseTD3Policy, "stock"])
def test_policy_classes_can_be_given_instead_of_names(kind: Any) -> None:
    from stable_baselines3.td3.policies import MlpPolicy

    policy = MlpPolicy if kind == "stock" else kind
    model = sparse_agent("td3", "anf", policy=policy)
    assert type(model.policy) is SparseTD3Policy


def test_a_policy_of_ones_own_becomes_sparse_by_the_mixin() -> None:
    from stable_baselines3.sac.policies import SACPolicy

    class Own(SACPolicy):
        pass

    class SparseOwn(SparsePolicyMixin, Own):
        pass

    with pytest.raises(TypeError, match=r"class SparseOwn\(SparsePolicyMixin, Own\)"):
        sparse_agent("sac", "anf", policy=Own)
    assert_sparse(sparse_agent("sac", "anf", policy=SparseOwn).learn(50))


def test_environments_can_be_named() -> None:
    model = SparseSAC("MlpPolicy", "Pendulum-v1", preset="anf", buffer_size=50, seed=0)
    assert type(model.policy) is SparseSACPolicy


def test_the_environment_is_not_asked_for_its_name_where_it_has_none() -> None:
    class Nameless(gym.Env):
        observation_space = gym.spaces.Box(-1, 1, (4,), np.float32)
        action_space = gym.spaces.Box(-1, 1, (2,), np.float32)

        def reset(self, *, seed: Any = None, options: Any = None) -> Any:
            return self.observation_space.sample(), {}

        def step(self, action: Any) -> Any:
            return self.observation_space.sample(), 0.0, False, False, {}

    env = DummyVecEnv([Nameless])
    assert_sparse(sparse_agent("sac", "ds", env=env).learn(40))


@pytest.mark.parametrize("preset", DYNAMIC)
def test_evaluating_more_often_changes_nothing(preset: str) -> None:
    def trained(every: int) -> Any:
        model = sparse_agent("td3", preset).learn(20)
        for step in range(30):
            if step % every == 0:
                model.predict(np.zeros(3, np.float32))
                model.sparsity_report()
            train_on(model, 1, step)
        return model

    assert_same_tensors(tensors_of(trained(1)), tensors_of(trained(7)))


def test_two_agents_in_one_process_do_not_disturb_each_other() -> None:
    alone = sparse_agent("td3", "anf").learn(20)
    train_on(alone, 30, 0)
    first, second = sparse_agent("td3", "anf").learn(20), None
    second = sparse_agent("sac", "ds")
    set_random_seed(5)
    second.learn(40)
    train_on(first, 30, 0)
    assert_same_tensors(tensors_of(alone), tensors_of(first))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("preset", ["ds", "anf", "rigl", "gmp"])
@pytest.mark.parametrize("algorithm", ["td3", "sac"])
def test_agents_learn_on_a_gpu_and_move_to_the_cpu(
    algorithm: Any, preset: Any, tmp_path: Any
) -> None:
    model = sparse_agent(algorithm, preset, device="cuda").learn(60)
    assert_sparse(model)
    assert model.critic.qf0[0].weight.is_cuda
    model.save(tmp_path / "agent.zip")
    moved = type(model).load(tmp_path / "agent.zip", env=gym.make("Pendulum-v1"), device="cpu")
    before = {name: tensor.cpu() for name, tensor in tensors_of(model).items()}
    assert_same_tensors(before, tensors_of(moved))
    moved.learn(60)
    assert_sparse(moved)
    assert_sparse(copy.deepcopy(moved))
