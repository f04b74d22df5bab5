"""How does each task get connections of its own in one network?

`IsolatedMethod` carries out what a subclass plans, credits importance in every step, and freezes
all that does not belong to the current task. What the plans are is decided in
`sparsewire.continual.spacenet` and `sparsewire.continual.afaf`.

References
----------
Sokar, Mocanu & Pechenizkiy (2021), arXiv:2007.07617.
"""

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sparsewire.continual.chain import Chain
from sparsewire.continual.costs import Memory, count_flops, count_positions, measure_memory
from sparsewire.continual.freezing import Guard
from sparsewire.continual.heads import entering_weights
from sparsewire.continual.importance import ConnectionImportance
from sparsewire.continual.layer import OwnedLayer, check_unowned
from sparsewire.continual.method import IMPOSSIBLE, ContinualMethod, assert_current
from sparsewire.core._validation import suggest
from sparsewire.core.errors import CheckpointError, InvalidArgumentError, UnsupportedError
from sparsewire.core.optimizer import check_optimizer, gradient_scale, held_parameters
from sparsewire.core.topology import LayerPlan

HEADS = ("zero", "mask", "live")


class IsolatedMethod(ContinualMethod):
    """Base of methods in which every connection belongs to one task.

    Parameters
    ----------
    model : nn.Module
        A chain of layers; all its weights become 0.
    optimizer : torch.optim.Optimizer
        Holds the parameters of the model.
    settings : mapping
        Arguments of the subclass, among them `head`, described in `SpaceNet`.
    chain : Chain
        The layers.

    Attributes
    ----------
    layers : list of OwnedLayer
        From the input to the output.
    trained : list of Tensor, shape (units,), bool
        By layer, the output units whose biases some task has trained.
    """

    def __init__(
        self, model: nn.Module, optimizer: Optimizer, settings: Mapping[str, Any], chain: Chain
    ) -> None:
        super().__init__(model, optimizer, settings)
        self.head = self.settings["head"]
        if self.head not in HEADS:
            raise InvalidArgumentError(
                f"head must be one of {', '.join(HEADS)}, got {self.head!r}."
                f"{suggest(str(self.head), HEADS)}"
            )
        self.chain = chain
        for link in chain.links:
            check_unowned(link, model)
        self.attach(optimizer)
        self.layers = [OwnedLayer(link, model) for link in self.chain.links]
        self.trained = [torch.zeros(layer.grid.rows, dtype=torch.bool) for layer in self.layers]
        self.importance: list[ConnectionImportance] = []
        self._guard = Guard(model)
        self._units: list[Tensor] = []
        self._before: list[tuple[Tensor, Tensor] | None] = []

    def attach(self, optimizer: Optimizer) -> None:
        """Follow an optimizer, such as one restored from a pickle, which loses its hooks.

        Parameters
        ----------
        optimizer : torch.optim.Optimizer
            Must hold the weights of the chain.

        Raises
        ------
        UnsupportedError
            If it cannot be driven or lacks a weight.
        """
        self._check_holds(optimizer)
        super().attach(optimizer)

    def _check_holds(self, optimizer: Optimizer) -> None:
        check_optimizer(optimizer, dynamic=True)
        held = {id(parameter) for parameter in held_parameters(optimizer)}
        for link in self.chain.links:
            if id(link.module(self.model).get_parameter("weight")) not in held:
                raise UnsupportedError(
                    f"the optimizer does not hold the weight of {link.name}; build it from the "
                    "parameters of this very model, or leave the layer out with layers=[...]."
                )

    @property
    def number(self) -> int:
        """What marks connections as owned by the current, or else the next, task."""
        return len(self.tasks) + 1

    @property
    def _hidden(self) -> int:
        """How many layers have hidden units as outputs."""
        return len(self.layers) - self.chain.has_head

    # Topology

    @abstractmethod
    def chosen_units(self, index: int) -> Tensor:
        """Return the output units of a hidden layer that the current task has connections of."""

    @abstractmethod
    def free_units(self, index: int) -> Tensor:
        """Return the output units of a hidden layer whose biases the current task may train."""

    def _allocate(self, connections: Sequence[Tensor], classes: tuple[int, ...]) -> None:
        """Give connections to the task that begins; freeze all but them and its units."""
        plans = []
        for layer, connections_of_layer in zip(self.layers, connections, strict=True):
            new = connections_of_layer.to(layer.weight.device)
            plans.append(LayerPlan(layer.name, new[:0], new))
        for layer, plan in zip(self.layers, plans, strict=True):
            layer.check(plan, self.number, plan.grown.numel())
        self.importance = []
        for layer, plan in zip(self.layers, plans, strict=True):
            layer.commit(plan, self.number, self.optimizer, fresh=True)
            dtype = layer.weight.dtype
            self.importance.append(ConnectionImportance(layer.grid, plan.grown, dtype))
        self._choose_units(classes)
        for trained, units in zip(self.trained, self._units, strict=True):
            trained[units.cpu()] = True
        self._freeze()

    def _choose_units(self, classes: tuple[int, ...]) -> None:
        self._units = [self.free_units(index) for index in range(self._hidden)]
        if self.chain.has_head:
            self._units.append(torch.tensor(sorted(classes)))

    def _freeze(self) -> None:
        free: dict[str, Tensor] = {}
        known = dict(self.model.named_parameters()) | dict(self.model.named_buffers())
        rows = zip(self.layers, self.importance, self._units, strict=True)
        for layer, importance, units in rows:
            free[layer.store.name] = layer.grid.weights(importance.connections)
            names = [f"{module}.{key}" for module, key in layer.link.vectors]
            free |= {name: units for name in names if name in known}
        trained = self._guard.trained_in.items()
        free |= self._head_entries([name for name, task in trained if task == len(self.tasks)])
        self._guard.begin(len(self.tasks), free)

    def _head_entries(self, names: Collection[str]) -> dict[str, Tensor]:
        """Return by name, of those of heads behind the chain, the weights of the task's units."""
        if self.chain.has_head or not names:
            return {}
        units = self.chosen_units(self._hidden - 1)
        found = entering_weights(self.model, self.layers[-1].grid.rows).items()
        return {
            name: grid.weights(grid.between(torch.arange(grid.rows), units))
            for name, grid in found
            if name in names
        }

    def move(self, index: int, dropped: Tensor, grown: Tensor) -> None:
        """Drop connections of the current task in one layer and grow others."""
        self.restore()
        layer, importance = self.layers[index], self.importance[index]
        plan = LayerPlan(layer.name, dropped, grown)
        layer.check(plan, self.number, importance.connections.numel())
        layer.commit(plan, self.number, self.optimizer, fresh=False)
        self.importance[index] = importance.rewired(dropped, grown)
        connections = self.importance[index].connections
        self._guard.renew(layer.store.name, layer.grid.weights(connections))

    def follow_model(self) -> None:
        """Follow layers that were replaced, such as a classifier that grew, or moved."""
        replaced = [layer for layer in self.layers if not layer.is_bound(self.model)]
        if not replaced:
            return
        for layer in replaced:
            layer.bind(self.model)
        for i, layer in enumerate(self.layers):
            more = layer.grid.rows - len(self.trained[i])
            self.trained[i] = torch.cat([self.trained[i], self.trained[i].new_zeros(more)])
        for importance, layer in zip(self.importance, self.layers, strict=False):
            importance.to_(layer.weight.device)

    # Around the optimizer step

    def before_step(self) -> None:
        """Zero the gradients of everything frozen, and remember the rest for its importance."""
        assert_current(self.current)
        self.follow_model()
        claimed = self._guard.mask_gradients_()
        for name, free in self._head_entries(claimed).items():
            self._guard.confine_(name, free)
        scale = gradient_scale(self.optimizer)
        self._before = []
        for layer in self.layers:
            weight, gradient, name = layer.weight, layer.weight.grad, layer.store.name
            known = None
            if gradient is not None:
                values = self._guard.values(name, gradient)
                known = self._guard.values(name, weight), values / scale
            self._before.append(known)

    def after_step(self) -> None:
        """Credit what the step has changed, and put everything frozen back."""
        for layer, importance, before in zip(
            self.layers, self.importance, self._before, strict=False
        ):
            if before is not None:
                values, gradient = before
                now = self._guard.values(layer.store.name, layer.weight)
                importance.add(now - values, gradient)
        self._before = []
        self.restore()

    def restore(self) -> None:
        """Put everything frozen back, bit for bit; at any time in a task."""
        assert_current(self.current)
        self.follow_model()
        self._guard.restore_()

    # Logits

    def logits(self, output: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return the logits that the loss of a training step must see.

        Parameters
        ----------
        output : Tensor, shape (n, classes)
            Output of the model.
        targets : Tensor, shape (n,), int64, optional
            Labels of the batch; with labels of earlier tasks among them (replay), all classes seen
            so far compete, otherwise only the current task's.

        Returns
        -------
        Tensor, shape (n, classes)
            With head "zero", logits of other classes are their bias, as if their weights were 0;
            with "mask" they are -1e4; with "live" nothing changes.

        Raises
        ------
        StateError
            Outside a task.
        InvalidArgumentError
            If a label belongs to no task announced so far.
        """
        active = self.active_classes(output, targets)
        if self.head == "live" or not self.chain.has_head:
            return output
        if self.head == "mask":
            return output.masked_fill(~active, IMPOSSIBLE)
        bias = self.chain.links[-1].module(self.model)._parameters.get("bias")
        others = output.new_zeros(()) if bias is None else bias.detach().to(output.dtype)
        return torch.where(active, output, others)

    # Reports

    def connections(self) -> dict[str, int]:
        """Return by layer the number of connections allocated so far."""
        return {layer.name: layer.owned().numel() for layer in self.layers}

    def owners(self) -> dict[str, Tensor]:
        """Return by layer which task owns each connection.

        Returns
        -------
        dict from str to Tensor, shape (output units, input units), int16
            0 where free, t + 1 for task number t.
        """
        return {layer.name: layer.owner.clone() for layer in self.layers}

    def memory(self) -> Memory:
        """Return what has to be stored."""
        counts = self.connections()
        parameters = dict(self.model.named_parameters())
        biases = 0
        for layer, trained in zip(self.layers, self.trained, strict=True):
            vectors = sum(f"{module}.{key}" in parameters for module, key in layer.link.vectors)
            biases += vectors * int(trained.sum())
        return measure_memory(
            weights=sum(counts[layer.name] * layer.grid.block for layer in self.layers),
            connections=sum(counts.values()),
            positions=sum(layer.owner.numel() for layer in self.layers),
            biases=biases,
            dtype=self.layers[0].weight.dtype,
            dense=sum(layer.weight.numel() for layer in self.layers),
        )

    def flops(self, example_input: Tensor, task: int | None = None) -> float:
        """Return the forward FLOPs per example that sparse execution would need.

        Masks on dense tensors do not save them.

        Parameters
        ----------
        example_input : Tensor
            A batch of inputs; only its shape matters.
        task : int, optional
            Count the connections of this task alone; None means all.

        Returns
        -------
        float
            2 for each multiply-accumulate.

        Raises
        ------
        InvalidArgumentError
            If no task has this number.
        """
        known = len(self.tasks) + (self.current is not None)
        if task is not None and not 0 <= task < known:
            raise InvalidArgumentError(f"task must be a number below {known}, got {task}.")
        number = None if task is None else task + 1
        weights = {la.name: la.owned(number).numel() * la.grid.block for la in self.layers}
        return count_flops(weights, count_positions(self.model, weights, example_input))

    def dense_flops(self, example_input: Tensor) -> float:
        """Return the forward FLOPs per example of the same layers without sparsity."""
        weights = {layer.name: layer.weight.numel() for layer in self.layers}
        return count_flops(weights, count_positions(self.model, weights, example_input))

    # Checkpoints

    def _content(self) -> dict[str, Any]:
        return {
            "number": 0 if self.current is None else self.number,
            "layers": {layer.name: layer.state() for layer in self.layers},
            "trained": [trained.clone() for trained in self.trained],
            "trained_in": dict(self._guard.trained_in),
            "importance": [[i.total.clone(), i.running.clone()] for i in self.importance],
        }

    def _check_content(self, content: Mapping[str, Any]) -> None:
        self.follow_model()
        layers = content["layers"]
        if layers.keys() != {layer.name for layer in self.layers}:
            raise CheckpointError(
                f"the checkpoint has layers {', '.join(layers)}, the model "
                f"{', '.join(layer.name for layer in self.layers)}."
            )
        for layer in self.layers:
            layer.check_state(layers[layer.name])
        assert_like("trained", content["trained"], self.trained)
        number, counts = content["number"], []
        if number:
            owners = [layers[layer.name]["owner"] for layer in self.layers]
            counts = [int((owner == number).sum()) for owner in owners]
        saved = [[part.numel() for part in parts] for parts in content["importance"]]
        names = content["trained_in"].items()
        if saved != [[count, count] for count in counts] or not all(
            isinstance(name, str) and isinstance(task, int) for name, task in names
        ):
            raise CheckpointError("the checkpoint's importance or tasks of tensors are damaged.")

    def _load_content(self, content: Mapping[str, Any]) -> None:
        for layer in self.layers:
            layer.load_state(content["layers"][layer.name], self.model)
        self.trained = [trained.to("cpu", copy=True) for trained in content["trained"]]
        self._guard.trained_in = dict(content["trained_in"])
        self.importance = []
        if self.current is None:
            return
        for layer, saved in zip(self.layers, content["importance"], strict=True):
            importance = ConnectionImportance(
                layer.grid, layer.owned(self.number), layer.weight.dtype
            )
            for mine, theirs in zip((importance.total, importance.running), saved, strict=True):
                mine.copy_(theirs)
            self.importance.append(importance)
        self._choose_units(self.current)
        self._freeze()


def assert_like(key: str, found: Sequence[Tensor], own: Sequence[Tensor]) -> None:
    """Raise `CheckpointError` unless tensors of a checkpoint have shapes and types of present ones.

    Parameters
    ----------
    key : str
        What they are, for the error.
    found, own : sequence of Tensor
        Saved and present ones.
    """
    if [(t.shape, t.dtype) for t in found] != [(t.shape, t.dtype) for t in own]:
        raise CheckpointError(f"the checkpoint's {key!r} do not fit the model's layers.")
