"""How many units and which densities does an argument stand for, layer by layer?"""

from collections.abc import Sequence

from sparsewire.core._validation import check_fraction, check_integer
from sparsewire.core.criteria import drop_count
from sparsewire.core.errors import InvalidArgumentError

Size = int | float

# The released script's 10 000 of 784 x 80, 1640 of 80 x 80 and 80 of 80 x 2 connections.
_FIRST, _MIDDLE, _LAST = 0.16, 0.26, 0.5


def densities(
    density: float | Sequence[float] | None, layers: int, *, has_head: bool = True
) -> list[float]:
    """Return a density for every layer.

    Parameters
    ----------
    density : float, sequence of float or None
        One for all layers, one each, or SpaceNet's default.
    layers : int
        Number of layers.
    has_head : bool, default True
        Whether the last one is the classifier.

    Raises
    ------
    InvalidArgumentError
        If there are not as many as layers, or one is not in (0, 1].

    Examples
    --------
    >>> densities(None, 4)
    [0.16, 0.26, 0.26, 0.5]
    """
    if density is None:
        hidden = layers - has_head
        return [_FIRST, *[_MIDDLE] * (hidden - 1), *[_LAST] * has_head]
    given = list(density) if isinstance(density, Sequence) else [density] * layers
    if len(given) != layers:
        raise InvalidArgumentError(
            f"density must be one number or one for each of {layers} layers, got {given}."
        )
    return [check_fraction("density", value, open_low=True) for value in given]


def sizes(name: str, size: Size | Sequence[Size], widths: Sequence[int]) -> list[int]:
    """Return a number of units for every hidden layer.

    Parameters
    ----------
    name : str
        Of the argument.
    size : int, float or sequence of these
        A number of units, or a share in (0, 1] of `widths`, rounded down to at least 1; one for all
        layers or one each.
    widths : sequence of int
        Largest number of each layer.

    Raises
    ------
    InvalidArgumentError
        If there are not as many as layers, or one is out of range.

    Examples
    --------
    >>> sizes("select", 0.2, [400, 100]), sizes("select", [80, 10], [400, 100])
    ([80, 20], [80, 10])
    """
    given = list(size) if isinstance(size, Sequence) else [size] * len(widths)
    if len(given) != len(widths):
        raise InvalidArgumentError(
            f"{name} must be one number or one for each of {len(widths)} hidden layers, got "
            f"{given}."
        )
    return [_size(name, value, width) for value, width in zip(given, widths, strict=True)]


def _size(name: str, value: Size, width: int) -> int:
    if isinstance(value, float):
        return max(1, drop_count(width, check_fraction(name, value, open_low=True)))
    if check_integer(name, value, minimum=1) > width:
        raise InvalidArgumentError(f"{name} must be at most {width} in this layer, got {value}.")
    return value
