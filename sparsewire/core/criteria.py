"""Which active connections go, and which inactive ones come?

Pure functions of positions and values: no model, no optimizer is touched here, and nothing depends
on how a layer stores its connections. Drop rules see only the values of *active* connections, so a
weight that happens to be exactly zero is ranked like any other; grow rules choose among all
positions but those that stay active. Ties are broken and counts kept as `sparsewire.core.ranking`
says.

When to update, and how much, is decided in `sparsewire.core.schedule`; how an update is checked and
carried out in `sparsewire.core.topology`.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import torch
from torch import Tensor

from sparsewire.core.positions import free_at
from sparsewire.core.ranking import (
    check_finite,
    highest,
    highest_in_blocks,
    lowest,
    nth_lowest,
    random_subset,
)


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
    n_negative = int(negative.sum())
    # Side by side in ascending order: the negative ones that go, then the others.
    first = n_negative - drop_count(n_negative, fraction)
    last = n_negative + drop_count(values.numel() - n_negative, fraction) - 1
    if last < first:
        return negative.nonzero().squeeze(1)[:0]
    if all(map(math.isfinite, values.aminmax())):
        low, high = nth_lowest(values, first), nth_lowest(values, last)
        picked = ((values >= low) & (values <= high)).nonzero().squeeze(1)
        if picked.numel() == last - first + 1:
            return picked
    # Values tie at a cut, or are not finite.
    dropped = []
    for side in (negative, ~negative):
        pool = side.nonzero().squeeze(1)
        dropped.append(pool[drop_smallest(values[pool], fraction, generator)])
    return torch.cat(dropped).sort().values


class Gradient(Protocol):
    """The dense gradient of one layer, whether or not it is ever in memory as a whole."""

    def blocks(self) -> Iterator[tuple[int, Tensor]]:
        """Yield (position of the first entry, flat dense block), ascending, over the whole layer.

        May be called several times and yields equal values each time.
        """
        ...


@dataclass(frozen=True)
class DenseGradient:
    """A gradient that is in memory.

    Attributes
    ----------
    values : Tensor, shape (numel,)
        The gradient of every weight of the layer, flattened in row-major order.

    Examples
    --------
    >>> import torch
    >>> list(DenseGradient(torch.tensor([1.0, -2.0])).blocks())
    [(0, tensor([ 1., -2.]))]
    """

    values: Tensor

    def blocks(self) -> Iterator[tuple[int, Tensor]]:
        """Yield everything as one block."""
        yield 0, self.values


@dataclass(frozen=True)
class LayerView:
    """What a rule may look at: one layer, flattened in row-major order.

    Attributes
    ----------
    name : str
        Layer name, such as ``0.weight`` or ``lstm.weight_ih_l0[f]``.
    shape : tuple of int
        Shape of the dense weight.
    active : Tensor, shape (n_active,), int64
        Flat positions of the connections, ascending.
    values : Tensor, shape (n_active,)
        Their weights.
    gradient : Gradient or None
        Gradient of the loss, also at inactive positions; None if none was captured.
    """

    name: str
    shape: tuple[int, ...]
    active: Tensor
    values: Tensor
    gradient: Gradient | None = None

    @property
    def numel(self) -> int:
        """Number of weights, active or not."""
        return math.prod(self.shape)


def grow_random(layer: LayerView, kept: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Pick `count` of the candidates uniformly at random, as SET does.

    Parameters
    ----------
    layer : LayerView
        Only its size is looked at.
    kept : Tensor, int64
        Flat positions that stay active, ascending; all others are candidates.
    count : int
        How many to pick, at most the number of candidates.
    generator : torch.Generator
        Source of the draw.

    Returns
    -------
    Tensor, shape (count,), int64
        The chosen positions, ascending.
    """
    ranks = random_subset(layer.numel - kept.numel(), count, generator)
    return free_at(ranks.to(kept.device), kept)


def grow_largest_gradient(
    layer: LayerView, kept: Tensor, count: int, generator: torch.Generator
) -> Tensor:
    """Pick the `count` candidates with the largest gradient magnitude, as RigL does.

    The choice does not depend on how the gradient is cut into blocks.

    Parameters
    ----------
    layer : LayerView
        Its `gradient` must be set.
    kept : Tensor, int64
        Flat positions that stay active, ascending; all others are candidates.
    count : int
        How many to pick, at most the number of candidates.
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
    gradient = layer.gradient
    if gradient is None:
        raise ValueError(f"{layer.name}: gradient growth needs a captured gradient.")
    if count <= 0:
        return kept[:0]
    _, block = next(gradient.blocks())
    if block.numel() == layer.numel:
        return highest(_magnitudes(0, block, kept), count, generator)
    del block  # one block in memory is enough

    def scores() -> Iterator[tuple[int, Tensor]]:
        for first, block in gradient.blocks():
            yield first, _magnitudes(first, block, kept)

    return highest_in_blocks(scores, count, generator)


def _magnitudes(first: int, block: Tensor, kept: Tensor) -> Tensor:
    """Return a block of gradient magnitudes, -1 at the positions that are no candidates."""
    ends = torch.tensor([first, first + block.numel()], device=kept.device)
    begin, end = torch.searchsorted(kept, ends).tolist()
    return block.abs().index_fill_(0, kept[begin:end] - first, -1)


def weak_inputs(layer: LayerView, share: float) -> Tensor:
    """Return the connections into the weakest output neurons of a layer.

    A neuron's strength is the sum of the magnitudes of its incoming weights. Weak are neurons at or
    below the percentile `share` of all neurons of the layer; if that is every one, none is.

    Parameters
    ----------
    layer : LayerView
        The layer; its first dimension counts output neurons.
    share : float
        In [0, 1].

    Returns
    -------
    Tensor, int64
        Positions of their connections, ascending.

    References
    ----------
    Curci, Mocanu & Pechenizkiy (2021), arXiv:2102.01732: importance pruning.

    Examples
    --------
    >>> import torch
    >>> active, values = torch.tensor([0, 1, 3, 4]), torch.tensor([1.0, 1.0, -0.5, 9.0])
    >>> weak_inputs(LayerView("demo", (3, 2), active, values), 0.3)
    tensor([3])
    """
    neurons = layer.active // max(1, layer.numel // layer.shape[0])
    strength = torch.zeros(layer.shape[0], dtype=torch.float64, device=layer.active.device)
    strength.index_add_(0, neurons, layer.values.double().abs())
    check_finite(strength, "strengths of neurons")
    rank = math.ceil(Fraction(repr(float(share))) * layer.shape[0])  # 0.07 of 100 is 7
    if rank == 0:
        return layer.active[:0]
    weak = (strength <= strength.kthvalue(rank).values)[neurons]
    return layer.active[:0] if bool(weak.all()) else layer.active[weak]


@dataclass(frozen=True)
class DropRule:
    """A drop criterion: `pick(values, fraction, generator)` returns positions to drop."""

    name: str
    pick: Callable[[Tensor, float, torch.Generator], Tensor]


@dataclass(frozen=True)
class GrowRule:
    """A growth criterion: `pick(layer, kept, count, generator)` returns positions to grow."""

    name: str
    pick: Callable[[LayerView, Tensor, int, torch.Generator], Tensor]
    needs_gradient: bool = False


MAGNITUDE = DropRule("magnitude", drop_smallest)
SIGN = DropRule("sign", drop_smallest_per_sign)
RANDOM = GrowRule("random", grow_random)
GRADIENT = GrowRule("gradient", grow_largest_gradient, needs_gradient=True)

DROP_RULES = {rule.name: rule for rule in (MAGNITUDE, SIGN)}
GROW_RULES = {rule.name: rule for rule in (RANDOM, GRADIENT)}
