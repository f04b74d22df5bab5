"""The engine of dynamic sparse training: allocation x drop x grow x schedule over masked layers.

Start with `sparsify`. Methods are `Static`, `SET`, `RigL`, `ITOP`, `GMP` and `GraNet`; allocations
`Uniform`, `ER`, `ERK`, `SetEpsilon` and `Custom`; schedules `Every`, `Constant` and `Cosine`.
"""

from sparsewire.core.allocation import ER, ERK, Allocation, Custom, SetEpsilon, Uniform
from sparsewire.core.analysis import LayerSummary, Summary
from sparsewire.core.csr import AllReLU, SparseLinear
from sparsewire.core.errors import (
    CheckpointError,
    InfeasibleDensityError,
    InvalidArgumentError,
    NoMaskableLayersError,
    NonFiniteError,
    SparsewireError,
    StateError,
    TopologyError,
    TrainingDivergedError,
    UnknownLayerError,
    UnknownMethodError,
    UnsupportedError,
)
from sparsewire.core.handle import SparsityHandle
from sparsewire.core.masked import apply_masks_
from sparsewire.core.methods import GMP, ITOP, SET, GraNet, Method, RigL, Static
from sparsewire.core.schedule import Constant, Cosine, Every, Schedule
from sparsewire.core.sparsify import sparsify

__all__ = [
    "ER",
    "ERK",
    "GMP",
    "ITOP",
    "SET",
    "AllReLU",
    "Allocation",
    "CheckpointError",
    "Constant",
    "Cosine",
    "Custom",
    "Every",
    "GraNet",
    "InfeasibleDensityError",
    "InvalidArgumentError",
    "LayerSummary",
    "Method",
    "NoMaskableLayersError",
    "NonFiniteError",
    "RigL",
    "Schedule",
    "SetEpsilon",
    "SparseLinear",
    "SparsewireError",
    "SparsityHandle",
    "StateError",
    "Static",
    "Summary",
    "TopologyError",
    "TrainingDivergedError",
    "Uniform",
    "UnknownLayerError",
    "UnknownMethodError",
    "UnsupportedError",
    "apply_masks_",
    "sparsify",
]
