"""How does a recurrent network forecast a window? From the hidden state at its end, in one pass.

Values are taken relative to the last one, which is added again, as NLinear does: series whose level
moves are beyond the reach of a hidden state that has not seen the level in training.

References
----------
Liu, Mocanu, Pei & Pechenizkiy (2021). Selfish sparse RNN training. ICML 2021; arXiv:2101.09048.
Zeng, Chen, Zhang & Xu (2023). Are transformers effective for time series forecasting? AAAI 2023;
arXiv:2205.13504.
"""

from typing import ClassVar, Literal

from torch import Tensor, nn

from sparsewire.timeseries.recurrent.backbones import CELLS


class RecurrentForecaster(nn.Module):
    """Recurrent layers and a linear head for windows of a series.

    Parameters
    ----------
    input_size, horizon : int
        Known and unknown steps.
    n_channels : int
        Columns of the series.
    cell : {"lstm", "gru"}, default "lstm"
        Kind of the layers.
    d_model : int, default 64
        Hidden units of every layer. The paper's 1500 are for language.
    n_layers : int, default 2
        Layers (paper).
    dropout : float, default 0.05
        Share of hidden values dropped between layers and before the head in training.

    Examples
    --------
    >>> import torch
    >>> model = RecurrentForecaster(input_size=8, horizon=4, n_channels=2, d_model=8)
    >>> model(torch.zeros(5, 8, 2)).shape
    torch.Size([5, 4, 2])
    """

    takes_time_features: ClassVar[bool] = False

    def __init__(
        self,
        input_size: int,
        horizon: int,
        n_channels: int,
        *,
        cell: Literal["lstm", "gru"] = "lstm",
        d_model: int = 64,
        n_layers: int = 2,
        dropout: float = 0.05,
    ) -> None:
        super().__init__()
        self.backbone = CELLS[cell](
            n_channels, d_model, n_channels, n_layers=n_layers, horizon=horizon, dropout=dropout
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map windows (batch, input_size, n_channels) to (batch, horizon, n_channels)."""
        last = x[:, -1:]
        forecast: Tensor = self.backbone(x - last)
        return forecast + last
