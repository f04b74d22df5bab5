"""How does a sparse layer take the place of a dense one in a model and its optimizer?

The module is exchanged wherever the model holds it; the optimizer gets the new parameters in the
place of the old, with what state it had for them.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sparsewire.core.csr.layer import SparseLinear
from sparsewire.core.errors import UnsupportedError


def obstacle(model: nn.Module, linear: nn.Module) -> str | None:
    """Return why a module cannot become a `SparseLinear`, or None if it can.

    Examples
    --------
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(3, 2), nn.Conv1d(1, 1, 1))
    >>> obstacle(model, model[0]), obstacle(model, model[1])
    (None, 'not an nn.Linear but Conv1d')
    """
    if type(linear) is not nn.Linear:
        return f"not an nn.Linear but {type(linear).__name__}"
    if linear is model:
        return "the model itself; wrap it in nn.Sequential"
    if linear.weight.dtype not in (torch.float32, torch.float64):
        return f"of {linear.weight.dtype}"
    if any(linear in layer.modules() for layer in _layers_that_look_inside(model)):
        return "inside nn.TransformerEncoderLayer, which reads its dense weight"
    if any(
        type(m).__name__ == "OptimizedModule" and linear in m.modules() for m in model.modules()
    ):
        return "compiled by itself"
    if _is_watched(linear):
        return "hooked"
    if _is_held_elsewhere(model, linear):
        return "held by its parent outside the module tree, too"
    return None


def _is_watched(linear: nn.Linear) -> bool:
    hooks = [
        linear._forward_hooks,
        linear._forward_pre_hooks,
        linear._backward_hooks,
        linear._backward_pre_hooks,
    ]
    for parameter in linear.parameters():
        hooks += [parameter._backward_hooks or {}]
        hooks += [getattr(parameter, "_post_accumulate_grad_hooks", None) or {}]
    return any(hooks) or "forward" in vars(linear)


def _is_held_elsewhere(model: nn.Module, linear: nn.Linear) -> bool:
    for module in model.modules():
        for name, value in vars(module).items():
            if name == "_modules":
                continue
            held = value.values() if isinstance(value, dict) else value
            if held is linear or (
                isinstance(value, (list, tuple, dict)) and any(item is linear for item in held)
            ):
                return True
    return False


def _layers_that_look_inside(model: nn.Module) -> list[nn.Module]:
    return [m for m in model.modules() if isinstance(m, nn.TransformerEncoderLayer)]


@torch.no_grad()
def replace_linear(
    model: nn.Module,
    optimizer: Optimizer,
    linear: nn.Linear,
    positions: Tensor,
    generator: torch.Generator,
    biases: dict[nn.Parameter, nn.Parameter],
) -> SparseLinear:
    """Replace a dense layer by the given connections of it.

    Weights, bias and same-shape optimizer state are taken over. A layer on the "meta" device has
    no weights; the new one draws its own, on the CPU.

    Parameters
    ----------
    model, optimizer : nn.Module, Optimizer
        What holds the layer and its parameters; changed in place.
    linear : nn.Linear
        A layer without `obstacle`.
    positions : Tensor, int64
        Flat row-major positions of the connections, ascending.
    generator : torch.Generator
        CPU generator, drawn from for a layer on "meta" only.
    biases : dict
        Biases on "meta" and what has taken their place; added to.

    Returns
    -------
    SparseLinear
        The new layer.
    """
    meta = linear.weight.is_meta
    device = torch.device("cpu") if meta else linear.weight.device
    taken = positions.to(device)
    empty = torch.zeros(len(positions), dtype=linear.weight.dtype, device=device)
    values = empty if meta else linear.weight.detach().flatten()[taken]
    bias = None
    if linear.bias is not None:
        bias = torch.zeros_like(linear.bias, device=device) if meta else linear.bias.detach()
    layer = SparseLinear.from_positions(
        linear.in_features, linear.out_features, positions, values, bias
    )
    layer.train(linear.training)
    if meta:
        layer.reset_parameters(generator)
    elif linear.bias is not None:
        layer.bias = linear.bias
    # The only optimizer of torch's that has state before its first step is Adagrad.
    first = optimizer.defaults.get("initial_accumulator_value", 0.0)
    replace_parameter(
        optimizer,
        linear.weight,
        layer.weight,
        lambda state: (
            torch.full_like(layer.weight, first)
            if state.is_meta
            else layer.stored(state.flatten()[taken])
        ),
    )
    if meta and layer.bias is not None:
        new = layer.bias = biases.setdefault(linear.bias, layer.bias)
        replace_parameter(optimizer, linear.bias, new, lambda state: torch.full_like(new, first))
    replace_module(model, linear, layer)
    return layer


def replace_module(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put `new` wherever `model` holds `old`."""
    found = False
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child is old:
                parent._modules[name] = new
                found = True
    if not found:
        raise UnsupportedError("the layer to be replaced is not part of the model any more.")


def replace_parameter(
    optimizer: Optimizer, old: Tensor, new: nn.Parameter, convert: Callable[[Tensor], Tensor]
) -> None:
    """Put `new` in the place of `old`, with converted copies of state of the old one's shape."""
    new.requires_grad_(old.requires_grad)
    for group in optimizer.param_groups:
        group["params"][:] = [new if p is old else p for p in group["params"]]
    if state := optimizer.state.pop(old, None):
        optimizer.state[new] = {
            key: _converted(value, old, new, convert) for key, value in state.items()
        }


def _converted(
    value: object, old: Tensor, new: Tensor, convert: Callable[[Tensor], Tensor]
) -> object:
    if not isinstance(value, Tensor):
        return value
    if value.shape == old.shape:
        return convert(value)
    # A counter that was made for a parameter on "meta" has not counted anything yet.
    return torch.zeros_like(value, device=new.device) if value.is_meta else value
