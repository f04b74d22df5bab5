"""What does a network see, task after task? Images of a benchmark, scaled and cut into tasks.

Pixels are standardised by mean and standard deviation of all training pixels, which for MNIST are
the customary 0.1307 and 0.3081. A data set without a canonical split keeps every fifth image of
each class for testing, the same ones for every seed.

Permuted images are learnt class by class here: task t has ten classes of its own, so that one can
ask for the class with and without being told the task. Their memory is that of one task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset

from sparsewire import datasets
from sparsewire.core.errors import InvalidArgumentError

_EVERY = 5
"""One image in so many is a test image, where the data set does not say which."""

Labelled = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Images:
    """Standardised images with their labels.

    Attributes
    ----------
    train, test : pair of Tensor
        Pixels of shape (n, channels, height, width), float32, and labels of shape (n,), int64.
    """

    train: Labelled
    test: Labelled


@lru_cache(maxsize=1)
def load_images(name: str) -> Images:
    """Load a data set of images; the last one stays loaded.

    Parameters
    ----------
    name : str
        Name in `sparsewire.datasets`.

    Returns
    -------
    Images
        Standardised.

    Raises
    ------
    InvalidArgumentError
        If the data set is not on this machine; the message says how to bring it there.

    Examples
    --------
    >>> digits = load_images("digits")
    >>> digits.train[0].shape, digits.test[0].shape
    (torch.Size([1442, 1, 8, 8]), torch.Size([355, 1, 8, 8]))
    """
    try:
        data = datasets.load(name)
    except datasets.DatasetError as error:
        raise InvalidArgumentError(str(error)) from error
    labels = data.y.astype(np.int64)
    held_out = _held_out(labels, data.n_train)
    x = _as_images(torch.from_numpy(data.X.astype(np.float32)), data.image_shape)
    y, test = torch.from_numpy(labels), torch.from_numpy(held_out)
    deviation, mean = torch.std_mean(x[~test])
    x = (x - mean) / deviation
    return Images((x[~test], y[~test]), (x[test], y[test]))


def _held_out(labels: npt.NDArray[np.int64], n_train: int | None) -> npt.NDArray[np.bool_]:
    if n_train is not None:
        return np.arange(len(labels)) >= n_train
    held_out = np.zeros(len(labels), dtype=np.bool_)
    for label in np.unique(labels):
        held_out[np.flatnonzero(labels == label)[_EVERY - 1 :: _EVERY]] = True
    return held_out


def _as_images(rows: Tensor, shape: tuple[int, int] | None) -> Tensor:
    if shape is not None:
        return rows.reshape(-1, 1, *shape)
    return rows.reshape(-1, 32, 32, 3).permute(0, 3, 1, 2).contiguous()  # CIFAR-10's colour images


@dataclass(frozen=True)
class Stream:
    """All tasks of a run.

    Attributes
    ----------
    tasks : list of tuple of int
        Classes of each task, in the order in which they are learnt.
    images : Images
        All of them, or those of every single task if their pixels are permuted.
    permutations : list of Tensor or None
        For each task: which pixel stands at each place; None for the given order.
    """

    tasks: list[tuple[int, ...]]
    images: Images
    permutations: list[Tensor] | None = None

    @property
    def shape(self) -> torch.Size:
        """Channels, height and width of an image."""
        return self.images.train[0].shape[1:]

    @property
    def n_classes(self) -> int:
        """Classes of all tasks."""
        return sum(map(len, self.tasks))

    def experiences(self) -> list[Any]:
        """Return Avalanche's training experiences, one per task."""
        from sparsewire.continual.avalanche.benchmarks import class_incremental

        order = [label for task in self.tasks for label in task]
        train, test = self._dataset(self.images.train), self._dataset(self.images.test)
        return list(class_incremental(train, test, len(self.tasks), order=order).train_stream)

    def _dataset(self, images: Labelled) -> Any:
        if self.permutations is None:
            return images
        from sparsewire.continual.avalanche.benchmarks import LabelledDataset, PermutedDataset

        x, y = images
        parts = [
            PermutedDataset(x, (y + task[0]).tolist(), permutation)
            for task, permutation in zip(self.tasks, self.permutations, strict=True)
        ]
        targets = [target for part in parts for target in part.targets]
        return LabelledDataset(ConcatDataset(parts), targets)

    def examples(self, task: int, *, test: bool = True) -> Labelled:
        """Return images and labels of one task, for testing or for training."""
        x, y = self.images.test if test else self.images.train
        if self.permutations is not None:
            permuted = x.flatten(1)[:, self.permutations[task]].reshape(x.shape)
            return permuted, y + self.tasks[task][0]
        own = torch.isin(y, torch.tensor(self.tasks[task]))
        return x[own], y[own]


def make_stream(
    images: Images, order: Sequence[int], n_tasks: int, *, permuted: bool = False, seed: int = 0
) -> Stream:
    """Cut a data set into tasks.

    Parameters
    ----------
    images : Images
        The data set.
    order : sequence of int
        All classes of the data set, those of the first task first.
    n_tasks : int
        Tasks; they divide the classes, unless `permuted`.
    permuted : bool, default=False
        Whether each task has all images, with an order of pixels and labels of its own; class c of
        task t is then ``t * len(order) + c``.
    seed : int, default=0
        Decides the orders of pixels, nothing else.

    Returns
    -------
    Stream
        The tasks.

    Examples
    --------
    >>> digits = load_images("digits")
    >>> make_stream(digits, range(10), 5).tasks
    [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]
    """
    classes = list(order)
    if not permuted:
        size = len(classes) // n_tasks
        tasks = [tuple(classes[i : i + size]) for i in range(0, len(classes), size)]
        return Stream(tasks, images)
    from sparsewire.continual.avalanche.benchmarks import input_permutation

    size, pixels = len(classes), images.train[0][0].numel()
    tasks = [tuple(range(t * size, (t + 1) * size)) for t in range(n_tasks)]
    permutations = [input_permutation(pixels, task, seed) for task in range(n_tasks)]
    return Stream(tasks, images, permutations)
