"""Layers with no dense matrix: connections stored as index and value, at the cost of these alone.

`SparseLinear` is the layer; its kernels need numba, which is imported when they first run.
"""

from sparsewire.core.csr.activation import AllReLU
from sparsewire.core.csr.layer import SparseLinear

__all__ = ["AllReLU", "SparseLinear"]
