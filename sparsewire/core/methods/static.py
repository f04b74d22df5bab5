"""Static sparse training: a random topology, kept for ever."""

from dataclasses import dataclass

import torch

from sparsewire.core.criteria import LayerView
from sparsewire.core.methods.base import Method
from sparsewire.core.topology import LayerPlan, no_change


@dataclass(frozen=True)
class Static(Method):
    """A random topology that never changes.

    Examples
    --------
    >>> Static().when is None
    True
    """

    @property
    def when(self) -> None:
        """Never."""
        return

    def plan(
        self, layer: LayerView, target: int, step: int, generator: torch.Generator
    ) -> LayerPlan:
        """Change nothing."""
        return no_change(layer)
