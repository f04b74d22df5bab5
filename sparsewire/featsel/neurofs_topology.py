"""Which inputs and connections does NeuroFS drop after an epoch, and which does it grow?

The number of inputs with a connection falls linearly to a share above the number to select;
besides, weak inputs are exchanged for promising ones, fewer and fewer towards the end. Hidden
layers replace weak connections and keep all neurons. When to update is up to the caller.

References
----------
Atashgahi et al. (2023). Supervised feature selection with neuron evolution in sparse neural
networks. Transactions on Machine Learning Research; arXiv:2303.07200.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sparsewire.core import Method
from sparsewire.core.criteria import RANDOM, SIGN, LayerView, drop_smallest_per_sign
from sparsewire.core.csr.gradient import OuterGradient
from sparsewire.core.ranking import highest
from sparsewire.core.topology import LayerPlan, plan_drop_and_grow
from sparsewire.featsel.neurofs_growth import (
    HIGHEST_GRADIENT,
    best_outputs,
    input_scores,
    restricted,
)

FIRST_SHRINKING = 2
"""Epoch, counted from 0, of the first update that removes inputs (released code)."""


@dataclass(frozen=True)
class InputSchedule:
    """How many inputs leave for good, and how many are exchanged, in each epoch.

    Attributes
    ----------
    n_inputs, n_selected, epochs : int
        Inputs of the network, features to select, and epochs of training.
    drop_fraction : float
        In [0, 1]: inputs beyond those to select that stay to the end, as a share of all, and most
        inputs exchanged in an epoch, as a share of those removed.
    shrink_fraction : float
        In [0, 1]: share of the epochs in which inputs leave.

    Examples
    --------
    >>> schedule = InputSchedule(1024, 50, 100, drop_fraction=0.2, shrink_fraction=0.65)
    >>> counts = schedule.counts()
    >>> counts[0], counts[10], counts[30], counts[99]
    (1024, 907, 663, 255)
    """

    n_inputs: int
    n_selected: int
    epochs: int
    drop_fraction: float
    shrink_fraction: float

    @property
    def surplus(self) -> int:
        """Number of inputs that leave in the course of training."""
        return max(0, int((1 - self.drop_fraction) * self.n_inputs - self.n_selected))

    def leaving(self, epoch: int, removed: int) -> int:
        """Return how many inputs are to leave in an epoch if `removed` have left before.

        Examples
        --------
        >>> InputSchedule(1024, 50, 100, 0.2, 0.65).leaving(2, 0)  # 769 in 63 epochs
        13
        """
        # Whatever is left at the end of the time goes at once.
        epochs_left = max(1, int(self.shrink_fraction * self.epochs) - epoch)
        return math.ceil(max(0, self.surplus - removed) / epochs_left)

    def exchanged(self, epoch: int, removed: int) -> int:
        """Return how many inputs are to be exchanged in an epoch if `removed` have left before.

        Examples
        --------
        >>> InputSchedule(1024, 50, 100, 0.2, 0.65).exchanged(50, 589)
        58
        """
        return int(removed * self.drop_fraction * (1 - epoch / self.epochs))

    def counts(self) -> list[int]:
        """Return the number of inputs with a connection after every epoch, its update included."""
        counts, removed = [], 0
        for epoch in range(self.epochs):
            if FIRST_SHRINKING <= epoch < self.epochs - 1:
                removed += self.leaving(epoch, removed)
            counts.append(self.n_inputs - removed)
        return counts


class NeuronEvolution(Method):
    """Drop and growth of inputs in the first layer, of connections in every sparse layer.

    Parameters
    ----------
    schedule : InputSchedule
        Numbers of inputs; its `drop_fraction` is also the share of the first layer's connections
        that is replaced.
    drop_fraction : float
        Share of the connections replaced in the other layers, and in the first one as long as all
        inputs stay.
    first_layer : str
        Name of the layer whose inputs are the features.
    constant : Tensor, shape (n_inputs,), bool
        Inputs that tell nothing: the first ones to leave, never to come back.

    Attributes
    ----------
    epoch : int
        To be set before an update.
    gradients : dict from str to OuterGradient
        What connections grow by, to be set before an update; where there is none, they grow at
        random.
    """

    def __init__(
        self, schedule: InputSchedule, drop_fraction: float, first_layer: str, constant: Tensor
    ) -> None:
        self.schedule = schedule
        self.drop_fraction = drop_fraction
        self.first_layer = first_layer
        self.epoch = 0
        self.gradients: dict[str, OuterGradient] = {}
        self._constant = constant
        self._protected = constant.new_zeros(0, dtype=torch.int64)
        self._room: int | None = None

    @property
    def when(self) -> None:
        """Never by itself."""
        return

    def count(self, target: int, numel: int, step: int) -> int:
        """Return `target`, or as many connections as the inputs just planned can have."""
        return target if self._room is None else min(target, self._room)

    def plan(
        self, layer: LayerView, target: int, step: int, generator: torch.Generator
    ) -> LayerPlan:
        """Plan the update of one layer after the present epoch."""
        self._room = None
        layer = replace(layer, gradient=self.gradients.get(layer.name))
        if layer.name == self.first_layer and self.epoch >= FIRST_SHRINKING:
            return self._plan_inputs(layer, generator)
        return plan_drop_and_grow(
            layer,
            SIGN,
            RANDOM if layer.gradient is None else HIGHEST_GRADIENT,
            self.drop_fraction,
            generator,
            keep_regrown=False,
        )

    def _plan_inputs(self, layer: LayerView, generator: torch.Generator) -> LayerPlan:
        n_out, n_in = layer.shape
        column = layer.active % n_in
        connected = torch.zeros_like(self._constant).index_fill_(0, column, True)
        leaving, n_exchanged = self._choose_leaving(layer, column, connected, generator)
        staying = ~leaving[column]
        of_kept = staying.nonzero().squeeze(1)
        weak = drop_smallest_per_sign(layer.values[of_kept], self.schedule.drop_fraction, generator)
        staying[of_kept[weak]] = False

        self._protected = self._choose_returning(connected, n_exchanged, generator)
        kept = (connected & ~leaving).nonzero().squeeze(1)
        columns = torch.cat([kept, self._protected]).sort().values
        self._room = n_out * len(columns)
        budget = min(len(layer.active), self._room) - int(staying.sum())
        grown = self._grow(layer, columns, layer.active[staying], budget, generator)
        return LayerPlan(layer.name, layer.active[~staying], grown)

    def _choose_leaving(
        self, layer: LayerView, column: Tensor, connected: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, int]:
        """Return which inputs lose all connections, and how many others shall get some."""
        strength = torch.zeros(len(connected), dtype=torch.float64, device=column.device)
        strength.index_add_(0, column, layer.values.double().abs())
        strength[self._constant] = 0
        active = connected.nonzero().squeeze(1)
        schedule = self.schedule
        removed = min(len(connected) - len(active), schedule.surplus)
        n_leaving = schedule.leaving(self.epoch, removed)
        n_exchanged = min(
            schedule.exchanged(self.epoch, removed), int((~connected & ~self._constant).sum())
        )
        n_kept = min(len(connected) - removed - n_leaving - n_exchanged, len(active))
        leaving = connected.clone()
        leaving[active[highest(strength[active], n_kept, generator)]] = False
        if removed < schedule.surplus:
            # What has just come had no time to become strong.
            leaving[self._protected] = False
            n_exchanged = max(0, min(n_exchanged, int(leaving.sum()) - n_leaving))
        return leaving, n_exchanged

    def _choose_returning(
        self, connected: Tensor, count: int, generator: torch.Generator
    ) -> Tensor:
        """Return the most promising of the inputs that have no connection."""
        candidates = (~connected & ~self._constant).nonzero().squeeze(1)
        if count == 0:
            return candidates[:0]
        scores = input_scores(self._among(candidates), len(candidates), generator)
        return candidates[highest(scores.to(candidates.device), count, generator)]

    def _among(self, columns: Tensor) -> OuterGradient | None:
        """Return the scores of the connections of some inputs of the first layer."""
        gradient = self.gradients.get(self.first_layer)
        return None if gradient is None else restricted(gradient, columns)

    def _grow(
        self,
        layer: LayerView,
        columns: Tensor,
        staying: Tensor,
        count: int,
        generator: torch.Generator,
    ) -> Tensor:
        """Return positions of `count` new connections of the given inputs.

        First comes the best one of every input that has none, so that the number of inputs is the
        one chosen. The layer is looked at without its other inputs.
        """
        (n_out, n_in), n_columns = layer.shape, len(columns)
        place = torch.full((n_in,), -1, device=columns.device)
        place[columns] = torch.arange(n_columns, device=columns.device)
        kept = staying // n_in * n_columns + place[staying % n_in]
        bare = torch.ones(n_columns, dtype=torch.bool, device=columns.device)
        bare = bare.index_fill_(0, kept % n_columns, False).nonzero().squeeze(1)[:count]
        rows = best_outputs(self._among(columns[bare]), len(bare), n_out, generator)
        first = rows.to(bare.device) * n_columns + bare
        narrow = LayerView(
            layer.name, (n_out, n_columns), kept, layer.values[:0], self._among(columns)
        )
        rule = RANDOM if narrow.gradient is None else HIGHEST_GRADIENT
        taken = torch.cat([kept, first]).sort().values
        more = rule.pick(narrow, taken, count - len(first), generator)
        grown = torch.cat([first, more])
        return grown // n_columns * n_in + columns[grown % n_columns]
