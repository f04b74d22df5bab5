"""Does a run that was interrupted and continued end like one that was not, bit for bit?"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparsewire.core import CheckpointError, checkpoint
from sparsewire.neural_network import SparseMLPClassifier
from sparsewire.neural_network.progress import Progress
from sparsewire.neural_network.training import Table, Trainer
from tests.neural_network.helpers import (
    FAST,
    Estimator,
    assert_same_run,
    classifier,
    regressor,
    table,
)

EPOCHS = 5
RUNS: dict[str, dict[str, Any]] = {
    "set": {},
    "rigl-adam-dropout": {"method": "rigl", "solver": "adam", "dropout": 0.3},
    "pruned": {"importance_pruning": 0.3, "importance_pruning_begin": 2},
    "early stopping": {"early_stopping": True, "n_iter_no_change": 1, "tol": 0.1},
    "masked": {"storage": "masked", "early_stopping": True, "method": "set-magnitude"},
}


class Killed(BaseException):
    """The end of the process."""


class Mortal(SparseMLPClassifier):
    """A classifier whose process dies in the epoch `dies_in`, when half of it is done."""

    dies_in = EPOCHS

    def _run_epoch(self, trainer: Trainer, progress: Progress, rows: Table) -> None:
        super()._run_epoch(trainer, progress, rows)
        if len(progress.losses) > self.dies_in:
            raise Killed


@pytest.mark.parametrize("epoch", range(EPOCHS))
@pytest.mark.parametrize("run", RUNS)
def test_a_run_killed_in_any_epoch_and_continued_equals_one_that_was_not(
    run: str, epoch: int, tmp_path: Path
) -> None:
    X, y, _ = table()
    parameters = {**FAST, **RUNS[run], "max_iter": EPOCHS}
    expected = SparseMLPClassifier(**parameters).fit(X, y)
    path = tmp_path / "run.pt"
    mortal = Mortal(**parameters, checkpoint=path)
    mortal.dies_in = epoch
    if epoch < expected.n_iter_:
        with pytest.raises(Killed):
            mortal.fit(X, y)
        assert path.exists() == (epoch > 0)
    continued = SparseMLPClassifier(**parameters, checkpoint=path).fit(X, y)
    assert_same_run(continued, expected)
    np.testing.assert_array_equal(continued.predict_proba(X), expected.predict_proba(X))
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]


@pytest.mark.parametrize("run", RUNS)
def test_a_finished_run_is_read_back_without_training_and_goes_on_alike(
    run: str, tmp_path: Path
) -> None:
    X, y, _ = table()
    parameters = {**RUNS[run], "max_iter": EPOCHS, "checkpoint": tmp_path / "run.pt"}
    expected = classifier(**parameters).fit(X, y)
    again = classifier(**parameters).fit(X, y)
    assert_same_run(again, expected)
    assert again.history_ == expected.history_  # times included: nothing was run
    for model in (again, expected):
        model.set_params(early_stopping=False)
        model.partial_fit(X, y).partial_fit(X, y)
    assert_same_run(again, expected)


def test_a_checkpoint_does_not_change_the_result(tmp_path: Path) -> None:
    X, _, y = table()
    assert_same_run(regressor(checkpoint=str(tmp_path / "run.pt")).fit(X, y), regressor().fit(X, y))


def test_the_progress_bar_shows_what_was_done_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    X, y, _ = table()
    parameters: dict[str, Any] = {**FAST}
    mortal = Mortal(**parameters, checkpoint=tmp_path / "run.pt")
    mortal.dies_in = 3
    with pytest.raises(Killed):
        mortal.fit(X, y)
    classifier(checkpoint=tmp_path / "run.pt", verbose=1).fit(X, y)
    error = capsys.readouterr().err
    assert "3/4" in error
    assert "4/4" in error


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"random_state": 1}, "seed"),
        ({"max_iter": 9}, "max_iter = 4, this one 9"),
        ({"learning_rate_init": 0.02}, "learning_rate_init = 0.01"),
        ({"hidden_layer_sizes": (12, 11)}, "hidden.1"),
        ({"hidden_layer_sizes": (12,)}, "model"),
        ({"epsilon": 3}, "connections"),
        ({"method": "rigl"}, "method"),
        ({"storage": "masked"}, "hidden.0"),
        ({"dropout": 0.1}, "dropout"),
        ({"tol": 0.5}, "tol"),
    ],
    ids=str,
)
def test_the_file_of_a_run_with_other_parameters_is_refused(
    changed: dict[str, Any], message: str, tmp_path: Path
) -> None:
    X, y, _ = table()
    path = tmp_path / "run.pt"
    classifier(checkpoint=path).fit(X, y)
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match=rf"run\.pt cannot be continued.*{message}.*Delete"):
        classifier(checkpoint=path, **changed).fit(X, y)
    assert path.read_bytes() == before


@pytest.mark.parametrize("part", ["X", "y"])
def test_the_file_of_a_run_on_other_data_of_the_same_shape_is_refused(
    part: str, tmp_path: Path
) -> None:
    X, y, _ = table()
    path = tmp_path / "run.pt"
    model = classifier(checkpoint=path).fit(X, y)
    if part == "X":
        X[7, 3] += 1e-9
    else:
        y[[0, 1]] = y[[1, 0]] if y[0] != y[1] else (y[0] + 1) % 3
    with pytest.raises(CheckpointError, match=f"{part} = "):
        model.fit(X, y)


def test_the_file_of_another_program_is_refused(tmp_path: Path) -> None:
    X, y, _ = table()
    path = tmp_path / "run.pt"
    checkpoint.save(path, classifier().fit(X, y)._trainer.handle, epoch=4)
    with pytest.raises(CheckpointError, match="not written by this estimator"):
        classifier(checkpoint=path).fit(X, y)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def replace(path: Path) -> None:
    path.write_text("something else")


@pytest.mark.parametrize("damage", [cut, flip, replace])
def test_a_damaged_file_is_refused(damage: Callable[[Path], None], tmp_path: Path) -> None:
    X, _, y = table()
    path = tmp_path / "run.pt"
    model: Estimator = regressor(checkpoint=path).fit(X, y)
    damage(path)
    with pytest.raises(CheckpointError, match="cannot be continued"):
        model.fit(X, y)


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    X, y, _ = table()
    path = tmp_path / "run.pt"
    parameters = {"checkpoint": path, "max_iter": 60, "n_iter_no_change": np.inf}
    classifier(**{**parameters, "max_iter": 1}).fit(X, y)
    path.unlink()
    writer = threading.Thread(target=lambda: classifier(**parameters).fit(X, y))
    writer.start()
    seen = set()
    while writer.is_alive():
        if path.exists():
            seen.add(path.read_bytes()[-22:-18])  # a zip file ends with its directory's record
    writer.join()
    assert seen == {b"PK\x05\x06"}
