"""When does training stop, which network is kept, and how does a run survive a crash?

The rules for stopping are those of ``sklearn.neural_network``. A checkpoint holds the whole run
after each epoch; it is continued only by a run of the same parameters, data and seed.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import joblib

from sparsewire.core.run_file import RunFile
from sparsewire.neural_network.training import Table, Trainer


@dataclass
class Progress:
    """What the epochs so far have brought.

    Attributes
    ----------
    losses, scores, seconds, n_connections : list
        One entry per epoch; `scores` stays empty if no rows are held out.
    best_loss, best_score : float
        The best so far.
    stale : int
        Epochs since the last improvement by more than the tolerance.
    best : dict or None
        Snapshot of the network with the best score.
    """

    losses: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    n_connections: list[int] = field(default_factory=list)
    best_loss: float = math.inf
    best_score: float = -math.inf
    stale: int = 0
    best: dict[str, Any] | None = None

    def add(
        self, trainer: Trainer, loss: float, score: float | None, seconds: float, tol: float
    ) -> None:
        """Take note of an epoch; `score` is that of the held-out rows."""
        self.losses.append(loss)
        self.seconds.append(seconds)
        self.n_connections.append(trainer.n_connections())
        if score is None:
            improved = loss <= self.best_loss - tol
        else:
            self.scores.append(score)
            improved = score >= self.best_score + tol
            if score > self.best_score:
                self.best_score, self.best = score, trainer.snapshot()
        self.best_loss = min(self.best_loss, loss)
        self.stale = 0 if improved else self.stale + 1


def run_file(path: str | os.PathLike[str], parameters: Mapping[str, Any], table: Table) -> RunFile:
    """Return the file of a run with these parameters and data."""
    digests = {"X": joblib.hash(table.X), "y": joblib.hash(table.target.numpy())}
    return RunFile.of(path, parameters, **digests)


def resume(file: RunFile, trainer: Trainer) -> Progress:
    """Continue the run of the file, if there is one."""

    def restore(content: dict[str, Any]) -> Progress:
        trainer.epoch = content["epoch"]
        return Progress(**content["progress"])

    return file.load(trainer.handle, restore) or Progress()


def save(file: RunFile, trainer: Trainer, progress: Progress) -> None:
    """Write the run as it is after an epoch."""
    file.save(trainer.handle, epoch=trainer.epoch, progress=vars(progress))
