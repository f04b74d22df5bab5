"""`sparsewire cl`: from training to the page of a comparison, and what it refuses in one line."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sparsewire.cli import app

QUICK = ("--set", "epochs:2", "hidden:[40, 40]")
HELP_WITHOUT_HEAVY_IMPORTS = """
import sys
from typer.testing import CliRunner
from sparsewire.cli import app
for command in ([], ["run"], ["compare"]):
    result = CliRunner().invoke(app, ["cl", *command, "--help"])
    assert result.exit_code == 0, result.output
heavy = {"avalanche", "torchvision", "torch", "numpy", "matplotlib"}
print(sorted(heavy & set(sys.modules)))
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["cl", *map(str, arguments)])


def succeed(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.stderr or result.exception
    return result.stdout


def refusal(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 2, result.exception
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def python(code: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env={"PATH": "/usr/bin", **environment},
    )  # fmt: skip


def test_help_needs_no_heavy_package() -> None:
    done = python(HELP_WITHOUT_HEAVY_IMPORTS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_run_prints_a_table_and_draws_when_asked() -> None:
    text = succeed("run", "--method", "spacenet", "--seeds", "0-1", "--plot", "-P", *QUICK)
    assert "spacenet │    2 │" in text
    folder = Path("logs/split-digits/spacenet")
    pictures = {"accuracy.png", "matrix_spacenet.png", "ownership_spacenet.png"}
    assert {path.name for path in folder.iterdir()} == {"seed0", "seed1"} | pictures
    settings = json.loads((folder / "seed1" / "settings.json").read_text(encoding="utf-8"))
    assert settings["seed"] == 1
    assert settings["epochs"] == 2
    assert settings["select"] == 0.2
    assert settings["versions"].keys() == {"sparsewire", "torch", "avalanche-lib", "python"}


@pytest.mark.slow
def test_compare_does_only_what_is_missing_and_writes_table_plots_and_page() -> None:
    succeed("run", "--method", "naive", "--seeds", 1, *QUICK)
    methods = "naive,concept-cells,spacenet+replay30"
    text = succeed("compare", "--methods", methods, "--seeds", "0-1", "-o", "out", *QUICK)
    assert "concept-cells [oracle]" in text
    assert {path.name for path in Path("out").iterdir()} == {
        "accuracy.png", "compare.csv", "compare.html", "matrix_naive.png",
        "matrix_concept-cells_oracle.png", "matrix_concept-cells_max_softmax.png",
        "matrix_concept-cells_entropy.png", "matrix_spacenet+replay30.png",
        "ownership_concept-cells.png", "ownership_spacenet+replay30.png",
    }  # fmt: skip
    page = Path("out/compare.html").read_text(encoding="utf-8")
    assert page.count("<td>was there</td>") == 1
    assert page.count("<td>trained</td>") == 5
    assert page.count("data:image/png;base64,") == 8
    assert "http" not in page.split("base64,")[0]
    with Path("out/compare.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == [
        "naive", "concept-cells [oracle]", "concept-cells [max_softmax]", "concept-cells [entropy]",
        "spacenet+replay30",
    ]  # fmt: skip
    assert rows[0]["seeds"] == "0 1"
    assert float(rows[-1]["replay, mean"]) == 30
    again = succeed("compare", "--methods", methods, "--seeds", "0-1", "-o", "out", *QUICK)
    assert again == text


@pytest.mark.slow
def test_compare_with_two_jobs_gives_what_one_gives() -> None:
    arguments = ("compare", "--methods", "spacenet,naive", "--seeds", "0", *QUICK)
    for jobs in (1, 2):
        succeed(*arguments, "--jobs", jobs, "-f", f"logs{jobs}")
    for method in ("spacenet", "naive"):
        one, two = (
            json.loads(Path(f"logs{jobs}/split-digits/{method}/seed0/results.json").read_text())
            for jobs in (1, 2)
        )
        assert one["class_il"] == two["class_il"]
        assert one["task_il"] == two["task_il"]


def test_a_failed_run_is_named_and_the_others_go_on() -> None:
    result = run("compare", "--methods", "ewc,naive", "--seeds", 0, *QUICK, "ewc_lambda:1e30")
    assert result.exit_code == 1
    assert result.stderr.startswith("failed: ewc, seed 0: TrainingDivergedError: task 1")
    assert "│ naive" in result.stdout
    page = Path("logs/split-digits/compare/compare.html").read_text(encoding="utf-8")
    assert "failed: TrainingDivergedError" in page


def test_a_change_goes_to_the_methods_that_know_it() -> None:
    succeed("compare", "--methods", "naive,spacenet", "--seeds", 0, *QUICK, "select:0.1")
    settings = json.loads(Path("logs/split-digits/naive/seed0/settings.json").read_text())
    assert "select" not in settings


RUN = ("run", "--method", "spacenet", "--seeds", 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "--method", "spacenot"), "unknown method 'spacenot'; available: spacenet, "),
        (("run", "--method", "spacenot"), "Did you mean 'spacenet'"),
        ((*RUN, "--benchmark", "split-minst"), "Did you mean 'split-mnist'"),
        (("run", "--method", "ewc", "--seeds", "a"), "--seeds a must look like"),
        (("run", "--method", "ewc", "--seeds", "3-1"), "--seeds 3-1 must look like"),
        (("run", "--method", "ewc", "--seeds", "1,1"), "names a seed twice"),
        ((*RUN, "--jobs", 0), "jobs must be at least 1"),
        ((*RUN, "--set", "epochs"), "key:value"),
        ((*RUN, "--set", "epoch:3"), "--set epoch is no setting of spacenet"),
        ((*RUN, "--set", "epoch:3"), "Did you mean 'epochs'"),
        ((*RUN, "--set", "ewc_lambda:3"), "no setting of spacenet"),
        ((*RUN, "--set", "strict:False"), "no setting of spacenet"),
        ((*RUN, "--set", "epochs:0"), "epochs must be an integer >= 1, got 0"),
        ((*RUN, "--set", "hidden:40"), "hidden must be a list of units"),
        ((*RUN, "--set", "hidden:[40, 0]"), "each of hidden must be an integer >= 1"),
        ((*RUN, "--set", "n_tasks:3"), "n_tasks must divide the 10 classes, got 3"),
        ((*RUN, "--set", "class_order:[1,1,2,3,4,5,6,7,8,9]"), "1 occurs more than once"),
        ((*RUN, "--set", "class_order:[1,2]"), "every class from 0 to 9 once"),
        ((*RUN, "--set", "optimizer:sdg"), "Did you mean 'sgd'"),
        ((*RUN, "--set", "optimizer:adam", "momentum:0.9"), "momentum must be 0"),
        ((*RUN, "--set", "learning_rate:-1"), "learning_rate must be"),
        ((*RUN, "--set", "select:0.3"), "task 3 needs 60 free units in fc1, but only 20 of 200"),
        ((*RUN, "--set", "density:2.0"), "density"),
        (("run", "--method", "ewc", "--set", "ewc_lambda:x"), "ewc_lambda must be"),
        (("run", "--method", "replay", "--set", "mem_size:0"), "mem_size must be"),
        (("run", "--method", "dst-masks", "--set", "routing:orakel"), "Did you mean 'oracle'"),
        (("compare", "--methods", "naive,"), "unknown method ''"),
        (("compare", "--methods", "naive+replay"), "must end in +replay and a number"),
        (("compare", "--methods", "naive,ewc", "--set", "select:1"), "no setting of naive and ewc"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(
    arguments: tuple[object, ...], message: str
) -> None:
    assert message in refusal(*arguments)
    assert not Path("logs").exists()


def test_a_permuted_benchmark_has_no_order_of_classes() -> None:
    message = refusal(*RUN, "--benchmark", "permuted-mnist", "--set", "class_order:[9,8]")
    assert "class_order" in message


def test_a_missing_data_set_names_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    monkeypatch.delenv("SPARSEWIRE_DATA", raising=False)
    for benchmark in ("split-fashion-mnist", "split-cifar10"):
        assert "SPARSEWIRE_DATA is not set" in refusal(*RUN, "--benchmark", benchmark)
    assert not Path("logs").exists()


def test_other_settings_in_the_same_folder_are_refused() -> None:
    succeed("run", "--method", "naive", "--seeds", "0", *QUICK)
    message = refusal("run", "--method", "naive", "--seeds", "0-1", "--set", "epochs:3")
    assert "epochs 2 there, 3 here" in message
    assert not Path("logs/split-digits/naive/seed1").exists()


@pytest.mark.parametrize("package", ["avalanche", "torchvision"])
def test_a_missing_extra_names_what_to_install(package: str) -> None:
    done = python(
        "import sys\n"
        f"sys.modules[{package!r}] = None\n"
        "from sparsewire.cli import app\n"
        "app(['cl', 'run', '--method', 'spacenet'])"
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert 'pip install "sparsewire[continual]"' in done.stderr
    assert done.stderr.count("\n") == 1


def test_missing_matplotlib_is_noticed_before_training() -> None:
    done = python(
        "import sys\n"
        "sys.modules['matplotlib'] = None\n"
        "sys.modules['matplotlib.figure'] = None\n"
        "from sparsewire.cli import app\n"
        "app(['cl', 'compare'])"
    )
    assert done.returncode == 2
    assert 'pip install "sparsewire[plot]"' in done.stderr
    assert not Path("logs").exists()
