"""The command with selectors whose behaviour a test controls: run this file as a script."""

import os
import signal
import time
import warnings
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import typer
from sklearn.base import BaseEstimator

from sparsewire.featsel.benchmark.cli import register_bench


class First(BaseEstimator):  # type: ignore[misc]
    """Keeps the first columns."""

    def __init__(self, k: int = 1, seed: int = 0) -> None:
        self.k = k
        self.seed = seed

    def fit(self, X: npt.NDArray[Any], y: npt.NDArray[Any]) -> Self:
        self.n_columns = X.shape[1]
        return self

    def get_support(self) -> npt.NDArray[np.bool_]:
        return np.arange(self.n_columns) < self.k


class Gated(First):
    """Says that it has begun, and waits in `fit` until a file opens its gate."""

    def __init__(self, k: int = 1, seed: int = 0, folder: str = "") -> None:
        super().__init__(k, seed)
        self.folder = folder

    def fit(self, X: npt.NDArray[Any], y: npt.NDArray[Any]) -> Self:
        Path(self.folder, f"started-{self.seed}-{os.getpid()}").touch()
        while not Path(self.folder, f"gate-{self.seed}").exists():
            time.sleep(0.02)
        return super().fit(X, y)


class Witness(First):
    """Keeps what it was given, and warns."""

    def fit(self, X: npt.NDArray[Any], y: npt.NDArray[Any]) -> Self:
        warnings.warn("seen", UserWarning, stacklevel=2)
        warnings.warn("seen", UserWarning, stacklevel=2)
        self.seen = (X, y)
        Witness.last = self
        return super().fit(X, y)

    last: "Witness"


class Broken(First):
    """Raises for even seeds; for odd ones its process is killed, as by a lack of memory."""

    def fit(self, X: npt.NDArray[Any], y: npt.NDArray[Any]) -> Self:
        if self.seed % 2:
            os.kill(os.getpid(), signal.SIGKILL)
        raise RuntimeError("<b>no</b> luck")


def gated(*, k: int, seed: int, dataset: str, folder: str = "") -> Gated:
    return Gated(k, seed, folder)


def witness(*, k: int, seed: int, dataset: str) -> Witness:
    return Witness(k, seed)


def broken(*, k: int, seed: int, dataset: str) -> Broken:
    return Broken(k, seed)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    register_bench(app)
    app(obj={"gated": gated, "broken": broken})
