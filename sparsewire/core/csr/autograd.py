"""How does autograd see a sparse layer?

As one function of input, weights and bias. It turns the batch feature-major, keeps what the
backward pass needs, and hands both passes to the kernels of the device.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sparsewire.core.csr import torch_ops
from sparsewire.core.csr.index import Index
from sparsewire.core.csr.record import Record
from sparsewire.core.errors import TopologyError


@dataclass(frozen=True)
class Anchored:
    """An index and the two buffers whose memory it shares, which autograd watches for changes."""

    index: Index
    indptr: Tensor
    indices: Tensor


def apply(
    x: Tensor, weight: Tensor, bias: Tensor | None, anchored: Anchored, record: Record | None
) -> Tensor:
    """Return ``x @ W.T + bias`` for x of shape (..., n_in).

    Parameters
    ----------
    x, weight, bias : Tensor
        Of one dtype and device.
    anchored : Anchored
        Connections of W.
    record : Record or None
        Where the backward pass leaves what growth by gradient needs.
    """
    if torch.compiler.is_compiling():
        return _outside_graph(x, weight, bias, anchored, record)  # type: ignore[no-any-return]
    index = anchored.index
    if weight.shape != index.indices.shape or not (bias is None or bias.shape == (index.n_out,)):
        length = "none" if bias is None else tuple(bias.shape)
        raise TopologyError(
            f"the layer has {weight.numel()} weights but {len(index.indices)} connections, and a "
            f"bias of shape {length} for {index.n_out} outputs; set parameters and index together."
        )
    if x.ndim == 2:
        out: Tensor = _Multiply.apply(x, weight, bias, anchored, record)  # type: ignore[no-untyped-call]
        return out
    rows = x.reshape(-1, index.n_in)
    return apply(rows, weight, bias, anchored, record).reshape(*x.shape[:-1], index.n_out)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _outside_graph(*args: Any) -> Tensor:
    """Run what torch.compile cannot trace as it is, between two compiled graphs."""
    return apply(*args)


class _Multiply(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        anchored: Anchored,
        record: Record | None,
    ) -> Tensor:
        X, w = feature_major(x), weight.contiguous()
        index = anchored.index
        ctx.save_for_backward(X, w, anchored.indptr, anchored.indices)
        ctx.index, ctx.batch = index, x.shape[0]
        ctx.record, ctx.weight = record, weight
        if x.is_cpu:
            from sparsewire.core.csr.multiply import multiply

            b = None if bias is None else bias.contiguous().numpy(force=True)
            Y = torch.from_numpy(multiply(index, w.numpy(force=True), b, X.numpy(force=True)))
        else:
            Y = torch_ops.multiply(index, w, bias, X)
        return batch_major(Y, x.shape[0])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        X, weight, _, _ = ctx.saved_tensors
        dY = feature_major(dy)
        inputs, weights, biases = ctx.needs_input_grad[:3]
        if ctx.record is not None and weights:
            ctx.record.add(X, dY, ctx.weight)
        if dy.is_cpu:
            from sparsewire.core.csr.multiply import gradients

            arrays = (tensor.numpy(force=True) for tensor in (weight, X, dY))
            found = gradients(ctx.index, *arrays, inputs=inputs, weights=weights)
            dX, g = (None if array is None else torch.from_numpy(array) for array in found)
        else:
            dX, g = torch_ops.gradients(ctx.index, weight, X, dY, inputs=inputs, weights=weights)
        dx = None if dX is None else batch_major(dX, ctx.batch)
        return dx, g, dY.sum(1) if biases else None, None, None


def feature_major(x: Tensor) -> Tensor:
    """Return x, shape (batch, features), as (features, lanes), zero-padded to whole vectors.

    Nothing is copied if it lies in memory that way and fills the vectors.

    Examples
    --------
    >>> import torch
    >>> feature_major(torch.ones(3, 2)).shape
    torch.Size([2, 16])
    """
    lanes = 64 // x.element_size()
    batch = x.shape[0]
    turned = x.detach().t()
    if batch % lanes == 0:
        return turned.contiguous()
    padded = x.new_zeros(x.shape[1], -(-batch // lanes) * lanes)
    padded[:, :batch] = turned
    return padded


def batch_major(Y: Tensor, batch: int) -> Tensor:
    """Return the first `batch` lanes of Y, shape (features, lanes), as (batch, features).

    It shares Y's memory but is no view of it, so that it may be changed in place.
    """
    features, lanes = Y.shape
    out = Y.new_empty(0)
    return out.set_(Y.untyped_storage(), 0, (batch, features), (1, lanes))
