"""How does a topology update happen without breaking anything?

As a transaction. A *plan* is pure index data, made by a method from what it may look at; `check`
compares it with the layer and the number of connections the layer must have afterwards; `commit`
changes mask, weight and optimizer state. A plan can be logged, sent to other processes, or tested.
Which connections to take is decided in `sparsewire.core.criteria`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sparsewire.core.criteria import DropRule, GrowRule, LayerView
from sparsewire.core.errors import TopologyError
from sparsewire.core.positions import ascending, contains, without


@dataclass(frozen=True)
class LayerPlan:
    """What one update does to one layer.

    Attributes
    ----------
    name : str
        Layer name.
    dropped : Tensor, int64
        Flat positions whose weight and optimizer state are set to zero and which become inactive,
        unless they are also in `grown`.
    grown : Tensor, int64
        Flat positions that become active with fresh optimizer state.
    values : Tensor or None
        Initial weights of `grown`, same shape; None means zeros.
    """

    name: str
    dropped: Tensor
    grown: Tensor
    values: Tensor | None = None


@dataclass(frozen=True)
class Plan:
    """One topology update of a whole model.

    Attributes
    ----------
    step : int
        Optimizer steps completed when it was made.
    update : int
        Number of updates made before.
    layers : tuple of LayerPlan
        One per layer.
    """

    step: int
    update: int
    layers: tuple[LayerPlan, ...]


def no_change(layer: LayerView) -> LayerPlan:
    """Return a plan that leaves the layer as it is."""
    return LayerPlan(layer.name, layer.active[:0], layer.active[:0])


def plan_drop_and_grow(
    layer: LayerView,
    drop: DropRule,
    grow: GrowRule,
    fraction: float,
    generator: torch.Generator,
    *,
    keep_regrown: bool,
    grown_std: float = 0.0,
) -> LayerPlan:
    """Plan one round of drop and growth that keeps the number of connections.

    Connections just dropped may be grown again. A layer with no inactive connection is left alone.

    Parameters
    ----------
    layer : LayerView
        The layer, with its gradient if `grow` needs one.
    drop, grow : DropRule, GrowRule
        Criteria.
    fraction : float
        Drop fraction in [0, 1].
    generator : torch.Generator
        The only source of randomness.
    keep_regrown : bool
        True: a connection dropped and grown again in the same round keeps weight and optimizer
        state, as in RigL. False: it starts afresh, as in SET.
    grown_std : float, default 0
        Standard deviation of the normal initial values of new connections; 0 means zeros.

    Returns
    -------
    LayerPlan
        The plan; applying it changes nothing else.

    Examples
    --------
    >>> import torch
    >>> from sparsewire.core.criteria import GRADIENT, MAGNITUDE, DenseGradient
    >>> layer = LayerView(
    ...     "demo",
    ...     shape=(2, 2),
    ...     active=torch.tensor([0, 1]),
    ...     values=torch.tensor([0.1, 2.0]),
    ...     gradient=DenseGradient(torch.tensor([0.0, 0.0, 1.0, 5.0])),
    ... )
    >>> plan = plan_drop_and_grow(
    ...     layer, MAGNITUDE, GRADIENT, 0.5, torch.Generator(), keep_regrown=True
    ... )
    >>> plan.dropped.tolist(), plan.grown.tolist()
    ([0], [3])
    """
    full = layer.active.numel() == layer.numel
    if full or (grow.needs_gradient and layer.gradient is None):
        return no_change(layer)
    picked = drop.pick(layer.values, fraction, generator)
    staying = torch.ones_like(layer.active, dtype=torch.bool).index_fill_(0, picked, False)
    dropped = layer.active[picked]
    grown = grow.pick(layer, layer.active[staying], dropped.numel(), generator)
    if keep_regrown:
        dropped, grown = without(dropped, grown), without(grown, dropped)
    values = None
    if grown_std > 0:
        draw = torch.randn(grown.numel(), generator=generator, device="cpu", dtype=torch.float32)
        values = (draw * grown_std).to(layer.values)
    return LayerPlan(layer.name, dropped, grown, values)


def check(plan: LayerPlan, layer: LayerView, count: int) -> None:
    """Raise `TopologyError` unless the plan is sound and leaves exactly `count` connections.

    Sound means: indices in range and distinct, only active connections dropped, only inactive or
    just dropped ones grown, and finite initial values of the right shape.
    """
    dropped, grown = ascending(plan.dropped), ascending(plan.grown)
    for role, changed in (("dropped", dropped), ("grown", grown)):
        if changed.numel() and not 0 <= int(changed[0]) <= int(changed[-1]) < layer.numel:
            raise TopologyError(f"{plan.name}: {role} positions lie outside the layer.")
        if bool((changed[1:] == changed[:-1]).any()):
            raise TopologyError(f"{plan.name}: {role} positions repeat.")
    kept = without(layer.active, dropped)
    if kept.numel() != layer.active.numel() - dropped.numel():
        raise TopologyError(f"{plan.name}: the plan drops connections that are not active.")
    if bool(contains(kept, grown).any()):
        raise TopologyError(f"{plan.name}: the plan grows connections that are active already.")
    if (active := kept.numel() + grown.numel()) != count:
        raise TopologyError(
            f"{plan.name}: the plan leaves {active} connections instead of {count}."
        )
    if plan.values is not None and plan.values.shape != plan.grown.shape:
        raise TopologyError(
            f"{plan.name}: {plan.values.numel()} initial values for {plan.grown.numel()} "
            "grown connections."
        )
    if plan.values is not None and not bool(
        torch.isfinite(plan.values.to(layer.values.dtype)).all()
    ):
        raise TopologyError(f"{plan.name}: initial values contain NaN or infinity.")


@torch.no_grad()
def commit(
    plans: Sequence[LayerPlan],
    offsets: Sequence[int],
    weight: Tensor,
    mask: Tensor,
    states: Sequence[Tensor],
) -> None:
    """Carry out the plans of all layers of one masked parameter, in place.

    Parameters
    ----------
    plans : sequence of LayerPlan
        Checked plans, one per layer of the parameter.
    offsets : sequence of int
        Flat position in the parameter at which each layer begins.
    weight : Tensor
        The parameter.
    mask : Tensor, bool
        Its mask, same shape.
    states : sequence of Tensor
        Optimizer state of the same shape, such as momentum; zeroed where anything changed.
    """
    pairs = list(zip(plans, offsets, strict=True))
    dropped = _scatter([plan.dropped + offset for plan, offset in pairs], mask)
    grown = _scatter([plan.grown + offset for plan, offset in pairs], mask)
    changed = dropped | grown
    mask.masked_fill_(dropped, False).masked_fill_(grown, True)
    for tensor in (weight, *states):
        tensor.masked_fill_(changed, 0)
    for plan, offset in pairs:
        if plan.values is not None:
            place = torch.unravel_index(plan.grown + offset, weight.shape)
            weight.index_put_(place, plan.values.to(weight.dtype))


def _scatter(positions: Sequence[Tensor], like: Tensor) -> Tensor:
    flat = torch.zeros(like.numel(), dtype=torch.bool, device=like.device)
    flat[torch.cat(list(positions))] = True
    return flat.view(like.shape)
