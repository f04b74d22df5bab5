"""How are named tensors widened, copied, and compared with what a checkpoint brings?"""

from collections.abc import Mapping

import torch
from torch import Tensor

from sparsewire.core.errors import CheckpointError, UnsupportedError

Tensors = dict[str, Tensor]


def with_rows(old: Tensor, now: Tensor, name: str) -> Tensor:
    """Return a tensor with the rows added that another one has beyond it.

    Parameters
    ----------
    old, now : Tensor
        Equal in all dimensions but the first.
    name : str
        What they are, for the error.

    Raises
    ------
    UnsupportedError
        If `now` is smaller, or of other shape beyond the first dimension.

    Examples
    --------
    >>> with_rows(torch.zeros(1, 2), torch.ones(2, 2), "head").tolist()
    [[0.0, 0.0], [1.0, 1.0]]
    """
    if old.shape[:1] > now.shape[:1] or old.shape[1:] != now.shape[1:]:
        raise UnsupportedError(
            f"{name} had shape {tuple(old.shape)} and has {tuple(now.shape)} now; a layer may only "
            "gain output units."
        )
    more = now.detach()[old.shape[0] :] if old.ndim else now[None][:0]
    return torch.cat([old, more.to(old)]) if more.numel() else old


def copied(tensors: Tensors) -> Tensors:
    """Return copies."""
    return {name: tensor.clone() for name, tensor in tensors.items()}


def like(tensors: Tensors, own: Tensors) -> Tensors:
    """Return copies on the devices of present tensors of the same names."""
    return {name: tensor.to(own[name].device, copy=True) for name, tensor in tensors.items()}


def check_like(key: str, found: object, own: Tensors, *, partly: bool = False) -> None:
    """Raise `CheckpointError` unless tensors have names, shapes and types of present ones.

    Parameters
    ----------
    key : str
        What they are, for the error.
    found : object
        What should be a mapping from names to tensors.
    own : dict from str to Tensor
        The present ones.
    partly : bool, default False
        Whether names may be missing.
    """
    names = found.keys() if isinstance(found, Mapping) else set()
    if (
        not isinstance(found, Mapping)
        or not names <= own.keys()
        or (not partly and names != own.keys())
    ):
        raise CheckpointError(
            f"the checkpoint has {key} of {', '.join(map(str, names))}; this model has "
            f"{', '.join(own)}."
        )
    for name, tensor in found.items():
        like = own[name]
        fits = isinstance(tensor, Tensor) and (tensor.shape, tensor.dtype) == (
            like.shape,
            like.dtype,
        )
        if not fits:
            raise CheckpointError(
                f"the checkpoint's {key} of {name} do not have shape {tuple(like.shape)} and type "
                f"{like.dtype}, as in this model."
            )
