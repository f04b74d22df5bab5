"""How are a budget and relative densities turned into exact integers?

The arithmetic under `sparsewire.core.allocation`: scaling ratios so that a budget is met with no
layer above density 1, rounding to integers with an exact sum, and what a density is a share of.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sparsewire.core._validation import check_fraction
from sparsewire.core.errors import InfeasibleDensityError


@dataclass(frozen=True)
class LayerShape:
    """Name and weight shape of one layer, all an allocation needs to know.

    Attributes
    ----------
    name : str
        Layer name, such as ``0.weight``.
    shape : tuple of int
        Shape of the weight as PyTorch stores it.
    """

    name: str
    shape: tuple[int, ...]

    @property
    def numel(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)


def water_fill(sizes: Sequence[int], ratios: Sequence[float], total: float) -> list[float]:
    """Scale `ratios` to densities that spend `total` weights with none above 1.

    Finds the unique ``k`` with ``sum(min(1, k * ratio) * size) == total`` by making every layer
    that overflows dense and solving again for the others.

    Parameters
    ----------
    sizes : sequence of int
        Weights per layer.
    ratios : sequence of float
        Positive relative densities.
    total : float
        Budget in weights, at most ``sum(sizes)``.

    Returns
    -------
    list of float
        Density per layer in (0, 1].

    Examples
    --------
    >>> sizes, ratios = [784 * 300, 300 * 100, 100 * 10], [1084 / 235200, 400 / 30000, 110 / 1000]
    >>> [round(d, 7) for d in water_fill(sizes, ratios, 0.1 * sum(sizes))]
    [0.0795678, 0.2301887, 1.0]
    """
    dense = [False] * len(sizes)
    while True:
        free = [i for i, clamped in enumerate(dense) if not clamped]
        left = total - sum(size for size, clamped in zip(sizes, dense, strict=True) if clamped)
        mass = sum(ratios[i] * sizes[i] for i in free)
        scale = left / mass if free else 0.0
        overflowing = [i for i in free if scale * ratios[i] > 1.0]
        if not overflowing:
            return [1.0 if dense[i] else scale * ratios[i] for i in range(len(sizes))]
        for i in overflowing:
            dense[i] = True


def round_counts(targets: Sequence[float], sizes: Sequence[int], total: int) -> list[int]:
    """Round real counts to integers in [1, size] that sum to `total`.

    Largest remainder: every count is rounded down, then the layers with the largest fractional
    parts get one more each; ties go to the earlier layer.

    Parameters
    ----------
    targets : sequence of float
        Wished counts, summing to about `total`.
    sizes : sequence of int
        Upper bounds.
    total : int
        Exact sum, between ``len(sizes)`` and ``sum(sizes)``.

    Returns
    -------
    list of int
        Counts.

    Raises
    ------
    InfeasibleDensityError
        If `total` is out of its range.

    Examples
    --------
    >>> round_counts([1.6, 2.6, 0.8], sizes=[9, 9, 9], total=5)
    [2, 2, 1]
    """
    if not len(sizes) <= total <= sum(sizes):
        raise InfeasibleDensityError(
            f"{total} cannot be split into counts of at least 1 and at most {list(sizes)}."
        )
    counts = [min(max(math.floor(t), 1), n) for t, n in zip(targets, sizes, strict=True)]
    while (missing := total - sum(counts)) != 0:
        sign = 1 if missing > 0 else -1
        movable = [i for i, n in enumerate(sizes) if (counts[i] < n if sign > 0 else counts[i] > 1)]
        movable.sort(key=lambda i: (-sign * (targets[i] - counts[i]), i))
        for i in movable[: abs(missing)]:
            counts[i] += sign
    return counts


def check_budget(layers: Sequence[LayerShape], total: int) -> None:
    """Raise `InfeasibleDensityError` unless `total` connections fit the layers."""
    weights = sum(layer.numel for layer in layers)
    if not len(layers) <= total <= weights:
        raise InfeasibleDensityError(
            f"{total} connections cannot be spread over {len(layers)} layers with {weights} "
            f"weights: every layer needs at least one. Choose a density in "
            f"[{_at_least(len(layers) / weights)}, 1]."
        )


def connections(layers: Sequence[LayerShape], density: float, dense: int = 0) -> int:
    """Return the number of connections that a density stands for.

    Parameters
    ----------
    layers : sequence of LayerShape
        Sparsified layers.
    density : float
        In (0, 1].
    dense : int, default 0
        Parameters that stay dense and are charged to the budget; 0 if `density` is a share of the
        sparsified weights alone.

    Returns
    -------
    int
        ``round(density * (weights + dense)) - dense``.

    Raises
    ------
    InfeasibleDensityError
        If that leaves less than one connection per layer.

    Examples
    --------
    >>> layers = [LayerShape("a", (10, 10))]
    >>> connections(layers, 0.2), connections(layers, 0.2, dense=10)
    (20, 12)
    """
    check_fraction("density", density, open_low=True)
    weights = sum(layer.numel for layer in layers)
    total = round(density * (weights + dense)) - dense
    if total < len(layers):
        beside = f" beside {dense} dense parameters" if dense else ""
        low = (dense + len(layers)) / (weights + dense)
        raise InfeasibleDensityError(
            f"density {density:g} leaves {total} connections for {len(layers)} layers{beside}; "
            f"choose a density in [{_at_least(low)}, 1]."
        )
    return total


def _at_least(density: float) -> str:
    """Print a density with three digits, rounded up so that it is feasible itself."""
    scale = 10.0 ** (2 - math.floor(math.log10(density)))
    return f"{math.ceil(density * scale) / scale:.3g}"
