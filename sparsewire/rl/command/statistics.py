"""How sure is a comparison of a few runs? Interquartile means and bootstrap intervals.

The recommendations of Agarwal et al. (2021), "Deep reinforcement learning at the edge of the
statistical precipice": scores are aggregated by the mean of the middle half, and uncertainty comes
from resampling the runs of each environment separately, a stratified bootstrap. SciPy does both:
`scipy.stats.bootstrap` resamples each of several samples by itself, and environments are samples.

A score is one number per run. `scores` are always a sequence with one array per environment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from sparsewire.core._validation import check_fraction
from sparsewire.core.errors import InvalidArgumentError

Floats = npt.NDArray[np.float64]
Aggregate = Literal["iqm", "mean", "median"]

RESAMPLES = 2000
"""Bootstrap samples: the ends of a 95 % interval then rest on 50 of them each."""


@dataclass(frozen=True)
class Interval:
    """An estimate and where it may lie.

    Attributes
    ----------
    estimate, low, high : float
        The estimate and a bootstrap interval; NaN as limits if an environment has only one run.
    """

    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return for example ``3.1 [2.9, 3.4]``."""
        if np.isnan(self.low):
            return f"{self.estimate:.4g}"
        return f"{self.estimate:.4g} [{self.low:.4g}, {self.high:.4g}]"


def interquartile_mean(scores: npt.ArrayLike, axis: int = -1) -> Any:
    """Return the mean of the middle half; a quarter of the values is cut off at either end.

    Parameters
    ----------
    scores : array_like of shape (..., n, ...)
        Values.
    axis : int, default=-1
        Where they lie. The number cut off is rounded down, so three values are averaged whole.

    Returns
    -------
    float or ndarray
        The mean.

    Examples
    --------
    >>> float(interquartile_mean([0.0, 1.0, 2.0, 100.0]))
    1.5
    """
    return stats.trim_mean(scores, 0.25, axis=axis)


_AGGREGATES: dict[Aggregate, Callable[..., Any]] = {
    "iqm": interquartile_mean,
    "mean": np.mean,
    "median": np.median,
}


def aggregate(
    scores: Sequence[npt.ArrayLike],
    kind: Aggregate = "iqm",
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Aggregate the scores of all runs in all environments.

    Parameters
    ----------
    scores : sequence of array_like of shape (n_runs,)
        One per environment; more than one only if their scores are comparable.
    kind : {"iqm", "mean", "median"}, default="iqm"
        How.
    confidence : float, default=0.95
        Level of the interval.
    seed : int, default=0
        Seed of the resampling.

    Returns
    -------
    Interval
        With percentile bootstrap limits; runs are resampled within each environment.

    Raises
    ------
    InvalidArgumentError
        If there is no score or `confidence` is not in (0, 1).

    Examples
    --------
    >>> aggregate([[1.0, 1.0, 1.0]])
    Interval(estimate=1.0, low=1.0, high=1.0)
    """
    function = _AGGREGATES[kind]

    def statistic(*samples: Floats, axis: int = -1) -> Any:
        return function(np.concatenate(samples, axis=axis), axis=axis)

    return _interval(_checked(scores), statistic, confidence, seed)


def aggregate_curve(
    returns: npt.ArrayLike, kind: Aggregate = "iqm", *, confidence: float = 0.95, seed: int = 0
) -> tuple[Floats, Floats, Floats]:
    """Aggregate the runs at each point of a curve.

    Parameters
    ----------
    returns : array_like of shape (n_runs, n_points)
        One row per run.
    kind, confidence, seed
        As in `aggregate`. All points are resampled alike.

    Returns
    -------
    estimate, low, high : ndarray of shape (n_points,)
        The aggregate and the limits of its interval, NaN for a single run.
    """
    values = np.asarray(returns, dtype=np.float64)
    function = _AGGREGATES[kind]
    if len(values) < 2:
        nothing = np.full(values.shape[1], np.nan)
        return np.asarray(function(values, axis=0)), nothing, nothing
    check_fraction("confidence", confidence, open_low=True)
    found = stats.bootstrap(
        (values,), function, axis=0, confidence_level=confidence, n_resamples=RESAMPLES,
        method="percentile", vectorized=True, rng=np.random.default_rng(seed),
    )  # fmt: skip
    low, high = found.confidence_interval
    return np.asarray(function(values, axis=0)), np.asarray(low), np.asarray(high)


def probability_of_improvement(
    ours: Sequence[npt.ArrayLike],
    theirs: Sequence[npt.ArrayLike],
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Estimate how likely a run of one algorithm is better than one of another.

    Parameters
    ----------
    ours, theirs : sequence of array_like of shape (n_runs,)
        Scores by environment, in the same order; numbers of runs may differ.
    confidence, seed
        As in `aggregate`.

    Returns
    -------
    Interval
        Share of pairs of runs in which ours is better, ties counting half, averaged over
        environments: the statistic of Mann and Whitney, scaled to [0, 1].

    Raises
    ------
    InvalidArgumentError
        If the numbers of environments differ.

    Examples
    --------
    >>> probability_of_improvement([[3.0, 4.0]], [[1.0, 2.0]]).estimate
    1.0
    """
    first, second = _checked(ours), _checked(theirs)
    _check_same_length(first, second)

    def statistic(*samples: Floats, axis: int = -1) -> Any:
        moved = [np.moveaxis(np.asarray(sample), axis, -1) for sample in samples]
        pairs = zip(moved[: len(first)], moved[len(first) :], strict=True)
        return np.mean([_share_of_wins(ours, theirs) for ours, theirs in pairs], axis=0)

    return _interval([*first, *second], statistic, confidence, seed)


def _share_of_wins(ours: Floats, theirs: Floats) -> Any:
    difference = np.sign(ours[..., :, np.newaxis] - theirs[..., np.newaxis, :])
    return (difference.mean(axis=(-2, -1)) + 1) / 2


def paired_difference(
    ours: Sequence[npt.ArrayLike],
    theirs: Sequence[npt.ArrayLike],
    kind: Aggregate = "mean",
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Estimate by how much one algorithm is better than another with the same seeds.

    Parameters
    ----------
    ours, theirs : sequence of array_like of shape (n_runs,)
        Scores by environment; entry i of both has the same seed.
    kind, confidence, seed
        As in `aggregate`; the aggregate is that of the differences.

    Returns
    -------
    Interval
        Positive if ours is better.

    Raises
    ------
    InvalidArgumentError
        If numbers of environments or of runs differ.

    Examples
    --------
    >>> paired_difference([[3.0, 5.0]], [[1.0, 3.0]])
    Interval(estimate=2.0, low=2.0, high=2.0)
    """
    first, second = _checked(ours), _checked(theirs)
    _check_same_length(first, second)
    for a, b in zip(first, second, strict=True):
        _check_same_length(a, b)
    differences = [a - b for a, b in zip(first, second, strict=True)]
    return aggregate(differences, kind, confidence=confidence, seed=seed)


def learning_curve_area(returns: npt.ArrayLike) -> Floats:
    """Return the area under learning curves, as Sokar et al. (2022) tabulate it.

    Parameters
    ----------
    returns : array_like of shape (n_runs, n_evaluations)
        Mean return of each evaluation.

    Returns
    -------
    ndarray of shape (n_runs,)
        Sum of the evaluations, times 1e-6. It is comparable only between runs with the same number
        of evaluations; the paper has 201, one before training and one per 5000 steps.

    Examples
    --------
    >>> learning_curve_area([[1e6, 2e6]])
    array([3.])
    """
    areas: Floats = np.asarray(returns, dtype=np.float64).sum(axis=-1) * 1e-6
    return areas


def normalized(scores: Sequence[npt.ArrayLike]) -> list[Floats]:
    """Scale scores of algorithms in one environment so that they lie between 0 and 1.

    Parameters
    ----------
    scores : sequence of array_like of shape (n_runs,)
        One per algorithm.

    Returns
    -------
    list of ndarray
        0 for the worst of all these runs and 1 for the best; 0.5 for all if they are equal.

    Examples
    --------
    >>> normalized([[0.0, 5.0], [10.0]])
    [array([0. , 0.5]), array([1.])]
    """
    checked = _checked(scores)
    low, high = min(map(np.min, checked)), max(map(np.max, checked))
    if high == low:
        return [np.full_like(values, 0.5) for values in checked]
    return [(values - low) / (high - low) for values in checked]


def _interval(samples: list[Floats], statistic: Any, confidence: float, seed: int) -> Interval:
    check_fraction("confidence", confidence, open_low=True)
    estimate = float(statistic(*samples, axis=-1))
    if min(map(len, samples)) < 2:
        return Interval(estimate, float("nan"), float("nan"))
    found = stats.bootstrap(
        samples, statistic, confidence_level=confidence, n_resamples=RESAMPLES, vectorized=True,
        paired=False, method="percentile", axis=-1, rng=np.random.default_rng(seed),
    )  # fmt: skip
    low, high = found.confidence_interval
    return Interval(estimate, float(low), float(high))


def _checked(scores: Sequence[npt.ArrayLike]) -> list[Floats]:
    samples = [np.asarray(values, dtype=np.float64).ravel() for values in scores]
    if not samples or not min(map(len, samples)):
        raise InvalidArgumentError("there must be at least one score in each environment.")
    return samples


def _check_same_length(first: Sized, second: Sized) -> None:
    if len(first) != len(second):
        raise InvalidArgumentError(
            f"{len(first)} and {len(second)} scores cannot be compared one by one."
        )
