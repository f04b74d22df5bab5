"""How does a transformer forecast series whose level and spread change?

Every window is normalised and the forecast brought back; what that hides from attention is given
back to its scores by a learned scale and shift of the raw window.

References
----------
Liu, Wu, Wang & Long (2022). Non-stationary transformers: exploring the stationarity in time series
forecasting. NeurIPS 2022; arXiv:2205.14415.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from sparsewire.timeseries.forecasting.models.layers import Stationarity
from sparsewire.timeseries.forecasting.models.transformer import Transformer


class Projector(nn.Module):
    """A perceptron of a raw window and one of its statistics.

    Parameters
    ----------
    input_size, n_channels : int
        Shape of a window.
    hidden : sequence of int
        Neurons of each hidden layer.
    n_outputs : int
        Numbers per window.
    """

    def __init__(
        self, input_size: int, n_channels: int, hidden: Sequence[int], n_outputs: int
    ) -> None:
        super().__init__()
        self.series = nn.Conv1d(input_size, 1, 3, padding=1, padding_mode="circular", bias=False)
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise([2 * n_channels, *hidden]):
            layers += [nn.Linear(n_in, n_out), nn.ReLU()]
        self.perceptron = nn.Sequential(*layers, nn.Linear(hidden[-1], n_outputs, bias=False))

    def forward(self, x: Tensor, statistic: Tensor) -> Tensor:
        """Map (batch, input_size, n_channels) and (batch, 1, n_channels) to (batch, n_outputs)."""
        both = torch.cat([self.series(x), statistic], dim=1)
        out: Tensor = self.perceptron(both.flatten(1))
        return out


class NSTransformer(nn.Module):
    """Non-stationary transformer.

    Parameters
    ----------
    input_size, horizon : int
        Known and unknown steps.
    n_channels : int
        Columns of the series.
    n_time_features : int, default 0
        Time features of every step, known and unknown.
    projector_sizes : sequence of int, default (64, 64)
        Hidden layers of the two projectors (paper: 8 to 256 wide, by data set and horizon).
    label_size, d_model, n_heads, d_ff, n_encoder_layers, n_decoder_layers, dropout
        As for `Transformer`.

    Examples
    --------
    >>> model = NSTransformer(input_size=8, horizon=4, n_channels=2, d_model=8, n_heads=2, d_ff=8)
    >>> shift = torch.tensor([1000.0, -5.0])
    >>> x = torch.randn(5, 8, 2, generator=torch.Generator().manual_seed(0))
    >>> model.eval()(x + shift).shape
    torch.Size([5, 4, 2])
    """

    takes_time_features: ClassVar[bool] = True

    def __init__(
        self,
        input_size: int,
        horizon: int,
        n_channels: int,
        *,
        n_time_features: int = 0,
        projector_sizes: Sequence[int] = (64, 64),
        label_size: int | None = None,
        d_model: int = 64,
        n_heads: int = 4,
        d_ff: int = 128,
        n_encoder_layers: int = 2,
        n_decoder_layers: int = 1,
        dropout: float = 0.05,
    ) -> None:
        super().__init__()
        self.transformer = Transformer(
            input_size,
            horizon,
            n_channels,
            n_time_features=n_time_features,
            label_size=label_size,
            d_model=d_model,
            n_heads=n_heads,
            d_ff=d_ff,
            n_encoder_layers=n_encoder_layers,
            n_decoder_layers=n_decoder_layers,
            dropout=dropout,
        )
        self.tau = Projector(input_size, n_channels, projector_sizes, 1)
        self.delta = Projector(input_size, n_channels, projector_sizes, input_size)

    def forward(self, x: Tensor, marks: Tensor | None = None) -> Tensor:
        """Forecast windows.

        Parameters
        ----------
        x : Tensor, shape (batch, input_size, n_channels)
            Known values.
        marks : Tensor or None, shape (batch, input_size + horizon, n_time_features)
            Time features of known and unknown steps; None if the model has none.

        Returns
        -------
        Tensor, shape (batch, horizon, n_channels)
        """
        # What normalises a window is no path for gradients, as in the released code.
        mean = x.mean(dim=1, keepdim=True).detach()
        scale = torch.sqrt(x.var(dim=1, keepdim=True, correction=0) + 1e-5).detach()
        factors = Stationarity(self.tau(x, scale).exp(), self.delta(x, mean))
        forecast = self.transformer.translate((x - mean) / scale, marks, factors)
        return forecast * scale + mean
