"""What does every continual learner do, whatever it owns?

`ContinualMethod` counts tasks and classes, follows the optimizer, decides which logits the loss
sees, and checks what a saved state belongs to. What a task owns, and how it is kept, is decided by
its subclasses. The optimizer is the seam, as in `sparsewire.core.handle`: gradients are masked
before a step and frozen weights put back after it, so that a training loop only says where a task
and an epoch begin.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from sparsewire.continual.costs import Memory
from sparsewire.core._validation import check_integer
from sparsewire.core.errors import CheckpointError, InvalidArgumentError, StateError
from sparsewire.core.optimizer import check_optimizer, step_is_skipped, wrap_closure

IMPOSSIBLE = -1e4  # a logit that never wins, but keeps every loss finite

Batches = Iterable[Sequence[Any]]


class ContinualMethod(ABC):
    """Learns one task after the other in one model.

    Attributes
    ----------
    model : nn.Module
        The model.
    optimizer : torch.optim.Optimizer
        The optimizer whose steps are followed.
    tasks : list of tuple of int
        Classes of the finished tasks.
    current : tuple of int or None
        Classes of the task being learnt.
    settings : dict
        Arguments that decide what is learnt; a saved state only loads into the same.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, settings: Mapping[str, Any]) -> None:
        self.model = model
        self.optimizer = optimizer
        self.settings = dict(settings)
        self.tasks: list[tuple[int, ...]] = []
        self.current: tuple[int, ...] | None = None
        self._hooks: list[RemovableHandle] = []

    # Tasks

    @property
    def seen(self) -> list[int]:
        """Classes of finished tasks, ascending."""
        return sorted({label for task in self.tasks for label in task})

    def begin_task(self, classes: Iterable[int], *, data: Batches | None = None) -> None:
        """Begin to learn a task.

        Parameters
        ----------
        classes : iterable of int
            Its classes, as numbered by the outputs of the model.
        data : re-iterable of (inputs, targets, ...) batches, optional
            The task's training data, for methods that look at it first.

        Raises
        ------
        StateError
            Inside a task.
        InvalidArgumentError
            If classes repeat, are negative or not integers, or nothing is left to allocate.
        """
        if self.current is not None:
            raise StateError("a task is being learnt already; call end_task() first.")
        labels = _check_classes(classes)
        self._begin(labels, data)
        self.current = labels

    def end_task(self) -> None:
        """Finish the task: what it has learnt is kept from now on.

        Raises
        ------
        StateError
            Outside a task.
        """
        assert_current(self.current)
        self._end()
        assert self.current is not None
        self.tasks.append(self.current)
        self.current = None

    def rewire(self) -> None:
        """Update the topology between two epochs; nothing by default.

        Raises
        ------
        StateError
            Outside a task.
        """
        assert_current(self.current)

    @abstractmethod
    def _begin(self, classes: tuple[int, ...], data: Batches | None) -> None:
        """Allocate what the task may use; raise before anything has changed."""

    @abstractmethod
    def _end(self) -> None:
        """Keep what the task has learnt."""

    # Around the optimizer step

    def attach(self, optimizer: Optimizer) -> None:
        """Follow an optimizer, such as one restored from a pickle, which loses its hooks.

        Parameters
        ----------
        optimizer : torch.optim.Optimizer
            Must hold the parameters of the model.

        Raises
        ------
        UnsupportedError
            If it cannot be driven.
        """
        check_optimizer(optimizer, dynamic=True)
        self.detach()
        self.optimizer = optimizer
        self._hooks = [
            optimizer.register_step_pre_hook(self._pre_hook),
            optimizer.register_step_post_hook(self._post_hook),
        ]

    def detach(self) -> None:
        """Stop to follow the optimizer: its next steps may change everything."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def __getstate__(self) -> dict[str, Any]:
        """Leave hooks out of copies and pickles."""
        return self.__dict__ | {"_hooks": []}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Follow the copied optimizer."""
        self.__dict__.update(state)
        self.attach(self.optimizer)

    def _pre_hook(
        self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        assert_current(self.current)
        replaced = wrap_closure(args, kwargs, self.before_step)
        if replaced is None:
            self.before_step()
        return replaced

    def _post_hook(
        self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        if step_is_skipped(optimizer):
            self.restore()  # running statistics have moved in the forward pass
        else:
            self.after_step()

    @abstractmethod
    def before_step(self) -> None:
        """Zero the gradients of what the task may not change; called before optimizer steps."""

    @abstractmethod
    def after_step(self) -> None:
        """Put back what the task may not change; called after optimizer steps."""

    @abstractmethod
    def restore(self) -> None:
        """Put back what the task may not change, bit for bit, and nothing else.

        For whatever writes into weights outside optimizer steps.
        """

    # Logits

    @abstractmethod
    def logits(self, output: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return the logits that the loss of a training step must see.

        Parameters
        ----------
        output : Tensor, shape (n, classes)
            Output of the model.
        targets : Tensor, shape (n,), int64, optional
            Labels of the batch, which may be of earlier tasks.

        Returns
        -------
        Tensor, shape (n, classes)
            Logits.

        Raises
        ------
        StateError
            Outside a task.
        InvalidArgumentError
            If a label belongs to no task announced so far.
        """

    def class_scores(self, output: Tensor, classes: Iterable[int] | None = None) -> Tensor:
        """Return scores in which only classes that were learnt can win.

        Parameters
        ----------
        output : Tensor, shape (n, classes)
            Output of the model.
        classes : iterable of int, optional
            Classes to choose among (task-incremental); None means all of the tasks so far, with the
            current one (class-incremental).

        Returns
        -------
        Tensor, shape (n, classes)
            A copy with -1e4 at all other classes.
        """
        allowed = [*self.seen, *(self.current or ())] if classes is None else [*classes]
        mask = _members(allowed, output.shape[1], output.device)
        return output.masked_fill(~mask, IMPOSSIBLE)

    def active_classes(self, output: Tensor, targets: Tensor | None) -> Tensor:
        """Return a bool tensor of the classes that a batch is about.

        The current task's, and with replayed labels all that were seen.
        """
        current = assert_current(self.current)
        own = _members(current, output.shape[1], output.device)
        if targets is None or targets.numel() == 0:
            return own
        low, high = targets.aminmax()
        known = _members([*self.seen, *current], output.shape[1], output.device)
        inside = 0 <= int(low) <= int(high) < output.shape[1]
        if not inside or not bool(known[targets].all()):
            strange = sorted(set(targets.tolist()) - {*self.seen, *current})
            raise InvalidArgumentError(
                f"the batch holds labels {strange or [int(low), int(high)]}, which begin_task has "
                f"announced for no task (so far {sorted({*self.seen, *current})}) or for which the "
                f"model has no output (it has {output.shape[1]}); announce them or relabel."
            )
        return own if bool(own[targets].all()) else known

    # Reports

    @abstractmethod
    def connections(self) -> dict[str, int]:
        """Return by layer the number of connections allocated so far."""

    @abstractmethod
    def owners(self) -> dict[str, Tensor]:
        """Return by layer which task owns each connection.

        Returns
        -------
        dict from str to Tensor, shape (output units, input units), int16
            0 where free, t + 1 for task number t.
        """

    @abstractmethod
    def memory(self) -> Memory:
        """Return what has to be stored."""

    @abstractmethod
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
        """

    @abstractmethod
    def dense_flops(self, example_input: Tensor) -> float:
        """Return the forward FLOPs per example of the same layers without sparsity."""

    # Checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the model's own ``state_dict``, as tensors and plain data."""
        return {
            "method": type(self).__name__,
            "settings": dict(self.settings),
            "tasks": [list(task) for task in self.tasks],
            "current": None if self.current is None else list(self.current),
            "content": self._content(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where a saved learner stopped.

        Load the model's ``state_dict`` first.

        Parameters
        ----------
        state : mapping
            What `state_dict` returned.

        Raises
        ------
        CheckpointError
            If it is damaged, or of another method or other settings; nothing has changed then.
        """
        keys = {"method", "settings", "tasks", "current", "content"}
        if not isinstance(state, Mapping) or not keys <= state.keys():
            raise CheckpointError("the state of the continual learner is damaged or foreign.")
        if state["method"] != type(self).__name__:
            raise CheckpointError(
                f"the checkpoint is of {state['method']}, this is {type(self).__name__}; continue "
                "with the method it was begun with, or start anew."
            )
        if differing := _differences(state["settings"], self.settings):
            raise CheckpointError(f"the checkpoint was made with other settings: {differing}.")
        try:
            tasks = [_check_classes(task) for task in state["tasks"]]
            current = None if state["current"] is None else _check_classes(state["current"])
            self._check_content(state["content"])
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(
                f"the state of the continual learner is damaged: {error!r}"
            ) from error
        self.tasks, self.current = tasks, current
        self._load_content(state["content"])

    @abstractmethod
    def _content(self) -> dict[str, Any]:
        """Return what the subclass owns."""

    @abstractmethod
    def _check_content(self, content: Mapping[str, Any]) -> None:
        """Raise `CheckpointError` unless `_load_content` can take this over; change nothing."""

    @abstractmethod
    def _load_content(self, content: Mapping[str, Any]) -> None:
        """Take over checked content; `tasks` and `current` are those of the checkpoint already."""


def assert_current(current: tuple[int, ...] | None) -> tuple[int, ...]:
    """Return the classes of the current task, or raise `StateError` if there is none."""
    if current is None:
        raise StateError("no task is being learnt; call begin_task(classes) first.")
    return current


def _check_classes(classes: Iterable[int]) -> tuple[int, ...]:
    labels = tuple(check_integer("each of classes", label, minimum=0) for label in classes)
    if not labels or len(set(labels)) < len(labels):
        raise InvalidArgumentError(
            f"classes must be distinct integers >= 0, at least one, got {list(labels)!r}."
        )
    return labels


def _members(labels: Iterable[int], classes: int, device: torch.device) -> Tensor:
    mask = torch.zeros(classes, dtype=torch.bool, device=device)
    mask[torch.tensor([c for c in labels if c < classes], dtype=torch.int64, device=device)] = True
    return mask


def _differences(saved: object, present: Mapping[str, Any]) -> str:
    if not isinstance(saved, Mapping):
        return "they are damaged"
    names = sorted(saved.keys() | present.keys())
    return ", ".join(
        f"{name}={saved.get(name)!r} there and {present.get(name)!r} here"
        for name in names
        if saved.get(name) != present.get(name)
    )
