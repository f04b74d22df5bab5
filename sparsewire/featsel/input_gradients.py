"""How much do the outputs of a network depend on each of its inputs?

Two answers for any network of masked, truly sparse or dense linear layers: the mean absolute
derivative of the class probabilities (Atashgahi et al., 2024), and the strength of an input, the
sum of its absolute weights. When they are measured, and what is made of them, is not decided here.
"""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from sparsewire.core import SparseLinear


def class_gradients(network: nn.Module, x: Tensor) -> Tensor:
    """Return the mean absolute derivative of the class probabilities by each input.

    Parameters
    ----------
    network : nn.Module
        From rows to logits, shape (n, n_classes). Its parameters and their gradients stay as they
        are.
    x : Tensor, shape (n, d)
        Rows.

    Returns
    -------
    Tensor, shape (d,)
        ``sum_c mean_k |d p_c(x_k) / d x_kj|`` for input j, p being the softmax of the logits.

    Notes
    -----
    Exact: one backward pass per class, for the inputs alone. Memory beside that of the forward pass
    is that of two matrices like `x`, however many classes there are.

    Examples
    --------
    >>> network = nn.Linear(2, 2, bias=False)
    >>> _ = network.weight.data.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    >>> class_gradients(network, torch.zeros(5, 2))  # 1/2 and -1/2 for input 0
    tensor([1., 0.])
    """
    frozen = {name: parameter.detach() for name, parameter in network.named_parameters()}
    x = x.detach().requires_grad_()
    probabilities = functional_call(network, frozen, (x,)).softmax(1)
    if probabilities.shape[1] == 2:
        # What one of two classes gains the other loses.
        probabilities = 2 * probabilities[:, :1]
    return absolute_gradients(probabilities, x) / len(x)


def absolute_gradients(outputs: Tensor, x: Tensor) -> Tensor:
    """Return the absolute derivatives by each input, summed over outputs and rows.

    Parameters
    ----------
    outputs : Tensor, shape (n, n_outputs)
        Each row depends on the same row of `x` alone.
    x : Tensor, shape (n, d)
        The leaf of the graph.

    Returns
    -------
    Tensor, shape (d,)
        ``sum_k sum_c |d outputs_kc / d x_kj|`` for input j.

    Examples
    --------
    >>> x = torch.ones(3, 2, requires_grad=True)
    >>> absolute_gradients(x @ torch.tensor([[1.0, -2.0], [0.0, 4.0]]), x)
    tensor([ 9., 12.])
    """
    total = torch.zeros(x.shape[1], dtype=x.dtype, device=x.device)
    # The sum over rows has, row by row, the gradients of the rows.
    for column in outputs.sum(0):
        (gradient,) = torch.autograd.grad(column, x, retain_graph=True)
        total += torch.linalg.vector_norm(gradient, ord=1, dim=0)
    return total


def input_strength(layer: nn.Linear | SparseLinear) -> Tensor:
    """Return the sum of the absolute weights of each input.

    Parameters
    ----------
    layer : nn.Linear or SparseLinear
        Its inactive weights are 0.

    Returns
    -------
    Tensor, shape (in_features,)
        Strengths.

    Examples
    --------
    >>> layer = nn.Linear(2, 2)
    >>> _ = layer.weight.data.copy_(torch.tensor([[1.0, -2.0], [0.0, 4.0]]))
    >>> input_strength(layer)
    tensor([1., 6.])
    """
    weight = layer.weight.detach()
    x = weight.new_zeros((1, layer.in_features), requires_grad=True)
    # The derivative of all outputs together, had they these weights: no layer has to be unpacked.
    outputs = functional_call(layer, {"weight": weight.abs()}, (x,))
    (strength,) = torch.autograd.grad(outputs.sum(), x)
    return strength[0]
