"""Which one network do processes make of the networks that each has trained alone?

The mean over the union of their connections, of which the smallest weights in magnitude are dropped
until every layer has its number of connections again.

References
----------
Curci, Mocanu & Pechenizkiy (2021). Truly sparse neural networks at scale; arXiv:2102.01732. Its
code drops the surplus for each sign separately.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from torch.optim import Optimizer

from sparsewire.core.errors import NonFiniteError
from sparsewire.core.exchange import gather
from sparsewire.core.handle import SparsityHandle
from sparsewire.core.network import seeded_generator
from sparsewire.core.optimizer import held_parameters, state_tensors
from sparsewire.core.positions import without
from sparsewire.core.ranking import lowest
from sparsewire.core.storage import Store
from sparsewire.core.topology import LayerPlan, check


@torch.no_grad()
def average_networks_(handle: SparsityHandle) -> None:
    """Replace the networks of all processes by their average, and let the optimizers start anew.

    A connection that a process lacks counts as 0 there. If processes have different numbers of
    connections because they pruned neurons alone, the smallest counts. All other parameters and
    floating-point buffers are averaged; other buffers stay as they are.

    Parameters
    ----------
    handle : SparsityHandle
        Of the same model in every process; all of them have to call.

    Raises
    ------
    NonFiniteError
        If the network of a process contains NaN or infinity; no network has changed then.
    """
    network = handle._network
    everyone = gather((network.count_active(), network.pruned))
    lengths = {name: [active[name] for active, _ in everyone] for name in network.targets}
    averages = [_plan(store, lengths, network.seed) for store in network.stores]
    others = _average_others(handle)
    for store, (plans, values) in zip(network.stores, averages, strict=True):
        store.commit_(plans, handle.optimizer)
        store.set_values(values)
    for tensor, mean in others:
        tensor.copy_(mean)
    for parameter in held_parameters(handle.optimizer):
        _reset_state(handle.optimizer, parameter)
    network.pruned = {n: max(pruned[n] for _, pruned in everyone) for n in network.targets}
    network.resettle()


def _plan(
    store: Store, lengths: Mapping[str, Sequence[int]], seed: int
) -> tuple[list[LayerPlan], list[Tensor]]:
    """Return for each layer the way to the average topology, and the weights there."""
    plans, averages = [], []
    for view in store.views():
        count = min(lengths[view.name])
        positions, values = _union(view.active, view.values, lengths[view.name])
        _check_finite(values, f"weights of {view.name}")
        generator = seeded_generator(seed, view.name, "average")
        keep = torch.ones_like(positions, dtype=torch.bool)
        keep[lowest(values.abs(), len(positions) - count, generator)] = False
        kept = positions[keep]
        plan = LayerPlan(view.name, without(view.active, kept), without(kept, view.active))
        check(plan, view, count)
        plans.append(plan)
        averages.append(values[keep])
    return plans, averages


def _union(active: Tensor, values: Tensor, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return the positions that any process has, ascending, and the mean of their weights."""
    positions, weights = [], []
    for source, length in enumerate(lengths):
        own = source == dist.get_rank()
        positions.append(active if own else active.new_empty(length))
        weights.append(values if own else values.new_empty(length))
        dist.broadcast(positions[-1], source)
        dist.broadcast(weights[-1], source)
    union, places = torch.unique(torch.cat(positions), return_inverse=True)
    total = values.new_zeros(len(union))
    for place, part in zip(torch.split(places, list(lengths)), weights, strict=True):
        total[place] += part
    return union, total / len(lengths)


def _average_others(handle: SparsityHandle) -> list[tuple[Tensor, Tensor]]:
    """Return all other floating-point tensors and what they should be."""
    model, sparse = handle.model, {id(store.weight) for store in handle._network.stores}
    tensors = [*model.parameters(), *model.buffers(), *held_parameters(handle.optimizer)]
    distinct = {id(t): t for t in tensors if t.is_floating_point() and id(t) not in sparse}
    others = list(distinct.values())
    if not others:
        return []
    flat = torch.cat([tensor.flatten() for tensor in others])
    flat /= dist.get_world_size()
    dist.all_reduce(flat)
    _check_finite(flat, "biases, dense weights or buffers")
    parts = torch.split(flat, [tensor.numel() for tensor in others])
    return [(t, part.view(t.shape)) for t, part in zip(others, parts, strict=True)]


def _check_finite(mean: Tensor, what: str) -> None:
    if not bool(torch.isfinite(mean).all()):
        raise NonFiniteError(
            f"some process has {what} that are NaN or infinite, which would spoil the average; "
            "lower the learning rate, or load an earlier checkpoint there."
        )


def _reset_state(optimizer: Optimizer, parameter: Tensor) -> None:
    """Forget momentum and the like, and count steps from 0 for their bias correction."""
    for tensor in state_tensors(optimizer, parameter):
        tensor.zero_()
    step = optimizer.state.get(parameter, {}).get("step")
    if isinstance(step, Tensor):
        step.zero_()
