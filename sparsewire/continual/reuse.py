"""Which connections does a task get that reuses units of earlier tasks?

AFAF allocates from the classifier down to the input and class by class: the sources chosen in one
layer are the targets of the layer below. The last hidden layer is the task's own; below it the
units that a class excites most join some free ones. Reserved units are sources, never targets.

References
----------
Sokar, Mocanu & Pechenizkiy (2022), arXiv:2110.05329.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sparsewire.core.criteria import drop_count
from sparsewire.core.errors import InfeasibleDensityError
from sparsewire.core.ranking import highest, random_subset

if TYPE_CHECKING:
    from sparsewire.continual.afaf import AFAF


class BackwardAllocation:
    """Plans the connections of one task; changes nothing.

    Parameters
    ----------
    method : AFAF
        The learner, between two tasks.
    activations : mapping from int to sequence of Tensor
        By class, the mean activation of the units of each hidden layer.
    """

    def __init__(self, method: "AFAF", activations: Mapping[int, Sequence[Tensor]]) -> None:
        self._method = method
        self._activations = activations
        self._share = method.settings["reuse_share"]
        self._free_units: dict[int, Tensor] = {}
        self._chosen = [torch.zeros_like(reserved) for reserved in method.reserved]
        self._taken: list[list[Tensor]] = [[] for _ in method.layers]

    def plan(self, classes: Sequence[int]) -> tuple[list[Tensor], list[Tensor]]:
        """Return by layer the task's hidden units and its connections, both ascending."""
        layers, reserved = self._method.layers, self._method.reserved
        for number, label in enumerate(sorted(classes)):
            targets = torch.tensor([label])
            for index in range(len(layers) - 1, self._method.settings["shared_layers"] - 1, -1):
                sources = self._sources(index, label)
                count = self._count(index, len(classes), number)
                self._taken[index].append(self._draw(index, targets, sources, count, label))
                if index:
                    self._chosen[index - 1][sources] = True
                    targets = sources[~reserved[index - 1][sources]]
        none = torch.empty(0, dtype=torch.int64)
        connections = [torch.cat([none, *parts]).sort().values for parts in self._taken]
        return [units.nonzero().squeeze(1) for units in self._chosen], connections

    def _sources(self, index: int, label: int) -> Tensor:
        """Return the source units of a layer's connections for one class, ascending."""
        method, level = self._method, index - 1
        if index == 0:
            return torch.arange(method.layers[0].grid.columns)
        if index == len(method.layers) - 1:
            if level not in self._free_units:
                self._free_units[level] = method.choose_units(level)
            return self._free_units[level]
        generator = method.generator(method.layers[level].name, f"reuse/{label}")
        wanted = drop_count(method.select[level], self._share)
        units = torch.zeros_like(method.reserved[level])
        units[highest(self._activations[label][level], wanted, generator)] = True
        if level not in self._free_units:
            self._free_units[level] = self._draw_units(level, units)
        units[self._free_units[level]] = True
        return units.nonzero().squeeze(1)

    def _draw_units(self, level: int, candidates: Tensor) -> Tensor:
        """Draw free units beside the candidates of the task's first class."""
        method, layer = self._method, self._method.layers[level]
        usable = ~method.reserved[level] & ~candidates
        wanted = drop_count(method.select[level], 1 - self._share)
        if level < method.settings["shared_layers"]:
            # This layer gets no connections, so what none reaches by now stays a constant.
            usable &= (layer.owner > 0).any(1).cpu()
            wanted = min(wanted, int(usable.sum()))
        pool, name = usable.nonzero().squeeze(1), layer.name
        if pool.numel() < wanted:
            raise InfeasibleDensityError(
                f"task {len(method.tasks)} needs {wanted} free units in {name}, but only "
                f"{pool.numel()} of {candidates.numel()} are left; use a wider layer, or a smaller "
                f"select={method.settings['select']!r} or reserve={method.settings['reserve']!r}."
            )
        return pool[random_subset(pool.numel(), wanted, method.generator(name, "units"))]

    def _count(self, index: int, classes: int, number: int) -> int:
        """Return how many of a layer's connections one class of the task gets."""
        method = self._method
        sources = method.select[index - 1] if index else method.layers[0].grid.columns
        targets = method.select[index] if index < len(method.select) else classes
        budget = max(classes, method.budget(index, sources * targets))
        return budget // classes + (number < budget % classes)

    def _draw(self, index: int, targets: Tensor, sources: Tensor, count: int, label: int) -> Tensor:
        """Draw one class's connections in a layer among those that nobody owns."""
        method, layer = self._method, self._method.layers[index]
        free = layer.free(layer.grid.between(targets, sources).to(layer.weight.device)).cpu()
        if self._taken[index]:
            free = free[~torch.isin(free, torch.cat(self._taken[index]))]
        if free.numel() < count:
            raise InfeasibleDensityError(
                f"class {label} of task {len(method.tasks)} needs {count} connections in "
                f"{layer.name} between {sources.numel()} source and {targets.numel()} free target "
                f"units, but only {free.numel()} have no owner; lower density, reserve or "
                "reuse_share, or use wider layers."
            )
        generator = method.generator(layer.name, f"connections/{label}")
        return free[random_subset(free.numel(), count, generator)]
