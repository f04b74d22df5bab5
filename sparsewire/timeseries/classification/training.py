"""How is a network trained to classify series, which one is kept, and how does it survive a crash?

Adam with a cosine learning rate; the network of the epoch with the lowest training loss is kept,
weights and masks together, or of the lowest loss of held-out series if there are some. All that is
drawn in an epoch follows from the seed and its number, so a run continued from its file equals an
uninterrupted one.
"""

import copy
import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
    NonFiniteError,
    SparsityHandle,
    TrainingDivergedError,
)
from sparsewire.core.run_file import RunFile
from sparsewire.timeseries.classification.preparation import Series

LOWEST_RATE = 1e-4
"""Learning rate at which the cosine ends (reference), unless it begins below."""

OUTPUT_BATCH = 16
"""Series per pass when nothing is trained. Passes are filled up to this number, so that the result
for a series does not depend on the company it comes in."""

Rows = npt.NDArray[np.int64]


class BaseSeriesNetwork(nn.Module, ABC):
    """A network that scores the classes of series.

    Attributes
    ----------
    shape : dataclass
        Its sizes.
    """

    shape: Any

    @abstractmethod
    def forward(self, x: Tensor, ends: Tensor | None = None) -> Tensor:
        """Return the logits.

        Parameters
        ----------
        x : Tensor, shape (batch, n_channels, time)
            Series, zero beyond their ends.
        ends : Tensor of int64, shape (batch,), or None
            Their lengths; None if all are equally long.

        Returns
        -------
        Tensor, shape (batch, n_classes)
        """


def default_batch_size(n_series: int) -> int:
    """Return the reference's batch size: a tenth of the series, between 2 and 16.

    Examples
    --------
    >>> [default_batch_size(n) for n in (12, 67, 7494)]
    [2, 6, 16]
    """
    return max(2, min(n_series // 10, 16))


@dataclass(frozen=True)
class Labelled:
    """Series with their classes.

    Attributes
    ----------
    series : Series
        All of them.
    target : ndarray of int64, shape (n_series,)
        Classes, counted from 0.
    train : ndarray of int64
        Series to train on.
    held_out : ndarray of int64
        Series that judge the network after each epoch; may be empty.
    """

    series: Series
    target: npt.NDArray[np.int64]
    train: Rows
    held_out: Rows


def batches(rows: Rows, size: int, generator: np.random.Generator) -> Iterator[Rows]:
    """Yield the rows in random order, `size` at a time; a last single row joins those before.

    Batch normalisation could make nothing of a single series.

    Examples
    --------
    >>> [len(b) for b in batches(np.arange(7), 3, np.random.default_rng(0))]
    [3, 4]
    """
    order = generator.permutation(rows)
    for begin in _begins(len(rows), size):
        end = begin + size
        yield order[begin : len(order) if end >= len(order) - 1 else end]


def _begins(n_rows: int, size: int) -> range:
    return range(0, n_rows - 1 if n_rows > 1 else 1, size)


def steps_per_epoch(n_rows: int, size: int) -> int:
    """Return the number of `batches`.

    Examples
    --------
    >>> steps_per_epoch(7, 3), steps_per_epoch(8, 3)
    (2, 3)
    """
    return len(_begins(n_rows, size))


def to_batch(series: Series, rows: Rows, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Return values and, if they differ, lengths of some of the series."""
    lengths = series.lengths[rows]
    longest = int(lengths.max())
    values = torch.from_numpy(series.values[rows, :, :longest]).to(device)
    if bool((lengths == longest).all()):
        return values, None
    return values, torch.from_numpy(lengths).to(device)


@torch.no_grad()
def logits(
    network: BaseSeriesNetwork, series: Series, device: torch.device
) -> npt.NDArray[np.float32]:
    """Return the logits of all series, shape (n_series, n_classes)."""
    network.eval()
    found = []
    for begin in range(0, len(series), OUTPUT_BATCH):
        rows = np.arange(begin, min(begin + OUTPUT_BATCH, len(series)))
        full = np.resize(rows, OUTPUT_BATCH)
        found.append(network(*to_batch(series, full, device))[: len(rows)].cpu().numpy())
    return np.concatenate(found)


@dataclass
class Progress:
    """What the epochs so far have brought.

    Attributes
    ----------
    history : dict of str to list of float
        Per epoch "loss", "seconds" and, if series are held out, "validation_loss".
    best_loss : float
        Lowest loss so far, of the held-out series if there are some.
    best_epoch : int
        The last epoch, counted from 1, that had it.
    best : dict
        The network of that epoch.
    """

    history: dict[str, list[float]] = field(default_factory=dict)
    best_loss: float = math.inf
    best_epoch: int = 0
    best: dict[str, Any] = field(default_factory=dict)

    def add(self, trainer: "Trainer", values: Mapping[str, float]) -> None:
        """Take note of an epoch."""
        for key, value in values.items():
            self.history.setdefault(key, []).append(value)
        judged = values.get("validation_loss", values["loss"])
        if judged <= self.best_loss:
            self.best_loss, self.best_epoch = judged, trainer.epoch
            self.best = copy.deepcopy(trainer.handle.model.state_dict())


class Trainer:
    """A network in training.

    Parameters
    ----------
    handle : SparsityHandle
        Of a `BaseSeriesNetwork` and its Adam optimizer, on their device.
    data : Labelled
        What to learn.
    batch_size, n_epochs : int
        Series per step, and length of the run.
    learning_rate : float
        Rate of the first epoch.
    seed : int
        Seed of the order of series, and of dropout.

    Attributes
    ----------
    epoch : int
        Epochs completed.
    """

    def __init__(
        self,
        handle: SparsityHandle,
        data: Labelled,
        *,
        batch_size: int,
        n_epochs: int,
        learning_rate: float,
        seed: int,
    ) -> None:
        self.handle = handle
        assert isinstance(handle.model, BaseSeriesNetwork)
        self.network = handle.model
        self.data = data
        self.batch_size = batch_size
        self.n_epochs = n_epochs
        self.learning_rate = learning_rate
        self.seed = seed
        self.device = next(self.network.parameters()).device
        self.epoch = 0

    def rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0."""
        low = min(LOWEST_RATE, self.learning_rate)
        turn = math.cos(math.pi * epoch / self.n_epochs)
        return low + (self.learning_rate - low) * (1 + turn) / 2

    def run_epoch(self) -> dict[str, float]:
        """Train on every series once.

        Returns
        -------
        dict of str to float
            The entries of the history.

        Raises
        ------
        TrainingDivergedError
            If loss or weights are no longer finite.
        """
        started = time.perf_counter()
        for group in self.handle.optimizer.param_groups:
            group["lr"] = self.rate(self.epoch)
        self.network.train()
        order = np.random.default_rng([self.seed, self.epoch])
        total = 0.0
        with self._own_dropout():
            for rows in batches(self.data.train, self.batch_size, order):
                total += self._step(rows) * len(rows)
        self.epoch += 1
        entries = {"loss": total / len(self.data.train)}
        if len(self.data.held_out):
            entries["validation_loss"] = self.held_out_loss()
        if not all(map(math.isfinite, entries.values())):
            raise self._diverged()
        return entries | {"seconds": time.perf_counter() - started}

    @contextmanager
    def _own_dropout(self) -> Iterator[None]:
        """Let dropout draw by the seed of the epoch, and leave the global generators alone."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(
                int(np.random.default_rng([self.seed, self.epoch, 1]).integers(2**63))
            )
            yield

    def _step(self, rows: Rows) -> float:
        target = torch.from_numpy(self.data.target[rows]).to(self.device)
        outputs = self.network(*to_batch(self.data.series, rows, self.device))
        loss = F.cross_entropy(outputs, target)
        self.handle.optimizer.zero_grad()
        torch.autograd.backward(loss)
        try:
            self.handle.optimizer.step()
        except NonFiniteError as error:
            raise self._diverged() from error
        return float(loss.detach())

    def held_out_loss(self) -> float:
        """Return the mean loss of the held-out series."""
        rows = self.data.held_out
        series = Series(self.data.series.values[rows], self.data.series.lengths[rows])
        outputs = torch.from_numpy(logits(self.network, series, self.device))
        return float(F.cross_entropy(outputs, torch.from_numpy(self.data.target[rows])))

    def _diverged(self) -> TrainingDivergedError:
        return TrainingDivergedError(
            f"training diverged in epoch {self.epoch + 1}: the loss is not finite. Lower "
            f"learning_rate={self.learning_rate}, or scale the series (normalise='train')."
        )


def run_file(
    path: str | os.PathLike[str], parameters: Mapping[str, Any], data: Labelled
) -> RunFile:
    """Return the file of a run with these parameters and data."""
    content = joblib.hash((data.series.values, data.series.lengths, data.target))
    return RunFile.of(path, parameters, data=str(content))


def _resume(file: RunFile, trainer: Trainer) -> Progress:
    def restore(content: dict[str, Any]) -> Progress:
        trainer.epoch = content["epoch"]
        return Progress(**content["progress"])

    return file.load(trainer.handle, restore) or Progress()


def train(
    trainer: Trainer, *, patience: int | None, file: RunFile | None, title: str, verbose: int
) -> Progress:
    """Train until the end or until nothing has improved for a while, and restore the best network.

    Parameters
    ----------
    trainer : Trainer
        The run.
    patience : int or None
        Epochs without a lower loss after which training stops; None means never.
    file : RunFile or None
        Where the run is written after every epoch, and continued from.
    title : str
        What stands before the progress bar.
    verbose : int
        1 shows a progress bar on standard error.

    Returns
    -------
    Progress
        Of the whole run.
    """
    progress = Progress() if file is None else _resume(file, trainer)
    total = trainer.n_epochs
    with tqdm(total=total, initial=trainer.epoch, desc=title, disable=not verbose) as bar:
        while trainer.epoch < total and (
            patience is None or trainer.epoch - progress.best_epoch < patience
        ):
            progress.add(trainer, trainer.run_epoch())
            if file is not None:
                file.save(trainer.handle, epoch=trainer.epoch, progress=vars(progress))
            bar.set_postfix(loss=f"{progress.history['loss'][-1]:.4g}", refresh=False)
            bar.update()
    trainer.network.load_state_dict(progress.best)
    return progress
