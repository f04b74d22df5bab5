"""Does Ctrl-C lose anything? The same command goes on, and ends as if nothing had happened."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from sparsewire.timeseries import ALACPD
from sparsewire.timeseries.command.stream import uninterrupted
from tests.timeseries.command.helpers import (
    load_frame,
    names_in,
    refusal,
    run,
    shifted,
    succeed,
    wave_frame,
)

# A shell lets what it starts in the background ignore the signal, and children inherit that.
HEED = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")


def interrupt(words: list[str], run_file: Path | None) -> str:
    """Start a command, stop it once it trains or its run is kept, and return what it said."""
    code = f"{HEED}; from sparsewire.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "ts", *words], stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        said = b""
        while b"0%|" not in said:  # the progress bar: training has begun
            said += (byte := process.stderr.read(1))
            assert byte, said
        while run_file is not None and not run_file.exists():
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=60)
    assert process.returncode == 130, rest
    assert b"Traceback" not in rest
    return rest.decode()


@posix
def test_an_interrupted_classifier_continues_with_the_same_command(tmp_path: Path) -> None:
    wave_frame().to_csv(tmp_path / "train.csv", index=False)
    epochs, small = "n_epochs:60", ("n_filters:4", "depth:2", "kernel_size:5")

    def command(out: str) -> list[str]:
        fixed = ["classify", str(tmp_path / "train.csv"), "--target", "kind"]
        return [*fixed, "-o", str(tmp_path / out), "--param", epochs, *small]

    said = interrupt(command("out"), tmp_path / "out" / "run.pt")
    assert "the same command continues" in said
    assert names_in(tmp_path / "out") == ["run.pt"]
    other = [word.replace("n_epochs:60", "n_epochs:50") for word in command("out")]
    assert "n_epochs" in refusal(run(*other, "--quiet"))
    result = succeed(*command("out"))
    assert "continuing the run of" in result.stderr
    assert names_in(tmp_path / "out") == ["history.csv", "metrics.json", "model.zip"]
    succeed(*command("whole"))
    losses = [pd.read_csv(tmp_path / out / "history.csv")["loss"] for out in ("out", "whole")]
    assert losses[0].tolist() == losses[1].tolist()
    assert len(losses[0]) == 60


@posix
@pytest.mark.slow
def test_an_interrupted_forecaster_continues_with_the_same_command(tmp_path: Path) -> None:
    load_frame(2000).to_csv(tmp_path / "load.csv", index=False)

    def command(out: str) -> list[str]:
        fixed = ["forecast", str(tmp_path / "load.csv"), "--horizon", "8", "--input-size", "32"]
        return [*fixed, "-o", str(tmp_path / out), "--param", "max_epochs:30", "patience:None"]

    interrupt(command("out"), tmp_path / "out" / "run.pt")
    assert names_in(tmp_path / "out") == ["run.pt"]
    succeed(*command("out"))
    succeed(*command("whole"))
    forecasts = [(tmp_path / out / "forecast.csv").read_bytes() for out in ("out", "whole")]
    assert forecasts[0] == forecasts[1]


@posix
@pytest.mark.slow
def test_an_interrupt_without_resume_leaves_nothing(tmp_path: Path) -> None:
    wave_frame().to_csv(tmp_path / "train.csv", index=False)
    words = ["classify", str(tmp_path / "train.csv"), "--target", "kind", "--no-resume"]
    small = ["--param", "n_epochs:1000000", "n_filters:2", "depth:1", "kernel_size:5"]
    said = interrupt([*words, "-o", str(tmp_path / "out"), *small], None)
    assert "nothing was written" in said
    assert not (tmp_path / "out").exists()


def test_an_interrupt_waits_for_the_end_of_a_sample() -> None:
    done = []

    def take_one() -> None:
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            done.append("sample")

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            take_one()
        assert done == ["sample"]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


@posix
@pytest.mark.slow
def test_an_interrupted_stream_keeps_its_state(tmp_path: Path) -> None:
    state = tmp_path / "state.npz"
    words = ["detect", "-", "--param", "n_init:60", "--save-state", str(state)]
    code = f"{HEED}; from sparsewire.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "ts", *words],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.writelines(f"{a},{b}\n" for a, b in shifted().tolist())
        process.stdin.flush()
        assert '"index": 100' in process.stdout.readline()
        process.send_signal(signal.SIGINT)  # while the rest is read, or waited for
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in said
    assert ALACPD.load(state).n_changes_ == 1
