"""How does SpaceNet learn task after task in one fixed network?

Each task trains a compact sparse sub-network among units chosen for it, which is rewired towards
important units during the task. Then its connections are frozen and its most important units
reserved. No data are stored and no task id is needed to predict.

References
----------
Sokar, Mocanu & Pechenizkiy (2021). SpaceNet: make free space for continual learning.
Neurocomputing 439, 1-11. arXiv:2007.07617.
"""

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sparsewire.continual.chain import Chain
from sparsewire.continual.isolation import IsolatedMethod, assert_like
from sparsewire.continual.method import Batches
from sparsewire.continual.sizes import Size, densities, sizes
from sparsewire.core._validation import check_fraction, check_integer
from sparsewire.core.criteria import drop_count
from sparsewire.core.errors import InfeasibleDensityError
from sparsewire.core.network import seeded_generator
from sparsewire.core.ranking import highest, lowest, random_subset


class SpaceNet(IsolatedMethod):
    """Continual learning with a sparse sub-network of its own for every task.

    Parameters
    ----------
    model : nn.Module
        A chain of linear and convolutional layers; connections are single weights, whole kernels,
        and blocks of weights behind a flattened map. All weights become 0 and those allocated later
        return to their initial values.
    optimizer : torch.optim.Optimizer
        Holds the parameters of the model. The paper's is plain SGD with learning rate 0.01;
        momentum and longer training sharpen the tasks' logits and cost class-incremental accuracy.
    density : float or sequence of float, default (0.16, ..., 0.26, ..., 0.5)
        Share of the connections between chosen units that a task is given, for all layers or layer
        by layer. Defaults after the released split-MNIST script (10 000, 1640 and 80 connections).
    select : int, float or sequence, default 0.2
        Units chosen for a task in each hidden layer, as a number or a share (80 of 400).
    reserve : int, float or sequence, default 0.5
        Units reserved after a task, as a number or a share of the chosen ones (40 of 80).
    rewire_fraction : float, default 0.2
        Share of a task's connections that `rewire` moves in each hidden layer.
    strict : bool, default True
        True: units are chosen only among those no task has used, and only their biases train, so
        that old logits keep every bit (unless a later task announces the same classes again).
        False, as released: units that were used but not reserved may be chosen again and all
        unreserved biases train, so that old representations drift a little.
    head : {"zero", "mask", "live"}, default "zero"
        What the loss sees of classes that a batch is not about: their bias alone, as released;
        -1e4; or everything. On split MNIST 71, 60 and 22 % (specs/continual.md, a.8).
    layers : sequence of str or None, default None
        Names of the chain's layers in order, for a model that branches.
    seed : int, default 0
        Decides allocation and ties.

    Raises
    ------
    UnsupportedError
        If the model is no chain.
    InvalidArgumentError
        If an argument is out of range.

    References
    ----------
    Sokar, Mocanu & Pechenizkiy (2021), arXiv:2007.07617.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(8, 20), nn.ReLU(), nn.Linear(20, 4))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> method = SpaceNet(model, optimizer, select=5, reserve=2)
    >>> x, y = torch.randn(32, 8), torch.randint(2, 4, (32,))
    >>> method.begin_task([2, 3])
    >>> for epoch in range(2):
    ...     if epoch:
    ...         method.rewire()
    ...     optimizer.zero_grad()
    ...     nn.functional.cross_entropy(method.logits(model(x), y), y).backward()
    ...     _ = optimizer.step()
    >>> method.end_task()
    >>> method.connections()
    {'0': 6, '2': 5}
    >>> sorted(set(method.class_scores(model(x)).argmax(1).tolist()) - {2, 3})
    []
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        *,
        density: float | Sequence[float] | None = None,
        select: Size | Sequence[Size] = 0.2,
        reserve: Size | Sequence[Size] = 0.5,
        rewire_fraction: float = 0.2,
        strict: bool = True,
        head: str = "zero",
        layers: Sequence[str] | None = None,
        seed: int = 0,
    ) -> None:
        settings: dict[str, Any] = {
            "density": _plain(density),
            "select": _plain(select),
            "reserve": _plain(reserve),
            "rewire_fraction": check_fraction("rewire_fraction", rewire_fraction),
            "strict": bool(strict),
            "head": head,
            "layers": _plain(layers),
            "seed": check_integer("seed", seed, minimum=0),
        }
        chain = Chain.discover(model, layers)
        rows = [link.grid(model).rows for link in chain.links]
        widths = rows[:-1] if chain.has_head else rows
        self.density = densities(density, len(rows), has_head=chain.has_head)
        self.select = sizes("select", select, widths)
        self.reserve = sizes("reserve", reserve, self.select)
        super().__init__(model, optimizer, settings, chain)
        empty = [torch.zeros(width, dtype=torch.bool) for width in widths]
        self.used = [units.clone() for units in empty]
        self.reserved = [units.clone() for units in empty]
        self.chosen = [units.clone() for units in empty]
        inputs = self.layers[0].grid.columns
        self.unit_importance = [torch.zeros(n) for n in (inputs, *widths)]
        self.rewirings = 0

    def generator(self, layer: str, purpose: str) -> torch.Generator:
        """Return a generator for one purpose in one layer, task and round of rewiring."""
        return seeded_generator(
            self.settings["seed"], layer, f"{purpose}/{len(self.tasks)}/{self.rewirings}"
        )

    # Allocation

    def _begin(self, classes: tuple[int, ...], data: Batches | None) -> None:
        self.prepare(classes)
        chosen = [self.choose_units(index) for index in range(self._hidden)]
        connections = [
            self._draw(index, self._targets(index, chosen, classes), self._sources(index, chosen))
            for index in range(len(self.layers))
        ]
        self._start(chosen, connections, classes)

    def _start(
        self, chosen: list[Tensor], connections: list[Tensor], classes: tuple[int, ...]
    ) -> None:
        """Begin the task with what was planned."""
        self.rewirings = 0
        for mine, units, used in zip(self.chosen, chosen, self.used, strict=True):
            mine.zero_()[units] = True
            used[units] = True
        for units in self.unit_importance:
            units.zero_()
        self._allocate(connections, classes)

    def choose_units(self, index: int) -> Tensor:
        """Draw hidden units for the task among those that are left."""
        taken = self.used[index] if self.settings["strict"] else self.reserved[index]
        free = (~taken).nonzero().squeeze(1)
        wanted, name = self.select[index], self.layers[index].name
        if free.numel() < wanted:
            raise InfeasibleDensityError(
                f"task {len(self.tasks)} needs {wanted} free units in {name}, but only "
                f"{free.numel()} of {taken.numel()} are left; use a wider layer, a smaller select="
                f"{self.settings['select']!r}"
                + (
                    ", or strict=False, which uses units again that were not reserved."
                    if self.settings["strict"]
                    else f" or a smaller reserve={self.settings['reserve']!r}."
                )
            )
        return free[random_subset(free.numel(), wanted, self.generator(name, "units"))]

    def _targets(self, index: int, chosen: list[Tensor], classes: tuple[int, ...]) -> Tensor:
        return chosen[index] if index < self._hidden else torch.tensor(sorted(classes))

    def _sources(self, index: int, chosen: list[Tensor]) -> Tensor:
        return chosen[index - 1] if index else torch.arange(self.layers[0].grid.columns)

    def budget(self, index: int, positions: int) -> int:
        """Return how many connections a task gets in a layer among so many positions."""
        return round(self.density[index] * positions)

    def _draw(self, index: int, targets: Tensor, sources: Tensor) -> Tensor:
        """Draw connections between units among those that nobody owns."""
        layer = self.layers[index]
        count = max(1, self.budget(index, targets.numel() * sources.numel()))
        device = layer.weight.device
        free = layer.free(layer.grid.between(targets.to(device), sources.to(device)))
        if free.numel() < count:
            raise InfeasibleDensityError(
                f"task {len(self.tasks)} needs {count} connections in {layer.name} between "
                f"{sources.numel()} source and {targets.numel()} target units, but only "
                f"{free.numel()} have no owner; lower density={self.density[index]:g} of this "
                "layer or use wider layers."
            )
        drawn = random_subset(free.numel(), count, self.generator(layer.name, "connections"))
        return free[drawn.to(device)]

    def prepare(self, classes: tuple[int, ...]) -> None:
        """Follow the model as it is now, and check that it can learn these classes."""
        self.follow_model()
        self._check_holds(self.optimizer)
        rows = self.layers[-1].grid.rows
        if self.chain.has_head and max(classes) >= rows:
            raise InfeasibleDensityError(
                f"class {max(classes)} has no output in {self.layers[-1].name}, which has {rows}; "
                "give the model an output for every class."
            )

    def free_units(self, index: int) -> Tensor:
        """Return the output units of a hidden layer whose biases the current task may train."""
        if self.settings["strict"]:
            return self.chosen_units(index)
        return (~self.reserved[index]).nonzero().squeeze(1)

    def chosen_units(self, index: int) -> Tensor:
        """Return the units of a hidden layer that the current task has chosen."""
        return self.chosen[index].nonzero().squeeze(1)

    # Importance and rewiring

    def _credit(self) -> None:
        """Bring the importance of units up to date: of inputs by outgoing, else by incoming."""
        for index, importance in enumerate(self.importance):
            targets = self.unit_importance[index + 1] if index < self._hidden else None
            importance.credit(targets, self.unit_importance[0] if index == 0 else None)

    def rewire(self) -> None:
        """Move the least important connections between the most important units.

        Call it after every epoch but the last. The classifier's connections stay.

        Raises
        ------
        StateError
            Outside a task.
        NonFiniteError
            If training has diverged.
        """
        super().rewire()
        self.follow_model()
        self._credit()
        self.rewirings += 1
        plans = [self.plan_rewiring(index) for index in range(self._hidden)]
        for index, (dropped, grown) in enumerate(plans):
            self.move(index, dropped, grown)

    def plan_rewiring(self, index: int) -> tuple[Tensor, Tensor]:
        """Return the connections of a layer that go, and those that come in their place."""
        layer, importance = self.layers[index], self.importance[index]
        region = self._region(index)
        wanted = drop_count(importance.connections.numel(), self.settings["rewire_fraction"])
        count = min(wanted, layer.free(region).numel())
        weakest = lowest(importance.total.cpu(), count, self.generator(layer.name, "drop"))
        dropped = importance.connections[weakest.to(region.device)]
        candidates = self._candidates(index, region, dropped)
        targets, sources = (ends.cpu() for ends in layer.grid.ends(candidates))
        scores = self.unit_importance[index][sources] * self.unit_importance[index + 1][targets]
        best = highest(scores, count, self.generator(layer.name, "grow"))
        return dropped, candidates[best.to(region.device)]

    def _candidates(self, index: int, region: Tensor, dropped: Tensor) -> Tensor:
        """Return the connections that may grow: not those dropped in the same round."""
        return self.layers[index].free(region)

    def _region(self, index: int) -> Tensor:
        """Return all connections between the units of the task."""
        chosen = [self.chosen_units(level) for level in range(self._hidden)]
        targets, sources = self._targets(index, chosen, ()), self._sources(index, chosen)
        device = self.layers[index].weight.device
        return self.layers[index].grid.between(targets.to(device), sources.to(device))

    def _end(self) -> None:
        self.restore()
        self._credit()
        units = [self._most_important(index) for index in range(self._hidden)]
        for reserved, important in zip(self.reserved, units, strict=True):
            reserved[important] = True
        self.importance = []

    def _most_important(self, index: int) -> Tensor:
        """Return the units of a hidden layer to reserve for the task that ends."""
        chosen = self.chosen_units(index)
        scores = self.unit_importance[index + 1][chosen]
        generator = self.generator(self.layers[index].name, "reserve")
        return chosen[highest(scores, self.reserve[index], generator)]

    # Checkpoints

    _UNITS = ("used", "reserved", "chosen", "unit_importance")

    def _content(self) -> dict[str, Any]:
        units = {name: [t.clone() for t in getattr(self, name)] for name in self._UNITS}
        return super()._content() | units | {"rewirings": self.rewirings}

    def _check_content(self, content: Mapping[str, Any]) -> None:
        super()._check_content(content)
        for name in self._UNITS:
            assert_like(name, content[name], getattr(self, name))
        check_integer("rewirings", content["rewirings"], minimum=0)

    def _load_content(self, content: Mapping[str, Any]) -> None:
        for name in self._UNITS:
            setattr(self, name, [units.to("cpu", copy=True) for units in content[name]])
        self.rewirings = int(content["rewirings"])
        super()._load_content(content)


def _plain(value: Any) -> Any:
    """Return sequences and numbers in the form that a checkpoint brings back."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(part) for part in value]
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else value
