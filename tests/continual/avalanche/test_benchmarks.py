"""Benchmarks from arrays: what experiences hold, and which input is refused."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

from sparsewire.continual.avalanche import class_incremental, input_permutation, permuted
from sparsewire.core.errors import InvalidArgumentError
from tests.continual.avalanche.helpers import arrays


class Unlabelled(Dataset[tuple[Any, int]]):
    """A data set that tells its labels one by one only."""

    def __init__(self, X: Any, y: Any) -> None:
        self.X, self.y = X, y

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return torch.as_tensor(self.X[index]), int(self.y[index])


class Labelled(Unlabelled):
    """A data set as torchvision's are; it does not let its examples be read in advance."""

    def __init__(self, X: Any, y: Any) -> None:
        super().__init__(X, y)
        self.targets = y.tolist()
        self.reads = 0

    def __getitem__(self, index: int) -> tuple[Any, int]:
        self.reads += 1
        return super().__getitem__(index)


def contents(stream: Any) -> list[tuple[list[int], list[int]]]:
    """Return by experience the labels of its examples, and those that its inputs stand for."""
    found = []
    for experience in stream:
        labels = [experience.dataset[i][1] for i in range(len(experience.dataset))]
        inputs = [experience.dataset[i][0] for i in range(len(experience.dataset))]
        found.append((labels, [int(x[:6].argmax()) for x in inputs]))
    return found


@pytest.mark.parametrize("task_labels", [False, True])
def test_every_task_holds_all_examples_of_its_classes(task_labels: bool) -> None:
    X, y = np.eye(6, 12, dtype=np.float32)[np.arange(60) % 6], np.arange(60) % 6
    bench = class_incremental((X, y), (X[:30], y[:30]), 3, task_labels=task_labels)
    assert [list(e.classes_in_this_experience) for e in bench.train_stream] == [
        [0, 1],
        [2, 3],
        [4, 5],
    ]
    expected = [0, 1, 2] if task_labels else [0, 0, 0]
    assert [e.task_labels for e in bench.train_stream] == [[label] for label in expected]
    for stream, size in ((bench.train_stream, 20), (bench.test_stream, 10)):
        for task, (labels, shown) in enumerate(contents(stream)):
            assert sorted(set(labels)) == [2 * task, 2 * task + 1]
            assert labels == shown
            assert len(labels) == size


def test_classes_come_in_the_given_order_and_keep_their_labels() -> None:
    bench = class_incremental(arrays(), arrays(), 3, order=[5, 0, 3, 2, 1, 4])
    classes = [sorted(e.classes_in_this_experience) for e in bench.train_stream]
    assert classes == [[0, 5], [2, 3], [1, 4]]


@pytest.mark.parametrize("kind", ["tensors", "lists", "TensorDataset", "Labelled", "Unlabelled"])
def test_whatever_holds_the_data_the_benchmark_is_the_same(kind: str) -> None:
    X, y = arrays()
    data: dict[str, Any] = {
        "tensors": (torch.as_tensor(X), torch.as_tensor(y)),
        "lists": [X.tolist(), y.tolist()],
        "TensorDataset": TensorDataset(torch.as_tensor(X), torch.as_tensor(y)),
        "Labelled": Labelled(X, y),
        "Unlabelled": Unlabelled(X, y),
    }
    bench = class_incremental(data[kind], data[kind], 3)
    plain = class_incremental((X, y), (X, y), 3)
    assert contents(bench.train_stream) == contents(plain.train_stream)
    first = bench.train_stream[0].dataset[0][0]
    assert first.dtype == torch.float32
    assert torch.equal(first, plain.train_stream[0].dataset[0][0])


def test_inputs_of_a_data_set_with_targets_are_not_read_in_advance() -> None:
    data = Labelled(*arrays())
    class_incremental(data, data, 3)
    assert data.reads == 0


def test_building_benchmarks_leaves_the_global_generators_alone() -> None:
    def states() -> tuple[list[int], list[int]]:
        of_numpy: Any = np.random.get_state()  # noqa: NPY002
        return torch.get_rng_state().tolist(), of_numpy[1].tolist()

    before = states()
    class_incremental(arrays(), arrays(), 3)
    permuted(arrays(), arrays(), 3, seed=5)
    assert states() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_tasks": 4}, r"6 classes do not divide into n_tasks=4.*\[1, 2, 3, 6\]"),
        ({"n_tasks": 0}, "n_tasks must be an integer >= 1, got 0"),
        ({"order": [0, 1, 2, 3, 4, 4]}, r"repeated: \[4\], missing: \[5\]"),
        ({"order": [0, 1, 2, 3, 4]}, r"missing: \[5\]"),
        ({"order": [0, 1, 2, 3, 4, 5, 9]}, r"unknown: \[9\]"),
        ({"order": [0.5, 1, 2, 3, 4, 5]}, "a class in order must be an integer"),
        ({"test": (arrays()[0][:5], arrays()[1][:5])}, r"only in train: \[5\]"),
        ({"train": (arrays()[0][:5], arrays()[1])}, "train has 5 inputs and 120 labels"),
        ({"train": (arrays()[0], arrays()[1] - 1)}, "labels of train must be integers >= 0"),
        ({"train": (arrays()[0], arrays()[1] + 0.5)}, "labels of train must be integers >= 0"),
        ({"train": (arrays()[0][:0], [])}, "at least one"),
        ({"train": (arrays()[0], np.eye(120))}, r"shape \(120, 120\)"),
        ({"train": (arrays()[0], ["a"] * 120)}, "labels of train must be integers"),
        ({"test": arrays()[0]}, r"test must be a pair \(X, y\) or a torch Dataset, got ndarray"),
    ],
)
def test_wrong_data_are_refused(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"train": arrays(), "test": arrays(), "n_tasks": 3} | changes
    train, test = arguments.pop("train"), arguments.pop("test")
    with pytest.raises(InvalidArgumentError, match=message):
        class_incremental(train, test, **arguments)


def test_permuted_tasks_hold_all_examples_with_their_features_moved() -> None:
    X, y = arrays()
    bench = permuted((X, y), (X, y), 3, seed=7)
    for task, (train, test) in enumerate(zip(bench.train_stream, bench.test_stream, strict=True)):
        order = input_permutation(X.shape[1], task, seed=7).numpy()
        assert sorted(order) == list(range(X.shape[1]))
        assert (task == 0) == (order.tolist() == sorted(order))
        assert sorted(train.classes_in_this_experience) == [0, 1, 2, 3, 4, 5]
        for stream in (train, test):
            rows = {tuple(stream.dataset[i][0].tolist()): stream.dataset[i][1] for i in range(120)}
            assert rows == {tuple(X[i, order].tolist()): y[i] for i in range(120)}


def test_permuted_images_keep_their_shape() -> None:
    X, y = arrays()
    images = X.reshape(-1, 1, 3, 4)
    bench = permuted((images, y), (images, y), 2)
    assert bench.train_stream[1].dataset[0][0].shape == (1, 3, 4)


def test_a_permutation_depends_on_seed_and_task_alone() -> None:
    first = input_permutation(50, 2, seed=1)
    assert torch.equal(first, input_permutation(50, 2, seed=1))
    assert not torch.equal(first, input_permutation(50, 3, seed=1))
    assert not torch.equal(first, input_permutation(50, 2, seed=2))


@pytest.mark.parametrize("arguments", [{"seed": -1, "n_tasks": 1}, {"n_tasks": 0}])
def test_wrong_arguments_of_permuted_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError):
        permuted(arrays(), arrays(), **arguments)
