"""When does training stop, which network is kept, and how does a run survive a crash?

The rules for stopping are those of ``sklearn.neural_network``. A checkpoint holds the whole run
after each epoch; it is continued only by a run of the same parameters, data and seed.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib

from sparsewire.core import CheckpointError, checkpoint
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


@dataclass(frozen=True)
class Checkpoint:
    """The file of a run, and what the run is.

    Parameters
    ----------
    path : path
        The file.
    identity : dict of str to str
        What must be equal for a run to be continued.
    """

    path: Path
    identity: dict[str, str]

    @classmethod
    def of(
        cls, path: str | os.PathLike[str], parameters: Mapping[str, Any], table: Table
    ) -> "Checkpoint":
        """Describe a run by its parameters and its data."""
        identity = {name: repr(value) for name, value in sorted(parameters.items())}
        # By content: the folds of a cross-validation have one shape.
        data = {"X": joblib.hash(table.X), "y": joblib.hash(table.target.numpy())}
        return cls(Path(path), identity | data)

    def load(self, trainer: Trainer) -> Progress:
        """Continue the run of the file, if there is one.

        Raises
        ------
        CheckpointError
            If the file is damaged or belongs to another run.
        """
        if not self.path.exists():
            return Progress()
        try:
            content = checkpoint.load(self.path, trainer.handle)
            trainer.handle.verify()
            self._check(content.get("identity"))
        except CheckpointError as error:
            raise CheckpointError(
                f"{self.path} cannot be continued: {error} Delete the file to start afresh, or "
                "name another one."
            ) from error
        trainer.epoch = content["epoch"]
        return Progress(**content["progress"])

    def _check(self, found: object) -> None:
        if not isinstance(found, dict) or found.keys() != self.identity.keys():
            raise CheckpointError("it was not written by this estimator.")
        for name, value in self.identity.items():
            if found[name] != value:
                raise CheckpointError(f"its run has {name} = {found[name]}, this one {value}.")

    def save(self, trainer: Trainer, progress: Progress) -> None:
        """Write the run as it is after an epoch, atomically."""
        checkpoint.save(
            self.path,
            trainer.handle,
            identity=self.identity,
            epoch=trainer.epoch,
            progress=vars(progress),
        )
