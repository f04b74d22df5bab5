"""`sparsewire rl`: from training to the page of a bench, and what it refuses in one line."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from sparsewire.cli import app
from sparsewire.rl.command.runs import Run, open_run
from tests.rl.command.helpers import assert_same_model

TINY = (
    "-params", "batch_size:8", "learning_starts:30", "buffer_size:300",
    "policy_kwargs:{'net_arch': [8, 8]}",
)  # fmt: skip
HELP_WITHOUT_HEAVY_IMPORTS = """
import sys
from typer.testing import CliRunner
from sparsewire.cli import app
for command in ([], *([name] for name in "train enjoy eval bench plot report envs".split())):
    result = CliRunner().invoke(app, ["rl", *command, "--help"])
    assert result.exit_code == 0, result.output
heavy = {"gymnasium", "stable_baselines3", "torch", "numpy", "matplotlib", "mujoco", "yaml"}
print(sorted(heavy & set(sys.modules)))
"""


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["rl", *map(str, arguments)])


def succeed(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.stderr or result.exception
    return result.stdout


def refusal(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 2, result.exception
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert lines[-1].startswith("error: ")
    assert not [line for line in lines[:-1] if not line.startswith("warning: ")]
    return lines[-1]


def test_help_needs_no_heavy_package() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELP_WITHOUT_HEAVY_IMPORTS],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_train_resume_eval_report_plot_and_bench(tmp_path: Path) -> None:
    first = succeed(
        "train", "--algo", "anf-td3", "--env", "NoisyPendulum-v1", "--env-kwargs",
        "noise_fraction:0.75", "-n", 60, "--seed", 3, "--eval-freq", 30, "--eval-episodes", 1,
        "--save-freq", 40, "--save-replay-buffer", "-tb", "runs", "-f", "logs", "-P", "--device",
        "cpu", "--num-threads", 1, *TINY, "learning_rate:0.002",
    )  # fmt: skip
    folder = Path("logs/anf-td3/NoisyPendulum-v1_1")
    assert first.endswith(f"wrote {folder}\n")
    made = open_run(folder)
    assert made.settings.params["learning_rate"] == 0.002
    assert made.settings.env_kwargs == {"noise_fraction": 0.75}
    assert {path.name for path in folder.iterdir()} == {
        "0.monitor.csv", "NoisyPendulum-v1.zip", "args.yml", "best_model.zip", "checkpoints",
        "command.txt", "config.yml", "evaluations.npz", "focus.npz", "result.yml",
    }  # fmt: skip
    assert len(list(Path("runs/anf-td3/NoisyPendulum-v1_1").glob("events.*"))) == 1
    succeed("train", "-i", folder, "-n", 90)
    assert open_run(folder).settings.n_timesteps == 90
    with np.load(folder / "evaluations.npz") as content:
        assert content["timesteps"].tolist() == [0, 30, 60, 90]
    assert "interquartile mean" in succeed("eval", folder, "--episodes", 2, "--seed", 5)
    report = succeed("report", folder)
    assert "parameters: " in report
    assert "real / noise" in report
    succeed("enjoy", "--algo", "anf-td3", "--env", "NoisyPendulum-v1", "--no-render", "-n", 200)
    for metric in ("return", "lca", "focus", "size"):
        succeed("plot", "logs", "--metric", metric, "--iqm", "--ci", 0.9, "-o", f"p/{metric}.png")
        assert Path(f"p/{metric}.png").read_bytes()[1:4] == b"PNG"


def test_bench_writes_a_page_and_repeats_nothing() -> None:
    arguments = (
        "bench", "--algos", "td3", "static-td3", "--envs", "Corridor-v0", "--seeds", "0-1",
        "--jobs", 1, "-n", 40, "--eval-freq", 20, "--eval-episodes", 1, "-f", "logs", *TINY,
    )  # fmt: skip
    assert "against td3" in succeed(*arguments)
    page = Path("logs/bench.html").read_text(encoding="utf-8")
    assert page.count("<td>trained</td>") == 4
    succeed(*arguments, "-o", "again.html")
    assert Path("again.html").read_text(encoding="utf-8").count("<td>was there</td>") == 4


def test_a_bench_with_failures_ends_with_exit_code_one() -> None:
    result = run(
        "bench", "--algos", "td3", "--envs", "Corridor-v0", "--env-kwargs", "fail:True", "--seeds",
        0, "-n", 40, *TINY,
    )  # fmt: skip
    assert result.exit_code == 1
    assert result.stderr.startswith("failed: td3 in Corridor-v0, seed 0: RuntimeError")


def test_python_and_command_line_train_the_same(trained: Run) -> None:
    succeed(
        "train", "--algo", "anf-td3", "--env", "NoisyPendulum-v1", "--env-kwargs",
        "noise_fraction:0.75", "-n", 160, "--eval-freq", 0, "-params", "batch_size:8",
        "learning_starts:40", "buffer_size:300", "policy_kwargs:{'net_arch': (8, 8)}",
        "sparse_kwargs:{'update_interval': 10}",
    )  # fmt: skip
    assert_same_model(trained, open_run(Path("logs/anf-td3/NoisyPendulum-v1_1")))


def test_envs_lists_real_and_noisy_numbers_of_features() -> None:
    rows = [line.split("│") for line in succeed("envs").splitlines() if "Noisy" in line]
    found = {row[1].strip(): [cell.strip() for cell in row[2:-1]] for row in rows}
    assert found["NoisyHalfCheetah-v5"] == ["17", "170", "340", "850", "1700", "6"]
    assert len(found) == 10
    assert not Path("MUJOCO_LOG.TXT").exists()


TRAIN = ("train", "--env", "NoisyPendulum-v1", "-n", 40, *TINY)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train",), "--algo and --env are needed"),
        ((*TRAIN, "--algo", "anf-td4"), "Did you mean 'anf-td3'"),
        ((*TRAIN, "tau"), "key:value"),
        ((*TRAIN, "--algo", "td3", "--env-kwargs", "noise_fraction:1"), "[0, 1), got 1"),
        ((*TRAIN, "--algo", "td3", "--env-kwargs", "noise:0.1"), "noise"),
        ((*TRAIN, "--algo", "td3", "--device", "abacus"), "abacus"),
        (("train", "--algo", "td3", "--env", "CartPole-v1", *TINY), "continuous actions"),
        (("train", "--algo", "td3", "--env", "Pendulom-v1", *TINY), "Did you mean 'Pendulum-v1'"),
        (("train", "-i", "nothing"), "there is no folder nothing"),
        (("train", "-i", "."), "no args.yml"),
        (("eval", "nothing"), "there is no folder nothing"),
        (("report", "."), "no args.yml"),
        (("enjoy", "--algo", "td3", "--env", "Pendulum-v1"), "no run of td3"),
        (("plot", "."), "no run below"),
        (("plot", ".", "--ci", 2), "--ci"),
        (("plot", ".", "-o", "x.jpg"), ".png"),
        (("bench", "--algos", "td3", "--envs", "E", "-n", 9, "--seeds", "a"), "--seeds a"),
        (("bench", "--algos", "td3", "--envs", "E", "-n", 99, *TINY), "unknown environment 'E'"),
        (("bench", "--algos", "td3", "--envs", "E", "-n", 9, "-o", "x"), ".html"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_exit_code_two(
    arguments: tuple[object, ...], message: str
) -> None:
    assert message in refusal(*arguments)
    assert not Path("logs").exists() or not list(Path("logs").rglob("args.yml"))


def test_a_resumption_keeps_the_run_what_it_is(trained: Run) -> None:
    for option, value in (("--algo", "td3"), ("--seed", 1), ("--env", "Pendulum-v1")):
        message = refusal("train", "-i", trained.path, option, value)
        assert "leave it out with -i" in message
    assert "larger -n" in refusal("train", "-i", trained.path, "-n", 100)


def test_a_missing_extra_names_what_to_install() -> None:
    code = (
        "import sys\n"
        "sys.modules['stable_baselines3'] = None\n"
        "from sparsewire.cli import app\n"
        "app(['rl', 'train', '--algo', 'td3', '--env', 'Pendulum-v1'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert 'pip install "sparsewire[rl]"' in done.stderr
    assert done.stderr.count("\n") == 1
