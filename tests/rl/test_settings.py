"""Names of algorithms, the papers' hyperparameters, and what is refused."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from sparsewire.core.errors import InvalidArgumentError, NoMaskableLayersError
from sparsewire.rl import (
    ALGORITHMS,
    SparseDDPG,
    SparseSAC,
    SparseTD3,
    paper_hyperparameters,
    paper_settings,
    resolve_algorithm,
)
from sparsewire.rl.presets import PRESETS
from tests.rl.helpers import SPARSE, arguments, sparse_agent, stock_agent

PUBLISHED = [
    "ds-td3", "ds-sac", "anf-td3", "anf-sac", "static-td3", "static-sac", "rlx2-td3", "rlx2-sac",
    "rigl-sac", "gmp-sac", "ds-ddpg", "anf-ddpg",
]  # fmt: skip


def test_every_preset_has_a_name_with_every_algorithm() -> None:
    assert len(ALGORITHMS) == 3 * (1 + len(PRESETS))
    assert resolve_algorithm("anf-sac").model_class is SparseSAC
    assert resolve_algorithm("td3").preset is None
    assert resolve_algorithm("td3").model_class is SparseTD3
    assert resolve_algorithm("gmp-ddpg").model_class is SparseDDPG


@pytest.mark.parametrize(("name", "meant"), [("anf-td33", "anf-td3"), ("tdd3", "td3")])
def test_misspelt_algorithms_are_recognised(name: str, meant: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"Did you mean '{meant}'"):
        resolve_algorithm(name)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_settings_make_an_agent(name: str) -> None:
    env = gym.make("Pendulum-v1")
    entry = resolve_algorithm(name)
    settings = paper_settings(name, env) | {"buffer_size": 200}
    kind: Any = entry.model_class
    model = kind("MlpPolicy", env, preset=entry.preset, **settings)
    assert model.learning_starts == 25_000
    assert model.policy.net_arch == [256, 256]
    if entry.algorithm != "sac":
        assert model.action_noise is not None
        assert model.action_noise().shape == (1,)


def test_the_dense_baseline_of_a_paper_has_its_weight_decay() -> None:
    env = gym.make("Pendulum-v1")
    settings = paper_settings("td3", env, like="anf") | {"buffer_size": 200}
    model = SparseTD3("MlpPolicy", env, **settings)
    assert model.topology is None
    assert model.critic.optimizer.param_groups[0]["weight_decay"] == 2e-4
    ours = paper_hyperparameters("td3", like="ds")
    assert ours == paper_hyperparameters("ds-td3")


def test_ds_sac_updates_its_target_rarely_and_at_once() -> None:
    settings = paper_hyperparameters("ds-sac")
    assert (settings["tau"], settings["target_update_interval"]) == (1.0, 1000)


def test_settings_can_be_changed_without_changing_the_next_ones() -> None:
    paper_hyperparameters("anf-td3")["policy_kwargs"]["net_arch"].append(1)
    assert paper_hyperparameters("anf-td3")["policy_kwargs"]["net_arch"] == [256, 256]


@pytest.mark.parametrize(
    ("name", "like", "message"),
    [
        ("td3", None, "like='anf'"),
        ("rigl-td3", None, "no published settings of rigl with td3"),
        ("td3", "anv", "Did you mean 'anf'"),
        ("anf-ppo", None, "unknown algorithm 'anf-ppo'"),
    ],
)
def test_papers_that_do_not_exist_raise(name: str, like: str | None, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        paper_hyperparameters(name, like=like)


def test_action_noise_is_independent_between_actions() -> None:
    env = gym.make("NoisyHalfCheetah-v5", noise_fraction=0.5)
    noise = paper_settings("anf-td3", env)["action_noise"]()
    assert len(np.unique(noise)) == 6


@pytest.mark.parametrize("preset", [None, "anf"])
@pytest.mark.parametrize("algorithm", SPARSE)
def test_discrete_actions_are_refused_clearly(algorithm: str, preset: str | None) -> None:
    options = arguments(algorithm) | {"env": gym.make("CartPole-v1")}
    options.pop("action_noise", None)
    with pytest.raises(TypeError, match="needs continuous actions, a Box"):
        SPARSE[algorithm](**options, preset=preset)
    with pytest.raises(AssertionError):  # what the stock classes raise
        SPARSE[algorithm](**options, preset=preset)


@pytest.mark.parametrize("algorithm", SPARSE)
def test_mistakes_are_found_before_anything_is_built(algorithm: str) -> None:
    with pytest.raises(InvalidArgumentError, match="Did you mean 'static'"):
        SPARSE[algorithm](**arguments(algorithm), preset="sttic")
    with pytest.raises(InvalidArgumentError, match="sparse_kwargs change a preset"):
        SPARSE[algorithm](**arguments(algorithm), sparse_kwargs={"density": 0.1})
    with pytest.raises(InvalidArgumentError, match="density"):
        SPARSE[algorithm](
            **arguments(algorithm, buffer_size=10**15), preset="anf", sparse_kwargs={"density": 2}
        )


def test_networks_without_a_layer_of_the_role_are_refused() -> None:
    with pytest.raises(NoMaskableLayersError, match="no network has a layer of role hidden"):
        sparse_agent("td3", "anf", {"layers": ["hidden"]}, policy_kwargs={"net_arch": [8]})


def test_one_network_may_have_no_layer_of_the_role() -> None:
    net = {"net_arch": {"pi": [8], "qf": [8, 8]}}
    model = sparse_agent("td3", "anf", {"layers": ["hidden"]}, policy_kwargs=net).learn(50)
    assert list(model.topology.handles) == ["critic"]
    assert model.topology.events == {"critic": 3}


def test_stock_classes_and_sparse_ones_have_the_same_defaults() -> None:
    for algorithm in SPARSE:
        ours, stock = sparse_agent(algorithm, None), stock_agent(algorithm)
        own = {"preset", "sparse_kwargs", "sparsity"}
        assert vars(ours).keys() - own == vars(stock).keys()
