"""The commands: what they print and write, what they refuse, and how they end."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from sparsewire.timeseries.benchmark import detection
from sparsewire.timeseries.benchmark.cells import Cell
from sparsewire.timeseries.benchmark.cli import register_bench
from sparsewire.timeseries.forecasting.parameters import MODELS


def command(*arguments: object) -> Result:
    app = typer.Typer()
    register_bench(app)
    return CliRunner().invoke(app, ["ts", *map(str, arguments)])


def rows(path: Path) -> list[Cell]:
    return [Cell(**json.loads(line)["cell"]) for line in path.read_text("utf-8").splitlines()]


def test_three_tasks_share_a_file_and_repeat_nothing(tmp_path: Path, data_dir: Path) -> None:
    out = tmp_path / "rows.jsonl"
    commands: list[tuple[object, ...]] = [
        ("classify", "--data", "italypowerdemand", "--param", "n_filters:2", "n_epochs:1"),
        ("forecast", "--data", "illness", "--methods", "pals,dense", "--param", "max_epochs:1"),
        ("detect", "--data", "nile", "--methods", "alacpd,none", "--seeds", "0-1"),
    ]
    for done in (0, 2, 3):
        for arguments in commands:
            result = command(*arguments, "--out", out)
            assert result.exit_code == 0, result.stderr
            before = {0: 0, 2: 2, 3: 2}[done]
            n_cells = 3 if arguments[0] == "detect" else 2
            reused = n_cells if done else 0
            assert f"{n_cells} runs, {reused} of them were there, 0 failed." in result.stderr
            assert before <= len(rows(out))
    assert [(cell.task, cell.method, cell.seed) for cell in rows(out)] == [
        *(("classify", "dsn", 0), ("classify", "1nn", 0)),
        *(("forecast", "pals", 0), ("forecast", "dense", 0)),
        *(("detect", "alacpd", 0), ("detect", "alacpd", 1), ("detect", "none", 0)),
    ]
    assert rows(out)[0].settings["n_filters"] == 2


def test_markdown_has_the_table_and_what_made_it(tmp_path: Path, data_dir: Path) -> None:
    out, markdown = tmp_path / "rows.jsonl", tmp_path / "table.md"
    arguments = ("detect", "--data", "nile", "--methods", "none", "--out", out)
    result = command(*arguments, "--markdown", markdown)
    assert result.exit_code == 0
    text = markdown.read_text("utf-8")
    assert text.startswith("# Change points\n\n`sparsewire")
    assert "| nile | 0.824 / 0.758 (0) |" in text
    assert "0.824 / 0.758 (0)" in result.stdout


def test_figures_are_drawn_on_request(tmp_path: Path, data_dir: Path) -> None:
    figures = tmp_path / "figures"
    arguments = ("--data", "nile", "--methods", "none", "--out", tmp_path / "rows.jsonl")
    result = command("detect", *arguments, "--figures", figures)
    assert result.exit_code == 0, result.stderr
    assert [path.name for path in figures.iterdir()] == ["nile.png"]


def test_an_interrupt_says_how_to_go_on(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> list[int]:
        raise KeyboardInterrupt

    monkeypatch.setattr(detection, "_search", interrupted)
    monkeypatch.setattr(detection, "has_ruptures", lambda: True)
    out = tmp_path / "rows.jsonl"
    arguments = ("--data", "nile", "--methods", "none,pelt", "--out", out)
    result = command("detect", *arguments)
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == (
        "interrupted; the same command goes on where it stopped."
    )
    assert [cell.method for cell in rows(out)] == ["none"]


def test_a_failed_run_is_told_and_ends_with_1(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> list[int]:
        raise RuntimeError("no luck")

    monkeypatch.setattr(detection, "_search", broken)
    monkeypatch.setattr(detection, "has_ruptures", lambda: True)
    arguments = ("--data", "nile", "--methods", "pelt,none", "--out", tmp_path / "rows.jsonl")
    result = command("detect", *arguments)
    assert result.exit_code == 1
    assert "Failed, and not in the means: nile, pelt, seed 0: RuntimeError" in result.stdout
    assert "2 runs, 0 of them were there, 1 failed." in result.stderr
    assert "0.824 / 0.758 (0)" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("classify", "--data", "gunpiont"), "Did you mean 'gunpoint'"),
        (("classify", "--methods", ","), "name at least one method"),
        (("classify", "--seeds", "2-0"), "--seeds 2-0 must look like"),
        (("classify", "--param", "n_filters=3"), "must look like key:value"),
        (("forecast", "--tune", "--param", "prune_factor:1.1"), "leave prune_factor out"),
        (("forecast", "--markdown", "/nowhere/table.md"), "name a file in an existing folder"),
        (("detect", "--param", "gaps:3"), "ALACPD has no parameter 'gaps'"),
    ],
)
def test_mistakes_are_one_line_and_cost_nothing(
    arguments: tuple[str, ...], message: str, tmp_path: Path, data_dir: Path
) -> None:
    out = tmp_path / "rows.jsonl"
    result = command(*arguments, "--out", out)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not out.exists()


def test_absent_data_are_one_line_that_names_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARSEWIRE_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for task in ("classify", "forecast", "detect"):
        result = command(task, "--out", tmp_path / "rows.jsonl")
        assert result.exit_code == 2
        (line,) = result.stderr.splitlines()
        assert "SPARSEWIRE_DATA" in line


def test_the_help_names_every_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    said = command("forecast", "--help").stdout
    assert [name for name in MODELS if name not in said] == []
