"""What do a continual learner's connections cost in memory and in operations?

Both are facts of the allocation: dense tensors with masks realise neither.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_INDEX_BYTES = 4


@dataclass(frozen=True)
class Memory:
    """What has to be stored of a model's sparse layers.

    Attributes
    ----------
    weights, biases : int
        Values of allocated connections; values with one entry per unit that have been trained.
    value_bytes : int
        Bytes of both in the model's precision.
    index_bytes, bitmap_bytes : int
        Bytes to say where the connections are: 4 per connection, or 1 bit per position.
    dense_weights : int
        Weights of the same layers without sparsity.
    """

    weights: int
    biases: int
    value_bytes: int
    index_bytes: int
    bitmap_bytes: int
    dense_weights: int


def measure_memory(
    weights: int, connections: int, positions: int, biases: int, dtype: torch.dtype, dense: int
) -> Memory:
    """Return what values and indices need.

    Parameters
    ----------
    weights, connections : int
        Allocated weights, and the connections they form.
    positions : int
        Positions a connection could have.
    biases : int
        Trained values with one entry per unit.
    dtype : torch.dtype
        Of the values.
    dense : int
        Weights without sparsity.
    """
    return Memory(
        weights=weights,
        biases=biases,
        value_bytes=(weights + biases) * dtype.itemsize,
        index_bytes=connections * _INDEX_BYTES,
        bitmap_bytes=(positions + 7) // 8,
        dense_weights=dense,
    )


def count_positions(
    model: nn.Module, names: Iterable[str], example_input: Tensor
) -> dict[str, float]:
    """Return how often each weight of the named layers is used per example.

    Once in a linear layer, once for every position of the output map in a convolution.

    Parameters
    ----------
    model : nn.Module
        Run once in evaluation mode.
    names : iterable of str
        Linear or convolutional modules.
    example_input : Tensor
        A batch of inputs.

    Examples
    --------
    >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3))
    >>> count_positions(model, ["0", "2"], torch.zeros(5, 1, 4, 4))
    {'0': 4.0, '2': 1.0}
    """
    counts = dict.fromkeys(names, 0.0)

    def note(name: str, output: Tensor) -> None:
        units = model.get_submodule(name).get_parameter("weight").shape[0]
        counts[name] += output.numel() / units / len(example_input)

    hooks = [
        model.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: note(name, output)
        )
        for name in counts
    ]
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        with torch.no_grad():
            model(example_input)
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes.items():
            module.training = training
    return counts


def count_flops(weights: Mapping[str, int], positions: Mapping[str, float]) -> float:
    """Return forward FLOPs per example: 2 for each weight at each position.

    Examples
    --------
    >>> count_flops({"0": 18, "2": 24}, {"0": 4.0, "2": 1.0})
    192.0
    """
    return sum(2 * count * positions[name] for name, count in weights.items())
