"""Which `.csv` files are read, and what is said about the others?"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsewire.core import InvalidArgumentError
from sparsewire.timeseries.command.arguments import parse_parameters, parse_size
from sparsewire.timeseries.command.tables import Series, read_csv, to_number


def read(tmp_path: Path, text: str, **options: object) -> Series:
    path = tmp_path / "data.csv"
    path.write_text(text, encoding="utf-8")
    return read_csv(path, **{"time": None, "columns": None, **options})  # type: ignore[arg-type]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_number_is_read_as_it_was_written(number: float) -> None:
    assert to_number(repr(number)) == number


@pytest.mark.parametrize("text", ["abc", "1_0", "inf", "-Infinity", "1e999", "٣", "1,0", "0x1"])
def test_what_is_no_finite_number_is_none(text: str) -> None:
    assert to_number(text) is None


def test_missing_values_are_nan_and_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    found = read(tmp_path, "\ufeffa,b\n1,\n\n?,NaN\n2, 3\n").frame
    expected = pd.DataFrame({"a": [1, np.nan, 2], "b": [np.nan, np.nan, 3]})
    pd.testing.assert_frame_equal(found, expected)


@pytest.mark.parametrize(
    ("first", "second"),
    [("2024-01-31", "2024-02-01"), ("2024/1/31 0:00", "2024/1/31 1:00"), ("2024-01", "2024-02")],
)
def test_a_first_column_of_dates_is_that_of_times(tmp_path: Path, first: str, second: str) -> None:
    found = read(tmp_path, f"when,x\n{first},1\n{second},2\n")
    assert found.time == "when"
    assert list(found.frame) == ["x"]
    assert found.frame.index.is_monotonic_increasing


def test_a_written_index_of_pandas_is_read(tmp_path: Path) -> None:
    index = pd.date_range("2024-01-01", periods=3, freq="h")
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0]}, index=index)
    frame.to_csv(tmp_path / "data.csv")
    found = read_csv(tmp_path / "data.csv", time=None, columns=None)
    pd.testing.assert_frame_equal(found.frame, frame, check_freq=False, check_index_type=False)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["empty"]),
        ("a,b\n", ["no row"]),
        ("a,b\n1,2,3\n", ["line 2", "3 fields instead of 2"]),
        ("a;b\n1;2\n", ["one column", "commas"]),
        ("a,,c\n1,2,3\n", ["column 2", "no name"]),
        ("a,a\n1,2\n", ["repeated", "a"]),
        ('a,b\n"1,2\n', ["not a readable CSV"]),
        ("day,x\n31/01/2024,1\n", ["'31/01/2024'", "'day'"]),
        ("day,x\n2024-01-01,1\n2024-13-01,2\n", ["line 3", "'2024-13-01'"]),
        ("day\n2024-01-01\n", ["column of values"]),
    ],
)
def test_files_that_cannot_be_used_are_refused(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        read(tmp_path, text)
    assert [word for word in words if word not in str(caught.value)] == []


def test_parameters_may_be_written_as_for_the_other_commands() -> None:
    assert parse_parameters(["a=1", "b:x", "c:{'d': 1}", "e='f:g'"]) == {
        "a": 1, "b": "x", "c": {"d": 1}, "e": "f:g",
    }  # fmt: skip


@pytest.mark.parametrize("text", ["0", "1.0", "-3", "0.0", "1.5", "ten", "1e2"])
def test_a_size_is_a_number_of_rows_or_a_share(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="--test-size"):
        parse_size("--test-size", text)
