"""How far do linear maps from past to future go? DLinear and NLinear.

References
----------
Zeng, Chen, Zhang & Xu (2023). Are transformers effective for time series forecasting? AAAI 2023;
arXiv:2205.13504.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

KERNEL_SIZE = 25
"""Steps of the moving average (paper)."""


def moving_average(x: Tensor, kernel_size: int = KERNEL_SIZE) -> Tensor:
    """Average over a centred window; beyond the ends the first and last value go on.

    Parameters
    ----------
    x : Tensor, shape (..., n_channels, length)
        Series.
    kernel_size : int, default 25
        Odd number of steps.

    Returns
    -------
    Tensor
        Same shape.

    Examples
    --------
    >>> moving_average(torch.tensor([[0.0, 3.0, 6.0]]), kernel_size=3)
    tensor([[1., 3., 5.]])
    """
    half = (kernel_size - 1) // 2
    return F.avg_pool1d(F.pad(x, (half, half), mode="replicate"), kernel_size, stride=1)


class _Map(nn.Module):
    """A linear map from known to unknown steps, shared by all channels or one for each."""

    def __init__(self, input_size: int, horizon: int, n_channels: int | None) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(input_size, horizon) for _ in range(n_channels or 1))

    def forward(self, x: Tensor) -> Tensor:
        if len(self.maps) == 1:
            mapped: Tensor = self.maps[0](x)
            return mapped
        return torch.stack([f(x[:, i]) for i, f in enumerate(self.maps)], dim=1)


class DLinear(nn.Module):
    """Trend and remainder of a window, each mapped linearly to the future, and added.

    Parameters
    ----------
    input_size, horizon : int
        Known and unknown steps.
    n_channels : int
        Columns of the series.
    individual : bool, default False
        Whether each channel has maps of its own (paper: shared).

    Examples
    --------
    >>> DLinear(input_size=8, horizon=4, n_channels=2)(torch.zeros(5, 8, 2)).shape
    torch.Size([5, 4, 2])
    """

    takes_time_features: ClassVar[bool] = False

    def __init__(
        self, input_size: int, horizon: int, n_channels: int, *, individual: bool = False
    ) -> None:
        super().__init__()
        own = n_channels if individual else None
        self.seasonal = _Map(input_size, horizon, own)
        self.trend = _Map(input_size, horizon, own)

    def forward(self, x: Tensor) -> Tensor:
        """Map windows (batch, input_size, n_channels) to (batch, horizon, n_channels)."""
        x = x.transpose(1, 2)
        trend = moving_average(x)
        forecast: Tensor = self.seasonal(x - trend) + self.trend(trend)
        return forecast.transpose(1, 2)


class NLinear(nn.Module):
    """A linear map of the window relative to its last value, which is added again.

    Parameters
    ----------
    input_size, horizon : int
        Known and unknown steps.
    n_channels : int
        Columns of the series.
    individual : bool, default False
        Whether each channel has a map of its own (paper: shared).

    Examples
    --------
    >>> NLinear(input_size=8, horizon=4, n_channels=2)(torch.zeros(5, 8, 2)).shape
    torch.Size([5, 4, 2])
    """

    takes_time_features: ClassVar[bool] = False

    def __init__(
        self, input_size: int, horizon: int, n_channels: int, *, individual: bool = False
    ) -> None:
        super().__init__()
        self.map = _Map(input_size, horizon, n_channels if individual else None)

    def forward(self, x: Tensor) -> Tensor:
        """Map windows (batch, input_size, n_channels) to (batch, horizon, n_channels)."""
        last = x[:, -1:]
        forecast: Tensor = self.map((x - last).transpose(1, 2)).transpose(1, 2)
        return forecast + last
