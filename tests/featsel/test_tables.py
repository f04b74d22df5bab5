"""Reading and writing of tables: values come back unchanged, and bad files are named."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sparsewire.core._files import replacing
from sparsewire.core.errors import InvalidArgumentError
from sparsewire.featsel.tables import read_table, write_selected

X = np.array([[1.0, 0.1, -3.0], [2.0, 1 / 3, 5e-324], [7.0, 1e300, 0.25]])
LABELS = ["007", "a, b", "ü"]


def make(folder: Path, suffix: str) -> Path:
    """Write X and LABELS, the label in the middle where the format has columns."""
    path = folder / f"table{suffix}"
    frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "label": LABELS, "c": X[:, 2]})
    if suffix == ".csv":
        frame.to_csv(path, index=False)
    elif suffix == ".parquet":
        frame.to_parquet(path)
    else:
        np.savez(path, X=X, label=np.array(LABELS), feature_names=np.array(["a", "b", "c"]))
    return path


def write_csv(path: Path, *rows: Sequence[str]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
def test_every_format_gives_the_same_features(tmp_path: Path, suffix: str) -> None:
    table = read_table(make(tmp_path, suffix), "label")
    assert table.names == ("a", "b", "c")
    assert table.target == "label"
    np.testing.assert_array_equal(table.values, X)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
def test_a_written_selection_reads_back_bit_for_bit(tmp_path: Path, suffix: str) -> None:
    table = read_table(make(tmp_path, suffix), "label")
    output = tmp_path / f"out{suffix}"
    write_selected(table, np.array([False, True, True]), output)
    reduced = read_table(output, "label")
    assert reduced.names == ("b", "c")
    np.testing.assert_array_equal(reduced.values, X[:, 1:])


def test_csv_output_keeps_the_text_of_every_value_and_the_order_of_columns(tmp_path: Path) -> None:
    rows = [["a", "label", "b"], ["1.50", "007", "1e2"], ["+2", " x", "0.10"], ["3", 'q"', "4"]]
    table = read_table(write_csv(tmp_path / "t.csv", *rows), "label")
    write_selected(table, np.array([False, True]), tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as stream:
        assert list(csv.reader(stream)) == [row[1:] for row in rows]


def test_csv_with_a_byte_order_mark_and_blank_lines_is_read(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2\n\n3,4\n", encoding="utf-8-sig")
    table = read_table(path)
    assert table.names == ("a", "b")
    write_selected(table, np.array([True, False]), tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text(encoding="utf-8") == "a\n1\n3\n"


def test_boolean_columns_count_as_zero_and_one(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t.csv", ["a", "b"], ["True", "1"], ["False", "2"])
    np.testing.assert_array_equal(read_table(path).values, [[1.0, 1.0], [0.0, 2.0]])


def test_parquet_output_keeps_types_and_the_pandas_index(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "small": np.array([1, 2, 3], dtype=np.int8),
            "single": np.array([0.5, 1.5, 2.5], dtype=np.float32),
            "flag": [True, False, True],
            "label": pd.Categorical(["u", None, "v"]),
        },
        index=pd.Index(["r1", "r2", "r3"], name="row"),
    )
    frame.to_parquet(tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet", "label")
    assert table.names == ("small", "single", "flag")
    write_selected(table, np.array([True, True, False]), tmp_path / "out.parquet")
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "out.parquet"), frame[["small", "single", "label"]]
    )


def test_npz_keeps_the_dtype_and_names_unnamed_columns_by_position(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "t.npz", X=np.arange(12, dtype=np.uint8).reshape(3, 4), y=np.array([2, 0, 1])
    )
    table = read_table(tmp_path / "t.npz")
    assert table.target == "y"
    write_selected(table, np.array([False, True, False, True]), tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as out:
        assert out["X"].dtype == np.uint8
        np.testing.assert_array_equal(out["X"], [[1, 3], [5, 7], [9, 11]])
        assert out["feature_names"].tolist() == ["x1", "x3"]
        np.testing.assert_array_equal(out["y"], [2, 0, 1])


def test_without_a_target_every_column_is_a_feature(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t.csv", ["a", "y"], ["1", "2"], ["3", "4"])
    assert read_table(path).names == ("a", "y")


def test_a_missing_target_value_is_no_obstacle(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t.csv", ["a", "y"], ["1", ""], ["3"])
    table = read_table(path, "y")
    write_selected(table, np.array([True]), tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text(encoding="utf-8") == "a,y\n1,\n3,\n"


@pytest.mark.parametrize("text", ["", "inf", "nan"])
def test_missing_and_infinite_values_are_named_with_their_count(tmp_path: Path, text: str) -> None:
    path = write_csv(tmp_path / "t.csv", ["a", "b"], ["1", text], ["2", text], ["3", "4"])
    with pytest.raises(InvalidArgumentError, match=r"1 column: 'b' \(2\).*SimpleImputer"):
        read_table(path)


def test_a_null_in_a_parquet_column_counts_as_missing(tmp_path: Path) -> None:
    pd.DataFrame({"a": pd.array([1, None, 3], dtype="Int64")}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(InvalidArgumentError, match=r"'a' \(1\)"):
        read_table(tmp_path / "t.parquet")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_text_column_is_named_and_encoding_advised(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"not numeric: 'label' .*OneHotEncoder"):
        read_table(make(tmp_path, suffix))


def test_a_long_list_of_bad_columns_is_shortened(tmp_path: Path) -> None:
    names = [f"c{index}" for index in range(8)]
    path = write_csv(tmp_path / "t.csv", names, ["x"] * 8, ["y"] * 8)
    with pytest.raises(InvalidArgumentError, match=r"8 columns not numeric: 'c0'.* and 3 more"):
        read_table(path)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
def test_an_unknown_target_brings_a_suggestion(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"'lable'.*Did you mean 'label'"):
        read_table(make(tmp_path, suffix), "lable")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.csv"):
        read_table(tmp_path / "nowhere.csv")


def test_an_unknown_format_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match=r"'\.xlsx'.*\.csv, \.parquet, \.npz"):
        read_table(tmp_path / "t.xlsx")


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00\x01garbage\x00"])
def test_a_damaged_file_is_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(content)
    with pytest.raises(InvalidArgumentError, match="bad"):
        read_table(path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["a", "a"], ["1", "2"], ["3", "4"]], "repeated column names: a"),
        ([["", "a"], ["0", "2"], ["1", "4"]], "Column 1 .* has no name"),
        ([["a", "b"], ["0", "2", "3"], ["1", "5", "6"]], "not a readable CSV file"),
        ([["a", "b"], ["1", "2"], ["4", "5", "6"]], "not a readable CSV file"),
        ([["a;b"], ["1;2"], ["3;4"]], "separated by commas"),
        ([["a", "b"]], "0 rows and 2 features"),
        ([["a", "b"], ["1", "2"]], "1 rows and 2 features"),
    ],
)
def test_a_malformed_csv_is_explained(tmp_path: Path, rows: list[list[str]], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        read_table(write_csv(tmp_path / "t.csv", *rows))


def test_a_table_of_the_target_alone_is_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t.csv", ["y"], ["1"], ["2"])
    with pytest.raises(InvalidArgumentError, match="2 rows and 0 features"):
        read_table(path, "y")


@pytest.mark.parametrize(
    ("arrays", "target", "message"),
    [
        ({"Z": X}, None, "no array 'X'; it holds Z"),
        ({"X": X[0]}, None, "must have shape"),
        ({"X": X.astype(str)}, None, "real numbers"),
        ({"X": X.astype(object)}, None, "not a readable NPZ"),
        ({"X": X, "y": np.zeros(2)}, None, "'y'.*3 rows"),
        ({"X": X, "y": np.zeros(3)}, "X", "cannot be the target"),
        ({"X": X, "feature_names": np.array(["a"])}, None, "must hold 3 strings"),
        ({"X": X, "feature_names": np.array(["a", "a", "b"])}, None, "repeated column names: a"),
    ],
)
def test_a_malformed_npz_is_explained(
    tmp_path: Path, arrays: dict[str, Any], target: str | None, message: str
) -> None:
    np.savez(tmp_path / "t.npz", **arrays)
    with pytest.raises(InvalidArgumentError, match=message):
        read_table(tmp_path / "t.npz", target)


@pytest.mark.parametrize("selected", [np.array([1, 0, 1]), np.array([True, False])])
def test_a_wrong_mask_is_refused(tmp_path: Path, selected: Any) -> None:
    table = read_table(make(tmp_path, ".csv"), "label")
    with pytest.raises(InvalidArgumentError, match=r"shape \(3,\)"):
        write_selected(table, selected, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half of the n")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
