"""How is a sparse perceptron trained, epoch by epoch?

A `Trainer` joins network, optimizer and topology. Everything drawn in an epoch follows from the
seed and the number of the epoch, so a run can be cut anywhere between two epochs. When to stop is
the business of `sparsewire.neural_network.progress`.

References
----------
Mocanu et al. (2018), Nature Communications 9:2383, for SET; Curci, Mocanu & Pechenizkiy (2021),
arXiv:2102.01732, for importance pruning.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from sparsewire.core import (
    InvalidArgumentError,
    Method,
    NonFiniteError,
    SetEpsilon,
    TrainingDivergedError,
    sparsify,
)
from sparsewire.core.placement import Storage
from sparsewire.neural_network.network import (
    Perceptron,
    Rows,
    dense_rows,
    in_batches,
    n_connections,
)

PRUNING_INTERVAL = 10
"""Epochs between two rounds of importance pruning, as in the released code."""

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Table:
    """Rows with their targets.

    Parameters
    ----------
    X : ndarray or CSR matrix, shape (n_samples, n_features)
        The rows.
    target : Tensor, shape (n_samples,) or (n_samples, n_outputs)
        Class indices (int64) or values (float32).
    train : ndarray of int
        Rows to train on.
    held_out : ndarray of int, or None
        Rows that judge the network after each epoch.
    """

    X: Any
    target: Tensor
    train: Rows
    held_out: Rows | None


def split(X: Any, target: Tensor, share: float, seed: int) -> Table:
    """Return all rows, a share of them held out at random, stratified if the target is a class.

    Raises
    ------
    InvalidArgumentError
        If the share is above 0 but less than two rows.
    """
    rows = np.arange(len(target))
    if not share:
        return Table(X, target, rows, None)
    classes = None if target.is_floating_point() else target.numpy()
    train, held_out = train_test_split(rows, test_size=share, random_state=seed, stratify=classes)
    if len(held_out) < 2:
        raise InvalidArgumentError(
            f"validation_fraction={share} of {len(rows)} rows is less than two rows; raise it, or "
            "give more rows."
        )
    return Table(X, target, train, held_out)


class Trainer:
    """A network in training.

    Parameters
    ----------
    network : Perceptron
        Made for this `epsilon` and `storage`; filled here.
    method : Method
        Topology updates of the hidden layers.
    epsilon : float
        ``epsilon * (n_in + n_out)`` connections per layer.
    solver : {"sgd", "adam"}
        Optimizer.
    learning_rate, momentum, weight_decay : float
        Momentum is that of "sgd". The decay is decoupled: every step takes this share off all
        weights and biases, whatever the learning rate.
    loss : callable
        ``loss(outputs, targets)``, a scalar.
    storage : {"csr", "masked", "auto"}
        How connections are stored.
    generator : torch.Generator
        Source of the initial weights.
    seed : int
        Seed of topology and epochs.

    Attributes
    ----------
    epoch : int
        Epochs completed.
    """

    def __init__(
        self,
        network: Perceptron,
        *,
        method: Method,
        epsilon: float,
        solver: str,
        learning_rate: float,
        momentum: float,
        weight_decay: float,
        loss: Loss,
        storage: Storage,
        generator: torch.Generator,
        seed: int,
    ) -> None:
        self.network = network
        self.optimizer: torch.optim.Optimizer = (
            torch.optim.Adam(network.parameters(), lr=learning_rate)
            if solver == "adam"
            else torch.optim.SGD(network.parameters(), lr=learning_rate, momentum=momentum)
        )
        self.handle = sparsify(
            network,
            self.optimizer,
            method=method,
            allocation=SetEpsilon(epsilon),
            exclude="output",
            storage=storage,
            seed=seed,
        )
        network.draw_(generator)
        self.weight_decay = weight_decay
        self.loss = loss
        self.seed = seed
        self.epoch = 0

    def run_epoch(self, table: Table, batch_size: int, shuffle: bool) -> float:
        """Train on the rows to train on, once.

        Returns
        -------
        float
            Mean loss, each batch's taken before its step.

        Raises
        ------
        TrainingDivergedError
            If loss or weights are no longer finite.
        """
        order = np.random.default_rng([self.seed, self.epoch])
        noise = torch.Generator(device="cpu").manual_seed(int(order.integers(2**63)))
        total = 0.0
        for rows in in_batches(table.train, batch_size, order if shuffle else None):
            x, target = dense_rows(table.X, rows), table.target[torch.from_numpy(rows)]
            total += self._step(x, target, noise) * len(rows)
        if not all(bool(torch.isfinite(p).all()) for p in self.network.parameters()):
            raise self._diverged()
        self.epoch += 1
        return total / len(table.train)

    def _step(self, x: Tensor, target: Tensor, noise: torch.Generator) -> float:
        loss = self.loss(self.network(x, noise), target)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise self._diverged()
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        if self.weight_decay:
            with torch.no_grad():
                for parameter in self.network.parameters():
                    parameter.mul_(1 - self.weight_decay)
        try:
            self.optimizer.step()
        except NonFiniteError as error:
            raise self._diverged() from error
        return value

    def _diverged(self) -> TrainingDivergedError:
        rate = self.optimizer.param_groups[0]["lr"]
        return TrainingDivergedError(
            f"training diverged in epoch {self.epoch + 1}: loss or weights are not finite. Lower "
            f"learning_rate_init={rate}, or scale the features, and the target of a regression, "
            "for example with StandardScaler and TransformedTargetRegressor."
        )

    def prune_neurons(self, share: float, begin: int) -> None:
        """Remove the connections into the weakest neurons if a round is due after this epoch."""
        since = self.epoch - begin
        if since >= 0 and since % PRUNING_INTERVAL == 0:
            self.handle.prune_neurons(share, ["hidden.*"])

    def n_connections(self) -> int:
        """Return the number of connections of all layers together."""
        return sum(n_connections(layer) for layer in self.network.layers)

    def snapshot(self) -> dict[str, Any]:
        """Return a copy of everything that training changes, but for the number of epochs."""
        return copy.deepcopy(
            {
                "model": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "handle": self.handle.state_dict(),
            }
        )

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go back to a `snapshot`."""
        snapshot = copy.deepcopy(snapshot)  # the optimizer goes on with the very tensors it loads
        self.optimizer.load_state_dict(snapshot["optimizer"])
        self.network.load_state_dict(snapshot["model"])
        self.handle.load_state_dict(snapshot["handle"])
        self.handle.verify()
