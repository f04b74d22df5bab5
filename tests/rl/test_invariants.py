"""What stays true while a sparse agent learns, whatever the optimizer and the preset."""

from typing import Any

import pytest
import torch
from stable_baselines3.common.utils import set_random_seed

from tests.rl.helpers import (
    PRESETS,
    assert_same_tensors,
    assert_sparse,
    connections,
    masked_layers,
    sparse_agent,
    tensors_of,
    train_on,
)

OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "adam": (torch.optim.Adam, {"weight_decay": 2e-4}),
    "amsgrad": (torch.optim.Adam, {"amsgrad": True}),
    "adamw": (torch.optim.AdamW, {"weight_decay": 0.1, "amsgrad": True}),
    "rmsprop": (torch.optim.RMSprop, {"momentum": 0.9, "centered": True}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.01}),
}
ALL = {"layers": ["input", "hidden", "output"]}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("algorithm", ["td3", "sac"])
def test_everything_inactive_is_zero_in_every_step(algorithm: str, optimizer: str) -> None:
    kind, options = OPTIMIZERS[optimizer]
    net = {"net_arch": [16, 16], "optimizer_class": kind, "optimizer_kwargs": options}
    more = {"policy_kwargs": net, "learning_rate": 1e-3}
    model = sparse_agent(algorithm, "anf", ALL | {"density": 0.3}, **more)
    model.learn(21)
    before = connections(model)
    assert sum(before.values()) > 0
    for step in range(100):
        train_on(model, 1, step)
        assert_sparse(model)
        assert connections(model) == before
    assert model.topology.events == {"actor": 10, "critic": 10}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("algorithm", ["td3", "sac"])
def test_every_preset_keeps_the_invariants(algorithm: str, preset: str) -> None:
    model = sparse_agent(algorithm, preset)
    model.learn(21)
    before = connections(model)
    for step in range(60):
        train_on(model, 1, step)
        assert_sparse(model)
        if preset != "gmp":
            assert connections(model) == before
    events = set(model.topology.events.values())
    assert events == {{"static": 0, "gmp": 3}.get(preset, 6)}


@pytest.mark.parametrize("algorithm", ["td3", "sac"])
def test_gmp_prunes_along_its_ramp_to_the_exact_budget(algorithm: str) -> None:
    model = sparse_agent(algorithm, "gmp", {"density": 0.2})
    model.learn(21)
    weights = {n: m.numel() for n, m in model.topology.handles["critic"].masks().items()}
    seen = [sum(connections(model).values())]
    for step in range(200):
        train_on(model, 1, step)
        seen.append(sum(connections(model).values()))
    assert seen == sorted(seen, reverse=True)
    assert model.topology.handles["critic"].density() == pytest.approx(0.2, abs=1e-3)
    assert seen[0] > sum(weights.values())
    assert_sparse(model)


def test_events_happen_in_the_same_gradient_step_for_actor_and_critic() -> None:
    model = sparse_agent("td3", "anf", {"update_interval": 6}, policy_delay=3)
    model.learn(20)
    for step in range(1, 31):
        train_on(model, 1, step)
        done = model._n_updates // 6
        assert model.topology.events == {"actor": done, "critic": done}


@pytest.mark.parametrize("algorithm", ["td3", "sac"])
def test_only_layers_of_the_chosen_roles_are_sparse(algorithm: str) -> None:
    model = sparse_agent(algorithm, "anf")
    first = {"td3": "mu.0", "sac": "latent_pi.0"}[algorithm]
    assert [name for name, _, _ in masked_layers(model.actor)] == [first]
    assert [name for name, _, _ in masked_layers(model.critic)] == ["qf0.0", "qf1.0"]
    model = sparse_agent(algorithm, "anf", {"layers": ["hidden", "output"], "density": 0.4})
    assert first not in [name for name, _, _ in masked_layers(model.actor)]
    assert [n for n, _, _ in masked_layers(model.critic)] == ["qf0.2", "qf0.4", "qf1.2", "qf1.4"]


@pytest.mark.parametrize("preset", ["anf", "rigl", "ds"])
def test_gradient_steps_per_call_make_no_difference(preset: str) -> None:
    results = []
    for sizes in ([24], [5, 1, 8, 10]):
        model = sparse_agent("td3", preset)
        model.learn(20)
        set_random_seed(3)
        for size in sizes:
            model.train(size, 32)
        results.append(tensors_of(model))
    assert_same_tensors(*results)


def test_rlx2_begins_with_the_largest_initial_weights() -> None:
    torch.manual_seed(0)
    model = sparse_agent("td3", "rlx2")
    dense = sparse_agent("td3", None)
    for name, module, mask in masked_layers(model.critic):
        weight = dense.critic.get_submodule(name).weight.detach()
        assert weight.abs()[mask].min() >= weight.abs()[~mask].max() if (~mask).any() else True
        assert torch.equal(module.weight.detach()[mask], weight[mask])
        assert torch.equal(model.critic_target.get_submodule(name).weight, module.weight)


def test_networks_of_one_agent_have_different_topologies() -> None:
    model = sparse_agent("td3", "anf")
    masks = model.topology.handles["critic"].masks()
    assert not torch.equal(masks["qf0.0.weight"], masks["qf1.0.weight"])


def test_a_static_agent_begins_with_the_topology_of_anf() -> None:
    a, b = sparse_agent("td3", "anf"), sparse_agent("td3", "static")
    for name in ("actor", "critic"):
        ours, theirs = a.topology.handles[name].masks(), b.topology.handles[name].masks()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
