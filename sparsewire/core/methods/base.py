"""What do all methods have in common?

`Method` is what the engine asks: when to update, how many connections a layer has, and a plan.
`BaseDropAndGrow` is the common part of methods that replace connections and keep their number; a
concrete method only names its criteria.
"""

from abc import ABC, abstractmethod

import torch

from sparsewire.core.criteria import DropRule, GrowRule, LayerView
from sparsewire.core.schedule import Constant, Cosine, Every, Schedule, every
from sparsewire.core.topology import LayerPlan, plan_drop_and_grow


class Method(ABC):
    """What happens to the topology, and when."""

    @property
    @abstractmethod
    def when(self) -> Every | None:
        """Steps at which the topology is updated; None means never."""

    @property
    def needs_gradient(self) -> bool:
        """Whether updates look at the dense gradient."""
        return False

    @property
    def warm_start(self) -> bool:
        """Whether second moments of new connections begin at the mean of the others, not at 0.

        From 0, at a late step, Adam's first update is (1 - beta1) / sqrt(1 - beta2) = 3.2 times
        the learning rate, and the next ones are larger still.
        """
        return False

    def count(self, target: int, numel: int, step: int) -> int:
        """Return how many connections a layer has right after `step`.

        Parameters
        ----------
        target : int
            Connections the allocation gives the layer.
        numel : int
            All weights of the layer.
        step : int
            Optimizer steps completed; 0 for the initial topology.

        Returns
        -------
        int
            The exact number of active connections; `target` unless the method changes density.
        """
        return target

    def count_after(self, present: int, target: int, numel: int, step: int) -> int:
        """Return how many connections a layer has after an update, given how many it has now.

        Parameters
        ----------
        present : int
            Connections before the update.
        target, numel, step : int
            As in `count`.

        Returns
        -------
        int
            What the plan has to leave: `count`, but never more than `present`, because a ramp may
            want more than neuron pruning has left, or a layer of one's own had. Methods that add
            connections say otherwise.
        """
        return min(present, self.count(target, numel, step))

    @abstractmethod
    def plan(
        self, layer: LayerView, target: int, step: int, generator: torch.Generator
    ) -> LayerPlan:
        """Plan the update of one layer that follows optimizer step `step`."""


class BaseDropAndGrow(Method):
    """Rounds of drop and growth that keep every layer's number of connections."""

    update_interval: int
    drop_fraction: float | Schedule
    begin: int
    end: int | None

    _annealed_to = 0.0

    def __post_init__(self) -> None:
        """Check the window and the drop fraction."""
        _ = Every(self.update_interval, self.begin, self.end), self.schedule  # both check

    @property
    def when(self) -> Every:
        """Every `update_interval` steps in ``begin <= step < end``."""
        return every(self.update_interval, self.begin, self.end)

    @property
    def schedule(self) -> Schedule:
        """Drop fraction by step: a cosine if a number and `end` were given, else constant."""
        if isinstance(self.drop_fraction, Schedule):
            return self.drop_fraction
        constant = Constant(self.drop_fraction)
        if self.end is None:
            return constant
        stop = min(self._annealed_to, self.drop_fraction)
        return Cosine(self.drop_fraction, stop, end=self.end, begin=self.begin)

    @property
    def needs_gradient(self) -> bool:
        """Whether growth looks at the dense gradient."""
        return self._grow.needs_gradient

    @property
    @abstractmethod
    def _drop(self) -> DropRule: ...

    @property
    @abstractmethod
    def _grow(self) -> GrowRule: ...

    @property
    def _keep_regrown(self) -> bool:
        return True

    @property
    def _grown_std(self) -> float:
        return 0.0

    def plan(
        self, layer: LayerView, target: int, step: int, generator: torch.Generator
    ) -> LayerPlan:
        """Plan one round of drop and growth."""
        return plan_drop_and_grow(
            layer,
            self._drop,
            self._grow,
            self.schedule(step),
            generator,
            keep_regrown=self._keep_regrown,
            grown_std=self._grown_std,
        )
