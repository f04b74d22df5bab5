"""Under which rules are published forecasting errors measured? Borders, windows, scale.

The long-term forecasting ("LTSF") protocol of Informer, Autoformer and LTSF-Linear: three blocks in
the order of time, every column standardised by the *training* block, windows of `look_back` known
and `horizon` unknown steps at every position (stride 1, none dropped), errors on the standardised
scale. The windows themselves are cut by the forecasters.

Classification follows the archives: :func:`sparsewire.datasets.load_panel` returns the default
split, accuracy is counted on its test cases, and nothing is chosen by them. Change points:
:mod:`sparsewire.timeseries.metrics`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sparsewire.core._validation import check_integer
from sparsewire.core.errors import InvalidArgumentError
from sparsewire.datasets.registry import key_of
from sparsewire.datasets.timeseries.registry import find_time_series
from sparsewire.timeseries.metrics import ErrorSums

# Rows of the three blocks: 12, 4 and 4 months of 30 days of hours; what follows is never used.
_ETT_HOURLY = (12 * 30 * 24, 4 * 30 * 24, 4 * 30 * 24)
_ETT_ROWS_PER_HOUR = {"etth1": 1, "etth2": 1, "ettm1": 4, "ettm2": 4}


@dataclass(frozen=True, kw_only=True)
class LTSFBorders:
    """Rows of the three blocks, half open; `validation` and `test` start early, for context.

    Parameters
    ----------
    look_back : int
        Known steps of a window; so many rows are context at the start of `validation` and `test`.
    train, validation, test : tuple of (int, int)
        First row and the row after the last one.

    Examples
    --------
    >>> ltsf_borders("etth1", look_back=96).validation
    (8544, 11520)
    """

    look_back: int
    train: tuple[int, int]
    validation: tuple[int, int]
    test: tuple[int, int]

    def window_counts(self, horizon: int) -> tuple[int, int, int]:
        """Count the windows of the three blocks.

        Parameters
        ----------
        horizon : int
            Steps to forecast, at least 1.

        Returns
        -------
        tuple of (int, int, int)
            Of training, validation and test.

        Raises
        ------
        InvalidArgumentError
            If a block is too short for one window.

        Examples
        --------
        >>> ltsf_borders("etth1", look_back=96).window_counts(horizon=96)
        (8449, 2785, 2785)
        """
        train, validation, test = (
            n_windows(stop - start, self.look_back, horizon)
            for start, stop in (self.train, self.validation, self.test)
        )
        return train, validation, test


@dataclass(frozen=True, kw_only=True)
class LTSFProtocol:
    """Look-back and horizons for which results are published.

    Parameters
    ----------
    look_back : int
        Known steps; results with a longer look-back have to be labelled as such.
    horizons : tuple of int
        Steps to forecast, one table column each.
    """

    look_back: int
    horizons: tuple[int, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Standardisation:
    """Mean and standard deviation of every column of a training block.

    Parameters
    ----------
    mean, scale : ndarray of float64 of shape (n_columns,)
        Of each column; ddof 0.
    """

    mean: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]

    def transform(self, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Bring values to the standardised scale.

        Parameters
        ----------
        values : array-like of shape (..., n_columns)
            In the source's units.

        Returns
        -------
        ndarray of float64 of the same shape
            ``(values - mean) / scale``.
        """
        return (np.asarray(values, dtype=np.float64) - self.mean) / self.scale

    def inverse_transform(self, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Bring values back to the source's units.

        Parameters
        ----------
        values : array-like of shape (..., n_columns)
            On the standardised scale.

        Returns
        -------
        ndarray of float64 of the same shape
            ``values * scale + mean``.
        """
        return np.asarray(values, dtype=np.float64) * self.scale + self.mean


def ltsf_borders(data: str | int, look_back: int) -> LTSFBorders:
    """Return the standard borders of a benchmark or of a series of so many rows.

    The ETT sets have fixed borders of 12, 4 and 4 months and leave the rest unused. Every other
    series gives its first ``int(0.7 n)`` rows to training and its last ``int(0.2 n)`` to the test,
    with floating-point products as in the published code.

    Parameters
    ----------
    data : str or int
        ``"etth1"``, ``"etth2"``, ``"ettm1"``, ``"ettm2"``, another name of
        ``sparsewire.datasets.names("series")``, or a number of rows.
    look_back : int
        Known steps of a window, at least 1.

    Returns
    -------
    LTSFBorders
        Borders with `look_back` rows of context before validation and test.

    Raises
    ------
    InvalidArgumentError
        If the training block is shorter than `look_back`.
    DatasetError
        If no series has that name.

    Examples
    --------
    >>> ltsf_borders("exchange", look_back=96).window_counts(horizon=96)
    (5120, 665, 1422)
    >>> ltsf_borders(1000, look_back=10).test
    (790, 1000)
    """
    look_back = check_integer("look_back", look_back, minimum=1)
    n_train, n_validation, n_test = _block_sizes(data)
    if look_back > n_train:
        raise InvalidArgumentError(
            f"look_back={look_back} is longer than the training block of {n_train} rows; choose "
            f"at most {n_train}, or a longer series."
        )
    n_known = n_train + n_validation
    return LTSFBorders(
        look_back=look_back,
        train=(0, n_train),
        validation=(n_train - look_back, n_known),
        test=(n_known - look_back, n_known + n_test),
    )


def ltsf_protocol(name: str) -> LTSFProtocol:
    """Return the look-back and the horizons at which a benchmark's results are published.

    Parameters
    ----------
    name : str
        As `data` of :func:`ltsf_borders`.

    Returns
    -------
    LTSFProtocol
        36 and 24, 36, 48, 60 for the weekly ``"illness"``; 96 and 96, 192, 336, 720 for all others.

    Raises
    ------
    DatasetError
        If no series has that name.

    Examples
    --------
    >>> ltsf_protocol("illness")
    LTSFProtocol(look_back=36, horizons=(24, 36, 48, 60))
    """
    if (
        key_of(name) not in _ETT_ROWS_PER_HOUR
        and find_time_series(name, "series").name == "illness"
    ):
        return LTSFProtocol(look_back=36, horizons=(24, 36, 48, 60))
    return LTSFProtocol(look_back=96, horizons=(96, 192, 336, 720))


def n_windows(n_rows: int, look_back: int, horizon: int) -> int:
    """Count the windows in so many rows, one at every position.

    Parameters
    ----------
    n_rows : int
        Rows of a block, context included.
    look_back, horizon : int
        Known and unknown steps of a window, at least 1 each.

    Returns
    -------
    int
        ``n_rows - look_back - horizon + 1``.

    Raises
    ------
    InvalidArgumentError
        If that is below 1.

    Examples
    --------
    >>> n_windows(8640, look_back=96, horizon=96)
    8449
    """
    look_back = check_integer("look_back", look_back, minimum=1)
    horizon = check_integer("horizon", horizon, minimum=1)
    count = check_integer("n_rows", n_rows, minimum=0) - look_back - horizon + 1
    if count < 1:
        raise InvalidArgumentError(
            f"{n_rows} rows hold no window of look_back={look_back} and horizon={horizon}; "
            f"at least {look_back + horizon} rows are needed."
        )
    return count


def repeat_last(values: npt.ArrayLike, look_back: int, horizon: int) -> ErrorSums:
    """Return the errors of repeating the last known value, over all windows of a series.

    Parameters
    ----------
    values : array-like, shape (n_rows, n_columns)
        Rows, the first `look_back` of them for context; for published errors on the scale of the
        training block.
    look_back, horizon : int
        Known steps of a window, and steps to forecast.

    Returns
    -------
    ErrorSums
        Over windows, steps and columns.

    Raises
    ------
    InvalidArgumentError
        If there are too few rows for one window.

    Examples
    --------
    >>> repeat_last(np.arange(6.0)[:, np.newaxis], look_back=2, horizon=3).mae
    2.0
    """
    rows = np.asarray(values, dtype=np.float64)
    last = rows[look_back - 1 :][: n_windows(len(rows), look_back, horizon)]
    total = ErrorSums()
    for step in range(look_back, look_back + horizon):
        total += ErrorSums.of(rows[step:][: len(last)], last)
    return total


def standardise(
    values: npt.ArrayLike, n_train: int
) -> tuple[npt.NDArray[np.float64], Standardisation]:
    """Standardise every column with the mean and deviation of the first rows.

    Parameters
    ----------
    values : array-like of shape (T, n_columns)
        Rows in the order of time; the first `n_train` must be finite.
    n_train : int
        Rows of the training block, in [1, T]: ``borders.train[1]``.

    Returns
    -------
    scaled : ndarray of float64 of the same shape
        All rows on the scale on which errors are published.
    standardisation : Standardisation
        Mean and deviation (ddof 0) of the training rows, to bring forecasts back.

    Raises
    ------
    InvalidArgumentError
        If the shape or `n_train` is wrong, or a column is not finite or constant in the training
        rows.

    Examples
    --------
    >>> scaled, standardisation = standardise([[1.0], [3.0], [5.0]], n_train=2)
    >>> scaled.tolist(), standardisation.inverse_transform([[4.0]]).tolist()
    ([[-1.0], [1.0], [3.0]], [[6.0]])
    """
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim != 2:
        raise InvalidArgumentError(f"values must have shape (T, n_columns), got {rows.shape}.")
    n_train = check_integer("n_train", n_train, minimum=1)
    if n_train > len(rows):
        raise InvalidArgumentError(
            f"n_train={n_train} is more than the {len(rows)} rows there are."
        )
    train = rows[:n_train]
    if not np.isfinite(train).all():
        wrong = np.flatnonzero(~np.isfinite(train).all(axis=0))
        raise InvalidArgumentError(
            f"columns {wrong.tolist()} are not finite in the training rows; fill the gaps first."
        )
    constant = np.flatnonzero(train.max(axis=0) == train.min(axis=0))
    if len(constant):
        raise InvalidArgumentError(
            f"columns {constant.tolist()} are constant in the {n_train} training rows and cannot "
            "be standardised; remove them or take more training rows."
        )
    fitted = Standardisation(mean=train.mean(axis=0), scale=train.std(axis=0))
    return fitted.transform(rows), fitted


def _block_sizes(data: str | int) -> tuple[int, int, int]:
    if isinstance(data, str):
        per_hour = _ETT_ROWS_PER_HOUR.get(key_of(data))
        if per_hour is not None:
            train, validation, test = (per_hour * rows for rows in _ETT_HOURLY)
            return train, validation, test
        length = find_time_series(data, "series").length
        # A single series has one length; only panels have a smallest and a largest.
        n_rows = length if isinstance(length, int) else length[1]
    else:
        n_rows = check_integer("data, as a number of rows,", data, minimum=1)
    n_train, n_test = int(0.7 * n_rows), int(0.2 * n_rows)
    return n_train, n_rows - n_train - n_test, n_test
