"""How is a series cut into windows, and what does a network get to know about time?

A window is `input_size` known steps followed by `horizon` unknown ones; there is one at every
position and none is dropped.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from sparsewire.timeseries.protocols import n_windows

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Some windows.

    Attributes
    ----------
    x : Tensor, shape (n, input_size, n_channels)
        Known values.
    y : Tensor, shape (n, horizon, n_channels)
        What follows.
    marks : Tensor or None, shape (n, input_size + horizon, n_time_features)
        Time features of both.
    """

    x: Tensor
    y: Tensor
    marks: Tensor | None


class Windows:
    """All windows of consecutive rows, cut when they are asked for.

    Parameters
    ----------
    values : ndarray, shape (n_rows, n_channels)
        Rows in the order of time; taken as float32.
    marks : ndarray or None, shape (n_rows, n_time_features)
        Time features.
    input_size, horizon : int
        Known and unknown steps.
    device : torch.device
        Where windows are made.

    Raises
    ------
    InvalidArgumentError
        If the rows hold no window.

    Examples
    --------
    >>> windows = Windows(np.arange(10.0)[:, None], None, input_size=3, horizon=2)
    >>> batch = windows.batch(np.array([0, 5]))
    >>> len(windows), batch.x[1, :, 0].tolist(), batch.y[1, :, 0].tolist()
    (6, [5.0, 6.0, 7.0], [8.0, 9.0])
    """

    def __init__(
        self,
        values: npt.NDArray[np.float64],
        marks: npt.NDArray[np.float64] | None,
        *,
        input_size: int,
        horizon: int,
        device: torch.device | None = None,
    ) -> None:
        n_windows(len(values), input_size, horizon)  # raises
        self.input_size = input_size
        self.horizon = horizon
        self._values = self._cut(values, device)
        self._marks = None if marks is None else self._cut(marks, device)

    def _cut(self, rows: npt.NDArray[np.float64], device: torch.device | None) -> Tensor:
        tensor = torch.from_numpy(np.array(rows, dtype=np.float32)).to(device)
        return tensor.unfold(0, self.input_size + self.horizon, 1)

    def __len__(self) -> int:
        return len(self._values)

    def batch(self, rows: Rows) -> Batch:
        """Return the windows that begin at these rows."""
        index = torch.from_numpy(rows).to(self._values.device)
        window = self._values[index].transpose(1, 2)
        marks = None if self._marks is None else self._marks[index].transpose(1, 2)
        return Batch(window[:, : self.input_size], window[:, self.input_size :], marks)

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield all windows in order."""
        for start in range(0, len(self), size):
            yield self.batch(np.arange(start, min(start + size, len(self))))


def spread(n: int, count: int | None) -> Rows:
    """Return `count` of `n` positions, evenly spaced from the first to the last; all if None.

    Examples
    --------
    >>> spread(10, 4), spread(3, 5)
    (array([0, 3, 6, 9]), array([0, 1, 2]))
    """
    if count is None or count >= n:
        return np.arange(n)
    return np.linspace(0, n - 1, count).round().astype(np.int64)


def time_features(times: pd.DatetimeIndex, step: pd.Timedelta) -> npt.NDArray[np.float64]:
    """Return where each time lies in hour, day, week, month and year, each in [-0.5, 0.5].

    Parameters
    ----------
    times : DatetimeIndex
        The times.
    step : Timedelta
        Between two of them; what is shorter than that is left out.

    Returns
    -------
    ndarray of float64, shape (n, n_features)
        Minute of the hour, hour of the day, day of the week, of the month and of the year, as in
        Informer's code for the frequencies it knows.

    Examples
    --------
    >>> times = pd.date_range("2024-01-01 23:00", periods=2, freq="h")
    >>> time_features(times, pd.Timedelta("1h")).round(2).tolist()
    [[0.5, -0.5, -0.5, -0.5], [-0.5, -0.33, -0.47, -0.5]]
    """
    columns = [(times.day - 1) / 30, (times.day_of_year - 1) / 365]
    if step < pd.Timedelta(weeks=1):
        columns.insert(0, times.day_of_week / 6)
    if step < pd.Timedelta(days=1):
        columns.insert(0, times.hour / 23)
    if step < pd.Timedelta(hours=1):
        columns.insert(0, times.minute / 59)
    return np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1) - 0.5
