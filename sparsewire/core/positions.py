"""How are sets of positions combined without an array of all positions?

A set of connections is an int64 tensor of distinct flat positions in ascending order. Everything
here costs O(n log n) time and O(n) memory in the number n of positions given, whatever the size of
the layer they lie in, and runs on the device of its arguments. Arguments are not checked.
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor


def _insertions(members: Tensor, positions: Tensor, *, right: bool = False) -> Tensor:
    """Return where in a set positions would be inserted; numpy is several times faster at it."""
    if members.is_cpu and positions.is_cpu:
        side: Literal["left", "right"] = "right" if right else "left"
        return torch.from_numpy(np.searchsorted(members.numpy(), positions.numpy(), side))
    return torch.searchsorted(members, positions, right=right)


def ascending(positions: Tensor) -> Tensor:
    """Return positions in ascending order: themselves if they are.

    Examples
    --------
    >>> import torch
    >>> ascending(torch.tensor([5, 2, 7]))
    tensor([2, 5, 7])
    """
    in_order = bool((positions[1:] >= positions[:-1]).all())
    return positions if in_order else positions.sort().values


def contains(members: Tensor, positions: Tensor) -> Tensor:
    """Tell which positions belong to a set.

    Parameters
    ----------
    members : Tensor, shape (n,), int64
        The set: distinct positions in ascending order.
    positions : Tensor, shape (m,), int64
        Any positions, in any order.

    Returns
    -------
    Tensor, shape (m,), bool
        True where the position is in the set.

    Examples
    --------
    >>> import torch
    >>> contains(torch.tensor([2, 5, 7]), torch.tensor([7, 3, 2, 9]))
    tensor([ True, False,  True, False])
    """
    if members.numel() == 0:
        return torch.zeros_like(positions, dtype=torch.bool)
    place = _insertions(members, positions).clamp_(max=members.numel() - 1)
    return members[place] == positions


def without(members: Tensor, removed: Tensor) -> Tensor:
    """Return what is left of a set when another is taken away.

    Parameters
    ----------
    members : Tensor, shape (n,), int64
        The set: distinct positions in ascending order.
    removed : Tensor, shape (m,), int64
        Any positions, in any order, also such as are not in the set.

    Returns
    -------
    Tensor, int64
        Ascending.

    Examples
    --------
    >>> import torch
    >>> without(torch.tensor([2, 5, 7]), torch.tensor([5, 6]))
    tensor([2, 7])
    """
    staying = torch.ones_like(members, dtype=torch.bool)
    if members.numel():
        place = _insertions(members, removed).clamp_(max=members.numel() - 1)
        staying[place[members[place] == removed]] = False
    return members[staying]


def free_at(ranks: Tensor, taken: Tensor) -> Tensor:
    """Return the positions that hold given ranks among those that are not taken.

    Parameters
    ----------
    ranks : Tensor, shape (m,), int64
        Ranks from 0 on, in any order.
    taken : Tensor, shape (n,), int64
        Distinct positions in ascending order.

    Returns
    -------
    Tensor, shape (m,), int64
        For rank r the position that has exactly r free ones before it, in the order of `ranks`.

    Examples
    --------
    >>> import torch
    >>> free_at(torch.tensor([0, 1, 2, 3]), torch.tensor([0, 2, 3]))  # 1, 4, 5, 6 are free
    tensor([1, 4, 5, 6])
    """
    free_before = torch.arange(taken.numel(), device=taken.device)
    torch.sub(taken, free_before, out=free_before)
    return ranks + _insertions(free_before, ranks, right=True)
