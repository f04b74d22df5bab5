"""Every file format: what is read, that it comes back exactly, and what broken files say."""

import contextlib
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsewire.datasets import (
    DatasetError,
    MalformedFileError,
    read_annotations,
    read_arff,
    read_ltsf_csv,
    read_panel_npz,
    read_tcpd,
    read_ts,
    read_ucr,
)
from sparsewire.datasets.timeseries.archive import parse_panel_npz
from sparsewire.datasets.timeseries.arff import parse_arff
from sparsewire.datasets.timeseries.ltsf import parse_ltsf_csv
from sparsewire.datasets.timeseries.tcpd import parse_annotations, parse_tcpd
from sparsewire.datasets.timeseries.text import Panel
from sparsewire.datasets.timeseries.ts import parse_ts
from sparsewire.datasets.timeseries.ucr import parse_ucr

NAN = float("nan")
TS = "@timeStamps false\n@univariate false\n@dimensions 2\n@classLabel true a b\n@data\n"
FLAT = "@relation r\n@attribute t1 numeric\n@attribute t2 REAL\n@attribute c {a,b}\n@data\n"
RELATIONAL = (
    "% comment\n@relation r\n@attribute s relational\n@attribute t1 numeric\n"
    "@attribute t2 numeric\n@end s\n@attribute c {'a', b}\n\n@data\n"
)
CSV = "date,OT,x\n2020-01-01 00:00:00,1,2\n2020-01-01 01:00:00,3,4\n"
TCPD: dict[str, Any] = {
    "n_obs": 2,
    "n_dim": 1,
    "time": {"index": [0, 1], "raw": ["1999", "2000"]},
    "series": [{"label": "V", "raw": [1, 2.5]}],
}

numbers = st.floats(allow_nan=False, allow_infinity=False) | st.just(NAN)


def as_lists(X: Panel) -> list[list[list[float]]]:
    return [case.tolist() for case in X]


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def tcpd(**changes: Any) -> bytes:
    return json.dumps({**TCPD, **changes}).encode()


def rejects(parse: Callable[[str, bytes], object], content: str | bytes, expected: str) -> None:
    raw = content.encode() if isinstance(content, str) else content
    with pytest.raises(MalformedFileError) as caught:
        parse("folder/broken.file", raw)
    message = str(caught.value)
    assert message.startswith("folder/broken.file")
    assert re.search(expected, message), message
    assert isinstance(caught.value, DatasetError)


# .ts


def test_ts_dimensions_are_separated_by_colons_and_the_last_field_is_the_label() -> None:
    X, y = parse_ts("x", (TS + "1,2:3,4:a\n-5e-1,.5:?,NaN:b\n").encode())
    assert isinstance(X, np.ndarray)
    assert X.dtype == np.float64
    np.testing.assert_array_equal(X, [[[1, 2], [3, 4]], [[-0.5, 0.5], [NAN, NAN]]])
    assert y is not None
    assert y.tolist() == ["a", "b"]


def test_ts_cases_of_different_length_stay_a_list() -> None:
    X, _ = parse_ts("x", (TS + "1,2:3,4:a\n1:2:b\n").encode())
    assert isinstance(X, list)
    assert as_lists(X) == [[[1, 2], [3, 4]], [[1], [2]]]


def test_ts_missing_values_at_the_end_are_values_not_padding() -> None:
    X, _ = parse_ts("x", b"@classLabel false\n@data\n1,?\n2,3\n")
    np.testing.assert_array_equal(X, [[[1, NAN]], [[2, 3]]])


def test_ts_header_may_have_comments_blank_lines_any_case_windows_line_ends_and_a_mark() -> None:
    text = "\ufeff# Pick–up\r\n\r\n%x\r\n@CLASSLABEL TRUE 1 2\r\n@Problem y\r\n@DATA\r\n1, 2 :1\r\n"
    X, y = parse_ts("x", text.encode())
    assert y is not None
    assert (as_lists(X), y.tolist()) == ([[[1, 2]]], ["1"])


def test_ts_targets_of_a_regression_are_numbers_and_a_file_without_labels_has_none() -> None:
    _, y = parse_ts("x", b"@targetLabel true\n@data\n1,2:0.5\n3,4:-2\n")
    assert y is not None
    assert y.tolist() == [0.5, -2.0]
    assert parse_ts("x", b"@classLabel false\n@data\n1,2\n")[1] is None


@given(
    st.integers(1, 3).flatmap(
        lambda n_dims: st.lists(
            st.integers(1, 4).flatmap(
                lambda length: st.lists(
                    st.lists(numbers, min_size=length, max_size=length),
                    min_size=n_dims,
                    max_size=n_dims,
                )
            ),
            min_size=1,
            max_size=4,
        )
    )
)
def test_ts_returns_exactly_the_numbers_that_were_written(cases: list[list[list[float]]]) -> None:
    lines = [
        ":".join(",".join("?" if v != v else repr(v) for v in dim) for dim in case) + ":a"
        for case in cases
    ]
    X, y = parse_ts("x", ("@classLabel true a\n@data\n" + "\n".join(lines)).encode())
    assert y is not None
    assert len(X) == len(y) == len(cases)
    for found, case in zip(X, cases, strict=True):
        np.testing.assert_array_equal(found, np.array(case))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "no line @data"),
        ("@classLabel true a\n1,2:a\n", "line 2: .*before @data"),
        ("@classLabel true a\n@data\n", "no case"),
        ("@data\n1,2:a\n", "neither @classLabel nor @targetLabel"),
        ("@classLabel true\n@data\n1:a\n", "line 1: @classLabel"),
        ("@classLabel false a b\n@data\n1:a\n", "line 1: @classLabel"),
        ("@classLabel maybe\n@data\n1:a\n", r"line 1: @classlabel needs true or false.*maybe"),
        ("@timeStamps true\n@classLabel false\n@data\n(0,1)\n", "time stamps"),
        ("@dimensions six\n@classLabel false\n@data\n1\n", r"line 1: @dimensions .*\['six'\]"),
        ("@seriesLength 0\n@classLabel false\n@data\n1\n", r"line 1: @serieslength .*\['0'\]"),
        (TS + "1,2:3,4:c\n", "line 6: .*'c'.* a, b"),
        (TS + "1,2:3,4\n", "line 6: .*'3,4'.*not one of the classes"),
        (TS + "1,2:a\n", "line 6: expected 2 dimensions, found 1"),
        (TS + "1,2:3:a\n", r"line 6: .*\[2, 1\] values"),
        (TS + "1,2:3,4:a\n1,x:3,4:b\n", "line 7: value 2 of dimension 1 is 'x'"),
        (TS + "1,:3,4:a\n", "line 6: value 2 of dimension 1 is ''"),
        (TS + "1,2::a\n", "line 6: value 1 of dimension 2 is ''"),
        (TS + "1_0,2:3,4:a\n", "line 6: value 1 of dimension 1 is '1_0'"),
        (TS + "1,inf:3,4:a\n", "line 6: value 2 of dimension 1 is 'inf'"),
        (TS + "1,2:1e999,4:a\n", "line 6: value 1 of dimension 2 is '1e999'"),
        (TS + "\u0661,2:3,4:a\n", "line 6: value 1 of dimension 1"),
        (TS + "a\n", "line 6: there is a label but no series"),
        ("@univariate true\n@classLabel false\n@data\n1:2\n", "expected 1 dimensions, found 2"),
        ("@classLabel false\n@data\n1,2\n1,2:3,4\n", "line 4: expected 1 dimensions, found 2"),
        ("@equalLength true\n@classLabel false\n@data\n1,2\n1\n", "line 5: expected 2 values"),
        (
            "@equalLength true\n@seriesLength 3\n@classLabel false\n@data\n1,2\n",
            "line 5: expected 3 values.* found 2",
        ),
        (b"@classLabel false\n@data\n1,2\n\xff\xfe\n", "line 4: this is not UTF-8"),
    ],
)
def test_ts_says_where_a_file_is_broken(content: str | bytes, expected: str) -> None:
    rejects(parse_ts, content, expected)


# UCR text


@pytest.mark.parametrize(
    "content", ["1\t0.5\t?\n-1\t1\t2", "1,0.5,NaN\r\n-1,1,2\r\n", "  1  0.5  NaN\n -1.0  1  2\n"]
)
def test_ucr_files_are_separated_by_tabs_commas_or_spaces(content: str) -> None:
    X, y = parse_ucr("x", content.encode())
    assert as_lists(X) == [[[0.5]], [[1, 2]]]
    assert y.tolist() == ["1", "-1"]


def test_ucr_missing_values_inside_a_series_stay_and_those_at_its_end_are_cut() -> None:
    X, _ = parse_ucr("x", b"1\tNaN\t1\tNaN\tNaN\n1\t1\t2\t3\t4\n")
    np.testing.assert_array_equal(X[0], [[NAN, 1]])
    np.testing.assert_array_equal(X[1], [[1, 2, 3, 4]])


def test_ucr_labels_are_the_digits_of_whole_numbers() -> None:
    _, y = parse_ucr("x", b"1.0000000e+00,5\n 2 ,5\n1.5,5\n")
    assert y.tolist() == ["1", "2", "1.5"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "the file is empty"),
        ("\n \n", "the file is empty"),
        ("1\n", "line 1: expected a label and 1 values"),
        ("1\t2\t3\n1\t2\n", "line 2: expected a label and 2 values.* found 2 fields"),
        ("1\t2\t\t3\n", "line 1: value 2 of the series is ''"),
        ("a\t2\n", "line 1: value 1 of the label is 'a'"),
        ("NaN\t2\n", "line 1: the label is missing"),
        ("1\tNaN\n", "line 1: every value of the series is missing"),
        ("@data\n1,2:a\n", "line 1: expected a label"),
    ],
)
def test_ucr_says_where_a_file_is_broken(content: str, expected: str) -> None:
    rejects(parse_ucr, content, expected)


# .arff


def test_arff_flat_files_are_univariate() -> None:
    X, y = parse_arff("x", (FLAT + "1,2,a\n?,4, b\n").encode())
    np.testing.assert_array_equal(X, [[[1, 2]], [[NAN, 4]]])
    assert y.tolist() == ["a", "b"]


def test_arff_relational_files_have_a_dimension_per_written_line_end() -> None:
    X, y = parse_arff("x", (RELATIONAL + "'1,2\\n3,4',a\n\"5,6\\n7,?\",'b'\n").encode())
    np.testing.assert_array_equal(X, [[[1, 2], [3, 4]], [[5, 6], [7, NAN]]])
    assert y.tolist() == ["a", "b"]


def test_arff_series_that_end_in_missing_values_are_shorter() -> None:
    X, _ = parse_arff("x", (RELATIONAL + "'1,?\\n3,?',a\n'5,6\\n7,?',b\n").encode())
    assert [case.shape for case in X] == [(2, 1), (2, 2)]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "no line @data"),
        (FLAT, "no case"),
        ("@relation r\n@data\n1,a\n", "must name numeric attributes and, last, the class"),
        ("@attribute a numeric\n@data\n1\n", "must name numeric attributes and, last, the class"),
        ("@attribute c {a}\n@attribute t numeric\n@data\n", "line 2: the class must be the last"),
        ("@attribute t date\n@data\n", "line 1: an attribute of the type 'date'"),
        ("@attribute t\n@data\n", "line 1: expected @attribute NAME TYPE"),
        ("1,2,a\n", "line 1: expected @attribute NAME TYPE"),
        (
            "@attribute s relational\n@attribute u relational\n@data\n",
            "line 2: .*at most one relational",
        ),
        (FLAT + "1,2,c\n", "line 6: the label 'c' is not one of the header's: a, b"),
        (FLAT + "1,a\n", "line 6: expected 2 values in dimension 1.* found 1"),
        (FLAT + "1,x,a\n", "line 6: value 2 of dimension 1 is 'x'"),
        (FLAT + "?,?,a\n", "line 6: every value of the case is missing"),
        (FLAT + "{0 1},a\n", "line 6: expected 2 values"),
        (RELATIONAL + "1,2,a\n", "line 10: expected the dimensions in quotes"),
        (RELATIONAL + "'1,2\\n3',a\n", "line 10: expected 2 values in dimension 2.* found 1"),
        (RELATIONAL + "'1,2',a\n'1,2\\n3,4',a\n", "line 11: expected 1 dimensions .*found 2"),
    ],
)
def test_arff_says_where_a_file_is_broken(content: str, expected: str) -> None:
    rejects(parse_arff, content, expected)


# .npz


def test_npz_holds_both_splits_and_labels_become_text() -> None:
    X = np.arange(24, dtype=np.float32).reshape(3, 2, 4)
    content = npz(X_train=X, y_train=[1, 2, 1], X_test=X[:1], y_test=["b"])
    train, test = parse_panel_npz("x", content)
    np.testing.assert_array_equal(train[0], X)
    assert train[0].dtype == np.float32
    assert (train[1].tolist(), test[1].tolist()) == (["1", "2", "1"], ["b"])
    swapped, _ = parse_panel_npz("x", content, channels_last=True)
    np.testing.assert_array_equal(swapped[0], X.transpose(0, 2, 1))
    assert swapped[0].flags.c_contiguous


def test_npz_that_is_no_archive_of_plain_arrays_is_refused() -> None:
    X, y = np.ones((2, 1, 4)), np.array(["a", "b"])
    single = io.BytesIO()
    np.save(single, X)
    objects = np.array([print, print], dtype=object)
    full = npz(X_train=X, y_train=y, X_test=X, y_test=y)
    for content, expected in [
        (b"", "no .npz archive"),
        (b"PK\x03\x04 not a zip file", "no .npz archive"),
        (full[: len(full) // 2], "no .npz archive"),
        (single.getvalue(), "no .npz archive"),
        (npz(X_train=X, y_train=objects, X_test=X, y_test=y), "no .npz archive"),
        (npz(X_train=X, y_train=y, X_test=X), "must hold the arrays .*y_test"),
        (npz(X_train=X[0], y_train=y, X_test=X, y_test=y), "three axes"),
        (npz(X_train=X > 0, y_train=y, X_test=X, y_test=y), "dtype bool"),
        (npz(X_train=X[:0], y_train=y[:0], X_test=X, y_test=y), "non-empty"),
        (npz(X_train=X, y_train=y[:1], X_test=X, y_test=y), "2 series but labels of shape"),
        (npz(X_train=X, y_train=y, X_test=X[:, :, :3], y_test=y), r"\(1, 4\), test cases \(1, 3\)"),
    ]:
        rejects(parse_panel_npz, content, expected)


# .csv


def test_csv_target_becomes_the_last_column_and_keeps_the_order_of_the_others() -> None:
    content = b"date,OT,x,y\n2020-01-01,1,2,3\n2020-01-02,4,5,6\n"
    series = parse_ltsf_csv("x", content)
    assert (series.columns, series.target) == (("x", "y", "OT"), "OT")
    assert series.values.tolist() == [[2, 3, 1], [5, 6, 4]]
    assert parse_ltsf_csv("x", content, target="x").columns == ("OT", "y", "x")
    assert parse_ltsf_csv("x", content.replace(b"OT", b"z")).columns == ("z", "x", "y")
    assert series.info is None


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("2020-02-03 04:05:06", "2020-02-03 04:05:07"),
        ("2020-02-03T04:05:06", "2020-02-03T04:05:07"),
        ("2020-02-03 04:05", "2020-02-03 04:06"),
        ("2020/2/3 4:05", "2020/2/3 4:06"),
        ("2020-02-03", "2020-02-04"),
        ("2020/2/3", "2020/2/4"),
        ("2020-02", "2020-03"),
    ],
)
def test_csv_times_put_the_year_first(first: str, second: str) -> None:
    series = parse_ltsf_csv("x", f"date,a\n{first},1\n{second},2\n".encode())
    assert series.times.dtype == "datetime64[s]"
    assert str(series.times[0]).startswith("2020-02")
    assert series.times[0] < series.times[1]


def test_csv_empty_fields_are_missing_values_and_quotes_are_taken_off() -> None:
    content = b'"d","a, b",c\n2020-01,,?\n2020-02,"1.5",NaN\n'
    series = parse_ltsf_csv("x", content)
    assert series.columns == ("a, b", "c")
    np.testing.assert_array_equal(series.values, [[NAN, NAN], [1.5, NAN]])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "expected a header"),
        ("date\n2020-01-01\n", "line 1: expected a header"),
        ("date,a,a\n2020-01-01,1,2\n", "line 1: column names must be distinct"),
        ("date,a,\n2020-01-01,1,2\n", "line 1: column names must be distinct and not empty"),
        ("date,a\n", "no row"),
        (CSV + "2020-01-01 02:00:00,5\n", "line 4: expected 3 fields .*found 2"),
        (CSV + "2020-01-01 02:00:00,5,x\n", "line 4: value 2 of the columns after the time"),
        (CSV + "2020-01-01 01:00:00,5,6\n", "line 4: the time .* is not later"),
        (CSV + "2019-01-01 01:00:00,5,6\n", "line 4: the time .* is not later"),
        (CSV + "2020-01-02,5,6\n", r"line 4: '2020-01-02' is no time like the first"),
        (CSV + ",5,6\n", "line 4: '' is no time"),
        ("date,a\n31/12/2020,1\n", "line 2: '31/12/2020' in the first column is no time"),
        ("date,a\n2020-02-30,1\n", "line 2: '2020-02-30' in the first column is no time"),
        ('date,a\n"2020-01-01,1\n', "unexpected end of data"),
    ],
)
def test_csv_says_where_a_file_is_broken(content: str, expected: str) -> None:
    rejects(parse_ltsf_csv, content, expected)


def test_csv_names_the_columns_if_there_is_no_such_target() -> None:
    with pytest.raises(MalformedFileError, match="no column 'z'; columns are OT, x"):
        parse_ltsf_csv("x", CSV.encode(), target="z")


# TCPD


def test_tcpd_null_is_a_missing_value_and_times_are_as_in_the_source() -> None:
    series = [{"label": "a", "raw": [1, None]}, {"raw": [None, 4.5]}]
    found = parse_tcpd("x", tcpd(series=series, n_dim=2))
    np.testing.assert_array_equal(found.values, [[1, NAN], [NAN, 4.5]])
    assert found.columns == ("a", "1")
    assert found.times == ("1999", "2000")
    assert (found.annotations, found.info) == ({}, None)
    assert parse_tcpd("x", tcpd(time={"index": [0, 1]})).times is None


def test_annotations_come_back_sorted() -> None:
    content = b'{"nile": {"6": [28, 3], "7": []}}'
    assert parse_annotations("x", content) == {"nile": {"6": [3, 28], "7": []}}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"{", "line 1: this is not JSON"),
        (b"[" * 100_000, "no JSON that can be read"),
        (b"[]", "the file must be a JSON object, got list"),
        (tcpd(series=[]), "'series' must be a list"),
        (tcpd(series=None), "'series' must be a list"),
        (tcpd(n_dim=2), "'series' must be a list"),
        (tcpd(series=[7]), "an entry of 'series' must be a JSON object"),
        (tcpd(n_obs=3), "'raw' of 'V' must be a list of 3 values"),
        (tcpd(series=[{"label": "V"}]), "'raw' of 'V' must be a list"),
        (tcpd(series=[{"label": "V", "raw": [1, "2"]}]), "value 1 of 'V' is '2'"),
        (tcpd(series=[{"label": "V", "raw": [True, 2]}]), "value 0 of 'V' is True"),
        (tcpd(series=[{"label": "V", "raw": [1, float("inf")]}]), "value 1 of 'V' is infinite"),
        (tcpd(series=[{"label": "V", "raw": [1, 10**400]}]), "a number of 'V' is too large"),
        (tcpd(time={"raw": ["1999"]}), "'raw' of 'time' must be a list of 2"),
    ],
)
def test_tcpd_says_what_is_wrong(content: bytes, expected: str) -> None:
    rejects(parse_tcpd, content, expected)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"[]", "must be a JSON object"),
        (b'{"nile": [28]}', "the entry 'nile' must be a JSON object"),
        (b'{"nile": {"6": 28}}', "annotator '6' of the entry 'nile' must be a list"),
        (b'{"nile": {"6": [-1]}}', "holds -1; a change point"),
        (b'{"nile": {"6": [1.5]}}', "holds 1.5; a change point"),
        (b'{"nile": {"6": [true]}}', "holds True; a change point"),
        (b'{\n"nile": x}', "line 2: this is not JSON"),
    ],
)
def test_annotations_say_what_is_wrong(content: bytes, expected: str) -> None:
    rejects(parse_annotations, content, expected)


# All of them

PARSERS: dict[str, tuple[Callable[[str, bytes], object], bytes]] = {
    "ts": (parse_ts, (TS + "1,2:3,4:a\n1,?:3,4:b\n").encode()),
    "ucr": (parse_ucr, b"1\t0.5\t1\n2\t3\tNaN\n"),
    "arff flat": (parse_arff, (FLAT + "1,2,a\n3,?,b\n").encode()),
    "arff relational": (parse_arff, (RELATIONAL + "'1,2\\n3,4',a\n'5,6\\n7,8',b\n").encode()),
    "csv": (parse_ltsf_csv, CSV.encode()),
    "tcpd": (parse_tcpd, tcpd()),
    "annotations": (parse_annotations, b'{"nile": {"6": [28], "7": []}}'),
    "npz": (
        parse_panel_npz,
        npz(X_train=np.ones((2, 1, 4)), y_train=[1, 2], X_test=np.ones((1, 1, 4)), y_test=[1]),
    ),
}


@pytest.mark.parametrize("name", PARSERS)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_but_never_breaks_the_reader(
    name: str, data: st.DataObject
) -> None:
    parse, valid = PARSERS[name]
    start = data.draw(st.integers(0, len(valid)))
    stop = data.draw(st.integers(start, min(len(valid), start + 20)))
    filler = st.text("0123456789,:;@?'\"{}[]\n\t .-eNaX\\", max_size=8).map(str.encode)
    filling = data.draw(filler | st.binary(max_size=8))
    with contextlib.suppress(MalformedFileError):
        parse("x", valid[:start] + filling + valid[stop:])


@pytest.mark.parametrize(
    ("read", "content"),
    [
        (read_ts, PARSERS["ts"][1]),
        (read_ucr, PARSERS["ucr"][1]),
        (read_arff, PARSERS["arff flat"][1]),
        (read_ltsf_csv, PARSERS["csv"][1]),
        (read_tcpd, PARSERS["tcpd"][1]),
        (read_annotations, PARSERS["annotations"][1]),
        (read_panel_npz, PARSERS["npz"][1]),
    ],
)
def test_readers_take_text_and_path_objects_and_name_the_broken_file(
    read: Callable[..., object], content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "good.file"
    path.write_bytes(content)
    assert read(path) is not None
    assert read(str(path)) is not None
    broken = tmp_path / "broken.file"
    broken.write_bytes(b"\xff")
    with pytest.raises(MalformedFileError, match=re.escape(str(broken))):
        read(broken)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "absent.file")
