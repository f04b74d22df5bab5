"""How does the engine see a layer that stores its connections only?

`CSRStore` is the counterpart of a masked parameter: the same views, plans and records, with every
operation proportional to the number of connections.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from sparsewire.core.budget import LayerShape
from sparsewire.core.criteria import LayerView
from sparsewire.core.csr.gradient import OuterGradient
from sparsewire.core.csr.index import Index, Int32s
from sparsewire.core.csr.layer import SparseLinear
from sparsewire.core.csr.record import Record
from sparsewire.core.csr.replace import replace_module, replace_parameter
from sparsewire.core.csr.saved import saved_index
from sparsewire.core.errors import CheckpointError, TopologyError, UnsupportedError
from sparsewire.core.optimizer import state_tensors
from sparsewire.core.positions import ascending
from sparsewire.core.ranking import check_finite
from sparsewire.core.storage import Store
from sparsewire.core.topology import LayerPlan

_TRACKED = 2**28
"""Weights up to which exploration is recorded: a bitmap of 32 MiB."""


class CSRStore(Store):
    """The connections of one `SparseLinear`.

    Parameters
    ----------
    layer : SparseLinear
        The layer.
    name : str
        Full name of its weight in the model, such as ``0.weight``.
    dense_in : nn.Module or None, default None
        Model in which the layer has taken the place of a dense one and gives it back on `remove`.
    """

    kind = "csr"

    def __init__(self, layer: SparseLinear, name: str, dense_in: nn.Module | None = None) -> None:
        self.layer = layer
        self.name = name
        self.layers = (LayerShape(name, layer.shape),)
        self._dense_in = dense_in
        self._hook: RemovableHandle | None = None
        layer.driven = True

    def __getstate__(self) -> dict[str, Any]:
        """Leave the hook out of copies and pickles."""
        return self.__dict__ | {"_hook": None}

    @property
    def weight(self) -> nn.Parameter:
        """The values of the connections."""
        return self.layer.weight

    @property
    def mask(self) -> Tensor:
        """A new dense bool tensor, True where a connection is."""
        numel = self.layers[0].numel
        if numel > _TRACKED:
            raise UnsupportedError(
                f"a mask of {self.name} would have {numel} entries; use layer.positions() instead."
            )
        flat = torch.zeros(numel, dtype=torch.bool, device=self.weight.device)
        flat[self.layer.positions().to(flat.device)] = True
        return flat.view(self.layer.shape)

    def set_values(self, values: Sequence[Tensor]) -> None:
        """Set the weights, in ascending order of position."""
        self.layer.set_values(values[0])

    def views(self) -> list[LayerView]:
        """Return what rules may look at."""
        layer = self.layer
        active = layer.positions().to(self.weight.device)
        values = layer.values()
        return [LayerView(self.name, layer.shape, active, values, self._gradient())]

    # Gradients

    def watch(self, wanted: bool) -> None:
        """Let the layer keep inputs and output gradients of its backward passes, or stop it."""
        wanted = wanted and self.weight.requires_grad
        if wanted == (self.layer.record is not None):
            return
        self.layer.record = None
        if self._hook is not None:
            self._hook.remove()
        if wanted:
            self.layer.record = record = Record()
            self._hook = self.weight.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
                record.confirm
            )

    def capture(self, scale: float) -> None:
        """Drop what is no part of the gradient any more; ranks do not depend on the scale."""
        if self.layer.record is not None:
            self.layer.record.refresh(self.weight)

    def check_captured(self, step: int) -> None:
        """Raise `NonFiniteError` if the gradient that growth would see is not finite."""
        record = self.layer.record
        if record is None or not record.pairs:
            return
        bound = 0.0
        for X, dY in record.pairs:
            what = f"inputs or output gradients of {self.name} captured at step {step}"
            check_finite(X, what)
            check_finite(dY, what)
            bound += X.shape[1] * float(X.abs().max()) * float(dY.abs().max())
        if not bound < torch.finfo(self.weight.dtype).max:  # a product might overflow
            for _, block in OuterGradient(record.pairs, self.weight, self.layer.shape).blocks():
                what = f"entries of the gradient of {self.name} captured at step {step}"
                check_finite(block, what)

    def forget(self) -> None:
        """Drop what was kept."""
        if self.layer.record is not None:
            self.layer.record.clear()

    def _gradient(self) -> OuterGradient | None:
        record, weight = self.layer.record, self.weight
        if record is None or weight.grad is None or not weight.requires_grad:
            return None
        return OuterGradient(record.pairs, weight.detach(), self.layer.shape, self.reduce)

    def remember(self) -> Index:
        """Return a copy of the index."""
        return self.layer.index.copy()

    def retain_valid(self, gradient: Tensor, memory: Index) -> Tensor:
        """Return the entries of connections that still are, in the present order."""
        index = self.layer.index
        if np.array_equal(memory.indices, index.indices) and np.array_equal(
            memory.indptr, index.indptr
        ):
            return gradient
        old, now = torch.from_numpy(memory.positions()), self.layer.positions()
        if not len(old):
            return gradient.new_zeros(len(now))
        found = torch.searchsorted(old, now).clamp(max=len(old) - 1)
        stayed = old[found] == now
        order = memory.order()
        place = found if order is None else torch.from_numpy(order)[found].long()
        values = gradient[place.to(gradient.device)]
        values[~stayed.to(values.device)] = 0
        return self.layer.stored(values)

    # Topology

    @torch.no_grad()
    def commit_(self, plans: Sequence[LayerPlan], optimizer: Optimizer) -> None:
        """Carry out the plan in index, weight and optimizer state."""
        (plan,) = plans
        layer, before = self.layer, self.layer.index
        by_output, source, previous = _after(before, plan)
        before.release()
        index, order = by_output.turned(layer.layout)
        taken = torch.from_numpy(source if order is None else source[order]).to(self.weight.device)
        del by_output, source, order
        new_values = None
        if plan.values is not None:
            new_values = plan.values[plan.grown.argsort()].to(self.weight)
        weight, grad = _rearranged(self.weight, taken, new_values), self.weight.grad
        if grad is not None:
            # What is dropped and grown in one round starts afresh, but its gradient stays.
            grad = _rearranged(grad, taken, _rearranged(grad, torch.from_numpy(previous), None))
        if weight.shape == self.weight.shape:
            for state in state_tensors(optimizer, self.weight):
                state.copy_(_rearranged(state, taken, None))
            self.weight.copy_(weight)
            if grad is not None and self.weight.grad is not None:
                self.weight.grad.copy_(grad)
        else:
            # A parameter cannot change its length: graphs that are still alive know the old one.
            old, layer.weight = layer.weight, nn.Parameter(weight)
            layer.weight.grad = grad
            replace_parameter(
                optimizer, old, layer.weight, lambda state: _rearranged(state, taken, None)
            )
            self.watch(False)
        layer.set_index(index)

    def zero_inactive_(self, tensor: Tensor) -> None:
        """Do nothing: there is no weight without a connection."""

    def counts(self) -> list[int]:
        """Return the number of connections."""
        return [self.layer.n_connections]

    def fingerprint(self) -> str:
        """Return a short digest of the positions."""
        return _digest(self.layer.index)

    def saved_fingerprint(self, state: Mapping[str, Any]) -> str:
        """Return the digest of the positions in a model's ``state_dict``."""
        try:
            index = saved_index(self.layer.shape, state, self.name.removesuffix("weight"))
        except TopologyError as error:
            raise CheckpointError(f"the topology of {self.name} is damaged: {error}") from error
        if state[self.name].shape != index.indices.shape:
            raise CheckpointError(f"{self.name} has not one weight for each connection.")
        return _digest(index)

    def saved_tensors(self) -> set[str]:
        """Return the names of entries of a ``state_dict`` whose length may differ."""
        prefix = self.name.removesuffix("weight")
        return {self.name, *(prefix + name for name in self.layer.index_names)}

    def has_stray_weights(self) -> bool:
        """Return False: every weight is a connection."""
        return False

    # Exploration

    def explored(self) -> Tensor:
        """Return a bitmap, uint8, of what is active now; empty for a huge layer."""
        numel = self.layers[0].numel
        size = -(-numel // 8) if numel <= _TRACKED else 0
        return self.explore(torch.zeros(size, dtype=torch.uint8, device="cpu"))

    def explore(self, seen: Tensor) -> Tensor:
        """Return the bitmap with what is active now added."""
        if not seen.numel():
            return seen
        bits = seen.cpu().numpy().copy()
        positions = self.layer.index.positions()
        np.bitwise_or.at(bits, positions >> 3, (1 << (positions & 7)).astype(np.uint8))
        return torch.from_numpy(bits)

    def explored_counts(self, seen: Tensor) -> list[int | None]:
        """Count the bits; None if no record is kept."""
        if not seen.numel():
            return [None]
        return [int(np.bitwise_count(seen.cpu().numpy()).sum(dtype=np.int64))]

    def remove(self) -> None:
        """Put a dense layer back where this one replaced one; leave a user's own as it is."""
        self.watch(False)
        self.layer.driven = False
        if self._dense_in is not None:
            replace_module(self._dense_in, self.layer, self.layer.to_dense())


def _after(before: Index, plan: LayerPlan) -> tuple[Index, Int32s, Int32s]:
    """Return the index by output after a plan, and where the number of each connection comes from.

    A source below 0 means a new connection: -1 is the first in ascending order, and so on. The last
    array tells where the number of each new connection was if it has just been dropped, or is -1.
    """
    from sparsewire.core.csr.assemble import merge

    if before.layout == "csr":
        indptr, indices = before.indptr, before.indices
        order = np.arange(len(indices), dtype=np.int32)
    else:
        indptr, indices, order = before.other_side
    changes = (ascending(positions).cpu().numpy() for positions in (plan.dropped, plan.grown))
    indptr, indices, source, previous = merge(indptr, indices, order, before.n_in, *changes)
    return Index(before.n_out, before.n_in, "csr", indptr, indices), source, previous


def _rearranged(tensor: Tensor, source: Tensor, new_values: Tensor | None) -> Tensor:
    """Take a connection's numbers from their source; new ones start from `new_values` or 0."""
    if not len(tensor):
        moved = tensor.new_zeros(len(source))
    else:
        moved = tensor.detach().index_select(0, source.clamp(min=0))
    if new_values is None:
        return moved.masked_fill_(source < 0, 0)
    fresh = (source < 0).nonzero().squeeze(1)
    moved[fresh] = new_values[-1 - source[fresh].long()]
    return moved


def _digest(index: Index) -> str:
    return hashlib.blake2b(index.positions().tobytes(), digest_size=8).hexdigest()
