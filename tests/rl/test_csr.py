"""Truly sparse storage trains the agent that masks train."""

from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.utils import set_random_seed

from sparsewire.core import SparseLinear
from sparsewire.rl.targets import follow_, prepare
from tests.rl.helpers import sparse_agent, train_on

LAYERS = {"layers": ["input", "hidden"], "density": 0.3}
CASES = [("anf", {}), ("anf", LAYERS), ("rigl", {}), ("rlx2", {}), ("gmp", {}), ("static", LAYERS)]


def dense_weights(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The dense matrices and biases of a network in either storage."""
    found = {}
    for name, module in network.named_modules():
        if isinstance(module, SparseLinear):
            flat = torch.zeros(module.out_features * module.in_features)
            flat[module.positions()] = module.values()
            found[f"{name}.weight"] = flat.view(module.out_features, module.in_features)
            assert module.bias is not None
            found[f"{name}.bias"] = module.bias.detach()
        elif isinstance(module, torch.nn.Linear):
            found[f"{name}.weight"] = module.weight.detach()
            found[f"{name}.bias"] = module.bias.detach()
    return found


def networks(model: Any) -> dict[str, torch.nn.Module]:
    names = ("actor", "critic", "actor_target", "critic_target")
    return {name: getattr(model, name) for name in names if hasattr(model, name)}


def assert_close(a: Any, b: Any, tolerance: float) -> None:
    for name, network in networks(a).items():
        ours, theirs = dense_weights(network), dense_weights(networks(b)[name])
        for key, weight in ours.items():
            assert torch.equal(weight != 0, theirs[key] != 0), (name, key)
            np.testing.assert_allclose(weight, theirs[key], atol=tolerance, rtol=1e-3)


@pytest.mark.parametrize("algorithm", ["td3", "sac"])
@pytest.mark.parametrize(("preset", "changes"), CASES)
def test_both_storages_take_the_same_way(algorithm: str, preset: str, changes: Any) -> None:
    # A step size at which rounding does not decide which of two weights is the smaller one.
    agents = [
        sparse_agent(algorithm, preset, changes | {"storage": storage}, learning_rate=1e-3)
        for storage in ("masked", "csr")
    ]
    masked, csr = agents
    assert_close(masked, csr, 0.0)
    for agent in agents:
        set_random_seed(0)
        agent.learn(20)
        for step in range(34):
            train_on(agent, 1, step)
    assert masked.topology.events == csr.topology.events
    assert (masked.topology.events["critic"] > 0) is (preset not in ("static", "gmp"))
    assert_close(masked, csr, 2e-4)


@pytest.mark.parametrize("algorithm", ["td3", "sac"])
def test_gmp_shortens_the_lists_of_connections(algorithm: str) -> None:
    model = sparse_agent(algorithm, "gmp", {"storage": "csr", "density": 0.2}).learn(20)
    first = model.critic_target.qf0[0].n_connections
    train_on(model, 200, 0)
    online, target = model.critic.qf0[2], model.critic_target.qf0[2]
    assert model.critic_target.qf0[0].n_connections <= first
    assert online.n_connections == target.n_connections < 24 * 24
    assert torch.equal(online.positions(), target.positions())
    assert model.topology.handles["critic"].density() == pytest.approx(0.2, abs=1e-3)
    model.predict(np.zeros(3, np.float32))


def test_targets_have_the_index_of_the_trained_network_after_every_step() -> None:
    model = sparse_agent("td3", "anf", LAYERS | {"storage": "csr"}).learn(20)
    for step in range(40):
        train_on(model, 1, step)
        for name in ("actor", "critic"):
            target = dict(networks(model)[f"{name}_target"].named_modules())
            for key, module in networks(model)[name].named_modules():
                if isinstance(module, SparseLinear):
                    assert torch.equal(module.positions(), target[key].positions())


def test_kept_connections_keep_their_target_weight_by_position() -> None:
    layer = SparseLinear(6, 5, n_connections=12)
    online = torch.nn.Sequential(layer)
    target = torch.nn.Sequential(torch.nn.Linear(6, 5))
    prepare(online, target)
    before = dense_weights(target)["0.weight"]
    other = SparseLinear(6, 5, n_connections=12)
    layer.set_index(other.index.copy())
    follow_(online, target)
    after = dense_weights(target)["0.weight"]
    both = torch.zeros(30, dtype=torch.bool)
    both[other.positions()] = True
    both = both.view(5, 6) & (before != 0)
    assert 0 < int(both.sum()) < 12
    assert torch.equal(after, torch.where(both, before, 0))


@pytest.mark.parametrize(
    ("preset", "net_arch", "truly_sparse"),
    [
        ("rigl", [24, 24], False),  # too small
        ("anf", [256, 256], False),  # its input layer is small
        ("rigl", [256, 256], True),
        ("gmp", [256, 256], False),  # starts dense
        ("ds", [256, 256], False),  # targets have connections of their own
    ],
)
def test_auto_stores_connections_alone_where_that_is_faster(
    preset: str, net_arch: list[int], truly_sparse: bool
) -> None:
    net = {"policy_kwargs": {"net_arch": net_arch}}
    model = sparse_agent("td3", preset, {"storage": "auto"}, **net)
    for network in networks(model).values():
        assert any(isinstance(m, SparseLinear) for m in network.modules()) is truly_sparse


def test_auto_does_not_depend_on_the_machine() -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        two = sparse_agent(
            "td3", "rigl", {"storage": "auto"}, policy_kwargs={"net_arch": [256] * 2}
        )
    finally:
        torch.set_num_threads(threads)
    one = sparse_agent("td3", "rigl", {"storage": "auto"}, policy_kwargs={"net_arch": [256] * 2})
    assert two.policy.state_dict().keys() == one.policy.state_dict().keys()


def test_every_layer_is_truly_sparse_when_asked() -> None:
    model = sparse_agent("sac", "rigl", {"storage": "csr"})
    report = model.sparsity_report()
    assert {row.storage for row in report.layers} == {"csr"}
    masked = sparse_agent("sac", "rigl").sparsity_report()
    assert (report.parameters, report.flops) == (masked.parameters, masked.flops)
    assert report.dense_parameters == masked.dense_parameters
