"""What a row file keeps, what it refuses, and which cells are the same."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsewire.core.errors import CheckpointError
from sparsewire.timeseries.benchmark.cells import Cell, RowFile

CELL = Cell(task="forecast", data="etth1", method="pals", seed=1, settings={"horizon": 96})


@pytest.mark.parametrize(
    "other",
    [
        replace(CELL, task="detect"),
        replace(CELL, data="etth2"),
        replace(CELL, method="dense"),
        replace(CELL, seed=2),
        replace(CELL, settings={"horizon": 192}),
        replace(CELL, settings={"horizon": 96, "density": 0.2}),
    ],
)
def test_whatever_differs_makes_another_cell(other: Cell) -> None:
    assert other.key != CELL.key


def test_the_order_of_settings_does_not_matter() -> None:
    one = replace(CELL, settings={"a": 1, "b": 0.1})
    assert one.key == replace(CELL, settings={"b": 0.1, "a": 1}).key


@given(
    st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False) | st.text()),
    st.integers(0, 2**40),
)
def test_a_row_is_read_as_it_was_written(result: dict[str, float | str], seed: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = RowFile(Path(folder, "rows.jsonl"))
        first, second = CELL, replace(CELL, method="dense", seed=seed)
        file.add(first, result)
        file.add(second, {"mse": 1.0})
        assert file.read() == {first.key: result, second.key: {"mse": 1.0}}


def test_rows_of_others_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    file = RowFile(path)
    file.add(CELL, {"mse": 0.1}, versions={"torch": "1"})
    before = path.read_text("utf-8")
    file.add(replace(CELL, task="detect"), {"f1": 1.0})
    after = path.read_text("utf-8")
    assert after.startswith(before)
    assert json.loads(before)["versions"] == {"torch": "1"}
    assert set(json.loads(after.splitlines()[1])["versions"]) == {"sparsewire", "torch", "numpy"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_row_that_cannot_be_written_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = RowFile(tmp_path / "rows.jsonl")
    file.add(CELL, {"mse": 0.1})
    with pytest.raises(ValueError, match="JSON"):
        file.add(replace(CELL, seed=2), {"mse": float("nan")})
    assert file.read() == {CELL.key: {"mse": 0.1}}
    assert [entry.name for entry in tmp_path.iterdir()] == ["rows.jsonl"]


@pytest.mark.parametrize(
    "line",
    [
        '{"cell": {"task": "detect"',
        "[]",
        '{"name": "gunpoint", "seed": 0, "accuracy": 99.3}',
        '{"cell": {"task": "detect", "data": "nile"}, "result": {}, "versions": {}}',
        '{"cell": {"task": "a", "data": "b", "method": "c"}, "result": 1, "versions": {}}',
    ],
)
def test_a_line_that_is_no_row_is_named(line: str, tmp_path: Path) -> None:
    file = RowFile(tmp_path / "rows.jsonl")
    file.add(CELL, {"mse": 0.1})
    with file.path.open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")
    with pytest.raises(CheckpointError, match=r"line 2 of .*rows\.jsonl is no row"):
        file.read()


def test_without_a_file_there_are_no_rows(tmp_path: Path) -> None:
    assert RowFile(tmp_path / "rows.jsonl").read() == {}
