"""Which network do the unsupervised selectors train?

One hidden sigmoid layer, encoder and decoder, with every random choice taken from a given
generator. How it is trained and made sparse is up to the selector.
"""

import torch
from scipy import sparse
from torch import Tensor, nn

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
    generator : torch.Generator
        CPU generator of the initial weights, normal with standard deviation ``INITIAL_STD``;
        biases start at 0.

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> network = Autoencoder(
    ...     4, 8, dropout=0.2, output_activation="linear", generator=generator
    ... )
    >>> network(torch.zeros(2, 4), generator).shape
    torch.Size([2, 4])
    """

    def __init__(
        self,
        n_features: int,
        hidden_size: int,
        *,
        dropout: float,
        output_activation: str,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.encoder = _empty_linear(n_features, hidden_size)
        self.decoder = _empty_linear(hidden_size, n_features)
        self.dropout = dropout
        self.output_activation = output_activation
        with torch.no_grad():
            for layer in (self.encoder, self.decoder):
                layer.weight.normal_(0.0, INITIAL_STD, generator=generator)
                layer.bias.zero_()

    def forward(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return the reconstruction of `x`, shape (n, n_features), with dropout drawn anew."""
        hidden = torch.sigmoid(self.encoder(x))
        if self.dropout:
            draw = torch.rand(hidden.shape, generator=generator, device="cpu", dtype=torch.float32)
            kept = (draw >= self.dropout).to(hidden)
            # The value is that of dropout, the gradient that of no dropout.
            hidden = hidden + (hidden * kept - hidden).detach()
        output: Tensor = self.decoder(hidden)
        return torch.tanh(output) if self.output_activation == "tanh" else output


def _empty_linear(n_in: int, n_out: int) -> nn.Linear:
    """Build a layer on "meta", as its usual initialisation draws from the global generator."""
    return nn.Linear(n_in, n_out, device="meta", dtype=torch.float32).to_empty(device="cpu")


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


def to_csr(weight: Tensor, mask: Tensor) -> sparse.csr_array:
    """Return a layer's connections as a CSR array of shape (inputs, outputs).

    Active connections of weight 0 are stored too.

    Parameters
    ----------
    weight, mask : Tensor, shape (outputs, inputs)
        CPU tensors; `mask` is bool.
    """
    rows, columns = mask.T.numpy().nonzero()
    values = weight.detach().T.numpy()[rows, columns]
    return sparse.csr_array((values, (rows, columns)), shape=tuple(reversed(weight.shape)))
