"""Which layers are stored as masked dense weights, and which as connections alone?

Chooses, checks that the choice can be carried out, and then changes the model. Until then nothing
has been touched.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import nn
from torch.optim import LBFGS, Optimizer

from sparsewire.core.csr.break_even import break_even
from sparsewire.core.csr.layer import SparseLinear
from sparsewire.core.csr.replace import obstacle, replace_linear
from sparsewire.core.csr.store import CSRStore
from sparsewire.core.errors import StateError, UnsupportedError
from sparsewire.core.masked import MaskedParameter
from sparsewire.core.methods import Method
from sparsewire.core.network import draw_topology, seeded_generator
from sparsewire.core.selection import Decision
from sparsewire.core.storage import Store

Storage = Literal["masked", "csr", "auto"]


def choose_replaced(
    model: nn.Module, decisions: Sequence[Decision], targets: Mapping[str, int], storage: Storage
) -> tuple[set[str], dict[str, str]]:
    """Return the names of the weights that become truly sparse, and why others cannot."""
    chosen: set[str] = set()
    obstacles: dict[str, str] = {}
    if storage == "masked":
        return chosen, obstacles
    for d in decisions:
        if not d.included or isinstance(d.module, SparseLinear):
            continue
        why = "tied" if len(d.users) > 1 else obstacle(model, d.module)
        if why is not None:
            obstacles[d.name] = why
        elif storage == "csr" or _is_faster(d, targets[d.name]):
            chosen.add(d.name)
    return chosen, obstacles


def _is_faster(decision: Decision, count: int) -> bool:
    if decision.parameter.is_meta:
        return True
    n_out, n_in = decision.shape
    density = count / (n_out * n_in)
    limit = break_even(n_out, n_in, torch.get_num_threads())
    return decision.parameter.device.type == "cpu" and density <= limit


def check_placement(
    optimizer: Optimizer,
    decisions: Sequence[Decision],
    replaced: Collection[str],
    *,
    distributed: bool,
) -> None:
    """Raise unless every layer is where, and in what, it can be sparsified."""
    for decision in decisions:
        owner = decision.name.rpartition(".")[0]
        weight = f"{owner}.weight" if owner else "weight"
        if decision.parameter.is_meta and weight not in replaced:
            raise StateError(
                f"{decision.name} is on the meta device and stays dense; move it with to_empty() "
                "and initialise it before sparsify."
            )
    sparse = any(d.included and isinstance(d.module, SparseLinear) for d in decisions)
    if replaced:
        _check_state(optimizer, [d.parameter for d in decisions if d.name in replaced])
    if (replaced or sparse) and distributed:
        raise UnsupportedError(
            "truly sparse layers cannot be trained by DistributedDataParallel, which would "
            "overwrite their index; use sparsewire.core.parallel, or storage='masked'."
        )


def _check_state(optimizer: Optimizer, parameters: Sequence[nn.Parameter]) -> None:
    """Raise unless the optimizer treats every weight by itself, and its state can be taken over."""
    name = type(optimizer).__name__
    if name == "Muon":
        raise UnsupportedError(f"{name} needs matrices; use storage='masked'.")
    if isinstance(optimizer, LBFGS) and optimizer.state:
        raise UnsupportedError(f"{name} has been used; build a new one, or use storage='masked'.")
    for parameter in parameters:
        for value in optimizer.state.get(parameter, {}).values():
            whole = isinstance(value, torch.Tensor) and value.numel() > 1
            if whole and value.shape != parameter.shape:
                raise UnsupportedError(
                    f"{name} keeps state of another shape than the weights, which cannot be taken "
                    "over; build a new optimizer, or use storage='masked'."
                )


def make_stores(
    model: nn.Module,
    optimizer: Optimizer,
    decisions: Sequence[Decision],
    replaced: Collection[str],
    targets: Mapping[str, int],
    method: Method,
    seed: int,
) -> tuple[list[Store], list[Decision]]:
    """Draw the initial topology, change the model, and return decisions about the changed one."""
    stores: list[Store] = []
    news: dict[nn.Module, SparseLinear] = {}
    biases: dict[nn.Parameter, nn.Parameter] = {}
    for d in decisions:
        if not d.included:
            continue
        if isinstance(d.module, SparseLinear):
            stores.append(CSRStore(d.module, d.name))
            continue
        counts = [method.count(targets[s.name], s.numel, 0) for s in d.layers]
        drawn = [draw_topology(s, n, seed) for s, n in zip(d.layers, counts, strict=True)]
        if d.name in replaced:
            assert isinstance(d.module, nn.Linear)
            values = seeded_generator(seed, d.name, "values")
            layer = replace_linear(model, optimizer, d.module, drawn[0], values, biases)
            news[d.module] = layer
            stores.append(CSRStore(layer, d.name, dense_in=model))
        else:
            masked = MaskedParameter(d.module, d.parameter_name, d.name, d.parts)
            masked.draw_(drawn)
            stores.append(masked)
    return stores, [_renew(d, news) for d in decisions]


def _renew(decision: Decision, news: Mapping[nn.Module, SparseLinear]) -> Decision:
    module = news.get(decision.module, decision.module)
    users = tuple((news.get(user, user), local) for user, local in decision.users)
    return replace(decision, module=module, users=users)
