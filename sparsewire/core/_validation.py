"""Checks of plain arguments that several modules of the engine share."""

import difflib
import math
from collections.abc import Iterable
from numbers import Integral, Real

from sparsewire.core.errors import InvalidArgumentError


def check_integer(name: str, value: object, *, minimum: int) -> int:
    """Return `value` as an int, or raise `InvalidArgumentError` if it is below `minimum`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < minimum:
        raise InvalidArgumentError(f"{name} must be an integer >= {minimum}, got {value!r}.")
    return int(value)


def check_positive(name: str, value: object, *, or_zero: bool = False) -> float:
    """Return `value` as a finite float above (or at) zero, else raise `InvalidArgumentError`."""
    wrong_type = isinstance(value, bool) or not isinstance(value, Real)
    number = math.nan if wrong_type else float(value)  # type: ignore[arg-type]
    if not (math.isfinite(number) and (number > 0 or (or_zero and number == 0))):
        sign = ">=" if or_zero else ">"
        raise InvalidArgumentError(f"{name} must be a finite number {sign} 0, got {value!r}.")
    return number


def check_fraction(
    name: str, value: object, *, low: float = 0.0, high: float = 1.0, open_low: bool = False
) -> float:
    """Return `value` as a float inside [low, high] (or (low, high]), else raise."""
    wrong_type = isinstance(value, bool) or not isinstance(value, Real)
    number = math.nan if wrong_type else float(value)  # type: ignore[arg-type]
    inside = (low < number <= high) if open_low else (low <= number <= high)
    if not inside:
        bracket = "(" if open_low else "["
        raise InvalidArgumentError(
            f"{name} must be a number in {bracket}{low:g}, {high:g}], got {value!r}."
        )
    return number


def suggest(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean ...?" for a misspelt `name`, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
