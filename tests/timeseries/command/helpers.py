"""What the tests of `sparsewire ts` share: small files, and how a call is made and refused."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from typer.testing import CliRunner, Result

from sparsewire.cli import app

Floats = npt.NDArray[np.float64]
SMALL_DSN = ("--param", "n_filters:2", "depth:1", "kernel_size:5", "n_epochs:2")
SMALL_FORECAST = ("--horizon", 4, "--input-size", 8, "--param", "max_epochs:2")


def run(*arguments: object, standard_input: str | bytes | None = None) -> Result:
    """Run `sparsewire ts`."""
    words = ["ts", *(str(argument) for argument in arguments)]
    return CliRunner().invoke(app, words, input=standard_input)


def succeed(*arguments: object, standard_input: str | bytes | None = None) -> Result:
    result = run(*arguments, standard_input=standard_input)
    assert result.exit_code == 0, (result.stderr, result.exception)
    return result


def refusal(result: Result) -> str:
    """Return the message of a refused call, after checking its form."""
    assert result.exit_code == 2, (result.stderr, result.exception)
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def strict_json(text: str) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    content: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return content


def json_of(path: Path) -> dict[str, Any]:
    return strict_json(path.read_text("utf-8"))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def waves(n_series: int = 24, length: int = 20, seed: int = 0) -> tuple[Floats, list[str]]:
    """Return slow and fast sine waves, (n, length), and which ones they are."""
    rng = np.random.default_rng(seed)
    labels = ["slow", "fast"] * (n_series // 2)
    speed = np.where(np.array(labels) == "slow", 0.2, 0.9)[:, np.newaxis]
    phase = rng.uniform(0, 6, (n_series, 1))
    noise = 0.2 * rng.normal(size=(n_series, length))
    return np.sin(speed * np.arange(length) + phase) + noise, labels


def wave_frame(seed: int = 0) -> pd.DataFrame:
    X, labels = waves(seed=seed)
    frame = pd.DataFrame(X, columns=[f"t{step}" for step in range(X.shape[1])])
    frame.insert(3, "kind", labels)
    return frame


def load_frame(n_rows: int = 120) -> pd.DataFrame:
    """Return two columns with daily times."""
    rng = np.random.default_rng(0)
    time = np.arange(n_rows)
    return pd.DataFrame(
        {
            "day": pd.date_range("2024-01-01", periods=n_rows).strftime("%Y-%m-%d"),
            "load": 20 + np.sin(time / 2) + 0.1 * rng.normal(size=n_rows),
            "OT": np.cos(time / 3) + 0.1 * rng.normal(size=n_rows),
        }
    )


def shifted(n_rows: int = 160, at: int = 100) -> Floats:
    """Return two channels of noise whose level rises once, (n_rows, 2)."""
    noise = np.random.default_rng(0).normal(size=(n_rows, 2))
    return noise + np.where(np.arange(n_rows) < at, 0, 6)[:, np.newaxis]
