"""The command `sparsewire ts detect` on whole series: what it writes, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sparsewire.timeseries import ALACPD, covering, f1_score_with_margin
from tests.timeseries.command.helpers import (
    json_of,
    names_in,
    refusal,
    rows_of,
    run,
    shifted,
    succeed,
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    frame = pd.DataFrame(shifted(), columns=["a", "b"])
    frame.insert(0, "second", pd.date_range("2024-01-01", periods=len(frame), freq="s"))
    frame.to_csv(tmp_path / "feed.csv", index=False)
    marked = {"feed": {"6": [100], "7": []}, "other": {"6": [3]}}
    (tmp_path / "marked.json").write_text(json.dumps(marked))
    return tmp_path


def detect(data: Path, *options: object) -> tuple[object, ...]:
    return ("detect", data / "feed.csv", "-o", data / "out", "--param", "n_init:60", *options)


def test_the_result_equals_that_of_the_estimator(data: Path) -> None:
    result = succeed(*detect(data, "--seed", 3))
    expected = ALACPD(n_init=60, random_state=3).detect(shifted())
    content = json_of(data / "out" / "changes.json")
    assert [change["index"] for change in content["changes"]] == expected.change_points == [100]
    (event,) = expected.events
    assert content["changes"][0] == {
        "index": 100,
        "time": "2024-01-01 00:01:40",
        "detected_at": event.detected_at,
        "delay": event.delay,
        "score": event.score,
        "member_votes": event.member_votes,
    }
    rows = rows_of(data / "out" / "scores.csv")
    assert [row["score"] for row in rows[:60]] == [""] * 60
    np.testing.assert_array_equal([float(row["score"]) for row in rows[60:]], expected.scores[60:])
    assert [n for n, row in enumerate(rows) if row["change"] == "1"] == [100]
    assert "1 change points at 100" in result.stdout


def test_annotations_give_scores(data: Path) -> None:
    succeed(*detect(data, "--annotations", data / "marked.json"))
    content = json_of(data / "out" / "changes.json")
    marked = {"6": [100], "7": []}
    assert content["f1"] == f1_score_with_margin(marked, [100])
    assert content["covering"] == covering(marked, [100], 160)
    assert content["data"]["annotations"] == marked


def test_a_registered_series_brings_its_annotations(data_dir: Path, tmp_path: Path) -> None:
    succeed("detect", "nile", "-o", tmp_path / "named")
    content = json_of(tmp_path / "named" / "changes.json")
    assert content["data"]["n_samples"] == 100
    assert 0 < content["f1"] <= 1
    folder = data_dir / "timeseries" / "changepoint"
    file = ("detect", folder / "tcpd" / "nile.json", "--annotations", folder / "annotations.json")
    succeed(*file, "-o", tmp_path / "file")
    other = json_of(tmp_path / "file" / "changes.json")
    assert [content[key] for key in ("f1", "covering", "changes")] == [
        other[key] for key in ("f1", "covering", "changes")
    ]


def test_the_picture_is_drawn_and_the_state_saved_on_demand(data: Path) -> None:
    pytest.importorskip("matplotlib")
    succeed(*detect(data, "--plots", "--save-state", data / "state.npz", "--columns", "a"))
    assert names_in(data / "out") == ["changes.json", "changes.png", "scores.csv"]
    detector = ALACPD.load(data / "state.npz")
    assert (detector.n_seen_, detector.n_features_in_) == (160, 1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--param", "patience:0"], ["patience"]),
        (["--param", "patients:3"], ["patients", "patience"]),
        (["--param", "n_init:500"], ["160 samples", "500"]),
        (["--columns", "a,c"], ["'c'"]),
        (["--time", "first"], ["'first'"]),
        (["--annotations", "no.json"], ["no.json"]),
        (["--load-state", "s.npz"], ["--load-state", "standard input"]),
        (["--save-state", "no/s.npz"], ["--save-state"]),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(
    data: Path, options: list[object], words: list[str]
) -> None:
    fixed = ("detect", data / "feed.csv", "-o", data / "out")
    message = refusal(run(*fixed, *options))
    assert [word for word in words if word not in message] == []
    assert names_in(data) == ["feed.csv", "marked.json"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"mine": {"6": [1]}, "yours": {}}', ["'feed'", "mine, yours"]),
        ('{"feed": {"6": [160]}}', ["160"]),
        ('{"feed": {"6": 3}}', ["list"]),
        ("nothing", ["JSON"]),
    ],
)
def test_annotations_that_do_not_fit_are_refused(
    data: Path, content: str, words: list[str]
) -> None:
    (data / "marked.json").write_text(content)
    message = refusal(run(*detect(data, "--annotations", data / "marked.json")))
    assert [word for word in words if word not in message] == []
    assert not (data / "out").exists()


def test_an_existing_state_file_and_a_missing_output_are_refused(data: Path) -> None:
    (data / "state.npz").write_text("mine")
    assert "--force" in refusal(run(*detect(data, "--save-state", data / "state.npz")))
    assert (data / "state.npz").read_text() == "mine"
    assert "--output" in refusal(run("detect", data / "feed.csv"))
    assert "no such file" in refusal(run("detect", data / "no.json", "-o", data / "out"))


def test_the_run_of_a_training_in_the_same_folder_stays(data: Path) -> None:
    (data / "out").mkdir()
    (data / "out" / "run.pt").write_bytes(b"a run")
    succeed(*detect(data))
    assert (data / "out" / "run.pt").read_bytes() == b"a run"


def test_a_column_of_times_is_refused_for_a_registered_series(tmp_path: Path) -> None:
    assert "--time" in refusal(run("detect", "nile", "--time", "year", "-o", tmp_path / "out"))


def test_unsorted_times_and_missing_values_are_refused(data: Path) -> None:
    lines = (data / "feed.csv").read_text().splitlines()
    (data / "feed.csv").write_text("\n".join([*lines[:5], lines[6], lines[5], *lines[7:]]))
    message = refusal(run(*detect(data)))
    assert "line 7" in message
    assert "sort" in message
    lines[70] = f"{lines[70].split(',')[0]},,1.0"
    (data / "feed.csv").write_text("\n".join(lines))
    assert "missing" in refusal(run(*detect(data)))
    succeed(*detect(data, "--param", "missing:hold"))
