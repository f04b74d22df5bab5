"""What becomes of a series before a network sees it? Training rows, scale, windows, time features.

The scale is that of the training rows alone. Series seen later are brought to it.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from sparsewire.core.errors import InvalidArgumentError
from sparsewire.timeseries.forecasting.containers import History
from sparsewire.timeseries.forecasting.windows import Windows, time_features
from sparsewire.timeseries.protocols import Standardisation, standardise

Array = npt.NDArray[np.float64]


def training_rows(n_rows: int, input_size: int, horizon: int, held_out: float | int) -> int:
    """Return how many of the first rows are trained on.

    Parameters
    ----------
    n_rows : int
        Rows of the series.
    input_size, horizon : int
        Known and unknown steps of a window.
    held_out : float or int
        Share or number of the last rows, which are not trained on.

    Raises
    ------
    InvalidArgumentError
        If training or validation rows hold no window.

    Examples
    --------
    >>> training_rows(100, input_size=20, horizon=10, held_out=0.2)
    80
    """
    n_held = int(held_out) if isinstance(held_out, (int, np.integer)) else int(n_rows * held_out)
    needed = input_size + horizon
    if n_rows - n_held < needed or n_held < horizon:
        raise InvalidArgumentError(
            f"y has {n_rows} rows, {n_held} of them for validation; training needs at least "
            f"input_size + horizon = {needed} and validation at least horizon = {horizon}. Give a "
            "longer series, or lower input_size or horizon."
        )
    return n_rows - n_held


def marks(times: pd.DatetimeIndex) -> Array:
    """Return the time features of equally spaced times; see `time_features`."""
    return time_features(times, times[1] - times[0])


@dataclass(frozen=True)
class Preparation:
    """How a series is turned into windows.

    Attributes
    ----------
    input_size, horizon : int
        Known and unknown steps.
    n_time_features : int
        Time features of every step; 0 if the series had no times or the network takes none.
    standardisation : Standardisation
        Mean and deviation of each column.
    """

    input_size: int
    horizon: int
    n_time_features: int
    standardisation: Standardisation

    @classmethod
    def fit(
        cls,
        history: History,
        n_train: int,
        *,
        input_size: int,
        horizon: int,
        scaled: bool,
        takes_time: bool,
    ) -> Self:
        """Learn the scale from the first `n_train` rows.

        Raises
        ------
        InvalidArgumentError
            If a column is constant there and is to be scaled.
        """
        n_channels = history.values.shape[1]
        fitted = Standardisation(mean=np.zeros(n_channels), scale=np.ones(n_channels))
        if scaled:
            _, fitted = standardise(history.values, n_train)
        times = history.times if takes_time else None
        return cls(input_size, horizon, 0 if times is None else marks(times).shape[1], fitted)

    @property
    def n_channels(self) -> int:
        """Columns of the series."""
        return len(self.standardisation.mean)

    def windows(
        self, history: History, first: int, stop: int, device: torch.device | None = None
    ) -> Windows:
        """Return all windows of the rows from `first` to before `stop`."""
        known = None
        if self.n_time_features:
            assert history.times is not None
            known = marks(history.times)[first:stop]
        values = self.standardisation.transform(history.values[first:stop])
        return self._cut(values, known, device)

    def _cut(self, values: Array, known: Array | None, device: torch.device | None) -> Windows:
        return Windows(
            values, known, input_size=self.input_size, horizon=self.horizon, device=device
        )

    def last_window(self, history: History) -> Windows:
        """Return the one window whose known steps are the last of a series, and zeros after."""
        known = self.standardisation.transform(history.values[-self.input_size :])
        unknown = np.zeros((self.horizon, self.n_channels))
        features = None
        if self.n_time_features:
            times = history.times
            assert times is not None
            future = pd.date_range(times[-1], periods=self.horizon + 1, freq=times.freq)[1:]
            features = marks(pd.DatetimeIndex(times[-self.input_size :].append(future)))
        return self._cut(np.concatenate([known, unknown]), features, None)

    def check(self, history: History) -> None:
        """Raise `InvalidArgumentError` unless a later series is like that of `fit`."""
        if (found := history.values.shape[1]) != self.n_channels:
            raise InvalidArgumentError(
                f"y has {found} columns, the forecaster was fitted to {self.n_channels}."
            )
        if self.n_time_features and history.times is None:
            raise InvalidArgumentError(
                "the forecaster was fitted to a series with times; give y an index of times."
            )

    def tail(self, history: History) -> History:
        """Keep of a series what a forecast needs, and at least three rows to tell its frequency.

        Raises
        ------
        InvalidArgumentError
            If the series is shorter than `input_size`.
        """
        if (found := len(history.values)) < self.input_size:
            raise InvalidArgumentError(
                f"y has {found} rows; a forecast needs the last input_size = {self.input_size}."
            )
        size = max(self.input_size, 3)
        return replace(
            history,
            values=history.values[-size:],
            index=None if history.index is None else history.index[-size:],
            times=None if history.times is None else history.times[-size:],
        )
