"""Which network do the supervised selectors train?

A multi-layer perceptron that returns logits, or one number for regression. How it is trained and
which of its layers are sparse is up to the selector.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from sparsewire.featsel.training import empty_linear

ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu}


class MLP(nn.Module):
    """Linear layers with an activation between them.

    Parameters
    ----------
    sizes : sequence of int
        Neurons of every layer from the inputs to the outputs.
    activation : {"tanh", "relu"}
        Of the hidden layers.
    sparse_device : str, default "cpu"
        "meta" if the sparse layers are about to become truly sparse; dense ones stay on the CPU.
    n_dense : int, default 0
        How many layers, counted from the outputs, stay dense.
    dtype : torch.dtype, default torch.float32
        Of weights and inputs.

    Attributes
    ----------
    layers : nn.ModuleList
        The linear layers, named ``layers.0``, ``layers.1``, ... All weights start at 0.

    Examples
    --------
    >>> MLP([4, 8, 3], activation="relu")(torch.zeros(2, 4)).shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        activation: str,
        sparse_device: str = "cpu",
        n_dense: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        first_dense = len(sizes) - 1 - n_dense
        self.layers = nn.ModuleList(
            empty_linear(n_in, n_out, sparse_device if place < first_dense else "cpu", dtype)
            for place, (n_in, n_out) in enumerate(pairwise(sizes))
        )
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs, shape (n, sizes[-1]), before any softmax."""
        *hidden, last = self.layers
        for layer in hidden:
            x = ACTIVATIONS[self.activation](layer(x))
        output: Tensor = last(x)
        return output
