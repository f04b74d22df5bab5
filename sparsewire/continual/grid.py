"""Which weights does one connection of a continual learner stand for?

A mask of SpaceNet or AFAF switches *connections*: single weights of a linear layer, whole kernels
of a convolution, and, in a linear layer right after a flattened convolution, the block of weights
that belongs to one channel. In memory a connection is always a run of consecutive weights, so the
three differ in one number.

References
----------
Sokar, Mocanu & Pechenizkiy (2021), SpaceNet, arXiv:2007.07617.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """The connections of one layer.

    Attributes
    ----------
    rows, columns : int
        Output units and input units of the layer.
    block : int
        Weights per connection: 1, the size of a kernel, or that of a flattened map.

    Examples
    --------
    >>> grid = Grid(rows=2, columns=3, block=4)  # 3 maps of 2 x 2, flattened, into 2 neurons
    >>> grid.weights(torch.tensor([0, 5]))
    tensor([ 0,  1,  2,  3, 20, 21, 22, 23])
    """

    rows: int
    columns: int
    block: int = 1

    @property
    def shape(self) -> tuple[int, int]:
        """Output units, input units."""
        return self.rows, self.columns

    def weights(self, connections: Tensor) -> Tensor:
        """Return the flat positions of the weights of flat positions of connections."""
        inside = torch.arange(self.block, device=connections.device)
        return (connections[:, None] * self.block + inside).flatten()

    def per_connection(self, values: Tensor) -> Tensor:
        """Sum values of weights, as ordered by `weights`, over each connection."""
        return values if self.block == 1 else values.view(-1, self.block).sum(1)

    def between(self, targets: Tensor, sources: Tensor) -> Tensor:
        """Return the connections from every source to every target, ascending.

        Parameters
        ----------
        targets, sources : Tensor, int64
            Ascending indices of output and input units.

        Examples
        --------
        >>> Grid(2, 3).between(torch.tensor([1]), torch.tensor([0, 2]))
        tensor([3, 5])
        """
        return (targets[:, None] * self.columns + sources).flatten()

    def ends(self, connections: Tensor) -> tuple[Tensor, Tensor]:
        """Return target and source unit of each connection."""
        return connections // self.columns, connections % self.columns
