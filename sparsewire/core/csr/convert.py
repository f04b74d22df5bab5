"""In which other forms can a sparse layer be had?

As a dense layer, for export to any format; as a masked one; as torch's and scipy's sparse matrices.
"""

from abc import abstractmethod
from typing import Self

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from sparsewire.core.csr.index import Index
from sparsewire.core.errors import InvalidArgumentError


class Convertible(nn.Module):
    """The conversions of `sparsewire.core.csr.SparseLinear`."""

    in_features: int
    out_features: int
    weight: nn.Parameter
    bias: nn.Parameter | None

    @property
    @abstractmethod
    def index(self) -> Index:
        """The connections."""

    @abstractmethod
    def positions(self) -> Tensor:
        """Return the flat row-major positions of the connections, ascending."""

    @abstractmethod
    def values(self) -> Tensor:
        """Return a copy of the weights in the order of `positions`."""

    @classmethod
    @abstractmethod
    def from_positions(
        cls,
        in_features: int,
        out_features: int,
        positions: Tensor,
        values: Tensor,
        bias: Tensor | None = None,
    ) -> Self:
        """Make a layer with given connections."""

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the weight matrix: (out_features, in_features)."""
        return self.out_features, self.in_features

    @classmethod
    def from_dense(cls, linear: nn.Linear, mask: Tensor | None = None) -> Self:
        """Make a layer of the weights of a dense one that `mask` selects.

        Parameters
        ----------
        linear : nn.Linear
            Source of weights and bias.
        mask : Tensor, shape (out_features, in_features), bool, optional
            Connections to keep; None keeps the weights that are not 0.

        Returns
        -------
        SparseLinear
            A layer with copies of the values.
        """
        weight = linear.weight.detach()
        if mask is not None and (mask.shape != weight.shape or mask.dtype != torch.bool):
            raise InvalidArgumentError(
                f"mask must be a bool tensor of shape {tuple(weight.shape)}, got {mask.dtype} of "
                f"shape {tuple(mask.shape)}."
            )
        positions = (weight != 0 if mask is None else mask).flatten().nonzero().squeeze(1)
        values = weight.flatten()[positions]
        bias = None if linear.bias is None else linear.bias.detach()
        return cls.from_positions(linear.in_features, linear.out_features, positions, values, bias)

    @classmethod
    def from_masked(cls, linear: nn.Linear) -> Self:
        """Make a layer of one that `sparsewire.sparsify` has masked; weights of value 0 stay.

        Raises
        ------
        InvalidArgumentError
            If it carries no mask.
        """
        mask = dict(linear.named_buffers(recurse=False)).get("weight_mask")
        if mask is None:
            raise InvalidArgumentError(
                "the layer carries no mask; use from_dense, or sparsify the model first."
            )
        return cls.from_dense(linear, mask)

    def to_dense(self) -> nn.Linear:
        """Return a dense ``nn.Linear`` that computes the same, for export to any format."""
        linear = nn.Linear(
            self.in_features,
            self.out_features,
            bias=self.bias is not None,
            device="meta",
            dtype=self.weight.dtype,
        ).to_empty(device=self.weight.device)
        flat = self.weight.detach().new_zeros(self.in_features * self.out_features)
        flat[self.positions().to(flat.device)] = self.values()
        linear.train(self.training)
        linear.weight.requires_grad_(self.weight.requires_grad)
        if self.bias is not None:
            linear.bias.requires_grad_(self.bias.requires_grad)
        with torch.no_grad():
            linear.weight.copy_(flat.view(self.shape))
            if self.bias is not None:
                linear.bias.copy_(self.bias)
        return linear

    @classmethod
    def from_torch(cls, weight: Tensor, bias: Tensor | None = None) -> Self:
        """Make a layer of a ``torch.sparse_csr`` matrix of shape (out_features, in_features)."""
        if weight.layout != torch.sparse_csr or weight.ndim != 2:
            raise InvalidArgumentError(
                f"expected a two-dimensional torch.sparse_csr tensor, got {weight.layout} of "
                f"shape {tuple(weight.shape)}; call to_sparse_csr() on it."
            )
        n_out, n_in = weight.shape
        counts = weight.crow_indices().diff()
        rows = torch.arange(n_out, device=weight.device).repeat_interleave(counts)
        positions = rows * n_in + weight.col_indices()
        return cls.from_positions(n_in, n_out, positions, weight.values(), bias)

    def to_torch(self) -> Tensor:
        """Return the weight matrix as a new ``torch.sparse_csr`` tensor."""
        array = self.to_scipy()
        return torch.sparse_csr_tensor(
            torch.from_numpy(array.indptr.astype(np.int64)),
            torch.from_numpy(array.indices.astype(np.int64)),
            torch.from_numpy(array.data),
            size=self.shape,
            device=self.weight.device,
            check_invariants=False,
        )

    def to_scipy(self) -> sparse.csr_array:
        """Return the weight matrix as a new ``scipy.sparse.csr_array``; zeros stay stored."""
        rows, columns = np.divmod(self.index.positions(), self.in_features)
        indptr = np.zeros(self.out_features + 1, np.int64)
        np.cumsum(np.bincount(rows, minlength=self.out_features), out=indptr[1:])
        return sparse.csr_array((self.values().cpu().numpy(), columns, indptr), shape=self.shape)
