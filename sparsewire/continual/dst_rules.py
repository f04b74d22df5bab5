"""Which connections of a task's mask go, and which come?

The drop and grow rules that CL-with-DST compares, made of those of `sparsewire.core.criteria`.
Pure functions: what is planned here is carried out by `sparsewire.continual.dst_masks`.

References
----------
"Continual Learning with Dynamic Sparse Training" (2024), CPAL, PMLR 234, arXiv:2308.14831.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from sparsewire.core.criteria import (
    GRADIENT,
    MAGNITUDE,
    RANDOM,
    SIGN,
    DenseGradient,
    GrowRule,
    LayerView,
)
from sparsewire.core.ranking import random_subset
from sparsewire.core.topology import LayerPlan, no_change, plan_drop_and_grow

DROPS = ("magnitude", "set", "taylor")
GROWTHS = ("random", "unfired", "gradient", "momentum")


@dataclass(frozen=True)
class Rules:
    """What decides an update of one layer.

    Attributes
    ----------
    drop : {"magnitude", "set", "taylor"}
        Connections that go: the smallest weights, the smallest of each sign, or those with the
        smallest product of weight and gradient.
    grow : {"random", "unfired", "gradient", "momentum"}
        Connections that come: any, those not in `seen`, or those with the largest gradient, of the
        last batch or in the mean.
    seen : Tensor, bool
        What has been in the task's mask, of the weight's shape.
    mean : Tensor or None
        Running mean of the gradient, of the weight's shape; None if no batch has used the layer.
    """

    drop: str
    grow: str
    seen: Tensor
    mean: Tensor | None = None


def plan_update(
    view: LayerView,
    rules: Rules,
    fraction: float,
    generator: torch.Generator,
    allowed: Tensor | None = None,
) -> LayerPlan:
    """Plan the update of one layer; the number of connections stays.

    A connection dropped and grown again stays as it is. Rules that need a gradient change nothing
    in a layer that got none.

    Parameters
    ----------
    view : LayerView
        The layer, with the gradient of the last batch if a rule needs it.
    rules : Rules
        Which connections go and come.
    fraction : float
        Share of the connections that goes, in [0, 1].
    generator : torch.Generator
        The only source of randomness.
    allowed : Tensor, int64, optional
        Flat positions, ascending, where connections may be; None means everywhere.

    Returns
    -------
    LayerPlan
        The plan.

    Examples
    --------
    >>> view = LayerView("demo", (2, 2), torch.tensor([0, 1]), torch.tensor([0.1, 2.0]))
    >>> rules = Rules("magnitude", "unfired", torch.tensor([[True, True], [True, False]]))
    >>> plan = plan_update(view, rules, 0.5, torch.Generator())
    >>> plan.dropped.tolist(), plan.grown.tolist()
    ([0], [3])
    """
    gradient = view.gradient.values if isinstance(view.gradient, DenseGradient) else None
    values, active, seen = view.values, view.active, rules.seen.flatten()
    if rules.drop == "taylor":
        if gradient is None:
            return no_change(view)
        values = values * gradient[active]
    if rules.grow == "momentum":
        gradient = None if rules.mean is None else rules.mean.flatten()
    if allowed is not None:
        allowed = allowed.to(active.device)
        active, seen = torch.searchsorted(allowed, active), seen[allowed]
        gradient = None if gradient is None else gradient[allowed]
    dense = None if gradient is None else DenseGradient(gradient)
    inside = LayerView(view.name, (seen.numel(),), active, values, dense)
    drop = SIGN if rules.drop == "set" else MAGNITUDE
    grow = _grow_rule(rules.grow, seen)
    plan = plan_drop_and_grow(inside, drop, grow, fraction, generator, keep_regrown=True)
    if allowed is None:
        return plan
    return LayerPlan(view.name, allowed[plan.dropped], allowed[plan.grown])


def _grow_rule(name: str, seen: Tensor) -> GrowRule:
    if name == "unfired":
        return GrowRule(name, partial(grow_unfired, seen))
    return RANDOM if name == "random" else GRADIENT


def grow_unfired(
    seen: Tensor, layer: LayerView, kept: Tensor, count: int, generator: torch.Generator
) -> Tensor:
    """Pick connections that have been active in no mask of the task, then any, at random.

    Parameters
    ----------
    seen : Tensor, shape (numel,), bool
        What has been active.
    layer, kept, count, generator
        See `sparsewire.core.criteria.grow_random`.

    Returns
    -------
    Tensor, shape (count,), int64
        The chosen positions, ascending.

    Examples
    --------
    >>> seen = torch.tensor([True, True, True, False])
    >>> layer = LayerView("demo", (4,), torch.tensor([0, 1]), torch.ones(2))
    >>> grow_unfired(seen, layer, torch.tensor([0]), 1, torch.Generator())
    tensor([3])
    """
    taken = seen.clone()
    taken[kept] = True
    unfired = (~taken).nonzero().squeeze(1)
    if count <= unfired.numel():
        return unfired[random_subset(unfired.numel(), count, generator).to(unfired.device)]
    others = torch.cat([kept, unfired]).sort().values
    more = RANDOM.pick(layer, others, count - unfired.numel(), generator)
    return torch.cat([unfired, more]).sort().values
