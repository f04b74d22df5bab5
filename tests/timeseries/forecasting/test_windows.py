"""Windows, time features and containers."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsewire.core import InvalidArgumentError
from sparsewire.timeseries.forecasting.containers import to_history
from sparsewire.timeseries.forecasting.intervals import half_widths
from sparsewire.timeseries.forecasting.preparation import Preparation, training_rows
from sparsewire.timeseries.forecasting.windows import Windows, spread, time_features


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 20), st.integers(1, 9))
def test_there_is_a_window_at_every_position(
    size: int, horizon: int, more: int, batch_size: int
) -> None:
    rows = size + horizon + more
    values = np.arange(2.0 * rows).reshape(rows, 2)
    windows = Windows(values, -values, input_size=size, horizon=horizon)
    assert len(windows) == more + 1
    seen = 0
    for batch in windows.batches(batch_size):
        assert batch.marks is not None
        for x, y, marks in zip(batch.x, batch.y, batch.marks, strict=True):
            assert np.array_equal(x, values[seen : seen + size])
            assert np.array_equal(y, values[seen + size : seen + size + horizon])
            assert np.array_equal(marks, -values[seen : seen + size + horizon])
            seen += 1
    assert seen == more + 1


def test_windows_keep_nothing_of_the_array_they_were_cut_from() -> None:
    values = np.zeros((10, 1))
    windows = Windows(values, None, input_size=3, horizon=2)
    values[:] = 1
    assert not windows.batch(np.arange(6)).x.any()


def test_too_few_rows_for_a_window_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="4 rows hold no window"):
        Windows(np.zeros((4, 1)), None, input_size=3, horizon=2)


@given(st.integers(1, 500), st.integers(1, 600))
def test_spread_positions_are_distinct_and_include_both_ends(n: int, count: int) -> None:
    found = spread(n, count)
    assert len(set(found.tolist())) == min(n, count)
    assert found[0] == 0
    assert found[-1] == (n - 1 if count > 1 else 0)


def test_hourly_time_features_are_those_of_the_published_code() -> None:
    times = pd.DatetimeIndex(["2016-07-01 00:00", "2016-12-31 23:00"])
    found = time_features(times, pd.Timedelta("1h"))
    friday, saturday = 4, 5
    expected = [
        [-0.5, friday / 6 - 0.5, -0.5, 182 / 365 - 0.5],
        [0.5, saturday / 6 - 0.5, 0.5, 365 / 365 - 0.5],
    ]
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize(("step", "count"), [("15min", 5), ("1h", 4), ("1D", 3), ("7D", 2)])
def test_what_is_shorter_than_a_step_is_left_out(step: str, count: int) -> None:
    times = pd.date_range("2024-01-01", periods=4, freq=step)
    assert time_features(times, pd.Timedelta(step)).shape == (4, count)


# Containers


@pytest.mark.parametrize(
    "frequency", ["h", "15min", "D", "B", "W-TUE", "MS", "ME", "QS", "YS", "3h", "8D"]
)
def test_the_future_continues_the_times(frequency: str) -> None:
    times = pd.date_range("2023-03-07 01:00", periods=12, freq=frequency)
    history = to_history(pd.Series(np.arange(9.0), pd.DatetimeIndex(times[:9].to_numpy())))
    future = history.future(3)
    assert future is not None
    assert list(future) == list(times[9:])


def test_time_zones_survive_a_change_of_clocks() -> None:
    times = pd.date_range("2024-03-30", periods=60, freq="h", tz="Europe/Amsterdam")
    future = to_history(pd.Series(np.arange(40.0), times[:40])).future(20)
    assert future is not None
    assert list(future) == list(times[40:])


def test_periods_and_numbers_are_continued_too() -> None:
    months = pd.period_range("2020-11", periods=8, freq="M")
    future = to_history(pd.Series(np.arange(6.0), months[:6])).future(2)
    assert future is not None
    assert list(future) == list(months[6:])
    numbers = to_history(pd.Series(np.arange(4.0), index=[10, 20, 30, 40])).future(3)
    assert numbers is not None
    assert list(numbers) == [50, 60, 70]


@pytest.mark.parametrize("kind", ["array", "matrix", "series", "frame"])
def test_a_forecast_comes_back_in_the_container_of_the_series(kind: str) -> None:
    times = pd.date_range("2024-01-01", periods=6, freq="D")
    given_: dict[str, Any] = {
        "array": np.arange(6.0),
        "matrix": np.arange(12.0).reshape(6, 2),
        "series": pd.Series(np.arange(6.0), times, name="load"),
        "frame": pd.DataFrame(np.arange(12.0).reshape(6, 2), times, columns=["a", "b"]),
    }
    y = given_[kind]
    width = 1 if kind in ("array", "series") else 2
    back = to_history(y).restore(np.ones((2, width)))
    assert type(back) is type(y)
    assert back.ndim == y.ndim
    if kind == "series":
        assert back.name == "load"
    if kind == "frame":
        assert list(back.columns) == ["a", "b"]


DAYS = pd.date_range("2024-01-01", periods=5, freq="D")
BAD: dict[str, tuple[Any, str]] = {
    "nan": ([1.0, np.nan, 2.0], "1 missing values, the first in row 1"),
    "infinity": ([1.0, np.inf, 2.0], "infinite in row 1"),
    "three dimensions": (np.zeros((2, 2, 2)), r"\(2, 2, 2\)"),
    "no rows": (np.zeros((0, 2)), r"\(0, 2\)"),
    "a number": (3.0, r"shape \(T,\)"),
    "text": (["a", "b", "c"], "numbers"),
    "ragged": ([[1.0], [1.0, 2.0]], "numbers"),
    "unsorted": (pd.Series(np.arange(5.0), DAYS[::-1]), "not sorted"),
    "duplicated": (pd.Series(np.arange(5.0), DAYS[[0, 1, 1, 2, 3]]), "2024-01-02 .*more than once"),
    "a gap": (pd.Series(np.arange(4.0), DAYS[[0, 1, 2, 4]]), "2024-01-03.* is followed by"),
    "missing time": (pd.Series(np.arange(3.0), [*DAYS[:2], pd.NaT]), "missing entries"),
    "text as index": (pd.Series(np.arange(3.0), list("abc")), "use times"),
    "odd numbers": (pd.Series(np.arange(4.0), [0, 1, 2, 4]), "not equally spaced"),
    "two rows": (pd.Series(np.arange(2.0), DAYS[:2]), "frequency"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_an_unusable_series_is_refused(case: str) -> None:
    y, message = BAD[case]
    with pytest.raises(InvalidArgumentError, match=message):
        to_history(y)


def test_gaps_are_filled_in_time_on_request() -> None:
    y = np.array([[np.nan, 1.0], [2.0, np.nan], [np.nan, np.nan], [8.0, 4.0], [np.nan, 5.0]])
    expected = [[2.0, 1.0], [2.0, 2.0], [5.0, 3.0], [8.0, 4.0], [8.0, 5.0]]
    assert np.array_equal(to_history(y, missing="linear").values, expected)
    assert np.isnan(y[0, 0]), "the argument stays as it is"
    with pytest.raises(InvalidArgumentError, match=r"columns \[1\] .* no values"):
        to_history(np.array([[1.0, np.nan], [2.0, np.nan]]), missing="linear")


# Preparation


def test_the_scale_is_that_of_the_training_rows() -> None:
    values = np.concatenate([np.random.default_rng(0).normal(5, 2, 80), np.full(20, 1e6)])
    history = to_history(values)
    prepared = Preparation.fit(history, 80, input_size=10, horizon=5, scaled=True, takes_time=False)
    assert prepared.standardisation.mean[0] == pytest.approx(values[:80].mean())
    assert prepared.standardisation.scale[0] == pytest.approx(values[:80].std())


def test_a_constant_series_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="constant"):
        Preparation.fit(
            to_history(np.ones(50)), 40, input_size=5, horizon=5, scaled=True, takes_time=False
        )


@pytest.mark.parametrize(
    ("rows", "held_out", "expected"), [(100, 0.2, 80), (100, 25, 75), (30, 0.34, 20)]
)
def test_rows_are_held_out_at_the_end(rows: int, held_out: float, expected: int) -> None:
    assert training_rows(rows, 10, 10, held_out) == expected


@pytest.mark.parametrize(("rows", "held_out"), [(20, 0.2), (30, 0.4), (100, 5), (100, 85)])
def test_too_short_a_series_is_refused(rows: int, held_out: float) -> None:
    with pytest.raises(InvalidArgumentError, match=f"y has {rows} rows"):
        training_rows(rows, 10, 10, held_out)


# Intervals


@pytest.mark.parametrize("level", [0.1, 0.5, 0.8, 0.9])
def test_intervals_cover_their_share_of_exchangeable_errors(level: float) -> None:
    rng = np.random.default_rng(0)
    hits = []
    for _ in range(400):
        errors = rng.standard_t(3, size=(60, 3, 2))
        hits.append(np.abs(errors[-1]) <= half_widths(errors[:-1], level))
    assert np.mean(hits) == pytest.approx(level, abs=0.03)


@pytest.mark.parametrize("level", [0.0, 1.0, 1.5, -0.1])
def test_a_level_out_of_range_is_refused(level: float) -> None:
    with pytest.raises(InvalidArgumentError, match="level"):
        half_widths(np.zeros((10, 1, 1)), level)


def test_too_few_windows_for_a_level_are_refused_with_the_number_needed() -> None:
    with pytest.raises(InvalidArgumentError, match="at least 9 are needed"):
        half_widths(np.zeros((8, 1, 1)), 0.9)
    assert half_widths(np.zeros((9, 1, 1)), 0.9).shape == (1, 1)
