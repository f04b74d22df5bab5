"""Which active connections go, and which inactive ones come?

Pure functions of tensors: no model, no optimizer, no mask is touched here. Drop rules see only the
values of *active* connections, so a weight that happens to be exactly zero is ranked like any
other; grow rules see only *candidates*. Ties are broken at random by the given generator, so equal
scores bias no part of a layer, and counts are always exact.

When to update, and how much, is decided in `sparsewire.core.schedule`; how an update is checked and
carried out in `sparsewire.core.topology`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from sparsewire.core.errors import NonFiniteError

_SAMPLE = 2**14


def drop_count(active: int, fraction: float) -> int:
    """Return ``floor(fraction * active)`` for the number meant, not its binary neighbour.

    Parameters
    ----------
    active : int
        Number of active connections.
    fraction : float
        Drop fraction in [0, 1].

    Returns
    -------
    int
        RigL's rounding (Evci et al., 2020).

    Examples
    --------
    >>> 0.29 * 100 < 29, drop_count(100, 0.29)
    (True, 29)
    """
    exact = Fraction(repr(float(fraction))) * active
    return min(active, math.floor(exact * (1 + Fraction(1, 2**51))))  # 1/3 of 3 is 1


def lowest(scores: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return the positions of the `count` lowest scores, ties broken at random.

    Parameters
    ----------
    scores : Tensor, shape (n,)
        Finite floating-point scores.
    count : int
        How many to return, ``0 <= count <= n``.
    generator : torch.Generator
        A CPU generator; drawn from only if scores tie at the cut.

    Returns
    -------
    Tensor, shape (count,), int64
        Positions in ascending order.

    Raises
    ------
    NonFiniteError
        If a score is NaN or infinite and there is a choice to make.

    Examples
    --------
    >>> import torch
    >>> lowest(torch.tensor([3.0, 1.0, 2.0]), 2, torch.Generator())
    tensor([1, 2])
    """
    if count <= 0:
        return torch.empty(0, dtype=torch.int64, device=scores.device)
    if count >= scores.numel():
        return torch.arange(scores.numel(), device=scores.device)
    ranked = scores if scores.dtype == torch.float64 else scores.float()
    check_finite(ranked, "scores")
    near = _near_the_lowest(ranked, count)
    values = ranked[near]
    cut = values.kthvalue(count).values
    below, tied = near[values < cut], near[values == cut]
    missing = count - below.numel()
    if missing < tied.numel():
        tied = tied[random_subset(tied.numel(), missing, generator).to(tied.device)]
    return torch.cat([below, tied]).sort().values


def check_finite(values: Tensor, what: str) -> None:
    """Raise `NonFiniteError` if a tensor that ranks connections contains NaN or infinity."""
    low, high = values.aminmax()  # both propagate NaN
    if not (math.isfinite(low) and math.isfinite(high)):
        bad = int((~torch.isfinite(values)).sum())
        raise NonFiniteError(
            f"{bad} of {values.numel()} {what} are NaN or infinite, so connections cannot be "
            "ranked; lower the learning rate, clip gradients, or skip such steps."
        )


def _near_the_lowest(ranked: Tensor, count: int) -> Tensor:
    """Return positions that certainly contain the `count` lowest values and all their ties.

    A sample tells below which bound they should lie, which spares a selection among all.
    """
    n = ranked.numel()
    sample = ranked[:: max(1, n // _SAMPLE)]
    rank = count * sample.numel() / n
    rank = math.ceil(rank + 5 * math.sqrt(rank) + 5)
    if rank < sample.numel():
        near = (ranked <= sample.kthvalue(rank).values).nonzero().squeeze(1)
        if near.numel() >= count:
            return near
    return torch.arange(n, device=ranked.device)


def highest(scores: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return the positions of the `count` highest scores; see `lowest`.

    Examples
    --------
    >>> import torch
    >>> highest(torch.tensor([3.0, 1.0, 2.0]), 2, torch.Generator())
    tensor([0, 2])
    """
    return lowest(-scores, count, generator)


def random_subset(n: int, count: int, generator: torch.Generator) -> Tensor:
    """Return `count` distinct integers below `n`, uniformly at random.

    Parameters
    ----------
    n, count : int
        Size of the set and of the subset, ``count <= n``.
    generator : torch.Generator
        A CPU generator, so that every device sees the same draw.

    Returns
    -------
    Tensor, shape (count,), int64, CPU
        In ascending order.

    Examples
    --------
    >>> import torch
    >>> random_subset(5, 5, torch.Generator()).tolist()
    [0, 1, 2, 3, 4]
    """
    return torch.randperm(n, generator=generator, device="cpu")[:count].sort().values


def drop_smallest(values: Tensor, fraction: float, generator: torch.Generator) -> Tensor:
    """Return the positions of the fraction of `values` smallest in magnitude.

    Parameters
    ----------
    values : Tensor, shape (n_active,)
        Weights of the active connections.
    fraction : float
        Drop fraction in [0, 1]; the count is `drop_count`.
    generator : torch.Generator
        Breaks ties.

    Returns
    -------
    Tensor, int64
        Positions into `values`, ascending.

    Examples
    --------
    >>> import torch
    >>> drop_smallest(torch.tensor([0.1, -3.0, 0.2, -0.3]), 0.5, torch.Generator())
    tensor([0, 2])
    """
    return lowest(values.abs(), drop_count(values.numel(), fraction), generator)


def drop_smallest_per_sign(values: Tensor, fraction: float, generator: torch.Generator) -> Tensor:
    """Return the fraction of positive and, separately, of negative values nearest to zero.

    The rule of SET (Mocanu et al., 2018, Nature Communications 9:2383): the smallest positive and
    the largest negative weights go. Each sign loses `drop_count` of its own number, so both keep
    their share. Exact zeros count as positive and go first.

    Parameters
    ----------
    values : Tensor, shape (n_active,)
        Weights of the active connections.
    fraction : float
        Drop fraction in [0, 1], applied to each sign.
    generator : torch.Generator
        Breaks ties.

    Returns
    -------
    Tensor, int64
        Positions into `values`, ascending.

    Examples
    --------
    >>> import torch
    >>> drop_smallest_per_sign(torch.tensor([0.1, 5.0, -3.0, -4.0]), 0.5, torch.Generator())
    tensor([0, 2])
    """
    negative = values < 0
    pools = [side.nonzero().squeeze(1) for side in (negative, ~negative)]
    dropped = [pool[drop_smallest(values[pool], fraction, generator)] for pool in pools]
    return torch.cat(dropped).sort().values


@dataclass(frozen=True)
class LayerView:
    """What a rule may look at: one layer, flattened in row-major order.

    Attributes
    ----------
    name : str
        Layer name, such as ``0.weight`` or ``lstm.weight_ih_l0[f]``.
    weight : Tensor, shape (n,)
        Weights, exactly 0 where inactive.
    mask : Tensor, shape (n,), bool
        True where active.
    gradient : Tensor, shape (n,), or None
        Dense gradient of the loss, also at inactive positions; None if none was captured.
    """

    name: str
    weight: Tensor
    mask: Tensor
    gradient: Tensor | None = None


def grow_random(
    layer: LayerView, candidates: Tensor, count: int, generator: torch.Generator
) -> Tensor:
    """Pick `count` of the candidates uniformly at random, as SET does.

    Parameters
    ----------
    layer : LayerView
        Not looked at.
    candidates : Tensor, shape (n,), bool
        True for the positions that may become active.
    count : int
        How many to pick.
    generator : torch.Generator
        Source of the draw.

    Returns
    -------
    Tensor, shape (count,), int64
        The chosen positions, ascending.
    """
    positions = candidates.nonzero().squeeze(1)
    chosen = random_subset(positions.numel(), count, generator)
    return positions[chosen.to(positions.device)]


def grow_largest_gradient(
    layer: LayerView, candidates: Tensor, count: int, generator: torch.Generator
) -> Tensor:
    """Pick the `count` candidates with the largest gradient magnitude, as RigL does.

    Parameters
    ----------
    layer : LayerView
        Its `gradient` must be set.
    candidates : Tensor, shape (n,), bool
        True for the positions that may become active.
    count : int
        How many to pick.
    generator : torch.Generator
        Breaks ties, for example among zero gradients.

    Returns
    -------
    Tensor, shape (count,), int64
        The chosen positions, ascending.

    Raises
    ------
    NonFiniteError
        If a candidate's gradient is NaN or infinite.
    """
    if layer.gradient is None:
        raise ValueError(f"{layer.name}: gradient growth needs a captured gradient.")
    return highest(layer.gradient.abs().masked_fill_(~candidates, -1), count, generator)


@dataclass(frozen=True)
class DropRule:
    """A drop criterion: `pick(values, fraction, generator)` returns positions to drop."""

    name: str
    pick: Callable[[Tensor, float, torch.Generator], Tensor]


@dataclass(frozen=True)
class GrowRule:
    """A growth criterion: `pick(layer, candidates, count, generator)` returns positions to grow."""

    name: str
    pick: Callable[[LayerView, Tensor, int, torch.Generator], Tensor]
    needs_gradient: bool = False


MAGNITUDE = DropRule("magnitude", drop_smallest)
SIGN = DropRule("sign", drop_smallest_per_sign)
RANDOM = GrowRule("random", grow_random)
GRADIENT = GrowRule("gradient", grow_largest_gradient, needs_gradient=True)

DROP_RULES = {rule.name: rule for rule in (MAGNITUDE, SIGN)}
GROW_RULES = {rule.name: rule for rule in (RANDOM, GRADIENT)}
