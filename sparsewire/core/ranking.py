"""Which scores are the lowest or the highest, exactly, and which tied ones are drawn?

Counts are always exact. Ties at the cut are broken at random by the given generator, so equal
scores bias no part of a layer; the draw depends on nothing but the number of tied scores and of
those still missing, so that it is the same on every device and however the scores are stored.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from sparsewire.core.errors import NonFiniteError

_SAMPLE = 2**14
_SHUFFLED = 2**14


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
    ranked = _ranked(scores)
    near = _near_the_lowest(ranked, count)
    values = ranked[near]
    cut = values.kthvalue(count).values
    below, tied = near[values < cut], near[values == cut]
    missing = count - below.numel()
    if missing < tied.numel():
        tied = tied[random_subset(tied.numel(), missing, generator).to(tied.device)]
    return torch.cat([below, tied]).sort().values


def _ranked(scores: Tensor) -> Tensor:
    """Return finite scores in a type whose order is exact."""
    ranked = scores if scores.dtype == torch.float64 else scores.float()
    check_finite(ranked, "scores")
    return ranked


def check_finite(values: Tensor, what: str) -> None:
    """Raise `NonFiniteError` if a tensor that ranks connections contains NaN or infinity."""
    low, high = values.aminmax()  # both propagate NaN
    if not (math.isfinite(low) and math.isfinite(high)):
        bad = int((~torch.isfinite(values)).sum())
        raise NonFiniteError(
            f"{bad} of {values.numel()} {what} are NaN or infinite, so connections cannot be "
            "ranked; lower the learning rate, clip gradients, or skip such steps."
        )


def nth_lowest(values: Tensor, n: int) -> float:
    """Return the value that has n others before it in ascending order.

    Examples
    --------
    >>> import torch
    >>> nth_lowest(torch.tensor([3.0, 1.0, 2.0]), 1)
    2.0
    """
    wide = values if values.dtype == torch.float64 else values.float()
    if wide.is_cpu:
        return float(np.partition(wide.numpy(force=True), n)[n])  # several times faster
    return float(wide.kthvalue(n + 1).values)


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


def highest_in_blocks(
    blocks: Callable[[], Iterator[tuple[int, Tensor]]], count: int, generator: torch.Generator
) -> Tensor:
    """Return what `highest` would of scores that are never all in memory.

    Two passes: the first finds the score at the cut, the second the positions. Beside one block,
    memory is needed for `count` scores.

    Parameters
    ----------
    blocks : callable
        Each call yields (position of the first score, flat scores) block by block, in ascending
        order, with equal values every time.
    count : int
        How many to return, at least 1 and at most the number of scores.
    generator : torch.Generator
        A CPU generator; drawn from only if scores tie at the cut.

    Returns
    -------
    Tensor, shape (count,), int64
        Positions in ascending order.

    Raises
    ------
    NonFiniteError
        If a score is NaN or infinite.

    Examples
    --------
    >>> import torch
    >>> scores = torch.tensor([3.0, 1.0, 2.0, 5.0])
    >>> highest_in_blocks(lambda: iter([(0, scores[:3]), (3, scores[3:])]), 2, torch.Generator())
    tensor([0, 3])
    """
    cut, above, ties, peaks = _find_cut(blocks(), count)
    missing = count - above
    lot = (
        random_subset(ties, missing, generator)
        if missing < ties
        else torch.arange(ties, device="cpu")
    )
    chosen, seen = [], 0
    for (first, scores), peak in zip(blocks(), peaks, strict=True):
        if peak < cut:
            continue
        ranked = _ranked(scores)
        tied = (ranked == cut).nonzero().squeeze(1)
        begin, end = torch.searchsorted(
            lot, torch.tensor([seen, seen + tied.numel()], device="cpu")
        ).tolist()
        won = tied[(lot[begin:end] - seen).to(tied.device)]
        better = (ranked > cut).nonzero().squeeze(1)
        chosen.append(torch.cat([better, won]).sort().values + first)
        seen += tied.numel()
    return torch.cat(chosen)


def _find_cut(
    blocks: Iterator[tuple[int, Tensor]], count: int
) -> tuple[float, int, int, list[float]]:
    """Return the `count`-th highest score, how many lie above it and at it, and block maxima."""
    best = torch.empty(0)
    cut, ties = -math.inf, 0
    peaks: list[float] = []
    for _, scores in blocks:
        ranked = _ranked(scores)
        if not peaks:
            best = ranked.new_full((count,), cut)
        peaks.append(float(ranked.max()))
        if peaks[-1] > cut:
            before = best
            best = torch.cat([best, ranked[ranked > cut]]).topk(count, sorted=False).values
            if (raised := float(best.min())) > cut:
                # All earlier scores above the old cut are among the best of then.
                cut, ties = raised, int((before == raised).sum())
        ties += int((ranked == cut).sum())
    return cut, int((best > cut).sum()), ties, peaks


def random_subset(n: int, count: int, generator: torch.Generator) -> Tensor:
    """Return `count` distinct integers below `n`, uniformly at random.

    Parameters
    ----------
    n, count : int
        Size of the set and of the subset, ``count <= n``. Time and memory grow with `count` alone
        where `n` is much larger.
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
    >>> random_subset(10**11, 3, torch.Generator().manual_seed(0)).unique().numel()
    3
    """
    n, count = int(n), int(count)  # numpy's integers overflow below
    if n <= _SHUFFLED or 4 * count >= n:
        order = torch.randperm(n, generator=generator, device="cpu")
        return order[:count].sort().values
    chosen = torch.empty(0, dtype=torch.int64, device="cpu")
    while (missing := count - chosen.numel()) > 0:
        more = _random_integers(n, missing + missing // 4 + 1, generator)
        chosen = _distinct(torch.cat([chosen, more]))
    # No integer is favoured: neither by how many were drawn, nor by which of them go again.
    staying = torch.ones(chosen.numel(), dtype=torch.bool, device="cpu")
    staying[random_subset(chosen.numel(), chosen.numel() - count, generator)] = False
    return chosen[staying]


def _distinct(integers: Tensor) -> Tensor:
    """Return the different values of a CPU tensor, ascending; it is sorted in place."""
    integers.numpy().sort()
    first = torch.ones(integers.numel(), dtype=torch.bool, device="cpu")
    first[1:] = integers[1:] != integers[:-1]
    return integers[first]


def _random_integers(n: int, count: int, generator: torch.Generator) -> Tensor:
    """Return about `count` integers below `n`, exactly uniform; a remainder of 63 bits is not."""
    drawn = torch.empty(count, dtype=torch.int64, device="cpu").random_(generator=generator)
    last = 2**63 - 2**63 % n - 1
    return drawn[drawn <= last].remainder_(n)
