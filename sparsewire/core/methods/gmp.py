"""GMP: gradual magnitude pruning."""

from dataclasses import dataclass

import torch

from sparsewire.core.criteria import LayerView
from sparsewire.core.methods.base import Method
from sparsewire.core.ranking import lowest
from sparsewire.core.schedule import CubicRamp, Every, every
from sparsewire.core.topology import LayerPlan


@dataclass(frozen=True)
class GMP(Method):
    """Gradual magnitude pruning (Zhu & Gupta, 2017, arXiv:1710.01878): dense to sparse.

    Training starts dense; every layer's number of connections falls along a cubic ramp and reaches
    the allocated number exactly at the last update.

    Parameters
    ----------
    end : int
        Updates stop strictly before this optimizer step; the density is final from the last one on.
    begin : int, default 0
        First step at which pruning may happen.
    update_interval : int, default 100
        Optimizer steps between updates, the paper's lower value.

    Raises
    ------
    InvalidArgumentError
        If a value is out of range.

    Examples
    --------
    >>> method = GMP(end=1001)
    >>> [method.count(100, 1000, step) for step in (0, 100, 500, 1000)]
    [1000, 756, 212, 100]
    """

    end: int
    begin: int = 0
    update_interval: int = 100

    def __post_init__(self) -> None:
        Every(self.update_interval, self.begin, self.end)  # raises unless it is sound

    @property
    def when(self) -> Every:
        """Every `update_interval` steps in ``begin <= step < end``."""
        return every(self.update_interval, self.begin, self.end)

    def count(self, target: int, numel: int, step: int) -> int:
        """Return the connections after `step`: all at first, `target` from the last update on."""
        last = self.when.last
        assert last is not None  # Every refuses a window without an update
        remaining = 1.0 - CubicRamp(self.begin, last)(step)
        return target + round((numel - target) * remaining)

    def plan(
        self, layer: LayerView, target: int, step: int, generator: torch.Generator
    ) -> LayerPlan:
        """Plan the removal of the smallest weights down to the ramp's value."""
        excess = layer.active.numel() - self.count(target, layer.numel, step)
        smallest = lowest(layer.values.abs(), excess, generator)
        return LayerPlan(layer.name, layer.active[smallest], layer.active[:0])
