"""Reports and logs against counts made by hand."""

import csv
import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import sparsewire.rl
from sparsewire.core.errors import InvalidArgumentError
from sparsewire.rl import SparsityCallback
from tests.rl.helpers import masked_layers, sparse_agent, stock_agent

assert sparsewire.rl.__doc__  # its import registers the noisy environments


def noisy() -> gym.Env:
    return gym.make("NoisyPendulum-v1", noise_fraction=0.8)


@pytest.mark.parametrize("storage", ["masked", "csr"])
@pytest.mark.parametrize("algorithm", ["td3", "sac"])
def test_parameters_and_flops_are_those_of_the_connections(algorithm: str, storage: str) -> None:
    model = sparse_agent(algorithm, "rigl", {"storage": storage}).learn(40)
    report = model.sparsity_report()
    dense = stock_agent(algorithm)
    networks = (dense.actor, dense.critic)
    assert report.dense_parameters == sum(p.numel() for n in networks for p in n.parameters())
    matrices = [p for n in networks for p in n.parameters() if p.ndim == 2]
    assert report.dense_flops == 2 * sum(m.numel() for m in matrices)
    connections = sum(
        int(mask.sum()) for h in model.topology.handles.values() for mask in h.masks().values()
    )
    assert report.flops == 2 * connections
    biases = report.dense_parameters - sum(m.numel() for m in matrices)
    assert report.parameters == connections + biases
    assert report.density == pytest.approx(0.1, abs=2e-3)


def test_dropped_and_grown_connections_are_counted() -> None:
    model = sparse_agent("td3", "anf").learn(45)
    rows = {(row.network, row.layer): row for row in model.sparsity_report().layers}
    first = rows["qf1", "0"]
    assert first.role == "input"
    assert first.dropped == first.grown == 2 * math.floor(0.2 * first.connections)
    assert rows["actor", "mu.2"].storage == "dense"
    assert rows["actor", "mu.2"].connections == 24 * 24


def test_a_dense_agent_has_a_report_too() -> None:
    report = sparse_agent("sac", None, env=noisy()).sparsity_report()
    assert report.density == 1.0
    assert report.events == {}
    assert {focus.ratio for focus in report.focus} == {1.0}
    assert "none, dense" in str(report)


@pytest.mark.parametrize("storage", ["masked", "csr"])
@pytest.mark.parametrize("algorithm", ["td3", "sac"])
def test_focus_is_the_mean_number_of_connections_of_an_input(algorithm: Any, storage: Any) -> None:
    model = sparse_agent(algorithm, "anf", {"storage": storage}, env=noisy()).learn(45)
    focus = {f.network: f for f in model.sparsity_report().focus}
    assert list(focus) == ["actor", "qf0", "qf1"]
    masks = model.topology.handles["critic"].masks()["qf0.0.weight"].sum(0).double()
    assert focus["qf0"].real == pytest.approx(float(masks[:3].mean()))
    assert focus["qf0"].noise == pytest.approx(float(masks[3:15].mean()))
    assert focus["qf0"].action == pytest.approx(float(masks[15:].mean()))
    assert focus["actor"].action is None
    ratio = focus["qf0"].real / focus["qf0"].noise
    assert focus["qf0"].ratio == pytest.approx(ratio)


def test_focus_is_found_under_vectorised_and_normalised_environments() -> None:
    env = VecNormalize(DummyVecEnv([noisy, noisy]))
    model = sparse_agent("td3", "anf", env=env)
    assert len(model.sparsity_report().focus) == 3


def test_which_inputs_are_real_can_be_given() -> None:
    model = sparse_agent("td3", "anf")
    assert model.sparsity_report().focus == ()
    report = model.sparsity_report(relevant=np.array([True, False, False]))
    masks = model.topology.handles["actor"].masks()["mu.0.weight"].sum(0)
    assert report.focus[0].real == int(masks[0])
    assert math.isnan(model.sparsity_report(relevant=np.ones(3, bool)).focus[0].noise)
    for wrong in (np.ones(4, bool), np.ones(3), [1, 0, 0]):
        with pytest.raises(InvalidArgumentError, match=r"bool of shape \(3,\)"):
            model.sparsity_report(relevant=wrong)


def test_focus_needs_observations_that_reach_the_networks_as_they_are() -> None:
    from stable_baselines3.common.envs import SimpleMultiObsEnv

    env = SimpleMultiObsEnv(random_start=False, discrete_actions=False)
    model = sparse_agent("sac", "anf", policy="MultiInputPolicy", env=env)
    assert model.sparsity_report().focus == ()
    with pytest.raises(InvalidArgumentError, match="vectors"):
        model.sparsity_report(relevant=np.ones(3, bool))


def test_a_report_is_a_table_and_a_frame() -> None:
    model = sparse_agent("td3", "anf", env=noisy())
    report = model.sparsity_report()
    frame = report.to_frame()
    assert len(frame) == len(report.layers) == 9
    assert frame["connections"].sum() * 2 == report.flops
    assert list(report.focus_frame()["network"]) == ["actor", "qf0", "qf1"]
    assert list(model.sparsity_report().focus_frame().columns)[:2] == ["network", "real"]
    text = str(report)
    assert "mean connections of an input" in text
    assert "masks on dense weights save no time" in text
    assert "topology updates: actor 0, critic 0" in text


def test_the_callback_logs_the_report(tmp_path: Any) -> None:
    model = sparse_agent("sac", "anf", env=noisy())
    model.set_logger(configure(str(tmp_path), ["csv", "stdout"]))
    model.learn(45, SparsityCallback(log_every=10), log_interval=None)
    model.logger.dump(45)
    model.logger.close()
    with (tmp_path / "progress.csv").open() as file:
        row = list(csv.DictReader(file))[-1]
    report = model.sparsity_report()
    assert float(row["sparsity/total"]) == pytest.approx(report.density)
    assert float(row["sparsity/flops_ratio"]) == pytest.approx(report.density)
    assert int(row["topology/events"]) == report.events["critic"] == 2
    mask = next(mask for _, _, mask in masked_layers(model.critic))
    assert int(row["sparsity/qf0/0/nnz"]) == int(mask.sum())
    for entry in ("density", "dropped", "grown"):
        assert f"sparsity/actor/latent_pi.0/{entry}" in row
    for network in ("actor", "qf0", "qf1"):
        for entry in ("real", "noise", "ratio"):
            assert f"focus/{network}_{entry}" in row
    assert "focus/qf0_action" in row


def test_a_callback_logs_dense_agents_too_and_checks_its_argument() -> None:
    model = sparse_agent("td3", None).learn(25, SparsityCallback(log_every=5))
    assert model.logger.name_to_value["sparsity/total"] == 1.0
    with pytest.raises(InvalidArgumentError, match="log_every"):
        SparsityCallback(log_every=0)
