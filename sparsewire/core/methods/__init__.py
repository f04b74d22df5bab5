"""The published algorithms, as rows of the grid drop x grow x schedule.

Each class is a frozen set of published choices; none has code of its own beyond them. Parameters
that papers give in epochs are given in optimizer steps here, because one update per epoch does not
transfer between data sets.

| method | drop | grow | regrown in the same round | drop fraction |
|---|---|---|---|---|
| `Static` | none | none | | |
| `SET` | smallest per sign, or magnitude | random | starts afresh | constant 0.3 |
| `RigL` | magnitude | gradient | unchanged | cosine 0.3 to 0 |
| `ITOP` | magnitude | random or gradient | unchanged | cosine 0.5 to 0.005 |
| `GMP` | magnitude, cubic density ramp | none | | |
| `GraNet` | magnitude, cubic density ramp | gradient | unchanged | cosine 0.5 to 0 |
"""

from sparsewire.core._validation import suggest
from sparsewire.core.errors import InvalidArgumentError, UnknownMethodError
from sparsewire.core.methods.base import BaseDropAndGrow, Method
from sparsewire.core.methods.gmp import GMP
from sparsewire.core.methods.granet import GraNet
from sparsewire.core.methods.itop import ITOP
from sparsewire.core.methods.rigl import RigL
from sparsewire.core.methods.set import SET
from sparsewire.core.methods.static import Static

__all__ = [
    "GMP",
    "ITOP",
    "METHODS",
    "SET",
    "BaseDropAndGrow",
    "GraNet",
    "Method",
    "RigL",
    "Static",
    "resolve_method",
]

METHODS: dict[str, Method] = {
    "static": Static(),
    "set": SET(),
    "set-magnitude": SET(drop="magnitude"),
    "rigl": RigL(),
    "itop": ITOP(),
    "set-itop": ITOP(),
    "rigl-itop": ITOP(growth="gradient", update_interval=4000),
}


def resolve_method(method: str | Method) -> Method:
    """Turn a name such as ``"rigl"`` into a method with its published defaults.

    Parameters
    ----------
    method : str or Method
        A name from ``METHODS``, or an object, returned as it is.

    Returns
    -------
    Method
        The method.

    Raises
    ------
    UnknownMethodError
        If the name is unknown.

    Examples
    --------
    >>> resolve_method("set-magnitude").drop
    'magnitude'
    """
    if isinstance(method, Method):
        return method
    name = str(method).lower()
    if name in (ramps := {"gmp": "GMP", "granet": "GraNet"}):
        raise InvalidArgumentError(
            f"{ramps[name]} prunes along a ramp and has to know when that ends: pass "
            f"method={ramps[name]}(end=number_of_steps)."
        )
    if not isinstance(method, str) or name not in METHODS:
        raise UnknownMethodError(
            f"unknown method {method!r}; use one of {', '.join(METHODS)}, GMP(end=...), "
            f"GraNet(end=...), or a Method object.{suggest(name, METHODS)}"
        )
    return METHODS[name]
