"""Which activation suits very sparse multilayer perceptrons?

All-ReLU, whose slope on the negative side changes sign from one hidden layer to the next.
"""

from torch import Tensor, nn
from torch.nn import functional

from sparsewire.core._validation import check_integer, check_positive


class AllReLU(nn.Module):
    """Identity for positive x; otherwise ``-alpha * x`` in odd, ``alpha * x`` in even layers.

    Parameters
    ----------
    alpha : float, default 0.6
        Size of the slope, at least 0; 0.6 on MNIST and Fashion-MNIST and 0.75 on CIFAR-10 in the
        released code.
    layer : int, default 1
        Number of the hidden layer it follows, counted from 1.

    Raises
    ------
    InvalidArgumentError
        If `alpha` is negative or `layer` below 1.

    References
    ----------
    Curci, Mocanu & Pechenizkiy (2021). Truly sparse neural networks at scale; arXiv:2102.01732.

    Examples
    --------
    >>> import torch
    >>> x = torch.tensor([-1.0, 2.0])
    >>> AllReLU(0.6, layer=1)(x), AllReLU(0.6, layer=2)(x)
    (tensor([0.6000, 2.0000]), tensor([-0.6000,  2.0000]))
    """

    def __init__(self, alpha: float = 0.6, layer: int = 1) -> None:
        super().__init__()
        check_positive("alpha", alpha, or_zero=True)
        check_integer("layer", layer, minimum=1)
        self.alpha = alpha
        self.layer = layer

    def forward(self, input: Tensor) -> Tensor:
        """Apply the function to every entry; strides are kept."""
        slope = -self.alpha if self.layer % 2 else self.alpha
        return functional.leaky_relu(input, slope)

    def extra_repr(self) -> str:
        """Show the parameters."""
        return f"alpha={self.alpha}, layer={self.layer}"
