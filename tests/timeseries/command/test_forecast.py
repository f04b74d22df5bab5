"""The command `sparsewire ts forecast`: what it writes, and what it refuses before training."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sparsewire.timeseries import SparseForecaster
from sparsewire.timeseries.forecasting.parameters import MODELS
from tests.timeseries.command.helpers import (
    SMALL_FORECAST,
    json_of,
    load_frame,
    names_in,
    refusal,
    run,
    succeed,
)

SMALL: dict[str, Any] = {"horizon": 4, "input_size": 8, "max_epochs": 2}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    load_frame().to_csv(tmp_path / "load.csv", index=False)
    return tmp_path


def forecast(data: Path, *options: object) -> tuple[object, ...]:
    return ("forecast", data / "load.csv", "-o", data / "out", *SMALL_FORECAST, *options)


def indexed() -> pd.DataFrame:
    frame = load_frame().set_index("day")
    return frame.set_index(pd.to_datetime(frame.index))


def test_the_forecast_follows_the_end_and_equals_the_estimator_s(data: Path) -> None:
    succeed(*forecast(data, "--seed", 3, "--level", 0.8))
    expected = SparseForecaster(**SMALL, random_state=3).fit(indexed())
    found = pd.read_csv(data / "out" / "forecast.csv")
    bounds = [f"{name}{part}" for name in ("load", "OT") for part in ("", "_lower", "_upper")]
    assert list(found.columns) == ["day", *bounds]
    assert found["day"].tolist() == [f"2024-04-{day} 00:00:00" for day in range(30, 31)] + [
        f"2024-05-0{day} 00:00:00" for day in range(1, 4)
    ]
    lower, upper = expected.predict_interval(level=0.8)
    for name in ("load", "OT"):
        np.testing.assert_allclose(found[name], expected.predict()[name])
        np.testing.assert_allclose(found[f"{name}_lower"], lower[name])
        np.testing.assert_allclose(found[f"{name}_upper"], upper[name])


def test_held_out_rows_are_forecast_and_compared_with_repeating_the_last(data: Path) -> None:
    result = succeed(*forecast(data, "--test-size", 20))
    frame = indexed()
    expected = SparseForecaster(**SMALL, random_state=0).fit(frame.iloc[:100])
    content = json_of(data / "out" / "metrics.json")
    errors = expected.evaluate(frame.iloc[92:])
    assert content["test"]["mse"] == errors.mse
    assert content["test"]["mae"] == errors.mae
    assert content["test"]["n_windows"] == 20 - 4 + 1
    sizes = [content["data"][f"n_{part}"] for part in ("train", "validation", "test")]
    assert sizes == [80, 20, 20]
    assert content["validation"]["mse"] == pytest.approx(expected.best_validation_loss_, rel=1e-5)
    found = pd.read_csv(data / "out" / "forecast.csv")
    np.testing.assert_allclose(found["OT_truth"], frame["OT"].iloc[100:104])
    assert f"test MSE {errors.mse:.4f}" in result.stdout


def test_the_protocol_gives_the_published_errors_of_repeating(
    data_dir: Path, tmp_path: Path
) -> None:
    options = ("--protocol", "ltsf", "--param", "max_epochs:1")
    succeed("forecast", "exchange", "--horizon", 96, *options, "-o", tmp_path / "out")
    content = json_of(tmp_path / "out" / "metrics.json")
    assert content["test"]["n_windows"] == 1422
    assert content["validation"]["n_windows"] == 665
    assert content["parameters"]["input_size"] == 96
    repeated = content["test"]["repeat_last"]
    assert (round(repeated["mse"], 3), round(repeated["mae"], 3)) == (0.081, 0.196)


def test_the_json_describes_run_and_network(data: Path) -> None:
    succeed(*forecast(data, "--model", "nlinear", "--sparsity", "none", "--columns", "OT"))
    content = json_of(data / "out" / "metrics.json")
    assert (content["parameters"]["model"], content["parameters"]["sparsity"]) == ("nlinear", None)
    assert content["data"]["columns"] == ["OT"]
    assert content["data"]["first"] == "2024-01-01 00:00:00"
    assert content["sparsity"] == 0.0
    assert content["n_parameters"] == content["n_dense_parameters"]
    assert names_in(data / "out") == ["forecast.csv", "history.csv", "metrics.json", "model.zip"]
    loaded = SparseForecaster.load(data / "out" / "model.zip")
    found = pd.read_csv(data / "out" / "forecast.csv")["OT"]
    np.testing.assert_allclose(loaded.predict()["OT"], found)


def test_pals_leaves_its_decisions(data: Path) -> None:
    succeed(*forecast(data))
    assert list(pd.read_csv(data / "out" / "decisions.csv")) == [
        "step", "loss", "state", "sparsity",
    ]  # fmt: skip
    history = pd.read_csv(data / "out" / "history.csv")
    assert history["epoch"].tolist() == [1, 2]


def test_rows_are_counted_where_there_are_no_times(data: Path) -> None:
    succeed(*forecast(data, "--time", "none", "--columns", "load"))
    found = pd.read_csv(data / "out" / "forecast.csv")
    assert found["row"].tolist() == [120, 121, 122, 123]


def test_whole_numbers_are_times_if_they_are_said_to_be(data: Path) -> None:
    frame = load_frame()
    frame["day"] = 1900 + 2 * np.arange(len(frame))
    frame.to_csv(data / "load.csv", index=False)
    succeed(*forecast(data, "--time", "day"))
    assert pd.read_csv(data / "out" / "forecast.csv")["day"].tolist() == [2140, 2142, 2144, 2146]


def test_the_picture_is_drawn_on_demand(data: Path) -> None:
    pytest.importorskip("matplotlib")
    succeed(*forecast(data, "--plots", "--test-size", 0.1))
    assert (data / "out" / "forecast.png").stat().st_size > 10_000


def changed(how: str) -> pd.DataFrame:
    frame = load_frame()
    if how == "unsorted":
        frame = frame.iloc[[0, 2, 1, *range(3, 120)]]
    elif how == "duplicated":
        frame.loc[7, "day"] = str(frame["day"].iloc[6])
    elif how == "no time":
        frame.loc[7, "day"] = "yesterday"
    elif how == "a day is missing":
        frame = frame.drop(index=50)
    elif how == "text":
        frame = frame.astype({"OT": object})
        frame.loc[3, "OT"] = "high"
    elif how == "gap":
        frame.loc[3, "OT"] = np.nan
    elif how == "constant":
        frame["OT"] = 1.0
    elif how == "short":
        frame = frame.iloc[:3]
    return frame


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("unsorted", ["line 4", "'2024-01-02'", "sort"]),
        ("duplicated", ["line 9", "'2024-01-07'", "twice"]),
        ("no time", ["line 9", "'yesterday'"]),
        ("a day is missing", ["equally spaced", "2024-02-19"]),
        ("text", ["line 5", "'OT'", "'high'"]),
        ("gap", ["missing"]),
        ("constant", ["constant"]),
        ("short", ["3 rows", "4"]),
    ],
)
def test_an_unusable_series_is_refused_before_training(
    data: Path, how: str, words: list[str]
) -> None:
    changed(how).to_csv(data / "load.csv", index=False)
    message = refusal(run(*forecast(data)))
    assert [word for word in words if word not in message] == []
    assert not (data / "out").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--horizon", 500], ["120 rows", "500"]),
        (["--horizon", 60], ["120 rows", "horizon"]),
        (["--columns", "OT,lod"], ["'lod'", "'load'"]),
        (["--columns", "OT,OT"], ["different"]),
        (["--columns", "day"], ["day"]),
        (["--time", "date"], ["'date'", "day, load, OT"]),
        (["--model", "linear"], ["linear", *MODELS]),
        (["--sparsity", "some"], ["sparsity", "some"]),
        (["--level", 1.5], ["--level", "1.5"]),
        (["--test-size", 2], ["--test-size", "horizon"]),
        (["--test-size", 119], ["1 rows", "horizon = 4"]),
        (["--test-size", "half"], ["--test-size", "half"]),
        (["--protocol", "ltsf"], ["etth1", "--test-size"]),
        (["--protocol", "mine"], ["mine", "ltsf"]),
        (["--param", "horizon:3"], ["--horizon"]),
        (["--param", "loss:worst"], ["loss"]),
        (["--param", "hidden:3"], ["hidden", "SparseForecaster"]),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(
    data: Path, options: list[object], words: list[str]
) -> None:
    message = refusal(run(*forecast(data, *options)))
    assert [word for word in words if word not in message] == []
    assert names_in(data) == ["load.csv"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        # 120 rows, 24 of them for validation: 21 windows of 4 steps
        (["--level", 0.96], ["21 validation windows", "24 are", "0.954", "validation_size:27"]),
        (["--level", 0.995], ["199", "0.954", "more rows"]),
        (["--param", "validation_size:4"], ["1 validation windows", "0.5", "validation_size:12"]),
    ],
)
def test_a_level_that_the_validation_does_not_give_is_refused_before_training(
    data: Path, options: list[object], words: list[str]
) -> None:
    message = refusal(run(*forecast(data, *options)))
    assert [word for word in words if word not in message] == []
    assert names_in(data) == ["load.csv"]


@pytest.mark.parametrize(
    "options", [["--level", 0.954], ["--level", 0.96, "--param", "validation_size:27"]]
)
def test_what_the_refusal_of_a_level_proposes_works(data: Path, options: list[object]) -> None:
    succeed(*forecast(data, *options))


def test_interpolated_truth_is_counted(data: Path) -> None:
    frame = load_frame()
    frame.loc[[3, 85, 105, 106], "OT"] = np.nan
    frame.to_csv(data / "load.csv", index=False)
    succeed(*forecast(data, "--test-size", 20, "--param", "missing:linear"))
    content = json_of(data / "out" / "metrics.json")
    assert content["validation"]["n_interpolated"] == 1
    assert content["test"]["n_interpolated"] == 2


def test_a_file_or_name_that_is_not_there_is_refused(data: Path) -> None:
    fixed = ("--horizon", 4, "-o", data / "out")
    assert "no such file" in refusal(run("forecast", data / "no.csv", *fixed))
    assert "etth1" in refusal(run("forecast", "etth7", *fixed))
    assert "--time" in refusal(run("forecast", "etth1", "--time", "date", *fixed))


def test_existing_output_is_refused(data: Path) -> None:
    (data / "out").mkdir()
    (data / "out" / "forecast.csv").write_text("mine")
    assert "forecast.csv" in refusal(run(*forecast(data)))
    assert (data / "out" / "forecast.csv").read_text() == "mine"
