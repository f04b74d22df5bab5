"""What is done with missing values, unequal lengths and scales before a network sees a series?

Only what the caller asked for, and the same in training and prediction: statistics come from the
training series alone.
"""

import warnings
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from sparsewire.core import InvalidArgumentError
from sparsewire.timeseries.panel import Floats, Panel

Normalise = Literal["none", "instance", "train"]
Unequal = Literal["mask", "pad", "raise"]
Missing = Literal["linear", "zero", "raise"]

_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Series:
    """Series as a network takes them.

    Attributes
    ----------
    values : ndarray of shape (n_series, n_channels, longest), float32
        Zero beyond the end of a series.
    lengths : ndarray of shape (n_series,), int64
        Time steps that count.
    """

    values: npt.NDArray[np.float32]
    lengths: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of series."""
        return len(self.lengths)


@dataclass(frozen=True)
class Preparation:
    """The treatment of series, with what it learned from the training series.

    Attributes
    ----------
    normalise : {"none", "instance", "train"}
        Nothing; each channel of each series to mean 0 and deviation 1; or each channel by mean and
        deviation over all series trained on. Constant channels are only centred.
    unequal : {"mask", "pad", "raise"}
        Shorter series keep their length; are continued by zeros to the longest training series; or
        raise.
    missing : {"linear", "zero", "raise"}
        Missing values are interpolated in time, the nearest one being held at the ends; become
        zero after normalisation; or raise.
    n_channels, length : int
        Channels of the training series, and length of the longest, held-out ones included.
    centre, scale : ndarray of shape (n_channels, 1)
        What "train" subtracts and divides by.
    """

    normalise: Normalise
    unequal: Unequal
    missing: Missing
    n_channels: int
    length: int
    centre: Floats
    scale: Floats

    @classmethod
    def fit(
        cls,
        panel: Panel,
        *,
        normalise: Normalise,
        unequal: Unequal,
        missing: Missing,
        rows: npt.NDArray[np.int64] | None = None,
    ) -> Self:
        """Learn from training series; mean and deviation from some `rows` of them, if given."""
        values = panel.values if rows is None else panel.values[rows]
        pooled = values.transpose(1, 0, 2).reshape(panel.n_channels, -1)
        centre, scale = _location_and_scale(pooled)
        length = int(panel.lengths.max())
        return cls(normalise, unequal, missing, panel.n_channels, length, centre, scale)

    def apply(self, panel: Panel) -> Series:
        """Return series ready for a network.

        Raises
        ------
        InvalidArgumentError
            If the number of channels differs, or missing values or unequal lengths are refused.

        Examples
        --------
        >>> from sparsewire.timeseries.panel import to_panel
        >>> panel = to_panel(np.array([[1.0, np.nan, 3.0]]))
        >>> treatment = Preparation.fit(
        ...     panel, normalise="none", unequal="mask", missing="linear"
        ... )
        >>> treatment.apply(panel).values
        array([[[1., 2., 3.]]], dtype=float32)
        """
        if panel.n_channels != self.n_channels:
            raise InvalidArgumentError(
                f"the series have {panel.n_channels} channels, but the classifier was fitted "
                f"to series of {self.n_channels}."
            )
        lengths = self._lengths(panel)
        values = self._filled(panel, self._normalised(panel.values))
        inside = np.arange(values.shape[2]) < panel.lengths[:, None, None]
        values = np.where(inside, values, 0.0)
        if np.abs(values).max() > _LARGEST:
            raise InvalidArgumentError(
                "the series contain infinity or a value too large for float32; scale them."
            )
        room = int(lengths.max()) - values.shape[2]
        wide = np.pad(values, ((0, 0), (0, 0), (0, max(0, room))))
        return Series(wide.astype(np.float32), lengths)

    def _lengths(self, panel: Panel) -> npt.NDArray[np.int64]:
        differs = panel.lengths != self.length
        if self.unequal == "raise" and differs.any():
            index = int(differs.argmax())
            raise InvalidArgumentError(
                f"series {index} has length {panel.lengths[index]}, the longest training series "
                f"{self.length}; pass unequal='mask' or 'pad', or make lengths equal."
            )
        return np.maximum(panel.lengths, self.length) if self.unequal == "pad" else panel.lengths

    def _normalised(self, values: Floats) -> Floats:
        if self.normalise == "none":
            return values
        if self.normalise == "train":
            return (values - self.centre) / self.scale
        centre, scale = _location_and_scale(values)
        return (values - centre) / scale

    def _filled(self, panel: Panel, values: Floats) -> Floats:
        if not (count := panel.n_missing):
            return values
        if self.missing == "raise":
            raise InvalidArgumentError(
                f"the series contain {count} missing values (NaN); pass missing='linear' or "
                "'zero', or fill them."
            )
        if self.missing == "zero":
            return np.nan_to_num(values, nan=0.0)
        return _interpolated(values, panel.lengths)


def _location_and_scale(values: Floats) -> tuple[Floats, Floats]:
    """Return mean and standard deviation along the last axis; 0 and 1 where there is none."""
    seen = ~np.isnan(values)
    number = np.maximum(1, seen.sum(axis=-1, keepdims=True))
    filled = np.where(seen, values, 0.0)
    centre = filled.sum(axis=-1, keepdims=True) / number
    spread = np.sqrt(np.where(seen, (filled - centre) ** 2, 0).sum(-1, keepdims=True) / number)
    lowest = np.where(seen, values, np.inf).min(axis=-1, keepdims=True)
    highest = np.where(seen, values, -np.inf).max(axis=-1, keepdims=True)
    # By the range: the deviation of a constant may differ from 0 by rounding.
    return centre, np.where(highest > lowest, spread, 1.0)


def _interpolated(values: Floats, lengths: npt.NDArray[np.int64]) -> Floats:
    values = values.copy()
    unseen = 0
    for series, length in zip(values, lengths, strict=True):
        for channel in series:
            known = np.flatnonzero(~np.isnan(channel[:length]))
            if len(known) == 0:
                unseen += 1
                channel[:length] = 0.0
            elif len(known) < length:
                channel[:length] = np.interp(np.arange(length), known, channel[known])
    if unseen:
        warnings.warn(
            f"{unseen} channels of series have no observed value at all and are taken as zero.",
            UserWarning,
            stacklevel=2,
        )
    return values
