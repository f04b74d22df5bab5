"""In what may a series come, and how does a forecast go back into the same?

Arrays (T,) and (T, n_columns), pandas Series and wide DataFrames, with an index of times, periods
or consecutive numbers. Everything is checked here, before anything is trained.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from sparsewire.core.errors import InvalidArgumentError

Missing = Literal["raise", "linear"]


@dataclass(frozen=True)
class History:
    """A series, checked.

    Attributes
    ----------
    values : ndarray of float64, shape (T, n_channels)
        Finite.
    columns : tuple
        Names of the columns; numbers for arrays.
    index : Index or None
        As it came, for pandas.
    times : DatetimeIndex or None
        The index as times, strictly increasing in equal steps.
    flat : bool
        Whether it came with one dimension.
    """

    values: npt.NDArray[np.float64]
    columns: tuple[Any, ...]
    index: pd.Index | None
    times: pd.DatetimeIndex | None
    flat: bool

    def future(self, horizon: int) -> pd.Index | None:
        """Return the index of the next steps, or None if there is no index.

        Examples
        --------
        >>> index = pd.date_range("2024-01-31", periods=4, freq="ME")
        >>> to_history(pd.Series([1.0, 2.0, 3.0, 4.0], index)).future(2)[-1]
        Timestamp('2024-06-30 00:00:00')
        """
        if self.index is None:
            return None
        if isinstance(self.index, pd.PeriodIndex):
            return pd.period_range(self.index[-1] + 1, periods=horizon, freq=self.index.freq)
        if self.times is not None:
            return pd.date_range(self.times[-1], periods=horizon + 1, freq=self.times.freq)[1:]
        step = int(self.index[1]) - int(self.index[0])
        first = int(self.index[-1]) + step
        return pd.RangeIndex(first, first + step * horizon, step)

    def restore(self, forecast: npt.NDArray[np.float64]) -> Any:
        """Return a forecast (horizon, n_channels) in the container that the series came in."""
        index = self.future(len(forecast))
        if index is None:
            return forecast[:, 0] if self.flat else forecast
        if self.flat:
            return pd.Series(forecast[:, 0], index=index, name=self.columns[0])
        return pd.DataFrame(forecast, index=index, columns=list(self.columns))


def to_history(y: Any, *, missing: Missing = "raise") -> History:
    """Check a series and bring it to one form.

    Parameters
    ----------
    y : ndarray, Series or DataFrame
        Values (T,) or (T, n_columns). An index is of times, periods or integers, strictly
        increasing in equal steps; its frequency is inferred if it has none.
    missing : {"raise", "linear"}, default "raise"
        NaN is refused, or interpolated in time (at the ends, the nearest value goes on).

    Returns
    -------
    History
        The series.

    Raises
    ------
    InvalidArgumentError
        If the series has a wrong form, is not numeric or finite, or its times are unsorted,
        duplicated or unequally spaced.

    Examples
    --------
    >>> to_history([1.0, float("nan"), 3.0], missing="linear").values.ravel().tolist()
    [1.0, 2.0, 3.0]
    """
    index = y.index if isinstance(y, (pd.Series, pd.DataFrame)) else None
    columns: tuple[Any, ...] = ()
    if isinstance(y, pd.DataFrame):
        columns = tuple(y.columns)
    elif isinstance(y, pd.Series):
        columns = (y.name,)
    try:
        values = np.array(y, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"y must consist of numbers: {error}") from error
    if values.ndim not in (1, 2) or values.size == 0:
        raise InvalidArgumentError(
            f"y must have shape (T,) or (T, n_columns), with at least one row and column, got "
            f"{values.shape}."
        )
    flat = values.ndim == 1
    values = values[:, None] if flat else values
    return History(
        values=_complete(values, missing),
        columns=columns or tuple(range(values.shape[1])),
        index=index,
        times=None if index is None else _times(index),
        flat=flat,
    )


def _complete(values: npt.NDArray[np.float64], missing: Missing) -> npt.NDArray[np.float64]:
    if np.isinf(values).any():
        row = int(np.flatnonzero(np.isinf(values).any(axis=1))[0])
        raise InvalidArgumentError(f"y is infinite in row {row}; only finite numbers can be used.")
    gaps = np.isnan(values)
    if not gaps.any():
        return values
    if missing == "raise":
        row = int(np.flatnonzero(gaps.any(axis=1))[0])
        raise InvalidArgumentError(
            f"y has {int(gaps.sum())} missing values, the first in row {row}; fill them, or pass "
            "missing='linear'."
        )
    if gaps.all(axis=0).any():
        wrong = np.flatnonzero(gaps.all(axis=0)).tolist()
        raise InvalidArgumentError(f"columns {wrong} of y have no values at all; remove them.")
    rows = np.arange(len(values))
    for column, gap in zip(values.T, gaps.T, strict=True):
        column[gap] = np.interp(rows[gap], rows[~gap], column[~gap])
    return values


def _times(index: pd.Index) -> pd.DatetimeIndex | None:
    if len(index) < 3:
        raise InvalidArgumentError(
            f"y has {len(index)} rows; from less than 3 no frequency can be told."
        )
    if index.hasnans:
        raise InvalidArgumentError("the index of y has missing entries; remove those rows.")
    if index.has_duplicates:
        twice = index[index.duplicated()][0]
        raise InvalidArgumentError(
            f"the index of y has {twice} more than once; keep one row for each time."
        )
    if not index.is_monotonic_increasing:
        raise InvalidArgumentError("the index of y is not sorted; call y.sort_index() first.")
    if isinstance(index, pd.PeriodIndex):
        _check_spacing(index.asi8, index)
        return _with_frequency(index.to_timestamp())
    if isinstance(index, pd.DatetimeIndex):
        return _with_frequency(index)
    if not pd.api.types.is_integer_dtype(index.dtype):
        raise InvalidArgumentError(
            f"the index of y is of type {index.dtype}; use times, periods or integers "
            "(pandas.to_datetime makes times of text)."
        )
    _check_spacing(index.to_numpy(), index)
    return None


def _with_frequency(index: pd.DatetimeIndex) -> pd.DatetimeIndex:
    if index.freq is not None:
        return index
    inferred = pd.DatetimeIndex(index, freq="infer")
    if inferred.freq is not None:
        return inferred
    _check_spacing(index.asi8, index)
    return pd.DatetimeIndex(index, freq=pd.tseries.frequencies.to_offset(index[1] - index[0]))


def _check_spacing(numbers: npt.NDArray[np.int64], index: pd.Index) -> None:
    steps = np.diff(numbers)
    usual = int(np.median(steps))
    odd = np.flatnonzero(steps != usual)
    if len(odd):
        raise InvalidArgumentError(
            f"the index of y is not equally spaced: {index[odd[0]]} is followed by "
            f"{index[odd[0] + 1]}; reindex it, and fill the gaps or pass missing='linear'."
        )
