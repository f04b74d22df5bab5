"""What has to be done around an optimizer's step?

The optimizer is the seam between the engine and a user's training loop. This module knows how to
find the optimizer's state of a parameter, which optimizers work, whether a fused optimizer is about
to skip a step, and how to see the gradients that a closure computes. It decides nothing about
topology.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import (
    ASGD,
    LBFGS,
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    NAdam,
    Optimizer,
    RAdam,
    RMSprop,
)

from sparsewire.core.errors import CheckpointError, UnsupportedError
from sparsewire.core.storage import Store

Closure = Callable[[], Any]

_SECOND_MOMENTS = ("exp_avg_sq", "max_exp_avg_sq", "square_avg")
_ZERO_TO_ZERO = (SGD, Adam, AdamW, RMSprop, Adagrad, Adadelta, NAdam, RAdam, ASGD)


def check_optimizer(optimizer: object, *, dynamic: bool) -> None:
    """Raise `UnsupportedError` if the engine cannot drive this optimizer correctly.

    Parameters
    ----------
    optimizer : object
        What the user passed.
    dynamic : bool
        Whether the method changes the topology.

    Raises
    ------
    UnsupportedError
        If it is no ``torch.optim.Optimizer``, shards its state (ZeRO), or is L-BFGS with a changing
        topology.
    """
    if not isinstance(optimizer, Optimizer):
        raise UnsupportedError(
            f"optimizer must be a torch.optim.Optimizer, got {type(optimizer).__name__}."
        )
    if type(optimizer).__name__ == "ZeroRedundancyOptimizer":
        raise UnsupportedError(
            "ZeroRedundancyOptimizer shards its state over processes, which topology updates "
            "cannot follow; use a plain optimizer under DistributedDataParallel."
        )
    if dynamic and isinstance(optimizer, LBFGS):
        raise UnsupportedError(
            "LBFGS keeps the curvature of a fixed set of weights and computes gradients inside its "
            "step, so the topology cannot change under it; use method='static' or another "
            "optimizer."
        )


def held_parameters(optimizer: Optimizer) -> list[Tensor]:
    """Return all parameters of an optimizer.

    Examples
    --------
    >>> import torch
    >>> len(held_parameters(torch.optim.SGD(torch.nn.Linear(2, 2).parameters(), lr=0.1)))
    2
    """
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def maps_zero_to_zero(optimizer: Optimizer) -> bool:
    """Tell whether weights of value, gradient and state 0 certainly stay so in a step.

    True for the torch optimizers whose update has been checked for it, but not for subclasses, and
    only if ``eps`` does not vanish in the precision of a parameter, where 0 / 0 would be NaN.
    """
    return type(optimizer) in _ZERO_TO_ZERO and all(
        group.get("eps", 1.0) >= torch.finfo(parameter.dtype).smallest_normal
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.is_floating_point()
    )


def state_tensors(optimizer: Optimizer, parameter: Tensor) -> list[Tensor]:
    """Return the optimizer's state tensors that have the parameter's shape, such as momentum."""
    state = optimizer.state.get(parameter, {})
    return [
        value
        for value in state.values()
        if isinstance(value, Tensor) and value.shape == parameter.shape
    ]


def second_moments(optimizer: Optimizer, parameter: Tensor) -> list[Tensor]:
    """Return the tensors of which Adam and RMSprop take the square root."""
    state = optimizer.state.get(parameter, {})
    return [state[name] for name in _SECOND_MOMENTS if name in state]


def warm_second_moments_(store: Store, optimizer: Optimizer) -> None:
    """Set second moments of connections that are exactly 0 to the mean of the others.

    Zero are those of new connections, and of such as have never had a gradient.
    """
    for moment in second_moments(optimizer, store.weight):
        known = torch.count_nonzero(moment)
        if known:
            moment.copy_(torch.where(moment == 0, moment.sum() / known, moment))
            store.zero_inactive_(moment)


def check_state(
    state: object, optimizer: Optimizer, shapes: Mapping[int, torch.Size] | None = None
) -> None:
    """Raise `CheckpointError` unless a ``state_dict`` fits the optimizer.

    torch itself checks little: state of another optimizer or of wrong shape is taken over silently
    and fails at the next step.

    Parameters
    ----------
    state : object
        What should be a ``state_dict`` of the optimizer.
    optimizer : Optimizer
        The optimizer.
    shapes : mapping from int to torch.Size, optional
        By ``id`` of a parameter the shape it is about to have, if not its present one.
    """
    own = optimizer.state_dict()
    if not isinstance(state, Mapping) or not own.keys() <= state.keys():
        raise CheckpointError("the optimizer state of the checkpoint is damaged.")
    groups = state["param_groups"]
    fits = isinstance(groups, list) and len(groups) == len(own["param_groups"])
    if not fits or not all(
        isinstance(theirs, Mapping)
        and optimizer.defaults.keys() <= theirs.keys()
        and theirs["params"] == ours["params"]
        for theirs, ours in zip(groups, own["param_groups"], strict=True)
    ):
        raise CheckpointError(
            f"the checkpoint's optimizer differs in kind or parameters from this "
            f"{type(optimizer).__name__}; build the same optimizer as in the saved run."
        )
    _check_entries(state["state"], optimizer, shapes or {})


def _check_entries(entries: object, optimizer: Optimizer, shapes: Mapping[int, torch.Size]) -> None:
    parameters = held_parameters(optimizer)
    if (
        not isinstance(entries, Mapping)
        or not entries.keys() <= set(range(len(parameters)))
        or not all(isinstance(entry, Mapping) for entry in entries.values())
    ):
        raise CheckpointError("the optimizer state of the checkpoint is damaged.")
    for index, entry in entries.items():
        shape = shapes.get(id(parameters[index]), parameters[index].shape)
        for key, value in entry.items():
            whole = isinstance(value, Tensor) and value.ndim > 0
            if whole and maps_zero_to_zero(optimizer) and value.shape != shape:
                raise CheckpointError(
                    f"the checkpoint's optimizer state {key!r} has shape {tuple(value.shape)}, its "
                    f"parameter {tuple(shape)}."
                )


def warn_about_other_state(optimizer: Optimizer, stores: Sequence[Store]) -> None:
    """Warn if the optimizer keeps tensors that a mask cannot reach, such as Adafactor's factors."""
    if isinstance(optimizer, LBFGS):
        return
    for store in stores:
        state = optimizer.state.get(store.weight, {})
        for key, value in state.items():
            other = isinstance(value, Tensor) and value.shape != store.weight.shape
            if other and value.numel() > 1:
                warnings.warn(
                    f"{type(optimizer).__name__} keeps {key!r} of shape {tuple(value.shape)} for "
                    f"{store.name} of shape {tuple(store.weight.shape)}; it is left as it is, "
                    "because a mask cannot be applied to it.",
                    UserWarning,
                    stacklevel=2,
                )
                return


def step_is_skipped(optimizer: Optimizer) -> bool:
    """Tell whether a fused optimizer skips this step because ``GradScaler`` found infinities."""
    found = getattr(optimizer, "found_inf", None)
    return isinstance(found, Tensor) and bool(found.item())


def gradient_scale(optimizer: Optimizer) -> float:
    """Return the loss scale a fused optimizer divides by inside its step, or 1."""
    scale = getattr(optimizer, "grad_scale", None)
    return float(scale.item()) if isinstance(scale, Tensor) else 1.0


def wrap_closure(
    args: tuple[Any, ...], kwargs: dict[str, Any], after: Callable[[], None]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Return step arguments whose closure calls `after` on its gradients, or None without closure.

    Parameters
    ----------
    args, kwargs : tuple, dict
        What ``optimizer.step`` was called with; ``args[0]`` is the optimizer itself.
    after : callable
        Called whenever the closure has computed gradients.

    Returns
    -------
    tuple or None
        Replacement ``(args, kwargs)`` for the step.
    """
    closure: Closure | None = kwargs.get("closure", args[1] if len(args) > 1 else None)
    if closure is None:
        return None

    def closure_and_mask() -> Any:
        with torch.enable_grad():
            loss = closure()
        after()
        return loss

    return args[:1], kwargs | {"closure": closure_and_mask}
