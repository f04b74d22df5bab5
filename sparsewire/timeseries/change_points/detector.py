"""How does one find the change points of a stream, or of an array, as an estimator?

Parameters, checks of what comes in, and what is reported. How a sample is judged and learned is
decided in the modules beside this one.
"""

import copy
import os
from dataclasses import dataclass
from typing import Any, Self, get_args

import numpy as np
from sklearn.utils.validation import check_is_fitted
from tqdm import tqdm

from sparsewire.core.errors import CheckpointError, InvalidArgumentError
from sparsewire.timeseries.change_points import storage
from sparsewire.timeseries.change_points.network import Floats
from sparsewire.timeseries.change_points.parameters import ALACPDParameters, one_of
from sparsewire.timeseries.change_points.samples import Missing, as_samples, complete
from sparsewire.timeseries.change_points.stream import ChangeEvent, Stream


@dataclass(frozen=True, eq=False, kw_only=True)
class Detection:
    """What was found in a whole series.

    Attributes
    ----------
    change_points : list of int
        0-based indices of the first samples of new segments, increasing.
    events : list of ChangeEvent
        The same with delays, scores and votes.
    scores : ndarray of shape (T,)
        Multiple of the usual loss that a majority of the members reached on each sample; NaN where
        none was judged.
    n_init : int
        Samples of the warm-up block.
    """

    change_points: list[int]
    events: list[ChangeEvent]
    scores: Floats
    n_init: int


class ALACPD(ALACPDParameters):
    """Online change-point detection with an ensemble of LSTM auto-encoders.

    After a warm-up block every sample is judged by how well the auto-encoders reconstruct the
    window that it completes, and then learned. If most of them fail on several samples in a row,
    much worse than usual, the series has changed: they adapt to the latest samples and start anew.
    The memory needed does not grow with the series. Deterministic given `random_state`.

    Parameters
    ----------
    window : int, default 6
        Samples that are reconstructed together (reference).
    gap : int, default 4
        Steps between a sample and the latest one that its autoregressive path sees (reference).
    ar_order : int, default 6
        Samples that the autoregressive path sees (reference).
    n_units : int, default 20
        Hidden units of encoder and decoder (reference).
    density : float or None, default None
        Share of the input and recurrent weights of the LSTMs' gates that are connections, in
        (0, 1], spread over the gates by Erdős–Rényi. SET replaces three tenths of each gate's
        between the passes over the warm-up block and after every change, before adapting to it.
        None makes all gates dense (reference). The arrays stay as large and as fast as dense ones.
    skips : sequence of int, default (3, 5, 7)
        One member for each: how many steps its LSTMs look back (reference). A skip of `window` or
        more sees nothing but zeros.
    n_init : int, float or None, default None
        Warm-up block of `predict`: samples, or a share of the series. None takes a tenth
        (reference), but at least twice the samples that one judgement needs, 30 by default.
    threshold_high, threshold_low : float, float or "auto", default 4.0 and "auto"
        Multiples of the usual loss that are anomalous: the high one until `settle` ordinary samples
        were seen since a change, then the low one (reference: 4.0 and 1.4). "auto" rehearses on the
        warm-up block and takes the 0.99 quantile of the multiples seen there, but at least 2.0 and
        at most the high one.
    settle : int, default 7
        See above (reference).
    patience : int, default 4
        Anomalies in a row that make a change (reference).
    adapt_samples, adapt_epochs : int, default 3 and 100
        Samples that are learned after a change, and passes over them (reference).
    init_epochs, step_epochs : int, default 10 and 5
        Passes over the warm-up block, and over every ordinary sample (reference).
    learning_rate : float, default 1e-3
        Rate of the stochastic gradient descent (reference).
    location : {"onset", "detection", "reference"}, default "onset"
        Where a change is said to be: at the first of the anomalous samples, at the last, or where
        the reference's arithmetic puts it, `gap` + `patience` - 1 - `window` // 2 samples before
        the last.
    afresh : bool, default True
        Adapt to a change from what was learned in the warm-up block on. False goes on from the
        present weights (reference): what is learned by heart after every change, false ones too,
        then adds up, and on a long stream there are ever more false changes.
    causal : bool, default True
        Adapt to the latest `adapt_samples` samples. False adapts to the last anomalous sample and
        the next ones (reference), so everything is known `adapt_samples` - 1 samples later.
    prequential : bool, default True
        Take as usual loss the mean of what was lost on ordinary samples before learning from them.
        False takes what was lost afterwards (reference), which is biased low, so that noise is
        taken for change.
    aligned_ar : bool, default True
        Explain every sample by those `gap` steps before it. False pairs them in reverse order
        (reference), which shows the oldest sample of a window to the path that reconstructs it.
    loss_floor : float, default 1e-8
        Least usual loss, of standardised samples; keeps rounding errors of a constant series from
        being anomalies.
    missing : {"raise", "hold", "skip"}, default "raise"
        What is done with NaN: refuse it, repeat the channel's last value, or leave the sample out.
    random_state : int, RandomState or None, default None
        Seed of initial weights and of connections; there is no other randomness.
    verbose : int, default 0
        1 shows a progress bar of `predict` on standard error.

    Attributes
    ----------
    n_features_in_ : int
        Channels.
    n_seen_ : int
        Samples seen, the warm-up block included.
    n_changes_ : int
        Changes reported so far.
    threshold_low_ : float
        The threshold in use.
    memory_bytes_ : int
        Size of everything that is kept between samples.

    Notes
    -----
    Samples are standardised by mean and deviation of the warm-up block. ``location="reference",
    afresh=False, causal=False, prequential=False, aligned_ar=False, threshold_low=1.4`` follows the
    published code, but for its use of statistics of the whole series. Steps of gradient descent are
    shortened where they would overshoot, tens of deviations away from the warm-up block.

    References
    ----------
    Atashgahi, Mocanu, Veldhuis & Pechenizkiy (2022). Memory-free online change-point detection: a
    novel neural network approach; arXiv:2207.03932.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(160, 2)) + np.where(np.arange(160) < 100, 0, 5)[:, np.newaxis]
    >>> detector = ALACPD(random_state=0).fit(X[:60])
    >>> [(event.index, event.delay) for event in detector.update(X[60:])]
    [(100, 3)]
    """

    # Online

    def fit(self, X: Any, y: None = None) -> Self:
        """Learn what is usual from the warm-up block, all of `X`.

        Parameters
        ----------
        X : array-like, shape (T,) or (T, n_channels)
            The first samples of the stream, in time order.
        y : None
            Ignored.

        Returns
        -------
        self
            The detector, ready for `update`.

        Raises
        ------
        InvalidArgumentError
            If a parameter is out of range, or `X` has a wrong shape, NaN or infinity, or fewer
            samples than one judgement needs.
        """
        samples = as_samples(X)
        stream = self._new_stream(samples.shape[1], self._draw_seed())
        filled, kept = complete(samples, self.missing, None)
        if kept.sum() < stream.n_needed:
            raise InvalidArgumentError(
                f"the warm-up block has {kept.sum()} complete samples, but window={self.window}, "
                f"gap={self.gap}, ar_order={self.ar_order}, adapt_samples={self.adapt_samples} "
                f"and patience={self.patience} need at least {stream.n_needed}; give more, or make "
                "these smaller."
            )
        auto = self.threshold_low == "auto"
        stream.warm_up(filled[kept], np.flatnonzero(kept), len(samples), auto=auto)
        self.n_features_in_ = samples.shape[1]
        self._stream, self._fitted_with = stream, copy.deepcopy(self.get_params(deep=False))
        return self

    def update(self, X: Any) -> list[ChangeEvent]:
        """Take in the next sample or samples and report the changes that they complete.

        Parameters
        ----------
        X : array-like
            One sample, shape (n_channels,), or several, shape (n, n_channels). With one channel a
            number is a sample, and shape (n,) several.

        Returns
        -------
        list of ChangeEvent
            In the order of detection; mostly empty. The same whether samples come one by one or
            many at a time.

        Raises
        ------
        InvalidArgumentError
            If `X` has a wrong shape, NaN that `missing` does not allow, or infinity; none of the
            samples has been taken in then.
        """
        check_is_fitted(self)
        samples = as_samples(X, self.n_features_in_)
        return [event for _, _, event in self._advance(samples) if event is not None]

    def _advance(self, samples: Floats) -> list[tuple[int, float, ChangeEvent | None]]:
        """Take in samples; return index and score of those that were judged, and changes."""
        stream, found = self._stream, []
        missing = one_of("missing", self.missing, get_args(Missing))
        filled, kept = complete(samples, missing, stream.last)
        hidden = not self.verbose or len(samples) == 1
        for sample, use in zip(tqdm(filled, desc="samples", disable=hidden), kept, strict=True):
            if not use:
                stream.pass_over()
            elif (judged := stream.push(sample)) is not None:
                index, verdict, event = judged
                found.append((index, verdict.score, event))
        return found

    # Over an array

    def detect(self, X: Any) -> Detection:
        """Follow a whole series: warm up on its beginning, then stream the rest.

        What was fitted before is forgotten; `update` continues after the end of `X`.

        Parameters
        ----------
        X : array-like, shape (T,) or (T, n_channels)
            The series.

        Returns
        -------
        Detection
            Change points, events and scores.

        Raises
        ------
        InvalidArgumentError
            As `fit`, or if the series is not longer than its warm-up block.
        """
        samples = as_samples(X)
        n_init = self._warm_up_length(len(samples), self._new_stream(samples.shape[1], 0))
        if self.missing == "raise":
            complete(samples, self.missing, None)  # before what was fitted is forgotten
        self.fit(samples[:n_init])
        found = self._advance(samples[n_init:])
        scores = np.full(len(samples), np.nan)
        for index, score, _ in found:
            scores[index] = score
        events = [event for _, _, event in found if event is not None]
        return Detection(
            change_points=[event.index for event in events],
            events=events,
            scores=scores,
            n_init=n_init,
        )

    def predict(self, X: Any) -> list[int]:
        """Return the change points of a whole series; see `detect`.

        Parameters
        ----------
        X : array-like, shape (T,) or (T, n_channels)
            The series, from its very beginning: it need not be fitted before.

        Returns
        -------
        list of int
            0-based indices of the first samples of new segments, increasing, without 0 and T.

        Raises
        ------
        InvalidArgumentError
            As `detect`.
        """
        return self.detect(X).change_points

    def score_samples(self, X: Any) -> Floats:
        """Return how unusual each sample of a whole series is; see `detect`.

        Parameters
        ----------
        X : array-like, shape (T,) or (T, n_channels)
            The series.

        Returns
        -------
        ndarray of shape (T,)
            Multiple of the usual loss that a majority of the members reached; NaN where none was
            judged, as in the warm-up block.

        Raises
        ------
        InvalidArgumentError
            As `detect`.
        """
        return self.detect(X).scores

    def reset(self) -> Self:
        """Forget the stream and all that was learned from it; the parameters stay.

        To go back to the end of the warm-up block instead, keep ``copy.deepcopy`` of the detector,
        or a file.

        Returns
        -------
        self
            As it was before `fit`.
        """
        for name in ("_stream", "_fitted_with", "n_features_in_"):
            self.__dict__.pop(name, None)
        return self

    # Attributes of the stream

    @property
    def n_seen_(self) -> int:
        """Samples seen, the warm-up block included."""
        return self._fitted().n_seen

    @property
    def n_changes_(self) -> int:
        """Changes reported so far."""
        return self._fitted().n_changes

    @property
    def threshold_low_(self) -> float:
        """The low threshold in use."""
        return self._fitted().rule.thresholds.low

    @property
    def memory_bytes_(self) -> int:
        """Size of everything that is kept between samples."""
        return sum(value.nbytes for value in self._fitted().arrays().values())

    def _fitted(self) -> Stream:
        check_is_fitted(self)
        return self._stream

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_stream")

    # Storage

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the detector to a file that holds no code; see `load`.

        Parameters
        ----------
        path : path
            File, replaced if it exists, atomically.
        """
        stream = self._fitted()
        # What was changed since takes effect at the next `fit`, but for these.
        live = {"missing": self.missing, "verbose": self.verbose}
        storage.save(path, {**self._fitted_with, **live}, stream.arrays())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a detector that `save` wrote, at the same moment of its stream.

        Parameters
        ----------
        path : path
            The file; no code in it is executed.

        Returns
        -------
        ALACPD
            Continues bit for bit. A ``RandomState`` object as `random_state` becomes None.

        Raises
        ------
        CheckpointError
            If the file is damaged or something else.
        """
        parameters, arrays = storage.load(path)
        try:
            self = cls(**parameters)
            n_channels = len(arrays["centre"])
            stream = self._new_stream(n_channels, seed=0)
        except (KeyError, TypeError, InvalidArgumentError) as error:
            raise CheckpointError(f"{path} is damaged: {error}") from error
        stream.set_arrays(arrays)
        self.n_features_in_ = n_channels
        self._stream, self._fitted_with = stream, copy.deepcopy(parameters)
        return self
