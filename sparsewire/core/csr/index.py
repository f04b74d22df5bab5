"""Which connections does a layer have, and in what order do its numbers lie?

A weight matrix of shape (n_out, n_in) is stored compressed along one side, the *major* one:
``"csc"`` lists for every input the outputs it feeds, ``"csr"`` for every output its inputs. The
connection's weight, gradient and optimizer state lie in the same order. Everything outside this
package speaks of flat row-major positions ``output * n_in + input``, whatever the layout.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from sparsewire.core.errors import TopologyError

Layout = Literal["csr", "csc"]
Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]

_WIDE = 2**14
_LARGE = 2**22


def default_layout(n_out: int, n_in: int) -> Layout:
    """Return the faster layout for a shape.

    Input-major, except where outputs are many and inputs few, as in a decoder: there the rows of
    the small input side stay in the cache while the output side is walked through once.

    Examples
    --------
    >>> default_layout(1000, 784), default_layout(54675, 1000)
    ('csc', 'csr')
    """
    return "csr" if n_out >= _WIDE and n_out > 4 * n_in else "csc"


@dataclass(frozen=True)
class Index:
    """The connections of one layer; arrays are not copied and must not change.

    Attributes
    ----------
    n_out, n_in : int
        Shape of the weight matrix.
    layout : {"csr", "csc"}
        The major side: outputs or inputs.
    indptr : ndarray of int64, shape (n_major + 1,)
        Where each major row begins.
    indices : ndarray of int32, shape (n_connections,)
        Minor rows, ascending within a major row.

    Examples
    --------
    >>> index, _ = Index.from_positions(np.array([1, 2, 5]), 2, 3, "csc")
    >>> index.indptr.tolist(), index.indices.tolist(), index.positions().tolist()
    ([0, 0, 1, 3], [0, 0, 1], [1, 2, 5])
    """

    n_out: int
    n_in: int
    layout: Layout
    indptr: Int64s
    indices: Int32s

    @classmethod
    def from_positions(
        cls, positions: Int64s, n_out: int, n_in: int, layout: Layout
    ) -> tuple["Index", Int32s | None]:
        """Build the index of ascending flat positions.

        Returns
        -------
        Index
            The index.
        ndarray or None
            For every stored number, which of `positions` it belongs to; None if in that order.
        """
        from sparsewire.core.csr.assemble import compress

        by_output = cls(n_out, n_in, "csr", *compress(positions, n_out, n_in))
        return by_output.turned(layout)

    def turned(self, layout: Layout) -> tuple["Index", Int32s | None]:
        """Return the same connections in a layout, and for each stored number where it was."""
        if layout == self.layout:
            return self, None
        indptr, indices, order = self.other_side
        return replace(self, layout=layout, indptr=indptr, indices=indices), order

    @property
    def n_major(self) -> int:
        """Rows on the major side."""
        return self.n_out if self.layout == "csr" else self.n_in

    @property
    def n_minor(self) -> int:
        """Rows on the minor side."""
        return self.n_in if self.layout == "csr" else self.n_out

    @cached_property
    def other_side(self) -> tuple[Int64s, Int32s, Int32s]:
        """The same connections compressed along the minor side, and where their numbers lie.

        Built on first use: it takes 8 bytes per connection.
        """
        from sparsewire.core.csr.assemble import transpose

        indptr, indices, position = transpose(self.n_minor, self.indptr, self.indices)
        return indptr, indices, position

    def release(self) -> None:
        """Free `other_side` of a large index; it is built again when needed."""
        if len(self.indices) > _LARGE:
            self.__dict__.pop("other_side", None)

    def copy(self) -> "Index":
        """Return the same index with arrays of its own."""
        return replace(self, indptr=self.indptr.copy(), indices=self.indices.copy())

    def check(self) -> None:
        """Raise `TopologyError` unless every connection is in range and occurs once."""
        from sparsewire.core.csr.assemble import first_fault

        fits = self.indptr.shape == (self.n_major + 1,) and self.indices.ndim == 1
        row = first_fault(self.n_minor, self.indptr, self.indices) if fits else 0
        if row >= 0:
            raise TopologyError(
                f"the index of a sparse layer of shape ({self.n_out}, {self.n_in}) is damaged in "
                f"{'output' if self.layout == 'csr' else 'input'} {row}: its entries must be "
                f"ascending, distinct and in [0, {self.n_minor})."
            )

    def positions(self) -> Int64s:
        """Return the flat row-major positions of the connections, ascending."""
        from sparsewire.core.csr.assemble import flatten

        indptr, columns = self.indptr, self.indices
        if self.layout == "csc":
            indptr, columns, _ = self.other_side
        positions: Int64s = flatten(indptr, columns, self.n_in)
        return positions

    def order(self) -> Int32s | None:
        """Return where the number of each of `positions` lies; None if in that order."""
        return None if self.layout == "csr" else self.other_side[2]
