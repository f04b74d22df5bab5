"""How well were all tasks learnt, and how much was forgotten?

Functions of an accuracy matrix R, where R[i, j] is the accuracy on task j after learning task i.
Class-incremental and task-incremental accuracy have a matrix each.

References
----------
Lopez-Paz & Ranzato (2017), arXiv:1706.08840 (transfer); Chaudhry et al. (2019), arXiv:1812.00420
(learning curve area).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsewire.core.errors import InvalidArgumentError


def _matrix(accuracies: ArrayLike, *, above: bool = False) -> NDArray[np.float64]:
    """Return a square matrix, known on and below the diagonal (`above`: above it)."""
    matrix = np.asarray(accuracies, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise InvalidArgumentError(
            f"accuracies must be a square matrix (tasks, tasks), got shape {matrix.shape}."
        )
    needed = np.triu_indices_from(matrix, 1) if above else np.tril_indices_from(matrix)
    if np.isnan(matrix[needed]).any():
        side = "above the diagonal" if above else "on or below the diagonal"
        raise InvalidArgumentError(f"accuracies {side} are missing; evaluate them after each task.")
    return matrix


def average_accuracy(accuracies: ArrayLike) -> float:
    """Return ACC, the mean accuracy over all tasks after the last one.

    Parameters
    ----------
    accuracies : array-like, shape (tasks, tasks)
        The accuracy matrix; NaN above the diagonal is allowed.

    Examples
    --------
    >>> average_accuracy([[1.0, np.nan], [0.5, 0.9]])
    0.7
    """
    return float(_matrix(accuracies)[-1].mean())


def backward_transfer(accuracies: ArrayLike) -> float:
    """Return BWT, the mean change of earlier tasks' accuracy by the end; 0.0 for one task.

    Parameters
    ----------
    accuracies : array-like, shape (tasks, tasks)
        The accuracy matrix; NaN above the diagonal is allowed.

    Examples
    --------
    >>> backward_transfer([[1.0, np.nan], [0.5, 0.9]])
    -0.5
    """
    matrix = _matrix(accuracies)
    if len(matrix) == 1:
        return 0.0
    return float((matrix[-1] - matrix.diagonal())[:-1].mean())


def forward_transfer(accuracies: ArrayLike, baseline: ArrayLike) -> float:
    """Return FWT, how much better than at random initialisation tasks are before they are learnt.

    Parameters
    ----------
    accuracies : array-like, shape (tasks, tasks)
        The accuracy matrix; what is above the diagonal is needed.
    baseline : array-like, shape (tasks,)
        Accuracy on each task before any training.

    Examples
    --------
    >>> forward_transfer([[1.0, 0.6], [0.5, 0.9]], [0.5, 0.5])
    0.1
    """
    matrix = _matrix(accuracies, above=True)
    start = np.asarray(baseline, dtype=np.float64)
    if start.shape != (len(matrix),):
        raise InvalidArgumentError(
            f"baseline must have one accuracy for each of {len(matrix)} tasks, got shape "
            f"{start.shape}."
        )
    if len(matrix) == 1:
        return 0.0
    return float(round((matrix.diagonal(1) - start[1:]).mean(), 12))


def learning_curve_area(curves: Sequence[Sequence[float]], batches: int) -> float:
    """Return LCA, the mean accuracy during the first mini-batches of the tasks.

    Parameters
    ----------
    curves : sequence of sequence of float
        For each task its accuracy before and after 1, 2, ... mini-batches of its own training.
    batches : int
        Number b of mini-batches; the mean is over the first b + 1 values.

    Examples
    --------
    >>> learning_curve_area([[0.5, 0.7, 0.9], [0.5, 0.9, 0.9]], batches=1)
    0.65
    """
    if batches < 0 or not curves or any(len(curve) <= batches for curve in curves):
        raise InvalidArgumentError(
            f"batches must be >= 0 and every task's curve longer than it, got batches={batches} "
            f"and curves of {[len(curve) for curve in curves]} values."
        )
    return float(np.mean([curve[: batches + 1] for curve in curves]))
