"""Which series does a caller hand over, whatever the container they come in?

Time-series libraries disagree about containers: arrays of one to three dimensions, lists of arrays
of unequal length, wide, long and nested data frames. `to_panel` turns each into one `Panel`. What
is then done about missing values and unequal lengths is the business of the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sparsewire.core import InvalidArgumentError

Floats = npt.NDArray[np.float64]
_FORMS = (
    "an array (n, length) or (n, channels, length), a list of arrays (length,) or (channels, "
    "length), or a pandas frame: wide, nested, or with a MultiIndex (instance, time)"
)


@dataclass(frozen=True)
class Panel:
    """Labelled-by-position series of equal or unequal length.

    Attributes
    ----------
    values : ndarray of shape (n_series, n_channels, longest), float64
        NaN where a value is missing, and beyond the end of a series.
    lengths : ndarray of shape (n_series,), int64
        A series ends with the last time step at which any of its channels was observed.
    """

    values: Floats
    lengths: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of series."""
        return len(self.lengths)

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return int(self.values.shape[1])

    @property
    def n_missing(self) -> int:
        """Number of missing values inside the series."""
        inside = np.arange(self.values.shape[2]) < self.lengths[:, None, None]
        return int((np.isnan(self.values) & inside).sum())


def is_table(X: Any) -> bool:
    """Tell whether X is one number per series and time step, as scikit-learn knows it.

    Everything that is not certainly a panel of another form is left to scikit-learn's validation.

    Examples
    --------
    >>> is_table([[1.0, 2.0], [3.0, 4.0]]), is_table([np.zeros(2), np.zeros(3)])
    (True, False)
    """
    if isinstance(X, pd.DataFrame):
        return not isinstance(X.index, pd.MultiIndex) and not _is_nested(X)
    if isinstance(X, (list, tuple)) and len(X):
        if any(isinstance(series, pd.DataFrame) for series in X):
            return False
        if any(isinstance(series, (np.ndarray, pd.Series)) for series in X):
            return False
        return not all(isinstance(series, (list, tuple)) for series in X) or _is_flat(X)
    return np.ndim(X) != 3 if isinstance(X, np.ndarray) else True


def _is_flat(rows: Sequence[Any]) -> bool:
    """Tell whether rows of plain numbers are all of one length."""
    return len({len(row) for row in rows}) == 1 and not any(np.ndim(v) for v in rows[0])


def _is_nested(frame: pd.DataFrame) -> bool:
    kinds = (pd.Series, np.ndarray, list)
    return frame.shape[0] > 0 and any(isinstance(cell, kinds) for cell in frame.iloc[0])


def to_panel(X: Any) -> Panel:
    """Convert series in any of the usual containers.

    Parameters
    ----------
    X : array-like or DataFrame
        One of

        * an array (n_series, length), one channel each, or (n_series, n_channels, length);
        * a list of arrays (length,) or (n_channels, length), or of frames with a row per time
          step and a column per channel; lengths may differ;
        * a wide frame, one row per series and one numeric column per time step;
        * a frame with a MultiIndex (instance, time) and one column per channel; time must increase
          within an instance;
        * a nested frame, one row per series and one column per channel, whose cells are series.

        NaN means missing; time steps at the end of a series at which nothing was observed do not
        belong to it.

    Returns
    -------
    Panel
        The same series; X is not changed.

    Raises
    ------
    InvalidArgumentError
        If there is no series, a series has no observed value, numbers of channels differ, time
        does not increase, a value is infinite, or X is none of the above.

    Examples
    --------
    >>> to_panel(np.zeros((5, 2, 30))).values.shape
    (5, 2, 30)
    >>> to_panel([np.arange(3.0), np.arange(5.0)]).lengths
    array([3, 5])
    >>> index = pd.MultiIndex.from_product([["a", "b"], range(4)])
    >>> to_panel(pd.DataFrame({"x": range(8), "y": range(8)}, index=index)).values.shape
    (2, 2, 4)
    """
    if isinstance(X, pd.DataFrame):
        return _from_frame(X)
    if isinstance(X, (list, tuple)):
        return _from_list([_channels_by_time(series, i) for i, series in enumerate(X)])
    values = _numbers(X, "X")
    if values.ndim not in (2, 3):
        raise InvalidArgumentError(f"X has {values.ndim} dimensions; expected is {_FORMS}.")
    return _finished(values[:, None, :] if values.ndim == 2 else values)


def _numbers(values: Any, what: str) -> Floats:
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"{what} is not numeric ({error}); expected is {_FORMS}.") from (
            error
        )


def _channels_by_time(series: Any, index: int) -> Floats:
    values = _numbers(series.to_numpy().T if isinstance(series, pd.DataFrame) else series, "a row")
    if values.ndim not in (1, 2):
        raise InvalidArgumentError(
            f"series {index} has {values.ndim} dimensions; expected is (length,) or "
            "(channels, length)."
        )
    return np.atleast_2d(values)


def _from_frame(frame: pd.DataFrame) -> Panel:
    if isinstance(frame.index, pd.MultiIndex):
        return _from_list(_long(frame))
    if _is_nested(frame):
        cells = frame.to_numpy()
        return _from_list([_stack(row, i) for i, row in enumerate(cells)])
    return to_panel(_numbers(frame.to_numpy(), "the wide frame"))


def _stack(row: npt.NDArray[Any], index: int) -> Floats:
    channels = [_numbers(cell, "a nested cell") for cell in row]
    if len({channel.shape for channel in channels}) > 1 or channels[0].ndim != 1:
        raise InvalidArgumentError(
            f"the channels of series {index} have shapes {[c.shape for c in channels]}; they must "
            "be of one dimension and equal length."
        )
    return np.stack(channels)


def _long(frame: pd.DataFrame) -> list[Floats]:
    if frame.index.nlevels != 2:
        raise InvalidArgumentError(
            f"the MultiIndex has {frame.index.nlevels} levels; expected are (instance, time)."
        )
    series = []
    for name, rows in frame.groupby(level=0, sort=False):
        times = rows.index.get_level_values(1)
        if not (times.is_monotonic_increasing and times.is_unique):
            raise InvalidArgumentError(
                f"the times of instance {name!r} are not increasing or repeat; sort the frame by "
                "instance and time and remove duplicates."
            )
        series.append(_numbers(rows.to_numpy().T, "the frame"))
    return series


def _from_list(series: list[Floats]) -> Panel:
    if not series:
        raise InvalidArgumentError("X has no series (0 samples); at least one is required.")
    channels = [len(one) for one in series]
    if len(set(channels)) > 1:
        odd = next(i for i, n in enumerate(channels) if n != channels[0])
        raise InvalidArgumentError(
            f"series 0 has {channels[0]} channels, series {odd} has {channels[odd]}; all must have "
            "the same."
        )
    longest = max(one.shape[1] for one in series)
    values = np.full((len(series), channels[0], longest), np.nan)
    for row, one in zip(values, series, strict=True):
        row[:, : one.shape[1]] = one
    return _finished(values)


def _finished(values: Floats) -> Panel:
    """Find the ends of the series and refuse what no model can use."""
    if 0 in values.shape:
        raise InvalidArgumentError(
            f"X has {values.shape[0]} series, {values.shape[1]} channels and length "
            f"{values.shape[2]}; each must be at least 1."
        )
    infinite = np.isinf(values).reshape(len(values), -1).any(axis=1)
    if infinite.any():
        raise InvalidArgumentError(
            f"series {int(infinite.argmax())} contains infinity; mark missing values as NaN."
        )
    observed = np.logical_not(np.isnan(values).all(axis=1))
    empty = ~observed.any(axis=1)
    if empty.any():
        raise InvalidArgumentError(
            f"series {int(empty.argmax())} has no observed value; leave it out."
        )
    lengths = values.shape[2] - observed[:, ::-1].argmax(axis=1)
    return Panel(values[:, :, : int(lengths.max())], lengths.astype(np.int64))
