"""How likely is one of two segments preferred, given the rewards of their steps?

The model of Bradley & Terry (1952), as preference-based reinforcement learning uses it since
Christiano et al. (2017), arXiv:1706.03741: the odds of two segments are those of their
exponentiated sums of rewards, so the second is preferred with probability
``sigmoid(return_2 - return_1)``. Pure functions of tensors.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def preference_loss(first: Tensor, second: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of the model with the labels.

    Parameters
    ----------
    first, second : Tensor of shape (n,)
        Returns of the two segments of each pair: sums of predicted rewards.
    labels : Tensor of shape (n,)
        1 where the second is preferred, 0 where the first is, 0.5 where neither is.

    Returns
    -------
    Tensor of shape ()
        Its gradient with respect to ``second`` is ``(probability - label) / n``.

    Examples
    --------
    >>> one = torch.ones(1)
    >>> round(float(preference_loss(one, one, one)), 4)  # log 2
    0.6931
    """
    return F.binary_cross_entropy_with_logits(second - first, labels)


def count_correct(first: Tensor, second: Tensor, labels: Tensor) -> tuple[int, int]:
    """Count how many preferences the returns agree with, and how many there are to agree with.

    Parameters
    ----------
    first, second, labels : Tensor of shape (n,)
        As for `preference_loss`. Labels of 0.5 are left out; equal returns agree with none.

    Returns
    -------
    (int, int)
        Pairs in the preferred order, and pairs that have one.

    Examples
    --------
    >>> low, high = torch.zeros(3), torch.ones(3)
    >>> count_correct(low, high, torch.tensor([1.0, 0.0, 0.5]))
    (1, 2)
    """
    agreement = torch.sign(second - first) * torch.sign(labels - 0.5)
    return int((agreement > 0).sum()), int((labels != 0.5).sum())
