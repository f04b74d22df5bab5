"""How many connections does each layer get?

An allocation turns a total budget into one integer per layer. Ratios come from the allocation
(uniform, Erdős–Rényi, Erdős–Rényi-kernel, a table of your own); the common solver `water_fill`
scales them until the budget is met with no layer above density 1, and `round_counts` makes integers
that sum to the budget exactly. *Which* connections a layer gets is not decided here.

References
----------
Mocanu et al. (2018), Nature Communications 9:2383: Erdős–Rényi topologies and epsilon.
Evci et al. (2020), arXiv:1911.11134: Erdős–Rényi-kernel (ERK).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from sparsewire.core._validation import check_fraction, check_positive, suggest
from sparsewire.core.budget import LayerShape, check_budget, round_counts, water_fill
from sparsewire.core.errors import (
    InfeasibleDensityError,
    InvalidArgumentError,
    UnknownLayerError,
    UnknownMethodError,
)


class Allocation(ABC):
    """A rule that spreads a budget of connections over layers."""

    @property
    def needs_density(self) -> bool:
        """Whether a density must be given; False if the rule fixes the counts by itself."""
        return True

    @abstractmethod
    def counts(self, layers: Sequence[LayerShape], total: int | None) -> dict[str, int]:
        """Return the number of connections of each layer, summing to `total`.

        Parameters
        ----------
        layers : sequence of LayerShape
            Layers in play.
        total : int or None
            Budget; None only if `needs_density` is False.

        Returns
        -------
        dict from str to int
            In the order of `layers`.

        Raises
        ------
        InfeasibleDensityError
            If the budget is below one connection per layer or above all weights.
        """


def _spread(
    layers: Sequence[LayerShape], ratios: Sequence[float], total: int | None
) -> dict[str, int]:
    if total is None:
        raise InvalidArgumentError("this allocation needs a density in (0, 1], got None.")
    check_budget(layers, total)
    sizes = [layer.numel for layer in layers]
    densities = water_fill(sizes, ratios, total)
    targets = [density * size for density, size in zip(densities, sizes, strict=True)]
    rounded = round_counts(targets, sizes, total)
    return {layer.name: count for layer, count in zip(layers, rounded, strict=True)}


@dataclass(frozen=True)
class Uniform(Allocation):
    """The same density in every layer.

    Examples
    --------
    >>> Uniform().counts([LayerShape("a", (10, 10)), LayerShape("b", (2, 10))], 12)
    {'a': 10, 'b': 2}
    """

    def counts(self, layers: Sequence[LayerShape], total: int | None) -> dict[str, int]:
        """Return the counts; see `Allocation.counts`."""
        return _spread(layers, [1.0] * len(layers), total)


@dataclass(frozen=True)
class ER(Allocation):
    """Erdős–Rényi: density proportional to ``(n_out + n_in) / (n_out * n_in)``.

    Only the first two dimensions of a weight count, so kernel sizes make no difference (Mocanu et
    al., 2018; the form of RigL's code).

    Examples
    --------
    >>> ER().counts([LayerShape("a", (100, 100)), LayerShape("b", (10, 100))], 1100)
    {'a': 710, 'b': 390}
    """

    def counts(self, layers: Sequence[LayerShape], total: int | None) -> dict[str, int]:
        """Return the counts; see `Allocation.counts`."""
        leading = [layer.shape[:2] for layer in layers]
        return _spread(layers, [sum(dims) / math.prod(dims) for dims in leading], total)


@dataclass(frozen=True)
class ERK(Allocation):
    """Erdős–Rényi-kernel: density proportional to the sum over the product of all dimensions.

    For linear layers the same as `ER` (Evci et al., 2020). The weight's own shape is used, so the
    small second dimension of a grouped convolution, ``in / groups``, makes it dense early, as in
    every reference implementation.

    Examples
    --------
    >>> layers = [LayerShape("a", (16, 3, 3, 3)), LayerShape("b", (32, 16, 3, 3))]
    >>> ERK().counts(layers, 1000)
    {'a': 316, 'b': 684}
    """

    def counts(self, layers: Sequence[LayerShape], total: int | None) -> dict[str, int]:
        """Return the counts; see `Allocation.counts`."""
        return _spread(layers, [sum(s.shape) / s.numel for s in layers], total)


@dataclass(frozen=True)
class SetEpsilon(Allocation):
    """SET's own rule: ``epsilon * (n_in + n_out)`` connections per layer, at most all.

    Fixes the counts without a density. `n_out` is the first dimension and `n_in` the product of the
    others, so a convolution counts its kernel as inputs. SET's code draws that many coordinates
    with replacement and so ends a few per cent below; here the count is exact.

    Parameters
    ----------
    epsilon : float
        Positive; 11 to 20 in Mocanu et al. (2018), 13 in QuickSelection.

    Examples
    --------
    >>> SetEpsilon(13).counts([LayerShape("a", (1000, 784))], None)
    {'a': 23192}
    """

    epsilon: float = 20.0

    def __post_init__(self) -> None:
        check_positive("epsilon", self.epsilon)

    @property
    def needs_density(self) -> bool:
        """False: epsilon fixes the counts."""
        return False

    def counts(self, layers: Sequence[LayerShape], total: int | None) -> dict[str, int]:
        """Return the counts; a `total` contradicts epsilon and raises."""
        if total is not None:
            raise InvalidArgumentError(
                "SetEpsilon fixes the number of connections by itself; pass density=None."
            )
        return {
            layer.name: min(
                layer.numel,
                max(1, round(self.epsilon * (layer.shape[0] + layer.numel // layer.shape[0]))),
            )
            for layer in layers
        }


@dataclass(frozen=True)
class Custom(Allocation):
    """Densities of your own by layer name or glob; other layers share what is left.

    Parameters
    ----------
    densities : mapping from str to float
        Name or glob (``fnmatch``) of layers to a density in (0, 1]. A pattern may name the layer
        (``0.weight``), its module (``0``) or both by glob (``encoder.*``); the first match counts.
    rest : Allocation, default ERK()
        How the remaining budget is spread over layers that no pattern matches.

    Raises
    ------
    UnknownLayerError
        When used, if a pattern matches no layer.

    Examples
    --------
    >>> layers = [LayerShape("0.weight", (10, 10)), LayerShape("2.weight", (10, 10))]
    >>> Custom({"0": 0.5}).counts(layers, 60)
    {'0.weight': 50, '2.weight': 10}
    """

    densities: Mapping[str, float]
    rest: Allocation = ERK()

    def __post_init__(self) -> None:
        for pattern, density in self.densities.items():
            check_fraction(f"density of {pattern!r}", density, open_low=True)

    @property
    def needs_density(self) -> bool:
        """False: if the patterns match every layer no density is needed."""
        return False

    def counts(self, layers: Sequence[LayerShape], total: int | None) -> dict[str, int]:
        """Return the counts; see `Allocation.counts`."""
        check_patterns("allocation", self.densities, [layer.name for layer in layers])
        pinned: dict[str, int] = {}
        for layer in layers:
            density = next(
                (d for p, d in self.densities.items() if matches_layer(p, layer.name)), None
            )
            if density is not None:
                pinned[layer.name] = max(1, round(density * layer.numel))
        others = [layer for layer in layers if layer.name not in pinned]
        spent = sum(pinned.values())
        if others:
            left = None if total is None else total - spent
            pinned |= self._share(others, left, spent)
        elif total is not None and total != spent:
            raise InfeasibleDensityError(
                f"the densities given by name use {spent} connections but the budget is {total}; "
                "pass density=None, or leave a layer unnamed to take up the difference."
            )
        return {layer.name: pinned[layer.name] for layer in layers}

    def _share(self, others: Sequence[LayerShape], left: int | None, spent: int) -> dict[str, int]:
        weights = sum(layer.numel for layer in others)
        if left is not None and not len(others) <= left <= weights:
            raise InfeasibleDensityError(
                f"the densities given by name use {spent} connections, which leaves {left} for "
                f"{len(others)} other layers with {weights} weights; allowed is "
                f"{len(others)} to {weights}."
            )
        return self.rest.counts(others, left)


def check_patterns(role: str, patterns: Iterable[str], names: Sequence[str]) -> None:
    """Raise `UnknownLayerError` unless every name or glob matches one of the layers.

    Examples
    --------
    >>> check_patterns("layers", ["encoder.*"], ["encoder.0.weight"])
    """
    for pattern in patterns:
        if not any(matches_layer(pattern, name) for name in names):
            raise UnknownLayerError(
                f"{role} names {pattern!r}, which matches none of the sparsified layers "
                f"{', '.join(names)}.{suggest(pattern, names)}"
            )


def matches_layer(pattern: str, layer_name: str) -> bool:
    """Tell whether a name or glob matches a layer, its parameter, or an enclosing module.

    Examples
    --------
    >>> matches_layer("encoder", "encoder.0.weight"), matches_layer("*.0", "encoder.0.weight")
    (True, True)
    >>> matches_layer("lstm.weight_ih_l0", "lstm.weight_ih_l0[f]")
    True
    """
    if layer_name == pattern:
        return True
    parameter_name = layer_name.split("[")[0]
    parts = parameter_name.split(".")
    prefixes = [".".join(parts[:i]) for i in range(1, len(parts) + 1)]
    return any(fnmatchcase(prefix, pattern) for prefix in prefixes)


ALLOCATIONS: dict[str, Allocation] = {"uniform": Uniform(), "er": ER(), "erk": ERK()}


def resolve_allocation(allocation: str | Allocation | Mapping[str, float]) -> Allocation:
    """Turn what a user may write into an `Allocation`.

    Parameters
    ----------
    allocation : str, Allocation, or mapping from str to float
        ``"uniform"``, ``"er"``, ``"erk"``, an object, or densities by name (see `Custom`).

    Returns
    -------
    Allocation
        The rule.

    Raises
    ------
    UnknownMethodError
        If the name is unknown.

    Examples
    --------
    >>> resolve_allocation("erk")
    ERK()
    """
    if isinstance(allocation, Allocation):
        return allocation
    if isinstance(allocation, Mapping):
        return Custom(allocation)
    if isinstance(allocation, str) and allocation.lower() in ALLOCATIONS:
        return ALLOCATIONS[allocation.lower()]
    raise UnknownMethodError(
        f"unknown allocation {allocation!r}; use one of {', '.join(ALLOCATIONS)}, an Allocation "
        f"such as SetEpsilon(13), or a mapping from layer names to densities."
        f"{suggest(str(allocation), ALLOCATIONS)}"
    )
