"""How do plain arrays become a stream of tasks? Two kinds of benchmark, one call each.

Class-incremental: each task brings classes of its own. Domain-incremental: each task permutes the
inputs of all classes (Goodfellow et al., 2013, arXiv:1312.6211). Both are built by Avalanche's
``nc_benchmark``, whose experiences carry lists of classes and task labels; several of Avalanche's
own plugins and metrics fail on other benchmarks for want of these. Inputs are not scaled here.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from avalanche.benchmarks import nc_benchmark
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from sparsewire.core._validation import check_integer
from sparsewire.core.errors import InvalidArgumentError
from sparsewire.core.network import seeded_generator


class LabelledDataset(Dataset[tuple[Any, int]]):
    """A data set whose labels are known without looking at its inputs.

    Parameters
    ----------
    inputs : sequence, or Dataset of (input, label, ...)
        One entry per example; of a data set only the inputs are used.
    targets : list of int
        One label per example.

    Attributes
    ----------
    targets : list of int
        The labels, where Avalanche looks for them.

    Examples
    --------
    >>> import torch
    >>> LabelledDataset(torch.eye(2), [5, 7])[1]
    (tensor([0., 1.]), 7)
    """

    def __init__(self, inputs: Any, targets: list[int]) -> None:
        self.inputs = inputs
        self.targets = targets

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        entry = self.inputs[index]
        return (entry[0] if isinstance(self.inputs, Dataset) else entry), self.targets[index]


class PermutedDataset(LabelledDataset):
    """A data set whose inputs are read in another order of their features.

    Parameters
    ----------
    inputs : sequence, or Dataset of (input, label, ...)
        One entry per example, each a tensor.
    targets : list of int
        One label per example.
    permutation : Tensor, shape (features,), int64
        The permuted input's feature i is feature ``permutation[i]`` of the flattened original.

    Examples
    --------
    >>> import torch
    >>> PermutedDataset(torch.tensor([[3.0, 4.0]]), [1], torch.tensor([1, 0]))[0]
    (tensor([4., 3.]), 1)
    """

    def __init__(self, inputs: Any, targets: list[int], permutation: Tensor) -> None:
        super().__init__(inputs, targets)
        self.permutation = permutation

    def __getitem__(self, index: int) -> tuple[Any, int]:
        x, label = super().__getitem__(index)
        return x.reshape(-1)[self.permutation].reshape(x.shape), label


def class_incremental(
    train: Any,
    test: Any,
    n_tasks: int = 5,
    *,
    order: Sequence[int] | None = None,
    task_labels: bool = False,
) -> Any:
    """Return a benchmark in which each task brings classes of its own.

    Parameters
    ----------
    train, test : (X, y) or torch Dataset
        X of shape (n, ...), y of shape (n,) with integer labels >= 0, arrays or tensors; X becomes
        float32. Of a data set the labels are its ``targets``, or found by reading it once.
    n_tasks : int, default 5
        Number of tasks; must divide the number of classes.
    order : sequence of int, optional
        All classes in the order in which tasks take them; ascending by default.
    task_labels : bool, default False
        Number the tasks, for task-incremental learning; otherwise all have label 0.

    Returns
    -------
    avalanche.benchmarks.NCScenario
        With ``train_stream`` and ``test_stream``; labels stay as they are.

    Raises
    ------
    InvalidArgumentError
        If lengths, labels, number of tasks or the order do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> X, y = np.random.rand(40, 8), np.arange(40) % 4
    >>> benchmark = class_incremental((X, y), (X, y), 2, order=[3, 0, 1, 2])
    >>> [sorted(e.classes_in_this_experience) for e in benchmark.train_stream]
    [[0, 3], [1, 2]]
    """
    train_set, test_set, classes = _checked(train, test)
    n_tasks = check_integer("n_tasks", n_tasks, minimum=1)
    if len(classes) % n_tasks:
        divisors = [n for n in range(1, len(classes) + 1) if len(classes) % n == 0]
        raise InvalidArgumentError(
            f"{len(classes)} classes do not divide into n_tasks={n_tasks} tasks; "
            f"choose one of {divisors}."
        )
    return nc_benchmark(
        train_set,
        test_set,
        n_experiences=n_tasks,
        task_labels=bool(task_labels),
        shuffle=False,
        fixed_class_order=classes if order is None else _check_order(order, classes),
    )


def permuted(
    train: Any, test: Any, n_tasks: int = 10, *, seed: int = 0, task_labels: bool = False
) -> Any:
    """Return a benchmark in which each task has all classes and an input permutation of its own.

    The first task leaves the inputs as they are.

    Parameters
    ----------
    train, test : (X, y) or torch Dataset
        As for `class_incremental`; inputs must all have the same shape.
    n_tasks : int, default 10
        Number of tasks.
    seed : int, default 0
        Decides the permutations; task t has the same one however many tasks there are.
    task_labels : bool, default False
        Number the tasks; otherwise all have label 0.

    Returns
    -------
    avalanche.benchmarks.NCScenario
        With ``train_stream`` and ``test_stream``. Labels are numbered from 0 in ascending order.

    Raises
    ------
    InvalidArgumentError
        If lengths, labels, number of tasks or seed do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> X, y = np.random.rand(40, 8), np.arange(40) % 4
    >>> benchmark = permuted((X, y), (X, y), 3)
    >>> [sorted(e.classes_in_this_experience) for e in benchmark.train_stream]
    [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3]]
    """
    train_set, test_set, _ = _checked(train, test)
    n_tasks = check_integer("n_tasks", n_tasks, minimum=1)
    features = torch.as_tensor(train_set[0][0]).numel()
    orders = [input_permutation(features, task, seed) for task in range(n_tasks)]
    return nc_benchmark(
        [PermutedDataset(train_set.inputs, train_set.targets, order) for order in orders],
        [PermutedDataset(test_set.inputs, test_set.targets, order) for order in orders],
        n_experiences=n_tasks,
        task_labels=bool(task_labels),
        shuffle=False,
        one_dataset_per_exp=True,
        class_ids_from_zero_in_each_exp=True,
    )


def input_permutation(features: int, task: int, seed: int = 0) -> Tensor:
    """Return the order in which task number `task` of a permuted benchmark reads its inputs.

    Parameters
    ----------
    features : int
        Number of input features.
    task : int
        Number of the task; 0 has no permutation.
    seed : int, default 0
        The benchmark's seed.

    Returns
    -------
    Tensor, shape (features,), int64
        A permutation.

    Examples
    --------
    >>> input_permutation(4, task=0)
    tensor([0, 1, 2, 3])
    """
    seed = check_integer("seed", seed, minimum=0)
    if task == 0:
        return torch.arange(features)
    return torch.randperm(features, generator=seeded_generator(seed, "permuted inputs", task))


def _checked(train: Any, test: Any) -> tuple[LabelledDataset, LabelledDataset, list[int]]:
    """Return both data sets and their classes in ascending order."""
    train_set, test_set = _labelled("train", train), _labelled("test", test)
    classes, others = set(train_set.targets), set(test_set.targets)
    if classes != others:
        raise InvalidArgumentError(
            f"train and test must have the same labels; only in train: {sorted(classes - others)}, "
            f"only in test: {sorted(others - classes)}."
        )
    return train_set, test_set, sorted(classes)


def _labelled(name: str, data: Any) -> LabelledDataset:
    inputs, labels = _parts(name, data)
    targets = _check_labels(name, labels)
    if len(inputs) != len(targets):
        raise InvalidArgumentError(
            f"{name} has {len(inputs)} inputs and {len(targets)} labels; pass one label per input."
        )
    return LabelledDataset(inputs, targets)


def _parts(name: str, data: Any) -> tuple[Any, Any]:
    """Split what a user passes into inputs, or a data set holding them, and labels."""
    if isinstance(data, TensorDataset):
        data = data.tensors
    if isinstance(data, Dataset) or (hasattr(data, "__getitem__") and hasattr(data, "targets")):
        targets = getattr(data, "targets", None)
        if targets is None:
            targets = [int(data[i][1]) for i in range(len(data))]
        return data, targets
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise InvalidArgumentError(
            f"{name} must be a pair (X, y) or a torch Dataset, got {type(data).__name__}."
        )
    return torch.as_tensor(np.asarray(data[0])).to(torch.float32), data[1]


def _check_labels(name: str, labels: Any) -> list[int]:
    array = np.asarray(labels)
    integral = array.ndim == 1 and array.size > 0 and np.issubdtype(array.dtype, np.number)
    if not integral or (array != np.floor(array)).any() or array.min() < 0:
        raise InvalidArgumentError(
            f"the labels of {name} must be integers >= 0, one per example and at least one, got "
            f"an array of shape {array.shape} and type {array.dtype}; number the classes from 0."
        )
    return [int(label) for label in array.tolist()]


def _check_order(order: Sequence[int], classes: list[int]) -> list[int]:
    chosen = [check_integer("a class in order", label, minimum=0) for label in order]
    repeated = sorted({label for label in chosen if chosen.count(label) > 1})
    missing, unknown = sorted(set(classes) - set(chosen)), sorted(set(chosen) - set(classes))
    if repeated or missing or unknown:
        raise InvalidArgumentError(
            f"order must name each of the classes {classes} once; repeated: {repeated}, missing: "
            f"{missing}, unknown: {unknown}."
        )
    return chosen
