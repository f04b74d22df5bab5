"""The Python blocks and `sparsewire` commands of README and guide run as they are written."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sklearn.datasets import load_breast_cancer

ROOT = Path(__file__).parents[1]
README, GUIDE = ROOT / "README.md", ROOT / "docs" / "guide.md"
TRULY_SPARSE, RL = ROOT / "docs" / "truly_sparse.md", ROOT / "docs" / "rl.md"
CONTINUAL = ROOT / "docs" / "continual.md"
TIMESERIES = ROOT / "docs" / "timeseries.md"
FEATURE_SELECTION = ROOT / "docs" / "feature_selection.md"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> Iterator[tuple[str, int, str]]:
    """Language, number of lines before it, and text of each fenced block."""
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        yield match[1], text.count("\n", 0, match.start(2)), match[2]


def commands(block: str) -> list[str]:
    lines = block.replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("sparsewire ")]


def run_command(command: str, folder: Path) -> None:
    program, *arguments = shlex.split(command)
    executable = Path(sys.executable).with_name(program)
    done = subprocess.run(
        [executable, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def run_blocks(page: Path, folder: Path) -> dict[str, int]:
    ran = {"python": 0, "bash": 0}
    for language, offset, text in blocks(page):
        if language == "python":
            # The blank lines make a traceback point at the page's own lines.
            exec(compile("\n" * offset + text, str(page), "exec"), {"__name__": "__main__"})
            ran["python"] += 1
        elif language == "bash":
            for command in commands(text):
                run_command(command, folder)
                ran["bash"] += 1
    return ran


# Three pixels of the digits are blank in every picture, and the selector says so.
@pytest.mark.filterwarnings("ignore:3 of 64 features are constant:UserWarning")
def test_readme_examples_run_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the blocks share it: one writes the table that another reads
    ran = run_blocks(README, tmp_path)
    assert all(ran.values()), f"the README must show both ways in, found {ran}"


def test_guide_examples_run_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_blocks(GUIDE, tmp_path)["python"] == 2


def test_truly_sparse_examples_run_as_written(tmp_path: Path) -> None:
    assert run_blocks(TRULY_SPARSE, tmp_path) == {"python": 4, "bash": 0}


@pytest.mark.timeout(600)  # five commands, each with its imports
def test_reinforcement_learning_examples_run_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_blocks(RL, tmp_path) == {"python": 3, "bash": 5}


@pytest.mark.timeout(600)  # two commands, each with its imports
def test_continual_examples_run_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_blocks(CONTINUAL, tmp_path) == {"python": 2, "bash": 2}


@pytest.mark.timeout(600)  # three commands, each with its imports
def test_time_series_examples_run_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the blocks write the tables that the commands read
    assert run_blocks(TIMESERIES, tmp_path) == {"python": 5, "bash": 3}


# Three pixels of the digits are blank in every picture, and the selector says so.
@pytest.mark.filterwarnings("ignore:.* of 64 features are constant:UserWarning")
@pytest.mark.timeout(600)
def test_feature_selection_examples_run_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load_breast_cancer(as_frame=True)
    table = data.frame.rename(columns={"target": "label"})
    table.to_csv(tmp_path / "data.csv", index=False)
    monkeypatch.chdir(tmp_path)
    assert run_blocks(FEATURE_SELECTION, tmp_path) == {"python": 3, "bash": 1}
