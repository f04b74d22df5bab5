"""What are the transformers made of? Embedding, attention, and layers of encoder and decoder.

Attention takes the scale and shift of the non-stationary transformer, or none. The blocks follow
the code of Informer and its descendants with post-normalisation; the feed-forward nets that are
convolutions of width one there are the same maps as linear layers here, which are faster.

References
----------
Vaswani et al. (2017), arXiv:1706.03762; Zhou et al. (2021), Informer, arXiv:2012.07436; Liu et al.
(2022), Non-stationary transformers, arXiv:2205.14415.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Stationarity:
    """What normalising a window took from its attention.

    Attributes
    ----------
    tau : Tensor, shape (batch, 1)
        Factor of the scores.
    delta : Tensor, shape (batch, n_keys)
        What is added to the scores of each key of the encoder.
    """

    tau: Tensor
    delta: Tensor


def positions(length: int, d_model: int) -> Tensor:
    """Return the sinusoidal code of positions, shape (length, d_model); `d_model` is even.

    Examples
    --------
    >>> positions(1, 4)
    tensor([[0., 1., 0., 1.]])
    """
    rates = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
    angles = torch.arange(length)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)


class Embedding(nn.Module):
    """Values, positions and, if there are some, time features as vectors.

    Parameters
    ----------
    n_channels, n_time_features, d_model : int
        Sizes; without time features there is no map of them.
    length : int
        Longest input.
    dropout : float
        Share of entries silenced in training.
    """

    positions: Tensor

    def __init__(
        self, n_channels: int, n_time_features: int, d_model: int, length: int, dropout: float
    ) -> None:
        super().__init__()
        self.value = nn.Conv1d(
            n_channels, d_model, 3, padding=1, padding_mode="circular", bias=False
        )
        nn.init.kaiming_normal_(self.value.weight, mode="fan_in", nonlinearity="leaky_relu")
        self.time = nn.Linear(n_time_features, d_model, bias=False) if n_time_features else None
        self.register_buffer("positions", positions(length, d_model), persistent=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, marks: Tensor | None) -> Tensor:
        """Embed (batch, length, n_channels) as (batch, length, d_model)."""
        embedded: Tensor = self.value(x.transpose(1, 2)).transpose(1, 2)
        embedded = embedded + self.positions[: x.shape[1]]
        if self.time is not None:
            embedded = embedded + self.time(marks)
        out: Tensor = self.dropout(embedded)
        return out


class Attention(nn.Module):
    """Multi-head attention whose scores may be scaled and shifted.

    Attention weights are not dropped out, which would cost a third of the training time on a CPU.

    Parameters
    ----------
    d_model, n_heads : int
        Width, a multiple of the number of heads.
    """

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.query = nn.Linear(d_model, d_model)
        self.key = nn.Linear(d_model, d_model)
        self.value = nn.Linear(d_model, d_model)
        self.out = nn.Linear(d_model, d_model)

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.n_heads, -1).transpose(1, 2)

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        *,
        causal: bool = False,
        tau: Tensor | None = None,
        delta: Tensor | None = None,
    ) -> Tensor:
        """Let every step of `x` look at `memory`: scores ``(q k * tau + delta) / sqrt(width)``."""
        query, key, value = (
            self._heads(f(z))
            for f, z in ((self.query, x), (self.key, memory), (self.value, memory))
        )
        scale = 1 / math.sqrt(query.shape[-1])
        if tau is not None:
            query = query * tau[:, None, None]
        if delta is not None:
            # q k + delta as one product, because a mask with a gradient bars the fused kernel.
            shift = delta[:, None, :, None].expand(*key.shape[:3], 1)
            query = torch.cat([query, torch.ones_like(query[..., :1])], dim=-1)
            key = torch.cat([key, shift], dim=-1)
            value = F.pad(value, (0, 1))
        seen = F.scaled_dot_product_attention(query, key, value, is_causal=causal, scale=scale)
        if delta is not None:
            seen = seen[..., :-1]
        out: Tensor = self.out(seen.transpose(1, 2).flatten(2))
        return out


class FeedForward(nn.Module):
    """Two linear maps of every step with GELU between.

    Parameters
    ----------
    d_model, d_ff : int
        Width outside and inside.
    dropout : float
        Share of entries silenced in training.
    """

    def __init__(self, d_model: int, d_ff: int, dropout: float) -> None:
        super().__init__()
        self.inner = nn.Linear(d_model, d_ff)
        self.outer = nn.Linear(d_ff, d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, length, d_model) to the same shape."""
        out: Tensor = self.dropout(self.outer(self.dropout(F.gelu(self.inner(x)))))
        return out


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward net, each added to its input and normalised.

    Parameters
    ----------
    d_model, n_heads, d_ff : int
        Sizes.
    dropout : float
        Share of entries silenced in training.
    """

    def __init__(self, d_model: int, n_heads: int, d_ff: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(d_model, n_heads)
        self.feed_forward = FeedForward(d_model, d_ff, dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(d_model) for _ in range(2))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, factors: Stationarity | None) -> Tensor:
        """Map (batch, length, d_model) to the same shape."""
        tau, delta = (None, None) if factors is None else (factors.tau, factors.delta)
        x = self.norms[0](x + self.dropout(self.attention(x, x, tau=tau, delta=delta)))
        out: Tensor = self.norms[1](x + self.feed_forward(x))
        return out


class DecoderLayer(nn.Module):
    """Causal self-attention, attention to the encoder, and feed-forward net.

    Parameters
    ----------
    d_model, n_heads, d_ff : int
        Sizes.
    dropout : float
        Share of entries silenced in training.
    """

    def __init__(self, d_model: int, n_heads: int, d_ff: int, dropout: float) -> None:
        super().__init__()
        self.self_attention = Attention(d_model, n_heads)
        self.cross_attention = Attention(d_model, n_heads)
        self.feed_forward = FeedForward(d_model, d_ff, dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(d_model) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, memory: Tensor, factors: Stationarity | None) -> Tensor:
        """Map (batch, length, d_model) to the same shape; delta is about the encoder's keys."""
        tau, delta = (None, None) if factors is None else (factors.tau, factors.delta)
        x = self.norms[0](x + self.dropout(self.self_attention(x, x, causal=True, tau=tau)))
        seen = self.cross_attention(x, memory, tau=tau, delta=delta)
        x = self.norms[1](x + self.dropout(seen))
        out: Tensor = self.norms[2](x + self.feed_forward(x))
        return out
