"""What do learners have in common that give every task a sub-network of one shared network?

`SubnetworkMethod` draws the mask of each task, trains and freezes through
`sparsewire.continual.subnetworks`, loads finished sub-networks, and routes inputs to them. What is
drawn, rewired and seen by the loss differs: `DSTMasks`, `ConceptCells`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sparsewire.continual import subnetwork_state
from sparsewire.continual.costs import Memory, count_flops, count_positions
from sparsewire.continual.method import Batches, ContinualMethod
from sparsewire.continual.routing import check_routing, route, routed
from sparsewire.continual.subnetworks import Subnetworks
from sparsewire.core._validation import check_integer
from sparsewire.core.allocation import Allocation, resolve_allocation
from sparsewire.core.budget import LayerShape, connections
from sparsewire.core.errors import (
    InvalidArgumentError,
    StateError,
    UnsupportedError,
)
from sparsewire.core.network import seeded_generator
from sparsewire.core.optimizer import check_optimizer, held_parameters
from sparsewire.core.ranking import random_subset


class SubnetworkMethod(ContinualMethod):
    """Base of methods in which every task has a mask of its own over shared weights.

    Parameters
    ----------
    model : nn.Module
        Any model of linear and convolutional layers; it need be no chain.
    optimizer : torch.optim.Optimizer
        Its state of the model's parameters is cleared when a task begins, as if it were new.
    settings : mapping
        Further arguments of the subclass.
    n_classes : int
        Classes of all tasks together.
    density : float
        Share of the weights in each task's mask, in (0, 1].
    allocation : str or Allocation
        How it is spread over layers.
    seed : int
        Seed of every random choice.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        settings: Mapping[str, Any],
        *,
        n_classes: int,
        density: float,
        allocation: str | Allocation,
        seed: int,
    ) -> None:
        self.n_classes = check_integer("n_classes", n_classes, minimum=1)
        self.seed = check_integer("seed", seed, minimum=0)
        self.density = density
        self.allocation = resolve_allocation(allocation)
        common = {
            "n_classes": self.n_classes,
            "density": density,
            "allocation": repr(self.allocation),
            "seed": self.seed,
        }
        super().__init__(model, optimizer, common | dict(settings))
        check_optimizer(optimizer, dynamic=True)
        self.shared = Subnetworks(model, optimizer)
        try:
            self._counts()
        except InvalidArgumentError:
            self.shared.remove()
            raise
        self.attach(optimizer)

    def attach(self, optimizer: Optimizer) -> None:
        """Follow an optimizer, such as one restored from a pickle, which loses its hooks.

        Parameters
        ----------
        optimizer : torch.optim.Optimizer
            Must hold the masked weights of the model.

        Raises
        ------
        UnsupportedError
            If it cannot be driven or lacks a masked weight.
        """
        check_optimizer(optimizer, dynamic=True)
        held = {id(parameter) for parameter in held_parameters(optimizer)}
        for layer in self.shared.weights:
            if id(self.shared.store(layer).weight) not in held:
                raise UnsupportedError(
                    f"the optimizer does not hold the weight of {layer}; build it from the "
                    "parameters of this very model."
                )
        super().attach(optimizer)

    # Tasks

    def _begin(self, classes: tuple[int, ...], data: Batches | None) -> None:
        if max(classes) >= self.n_classes:
            raise InvalidArgumentError(
                f"classes must be below n_classes={self.n_classes}, got {list(classes)}; build the "
                "method with the number of classes of all tasks."
            )
        self.shared.follow(self.optimizer)
        masks = {
            shape.name: self._draw(shape, count, classes)
            for shape, count in zip(self.shared.shapes(), self._counts().values(), strict=True)
        }
        self.shared.begin(masks)
        for parameter in self.model.parameters():
            self.optimizer.state.pop(parameter, None)

    def _counts(self) -> dict[str, int]:
        """Return how many connections a whole layer is given."""
        shapes = self.shared.shapes()
        return self.allocation.counts(shapes, connections(shapes, self.density))

    def _draw(self, shape: LayerShape, count: int, classes: Sequence[int]) -> Tensor:
        """Return the mask of a new task in one layer."""
        generator = self._generator(shape.name, "mask")
        mask = torch.zeros(shape.numel, dtype=torch.bool, device="cpu")
        mask[random_subset(shape.numel, count, generator)] = True
        return mask.view(shape.shape)

    def _generator(self, layer: str, purpose: str) -> torch.Generator:
        return seeded_generator(self.seed, layer, f"task {len(self.tasks)}/{purpose}")

    def _end(self) -> None:
        self.shared.finish()

    def before_step(self) -> None:
        """Zero the gradients of weights that the task may not change."""
        self.shared.mask_gradients_()

    def after_step(self) -> None:
        """Put back weights that the task may not change."""
        self.restore()

    def restore(self) -> None:
        """Put back what the task may not change, bit for bit, and nothing else."""
        self.shared.restore_()

    # Finished tasks

    def use_task(self, task: int | None) -> None:
        """Put the sub-network of a finished task into the model, for inference.

        Its outputs are, for ever, bit for bit those it had when the task ended.

        Parameters
        ----------
        task : int or None
            Number of a finished task, from 0 on. None goes back to the task being learnt, as it
            was; between tasks, to the last finished one.

        Raises
        ------
        InvalidArgumentError
            If no such task has been finished.
        """
        known = range(len(self.tasks))
        if task is not None and (isinstance(task, bool) or task not in known):
            raise InvalidArgumentError(
                f"task must be None or one of the {len(known)} finished tasks, counted from 0, got "
                f"{task!r}."
            )
        self.shared.use(task)

    @torch.no_grad()
    def scores(self, x: Tensor, routing: str, task: int | Tensor | None = None) -> Tensor:
        """Return the logits of the sub-network that a routing chooses for each input.

        Every finished sub-network is run, in evaluation mode; the model is left as it was.

        Parameters
        ----------
        x : Tensor, shape (n, ...)
            Inputs of the model.
        routing : {"oracle", "max_softmax", "entropy"}
            See `sparsewire.continual.routing.route`; there is no default, so that nobody has an
            oracle without knowing it.
        task : int, Tensor of shape (n,), or None, default None
            What the oracle reveals.

        Returns
        -------
        Tensor, shape (n, classes)
            Logits.

        Raises
        ------
        InvalidArgumentError
            If the routing is unknown, or an oracle without a task, or another routing with one.
        StateError
            If no task has been finished.
        """
        check_routing(routing, task)
        if not self.tasks:
            raise StateError("no task is finished, so there is no sub-network to ask.")
        with self._inference():
            logits = torch.stack([self._answer(x, number) for number in range(len(self.tasks))])
        return routed(logits, route(logits, routing, task))

    def _answer(self, x: Tensor, task: int) -> Tensor:
        self.use_task(task)
        output: Tensor = self.model(x)
        return output

    @contextmanager
    def _inference(self) -> Iterator[None]:
        """Put back which sub-network was loaded, and the modes of all modules."""
        loaded = self.shared.loaded
        modes = {module: module.training for module in self.model.modules()}
        self.model.eval()
        try:
            yield
        finally:
            self.use_task(loaded)
            for module, training in modes.items():
                module.training = training

    # Reports

    def connections(self) -> dict[str, int]:
        """Return by layer how many weights the masks of all tasks hold together."""
        return {layer: int(used.sum()) for layer, used in self._used(None).items()}

    def _used(self, task: int | None) -> dict[str, Tensor]:
        """Return the mask of one task, or the union of all, with that of the current one."""
        if task is not None:
            if task == len(self.tasks) and self.shared.training:
                return self.shared.masks()
            return self.shared.finished[task].masks
        used = {layer: owner > 0 for layer, owner in self.shared.owner.items()}
        now = self.shared.masks() if self.shared.training else {}
        return {layer: used[layer] | now.get(layer, used[layer]) for layer in used}

    def owners(self) -> dict[str, Tensor]:
        """Return by layer which task was the first to use each weight.

        Returns
        -------
        dict from str to Tensor, shape (output units, weights per unit), int16
            0 where free, t + 1 for task number t.
        """
        number = len(self.tasks) + 1
        used = self._used(None)
        return {
            layer: owner.masked_fill((owner == 0) & used[layer], number).flatten(1)
            for layer, owner in self.shared.owner.items()
        }

    def memory(self) -> Memory:
        """Return what has to be stored: shared values once, a mask and private values per task."""
        tasks = len(self.tasks) + self.shared.training
        held = [mask for task in range(tasks) for mask in self._used(task).values()]
        private = sum(value.numel() for value in self.shared.initial.values()) * tasks
        weights = sum(self.connections().values())
        dense = sum(shape.numel for shape in self.shared.shapes())
        itemsize = next(iter(self.shared.weights.values())).element_size()
        return Memory(
            weights=weights,
            biases=private,
            value_bytes=(weights + private) * itemsize,
            index_bytes=4 * sum(int(mask.sum()) for mask in held),
            bitmap_bytes=tasks * ((dense + 7) // 8),
            dense_weights=dense,
        )

    def flops(self, example_input: Tensor, task: int | None = None) -> float:
        """Return the forward FLOPs per example that sparse execution would need.

        Masks on dense tensors do not save them. To route an input, `scores` runs the sub-networks
        of all tasks, which costs the sum of theirs.

        Parameters
        ----------
        example_input : Tensor
            A batch of inputs; only its shape matters.
        task : int, optional
            Count the sub-network of this task; None means all weights in use.

        Returns
        -------
        float
            2 for each multiply-accumulate.
        """
        positions = count_positions(self.model, self.shared.weights, example_input)
        return count_flops({n: int(m.sum()) for n, m in self._used(task).items()}, positions)

    def dense_flops(self, example_input: Tensor) -> float:
        """Return the forward FLOPs per example of the same layers without sparsity."""
        positions = count_positions(self.model, self.shared.weights, example_input)
        return count_flops({s.name: s.numel for s in self.shared.shapes()}, positions)

    # Checkpoints

    def _content(self) -> dict[str, Any]:
        return subnetwork_state.pack(self.shared)

    def _check_content(self, content: Mapping[str, Any]) -> None:
        subnetwork_state.check(content, self.shared)

    def _load_content(self, content: Mapping[str, Any]) -> None:
        subnetwork_state.unpack(content, self.shared)
