"""The command `sparsewire bench`: what it prints and writes, and what it refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from sparsewire.bench.contenders import CONTENDERS
from sparsewire.cli import app


def bench(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


def succeed(*arguments: object) -> str:
    result = bench(*arguments)
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


def strict_json(path: Path) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    content: dict[str, Any] = json.loads(path.read_text("utf-8"), parse_constant=refuse)
    return content


def test_kernels_prints_tables_and_writes_them(tmp_path: Path) -> None:
    file = tmp_path / "kernels.json"
    shapes = ("--shape", "30x20", "--shape", "20x30", "--density", 0.1, "--density", 1)
    out = succeed("kernels", *shapes, "--batch", 8, "--seconds", 0.001, "--json", file)
    for expected in (
        *CONTENDERS,
        "geometric mean",
        "memory peak",
        "GFLOP/s",
        "ns per row",
        "30x20",
    ):
        assert expected in out
    rows = strict_json(file)["rows"]
    sizes = [(row["n_in"], row["n_out"], row["density"], row["batch"]) for row in rows]
    assert sizes == [(30, 20, 0.1, 8), (30, 20, 1.0, 8), (20, 30, 0.1, 8), (20, 30, 1.0, 8)]


def test_mlp_prints_a_table_and_writes_it(tmp_path: Path) -> None:
    file = tmp_path / "mlp.json"
    small = ("--layers", "12,9,3", "--epsilon", 2, "--batch", 4, "--steps", 3)
    out = succeed("mlp", *small, "--json", file)
    for expected in ("12-9-3", "SGD", "Adam", "csr", "masked", "dense", "over csr"):
        assert expected in out
    content = strict_json(file)
    assert content["layers"] == [12, 9, 3]
    assert (content["epsilon"], content["batch"], content["steps"]) == (2.0, 4, 3)


def test_break_even_prints_a_table_and_writes_it(tmp_path: Path) -> None:
    file = tmp_path / "table.json"
    small = ("--shape", "16x12", "--batch", 4, "--batch", 16, "--threads", 1, "--seconds", 0.001)
    out = succeed("break-even", *small, "--output", file)
    assert "16x12" in out
    rows = strict_json(file)["rows"]
    assert [(row["n_in"], row["n_out"], row["batch"], row["threads"]) for row in rows] == [
        (16, 12, 4, 1), (16, 12, 16, 1),
    ]  # fmt: skip


BAD = {
    "shape without x": ("kernels", "--shape", "100"),
    "shape of nothing": ("kernels", "--shape", "0x5"),
    "density of zero": ("kernels", "--density", 0),
    "density above one": ("kernels", "--density", 1.5),
    "no connection": ("kernels", "--shape", "10x10", "--density", 1e-6),
    "too many connections": ("kernels", "--shape", "1000000x1000000", "--density", 0.5),
    "full and a shape": ("kernels", "--full", "--shape", "10x10"),
    "no time": ("kernels", "--seconds", 0),
    "endless time": ("kernels", "--seconds", "nan"),
    "too many threads": ("kernels", "--threads", 10 * (os.cpu_count() or 1)),
    "missing folder": ("kernels", "--json", "/nowhere/file.json"),
    "one layer": ("mlp", "--layers", "784"),
    "layers with spaces": ("mlp", "--layers", "784, 10"),
    "epsilon of zero": ("mlp", "--epsilon", 0),
    "folder as file": ("mlp", "--json", "/"),
    "bad shape": ("break-even", "--shape", "10by10"),
    "threads": ("break-even", "--threads", 1, "--threads", 10 * (os.cpu_count() or 1)),
}


@pytest.mark.parametrize("arguments", BAD.values(), ids=BAD)
def test_bad_input_is_one_line_and_exit_code_2(arguments: tuple[object, ...]) -> None:
    result = bench(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("option", ["--batch", "--threads"])
def test_counts_below_one_are_refused(option: str) -> None:
    assert bench("kernels", option, 0).exit_code == 2


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from sparsewire.cli import app\n"
        "assert CliRunner().invoke(app, ['bench', 'kernels', '--help']).exit_code == 0\n"
        "print(sorted({'torch', 'numba', 'numpy', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
