"""Which networks do the benchmarks train? A perceptron and a small convolutional network.

Weights are uniform with Xavier's limits and biases 0, as in SpaceNet's released script, and depend
on the seed and the names of the layers alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sparsewire.core.errors import InvalidArgumentError
from sparsewire.core.network import seeded_generator


def make_network(
    kind: str,
    shape: Sequence[int],
    hidden: Sequence[int],
    n_classes: int,
    *,
    seed: int = 0,
) -> nn.Module:
    """Make a network.

    Parameters
    ----------
    kind : {"mlp", "cnn"}
        A perceptron with the `hidden` layers, or AFAF's network (Sokar et al., 2022,
        arXiv:2110.05329): three 3 x 3 convolutions without padding, the second and third with
        pooling behind, and two hidden linear layers.
    shape : sequence of int
        Channels, height and width of an image.
    hidden : sequence of int
        Units of the hidden layers; five for a "cnn".
    n_classes : int
        Outputs.
    seed : int, default=0
        Of the initial weights.

    Returns
    -------
    nn.Module
        The network.

    Raises
    ------
    InvalidArgumentError
        If `hidden` does not fit.

    Examples
    --------
    >>> make_network("mlp", (1, 8, 8), [20, 20], 10)
    Sequential(
      (flatten): Flatten(start_dim=1, end_dim=-1)
      (fc1): Linear(in_features=64, out_features=20, bias=True)
      (relu1): ReLU()
      (fc2): Linear(in_features=20, out_features=20, bias=True)
      (relu2): ReLU()
      (classifier): Linear(in_features=20, out_features=10, bias=True)
    )
    """
    sound = all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in hidden)
    if not sound or len(hidden) < 1 or (kind == "cnn" and len(hidden) != 5):
        wanted = "five" if kind == "cnn" else "one or more"
        raise InvalidArgumentError(
            f"hidden must be {wanted} numbers of units >= 1, such as "
            f"{[16, 32, 64, 512, 512] if kind == 'cnn' else [400, 400]}, got {list(hidden)!r}."
        )
    network = nn.Sequential()
    inputs = shape[0] * shape[1] * shape[2]
    if kind == "cnn":
        inputs = _add_convolutions(network, shape, hidden[:3])
        hidden = hidden[3:]
    network.add_module("flatten", nn.Flatten())
    for place, units in enumerate(hidden, start=1):
        network.add_module(f"fc{place}", nn.Linear(inputs, units, device="meta"))
        network.add_module(f"relu{place}", nn.ReLU())
        inputs = units
    network.add_module("classifier", nn.Linear(inputs, n_classes, device="meta"))
    network.to_empty(device="cpu")  # made without weights, so torch's global generator is unused
    _initialise(network, seed)
    return network


def _add_convolutions(network: nn.Sequential, shape: Sequence[int], channels: Sequence[int]) -> int:
    """Append the convolutions and return how many numbers they make of an image."""
    inputs, height, width = shape
    for number, outputs in enumerate(channels, start=1):
        convolution = nn.Conv2d(inputs, outputs, 3, device="meta")
        network.add_module(f"conv{number}", convolution)
        network.add_module(f"convrelu{number}", nn.ReLU())
        inputs, height, width = outputs, height - 2, width - 2
        if number > 1:
            network.add_module(f"pool{number}", nn.MaxPool2d(2))
            height, width = height // 2, width // 2
    return inputs * height * width


@torch.no_grad()
def _initialise(network: nn.Module, seed: int) -> None:
    for name, parameter in network.named_parameters():
        if parameter.ndim > 1:
            generator = seeded_generator(seed, name, "network")
            nn.init.xavier_uniform_(parameter, generator=generator)
        else:
            parameter.zero_()


def dense_flops(network: nn.Module, example: Tensor) -> int:
    """Return the forward FLOPs of a dense network for one example, 2 per multiply-accumulate.

    Examples
    --------
    >>> dense_flops(nn.Linear(3, 2), torch.zeros(5, 3))
    12
    """
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(example)
    return int(counter.get_total_flops()) // len(example)
