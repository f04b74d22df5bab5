"""sparsewire: dynamic sparse training for PyTorch, and the applications that grow from it.

>>> import sparsewire
>>> sparsewire.RigL(end=1000).update_interval
100
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparsewire.core import (
        GMP,
        ITOP,
        SET,
        GraNet,
        RigL,
        SetEpsilon,
        SparsityHandle,
        Static,
        apply_masks_,
        sparsify,
    )

__version__ = "0.1.0"

__all__ = [
    "GMP",
    "ITOP",
    "SET",
    "GraNet",
    "RigL",
    "SetEpsilon",
    "SparsityHandle",
    "Static",
    "__version__",
    "apply_masks_",
    "sparsify",
]


def __getattr__(name: str) -> Any:
    """Import the engine, and with it torch, when one of its names is first used."""
    if name in __all__:
        from sparsewire import core

        return getattr(core, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names for completion, imported or not."""
    return __all__
