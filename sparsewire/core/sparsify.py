"""How does all this attach to somebody's model and optimizer?

`sparsify` checks its arguments, chooses the layers, allocates connections, draws the initial
topology and returns a `sparsewire.core.handle.SparsityHandle` hooked onto the optimizer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import nn
from torch.optim import Optimizer

from sparsewire.core._validation import check_integer
from sparsewire.core.allocation import Allocation, resolve_allocation
from sparsewire.core.budget import connections
from sparsewire.core.csr.layer import SparseLinear
from sparsewire.core.errors import (
    InvalidArgumentError,
    NonFiniteError,
    UnsupportedError,
)
from sparsewire.core.handle import SparsityHandle
from sparsewire.core.methods import Method, resolve_method
from sparsewire.core.network import SparseNetwork
from sparsewire.core.optimizer import check_optimizer, held_parameters
from sparsewire.core.placement import Storage, check_placement, choose_replaced, make_stores
from sparsewire.core.selection import Decision, Selectors, select


def sparsify(
    model: nn.Module,
    optimizer: Optimizer,
    *,
    density: float | None = None,
    method: str | Method = "rigl",
    allocation: str | Allocation | Mapping[str, float] = "erk",
    include: Selectors | None = None,
    exclude: Selectors = (),
    budget: Literal["maskable", "model"] = "maskable",
    storage: Storage = "masked",
    seed: int = 0,
) -> SparsityHandle:
    """Make a model sparse and keep it so while its optimizer trains it.

    With masks, the weights outside the drawn topology are set to zero and masks are added as
    buffers; nothing else about the model changes. With ``storage="csr"``, linear layers are
    replaced by `SparseLinear` in the model and in the optimizer. The training loop needs no change
    at all.

    Parameters
    ----------
    model : nn.Module
        Any model; compiled and ``DistributedDataParallel`` models are unwrapped.
    optimizer : torch.optim.Optimizer
        The optimizer that trains it. Parameters it does not hold stay dense.
    density : float
        Share of the weights that are connections, in (0, 1]. Leave it out only if the allocation
        fixes the counts, as ``SetEpsilon`` does.
    method : str or Method, default "rigl"
        ``"static"``, ``"set"``, ``"set-magnitude"``, ``"rigl"``, ``"itop"``, ``"set-itop"``,
        ``"rigl-itop"``, or an object such as ``RigL(end=10_000)``.
    allocation : str, Allocation or mapping, default "erk"
        How connections are spread over layers: ``"uniform"``, ``"er"``, ``"erk"``, an object such
        as ``SetEpsilon(13)``, or densities by layer name or glob.
    include, exclude : selectors
        Layers by name, glob, module type or callable ``(name, module) -> bool``; see
        `sparsewire.core.selection.select`.
    budget : {"maskable", "model"}, default "maskable"
        What `density` is a share of: the weights of the sparsified layers, or all parameters of the
        model, in which case what stays dense is charged to the budget.
    storage : {"masked", "csr", "auto"}, default "masked"
        How connections are stored. ``"masked"``: dense weights with masks, on any layer and device.
        ``"csr"``: every ``nn.Linear`` that can be becomes truly sparse, at a cost proportional to
        its connections; other layers are masked. ``"auto"``: csr where that is faster by the
        measured table of `sparsewire.core.csr.break_even`. With ``"csr"`` and ``"auto"`` linear
        layers may be on the "meta" device, so that no dense weight ever exists; their connections
        draw initial weights of their own.
    seed : int, default 0
        Seed of every random choice. The global random number generators are not touched.

    Returns
    -------
    SparsityHandle
        Reports, checkpoints and finally removes the sparsity.

    Raises
    ------
    InvalidArgumentError
        If an argument is out of range, with subclasses `InfeasibleDensityError`,
        `UnknownLayerError`, `UnknownMethodError` and `NoMaskableLayersError`.
    UnsupportedError
        If the optimizer cannot be driven correctly.
    StateError
        If the model is sparsified already or has uninitialised lazy layers.
    NonFiniteError
        If a weight is NaN or infinite.

    Notes
    -----
    Masks on dense tensors save no time and no memory; they show what a sparse network can learn.
    A `SparseLinear` that is in the model already keeps its topology and number of connections;
    `density` and `allocation` do not touch it. The same seed draws the same topology in both
    storages.

    Examples
    --------
    >>> import torch, sparsewire
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    >>> handle = sparsewire.sparsify(model, optimizer, density=0.1, method="rigl", seed=0)
    >>> x, y = torch.randn(8, 64), torch.arange(8)
    >>> for _ in range(3):
    ...     optimizer.zero_grad()
    ...     nn.functional.cross_entropy(model(x), y).backward()
    ...     optimizer.step()
    >>> round(handle.density(), 3), int(handle.masks()["0.weight"].sum())
    (0.1, 165)
    """
    resolved = resolve_method(method)
    rule = resolve_allocation(allocation)
    check_optimizer(optimizer, dynamic=resolved.when is not None)
    seed = check_integer("seed", seed, minimum=0)
    if not isinstance(model, nn.Module):
        raise UnsupportedError(f"model must be a torch.nn.Module, got {type(model).__name__}.")
    if budget not in ("maskable", "model"):
        raise InvalidArgumentError(f"budget must be 'maskable' or 'model', got {budget!r}.")
    if storage not in get_args(Storage):
        raise InvalidArgumentError(f"storage must be 'masked', 'csr' or 'auto', got {storage!r}.")
    distributed = is_distributed(model)
    model = unwrap(model)
    meta = storage != "masked"
    decisions = select(model, held_parameters(optimizer), include, exclude, meta=meta)
    _check_finite(decisions)
    targets = _allocate(decisions, rule, density, budget)
    replaced, obstacles = choose_replaced(model, decisions, targets, storage)
    check_placement(optimizer, decisions, replaced, distributed=distributed)
    decisions = [replace(d, obstacle=obstacles.get(d.name, "")) for d in decisions]
    stores, decisions = make_stores(model, optimizer, decisions, replaced, targets, resolved, seed)
    network = SparseNetwork(stores, targets, resolved, seed)
    return SparsityHandle(model, optimizer, network, decisions)


def _allocate(
    decisions: Sequence[Decision], rule: Allocation, density: float | None, budget: str
) -> dict[str, int]:
    """Return the number of connections of every layer; a `SparseLinear` keeps its own."""
    included = [d for d in decisions if d.included]
    shapes = [s for d in included if not isinstance(d.module, SparseLinear) for s in d.layers]
    counts = {d.name: d.parameter.numel() for d in included if isinstance(d.module, SparseLinear)}
    if shapes:
        dense = sum(d.parameter.numel() for d in decisions if not d.included)
        if density is not None:
            total = connections(shapes, density, dense if budget == "model" else 0)
        elif rule.needs_density:
            raise InvalidArgumentError("density must be a number in (0, 1], got None.")
        counts |= rule.counts(shapes, None if density is None else total)
    elif density is not None:
        raise InvalidArgumentError(
            f"density={density} has no effect: all layers are SparseLinear, which have their "
            "number of connections already; pass density=None."
        )
    return {layer.name: counts[layer.name] for d in included for layer in d.layers}


def is_distributed(model: nn.Module) -> bool:
    """Tell whether a ``DistributedDataParallel`` is among the wrappers of a model."""
    while not isinstance(model, nn.parallel.DistributedDataParallel):
        inner = getattr(model, "_orig_mod", None)
        if not isinstance(inner, nn.Module):
            return False
        model = inner
    return True


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model inside ``torch.compile`` and ``DistributedDataParallel`` wrappers."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(model, nn.parallel.DistributedDataParallel):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def _check_finite(decisions: Sequence[Decision]) -> None:
    for decision in decisions:
        if (
            decision.included
            and not decision.parameter.is_meta
            and not bool(torch.isfinite(decision.parameter).all())
        ):
            raise NonFiniteError(
                f"{decision.name} contains NaN or infinity; repair the model before sparsify."
            )
