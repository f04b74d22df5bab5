"""Results of cells: found again for the same settings only, never half of them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sparsewire.core.errors import CheckpointError
from sparsewire.featsel.benchmark.cells import Cell, Record, Store

CELL = Cell(
    dataset="digits", method="wast", k=9, seed=0, protocol="clean", parameters={"epochs": 3}
)
RECORD = Record(scores={"svc": 0.1}, seconds=1.5, connections=7, selected=[1, 2], warnings=["<ä>"])


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    store = Store(tmp_path / "cells")
    assert store.read(CELL) is None
    store.write(CELL, RECORD)
    assert store.read(CELL) == RECORD
    assert [path.name for path in store.folder.iterdir()] == [CELL.file_name]


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": "usps"},
        {"method": "random"},
        {"k": 8},
        {"seed": 1},
        {"protocol": "wast"},
        {"scaler": "minmax"},
        {"n_train": 100},
        {"parameters": {"epochs": 4}},
        {"parameters": {"epochs": 3, "device": "cpu"}},
    ],
)
def test_every_setting_makes_another_cell(change: dict[str, Any], tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(CELL, RECORD)
    assert store.read(replace(CELL, **change)) is None


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"cell": 1, "record": []}', "cut", "foreign"])
def test_a_damaged_file_is_named_and_not_taken_for_a_result(damage: str, tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(CELL, RECORD)
    path = tmp_path / CELL.file_name
    text = path.read_text("utf-8")
    content = json.loads(text)
    content["cell"]["k"] = 10
    texts = {"cut": text[: len(text) // 2], "foreign": json.dumps(content)}
    path.write_text(texts.get(damage, damage), "utf-8")
    with pytest.raises(CheckpointError, match=f"{CELL.file_name}.*remove it"):
        store.read(CELL)


def test_a_result_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(CELL, RECORD)
    with pytest.raises(ValueError, match="JSON"):
        store.write(CELL, replace(RECORD, seconds=float("nan")))
    assert store.read(CELL) == RECORD
    assert len(list(tmp_path.iterdir())) == 1
