"""How does the index of a sparse layer lie in a ``state_dict``?

As two integer tensors, named as torch and scipy name those of compressed matrices; the names tell
along which side the matrix is compressed.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sparsewire.core.csr.index import Index, Layout
from sparsewire.core.errors import TopologyError

BUFFERS: dict[Layout, tuple[str, str]] = {
    "csr": ("crow_indices", "col_indices"),
    "csc": ("ccol_indices", "row_indices"),
}


def saved_tensors(state: Mapping[str, Any], prefix: str) -> tuple[Layout, Tensor, Tensor] | None:
    """Return layout and index of a layer in a ``state_dict``."""
    for layout, names in BUFFERS.items():
        found = [state.get(prefix + name) for name in names]
        if isinstance(found[0], Tensor) and isinstance(found[1], Tensor):
            return layout, found[0], found[1]
    return None


def misfit(shape: tuple[int, int], state: Mapping[str, Any], prefix: str) -> str | None:
    """Return why a ``state_dict`` cannot be that of a layer of this shape, or None if it can."""
    dense, weight = state.get(prefix + "dense_shape"), state.get(prefix + "weight")
    if isinstance(dense, Tensor) and dense.tolist() != list(shape):
        found = tuple(dense.tolist())
        return f"{prefix}weight: the state is that of a layer of shape {found}, not {shape}."
    if (saved := saved_tensors(state, prefix)) is None:
        return None
    layout, indptr, indices = saved
    if indptr.dtype != torch.int64 or indices.dtype != torch.int32:
        types = f"{indptr.dtype} and {indices.dtype}"
        return f"{prefix}weight: its index has {types}, not torch.int64 and torch.int32."
    n_major = shape[0] if layout == "csr" else shape[1]
    fits = indptr.shape == (n_major + 1,) and indices.ndim == 1
    if not fits or (isinstance(weight, Tensor) and weight.shape != indices.shape):
        return f"{prefix}weight: weights and index do not fit each other and the shape {shape}."
    return None


def saved_index(shape: tuple[int, int], state: Mapping[str, Any], prefix: str) -> Index:
    """Return the checked index that a ``state_dict`` has for a layer.

    Parameters
    ----------
    shape : (int, int)
        Numbers of outputs and inputs of the layer.
    state : mapping
        State of a whole model.
    prefix : str
        Name of the layer in it, with a dot, or empty.

    Raises
    ------
    TopologyError
        If it is missing or damaged.
    """
    if (found := saved_tensors(state, prefix)) is None:
        raise TopologyError(f"no index of {prefix or 'the layer'} was saved.")
    if (fault := misfit(shape, state, prefix)) is not None:
        raise TopologyError(fault)
    layout, indptr, indices = found
    arrays = indptr.cpu().numpy(), indices.cpu().numpy()
    index = Index(*shape, layout, *arrays)
    index.check()
    return index


def resize(layer: Any, layout: Layout, count: int) -> None:
    """Make room in a `SparseLinear` for an index of another layout or number of connections."""
    device = layer.weight.device
    if layout != layer.layout:
        for name in BUFFERS[layer.layout]:
            delattr(layer, name)
        layer.layout = layout
        n_major = layer.out_features if layout == "csr" else layer.in_features
        first, second = BUFFERS[layout]
        layer.register_buffer(first, torch.zeros(n_major + 1, dtype=torch.int64, device=device))
        layer.register_buffer(second, torch.zeros(0, dtype=torch.int32, device=device))
    if count != layer.n_connections:
        new = layer.weight.data.new_zeros(count)
        layer.weight.grad = None
        # A change of type makes autograd forget the old length, which it would insist on as
        # long as a graph of an earlier forward pass is alive.
        layer.weight.data = torch.empty(0, dtype=torch.float16, device=device)
        layer.weight.data = new
    name = BUFFERS[layer.layout][1]
    if layer._index_buffers()[1].numel() != count:
        setattr(layer, name, torch.zeros(count, dtype=torch.int32, device=device))
