"""What may come in as samples of a stream, and what is done about missing values?"""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from sparsewire.core.errors import InvalidArgumentError
from sparsewire.timeseries.change_points.network import Floats

Missing = Literal["raise", "hold", "skip"]
_LARGEST = 1e100  # the squares of larger numbers could overflow


def as_samples(X: Any, n_channels: int | None = None) -> Floats:
    """Return a series, or the next samples of a stream, as an array of one row per sample.

    Parameters
    ----------
    X : array-like
        A series (T,) or (T, n_channels); of a stream also one sample, (n_channels,) or a number.
    n_channels : int or None, default None
        Channels of the stream; None for the beginning of a series.

    Returns
    -------
    ndarray of float64 of shape (n, n_channels)
        A copy; NaN stays, what is masked or NA becomes NaN.

    Raises
    ------
    InvalidArgumentError
        If it has another shape, holds infinity, or no numbers.

    Examples
    --------
    >>> as_samples([1, 2, 3]).shape, as_samples([1, 2, 3], n_channels=3).shape
    ((3, 1), (1, 3))
    """
    samples = _numbers(X)
    shape = samples.shape
    if n_channels is not None and n_channels > 1 and samples.ndim == 1:
        samples = samples[np.newaxis]
    elif samples.ndim == 1 or (samples.ndim == 0 and n_channels == 1):
        samples = samples.reshape(-1, 1)
    if samples.ndim != 2 or samples.shape[1] != (n_channels or max(1, samples.shape[1])):
        wanted = "(T,) or (T, n_channels)"
        if n_channels is not None:
            wanted = f"({n_channels},) for one sample or (n, {n_channels}) for several"
        raise InvalidArgumentError(f"samples must have shape {wanted}, got {shape}.")
    huge = np.abs(samples) > _LARGEST
    if huge.any():
        row = int(huge.any(axis=1).argmax())
        raise InvalidArgumentError(
            f"sample {row} is infinite or beyond {_LARGEST:g}; mark missing values as NaN."
        )
    return samples


def _numbers(X: Any) -> Floats:
    try:
        values = _with_nan(X)
        if values.dtype.kind not in "biufO":
            raise TypeError(f"got {values.dtype}")
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as error:  # the last from tensors with a gradient
        raise InvalidArgumentError(f"samples must be an array of real numbers: {error}") from error


def _with_nan(X: Any) -> npt.NDArray[Any]:
    """Return an array that marks missing values by NaN, whatever marked them before."""
    if isinstance(X, pd.DataFrame | pd.Series):
        # Nullable columns have NA, which is no number.
        values = X.to_numpy()
        return np.where(X.isna(), np.nan, values) if values.dtype.kind == "O" else values
    if isinstance(X, np.ma.MaskedArray):
        return np.asarray(np.ma.filled(X.astype(np.float64), np.nan))
    return np.asarray(X)


def complete(
    samples: Floats, missing: Missing, last: Floats | None
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Do about NaN what the user wants.

    Parameters
    ----------
    samples : ndarray of shape (n, n_channels)
        Samples; filled in place.
    missing : {"raise", "hold", "skip"}
        Refuse them, repeat the channel's last value, or leave the sample out. What is missing at
        the beginning of a series holds the channel's first value.
    last : ndarray of shape (n_channels,) or None
        The complete sample before; None at the beginning of a series.

    Returns
    -------
    samples : ndarray of shape (n, n_channels)
        The same.
    kept : ndarray of bool of shape (n,)
        False for samples to leave out.

    Raises
    ------
    InvalidArgumentError
        If NaN is refused, or a channel has nothing to hold.

    Examples
    --------
    >>> complete(np.array([[np.nan], [1.0], [np.nan], [2.0]]), "hold", None)[0].ravel().tolist()
    [1.0, 1.0, 1.0, 2.0]
    """
    absent = np.isnan(samples)
    incomplete = np.asarray(absent.any(axis=1))
    if not incomplete.any():
        return samples, ~incomplete
    if missing == "raise":
        raise InvalidArgumentError(
            f"{int(incomplete.sum())} samples have missing values, the first is sample "
            f"{int(incomplete.argmax())}; missing='hold' repeats a channel's last value, "
            "missing='skip' leaves such samples out."
        )
    if missing == "skip":
        return samples, ~incomplete
    for k in range(samples.shape[1]):
        _hold(samples[:, k], absent[:, k], None if last is None else float(last[k]), k)
    return samples, np.ones(len(samples), dtype=np.bool_)


def _hold(channel: Floats, absent: npt.NDArray[np.bool_], last: float | None, k: int) -> None:
    if last is None:
        if absent.all():
            raise InvalidArgumentError(
                f"channel {k} has no value at all, so there is nothing to hold; leave it out."
            )
        last = float(channel[~absent][0])
    # The index of the latest value at or before each sample; 0 for the one before the first.
    latest = np.maximum.accumulate(np.where(absent, 0, np.arange(1, len(channel) + 1)))
    channel[:] = np.concatenate([[last], channel])[latest]
