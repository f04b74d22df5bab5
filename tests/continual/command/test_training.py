"""A run: what it writes, that it depends on its seed alone, and that it survives interruptions."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sparsewire.continual.command import checkpoints
from sparsewire.continual.command.runs import Results, Run, to_matrix
from sparsewire.continual.command.settings import Settings, resolve
from sparsewire.continual.command.training import Learner, new_stream, rehearse, run_once
from sparsewire.continual.measures import average_accuracy
from sparsewire.core.errors import CheckpointError, InfeasibleDensityError, TrainingDivergedError
from tests.continual.command.helpers import (
    DENSE,
    SPARSE,
    assert_same_state,
    finished,
    small,
    train,
    without_times,
)


def learn(settings: Settings, tasks: int) -> Learner:
    learner = Learner(settings, new_stream(settings))
    for task in range(tasks):
        learner.train(task)
    return learner


def global_states() -> tuple[Any, ...]:
    """What the global generators of torch, Python and NumPy will draw from."""
    legacy: Any = np.random.get_state(legacy=False)  # noqa: NPY002
    keys = [*legacy["state"]["key"].tolist(), legacy["state"]["pos"]]
    return torch.get_rng_state().tolist(), random.getstate(), keys


@pytest.mark.parametrize("method", [*SPARSE, *DENSE])
def test_every_method_runs_to_the_end_and_writes_what_it_should(
    method: str, tmp_path: Path
) -> None:
    run, results = train(small(method, epochs=1), tmp_path)
    assert run.path == tmp_path / "split-digits" / method / "seed0"
    names = {path.name for path in run.path.iterdir()}
    owned = {"owners.npz"} if method in SPARSE else set()
    assert names == {"settings.json", "results.json", *owned}
    assert results.tasks == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    for matrix in (results.class_il, results.task_il, *results.routings.values()):
        known = np.array(matrix, dtype=float)
        assert known.shape == (5, 5)
        np.testing.assert_array_equal(np.isnan(known), np.triu(np.ones((5, 5)), 1))
        assert np.nanmin(known) >= 0
        assert np.nanmax(known) <= 1
    if method in DENSE:  # the same logits with fewer classes to choose among
        class_il, task_il = map(to_matrix, (results.class_il, results.task_il))
        assert (np.nan_to_num(task_il) >= np.nan_to_num(class_il)).all()
    assert len(results.cpu_seconds) == len(results.wall_seconds) == 5
    assert results.dense_weights == 64 * 40 + 40 * 40 + 40 * 10
    assert results.dense_flops == 2 * results.dense_weights
    assert results.examples_stored == (500 if method == "replay" else 0)


def test_owners_and_counts_agree(tmp_path: Path) -> None:
    run, results = train(small(), tmp_path)
    owners = run.read_owners()
    assert {name: int((owner > 0).sum()) for name, owner in owners.items()} == results.connections
    assert {owner.dtype for owner in owners.values()} == {np.dtype(np.int16)}
    assert results.memory is not None
    assert results.memory["weights"] == sum(results.connections.values())
    assert results.flops == 2 * sum(results.connections.values())


def test_strict_spacenet_forgets_nothing_that_the_task_is_named_for(tmp_path: Path) -> None:
    _, results = train(small(), tmp_path)
    matrix = np.array(results.task_il, dtype=float)
    for task in range(5):
        assert len(set(matrix[task:, task])) == 1


def test_spacenet_learns_all_digits_and_naive_only_the_last(tmp_path: Path) -> None:
    last: dict[str, float] = {}
    for method in ("spacenet", "naive"):
        _, results = train(resolve("split-digits", method, seed=0), tmp_path)
        last[method] = average_accuracy(to_matrix(results.class_il))
    assert last["spacenet"] > 0.7
    assert last["naive"] < 0.22


def test_an_oracle_is_one_routing_among_others_and_never_the_result(tmp_path: Path) -> None:
    _, results = train(small("concept-cells"), tmp_path)
    assert set(results.routings) == {"oracle", "max_softmax", "entropy"}
    assert results.class_il == results.routings["max_softmax"]
    assert results.routings["oracle"][-1] != results.routings["max_softmax"][-1]


def test_a_run_depends_on_its_seed_and_leaves_the_global_generators_alone(tmp_path: Path) -> None:
    settings = small("replay", mem_size=50)
    new_stream(settings)  # importing scikit-learn draws from Python's generator
    found = []
    for number, folder in enumerate("ab"):
        torch.manual_seed(number)
        random.seed(number)
        np.random.seed(number)  # noqa: NPY002
        before = global_states()
        found.append(without_times(train(settings, tmp_path / folder)[1]))
        assert global_states() == before
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("method", "replay", "changes"),
    [
        ("spacenet", 50, {"momentum": 0.5}),
        ("spacenet-reference", 0, {}),
        ("afaf", 0, {}),
        ("dst-masks", 0, {"update_interval": 10}),
        ("concept-cells", 0, {}),
        ("ewc", 50, {"ewc_lambda": 10.0}),
        ("si", 0, {}),
        ("lwf", 0, {"optimizer": "adam", "learning_rate": 0.001}),
        ("replay", 0, {}),
    ],
)
def test_two_tasks_then_three_from_a_checkpoint_equal_five(
    method: str, replay: int, changes: dict[str, Any], tmp_path: Path
) -> None:
    settings = small(method, replay=replay, epochs=1, **changes)
    straight = learn(settings, 5)
    run = Run.of(settings, tmp_path)
    run.prepare("")
    results = Results([], cpu_seconds=[0.0, 0.0])
    checkpoints.save(run, learn(settings, 2), results)
    resumed = Learner(settings, new_stream(settings))
    assert checkpoints.load(run, resumed) == results
    for task in range(2, 5):
        resumed.train(task)
    assert_same_state(straight.state_dict(), resumed.state_dict())


KILLED = """
import sys
from pathlib import Path
from sparsewire.continual.command.settings import resolve
from sparsewire.continual.command.training import run_once
run_once(resolve("split-digits", "spacenet", seed=0, replay=40, changes={"epochs": 15}), Path("."))
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_after_its_last_task_and_ends_the_same(tmp_path: Path) -> None:
    settings = resolve("split-digits", "spacenet", seed=0, replay=40, changes={"epochs": 15})
    folder = tmp_path / "killed"
    folder.mkdir()
    run = Run.of(settings, folder)
    process = subprocess.Popen([sys.executable, "-c", KILLED], cwd=folder)
    while not run.checkpoint_file.exists():
        assert process.poll() is None, "the run ended before its first checkpoint"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    half = run.read_results()
    assert half is None or not half.finished
    resumed, straight = run_once(settings, folder), run_once(settings, tmp_path / "straight")
    assert without_times(finished(resumed)) == without_times(finished(straight))
    for name, owner in straight.read_owners().items():
        np.testing.assert_array_equal(owner, resumed.read_owners()[name])
    kept = sorted(path.name for path in run.path.iterdir() if not path.name.startswith("."))
    assert kept == ["owners.npz", "results.json", "settings.json"]


def test_a_finished_run_is_not_repeated(tmp_path: Path) -> None:
    settings = small("naive")
    run, _ = train(settings, tmp_path)
    before = (run.path / "results.json").stat().st_mtime_ns
    train(settings, tmp_path)
    assert (run.path / "results.json").stat().st_mtime_ns == before


def test_a_folder_with_other_settings_is_refused_naming_the_difference(tmp_path: Path) -> None:
    train(small("naive"), tmp_path)
    with pytest.raises(CheckpointError, match=r"epochs 2 there, 3 here.*another --logs"):
        run_once(small("naive", epochs=3), tmp_path)


def test_resuming_with_another_method_is_refused(tmp_path: Path) -> None:
    run = Run.of(small("ewc"), tmp_path)
    run.prepare("")
    run.path.rename(tmp_path / "split-digits" / "si")
    (tmp_path / "split-digits" / "si" / "seed0").mkdir()
    (tmp_path / "split-digits" / "si" / "settings.json").rename(
        tmp_path / "split-digits" / "si" / "seed0" / "settings.json"
    )
    with pytest.raises(CheckpointError, match="method 'ewc' there, 'si' here"):
        run_once(small("si"), tmp_path)


def test_a_checkpoint_of_another_method_is_refused_before_anything_changes(tmp_path: Path) -> None:
    run = Run.of(small("spacenet"), tmp_path)
    run.prepare("")
    checkpoints.save(run, learn(run.settings, 1), Results([], cpu_seconds=[0.0]))
    other = Run.of(small("afaf"), tmp_path)
    other.prepare("")
    run.checkpoint_file.rename(other.checkpoint_file)
    with pytest.raises(CheckpointError, match="method 'spacenet' there, 'afaf' here"):
        run_once(other.settings, tmp_path)


def test_weights_that_are_not_finite_end_a_run(tmp_path: Path) -> None:
    with pytest.raises(
        TrainingDivergedError, match=r"task 1 of ewc .* learning_rate or ewc_lambda"
    ):
        run_once(small("ewc", ewc_lambda=1e30), tmp_path)


@pytest.mark.parametrize("damage", ["cut short", "not an archive", "a pickle", "foreign"])
def test_a_damaged_checkpoint_is_refused_and_executes_nothing(damage: str, tmp_path: Path) -> None:
    run = Run.of(small(), tmp_path)
    run.prepare("")
    checkpoints.save(run, learn(run.settings, 1), Results([], cpu_seconds=[0.0]))
    path = run.checkpoint_file
    if damage == "cut short":
        path.write_bytes(path.read_bytes()[:-1000])
    elif damage == "not an archive":
        path.write_bytes(b"nonsense")
    elif damage == "a pickle":
        torch.save({"attack": Attack()}, path)
    else:
        torch.save({"state": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match=r"(?s)damaged.*Remove the folder"):
        run_once(run.settings, tmp_path)
    assert not (tmp_path / "attacked").exists()


class Attack:
    """Makes a folder when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("attacked",)


@pytest.mark.parametrize("method", SPARSE)
def test_a_rehearsal_allocates_all_tasks_and_refuses_what_cannot_work(method: str) -> None:
    rehearse(small(method))
    with pytest.raises(InfeasibleDensityError, match="task 3 needs 15 free units in fc1"):
        rehearse(small("spacenet", select=15, hidden=[50, 50]))
