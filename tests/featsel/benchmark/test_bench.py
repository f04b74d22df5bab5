"""The whole benchmark: what it computes, what it repeats, and what it leaves when it is ended."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from sparsewire import datasets
from sparsewire.core import InvalidArgumentError
from sparsewire.featsel import evaluate
from sparsewire.featsel.benchmark import run_bench
from sparsewire.featsel.benchmark.cli import register_bench
from tests.featsel.benchmark import helpers

DATA = datasets.load("breast_cancer")
METHODS = ("f_classif", "quickselection")
FAST = {"quickselection": {"epochs": 2, "hidden_size": 20}}


def slow(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that starts many processes: seconds on an idle machine, more on a busy one."""
    marked: Callable[..., None] = pytest.mark.slow(pytest.mark.timeout(300)(test))
    return marked


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, helpers.__file__, "--datasets", "breast_cancer", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def command(*arguments: object) -> Result:
    app = typer.Typer()
    register_bench(app)
    return CliRunner().invoke(app, list(map(str, arguments)))


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def wait_for(happened: Callable[[], object]) -> None:
    end = time.monotonic() + 200
    while not happened():
        assert time.monotonic() < end, "nothing happened in time"
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # ended, but nobody has asked how


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str, int]:
    """Folder, stdout, stderr and exit code of a benchmark in which one method fails."""
    folder = tmp_path_factory.mktemp("bench")
    changes = [
        part
        for name, value in FAST["quickselection"].items()
        for part in ("--param", f"quickselection.{name}={value}")
    ]
    methods = ",".join((*METHODS, "broken"))
    process = start(
        "--methods", methods, "-k", 8, "--seeds", "0..1", "--jobs", 2, "-o", folder, *changes
    )
    out, err = process.communicate(timeout=250)
    return folder, out, err, process.returncode


@slow
def test_the_csv_holds_what_evaluate_computes(finished: tuple[Path, str, str, int]) -> None:
    folder = finished[0]
    lines = read(folder / "cells.csv")
    assert [(line["method"], line["seed"]) for line in lines] == [
        ("f_classif", "0"), ("quickselection", "0"), ("quickselection", "1"),
        ("broken", "0"), ("broken", "1"),
    ]  # fmt: skip
    for line in lines[:3]:
        name = f"breast_cancer-{line['method']}-k8-seed{line['seed']}-*.json"
        (path,) = (folder / "cells").glob(name)
        chosen = json.loads(path.read_text("utf-8"))["record"]["selected"]
        assert len(chosen) == 8
        expected = evaluate(DATA.X, DATA.y, chosen, protocol="clean", seed=int(line["seed"]))
        assert {judge: float(line[judge]) for judge in expected} == expected


@slow
def test_a_failing_cell_is_recorded_and_the_others_go_on(
    finished: tuple[Path, str, str, int],
) -> None:
    folder, out, err, code = finished
    assert code == 1
    errors = [line["error"] for line in read(folder / "cells.csv")]
    killed = "the process was killed by SIGKILL; perhaps the memory was not enough"
    assert errors == [*[""] * 3, "RuntimeError: <b>no</b> luck", killed]
    assert "0 (2 failed)" in out
    assert "5 cells, 0 of them were there, 2 failed." in err
    assert "&lt;b&gt;no&lt;/b&gt; luck" in (folder / "report.html").read_text("utf-8")
    assert len(list((folder / "cells").iterdir())) == 5


@slow
def test_means_and_deviations_are_those_of_the_cells(finished: tuple[Path, str, str, int]) -> None:
    folder = finished[0]
    cells, rows = read(folder / "cells.csv"), read(folder / "summary.csv")
    assert [row["method"] for row in rows] == [*METHODS, "broken"]
    for row in rows[:2]:
        own = [cell for cell in cells if cell["method"] == row["method"]]
        for name in ("svc", "knn", "extra_trees", "kmeans", "seconds", "peak_bytes"):
            values = [float(cell[name]) for cell in own]
            assert float(row[f"{name}_mean"]) == pytest.approx(np.mean(values))
            assert float(row[f"{name}_std"]) == pytest.approx(np.std(values, ddof=0))


@slow
def test_what_is_finished_is_not_repeated_and_fills_the_same_table(
    finished: tuple[Path, str, str, int],
) -> None:
    folder = finished[0]
    before = {path: path.stat().st_mtime_ns for path in (folder / "cells").iterdir()}
    result = run_bench(
        ["breast_cancer"], METHODS, k=8, seeds=[0, 1], output=folder, parameters=FAST
    )
    assert [entry.reused for entry in result.entries] == [True] * 3
    assert {path: path.stat().st_mtime_ns for path in (folder / "cells").iterdir()} == before
    assert [row.method for row in result.rows] == list(METHODS)
    assert not result.failed


@slow
def test_after_a_kill_only_what_was_not_finished_is_run_again(tmp_path: Path) -> None:
    gates, folder = tmp_path / "gates", tmp_path / "out"
    gates.mkdir()
    (gates / "gate-0").touch()
    options = ("--methods", "gated", "-k", 8, "--seeds", "0..2", "-o", folder)
    arguments = (*options, "--param", f"gated.folder='{gates}'")
    process = start(*arguments)
    wait_for(lambda: list(gates.glob("started-1-*")))
    (stored,) = (folder / "cells").iterdir()
    written = stored.stat().st_mtime_ns
    process.kill()
    process.communicate(timeout=250)
    (orphan,) = gates.glob("started-1-*")
    wait_for(lambda: not is_running(int(orphan.name.rpartition("-")[2])))
    assert [path.name for path in folder.rglob("*") if path.is_file()] == [stored.name]

    for seed in (1, 2):
        (gates / f"gate-{seed}").touch()
    again = start(*arguments)
    _, err = again.communicate(timeout=250)
    assert again.returncode == 0, err
    assert "3 cells, 1 of them were there, 0 failed." in err
    assert [len(list(gates.glob(f"started-{seed}-*"))) for seed in range(3)] == [1, 2, 1]
    assert stored.stat().st_mtime_ns == written
    assert [line["seed"] for line in read(folder / "cells.csv")] == ["0", "1", "2"]


@slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_leaves_finished_cells_and_nothing_else(jobs: int, tmp_path: Path) -> None:
    gates, folder = tmp_path / "gates", tmp_path / "out"
    gates.mkdir()
    (gates / "gate-0").touch()
    process = start(
        "--methods", "gated", "-k", 8, "--seeds", "0..3", "--jobs", jobs, "-o", folder,
        "--param", f"gated.folder='{gates}'",
    )  # fmt: skip
    wait_for(lambda: len(list(gates.iterdir())) == 2 + jobs and list(folder.rglob("*.json")))
    children = [int(path.name.rpartition("-")[2]) for path in gates.glob("started-*")]
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=250)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "interrupted; the same command goes on where it stopped."
    assert "Traceback" not in err
    assert not any(is_running(pid) for pid in children)
    (stored,) = [path for path in folder.rglob("*") if path.is_file()]
    assert stored.name.startswith("breast_cancer-gated-k8-seed0-")
    assert json.loads(stored.read_text("utf-8"))["record"]["error"] == ""


def test_a_finished_cell_is_not_repeated(tmp_path: Path) -> None:
    lines: list[str] = []
    for jobs in (1, 2):
        result = run_bench(
            ["Breast-Cancer"], ["f_classif"], k=8, seeds=[1, 2], jobs=jobs, output=tmp_path,
            say=lines.append,
        )  # fmt: skip
    (entry,) = result.entries
    assert entry.reused
    scores = evaluate(DATA.X, DATA.y, entry.record.selected)
    assert {judge: entry.record.scores[judge] for judge in scores} == scores
    assert len(lines) == 1
    assert f"SVM {100 * scores['svc']:.2f} %" in lines[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--datasets", "digitts"), "Unknown data set 'digitts'. Did you mean 'digits'?"),
        (("--methods", "randm"), "unknown method 'randm'. Did you mean 'random'"),
        (("--protocol", "clan"), "unknown protocol 'clan'. Did you mean 'clean'?"),
        (("-k", "0"), "-k 0 must hold numbers of at least 1"),
        (("-k", "65"), "k=65 is more than the 64 features of digits"),
        (("-k", "5,madelon=3"), "madelon"),
        (("--seeds", "4..2"), "--seeds 4-2 must look like"),
        (("--jobs", "0"), "jobs must be at least 1"),
        (("--param", "epochs=3"), "must look like method.name=value"),
        (("--param", "wats.epochs=3"), "'wats', which is not among the methods"),
        (("--param", "variance.epochs=3"), "variance has no parameter 'epochs'"),
        (("--methods", ","), "at least one data set, method and seed"),
    ],
)
def test_mistakes_are_one_line_and_cost_nothing(
    arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    given = {"--datasets": "digits", "--methods": "variance", "-k": "5", "--output": str(output)}
    given |= dict(zip(arguments[::2], arguments[1::2], strict=True))
    result = command(*(part for pair in given.items() for part in pair))
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
    assert message in result.stderr
    assert not output.exists()


def test_factories_that_no_process_could_import_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="'mine' cannot be pickled"):
        run_bench(
            ["digits"], ["mine"], k=5, seeds=[0], output=tmp_path / "out",
            extra_methods={"mine": lambda **_: helpers.First()},
        )  # fmt: skip
