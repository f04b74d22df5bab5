"""How important is a connection, and how important a unit, to the task being learnt?

A connection gains the magnitude of (change of weight times gradient) in every optimizer step. A
unit's importance adds up the *running* sums of its connections after every step, so that early
steps weigh more, as in the released SpaceNet.

References
----------
Zenke, Poole & Ganguli (2017), arXiv:1703.04200; Sokar, Mocanu & Pechenizkiy (2021),
arXiv:2007.07617.
"""

import torch
from torch import Tensor

from sparsewire.continual.grid import Grid


class ConnectionImportance:
    """Importance of the connections of one layer during one task.

    Attributes
    ----------
    connections : Tensor, shape (n,), int64
        The task's connections, ascending.
    total : Tensor, shape (n,)
        Sum over steps of |change of weight * gradient|.
    running : Tensor, shape (n,)
        Sum over steps of `total` after the step, since units were last credited.
    """

    def __init__(self, grid: Grid, connections: Tensor, dtype: torch.dtype) -> None:
        self.grid = grid
        self.connections = connections
        # Sums in half precision would stop growing, and products of small numbers vanish.
        wide = torch.promote_types(dtype, torch.float32)
        self.total = torch.zeros(connections.numel(), dtype=wide, device=connections.device)
        self.running = torch.zeros_like(self.total)

    def to_(self, device: torch.device) -> None:
        """Move to a device."""
        for name in ("connections", "total", "running"):
            setattr(self, name, getattr(self, name).to(device))

    def add(self, change: Tensor, gradient: Tensor) -> None:
        """Take an optimizer step into account.

        Parameters
        ----------
        change, gradient : Tensor, shape (n * block,)
            Of the weights of the connections.
        """
        product = change.to(self.total) * gradient.to(self.total)
        self.total += self.grid.per_connection(product.abs_())
        self.running += self.total

    def credit(self, targets: Tensor | None, sources: Tensor | None) -> None:
        """Add what has run up to the importance of units, and begin anew.

        Parameters
        ----------
        targets, sources : Tensor or None
            Importance of output and of input units, changed in place; None for one not wanted.
        """
        rows, columns = self.grid.ends(self.connections)
        for units, ends in ((targets, rows), (sources, columns)):
            if units is not None:
                units.index_add_(0, ends.to(units.device), self.running.to(units))
        self.running.zero_()

    def rewired(self, dropped: Tensor, grown: Tensor) -> "ConnectionImportance":
        """Return the importance after a topology update: new connections start at 0.

        Parameters
        ----------
        dropped : Tensor, int64
            Connections that are gone.
        grown : Tensor, int64
            New ones.
        """
        staying = ~torch.isin(self.connections, dropped)
        kept = self.connections[staying]
        connections, order = torch.cat([kept, grown]).sort()
        new = ConnectionImportance(self.grid, connections, self.total.dtype)
        for name in ("total", "running"):
            old = getattr(self, name)[staying]
            getattr(new, name).copy_(torch.cat([old, old.new_zeros(grown.numel())])[order])
        return new
