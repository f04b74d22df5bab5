"""Which rows is a classifier validated on, and how good is it there?

The rows that selectors trained on a target keep back to notice when training stops helping, and the
loss on them. When to stop is up to the selector.
"""

import warnings
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from sparsewire.featsel.rows import RowScaler


def hold_out(
    y: npt.NDArray[np.int64], fraction: float, generator: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Split rows at random into rows to learn from and rows to validate on.

    Parameters
    ----------
    y : ndarray of int64, shape (n,)
        Class of each row. Both parts have the same shares of classes, up to one row per class, if
        every class has more than one row; else a UserWarning says that they may not.
    fraction : float
        Share to validate on, in [0, 1), of the rows rounded down.
    generator : numpy.random.Generator
        Source of the split.

    Returns
    -------
    learnt, held_out : ndarray of int64
        Row indices, ascending.

    Examples
    --------
    >>> y = np.array([0, 0, 1, 1, 1, 1])
    >>> learnt, held_out = hold_out(y, 0.5, np.random.default_rng(0))
    >>> sorted(y[held_out].tolist())
    [0, 1, 1]
    """
    order = generator.permutation(len(y))
    counts = np.bincount(y)
    if counts[counts > 0].min() > 1:
        order = order[np.argsort(y[order], kind="stable")]
    elif fraction:
        warnings.warn(
            "a class of y has one member only, so the rows for validation are not stratified.",
            UserWarning,
            stacklevel=4,
        )
    # Evenly spaced in that order, so each class gives its share.
    held_out = np.diff(np.floor(np.arange(len(y) + 1) * fraction)) > 0
    return np.sort(order[~held_out]), np.sort(order[held_out])


class LabelledRows:
    """Scaled rows and their labels, batch by batch, on a device.

    Parameters
    ----------
    rows : RowScaler
        The rows.
    labels : Tensor, shape (n,), int64
        Class of each, on the device.
    batch_size : int
        Rows per batch.
    """

    def __init__(self, rows: RowScaler, labels: Tensor, batch_size: int) -> None:
        self._rows = rows
        self._labels = labels
        self._batch_size = batch_size

    def load(self, index: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return the scaled rows, shape (len(index), d), and their labels."""
        device = self._labels.device
        return self._rows.tensor(index).to(device), self._labels[torch.from_numpy(index).to(device)]

    @torch.no_grad()
    def loss(self, network: Callable[[Tensor], Tensor], index: npt.NDArray[np.int64]) -> float:
        """Return the mean cross-entropy of some rows."""
        total = 0.0
        for start in range(0, len(index), self._batch_size):
            x, labels = self.load(index[start : start + self._batch_size])
            total += float(cross_entropy(network(x), labels, reduction="sum"))
        return total / len(index)
