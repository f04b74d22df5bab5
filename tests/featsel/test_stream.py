"""Selecting from a Parquet file chunk by chunk: the same result, little memory, early refusals."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from sparsewire.cli import app
from sparsewire.core.errors import InvalidArgumentError
from sparsewire.featsel import WAST
from sparsewire.featsel.command.stream import fit_chunks
from sparsewire.featsel.parquet import ParquetRows

N_ROWS, N_FEATURES = 50, 12
SMALL = ("--param", "hidden_size=20")


def matrix() -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(N_ROWS, 3)) @ rng.normal(size=(3, N_FEATURES))).astype(np.float32)


def frame() -> pd.DataFrame:
    table = pd.DataFrame(matrix(), columns=[f"f{index}" for index in range(N_FEATURES)])
    table.insert(5, "label", pd.Series(["u", "v"] * (N_ROWS // 2), dtype="category"))
    return table.set_index(pd.Index([f"r{row}" for row in range(N_ROWS)], name="row"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.parquet"
    frame().to_parquet(path, row_group_size=17)
    return path


def select(data: Path, *options: object) -> Result:
    fixed = ("-k", 4, "--output", data.parent / "out", "--method", "wast", "--epochs", 2, *SMALL)
    arguments = ("select", data, *fixed, *options)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refusal(result: Result) -> str:
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


@settings(deadline=None, max_examples=40)
@given(
    n_rows=st.integers(1, 40),
    group=st.integers(1, 20),
    chunk=st.integers(1, 50),
    single=st.booleans(),
)
def test_chunks_are_the_rows_in_order_whatever_the_row_groups(
    tmp_path_factory: pytest.TempPathFactory, n_rows: int, group: int, chunk: int, single: bool
) -> None:
    path = tmp_path_factory.mktemp("rows") / "t.parquet"
    values = np.arange(2.0 * n_rows).reshape(n_rows, 2).astype(np.float32 if single else float)
    pd.DataFrame(values, columns=["a", "b"]).to_parquet(path, row_group_size=group)
    with ParquetRows(path) as rows:
        chunks = [part.copy() for part in rows.chunks(chunk)]
        assert rows.dtype == values.dtype
        assert rows.n_rows == n_rows
        np.testing.assert_array_equal(rows.matrix(), values)
    assert [len(part) for part in chunks[:-1]] == [chunk] * (len(chunks) - 1)
    np.testing.assert_array_equal(np.concatenate(chunks), values)


@pytest.mark.parametrize(
    ("kind", "single"),
    [
        ("int8", True), ("uint16", True), ("int32", False), ("float16", True),
        ("float32", True), ("float64", False), ("bool", True),
    ],
)  # fmt: skip
def test_single_precision_is_used_where_it_loses_nothing(
    tmp_path: Path, kind: str, single: bool
) -> None:
    column = pa.array(np.array([0, 1, 1]).astype(kind))
    pq.write_table(pa.table({"a": column}), tmp_path / "t.parquet")
    with ParquetRows(tmp_path / "t.parquet") as rows:
        assert rows.dtype == (np.float32 if single else np.float64)
        np.testing.assert_array_equal(next(rows.chunks(5)), [[0], [1], [1]])


def test_a_file_without_rows_has_no_chunks(tmp_path: Path) -> None:
    pd.DataFrame({"a": np.empty(0)}).to_parquet(tmp_path / "t.parquet")
    with ParquetRows(tmp_path / "t.parquet") as rows:
        assert list(rows.chunks(5)) == []
        assert rows.matrix().shape == (0, 1)


def test_a_file_that_is_cut_short_is_refused(data: Path) -> None:
    content = data.read_bytes()
    data.write_bytes(content[:200] + b"\0" * 400 + content[600:])
    with ParquetRows(data, "label") as rows, pytest.raises(InvalidArgumentError, match="readable"):
        rows.matrix()


def test_the_result_equals_that_of_partial_fit_on_the_same_chunks(data: Path) -> None:
    result = select(data, "--target", "label", "--chunk-rows", 20, "--seed", 3, "--quiet")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    expected = WAST(4, hidden_size=20, epochs=2, random_state=3)
    for _ in range(2):
        for start in range(0, N_ROWS, 20):
            expected.partial_fit(matrix()[start : start + 20])
    content = json.loads((data.parent / "out" / "selection.json").read_text())
    assert [f["importance"] for f in content["features"]] == expected.feature_importances_.tolist()
    assert content["selected_indices"] == np.flatnonzero(expected.support_).tolist()
    assert content["input"] == {
        "file": "data.parquet", "n_samples": N_ROWS, "n_features": N_FEATURES, "target": "label",
    }  # fmt: skip
    assert (content["chunk_rows"], content["epochs_run"]) == (20, 2)


def test_the_selected_columns_are_copied_with_target_types_and_index(data: Path) -> None:
    result = select(data, "--target", "label", "--chunk-rows", 7, "--explain")
    assert result.exit_code == 0, result.stderr
    content = json.loads((data.parent / "out" / "selection.json").read_text())
    kept = [n for n in frame().columns if n == "label" or n in content["selected_names"]]
    pd.testing.assert_frame_equal(
        pd.read_parquet(data.parent / "out" / "selected.parquet"), frame()[kept]
    )
    assert (data.parent / "out" / "importances.png").exists()
    assert "epoch 2/2" in result.stderr
    assert "kept 4 of 12 features" in result.stdout


@pytest.mark.parametrize(("value", "words"), [(np.nan, "missing"), (np.inf, "infinite")])
def test_a_bad_value_in_the_last_row_is_found_before_training(
    data: Path, value: float, words: str
) -> None:
    table = frame()
    table.loc["r49", ["f3", "f7"]] = value
    table.to_parquet(data)
    with ParquetRows(data, "label") as rows:
        selector = WAST(4, hidden_size=20)
        with pytest.raises(InvalidArgumentError, match=rf"{words} .*'f3' \(1\), 'f7' \(1\)"):
            fit_chunks(selector, rows, n_rows=20, progress=False)
    assert not hasattr(selector, "support_")
    refusal(select(data, "--target", "label", "--chunk-rows", 20, "--quiet"))
    assert list(data.parent.iterdir()) == [data]


def test_a_constant_column_is_one_warning_and_nothing_but_such_an_error(data: Path) -> None:
    table = frame().assign(f3=1.0)
    table.iloc[:20, 0] = 1.0  # constant in the first chunk only
    table.to_parquet(data)
    result = select(data, "--target", "label", "--chunk-rows", 20, "--quiet")
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: 1 of 12 features are constant")
    assert result.stderr.count("\n") == 1
    (frame().drop(columns="label") * 0).to_parquet(data)
    message = refusal(select(data, "--chunk-rows", 20, "--quiet", "--force"))
    assert "all 12 features constant" in message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--target", "lable"], ["'lable'", "Did you mean 'label'"]),
        ([], ["not numeric", "'label'", "categories", "OneHotEncoder"]),
        (["--target", "label", "-k", 13], ["-k 13", "12 features"]),
        (["--target", "label", "-k", "probe"], ["-k probe", "--chunk-rows"]),
        (["--target", "label", "--redundancy", 1], ["--redundancy", "--chunk-rows"]),
        (["--target", "label", "--param", "scale=minmax"], ["scale=minmax", "--chunk-rows"]),
        (["--target", "label", "--method", "quickselection"], ["quickselection", "wast"]),
        (["--target", "label", "--explain", "--image-shape", "5x5"], ["25 pixels"]),
    ],
)
def test_what_cannot_be_done_in_chunks_is_refused_before_anything_is_written(
    data: Path, options: list[object], words: list[str]
) -> None:
    message = refusal(select(data, "--chunk-rows", 20, "--quiet", *options))
    assert [word for word in words if word not in message] == []
    assert list(data.parent.iterdir()) == [data]


@pytest.mark.parametrize("name", ["data.csv", "data.npz"])
def test_other_formats_are_not_read_in_chunks(tmp_path: Path, name: str) -> None:
    message = refusal(select(tmp_path / name, "--chunk-rows", 20))
    assert "Parquet" in message
    assert name in message


def test_a_missing_file_and_one_of_a_single_row_are_refused(data: Path) -> None:
    frame().iloc[:1].to_parquet(data)
    options = ("--target", "label", "--chunk-rows", 20)
    assert "1 rows and 12 features" in refusal(select(data, *options))
    data.unlink()
    assert "no such file" in refusal(select(data, *options))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_an_interrupt_between_chunks_leaves_everything_as_it_was(data: Path) -> None:
    options = ("--target", "label", "--method", "wast", "--chunk-rows", "20", "--epochs", "100000")
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{heed}; from sparsewire.cli import main; main()"
    command = [sys.executable, "-c", code, "select"]
    with subprocess.Popen(
        [*command, str(data), "-k", "4", "--output", str(data.parent / "out"), *options],
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        said = b""
        while b"epoch 2/" not in said:
            said += (byte := process.stderr.read(1))
            assert byte, said
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=60)
    assert process.returncode != 0
    assert b"Traceback" not in rest
    assert list(data.parent.iterdir()) == [data]


WITHIN_A_LIMIT = """
import resource, sys
import numpy as np
from sparsewire.cli import main
from sparsewire.featsel import WAST
from sparsewire.featsel.command import select
from sparsewire.featsel.parquet import ParquetRows
limit, path = int(sys.argv.pop(1)), sys.argv[2]
# Imports, compiled kernels and threads are not what is limited.
WAST(1, hidden_size=20, epochs=1).fit(np.random.default_rng(0).normal(size=(100, 30)))
with ParquetRows(path) as rows:
    next(rows.chunks(10))
used = next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (1024 * used + limit, 1024 * used + limit))
main()
"""


def large_file(path: Path, n_rows: int, n_features: int, group: int) -> int:
    """Write single-precision noise, row group by row group; return its size in memory."""
    names = [f"f{index}" for index in range(n_features)]
    schema = pa.schema([(name, pa.float32()) for name in names])
    rng = np.random.default_rng(0)
    with pq.ParquetWriter(path, schema, use_dictionary=False) as writer:
        for _ in range(n_rows // group):
            block = rng.normal(size=(group, n_features)).astype(np.float32)
            writer.write_table(pa.table(list(block.T.copy()), schema=schema))
    return 4 * n_rows * n_features


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
def test_a_file_larger_than_the_memory_allowed_is_selected_from(tmp_path: Path) -> None:
    path = tmp_path / "big.parquet"
    limit = large_file(path, 300_000, 200, 10_000) * 3 // 4

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", WITHIN_A_LIMIT, str(limit), "select", str(path), "-k", "10",
             "--method", "wast", "--epochs", "1", "--output", str(tmp_path / "out"), "--quiet",
             "--param", "batch_size=1000", *SMALL, *options],
            capture_output=True, text=True, check=False,
            # Arrow's other allocators reserve far more than they use.
            env={**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system"},
        )  # fmt: skip

    whole = run()
    assert whole.returncode != 0  # the limit does bite
    assert "MemoryError" in whole.stderr or "alloc" in whole.stderr, whole.stderr
    chunked = run("--chunk-rows", "5000")
    assert chunked.returncode == 0, chunked.stderr
    reduced = pq.ParquetFile(tmp_path / "out" / "selected.parquet")
    assert (reduced.metadata.num_rows, reduced.metadata.num_columns) == (300_000, 10)
