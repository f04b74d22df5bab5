"""Which network do the unsupervised selectors train?

One hidden sigmoid layer, encoder and decoder, with every random choice taken from a given
generator. How it is trained and made sparse is up to the selector.
"""

from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from sparsewire.core import SparseLinear

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
    ) -> None:
        super().__init__()
        self.encoder: nn.Module = _zero_linear(n_features, hidden_size, device)
        self.decoder: nn.Module = _zero_linear(hidden_size, n_features, device)
        self.dropout = dropout
        self.output_activation = output_activation

    def forward(self, x: Tensor, generator: np.random.Generator) -> Tensor:
        """Return the reconstruction of `x`, shape (n, n_features), with dropout drawn anew."""
        hidden = torch.sigmoid(self.encoder(x))
        if self.dropout:
            # Drawn neuron by neuron, which is how a sparse layer lays out its output.
            draw = generator.random((hidden.shape[1], hidden.shape[0]), dtype=np.float32)
            heard = torch.from_numpy((draw >= self.dropout).astype(np.float32))
            hidden = _Silence.apply(hidden, heard.t().to(hidden.device))  # type: ignore[no-untyped-call]
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


def _zero_linear(n_in: int, n_out: int, device: str) -> nn.Linear:
    """Build a layer without its usual initialisation, which draws from the global generator."""
    linear = nn.Linear(n_in, n_out, device="meta", dtype=torch.float32)
    if device == "meta":
        return linear
    linear = linear.to_empty(device=device)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def resolve_device(device: str) -> torch.device:
    """Return the device for "cpu", "cuda" or "auto"; raise RuntimeError if CUDA is missing.

    Examples
    --------
    >>> resolve_device("cpu")
    device(type='cpu')
    """
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise RuntimeError("device='cuda' but no CUDA device is available; use 'cpu' or 'auto'.")
    return torch.device("cuda" if available and device != "cpu" else "cpu")


def to_csr(layer: nn.Module) -> sparse.csr_array:
    """Return a layer's connections as a CSR array of shape (inputs, outputs), float32.

    Active connections of weight 0 are stored too.

    Parameters
    ----------
    layer : nn.Linear or SparseLinear
        A masked or a truly sparse layer.
    """
    if isinstance(layer, nn.Linear):
        layer = SparseLinear.from_masked(layer)
    assert isinstance(layer, SparseLinear)
    return layer.to_scipy().T.tocsr()
