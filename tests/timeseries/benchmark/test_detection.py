"""Detectors: their scores, what they are given, and what happens without ruptures."""

import sys
from pathlib import Path

import numpy as np
import pytest

from sparsewire import datasets
from sparsewire.timeseries.benchmark.cells import Cell, Result
from sparsewire.timeseries.benchmark.detection import METHODS, DetectBench, draw
from sparsewire.timeseries.change_points import ALACPD
from sparsewire.timeseries.metrics import covering, f1_score_with_margin


def test_a_result_is_that_of_the_estimator(data_dir: Path) -> None:
    one = DetectBench(
        data=["nile"], methods=["alacpd"], seeds=[2], parameters={"threshold_low": 1.4}
    )
    (cell,) = one.plan({})
    result = one.measure(cell)
    nile = datasets.load_change_points("nile")
    found = ALACPD(threshold_low=1.4, random_state=2).predict(nile.values)
    assert result["change_points"] == found
    assert result["f1"] == f1_score_with_margin(nile.annotations, found)
    assert result["covering"] == covering(nile.annotations, found, 100)
    assert result["samples_per_second"] > 0


def test_reference_mode_is_the_one_that_the_detector_documents(data_dir: Path) -> None:
    one = DetectBench(data=["nile"], methods=["alacpd-reference"], parameters={"gap": 9})
    (cell,) = one.plan({})
    given = ", ".join(f"{name}={value!r}" for name, value in cell.settings.items())
    documented = " ".join((ALACPD.__doc__ or "").split()).replace('"', "'")
    assert f"``{given}`` follows the published code" in documented


def test_finding_nothing_has_the_published_scores(data_dir: Path) -> None:
    result = DetectBench().measure(Cell(task="detect", data="run_log", method="none"))
    assert (result["f1"], result["covering"]) == pytest.approx((0.4456, 0.3035), abs=5e-5)


def test_ruptures_finds_a_step() -> None:
    from sparsewire.timeseries.benchmark.detection import _search

    X = np.repeat([0.0, 5.0], 40)[:, np.newaxis] + np.sin(np.arange(80.0))[:, np.newaxis] / 9
    assert _search("Pelt", X) == _search("Binseg", X) == [40]


def test_pelt_is_at_least_as_good_on_nile_as_published(data_dir: Path) -> None:
    result = DetectBench().measure(Cell(task="detect", data="nile", method="pelt"))
    assert result["f1"] == 1.0
    assert result["covering"] >= 0.88  # TCPDBench, with another implementation


def test_without_ruptures_its_methods_are_left_out_by_name(
    monkeypatch: pytest.MonkeyPatch, data_dir: Path
) -> None:
    monkeypatch.setitem(sys.modules, "ruptures", None)
    one = DetectBench(data=["nile"])
    assert one.chosen == ["alacpd", "alacpd-reference", "none"]
    assert one.table({}).notes[-1].endswith("ruptures is not installed: pelt, binseg.")
    with pytest.raises(ImportError, match="pelt needs ruptures: pip install ruptures"):
        DetectBench(data=["nile"], methods=["none", "pelt"])


def test_only_alacpd_has_seeds(data_dir: Path) -> None:
    one = DetectBench(data=["nile"], methods=["alacpd", "none"], seeds=[4, 6])
    assert [(cell.method, cell.seed) for cell in one.plan({})] == [
        *(("alacpd", 4), ("alacpd", 6)),
        ("none", 0),
    ]


def test_the_table_averages_over_seeds_and_series(data_dir: Path) -> None:
    one = DetectBench(data=["nile", "bank"], methods=["alacpd", "none"], seeds=[0, 1])
    found: dict[str, Result | None] = {
        cell.key: {
            "change_points": [3] * (cell.seed + 1),
            "f1": 0.5 + cell.seed / 4,
            "covering": 0.2 if cell.data == "bank" else 0.4,
            "samples_per_second": 1000.0,
        }
        for cell in one.plan({})
        if (cell.data, cell.method) != ("bank", "none")
    }
    table = one.table(found)
    assert [list(row) for row in table.rows] == [
        ["nile", "0.625 / 0.400 (2)", "0.500 / 0.400 (1)"],
        ["bank", "0.625 / 0.200 (2)", "–"],
        ["mean of 2", "0.625 / 0.300", "–"],
    ]
    assert "alacpd: 1,000 samples per second" in table.notes[1]


def test_a_figure_is_drawn_for_each_series(tmp_path: Path, data_dir: Path) -> None:
    (path,) = draw(DetectBench(data=["nile"]), tmp_path / "new")
    assert path == tmp_path / "new" / "nile.png"
    assert path.read_bytes().startswith(b"\x89PNG")


def test_all_methods_can_be_named() -> None:
    assert METHODS == ("alacpd", "alacpd-reference", "none", "pelt", "binseg")
