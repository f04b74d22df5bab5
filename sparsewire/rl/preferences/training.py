"""How does an ensemble learn from preferences? In passes over all of them, one gradient at a time.

Every member sees the preferences in an order of its own, and the loss of a gradient step is the sum
of the members' losses, as in the released code of B-Pref (Lee et al., 2021, arXiv:2111.03026).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from sparsewire.core.errors import TrainingDivergedError
from sparsewire.core.network import seeded_generator
from sparsewire.rl.preferences.bradley_terry import count_correct, preference_loss
from sparsewire.rl.preferences.ensemble import RewardEnsemble


@dataclass(frozen=True)
class Fit:
    """How the training of a reward model went.

    Attributes
    ----------
    epochs : int
        Passes made.
    loss, accuracy : float
        Of the last pass, while it was made: mean cross-entropy of a member, and mean share of the
        decided preferences it agreed with (NaN if none was decided).
    """

    epochs: int
    loss: float
    accuracy: float


class Pairs(NamedTuple):
    """Preferences as tensors: steps of shape (n, length, n_inputs), and labels of shape (n,)."""

    first: Tensor
    second: Tensor
    labels: Tensor


def shuffled(
    n: int, batch_size: int, n_members: int, seed: int, epoch: int
) -> Iterator[list[Tensor]]:
    """Give the rows of each gradient step of a pass, for every member.

    Parameters
    ----------
    n, batch_size, n_members : int
        Numbers of rows, of rows in a step, and of members.
    seed, epoch : int
        All that the order depends on.

    Yields
    ------
    list of Tensor
        The rows of one step, one tensor per member.

    Examples
    --------
    >>> [len(rows[0]) for rows in shuffled(5, 2, n_members=3, seed=0, epoch=0)]
    [2, 2, 1]
    """
    orders = [
        torch.randperm(n, generator=seeded_generator(seed, f"members.{member}", epoch))
        for member in range(n_members)
    ]
    for start in range(0, n, batch_size):
        yield [order[start : start + batch_size] for order in orders]


def train_pass(
    ensemble: RewardEnsemble,
    optimizer: Optimizer,
    pairs: Pairs,
    steps: Iterator[list[Tensor]],
) -> tuple[float, float]:
    """Make one gradient step for each element of `steps`.

    Parameters
    ----------
    ensemble : RewardEnsemble
        What learns.
    optimizer : Optimizer
        Of its parameters.
    pairs : Pairs
        What it learns from.
    steps : iterator of list of Tensor
        Rows of `pairs` for every member.

    Returns
    -------
    loss, accuracy : float
        As in `Fit`.

    Raises
    ------
    TrainingDivergedError
        If a loss is NaN or infinite.
    """
    loss_sum, right, total, rows = 0.0, 0, 0, 0
    for members in steps:
        loss, correct, decided = _joint_loss(ensemble, pairs, members)
        if not bool(torch.isfinite(loss)):
            raise TrainingDivergedError(
                f"the loss of the reward model became {loss.item()}; look for NaN in the "
                "observations, or lower learning_rate."
            )
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        loss_sum += loss.item() * len(members[0])
        right, total, rows = right + correct, total + decided, rows + len(members[0])
    mean_loss = loss_sum / rows / len(ensemble.members)
    return mean_loss, right / total if total else float("nan")


def _joint_loss(
    ensemble: RewardEnsemble, pairs: Pairs, members: Sequence[Tensor]
) -> tuple[Tensor, int, int]:
    loss, right, total = torch.zeros((), device=pairs.labels.device), 0, 0
    for member, chosen in zip(ensemble.members, members, strict=True):
        rows = chosen.to(pairs.labels.device)
        first = member(pairs.first[rows]).squeeze(-1).sum(-1)
        second = member(pairs.second[rows]).squeeze(-1).sum(-1)
        loss = loss + preference_loss(first, second, pairs.labels[rows])
        correct, decided = count_correct(first.detach(), second.detach(), pairs.labels[rows])
        right, total = right + correct, total + decided
    return loss, right, total
