"""Which network do the unsupervised selectors train?

One hidden sigmoid layer, encoder and decoder, with every random choice taken from a given
generator. How it is trained and made sparse is up to the selector.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sparsewire.featsel.training import empty_linear

INITIAL_STD = 0.1
"""Standard deviation of initial weights in the released QuickSelection code."""


class Autoencoder(nn.Module):
    """An autoencoder with one hidden sigmoid layer and dropout.

    Parameters
    ----------
    n_features, hidden_size : int
        Width of input and output, and of the hidden layer.
    dropout : float
        Share of hidden neurons silenced in a forward pass. The gradient passes as if none were, and
        the others are not scaled up, as in the released QuickSelection code.
    output_activation : {"linear", "tanh"}
        Activation of the output layer.
    device : str, default "cpu"
        "meta" if the layers are about to become truly sparse. The weights start at 0: what they are
        to be is drawn connection by connection, once there is a topology.
    dtype : torch.dtype, default torch.float32
        Of weights and inputs.

    Examples
    --------
    >>> network = Autoencoder(4, 8, dropout=0.2, output_activation="linear")
    >>> network(torch.zeros(2, 4), np.random.default_rng(0)).shape
    torch.Size([2, 4])
    """

    def __init__(
        self,
        n_features: int,
        hidden_size: int,
        *,
        dropout: float,
        output_activation: str,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.encoder: nn.Module = empty_linear(n_features, hidden_size, device, dtype)
        self.decoder: nn.Module = empty_linear(hidden_size, n_features, device, dtype)
        self.dropout = dropout
        self.output_activation = output_activation

    @property
    def layers(self) -> tuple[nn.Module, nn.Module]:
        """Encoder and decoder."""
        return self.encoder, self.decoder

    def forward(self, x: Tensor, generator: np.random.Generator) -> Tensor:
        """Return the reconstruction of `x`, shape (n, n_features), with dropout drawn anew."""
        hidden = torch.sigmoid(self.encoder(x))
        if self.dropout:
            # Drawn neuron by neuron, which is how a sparse layer lays out its output.
            draw = generator.random((hidden.shape[1], hidden.shape[0]), dtype=np.float32)
            heard = torch.from_numpy((draw >= self.dropout).astype(np.float32))
            hidden = _Silence.apply(hidden, heard.t().to(hidden))  # type: ignore[no-untyped-call]
        output: Tensor = self.decoder(hidden)
        return torch.tanh(output) if self.output_activation == "tanh" else output


class _Silence(torch.autograd.Function):
    """Multiply, with the gradient of having changed nothing."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, heard: Tensor) -> Tensor:
        return x * heard

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None]:
        return dy, None
