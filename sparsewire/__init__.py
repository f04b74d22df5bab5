"""sparsewire: dynamic sparse training for PyTorch, and the applications that grow from it.

>>> import sparsewire
>>> sparsewire.RigL(end=1000).update_interval
100
"""

from sparsewire.core import (
    GMP,
    ITOP,
    SET,
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
    "RigL",
    "SetEpsilon",
    "SparsityHandle",
    "Static",
    "__version__",
    "apply_masks_",
    "sparsify",
]
