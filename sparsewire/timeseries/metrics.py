"""How good is a forecast, and how well do detected change points agree with people's?

Forecasts: mean squared and absolute error over *all* windows, steps and channels, accumulated as
sums, so that the number does not depend on how the windows were batched; means of batch means do.

Change points follow TCPD (van den Burg and Williams, "An evaluation of change point detection
algorithms", 2020): a change point is the 0-based index of the first sample of a new segment,
several annotators marked each series, and a method is compared with each of them. Where TCPD's own
code goes through change points in the order of a hash table, they are taken in increasing order.

Accuracy and the other scores of classifiers are scikit-learn's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsewire.core._validation import check_integer
from sparsewire.core.errors import InvalidArgumentError

Annotations = Mapping[Any, Iterable[int]]
"""For each annotator, the change points; an empty one says that the series does not change."""


@dataclass(frozen=True, kw_only=True)
class ErrorSums:
    """Sums of squared and absolute errors, which batches add up to.

    Parameters
    ----------
    squared, absolute : float, default=0.0
        Sums over all numbers seen.
    count : int, default=0
        How many numbers were seen.

    Examples
    --------
    >>> total = ErrorSums()
    >>> for truth, forecast in [([1.0, 2.0], [1.0, 4.0]), ([3.0], [0.0])]:
    ...     total += ErrorSums.of(truth, forecast)
    >>> round(total.mse, 3), round(total.mae, 3), total.count
    (4.333, 1.667, 3)
    """

    squared: float = 0.0
    absolute: float = 0.0
    count: int = 0

    @classmethod
    def of(cls, y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> ErrorSums:
        """Sum the errors of one batch.

        Parameters
        ----------
        y_true, y_pred : array-like of the same shape
            Finite numbers; nothing is broadcast.

        Returns
        -------
        ErrorSums
            The sums, taken in float64 whatever the dtypes.

        Raises
        ------
        InvalidArgumentError
            If shapes differ or a number is not finite.
        """
        truth = np.asarray(y_true, dtype=np.float64)
        forecast = np.asarray(y_pred, dtype=np.float64)
        if truth.shape != forecast.shape:
            raise InvalidArgumentError(
                f"y_true has shape {truth.shape} and y_pred {forecast.shape}; they must be equal."
            )
        for name, values in (("y_true", truth), ("y_pred", forecast)):
            if not np.isfinite(values).all():
                wrong = int((~np.isfinite(values)).sum())
                raise InvalidArgumentError(
                    f"{name} holds {wrong} values that are NaN or infinite; errors are defined for "
                    "finite numbers only."
                )
        error = forecast - truth
        return cls(
            squared=float((error * error).sum()),
            absolute=float(np.abs(error).sum()),
            count=error.size,
        )

    def __add__(self, other: ErrorSums) -> ErrorSums:
        return ErrorSums(
            squared=self.squared + other.squared,
            absolute=self.absolute + other.absolute,
            count=self.count + other.count,
        )

    @property
    def mse(self) -> float:
        """Mean squared error of all numbers seen."""
        return self.squared / self._counted()

    @property
    def rmse(self) -> float:
        """Root of the mean squared error."""
        return math.sqrt(self.mse)

    @property
    def mae(self) -> float:
        """Mean absolute error of all numbers seen."""
        return self.absolute / self._counted()

    def _counted(self) -> int:
        if not self.count:
            raise InvalidArgumentError("there is no mean error of no values; add a batch first.")
        return self.count


def mse(y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> float:
    """Return the mean squared error over all entries.

    Parameters
    ----------
    y_true, y_pred : array-like of the same shape
        Finite numbers, at least one.

    Returns
    -------
    float
        The mean; :class:`ErrorSums` gives the same number batch by batch.

    Raises
    ------
    InvalidArgumentError
        If shapes differ, a number is not finite, or there is none.

    Examples
    --------
    >>> mse([[1.0, 2.0]], [[1.0, 4.0]])
    2.0
    """
    return ErrorSums.of(y_true, y_pred).mse


def mae(y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> float:
    """Return the mean absolute error over all entries.

    Parameters
    ----------
    y_true, y_pred : array-like of the same shape
        Finite numbers, at least one.

    Returns
    -------
    float
        The mean; :class:`ErrorSums` gives the same number batch by batch.

    Raises
    ------
    InvalidArgumentError
        If shapes differ, a number is not finite, or there is none.

    Examples
    --------
    >>> mae([[1.0, 2.0]], [[1.0, 4.0]])
    1.0
    """
    return ErrorSums.of(y_true, y_pred).mae


def f1_score_with_margin(
    annotations: Annotations, change_points: Iterable[int], *, margin: int = 5
) -> float:
    """Return TCPD's F1 score of detected change points against several annotators.

    Index 0 counts as a change point for everyone. A true change point is found if an unused
    detected one is at most `margin` away; true ones are taken in increasing order, and each uses up
    the nearest detected one, the earlier of two equally near. Precision is the share of detected
    ones used by the union of all annotators; recall is averaged over annotators.

    Parameters
    ----------
    annotations : mapping of annotator to iterable of int
        Change points of at least one annotator; an annotator may have none.
    change_points : iterable of int
        The detected ones, in any order.
    margin : int, default=5
        Largest distance of a match, at least 0; 5 is TCPD's.

    Returns
    -------
    float
        ``2 P R / (P + R)``, in (0, 1].

    Raises
    ------
    InvalidArgumentError
        If there is no annotator, a change point is no index from 0 on, or `margin` is below 0.

    Examples
    --------
    >>> f1_score_with_margin({1: [10, 20], 2: [11, 20], 3: [10], 4: [0, 5]}, [10, 20])
    1.0
    """
    check_integer("margin", margin, minimum=0)
    truths = [{0, *points} for points in _annotated(annotations)]
    detected = {0, *_points("change_points", change_points)}
    precision = _n_matched(set().union(*truths), detected, margin) / len(detected)
    recalls = [_n_matched(truth, detected, margin) / len(truth) for truth in truths]
    recall = sum(recalls) / len(recalls)
    return 2 * precision * recall / (precision + recall)


def covering(annotations: Annotations, change_points: Iterable[int], n_samples: int) -> float:
    """Return how well the detected segments cover those of the annotators.

    For each annotator, the mean over samples of the largest intersection over union that the
    sample's segment has with a detected segment; then the mean over annotators.

    Parameters
    ----------
    annotations : mapping of annotator to iterable of int
        Change points of at least one annotator; an annotator may have none.
    change_points : iterable of int
        The detected ones, in any order.
    n_samples : int
        Length of the series, at least 1.

    Returns
    -------
    float
        In (0, 1]; 1 if all annotators agree with the detected change points.

    Raises
    ------
    InvalidArgumentError
        If there is no annotator, or a change point is not in ``[0, n_samples)``.

    Examples
    --------
    >>> round(covering({1: [10, 20], 2: [10], 3: [0, 5]}, [10, 20], 45), 6)
    0.796296
    """
    n_samples = check_integer("n_samples", n_samples, minimum=1)
    detected = _bounds(_points("change_points", change_points, n_samples), n_samples)
    scores = [
        _covering_of_one(_bounds(points, n_samples), detected)
        for points in _annotated(annotations, n_samples)
    ]
    return sum(scores) / len(scores)


def detection_delay(
    change_points: Iterable[int], detected_at: Iterable[int]
) -> npt.NDArray[np.float64]:
    """Return how many samples after each true change the first alarm came.

    Parameters
    ----------
    change_points : iterable of int
        True change points, in any order.
    detected_at : iterable of int
        Indices of the samples at whose arrival a detector raised an alarm, in any order.

    Returns
    -------
    ndarray of float64 of shape (n_change_points,)
        In increasing order of the change points, the delay of the first alarm at or after each and
        before the next one; NaN where there is none, so ``numpy.nanmean`` is the mean delay and
        ``numpy.isnan`` marks the missed changes.

    Raises
    ------
    InvalidArgumentError
        If an entry is no index from 0 on.

    Examples
    --------
    >>> detection_delay([100, 200, 300], detected_at=[104, 150, 301])
    array([ 4., nan,  1.])
    """
    changes = np.array(_points("change_points", change_points), dtype=np.float64)
    alarms = np.array([*_points("detected_at", detected_at), math.inf])
    first = alarms[np.searchsorted(alarms, changes)]
    return np.where(first < np.append(changes[1:], math.inf), first - changes, math.nan)


def to_ruptures(change_points: Iterable[int], n_samples: int) -> list[int]:
    """Write change points as the package ruptures does: ends of segments, with the last one.

    Parameters
    ----------
    change_points : iterable of int
        First samples of new segments, in any order; 0 starts the first segment and is left out.
    n_samples : int
        Length of the series, at least 1.

    Returns
    -------
    list of int
        Increasing, ending with `n_samples`.

    Raises
    ------
    InvalidArgumentError
        If a change point is not in ``[0, n_samples)``.

    Examples
    --------
    >>> to_ruptures([20, 10], 45)
    [10, 20, 45]
    """
    n_samples = check_integer("n_samples", n_samples, minimum=1)
    points = _points("change_points", change_points, n_samples)
    return [*(point for point in points if point > 0), n_samples]


def from_ruptures(breakpoints: Iterable[int]) -> list[int]:
    """Read the breakpoints of the package ruptures: ends of segments, the last one the length.

    Parameters
    ----------
    breakpoints : iterable of int
        What ruptures' ``predict`` returns; at least the length.

    Returns
    -------
    list of int
        First samples of new segments, increasing.

    Raises
    ------
    InvalidArgumentError
        If there is no entry, or one is no index from 0 on.

    Examples
    --------
    >>> from_ruptures([10, 20, 45])
    [10, 20]
    """
    points = _points("breakpoints", breakpoints)
    if not points:
        raise InvalidArgumentError("breakpoints must end with the length of the series, got none.")
    return list(points[:-1])


def _points(name: str, points: Iterable[int], stop: int | None = None) -> tuple[int, ...]:
    """Sort out and check indices."""
    found = sorted({check_integer(f"an entry of {name}", point, minimum=0) for point in points})
    if stop is not None and found and found[-1] >= stop:
        raise InvalidArgumentError(
            f"{name} holds {found[-1]}, but the series has {stop} samples; a change point is the "
            f"0-based index of the first sample of a segment, in [0, {stop})."
        )
    return tuple(found)


def _annotated(annotations: Annotations, stop: int | None = None) -> list[tuple[int, ...]]:
    if not isinstance(annotations, Mapping) or not annotations:
        raise InvalidArgumentError(
            "annotations must map at least one annotator to change points, {'1': [10, 20]}; one "
            f"that saw no change has an empty list. Got {annotations!r}."
        )
    return [_points(f"annotations[{who!r}]", found, stop) for who, found in annotations.items()]


def _n_matched(truth: set[int], detected: set[int], margin: int) -> int:
    unused = set(detected)
    for point in sorted(truth):
        near = min(unused, key=lambda one: (abs(one - point), one), default=None)
        if near is not None and abs(near - point) <= margin:
            unused.remove(near)
    return len(detected) - len(unused)


def _bounds(points: tuple[int, ...], n_samples: int) -> npt.NDArray[np.int64]:
    """Where segments start, and the end of the last one."""
    return np.array([0, *(point for point in points if point > 0), n_samples])


def _covering_of_one(truth: npt.NDArray[np.int64], detected: npt.NDArray[np.int64]) -> float:
    start, stop = truth[:-1, np.newaxis], truth[1:, np.newaxis]
    # Negative for segments apart from each other; the best of every row is one that overlaps.
    common = np.minimum(stop, detected[1:]) - np.maximum(start, detected[:-1])
    union = (stop - start) + np.diff(detected) - common
    best = (common / union).max(axis=1)
    return float((best * np.diff(truth)).sum() / truth[-1])
