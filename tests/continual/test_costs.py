"""Memory and operations, against numbers worked out by hand."""

import pytest
import torch
from torch import nn

from sparsewire.continual.costs import count_flops, count_positions, measure_memory
from sparsewire.continual.spacenet import SpaceNet
from sparsewire.core.errors import InvalidArgumentError
from tests.continual.isolation_helpers import TASKS, begin, learn, make


def test_memory_counts_values_indices_and_bits() -> None:
    found = measure_memory(
        weights=90, connections=10, positions=33, biases=5, dtype=torch.float64, dense=300
    )
    assert (found.value_bytes, found.index_bytes, found.bitmap_bytes) == (95 * 8, 40, 5)


def test_positions_are_counted_per_example_and_leave_the_model_as_it_was() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 4, 1),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(4 * 16, 5),
    )
    model[1].eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    found = count_positions(model, ["0", "2", "5"], torch.randn(7, 3, 8, 8))
    assert found == {"0": 16, "2": 16, "5": 1}
    assert all(torch.equal(before[name], now) for name, now in model.state_dict().items())
    assert [m.training for m in model] == [True, False, True, True, True, True]
    assert not any(m._forward_hooks for m in model)


def test_hooks_and_modes_are_put_back_after_an_error() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    with pytest.raises(RuntimeError):
        count_positions(model, ["0"], torch.zeros(1, 4))
    assert model.training
    assert not model[0]._forward_hooks


def test_operations_are_two_per_weight_and_position() -> None:
    assert count_flops({"a": 3, "b": 5}, {"a": 4.0, "b": 1.0}) == 34


def test_the_published_network_of_split_mnist_costs_what_the_allocation_says() -> None:
    model = nn.Sequential(
        nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 400), nn.ReLU(), nn.Linear(400, 10)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    method = SpaceNet(model, optimizer, density=(0.15943877551, 0.25625, 0.5))
    example = torch.zeros(1, 784)
    assert method.dense_flops(example) == 2 * 477_600
    for task in range(5):
        method.begin_task([2 * task, 2 * task + 1])
        method.end_task()
        assert method.flops(example) == 2 * 11_720 * (task + 1)
        assert method.flops(example, task) == 2 * 11_720
    found = method.memory()
    assert (found.weights, found.dense_weights) == (58_600, 477_600)
    assert found.index_bytes == 58_600 * 4
    assert found.bitmap_bytes == 477_600 // 8
    assert found.biases == 5 * (80 + 80) + 10
    assert found.value_bytes == 4 * (58_600 + 810)


def test_a_convolution_is_charged_for_every_position_and_weight_of_its_kernels() -> None:
    method = make("strict", "cnn, flatten, batch norm")
    learn(method, TASKS[0])
    begin(method, TASKS[1])
    kernels, blocks, head = (method.connections()[name] for name in ("1", "7", "11"))
    example = torch.zeros(3, 16)
    assert method.flops(example) == 2 * (kernels * 9 * 16 + blocks * 4 + head)
    assert method.flops(example, 0) + method.flops(example, 1) == method.flops(example)
    assert method.dense_flops(example) == 2 * (20 * 9 * 16 + 80 * 30 + 30 * 8)
    memory = method.memory()
    assert memory.weights == kernels * 9 + blocks * 4 + head
    assert memory.index_bytes == 4 * (kernels + blocks + head)
    # Scale and shift of both normalisations of units, biases of two linear layers.
    assert memory.biases == 2 * (2 * 6) + 2 * (3 * 9) + 2 * 2


@pytest.mark.parametrize("task", [-1, 1, 99])
def test_there_are_no_operations_of_a_task_that_never_was(task: int) -> None:
    method = make("strict")
    learn(method, TASKS[0])
    with pytest.raises(InvalidArgumentError, match="below 1"):
        method.flops(torch.zeros(1, 16), task)
