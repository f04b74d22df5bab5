"""Saved learners continue as if nothing had happened; other states are refused without a trace."""

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sparsewire.continual.spacenet import SpaceNet
from sparsewire.core.errors import CheckpointError
from tests.continual.isolation_helpers import (
    FIVE,
    METHODS,
    TASKS,
    assert_same,
    batch,
    begin,
    everything,
    flat,
    learn,
    load,
    make,
    save,
    small,
    train_step,
)

every_method = pytest.mark.parametrize("kind", METHODS)
ROOT = Path(__file__).parents[2]


def test_five_tasks_are_two_tasks_a_new_process_and_three_tasks(tmp_path: Path) -> None:
    straight = {kind: small(kind) for kind in METHODS}
    for kind, method in straight.items():
        for number, classes in enumerate(FIVE):
            learn(method, classes)
            if number == 1:
                save(method, tmp_path / f"{kind} two.pt")
    program = (
        "import sys, torch; from pathlib import Path\n"
        "sys.path.insert(0, 'tests/continual')\n"
        "from isolation_helpers import FIVE, METHODS, everything, learn, load, small\n"
        "torch.set_num_threads(1)\n"
        "folder = Path(sys.argv[1])\n"
        "for kind in METHODS:\n"
        "    method = load(small(kind), folder / f'{kind} two.pt')\n"
        "    [learn(method, classes) for classes in FIVE[2:]]\n"
        "    torch.save(everything(method), folder / f'{kind} five.pt')\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, cwd=ROOT)
    for kind, method in straight.items():
        resumed = torch.load(tmp_path / f"{kind} five.pt", weights_only=True)
        assert_same(everything(method), resumed)


@every_method
def test_a_learner_saved_inside_a_task_continues_there(kind: str, tmp_path: Path) -> None:
    straight = small(kind)
    learn(straight, TASKS[0])
    begin(straight, TASKS[1])
    for step in range(2):
        train_step(straight, *batch(TASKS[1], step))
    straight.rewire()
    for step in range(2, 5):
        train_step(straight, *batch(TASKS[1], step))
    save(straight, tmp_path / "inside.pt")
    resumed = load(small(kind), tmp_path / "inside.pt")
    assert resumed.current == TASKS[1]
    assert_same(everything(straight), everything(resumed))
    straight.rewire()
    resumed.rewire()
    assert_same(everything(straight), everything(resumed))
    for method in (straight, resumed):
        learn(method, TASKS[1], first=1)
        learn(method, TASKS[2])
    assert_same(everything(straight), everything(resumed))


def test_a_state_may_be_loaded_into_a_learner_that_has_gone_on(tmp_path: Path) -> None:
    method = small("strict")
    learn(method, TASKS[0])
    save(method, tmp_path / "one.pt")
    learn(method, TASKS[1])
    straight = everything(method)
    begin(method, TASKS[2])
    train_step(method, *batch(TASKS[2], 0))
    load(method, tmp_path / "one.pt")
    assert (method.tasks, method.current) == ([TASKS[0]], None)
    learn(method, TASKS[1])
    assert_same(straight, everything(method))


def test_states_hold_nothing_but_tensors_and_plain_data_and_share_nothing(tmp_path: Path) -> None:
    method = make("strict", density=(0.2, 0.3, 0.4), select=(5, 6))
    learn(method, TASKS[0])
    state = method.state_dict()
    torch.save(state, tmp_path / "state.pt")
    assert torch.load(tmp_path / "state.pt", weights_only=True)["method"] == "SpaceNet"
    frozen = copy.deepcopy(state)
    learn(method, TASKS[1])
    assert_same(flat("state", state), flat("state", frozen))


def test_numpy_numbers_in_settings_are_saved_as_plain_ones(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    method = make("strict", density=numpy.float32(0.25), select=numpy.int64(4), seed=numpy.int64(3))
    torch.save(method.state_dict(), tmp_path / "state.pt")
    settings = torch.load(tmp_path / "state.pt", weights_only=True)["settings"]
    assert (settings["density"], settings["select"], settings["seed"]) == (0.25, 4, 3)
    assert make("strict", density=0.25, select=4, seed=3).settings == settings


# Refusals


def fresh_and_state(kind: str = "strict", **more: Any) -> tuple[SpaceNet, dict[str, Any]]:
    """A learner whose model is loaded already, and the state that belongs to it."""
    method = make(kind, **more)
    learn(method, TASKS[0])
    begin(method, TASKS[1])
    train_step(method, *batch(TASKS[1], 0))
    other = make(kind, **more)
    other.model.load_state_dict(method.model.state_dict())
    return other, method.state_dict()


def test_states_of_another_method_are_refused_with_both_names() -> None:
    method, _ = fresh_and_state("strict")
    _, foreign = fresh_and_state("AFAF")
    before = everything(method)
    with pytest.raises(CheckpointError, match=r"AFAF.*SpaceNet"):
        method.load_state_dict(foreign)
    assert_same(before, everything(method))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"seed": 7}, "seed=1 there and 7 here"),
        ({"strict": False}, "strict=True there and False here"),
        ({"head": "mask"}, "head='zero' there and 'mask' here"),
        ({"select": 0.2}, r"select=0\.3 there and 0\.2 here"),
        ({"density": [0.1, 0.2, 0.3]}, "density=None there"),
        ({"rewire_fraction": 0.1}, "rewire_fraction"),
        ({"layers": ["0", "2", "4"]}, "layers=None there"),
    ],
)
def test_states_of_other_settings_are_refused_with_both_values(
    setting: dict[str, Any], message: str
) -> None:
    _, state = fresh_and_state()
    other = make("strict", **setting)
    before = everything(other)
    with pytest.raises(CheckpointError, match=message):
        other.load_state_dict(state)
    assert_same(before, everything(other))


def test_a_state_without_its_weights_is_refused_with_advice() -> None:
    _, state = fresh_and_state()
    other = make("strict")
    before = everything(other)
    with pytest.raises(CheckpointError, match=r"model\.state_dict\(\)"):
        other.load_state_dict(state)
    assert_same(before, everything(other))


def test_a_state_of_another_time_than_its_weights_is_refused() -> None:
    method = make("strict")
    learn(method, TASKS[0])
    early = method.state_dict()
    learn(method, TASKS[1])
    with pytest.raises(CheckpointError, match=r"model\.state_dict\(\)"):
        method.load_state_dict(early)


def damages() -> dict[str, Any]:
    """Ways to damage a state: a path, and what to put there (Ellipsis: remove it)."""
    owner = torch.zeros(40, 16, dtype=torch.int16)
    return {
        "no state": ((), {}),
        "no tasks": (("tasks",), ...),
        "tasks are a number": (("tasks",), 3),
        "a task is no list": (("tasks", 0), 3),
        "a task repeats classes": (("tasks", 0), [1, 1]),
        "a class is text": (("tasks", 0, 0), "one"),
        "current is a number": (("current",), 3),
        "settings are a list": (("settings",), []),
        "content is a list": (("content",), []),
        "no layers": (("content", "layers"), ...),
        "a layer is missing": (("content", "layers", "2"), ...),
        "a layer is empty": (("content", "layers", "2"), {}),
        "a layer is a list": (("content", "layers", "2"), []),
        "owners are another layer's": (("content", "layers", "2", "owner"), owner),
        "owners are floats": (("content", "layers", "0", "owner"), owner.float()),
        "owners differ": (("content", "layers", "0", "owner"), owner),
        "initial weights are short": (("content", "layers", "0", "initial"), torch.zeros(3)),
        "no units": (("content", "used"), ...),
        "units of one layer only": (("content", "used"), [torch.zeros(40, dtype=torch.bool)]),
        "units are no tensors": (("content", "chosen"), [1, 2]),
        "units are numbers": (("content", "reserved", 0), torch.zeros(40)),
        "importance of units is short": (("content", "unit_importance", 1), torch.zeros(3)),
        "no rewirings": (("content", "rewirings"), ...),
        "rewirings are text": (("content", "rewirings"), "many"),
        "no importance": (("content", "importance"), ...),
        "importance of one layer only": (("content", "importance", 2), ...),
        "importance is empty": (("content", "importance"), []),
        "importance is short": (("content", "importance", 0, 0), torch.zeros(3)),
        "importance is a number": (("content", "importance", 0), 5),
        "trained units are short": (("content", "trained", 0), torch.zeros(3, dtype=torch.bool)),
        "no trained units": (("content", "trained"), ...),
        "tensors' tasks are a list": (("content", "trained_in"), [1]),
        "tensors' tasks are text": (("content", "trained_in"), {"a": "b"}),
    }


@pytest.mark.parametrize("damage", damages())
def test_damaged_states_change_nothing(damage: str) -> None:
    path, value = damages()[damage]
    method, state = fresh_and_state()
    place: Any = state
    for key in path[:-1]:
        place = place[key]
    if not path:
        state = value
    elif value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    before = everything(method)
    with pytest.raises(CheckpointError):
        method.load_state_dict(state)
    assert_same(before, everything(method))


def test_sound_states_load_where_damaged_ones_did_not() -> None:
    method, state = fresh_and_state()
    damaged: list[Any] = [None, [], {"method": "SpaceNet"}, 5]
    for damage in damaged:
        with pytest.raises(CheckpointError):
            method.load_state_dict(damage)
    method.load_state_dict(state)
    assert method.current == TASKS[1]


def test_a_model_of_other_widths_is_refused() -> None:
    _, state = fresh_and_state()
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(16, 41), nn.ReLU(), nn.Linear(41, 30), nn.ReLU(), nn.Linear(30, 8)
    )
    other = METHODS["strict"](model, torch.optim.SGD(model.parameters(), lr=0.1))
    before = everything(other)
    with pytest.raises(CheckpointError, match=r"0.*same model"):
        other.load_state_dict(state)
    assert_same(before, everything(other))
    shorter = nn.Sequential(nn.Linear(16, 40), nn.ReLU(), nn.Linear(40, 8))
    other = METHODS["strict"](shorter, torch.optim.SGD(shorter.parameters(), lr=0.1))
    with pytest.raises(CheckpointError, match="layers 0, 2, 4, the model 0, 2"):
        other.load_state_dict(state)
