"""Which connections does PALS prune and grow when its rule has decided?

In every layer the smallest weights go and the largest gradients come, by counts that depend on the
decision; layers keep nearly equal sparsities. A connection pruned and grown in the same update
keeps its weight. Decisions come from outside, by `PALSMethod.order`.

References
----------
Atashgahi et al. (2024). Adaptive sparsity level during training for efficient time series
forecasting with transformers. ECML-PKDD 2024; arXiv:2305.18382.
"""

import math
from dataclasses import dataclass, field

import torch

from sparsewire.core._validation import check_positive
from sparsewire.core.criteria import GRADIENT, RANDOM, LayerView
from sparsewire.core.errors import InvalidArgumentError, StateError
from sparsewire.core.methods.base import Method
from sparsewire.core.positions import without
from sparsewire.core.ranking import lowest
from sparsewire.core.schedule import Cosine, Every, every
from sparsewire.core.topology import LayerPlan
from sparsewire.timeseries.pals.rule import State, changes


@dataclass(frozen=True)
class Order:
    """What the next update has to do.

    Attributes
    ----------
    step : int
        Optimizer step that it follows.
    state : {"shrink", "stable", "expand"}
        The decision.
    least, most : float
        Densities at which shrinking and expanding end.
    """

    step: int
    state: State
    least: float = 0.0
    most: float = 1.0


@dataclass
class PALSMethod(Method):
    """Topology updates of PALS, one layer at a time.

    Parameters
    ----------
    schedule : Cosine
        Drop fraction by step (paper: 0.5 to 0.005 over the whole training).
    end : int
        Updates stop strictly before this optimizer step.
    update_interval : int, default 20
        Optimizer steps between updates (paper).
    prune_factor : float, default 1.1
        Gamma of the paper, which chooses among 1.05, 1.1 and 1.2.
    warm : bool, default True
        Whether Adam's second moments of new connections begin at the mean of the others; at 0, its
        first updates are several times the learning rate, which costs accuracy.

    Attributes
    ----------
    order : Order or None
        For the next update, set by whoever decides before the optimizer's step.

    Raises
    ------
    InvalidArgumentError
        If a value is out of range.

    Examples
    --------
    >>> method = PALSMethod(Cosine(0.5, 0.005, end=100), end=71)
    >>> method.order = Order(step=20, state="shrink")
    >>> method.count_after(1000, 1000, 1000, step=20)
    954
    """

    schedule: Cosine
    end: int
    update_interval: int = 20
    prune_factor: float = 1.1
    warm: bool = True
    order: Order | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        Every(self.update_interval, end=self.end)  # raises unless it is sound
        if check_positive("prune_factor", self.prune_factor) < 1:
            raise InvalidArgumentError(
                f"prune_factor must be at least 1, got {self.prune_factor!r}; else shrinking would "
                "expand."
            )

    @property
    def when(self) -> Every:
        """Every `update_interval` steps in ``step < end``."""
        return every(self.update_interval, 0, self.end)

    @property
    def needs_gradient(self) -> bool:
        """True: what grows has the largest gradient of the batch before the update."""
        return True

    @property
    def warm_start(self) -> bool:
        """Whether second moments of new connections begin at the mean of the others."""
        return self.warm

    def _changes(self, present: int, numel: int, step: int) -> tuple[int, int]:
        order = self.order
        if order is None or order.step != step:
            raise StateError(
                f"nobody has decided about the topology update after step {step}: call "
                "pals.step(validate) instead of optimizer.step(), or pals.decide(validate) before."
            )
        return changes(
            order.state,
            present,
            numel,
            self.schedule(step),
            self.prune_factor,
            least=max(1, math.ceil(order.least * numel)),
            most=math.floor(order.most * numel),
        )

    def count_after(self, present: int, target: int, numel: int, step: int) -> int:
        """Return the connections that the order leaves."""
        pruned, grown = self._changes(present, numel, step)
        return present - pruned + grown

    def plan(
        self, layer: LayerView, target: int, step: int, generator: torch.Generator
    ) -> LayerPlan:
        """Plan what has been ordered for one layer; without a gradient it grows at random."""
        pruned, grown = self._changes(layer.active.numel(), layer.numel, step)
        picked = lowest(layer.values.abs(), pruned, generator)
        staying = torch.ones_like(layer.active, dtype=torch.bool).index_fill_(0, picked, False)
        rule = RANDOM if layer.gradient is None else GRADIENT
        dropped = layer.active[picked]
        new = rule.pick(layer, layer.active[staying], grown, generator)
        return LayerPlan(layer.name, without(dropped, new), without(new, dropped))
