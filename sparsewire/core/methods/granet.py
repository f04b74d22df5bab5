"""GraNet: gradual pruning with zero-cost neuroregeneration."""

from dataclasses import dataclass
from math import floor

import torch

from sparsewire.core.criteria import GRADIENT, LayerView
from sparsewire.core.methods.base import Method
from sparsewire.core.positions import without
from sparsewire.core.ranking import lowest
from sparsewire.core.schedule import Cosine, CubicRamp, Every, every
from sparsewire.core.topology import LayerPlan


@dataclass(frozen=True)
class GraNet(Method):
    """Gradual pruning with neuroregeneration (Liu et al., 2021, arXiv:2106.10404): dense to sparse.

    Training starts dense. Every update prunes each layer along a cubic ramp to the allocated
    number, replaces in the same breath a share of what is left by the inactive connections with the
    largest gradient, and ends exactly at the allocated number.

    Parameters
    ----------
    end : int
        Updates stop strictly before this optimizer step; the density is final from the last one on.
    begin : int, default 0
        First step at which an update may happen.
    update_interval : int, default 1000
        Optimizer steps between updates (paper).
    drop_fraction : float, default 0.5
        Share of the connections replaced in the first update (paper), annealed to 0 by a cosine.

    Raises
    ------
    InvalidArgumentError
        If a value is out of range.

    Notes
    -----
    Pruned is layer by layer, at the pace of each layer's own allocation. The released code prunes
    by one threshold for all layers and regenerates layer by layer.

    Examples
    --------
    >>> method = GraNet(end=10_001)
    >>> [method.count(100, 1000, step) for step in (0, 1000, 5000, 10_000)]
    [1000, 756, 212, 100]
    """

    end: int
    begin: int = 0
    update_interval: int = 1000
    drop_fraction: float = 0.5

    def __post_init__(self) -> None:
        Every(self.update_interval, self.begin, self.end)  # raises unless it is sound
        _ = self.schedule

    @property
    def when(self) -> Every:
        """Every `update_interval` steps in ``begin <= step < end``."""
        return every(self.update_interval, self.begin, self.end)

    @property
    def schedule(self) -> Cosine:
        """Share replaced, by step."""
        return Cosine(self.drop_fraction, 0.0, end=self.end, begin=self.begin)

    @property
    def needs_gradient(self) -> bool:
        """True: what comes back has the largest gradient."""
        return True

    def count(self, target: int, numel: int, step: int) -> int:
        """Return the connections after `step`: all at first, `target` from the last update on."""
        last = self.when.last
        assert last is not None  # Every refuses a window without an update
        remaining = 1.0 - CubicRamp(self.begin, last)(step)
        return target + round((numel - target) * remaining)

    def plan(
        self, layer: LayerView, target: int, step: int, generator: torch.Generator
    ) -> LayerPlan:
        """Plan the removal of the smallest weights, and what comes back by its gradient."""
        present = layer.active.numel()
        count = self.count_after(present, target, layer.numel, step)
        if layer.gradient is None:
            smallest = lowest(layer.values.abs(), present - count, generator)
            return LayerPlan(layer.name, layer.active[smallest], layer.active[:0])
        back = floor(self.schedule(step) * count)
        picked = lowest(layer.values.abs(), present - count + back, generator)
        staying = torch.ones_like(layer.active, dtype=torch.bool).index_fill_(0, picked, False)
        dropped = layer.active[picked]
        grown = GRADIENT.pick(layer, layer.active[staying], back, generator)
        return LayerPlan(layer.name, without(dropped, grown), without(grown, dropped))
