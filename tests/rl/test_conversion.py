"""Dense agents of Stable-Baselines3 made sparse."""

from typing import Any

import gymnasium as gym
import pytest
import torch
from stable_baselines3 import DQN, SAC, TD3

from sparsewire.core.errors import InvalidArgumentError, StateError, UnsupportedError
from sparsewire.rl import SparseTD3, sparsify
from tests.rl.helpers import (
    OFTEN,
    PRESETS,
    STOCK,
    arguments,
    assert_same_tensors,
    assert_sparse,
    generators,
    masked_layers,
    sparse_agent,
    stock_agent,
    tensors_of,
    train_on,
)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("algorithm", ["td3", "sac", "ddpg"])
def test_an_untrained_agent_becomes_what_the_sparse_class_makes(
    algorithm: Any, preset: Any
) -> None:
    direct = sparse_agent(algorithm, preset)
    converted: Any = sparsify(stock_agent(algorithm), preset, **OFTEN[preset])
    assert converted.sparsity == direct.sparsity
    assert_same_tensors(tensors_of(direct), tensors_of(converted))
    for model in (direct, converted):
        model.set_random_seed(4)
        model.learn(50)
    assert_same_tensors(tensors_of(direct), tensors_of(converted))


@pytest.mark.parametrize("storage", ["masked", "csr"])
def test_weights_are_those_of_the_agent_not_those_of_its_seed(storage: str) -> None:
    dense = stock_agent("td3")
    with torch.no_grad():
        dense.critic.qf0[0].weight.fill_(3.0)
        dense.critic_target.qf0[0].weight.fill_(4.0)
        dense.critic.qf0[0].bias.fill_(5.0)
    model: Any = sparsify(dense, "anf", storage=storage)
    online, target = model.critic.qf0[0], model.critic_target.qf0[0]
    assert set(online.weight.unique().tolist()) - {0.0} == {3.0}
    assert set(target.weight.unique().tolist()) - {0.0} == {4.0}
    assert set(online.bias.tolist()) == {5.0}


def test_rlx2_begins_with_the_largest_weights_of_the_agent() -> None:
    dense = stock_agent("td3")
    weight = dense.actor.mu[2].weight.detach()
    with torch.no_grad():
        weight.copy_(torch.randn(24, 24))
    model: Any = sparsify(dense, "rlx2")
    mask = model.topology.handles["actor"].masks()["mu.2.weight"]
    assert weight.abs()[mask].min() > weight.abs()[~mask].max()


@pytest.mark.parametrize("algorithm", ["td3", "sac"])
@pytest.mark.parametrize("storage", ["masked", "csr"])
def test_a_trained_agent_keeps_its_largest_weights(algorithm: str, storage: str) -> None:
    dense = stock_agent(algorithm).learn(60)
    state = {name: t.clone() for name, t in dense.policy.state_dict().items()}
    buffer, steps = dense.replay_buffer, dense.num_timesteps
    model: Any = sparsify(dense, "rigl", prune="magnitude", storage=storage, density=0.3)
    assert (model.replay_buffer, model.num_timesteps) == (buffer, steps)
    for name, handle in model.topology.handles.items():
        for key, mask in handle.masks().items():
            weight = state[f"{name}.{key}"]
            if not mask.all():
                assert weight.abs()[mask].min() >= weight.abs()[~mask].max()
            if storage == "masked":
                assert torch.equal(getattr(model, name).get_parameter(key)[mask], weight[mask])
                target = model.critic_target.state_dict().get(key) if name == "critic" else None
                if target is not None:
                    expected = torch.where(mask, state[f"critic_target.{key}"], 0)
                    assert torch.equal(target, expected)
    if algorithm == "sac":
        assert torch.equal(model.log_ent_coef, dense.log_ent_coef)
    assert not model.critic.optimizer.state
    train_on(model, 30, 0)
    if storage == "masked":
        assert_sparse(model)


def test_conversion_leaves_generators_and_environment_alone() -> None:
    dense = stock_agent("sac").learn(30 - 15)
    before, observation = generators(), dense._last_obs
    model: Any = sparsify(dense, "anf")
    after = generators()
    assert torch.equal(before[0], after[0])
    assert (before[1] == after[1]).all()
    assert model._last_obs is observation
    assert model.env is dense.env
    assert model.seed == 0


def test_multi_step_returns_survive_conversion() -> None:
    model: Any = sparsify(stock_agent("td3", n_steps=3), "anf")
    assert (model.n_steps, model.replay_buffer.n_steps) == (3, 3)


def test_a_dense_agent_of_the_sparse_class_can_be_converted() -> None:
    model: Any = sparsify(sparse_agent("td3", None), "anf")
    assert type(model) is SparseTD3
    assert model.topology is not None


def test_a_converted_agent_is_saved_and_loaded(tmp_path: Any) -> None:
    model: Any = sparsify(stock_agent("td3").learn(40), "anf", prune="magnitude").learn(40)
    model.save(tmp_path / "agent.zip")
    new = SparseTD3.load(tmp_path / "agent.zip", env=gym.make("Pendulum-v1"))
    assert_same_tensors(tensors_of(model), tensors_of(new))


def test_every_sparse_layer_of_a_converted_agent_has_a_masked_target() -> None:
    model: Any = sparsify(stock_agent("td3"), "ds")
    for name, module, mask in masked_layers(model.critic):
        target = model.critic_target.get_submodule(name)
        assert torch.equal(target.get_buffer("weight_mask"), mask)
        assert torch.equal(target.get_parameter("weight"), module.weight)


@pytest.mark.parametrize("algorithm", STOCK)
def test_a_trained_agent_is_refused_without_prune(algorithm: str) -> None:
    model = stock_agent(algorithm).learn(25)
    with pytest.raises(StateError, match=r"trained for 5 steps.*prune='magnitude'"):
        sparsify(model, "anf")


def unsupported() -> list[Any]:
    class Own(TD3):
        pass

    return [
        (lambda: Own(**arguments("td3")), UnsupportedError, "not Own"),
        (lambda: DQN("MlpPolicy", "CartPole-v1", buffer_size=9), UnsupportedError, "not DQN"),
        (lambda: sparse_agent("td3", "anf"), StateError, "sparse already"),
        (lambda: torch.nn.Linear(2, 2), UnsupportedError, "not Linear"),
    ]


@pytest.mark.parametrize(("make", "error", "message"), unsupported())
def test_other_models_are_refused(make: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        sparsify(make(), "anf")


def test_bad_arguments_are_refused() -> None:
    model = SAC("MlpPolicy", "Pendulum-v1", buffer_size=10)
    with pytest.raises(InvalidArgumentError, match="Did you mean 'rigl'"):
        sparsify(model, "rigle")
    with pytest.raises(InvalidArgumentError, match="preset must be one of"):
        sparsify(model, None)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match="prune must be None or 'magnitude'"):
        sparsify(model, "anf", prune="random")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match="unknown entry 'densities'"):
        sparsify(model, "anf", densities=0.1)
