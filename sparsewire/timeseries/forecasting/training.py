"""How is a forecaster trained, which network is kept, and how does a run survive a crash?

Adam, whose rate stays for two epochs and is then halved with each, as in the published protocol;
where density falls it stays until that is final, because connections lost at a rate that has
vanished are never made up for, and then falls to the same end. The network with the lowest
validation loss is kept, weights and masks together; where density falls only those count whose
density is final, because nearly dense ones from before would win. All that is drawn in an epoch
follows from the seed and its number, so a run continued from its file equals an uninterrupted one.
"""

import copy
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import joblib
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from sparsewire.core import (
    GraNet,
    InvalidArgumentError,
    NonFiniteError,
    SparsityHandle,
    TrainingDivergedError,
)
from sparsewire.core.run_file import RunFile
from sparsewire.timeseries.forecasting.windows import Batch, Rows, Windows
from sparsewire.timeseries.pals import PALS

Loss = Callable[..., Tensor]
LOSSES: dict[str, Loss] = {"mse": F.mse_loss, "mae": F.l1_loss, "huber": F.huber_loss}
OUTPUT_BATCH = 256
"""Windows per pass when nothing is trained."""


def forecast(network: nn.Module, batch: Batch) -> Tensor:
    """Return the forecast of some windows, (n, horizon, n_channels).

    A network whose ``takes_time_features`` is true gets the time features as well.
    """
    takes = getattr(network, "takes_time_features", False)
    outputs: Tensor = network(batch.x, batch.marks) if takes else network(batch.x)
    return outputs


@torch.no_grad()
def mean_loss(network: nn.Module, windows: Windows, rows: Rows, loss: Loss) -> float:
    """Return the mean loss over windows, steps and channels, whatever the batches."""
    total, count = 0.0, 0
    for start in range(0, len(rows), OUTPUT_BATCH):
        batch = windows.batch(rows[start : start + OUTPUT_BATCH])
        outputs = forecast(network, batch)
        total += float(loss(outputs.double(), batch.y.double(), reduction="sum"))
        count += batch.y.numel()
    return total / count


@torch.no_grad()
def residuals(network: nn.Module, windows: Windows) -> npt.NDArray[np.float32]:
    """Return truth minus forecast of all windows, (n, horizon, n_channels)."""
    found = [(b.y - forecast(network, b)).cpu().numpy() for b in windows.batches(OUTPUT_BATCH)]
    return np.concatenate(found)


@torch.no_grad()
def check_outputs(network: nn.Module, windows: Windows) -> None:
    """Raise `InvalidArgumentError` unless a network returns forecasts of the right shape."""
    batch = windows.batch(np.arange(1))
    training = network.training
    found = tuple(forecast(network.eval(), batch).shape)
    network.train(training)
    if found != tuple(batch.y.shape):
        raise InvalidArgumentError(
            f"the model maps windows {tuple(batch.x.shape)} to {found} instead of "
            f"{tuple(batch.y.shape)}: (batch, horizon, n_channels)."
        )


@dataclass
class Progress:
    """What the epochs so far have brought.

    Attributes
    ----------
    history : dict of str to list of float
        Per epoch "loss", "validation_loss", "sparsity", "learning_rate" and "seconds".
    best_loss : float
        Lowest validation loss of a network that counts.
    best_epoch : int
        Its epoch, counted from 1; 0 before there is one.
    best : dict
        That network.
    """

    history: dict[str, list[float]] = field(default_factory=dict)
    best_loss: float = math.inf
    best_epoch: int = 0
    best: dict[str, Any] = field(default_factory=dict)

    def add(self, trainer: "Trainer", values: Mapping[str, float]) -> None:
        """Take note of an epoch."""
        for key, value in values.items():
            self.history.setdefault(key, []).append(value)
        if trainer.counts and values["validation_loss"] < self.best_loss:
            self.best_loss, self.best_epoch = values["validation_loss"], trainer.epoch
            self.best = trainer.snapshot()


class Trainer:
    """A network in training.

    Parameters
    ----------
    handle : SparsityHandle
        Of the network and its optimizer, on their device.
    pals : PALS or None
        What decides about sparsity, if it is adaptive.
    train, validation : Windows
        To learn from, and to judge by.
    decision_rows : ndarray of int
        Validation windows by which `pals` decides.
    loss : callable
        A function of ``torch.nn.functional``.
    batch_size : int
        Windows per step.
    max_epochs : int
        Epochs at most.
    learning_rate : float
        Rate of the first two epochs.
    seed : int
        Seed of the order of windows, and of dropout.

    Attributes
    ----------
    epoch : int
        Epochs completed.
    """

    def __init__(
        self,
        handle: SparsityHandle,
        pals: PALS | None,
        *,
        train: Windows,
        validation: Windows,
        decision_rows: Rows,
        loss: Loss,
        batch_size: int,
        max_epochs: int,
        learning_rate: float,
        seed: int,
    ) -> None:
        self.handle, self.pals = handle, pals
        self.network = handle.model
        self.train, self.validation = train, validation
        self.decision_rows = decision_rows
        self.loss = loss
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.learning_rate = learning_rate
        self.seed = seed
        self.epoch = 0

    @property
    def counts(self) -> bool:
        """Whether the present network may be kept: its density is final, or mode "reference"."""
        return self.handle.step >= self._final_step()

    def _final_step(self) -> int:
        """Return the step after which density stays, 0 if it never falls."""
        method = self.handle.method
        falls = isinstance(method, GraNet) if self.pals is None else self.pals.mode == "robust"
        return (falls and method.when is not None and method.when.last) or 0

    def rate(self) -> float:
        """Return the learning rate of the next epoch."""
        halvings = float(max(0, self.epoch - 1))
        if final := self._final_step():
            steps = -(-len(self.train) // self.batch_size)
            falling = min(-(-final // steps), self.max_epochs - 1)
            since = max(0, self.epoch - falling + 1) / (self.max_epochs - falling)
            halvings = since * max(0, self.max_epochs - 2)
        return float(self.learning_rate * 0.5**halvings)

    def run_epoch(self) -> dict[str, float]:
        """Train on every window once.

        Returns
        -------
        dict of str to float
            The entries of the history.

        Raises
        ------
        TrainingDivergedError
            If a loss is no longer finite.
        """
        started = time.perf_counter()
        rate = self.rate()
        for group in self.handle.optimizer.param_groups:
            group["lr"] = rate
        self.network.train()
        order = np.random.default_rng([self.seed, self.epoch])
        rows = order.permutation(len(self.train))
        devices = {p.device for p in self.network.parameters() if p.device.type == "cuda"}
        total = 0.0
        with torch.random.fork_rng(devices=list(devices)):
            torch.manual_seed(int(order.integers(2**63)))  # of dropout
            for start in range(0, len(rows), self.batch_size):
                batch = self.train.batch(rows[start : start + self.batch_size])
                total += self._step(batch) * len(batch.x)
        self.epoch += 1
        entries = {
            "loss": total / len(rows),
            "validation_loss": self.validate(np.arange(len(self.validation))),
        }
        if not all(map(math.isfinite, entries.values())):
            raise self._diverged()
        sparsity = 1 - self.handle.density() if self.pals is None else self.pals.sparsity
        seconds = time.perf_counter() - started
        return entries | {"sparsity": sparsity, "learning_rate": rate, "seconds": seconds}

    def _step(self, batch: Batch) -> float:
        loss = self.loss(forecast(self.network, batch), batch.y)
        self.handle.optimizer.zero_grad()
        torch.autograd.backward(loss)
        try:
            if self.pals is not None:
                self.pals.decide(lambda: self.validate(self.decision_rows))
            self.handle.optimizer.step()
        except NonFiniteError as error:
            raise self._diverged() from error
        return float(loss.detach())

    def validate(self, rows: Rows) -> float:
        """Return the loss of some validation windows."""
        training = self.network.training
        self.network.eval()
        value = mean_loss(self.network, self.validation, rows, self.loss)
        self.network.train(training)
        return value

    def _diverged(self) -> TrainingDivergedError:
        return TrainingDivergedError(
            f"training diverged in epoch {self.epoch + 1}: a loss is not finite. Lower "
            f"learning_rate={self.learning_rate}, or scale the series (scale='standard')."
        )

    def snapshot(self) -> dict[str, Any]:
        """Return a copy of the network and its sparse state."""
        state = {"model": self.network.state_dict(), "handle": self.handle.state_dict()}
        return copy.deepcopy(state)

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go back to the network of a `snapshot`."""
        self.network.load_state_dict(snapshot["model"])
        self.handle.load_state_dict(snapshot["handle"])
        self.handle.verify()


def run_file(path: str | os.PathLike[str], parameters: Mapping[str, Any], data: object) -> RunFile:
    """Return the file of a run with these parameters and data."""
    return RunFile.of(path, parameters, data=str(joblib.hash(data)))


def _resume(file: RunFile, trainer: Trainer) -> Progress:
    def restore(content: dict[str, Any]) -> Progress:
        if trainer.pals is not None:
            trainer.pals.load_state_dict(content["pals"])
        trainer.epoch = content["epoch"]
        return Progress(**content["progress"])

    return file.load(trainer.handle, restore) or Progress()


def _save(file: RunFile, trainer: Trainer, progress: Progress) -> None:
    pals = None if trainer.pals is None else trainer.pals.state_dict()
    file.save(trainer.handle, epoch=trainer.epoch, progress=vars(progress), pals=pals)


def train(
    trainer: Trainer, *, patience: int | None, file: RunFile | None, verbose: int
) -> Progress:
    """Train until the end or until nothing has improved for a while, and restore the best network.

    Parameters
    ----------
    trainer : Trainer
        The run.
    patience : int or None
        Epochs in a row without a lower validation loss after which training stops, of those that
        count; None means never.
    file : RunFile or None
        Where the run is written after every epoch, and continued from.
    verbose : int
        1 shows a progress bar on standard error.

    Returns
    -------
    Progress
        Of the whole run.
    """
    progress = Progress() if file is None else _resume(file, trainer)
    bar = tqdm(
        total=trainer.max_epochs,
        initial=trainer.epoch,
        desc="SparseForecaster",
        disable=not verbose,
    )
    with bar:
        while trainer.epoch < trainer.max_epochs and not _is_enough(trainer, progress, patience):
            progress.add(trainer, trainer.run_epoch())
            if file is not None:
                _save(file, trainer, progress)
            loss, sparsity = (progress.history[k][-1] for k in ("validation_loss", "sparsity"))
            bar.set_postfix(validation=f"{loss:.4g}", sparsity=f"{sparsity:.0%}", refresh=False)
            bar.update()
    if progress.best_epoch:
        trainer.restore(progress.best)
    else:
        progress.best_epoch = trainer.epoch
    return progress


def _is_enough(trainer: Trainer, progress: Progress, patience: int | None) -> bool:
    if patience is None or not progress.best_epoch:
        return False
    return trainer.epoch - progress.best_epoch >= patience
