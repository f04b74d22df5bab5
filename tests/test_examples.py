"""Every example runs, on little data, and leaves behind what it promises."""

import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"
ARGUMENTS = {
    "classify_series.py": ["--epochs", "30", "--output", "out"],
    "demo.py": ["--quick", "--output", "out"],
    "forecast_series.py": ["--days", "120", "--output", "out"],
    "noisy_pendulum.py": ["--seeds", "1", "--steps", "300", "--jobs", "1", "--output", "out"],
    "parallel_training.py": ["--epochs", "8"],
    "preferences.py": ["--steps", "60", "--feedback", "10"],
    "select_features.py": [],
    "split_digits.py": ["--seeds", "1", "--output", "out"],
    "watch_stream.py": [],
}


def run(name: str, folder: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "SPARSEWIRE_DATA"}
    command = [sys.executable, str(EXAMPLES / name), *ARGUMENTS[name]]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def cells(text: str) -> list[list[str]]:
    """Return the cells of the tables in a text; frames make the first and last one empty."""
    return [[cell.strip() for cell in line.split("│")] for line in text.splitlines()]


def test_every_example_is_run_here() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == ARGUMENTS.keys()


def test_the_demo_prints_its_table_and_writes_a_self_contained_report(tmp_path: Path) -> None:
    text = run("demo.py", tmp_path)
    assert "QuickSelection" in text
    assert "F-test" in text
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    pictures = {path.stem for path in (tmp_path / "out").glob("*.png")}
    assert pictures == {"digits_accuracy", "digits_pixels", "digits_training"}
    assert page.count("data:image/png;base64,") == len(pictures)
    assert "http" not in page.replace("https://", "http").split("base64,")[0]


def test_the_pendulum_example_compares_three_agents_on_a_page(tmp_path: Path) -> None:
    text = run("noisy_pendulum.py", tmp_path)
    page = (tmp_path / "out" / "noisy_pendulum.html").read_text(encoding="utf-8")
    for algorithm in ("td3", "static-td3", "anf-td3"):
        assert algorithm in text
        assert algorithm in page


def test_the_preferences_example_trains_with_both_reward_models(tmp_path: Path) -> None:
    lines = run("preferences.py", tmp_path).splitlines()
    assert sum("reward model: true return -" in line for line in lines) == 2
    assert sum(line.startswith("  reward0: ") for line in lines) == 2


def test_the_digits_example_shows_that_spacenet_keeps_what_others_forget(tmp_path: Path) -> None:
    rows = cells(run("split_digits.py", tmp_path))
    accuracy = {row[1]: float(row[3]) for row in rows if len(row) > 3}
    assert accuracy["spacenet"] > accuracy["ewc"] + 30
    assert accuracy["spacenet"] > accuracy["naive"] + 30
    pictures = {"accuracy", "matrix_spacenet", "ownership_spacenet"}
    assert {p.stem for p in (tmp_path / "out").iterdir()} == {f"split_digits_{n}" for n in pictures}


def test_the_selection_example_names_its_features(tmp_path: Path) -> None:
    assert run("select_features.py", tmp_path).strip()


def test_the_classification_example_shows_that_taps_must_explore(tmp_path: Path) -> None:
    rows = cells(run("classify_series.py", tmp_path))
    accuracy = {row[1]: float(row[2].removesuffix(" %")) for row in rows if len(row) > 4}
    assert accuracy["dynamic"] > accuracy["static"] + 10
    pictures = {"activation", "kernels"}
    written = {path.stem for path in (tmp_path / "out").iterdir()}
    assert written == {f"classify_series_{name}" for name in pictures}


def test_the_forecasting_example_is_sparse_and_better_than_repeating(tmp_path: Path) -> None:
    rows = cells(run("forecast_series.py", tmp_path))
    table = {row[1]: row for row in rows if len(row) > 4}
    pals = table["DLinear, PALS"]
    assert float(pals[4].removesuffix(" %")) > 20
    assert float(pals[2]) < 1.1 * float(table["DLinear, dense"][2])
    assert float(pals[2]) < 0.5 * float(table["two days before"][2])
    lines = (tmp_path / "out" / "forecast_series.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2 + 48  # two rows of names: what, and of which column


def test_the_stream_example_finds_changes_before_and_after_it_is_stopped(tmp_path: Path) -> None:
    lines = run("watch_stream.py", tmp_path).splitlines()
    found = [int(line.split()[4].rstrip(",")) for line in lines if " changed at " in line]
    assert any(abs(index - 300) <= 5 for index in found)
    assert any(abs(index - 900) <= 5 for index in found)
    assert "sample 500: saved and loaded" in lines[1]
    assert (tmp_path / "watch_stream.npz").is_file()


def test_the_parallel_example_runs_as_one_process_and_learns(tmp_path: Path) -> None:
    alone, average, density = run("parallel_training.py", tmp_path).splitlines()
    assert alone.startswith("test accuracy of each process alone: ")
    assert float(average.removesuffix(" %").rpartition(" ")[2]) > 80
    assert density == "density: 10.0 %"
