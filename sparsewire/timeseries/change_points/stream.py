"""How does the detector follow a stream with a constant amount of memory?

A `Stream` holds the auto-encoders, the decision's running state and the latest samples,
standardised by mean and deviation of the warm-up block. Every sample is judged before it is learned
from; what looks anomalous is not learned, until it turns out to be a change.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sparsewire.core.errors import CheckpointError
from sparsewire.timeseries.change_points.network import Ensemble, Floats, Shape
from sparsewire.timeseries.change_points.rule import Rule, Thresholds, Verdict

Location = Literal["onset", "detection", "reference"]
# Deviations beyond which a sample is cut off: squares of larger numbers could overflow.
_FARTHEST = 1e6
_LEAST_AUTO = 2.0
_AUTO_QUANTILE = 0.99


@dataclass(frozen=True, kw_only=True)
class ChangeEvent:
    """A change point, and how it was found.

    Attributes
    ----------
    index : int
        0-based index of the first sample of the new segment, counted from the first sample of the
        warm-up block.
    detected_at : int
        Index of the sample at whose arrival the change was reported.
    score : float
        Multiple of the usual loss that a majority of the members reached on the sample that
        completed the change.
    member_votes : int
        Members that found that sample anomalous.

    Examples
    --------
    >>> ChangeEvent(index=100, detected_at=103, score=9.5, member_votes=3).delay
    3
    """

    index: int
    detected_at: int
    score: float
    member_votes: int

    @property
    def delay(self) -> int:
        """Samples from the change point to its report."""
        return self.detected_at - self.index


@dataclass(frozen=True, kw_only=True)
class Learning:
    """How the auto-encoders are trained.

    Parameters
    ----------
    init_epochs, step_epochs, adapt_epochs : int
        Passes over the warm-up block, over every ordinary sample, and over the samples of a change.
    adapt_samples : int
        Samples of a change that are learned.
    rate : float
        Learning rate.
    afresh : bool
        Whether a change is learned from the parameters of the warm-up block on, or the present
        ones.
    causal : bool
        Whether those are the latest ones, or the one that completed the change and the next ones.
    prequential : bool
        Whether the usual loss is the mean of losses before learning from the sample, or after.
    location : {"onset", "detection", "reference"}
        Where a change is said to be.
    """

    init_epochs: int
    step_epochs: int
    adapt_epochs: int
    adapt_samples: int
    rate: float
    afresh: bool
    causal: bool
    prequential: bool
    location: Location

    @property
    def ahead(self) -> int:
        """Samples that have to arrive before one is judged."""
        return 0 if self.causal else self.adapt_samples - 1


class Stream:
    """A detector at some moment of a stream.

    Parameters
    ----------
    shape : Shape
        Sizes of the auto-encoders.
    learning : Learning
        How they are trained.
    thresholds : Thresholds
        What counts as a change.
    seed : int
        Seeds their initial parameters.

    Attributes
    ----------
    n_seen : int
        Samples since the beginning of the warm-up block, left-out ones too.
    n_changes : int
        Changes reported.
    """

    def __init__(self, shape: Shape, learning: Learning, thresholds: Thresholds, seed: int) -> None:
        self.shape, self.learning = shape, learning
        self.ensemble = Ensemble(shape, seed)
        if learning.afresh:
            self.ensemble.keep()
        self.rule = Rule(thresholds, np.ones(len(shape.skips)), 0)
        span = shape.span + learning.adapt_samples - 1
        size = max(span, learning.ahead + shape.gap + thresholds.patience)
        self.recent = np.zeros((size, shape.n_channels))
        self.indices = np.zeros(size, dtype=np.int64)
        self.centre, self.scale = np.zeros(shape.n_channels), np.ones(shape.n_channels)
        self.last = np.zeros(shape.n_channels)
        self.n_seen = self.n_streamed = self.n_changes = 0

    @property
    def n_needed(self) -> int:
        """Fewest complete samples of a warm-up block: they fill the memory."""
        return max(self.shape.span + 1, len(self.recent))

    def warm_up(
        self, samples: Floats, indices: npt.NDArray[np.int64], n_seen: int, *, auto: bool
    ) -> None:
        """Learn what is usual from the first samples of a series.

        Parameters
        ----------
        samples : ndarray of shape (n, n_channels)
            Complete samples, at least `n_needed`.
        indices : ndarray of shape (n,)
            Which ones of the series they are.
        n_seen : int
            How many samples the series had so far.
        auto : bool
            Whether to choose the low threshold by a rehearsal on these samples.
        """
        self.centre, self.scale = _moments(samples)
        observed, lags = self.ensemble.windows(self._standardise(samples))
        n_windows, learning = len(observed), self.learning
        for epoch in range(learning.init_epochs):
            if epoch:
                self.ensemble.rewire()
            self.ensemble.train(observed, lags, np.arange(n_windows), learning.rate)
        usual = self.ensemble.losses(observed, lags).mean(axis=1)
        limits = self.rule.thresholds
        if auto:
            limits = self._rehearse(observed, lags, usual)
        self.rule = Rule(limits, usual, n_windows)
        if learning.afresh:
            self.ensemble.keep()
        kept = len(self.recent)
        self.recent[:] = self._standardise(samples[-kept:])
        self.indices[:] = indices[-kept:]
        self.last, self.n_seen = samples[-1].copy(), n_seen

    def _rehearse(self, observed: Floats, lags: Floats, usual: Floats) -> Thresholds:
        """Follow the warm-up block as if it were the stream; it is taken to have no change."""
        trained, scores = self.ensemble.members.copy(), []
        endless = Thresholds(**{**vars(self.rule.thresholds), "low": np.inf, "high": np.inf})
        rule = Rule(endless, usual, len(observed))
        for n in range(len(observed)):
            one = observed[n : n + 1], lags[n : n + 1]
            losses = self.ensemble.losses(*one)[:, 0]
            scores.append(rule.judge(losses).score)
            self._learn_ordinary(rule, one, losses)
        self.ensemble.members = trained
        # Not above the lenient threshold: the block may have held a change after all.
        low = min(float(np.quantile(scores, _AUTO_QUANTILE)), self.rule.thresholds.high)
        low = max(low, _LEAST_AUTO)
        return Thresholds(**{**vars(self.rule.thresholds), "low": low})

    def _standardise(self, samples: Floats) -> Floats:
        with np.errstate(over="ignore"):  # infinity is cut off too
            return np.clip((samples - self.centre) / self.scale, -_FARTHEST, _FARTHEST)

    def _learn(self, observed: Floats, lags: Floats, epochs: int) -> Floats:
        """Train on windows and return the mean losses afterwards."""
        order = np.tile(np.arange(len(observed)), epochs)
        self.ensemble.train(observed, lags, order, self.learning.rate)
        found: Floats = self.ensemble.losses(observed, lags).mean(axis=1)
        return found

    def _learn_ordinary(self, rule: Rule, one: tuple[Floats, Floats], before: Floats) -> None:
        after = self._learn(*one, self.learning.step_epochs)
        rule.learn(before if self.learning.prequential else after)

    def _windows(self, count: int, ahead: int) -> tuple[Floats, Floats]:
        """Return `count` successive windows, of which the last ends `ahead` samples ago."""
        end = len(self.recent) - ahead
        return self.ensemble.windows(self.recent[end - self.shape.span - count + 1 : end])

    def push(self, sample: Floats) -> tuple[int, Verdict, ChangeEvent | None] | None:
        """Take in the next complete sample.

        Parameters
        ----------
        sample : ndarray of shape (n_channels,)
            Finite numbers.

        Returns
        -------
        tuple or None
            Index of the sample that was judged, what was found, and the change if it completed
            one; None while samples to look ahead at are missing.
        """
        self.recent[:-1], self.indices[:-1] = self.recent[1:], self.indices[1:]
        self.recent[-1], self.indices[-1] = self._standardise(sample), self.n_seen
        self.last = sample.copy()
        self.n_seen += 1
        self.n_streamed += 1
        ahead = self.learning.ahead
        if self.n_streamed <= ahead:
            return None
        one = self._windows(1, ahead)
        losses = self.ensemble.losses(*one)[:, 0]
        verdict = self.rule.judge(losses)
        event = None
        if verdict.changed:
            event = self._event(verdict)
            learning = self.learning
            new = self._windows(learning.adapt_samples, 0)
            self.ensemble.go_back()
            self.ensemble.rewire()
            self.rule.restart(self._learn(*new, learning.adapt_epochs))
            self.n_changes += 1
        elif not verdict.anomalous:
            self._learn_ordinary(self.rule, one, losses)
        return int(self.indices[-1 - ahead]), verdict, event

    def pass_over(self) -> None:
        """Count a sample that is left out."""
        self.n_seen += 1

    def _event(self, verdict: Verdict) -> ChangeEvent:
        before_onset = self.rule.thresholds.patience - 1
        back = {
            "onset": before_onset,
            "detection": 0,
            # The reference counts from the end of the lags instead of from the sample.
            "reference": max(0, self.shape.gap + before_onset - self.shape.window // 2),
        }[self.learning.location]
        return ChangeEvent(
            index=int(self.indices[-1 - self.learning.ahead - back]),
            detected_at=int(self.indices[-1]),
            score=verdict.score,
            member_votes=verdict.votes,
        )

    # State

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return everything that a stream changes, as arrays (not copies, but for numbers)."""
        rule = self.rule
        counts = [self.n_seen, self.n_streamed, self.n_changes]
        return {
            **self.ensemble.arrays(),
            "recent": self.recent,
            "indices": self.indices,
            "centre": self.centre,
            "scale": self.scale,
            "last": self.last,
            "usual": rule.usual,
            "low": np.array(rule.thresholds.low),
            "counts": np.array([*counts, rule.n_ordinary, rule.n_judged, rule.run]),
        }

    def set_arrays(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Continue from `arrays` of a stream with the same parameters.

        Raises
        ------
        CheckpointError
            If they are not those of such a stream; nothing has changed then.
        """
        own = self.arrays()
        for name, value in own.items():
            found = arrays.get(name)
            if found is None or (found.shape, found.dtype) != (value.shape, value.dtype):
                raise CheckpointError(
                    f"the state {name!r} of the detector is missing or is not {value.dtype} of "
                    f"shape {value.shape}; it belongs to other parameters or is damaged."
                )
        self.ensemble.set_arrays(arrays)
        self.recent, self.indices = arrays["recent"].copy(), arrays["indices"].copy()
        self.centre, self.scale = arrays["centre"].copy(), arrays["scale"].copy()
        self.last = arrays["last"].copy()
        limits = Thresholds(**{**vars(self.rule.thresholds), "low": float(arrays["low"])})
        counts = [int(count) for count in arrays["counts"]]
        self.n_seen, self.n_streamed, self.n_changes = counts[:3]
        self.rule = Rule(limits, arrays["usual"].copy(), counts[3])
        self.rule.n_judged, self.rule.run = counts[4:]


def _moments(samples: Floats) -> tuple[Floats, Floats]:
    """Return mean and deviation of every channel; of a constant one its size, or 1 if it is 0."""
    centre, scale = samples.mean(axis=0), samples.std(axis=0)
    size = np.abs(samples).max(axis=0)
    constant = scale <= 1e-12 * size
    return centre, np.where(constant, np.where(size > 0, size, 1.0), scale)
