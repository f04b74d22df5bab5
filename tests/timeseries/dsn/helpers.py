"""Small classifiers, small problems, and networks without a classifier around them."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sparsewire.core import SparsityHandle
from sparsewire.timeseries.dsn import DSNClassifier
from sparsewire.timeseries.dsn.network import Architecture, DSNNetwork
from sparsewire.timeseries.dsn.topology import Exploration, make_sparse

Floats = npt.NDArray[np.float64]


def small(**parameters: Any) -> DSNClassifier:
    """Return a classifier that trains in a fraction of a second."""
    chosen = {"n_filters": 3, "depth": 2, "kernel_size": 9, "n_epochs": 4, "random_state": 0}
    return DSNClassifier(**chosen | parameters)


def waves(n: int = 20, length: int = 30, channels: int = 1) -> tuple[Floats, npt.NDArray[Any]]:
    """Return slow and fast sines of random phase."""
    rng = np.random.default_rng(0)
    y = np.where(np.arange(n) % 2, "slow", "fast")
    speed = np.where(y == "slow", 0.25, 0.6)[:, None, None]
    phase = rng.uniform(0, 6, (n, channels, 1))
    X = np.sin(speed * np.arange(length) + phase) + 0.1 * rng.normal(size=(n, channels, length))
    return X, y


def architecture(**sizes: Any) -> Architecture:
    chosen: dict[str, Any] = {
        "n_channels": 1,
        "n_classes": 2,
        "n_filters": 47,
        "depth": 4,
        "kernel_size": 39,
        "n_groups": 3,
        "padding": "centre",
        "pad_value": "zero",
    }
    return Architecture(**chosen | sizes)


def sparse_network(
    shape: Architecture, exploration: Exploration | None = None, **options: Any
) -> tuple[DSNNetwork, SparsityHandle]:
    network = DSNNetwork(shape)
    network.draw_(0)
    chosen: dict[str, Any] = {"density": 0.2, "topology": "dynamic", "init": "left", "seed": 0}
    handle = make_sparse(
        network,
        torch.optim.Adam(network.parameters(), lr=0.01),
        exploration=exploration or Exploration(2, 10),
        **chosen | options,
    )
    return network, handle
