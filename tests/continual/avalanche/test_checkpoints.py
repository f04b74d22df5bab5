"""A run that is saved and continued in a new process is the run that was never interrupted."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sparsewire.continual.avalanche import (
    AFAFPlugin,
    ConceptCellsPlugin,
    DSTMasksPlugin,
    IncrementalAccuracy,
    SpaceNetPlugin,
    SparsePlugin,
    find_plugin,
    load_checkpoint,
    load_state,
    save_checkpoint,
    save_state,
)
from sparsewire.core.errors import CheckpointError, InvalidArgumentError, StateError
from tests.continual.avalanche.helpers import CLASSES, Growing, benchmark, mlp, strategy

from avalanche.training.plugins import EWCPlugin, ReplayPlugin  # isort: skip

ROOT = Path(__file__).parents[3]
PLUGINS: dict[str, Callable[[], SparsePlugin]] = {
    "spacenet": lambda: SpaceNetPlugin(select=0.15, seed=3),
    "afaf": lambda: AFAFPlugin(select=0.15, reserve=0.5, reuse_from=1),
    "dst": lambda: DSTMasksPlugin(routing="entropy", n_classes=CLASSES, update_interval=3),
    "cells": lambda: ConceptCellsPlugin(routing="max_softmax", n_classes=CLASSES, density=0.3),
}
TASKS, INTERRUPTED = 6, 2


def build(kind: str, *, others: bool = False) -> Any:
    """Return a new strategy, as a script would at its start; the model's seed is arbitrary."""
    plugins: list[Any] = [ReplayPlugin(20), EWCPlugin(1.0)] if others else []
    metric = IncrementalAccuracy()
    return strategy([*plugins, PLUGINS[kind]()], optimizer="adam", metrics=[metric])


def train(trained: Any, start: int, stop: int) -> None:
    for experience in benchmark(TASKS).train_stream[start:stop]:
        trained.train(experience)
        trained.eval(benchmark(TASKS).test_stream)


def everything(trained: Any) -> dict[str, Any]:
    """Return weights, owners, optimizer and method, and where the random generator stands."""
    plugin = find_plugin(trained, SparsePlugin)
    return {
        "model": dict(trained.model.state_dict()),
        "optimizer": trained.optimizer.state_dict(),
        "owners": plugin.method.owners(),
        "plugin": plugin.state_dict(),
        "clock": trained.clock.train_exp_counter,
        "random": torch.get_rng_state(),
    }


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def continue_run(way: str, kind: str, folder: str) -> None:
    """Do what the new process does: build anew, load, finish, and write down the result."""
    torch.manual_seed(99)
    trained = build(kind, others=way == "checkpoint")
    load = load_checkpoint if way == "checkpoint" else load_state
    trained, start = load(trained, Path(folder, "run.file"))
    train(trained, start, TASKS)
    torch.save(everything(trained), Path(folder, "result.pt"))


@pytest.mark.parametrize("kind", PLUGINS)
@pytest.mark.parametrize("way", ["checkpoint", "state"])
def test_a_run_continued_by_a_new_strategy_is_the_uninterrupted_one(
    way: str, kind: str, tmp_path: Path
) -> None:
    file = tmp_path / "run.file"
    torch.manual_seed(1)
    trained = build(kind)
    train(trained, 0, INTERRUPTED)
    (save_checkpoint if way == "checkpoint" else save_state)(trained, file)
    train(trained, INTERRUPTED, TASKS)
    expected = everything(trained)
    torch.manual_seed(99)
    load: Any = load_checkpoint if way == "checkpoint" else load_state
    loaded, start = load(build(kind), file)
    assert start == INTERRUPTED
    train(loaded, start, TASKS)
    result = everything(loaded)
    for name, value in expected.items():
        assert same(value, result[name]), name


@pytest.mark.parametrize(("way", "kind"), [("checkpoint", "spacenet"), ("state", "spacenet")])
def test_a_run_continued_in_a_new_process_is_the_uninterrupted_one(
    way: str, kind: str, tmp_path: Path
) -> None:
    others, file = way == "checkpoint", tmp_path / "run.file"
    torch.manual_seed(1)
    trained = build(kind, others=others)
    train(trained, 0, INTERRUPTED)
    (save_checkpoint if others else save_state)(trained, file)
    code = f"""
import sys, types
import torch
torch.set_num_threads(1)
# Some installed packages bring a package named tests, which would hide this folder.
sys.modules["tests"] = types.ModuleType("tests")
sys.modules["tests"].__path__ = [{str(ROOT / "tests")!r}]
from tests.continual.avalanche.test_checkpoints import continue_run
continue_run({way!r}, {kind!r}, {str(tmp_path)!r})
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    train(trained, INTERRUPTED, TASKS)
    result = torch.load(tmp_path / "result.pt", weights_only=True)
    expected = everything(trained)
    for name, value in expected.items():
        assert same(value, result[name]), name


@pytest.mark.parametrize("way", ["checkpoint", "state"])
def test_a_loaded_method_follows_the_loaded_optimizer(way: str, tmp_path: Path) -> None:
    save, load = {
        "checkpoint": (save_checkpoint, load_checkpoint),
        "state": (save_state, load_state),
    }[way]
    trained = build("spacenet")
    train(trained, 0, 2)
    save(trained, tmp_path / "run.file")
    loaded, start = load(build("spacenet"), tmp_path / "run.file")
    method = find_plugin(loaded, SpaceNetPlugin).method
    assert start == 2
    assert method.model is loaded.model
    assert method.optimizer is loaded.optimizer
    method.begin_task([4])
    before = method.owners()
    for parameter in loaded.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    weights = {name: loaded.model.get_parameter(f"{name}.weight").clone() for name in before}
    loaded.optimizer.step()
    for name, owner in before.items():
        weight = loaded.model.get_parameter(f"{name}.weight")
        assert torch.equal(weight[owner != 3], weights[name][owner != 3])
        assert not torch.equal(weight[owner == 3], weights[name][owner == 3])


def test_reading_a_state_needs_no_code_from_the_file(tmp_path: Path) -> None:
    trained = build("spacenet")
    train(trained, 0, 2)
    save_state(trained, tmp_path / "run.pt")
    state = torch.load(tmp_path / "run.pt", weights_only=True)
    assert sorted(state) == sorted(
        ["format", "version", "model", "optimizer", "plugin", "clock", "random_state"]
    )


def test_a_checkpoint_that_does_not_exist_leaves_the_strategy_alone(tmp_path: Path) -> None:
    trained = build("spacenet")
    before = dict(trained.__dict__)
    assert load_checkpoint(trained, tmp_path / "none") == (trained, 0)
    assert trained.__dict__ == before


def test_loading_prints_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained = build("spacenet")
    train(trained, 0, 1)
    capsys.readouterr()
    save_checkpoint(trained, tmp_path / "run")
    load_checkpoint(build("spacenet"), tmp_path / "run")
    assert capsys.readouterr().out == ""


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    trained = build("spacenet")
    train(trained, 0, 1)
    save_checkpoint(trained, tmp_path / "run")
    old = (tmp_path / "run").read_bytes()
    trained.unpicklable = (i for i in range(3))
    with pytest.raises(CheckpointError, match="the strategy cannot be saved"):
        save_checkpoint(trained, tmp_path / "run")
    assert (tmp_path / "run").read_bytes() == old
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("load", [load_checkpoint, load_state])
@pytest.mark.parametrize("damage", ["cut", "text"])
def test_a_damaged_file_is_refused(load: Any, damage: str, tmp_path: Path) -> None:
    trained, file = build("spacenet"), tmp_path / "run"
    train(trained, 0, 1)
    (save_checkpoint if load is load_checkpoint else save_state)(trained, file)
    file.write_bytes(file.read_bytes()[:-200] if damage == "cut" else b"not a checkpoint")
    with pytest.raises(CheckpointError, match="is not a readable"):
        load(build("spacenet"), file)


def test_a_bit_that_has_flipped_is_noticed(tmp_path: Path) -> None:
    trained, file = build("spacenet"), tmp_path / "run.pt"
    train(trained, 0, 1)
    save_state(trained, file)
    content = bytearray(file.read_bytes())
    place = content.find(trained.model[0].weight.detach().numpy().tobytes()[-64:])
    content[place] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="is damaged"):
        load_state(build("spacenet"), file)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: build("afaf"), "the checkpoint is of SpaceNetPlugin, this is AFAFPlugin"),
        (lambda: strategy([SpaceNetPlugin(seed=4)], optimizer="adam"), "other settings.*seed=3"),
        (lambda: strategy([PLUGINS["spacenet"]()], Growing(), optimizer="adam"), "the model none"),
        (lambda: strategy([PLUGINS["spacenet"]()], optimizer="sgd"), "optimizer differs"),
        (
            lambda: strategy(
                [PLUGINS["spacenet"]()],
                torch.nn.Sequential(*mlp()[:3], torch.nn.Linear(30, 9)),  # type: ignore[index]
            ),
            "of shape",
        ),
    ],
)
def test_the_state_of_another_run_is_refused(
    other: Callable[[], Any], message: str, tmp_path: Path
) -> None:
    trained = build("spacenet")
    train(trained, 0, 1)
    save_state(trained, tmp_path / "run.pt")
    with pytest.raises(CheckpointError, match=message):
        load_state(other(), tmp_path / "run.pt")


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    torch.save({"format": "something else"}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="was not written by save_state"):
        load_state(build("spacenet"), tmp_path / "other.pt")


def test_a_state_needs_a_trained_plugin(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="train first"):
        save_state(build("spacenet"), tmp_path / "run.pt")
    with pytest.raises(InvalidArgumentError, match="has 0 plugins"):
        save_state(strategy([]), tmp_path / "run.pt")
    assert not list(tmp_path.iterdir())
