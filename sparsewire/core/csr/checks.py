"""What may a sparse layer be made of?"""

import torch
from torch import Tensor

from sparsewire.core.errors import InvalidArgumentError, TopologyError

SUPPORTED = (torch.float32, torch.float64)


def buffer_state(*buffers: Tensor) -> tuple[int, ...] | None:
    """Return what changes when buffers are written to or moved; inference tensors do not tell."""
    if any(buffer.is_inference() for buffer in buffers):
        return None
    return tuple(number for b in buffers for number in (b._version, b.data_ptr()))


def check_shapes(out_features: int, positions: Tensor, values: Tensor, bias: Tensor | None) -> None:
    """Raise `InvalidArgumentError` unless positions, values and bias fit each other."""
    if positions.dtype not in (torch.int64, torch.int32) or positions.ndim != 1:
        raise InvalidArgumentError(
            f"positions must be a one-dimensional int64 tensor, got {positions.dtype} of shape "
            f"{tuple(positions.shape)}."
        )
    if values.shape != positions.shape:
        raise InvalidArgumentError(
            f"{len(positions)} positions need as many values, got {tuple(values.shape)}."
        )
    if bias is not None and bias.shape != (out_features,):
        raise InvalidArgumentError(
            f"bias must have shape ({out_features},), got {tuple(bias.shape)}."
        )


def checked_dtype(dtype: torch.dtype | None) -> torch.dtype:
    """Return the dtype, or torch's default one, if there are kernels for it; raise otherwise."""
    dtype = torch.get_default_dtype() if dtype is None else dtype
    if dtype not in SUPPORTED:
        raise InvalidArgumentError(unsupported(dtype))
    return dtype


def unsupported(dtype: torch.dtype) -> str:
    """Say that there are no kernels for a dtype."""
    return f"a sparse layer's dtype must be torch.float32 or torch.float64, got {dtype}."


def sorted_positions(positions: Tensor, numel: int) -> tuple[Tensor, Tensor]:
    """Return positions in ascending order and where each was; raise unless they are distinct."""
    ordered, order = positions.cpu().long().sort()
    inside = not len(ordered) or (int(ordered[0]) >= 0 and int(ordered[-1]) < numel)
    if not inside or bool((ordered[1:] == ordered[:-1]).any()):
        raise TopologyError(f"positions must be distinct and in [0, {numel}).")
    return ordered, order
