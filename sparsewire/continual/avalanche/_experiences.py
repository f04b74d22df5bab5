"""What does an experience of Avalanche say about its task? Classes, labels and boundaries.

Experiences differ by the benchmark that made them: lists or sets of classes or none at all, task
labels or none, and parts of an online stream that may or may not know where tasks begin.
"""

from collections.abc import Iterator
from typing import Any

import torch
from avalanche.benchmarks import OnlineCLExperience
from torch import Tensor
from torch.utils.data import DataLoader

from sparsewire.core.errors import InvalidArgumentError


def is_online(experience: Any) -> bool:
    """Tell whether an experience is a part of an online stream."""
    return isinstance(experience, OnlineCLExperience)


def knows_boundaries(experience: Any) -> bool:
    """Tell whether an experience may tell where tasks begin; ordinary ones always do."""
    return not is_online(experience) or bool(experience.access_task_boundaries)


def begins_task(experience: Any) -> bool:
    """Tell whether training on an experience begins a task."""
    return not is_online(experience) or bool(experience.is_first_subexp)


def whole(experience: Any) -> Any:
    """Return the experience of which an online one is a part, or else itself."""
    if is_online(experience) and knows_boundaries(experience):
        return experience.origin_experience
    return experience


def classes_of(experience: Any) -> list[int]:
    """Return the classes of the task that an experience belongs to, ascending.

    Raises
    ------
    InvalidArgumentError
        If neither the experience nor its data set knows them.
    """
    task = whole(experience)
    classes = getattr(task, "classes_in_this_experience", None)
    if classes is None:
        targets = getattr(task.dataset, "targets", None)
        if targets is None:
            raise InvalidArgumentError(
                "the experience has no classes_in_this_experience and its data set no targets; "
                "build the benchmark with sparsewire.continual.avalanche.class_incremental or "
                "Avalanche's nc_benchmark."
            )
        classes = {int(label) for label in targets}
    return sorted(int(label) for label in classes)


def task_labels_of(experience: Any) -> list[int]:
    """Return the task labels of an experience; none where the benchmark has no task labels."""
    task = whole(experience)
    return sorted({int(label) for label in getattr(task, "task_labels", ())})


def task_labels_of_batch(strategy: Any) -> Tensor | None:
    """Return the task label of each example of the present batch, or None if there are none."""
    if len(strategy.mbatch) < 3 or not hasattr(strategy.experience, "task_labels"):
        return None
    labels: Tensor = strategy.mb_task_id
    return labels


class Batches:
    """The data of an experience's task in batches of inputs and labels, as often as asked for.

    Parameters
    ----------
    experience : avalanche experience
        Where the data come from, with the transformations of evaluation.
    batch_size : int
        Examples per batch.
    device : torch.device
        Where batches are put.
    """

    def __init__(self, experience: Any, batch_size: int, device: torch.device) -> None:
        self._dataset = whole(experience).dataset.eval()
        self._batch_size = batch_size
        self._device = device

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        # A loader without a generator draws from torch's global one, even if it does not shuffle.
        loader = DataLoader(
            self._dataset,
            batch_size=self._batch_size,
            collate_fn=self._dataset.collate_fn,
            generator=torch.Generator(),
        )
        for x, y, *_ in loader:
            yield x.to(self._device), y.to(self._device)
