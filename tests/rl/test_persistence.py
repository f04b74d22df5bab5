"""What is written to files comes back, and training goes on as if nothing had happened."""

import base64
import copy
import io
import json
import pathlib
import zipfile
from typing import Any

import gymnasium as gym
import pytest
import torch

from sparsewire.core.errors import CheckpointError
from sparsewire.rl import SparseSAC, SparseTD3
from sparsewire.rl.policies import SparsePolicyMixin, SparseSACPolicy, SparseTD3Policy
from tests.rl.helpers import (
    PRESETS,
    SPARSE,
    STOCK,
    assert_same_tensors,
    assert_sparse,
    sparse_agent,
    stock_agent,
    tensors_of,
    train_on,
)


def env() -> gym.Env:
    return gym.make("Pendulum-v1")


def saved(model: Any, path: pathlib.Path) -> pathlib.Path:
    model.save(path / "agent.zip")
    return path / "agent.zip"


def loaded(model: Any, path: pathlib.Path, **kwargs: Any) -> Any:
    """The agent of a file, with the replay buffer and the logger of the one that was saved."""
    new = type(model).load(saved(model, path), env=env(), **kwargs)
    new.replay_buffer = copy.deepcopy(model.replay_buffer)
    new.set_logger(model.logger)
    return new


CASES = [(a, p, "masked") for a in ("td3", "sac") for p in PRESETS] + [
    (a, p, "csr") for a in ("td3", "sac") for p in ("anf", "rigl", "gmp")
]


@pytest.mark.parametrize(("algorithm", "preset", "storage"), CASES)
def test_a_loaded_agent_goes_on_bit_for_bit(
    algorithm: Any, preset: Any, storage: Any, tmp_path: Any
) -> None:
    model = sparse_agent(algorithm, preset, {"storage": storage})
    model.learn(20)
    train_on(model, 47, 0)
    new = loaded(model, tmp_path)
    assert_same_tensors(tensors_of(model), tensors_of(new))
    for agent in (model, new):
        train_on(agent, 15, 1)
    assert_same_tensors(tensors_of(model), tensors_of(new))
    assert new.topology.events == model.topology.events
    assert_same_tensors(flat(model.topology.state_dict()), flat(new.topology.state_dict()))
    if storage == "masked":
        assert_sparse(new)


def flat(state: dict[Any, Any], prefix: str = "") -> dict[str, torch.Tensor]:
    """Every number, string and tensor of a state as a tensor."""
    found: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            found |= flat(value, f"{name}.")
        elif key == "param_groups":
            found |= flat(dict(enumerate(value)), f"{name}.")
        elif value is None:
            found[name] = torch.tensor([])
        elif isinstance(value, str):
            found[name] = torch.tensor(list(value.encode()))
        else:
            found[name] = torch.as_tensor(value)
    return found


@pytest.mark.parametrize("preset", [None, "anf"])
def test_learning_goes_on_without_resetting_the_clock(preset: str | None, tmp_path: Any) -> None:
    model = sparse_agent("td3", preset).learn(40)
    new = loaded(model, tmp_path).learn(30, reset_num_timesteps=False)
    assert new.num_timesteps == 70
    assert new._n_updates == 50
    if preset:
        assert new.topology.events == {"actor": 5, "critic": 5}


@pytest.mark.parametrize("preset", PRESETS)
def test_the_file_holds_no_pickled_controller(preset: str, tmp_path: Any) -> None:
    model = sparse_agent("sac", preset).learn(40)
    with zipfile.ZipFile(saved(model, tmp_path)) as archive:
        data = json.loads(archive.read("data"))
        names = set(archive.namelist())
        topology = torch.load(io.BytesIO(archive.read("policy.topology.pth")), weights_only=True)
    assert data["sparsity"]["preset"] == data["preset"] == preset
    assert data["sparse_kwargs"] == model.sparse_kwargs
    pickled = {
        key: base64.b64decode(value[":serialized:"])
        for key, value in data.items()
        if isinstance(value, dict) and ":serialized:" in value
    }
    for key, content in pickled.items():
        assert (b"sparsewire" in content) is (key == "policy_class"), key
    assert "topology" not in data
    assert "policy.topology.pth" in names
    assert topology["critic"]["format"] == "sparsewire.handle"


@pytest.mark.parametrize("preset", [None, *PRESETS])
@pytest.mark.parametrize("algorithm", ["td3", "sac"])
def test_a_policy_alone_is_saved_and_loaded(algorithm: Any, preset: Any, tmp_path: Any) -> None:
    model = sparse_agent(algorithm, preset).learn(45)
    model.policy.save(tmp_path / "policy.pth")
    kind = {"td3": SparseTD3Policy, "sac": SparseSACPolicy}[algorithm]
    policy = (kind if preset else type(model.policy)).load(tmp_path / "policy.pth")
    assert_same_tensors(dict(model.policy.state_dict()), dict(policy.state_dict()))
    observation = env().observation_space.sample()
    ours = policy.predict(observation, deterministic=True)[0]
    assert (ours == model.predict(observation, deterministic=True)[0]).all()
    if preset:
        assert isinstance(policy, SparsePolicyMixin)
        assert policy.topology is not None
        densities = [h.density() for h in model.topology.handles.values()]
        assert [h.density() for h in policy.topology.handles.values()] == densities


@pytest.mark.parametrize("preset", [None, "anf", "ds", "gmp"])
@pytest.mark.parametrize("algorithm", ["td3", "sac", "ddpg"])
def test_parameters_are_set_as_they_were_got(algorithm: str, preset: str | None) -> None:
    model = sparse_agent(algorithm, preset).learn(45)
    parameters = copy.deepcopy(model.get_parameters())
    train_on(model, 20, 0)
    model.set_parameters(parameters)
    fresh = sparse_agent(algorithm, preset)
    fresh.set_parameters(parameters)
    assert_same_tensors(tensors_of(model), tensors_of(fresh))
    assert_same_tensors(flat(parameters), flat(fresh.get_parameters()))


def test_a_part_of_the_parameters_can_be_set() -> None:
    model, other = sparse_agent("td3", "anf").learn(45), sparse_agent("td3", "anf")
    other.set_parameters({"policy": model.policy.state_dict()}, exact_match=False)
    assert_same_tensors(dict(model.policy.state_dict()), dict(other.policy.state_dict()))
    other.learn(45)
    assert_sparse(other)


def test_set_parameters_reads_a_file(tmp_path: Any) -> None:
    model, other = sparse_agent("sac", "anf").learn(45), sparse_agent("sac", "anf")
    other.set_parameters(saved(model, tmp_path))
    assert_same_tensors(tensors_of(model), tensors_of(other))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sparse_kwargs": {"density": 0.5}}, "allocates"),
        ({"preset": "rigl"}, "method|allocates|names"),
        ({"seed": 1}, "seed"),
        ({"sparse_kwargs": {"update_interval": 11}}, "method"),
        ({"sparse_kwargs": {"layers": ["hidden"]}}, "layers"),
    ],
)
def test_parameters_of_other_settings_raise_and_change_nothing(changes: Any, message: str) -> None:
    saved_one = sparse_agent("td3", "anf").learn(30)
    options = {"preset": "anf"} | changes
    other = sparse_agent(
        "td3", options.pop("preset"), options.pop("sparse_kwargs", None), **options
    )
    before = tensors_of(other)
    with pytest.raises(CheckpointError, match=message):
        other.set_parameters(saved_one.get_parameters())
    assert_same_tensors(before, tensors_of(other))


def test_dense_and_sparse_parameters_are_told_apart() -> None:
    sparse, dense = sparse_agent("td3", "anf"), sparse_agent("td3", None)
    with pytest.raises(CheckpointError, match="this one is dense"):
        dense.set_parameters(sparse.get_parameters())
    with pytest.raises(CheckpointError, match=r"sparsewire\.rl\.sparsify"):
        sparse.set_parameters(dense.get_parameters())


@pytest.mark.parametrize(
    "asked", [{"preset": "ds"}, {"preset": None}, {"preset": "anf", "sparse_kwargs": {}}]
)
def test_loading_with_other_settings_raises(asked: dict[str, Any], tmp_path: Any) -> None:
    path = saved(sparse_agent("td3", "anf"), tmp_path)
    with pytest.raises(CheckpointError, match="was saved with"):
        SparseTD3.load(path, **asked)


def test_loading_with_the_same_settings_is_fine(tmp_path: Any) -> None:
    model = sparse_agent("td3", "anf", policy_kwargs={"net_arch": [8]})
    new = SparseTD3.load(
        saved(model, tmp_path),
        preset="anf",
        sparse_kwargs=model.sparse_kwargs,
        policy_kwargs={"net_arch": [8]},
    )
    assert_same_tensors(tensors_of(model), tensors_of(new))


def test_a_damaged_mask_raises_before_it_is_trained_on(tmp_path: Any) -> None:
    model = sparse_agent("td3", "anf").learn(45)
    parameters = copy.deepcopy(model.get_parameters())
    mask = parameters["policy"]["critic.qf0.0.weight_mask"]
    mask[0] = ~mask[0]
    model.set_parameters(parameters)
    with pytest.raises(CheckpointError, match=r"qf0\.0\.weight"):
        train_on(model, 1, 0)


def test_a_damaged_topology_in_a_file_says_so(tmp_path: Any) -> None:
    path = saved(sparse_agent("td3", "anf"), tmp_path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    buffer = io.BytesIO()
    torch.save({"format": "something else"}, buffer)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (entries | {"policy.topology.pth": buffer.getvalue()}).items():
            archive.writestr(name, content)
    with pytest.raises(CheckpointError, match="not the topology"):
        SparseTD3.load(path)


@pytest.mark.parametrize("algorithm", ["td3", "sac"])
def test_stock_files_load_as_dense_agents(algorithm: str, tmp_path: Any) -> None:
    stock = stock_agent(algorithm, tau=0.01).learn(40)
    new = SPARSE[algorithm].load(saved(stock, tmp_path), env=env())
    assert new.topology is None
    assert new.tau == 0.01
    assert_same_tensors(tensors_of(stock), tensors_of(new))
    kind: Any = STOCK[algorithm]
    again = kind.load(saved(new, tmp_path), env=env())
    assert_same_tensors(tensors_of(stock), tensors_of(again))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("storage", ["masked", "csr"])
def test_a_deep_copy_is_independent_and_goes_on_alike(preset: str, storage: str) -> None:
    target = {"target": "mask"} if preset == "ds" and storage == "csr" else {}
    model = sparse_agent("td3", preset, {"storage": storage, **target})
    model.learn(20)
    train_on(model, 25, 0)
    policy = copy.deepcopy(model.policy)
    before = {n: t.clone() for n, t in policy.state_dict().items()}
    train_on(model, 25, 1)
    assert_same_tensors(before, dict(policy.state_dict()))
    other = sparse_agent("td3", preset, {"storage": storage, **target})
    other.learn(20)
    other._n_updates = 25
    other.policy = policy
    other._create_aliases()
    train_on(other, 25, 1)
    assert_same_tensors(tensors_of(model), tensors_of(other))
    assert other.topology.events == model.topology.events


def test_agents_of_fresh_entropy_keep_their_seed(tmp_path: Any) -> None:
    model = sparse_agent("sac", "anf", seed=None).learn(40)
    new = SparseSAC.load(saved(model, tmp_path), env=env())
    assert new.sparsity == model.sparsity
    assert new.seed is None
    assert sparse_agent("sac", "anf", seed=None).sparsity["seed"] != model.sparsity["seed"]
