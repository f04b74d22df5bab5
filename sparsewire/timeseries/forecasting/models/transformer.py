"""How does a plain encoder-decoder transformer forecast a window?

The decoder sees the last known values followed by zeros in the place of the future, and fills them
in one pass.

References
----------
Vaswani et al. (2017), arXiv:1706.03762, in the form of Zhou et al. (2021), Informer,
arXiv:2012.07436, with full attention.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from sparsewire.timeseries.forecasting.models.layers import (
    DecoderLayer,
    Embedding,
    EncoderLayer,
    Stationarity,
)


class Transformer(nn.Module):
    """Encoder-decoder transformer for windows of a series.

    Parameters
    ----------
    input_size, horizon : int
        Known and unknown steps.
    n_channels : int
        Columns of the series.
    n_time_features : int, default 0
        Time features of every step, known and unknown.
    label_size : int or None, default None
        Known steps that the decoder sees; None is half of `input_size` (paper: 48 of 96).
    d_model, n_heads, d_ff : int, default 64, 4, 128
        Width, heads, and width of the feed-forward nets. The paper's 512, 8 and 2048 take half an
        hour per epoch on a CPU.
    n_encoder_layers, n_decoder_layers : int, default 2 and 1
        Layers (paper).
    dropout : float, default 0.05
        Share of entries silenced in training (paper).

    Examples
    --------
    >>> model = Transformer(input_size=8, horizon=4, n_channels=2, d_model=8, n_heads=2, d_ff=8)
    >>> model(torch.zeros(5, 8, 2)).shape
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
        label_size: int | None = None,
        d_model: int = 64,
        n_heads: int = 4,
        d_ff: int = 128,
        n_encoder_layers: int = 2,
        n_decoder_layers: int = 1,
        dropout: float = 0.05,
    ) -> None:
        super().__init__()
        self.label_size = input_size // 2 if label_size is None else label_size
        self.horizon = horizon
        shape = (d_model, n_heads, d_ff, dropout)
        embedding = (n_channels, n_time_features, d_model)
        self.encoder_embedding = Embedding(*embedding, input_size, dropout)
        self.decoder_embedding = Embedding(*embedding, self.label_size + horizon, dropout)
        self.encoder = nn.ModuleList(EncoderLayer(*shape) for _ in range(n_encoder_layers))
        self.decoder = nn.ModuleList(DecoderLayer(*shape) for _ in range(n_decoder_layers))
        self.encoder_norm = nn.LayerNorm(d_model)
        self.decoder_norm = nn.LayerNorm(d_model)
        self.output = nn.Linear(d_model, n_channels)

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
        return self.translate(x, marks, None)

    def translate(self, x: Tensor, marks: Tensor | None, factors: Stationarity | None) -> Tensor:
        """Run encoder and decoder, with the scale and shift of attention scores if given."""
        length = x.shape[1]
        known = x[:, length - self.label_size :]
        future = x.new_zeros(x.shape[0], self.horizon, x.shape[2])
        earlier = later = None
        if marks is not None:
            earlier, later = marks[:, :length], marks[:, length - self.label_size :]
        memory: Tensor = self.encoder_embedding(x, earlier)
        for layer in self.encoder:
            memory = layer(memory, factors)
        memory = self.encoder_norm(memory)
        hidden: Tensor = self.decoder_embedding(torch.cat([known, future], dim=1), later)
        for layer in self.decoder:
            hidden = layer(hidden, memory, factors)
        out: Tensor = self.output(self.decoder_norm(hidden[:, -self.horizon :]))
        return out
