"""Numbers of connections, and the settings that lead to them, against the papers' tables."""

import json
import math
from fractions import Fraction
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy

from sparsewire.core import RigL
from sparsewire.core.errors import InfeasibleDensityError, InvalidArgumentError
from sparsewire.rl.layers import count_connections, layers_of
from sparsewire.rl.presets import (
    PRESETS,
    check_overrides,
    published_epsilon,
    resolve_settings,
)
from sparsewire.rl.sparsity_settings import SparsitySettings
from tests.rl.helpers import generators

WIDTHS = [256, 256]


def networks(d: int, a: int, policy: type = TD3Policy, net_arch: list[int] | None = None) -> Any:
    box = gym.spaces.Box(-1, 1, (d,), np.float32), gym.spaces.Box(-1, 1, (a,), np.float32)
    made = policy(*box, lambda _: 0.001, net_arch=net_arch or WIDTHS)
    return {"actor": layers_of(made.actor), "critic": layers_of(made.critic)}


def counts_for(preset: str, d: int, a: int, **kwargs: Any) -> Any:
    options: dict[str, Any] = {"algorithm": "td3", "seed": 0} | kwargs
    net_arch = options.pop("net_arch", None)
    policy = SACPolicy if options["algorithm"] == "sac" else TD3Policy
    settings = resolve_settings(preset, options.pop("sparse_kwargs", None), **options)
    layers = networks(d, a, policy, net_arch)
    return layers, count_connections(settings, layers)


def total_sparsity(layers: Any, counts: Any) -> float:
    weights = connections = 0
    for network, found in layers.items():
        for layer in found:
            weights += layer.shape.numel
            connections += counts[network].get(layer.shape.name, layer.shape.numel)
    return 1 - connections / weights


@pytest.mark.parametrize(
    ("env_id", "d", "a", "actor", "critic", "total"),
    [
        ("HalfCheetah-v5", 17, 6, 0.439, 0.332, 0.506),
        ("Walker2d-v4", 17, 6, 0.439, 0.332, 0.506),
        ("Hopper-v3", 11, 3, 0.664, 0.527, 0.494),
        ("Ant-v3", 111, 8, 0.517, 0.492, 0.496),
        ("Ant-v5", 105, 8, 0.537, 0.510, 0.490),
        ("Humanoid-v3", 376, 17, 0.401, 0.393, 0.557),
        ("Humanoid-v5", 348, 17, 0.414, 0.405, 0.548),
    ],
)
def test_ds_td3_has_the_densities_of_its_paper(
    env_id: Any, d: Any, a: Any, actor: Any, critic: Any, total: Any
) -> None:
    layers, counts = counts_for("ds", d, a, env_id=env_id)
    assert counts["actor"]["mu.0.weight"] / (256 * d) == pytest.approx(actor, abs=6e-4)
    assert counts["critic"]["qf1.0.weight"] / (256 * (d + a)) == pytest.approx(critic, abs=6e-4)
    assert counts["critic"]["qf0.2.weight"] == 256 * 256 // 2
    assert total_sparsity(layers, counts) == pytest.approx(total, abs=6e-4)


@pytest.mark.parametrize(
    ("env_id", "d", "a", "total"),
    [
        ("HalfCheetah-v3", 17, 6, 0.37),
        ("Hopper-v3", 11, 3, 0.82),
        ("Ant-v3", 111, 8, 0.53),
        ("Humanoid-v3", 376, 17, 0.55),
    ],
)
def test_ds_sac_has_the_sparsity_of_its_appendix(env_id: Any, d: Any, a: Any, total: Any) -> None:
    layers, counts = counts_for("ds", d, a, env_id=env_id, algorithm="sac")
    assert total_sparsity(layers, counts) == pytest.approx(total, abs=0.006)


@pytest.mark.parametrize("net_arch", [[400, 300], [64, 64], [32]], ids=str)
@pytest.mark.parametrize("algorithm", ["td3", "sac"])
def test_ds_halves_all_weights_where_the_paper_says_nothing(net_arch: Any, algorithm: Any) -> None:
    layers, counts = counts_for("ds", 30, 4, net_arch=net_arch, algorithm=algorithm)
    assert total_sparsity(layers, counts) == pytest.approx(0.5, abs=0.01)


def test_ds_does_not_make_a_hidden_layer_dense_when_networks_are_narrow() -> None:
    _, counts = counts_for("ds", 17, 6, env_id="HalfCheetah-v5", net_arch=[64, 64])
    assert counts["actor"]["mu.2.weight"] == 64 * 64 // 2


@given(d=st.integers(1, 60), a=st.integers(1, 8), percent=st.integers(1, 100))
def test_anf_keeps_floor_of_density_times_weights(d: int, a: int, percent: int) -> None:
    _, counts = counts_for("anf", d, a, sparse_kwargs={"density": percent / 100}, net_arch=[16])
    for network, n_in in (("actor", d), ("critic", d + a)):
        for name, count in counts[network].items():
            assert name.endswith(".0.weight")
            assert count == max(1, math.floor(Fraction(percent, 100) * n_in * 16))
    assert len(counts["critic"]) == 2


def test_anf_has_a_fifth_of_the_input_layer_whatever_the_action_inputs() -> None:
    _, counts = counts_for("anf", 850, 6)
    assert counts["actor"] == {"mu.0.weight": math.floor(Fraction(1, 5) * 850 * 256)}
    assert counts["critic"]["qf0.0.weight"] == math.floor(Fraction(1, 5) * 856 * 256)


@pytest.mark.parametrize("preset", ["rigl", "gmp", "rlx2"])
def test_erdos_renyi_presets_meet_the_budget_of_each_network(preset: str) -> None:
    layers, counts = counts_for(preset, 17, 6)
    for network, found in layers.items():
        weights = sum(layer.shape.numel for layer in found)
        density = 0.15 if (preset, network) == ("rlx2", "critic") else 0.1
        assert sum(counts[network].values()) == round(density * weights)


def test_sac_heads_are_outputs_and_latent_layers_are_not() -> None:
    found = networks(3, 2, SACPolicy)["actor"]
    assert [(layer.name, layer.role) for layer in found] == [
        ("latent_pi.0", "input"),
        ("latent_pi.2", "hidden"),
        ("mu", "output"),
        ("log_std", "output"),
    ]


def test_the_only_layer_of_a_network_is_an_input_layer() -> None:
    policy = TD3Policy(
        gym.spaces.Box(-1, 1, (3,), np.float32),
        gym.spaces.Box(-1, 1, (2,), np.float32),
        lambda _: 0.001,
        net_arch=[],
    )
    assert [layer.role for layer in layers_of(policy.actor)] == ["input"]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("algorithm", ["td3", "sac", "ddpg"])
def test_settings_survive_json(preset: str, algorithm: str) -> None:
    settings = resolve_settings(preset, algorithm=algorithm, env_id="Ant-v5", policy_delay=2)
    assert SparsitySettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


def test_settings_turn_numpy_numbers_into_plain_ones() -> None:
    changes = {"density": np.float32(0.5), "update_interval": np.int64(7)}
    settings = resolve_settings("anf", changes, algorithm="td3", seed=0)
    assert json.loads(json.dumps(settings.to_dict()))["density"] == 0.5


def test_a_missing_seed_is_drawn_without_touching_global_generators() -> None:
    before = generators()
    seeds = {resolve_settings("anf", algorithm="td3").seed for _ in range(5)}
    assert len(seeds) == 5
    after = generators()
    assert torch.equal(after[0], before[0])
    assert np.array_equal(after[1], before[1])


@pytest.mark.parametrize("preset", ["ds", "anf", "rigl", "rlx2", "gmp"])
def test_the_actor_updates_with_the_critic_whatever_the_policy_delay(preset: str) -> None:
    changes = {"update_interval": 1000, "total_steps": 100_000}
    for delay in (1, 2, 5):
        settings = resolve_settings(preset, changes, algorithm="td3", seed=0, policy_delay=delay)
        actor, critic = settings.method_of("actor").when, settings.method_of("critic").when
        assert actor is not None
        assert critic is not None
        own = [step for step in range(1, 100_000 // delay) if actor.due(step)]
        assert [step * delay for step in own] == [s for s in range(1, 100_000) if critic.due(s)]


def test_drop_fraction_zero_freezes_the_topology_of_any_preset() -> None:
    settings = resolve_settings("ds", {"drop_fraction": 0}, algorithm="td3", seed=0)
    assert settings.method_of("critic").when is None


def test_rigl_ends_at_four_fifths_and_gmp_runs_from_one_fifth() -> None:
    rigl = resolve_settings("rigl", {"total_steps": 50_000}, algorithm="sac", seed=0)
    gmp = resolve_settings("gmp", {"total_steps": 50_000}, algorithm="sac", seed=0)
    method = rigl.method_of("critic")
    assert isinstance(method, RigL)
    assert method.schedule(40_000) == 0
    assert method.schedule(20_000) == pytest.approx(0.25)
    assert (gmp.begin, gmp.end) == (10_000, 40_000)


def test_published_epsilon_knows_every_version_and_noisy_variant() -> None:
    for version in ("HalfCheetah-v3", "HalfCheetah-v4", "HalfCheetah-v5", "NoisyHalfCheetah-v5"):
        assert published_epsilon(version, "td3") == {"input": 7.0, "hidden": 64.0}
    assert published_epsilon("Hopper-v5", "sac") == {"input": 7.0, "hidden": 20.0}
    assert published_epsilon("", "td3") is None


@pytest.mark.parametrize(
    ("preset", "changes", "message"),
    [
        ("anv", {}, "unknown preset 'anv'.*Did you mean 'anf'"),
        (7, {}, "unknown preset 7"),
        (None, {"density": 0.1}, "preset is None"),
        ("anf", {"densty": 0.1}, "unknown entry 'densty'.*Did you mean 'density'"),
        ("anf", {"epsilon": {"input": 3}}, "epsilon has no meaning"),
        ("static", {"drop_fraction": 0.1}, "drop_fraction has no meaning"),
        ("gmp", {"drop_fraction": 0.1}, "drop_fraction has no meaning"),
    ],
)
def test_unknown_names_raise(preset: Any, changes: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        check_overrides(preset, changes)


@pytest.mark.parametrize(
    ("preset", "changes", "message"),
    [
        ("anf", {"density": 0}, r"density must be a number in \(0, 1\], got 0"),
        ("anf", {"density": 1.5}, "got 1.5"),
        ("anf", {"density": None}, "got None"),
        ("anf", {"density": {"actor": 0.5}}, "'actor' and 'critic'"),
        ("ds", {"density": {"actor": 0.5, "critic": 0.5}}, "one number"),
        ("anf", {"drop_fraction": -0.1}, "drop_fraction"),
        ("anf", {"update_interval": 0}, "update_interval must be an integer >= 1"),
        ("anf", {"layers": []}, "layers must be a list"),
        ("anf", {"layers": ["inputs"]}, "Did you mean 'input'"),
        ("anf", {"layers": "input"}, "layers must be a list"),
        ("anf", {"storage": "dense"}, "storage must be one of"),
        ("anf", {"target": "mesk"}, "Did you mean 'mask'"),
        ("anf", {"allocation": "erm"}, "allocation must be one of"),
        ("anf", {"total_steps": 0}, "total_steps"),
        ("ds", {"epsilon": {"input": 7}}, "keys 'input', 'hidden'"),
        ("ds", {"epsilon": {"input": 7, "hidden": -1}}, "epsilon of 'hidden'"),
        ("ds", {"epsilon": {"input": 7, "hidden": 1}, "density": 0.5}, "leave density"),
        ("ds", {"storage": "csr"}, "needs target='mask'"),
        ("rigl", {"total_steps": 500}, "no topology update falls into"),
    ],
)
def test_values_out_of_range_raise(preset: str, changes: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        resolve_settings(preset, changes, algorithm="td3", seed=0)


def test_unknown_entries_of_saved_settings_raise() -> None:
    content = resolve_settings("anf", algorithm="td3", seed=0).to_dict()
    with pytest.raises(InvalidArgumentError, match="missing or unknown: colour"):
        SparsitySettings.from_dict(content | {"colour": 1})


def test_a_density_that_the_dense_layers_use_up_raises() -> None:
    with pytest.raises(InfeasibleDensityError, match="stay dense"):
        counts_for("ds", 3, 1, sparse_kwargs={"density": 0.01, "layers": ["input"]})
