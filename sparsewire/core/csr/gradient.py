"""How does growth see the gradient at positions that have no weight?

As the product of what the backward pass met: output gradients times inputs. It is formed block by
block of output rows when an update asks for it, so a dense gradient of a whole layer never exists
above a memory budget.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

BLOCK = 2**24
"""Numbers in a block: 64 MiB in float32."""


@dataclass(frozen=True)
class OuterGradient:
    """The dense gradient of a sparse layer, block by block.

    Attributes
    ----------
    pairs : list of (Tensor, Tensor)
        Feature-major input, shape (n_in, lanes), and output gradient, shape (n_out, lanes), of
        every backward pass that contributes; none means zeros.
    like : Tensor
        Gives device and dtype.
    shape : (int, int)
        Numbers of outputs and inputs.
    reduce : callable or None
        Applied to each block in place, such as a sum over processes.
    block : int
        Most numbers held at once; at least one row is.
    """

    pairs: list[tuple[Tensor, Tensor]]
    like: Tensor
    shape: tuple[int, int]
    reduce: Callable[[Tensor], object] | None = None
    block: int = BLOCK

    def blocks(self) -> Iterator[tuple[int, Tensor]]:
        """Yield (position of the first entry, flat gradient) from the first row to the last."""
        n_out, n_in = self.shape
        rows = max(1, self.block // n_in)
        for first in range(0, n_out, rows):
            gradient = self.like.new_zeros(min(rows, n_out - first), n_in)
            for X, dY in self.pairs:
                gradient.addmm_(dY[first : first + rows], X.t())
            if self.reduce is not None:
                self.reduce(gradient)
            yield first * n_in, gradient.flatten()
