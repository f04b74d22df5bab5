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
from sparsewire.featsel.targets import read_target

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


def refusal(path: Path, target: str | None = None) -> str:
    with pytest.raises(InvalidArgumentError) as caught:
        read_table(path, target)
    return str(caught.value)


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


@pytest.mark.parametrize("text", ["", "nan", "NA"])
def test_missing_values_are_named_with_their_count(tmp_path: Path, text: str) -> None:
    path = write_csv(tmp_path / "t.csv", ["a", "b"], ["1", text], ["2", text], ["3", "4"])
    with pytest.raises(
        InvalidArgumentError, match=r"missing values in 1 column: 'b' \(2\).*SimpleImputer"
    ):
        read_table(path)


@pytest.mark.parametrize("text", ["inf", "-inf", "1e400"])
def test_infinite_values_are_named_and_not_to_be_imputed(tmp_path: Path, text: str) -> None:
    path = write_csv(tmp_path / "t.csv", ["a", "b"], ["1", text], ["2", text], ["", "4"])
    message = refusal(path)
    assert "infinite values in 1 column: 'b' (2) (name and count); replace or remove" in message
    assert "missing values in 1 column: 'a' (1)" in message


def test_values_whose_sum_overflows_are_no_infinite_values(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t.csv", ["a", "b"], ["1e308", "1"], ["1.7e308", "2"])
    np.testing.assert_array_equal(read_table(path).values[:, 0], [1e308, 1.7e308])


def test_a_null_in_a_parquet_column_counts_as_missing(tmp_path: Path) -> None:
    columns = {
        "integer": pd.array([1, None, 3], dtype="Int64"),
        "flag": pd.array([True, None, None], dtype="boolean"),
        "nothing": [None, None, None],
    }
    pd.DataFrame(columns).to_parquet(tmp_path / "t.parquet")
    message = refusal(tmp_path / "t.parquet")
    assert "'integer' (1), 'flag' (2), 'nothing' (3)" in message
    assert "SimpleImputer" in message


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_text_column_is_named_and_encoding_advised(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"not numeric: 'label' .*OneHotEncoder"):
        read_table(make(tmp_path, suffix))


def test_categories_dates_and_lists_in_parquet_get_advice_of_their_own(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "a": [1.0, 2.0],
            "colour": pd.Categorical(["red", "blue"]),
            "size": pd.Categorical([1, 2]),
            "day": pd.to_datetime(["2024-01-02", "2024-01-03"]),
            "bag": [[1, 2], [3]],
        }
    )
    frame.to_parquet(tmp_path / "t.parquet")
    message = refusal(tmp_path / "t.parquet")
    assert "4 columns not numeric: 'colour' (categories of type " in message
    assert "'size' (categories of type int64), 'day' (timestamp[" in message
    assert [w for w in ("OneHotEncoder", "days since", "nested") if w not in message] == []
    frame[["a", "day"]].to_parquet(tmp_path / "t.parquet")
    assert "OneHotEncoder" not in refusal(tmp_path / "t.parquet")


def test_mixed_columns_and_dates_in_csv_are_told_from_categories(tmp_path: Path) -> None:
    rows = [["1", "red", "2024-01-02"], ["2", "blue", "2024-01-03"], ["oops", "1", "2024-02-01"]]
    message = refusal(write_csv(tmp_path / "t.csv", ["mixed", "colour", "day"], *rows))
    assert "'mixed' (1 of 3 values are no numbers, the first 'oops' in row 3)" in message
    assert "'colour' (text such as 'red'), 'day' (dates such as '2024-01-02')" in message
    advice = ["correct or remove", "OneHotEncoder", "days since"]
    assert [words for words in advice if words not in message] == []


def test_booleans_with_gaps_and_huge_integers_in_csv_are_numbers(tmp_path: Path) -> None:
    huge = ["1" + "0" * 30, "7"]
    path = write_csv(tmp_path / "t.csv", ["a", "b"], [huge[0], "True"], [huge[1], "False"])
    np.testing.assert_array_equal(read_table(path).values, [[1e30, 1.0], [7.0, 0.0]])
    path = write_csv(tmp_path / "t.csv", ["a", "b"], ["1", "True"], ["2", ""], ["3", "False"])
    assert "missing values in 1 column: 'b' (1)" in refusal(path)


def test_a_parquet_column_with_a_point_in_its_name_is_no_part_of_another(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a.b": [1.0, 2.0, 3.0], "a": [4.0, 5.0, 6.0], "c": [7.0, 8.0, 9.0]})
    frame.to_parquet(tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet")
    np.testing.assert_array_equal(table.values, frame.to_numpy())
    write_selected(table, np.array([False, True, False]), tmp_path / "out.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out.parquet"), frame[["a"]])


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


def target_of(folder: Path, values: Any, suffix: str = ".parquet") -> Any:
    """Write values as the target of a table, and read it back."""
    path = folder / f"target{suffix}"
    frame = pd.DataFrame({"a": np.arange(len(values)), "y": values})
    if suffix == ".csv":
        frame.to_csv(path, index=False)
    elif suffix == ".parquet":
        frame.to_parquet(path)
    else:
        np.savez(path, X=frame[["a"]].to_numpy(), y=np.asarray(values))
    return read_target(read_table(path, "y"))


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["b", "a", "b"], "U"),
        (["1", "a", "2"], "U"),
        ([3, 1, 3], "i"),
        ([3.0, 1.0, -3.0], "i"),
        ([0.5, 1.0, 2.0], "f"),
    ],
)
def test_a_target_is_read_as_whole_numbers_as_numbers_or_as_text(
    tmp_path: Path, suffix: str, values: list[Any], kind: str
) -> None:
    target = target_of(tmp_path, values, suffix)
    assert target.dtype.kind == kind
    assert target.tolist() == values


def test_categories_and_flags_can_be_a_target(tmp_path: Path) -> None:
    assert target_of(tmp_path, pd.Categorical(["u", "v", "u"])).tolist() == ["u", "v", "u"]
    assert target_of(tmp_path, [True, False, True]).tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["a", None, None], "'y' of .* is missing in 2 rows; remove"),
        ([1.0, np.nan, 2.0], "missing in 1 row;"),
        ([1.0, np.inf, 2.0], "infinite values"),
        ([[1], [2], [3]], "holds list"),
    ],
)
def test_a_target_that_nothing_can_be_learnt_from_is_refused(
    tmp_path: Path, values: list[Any], message: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        target_of(tmp_path, values)


def test_a_target_matrix_and_a_missing_target_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", X=X, y=np.zeros((3, 2)))
    with pytest.raises(InvalidArgumentError, match=r"one number or text per row.*\(3, 2\)"):
        read_target(read_table(tmp_path / "t.npz"))
    np.savez(tmp_path / "t.npz", X=X)
    with pytest.raises(InvalidArgumentError, match="without a target"):
        read_target(read_table(tmp_path / "t.npz"))
