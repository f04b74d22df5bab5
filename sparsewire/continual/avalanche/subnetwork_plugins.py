"""How do per-task sub-networks take part in an Avalanche strategy, and which one answers?

Training is that of `SparsePlugin`. At evaluation the sub-network of each input is found by the
routing that the user names: an oracle that reads task labels, or the sub-network that is most
confident (`sparsewire.continual.routing`). There is no default, so that nobody has an oracle
without knowing it, and `IncrementalAccuracy` writes the routing into the names of its metrics.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from avalanche.models import MultiTaskModule
from avalanche.models.utils import avalanche_forward
from torch import Tensor, nn
from torch.optim import Optimizer

from sparsewire.continual.avalanche._experiences import (
    is_online,
    knows_boundaries,
    task_labels_of,
    task_labels_of_batch,
)
from sparsewire.continual.avalanche.plugins import SparsePlugin
from sparsewire.continual.concept_cells import ConceptCells
from sparsewire.continual.drift import DriftDetector
from sparsewire.continual.dst_masks import DSTMasks
from sparsewire.continual.method import ContinualMethod
from sparsewire.continual.routing import check_routing, route, routed
from sparsewire.core.errors import CheckpointError, InvalidArgumentError, UnsupportedError


class SubnetworkPlugin(SparsePlugin):
    """Base of the plugins whose method has one sub-network per task.

    Parameters
    ----------
    routing : {"oracle", "max_softmax", "entropy"}
        Which sub-network answers. The oracle reads task labels, so the benchmark must number its
        tasks; for labels that were not trained on, the network answers as it stands.
    **settings
        Keyword arguments of the method.

    Raises
    ------
    InvalidArgumentError
        If `routing` is unknown.
    TypeError
        If the method has no such argument.
    """

    # Whether a sub-network has learnt to tell its own classes from each other only.
    own_classes_only: ClassVar[bool]

    def __init__(self, *, routing: str, **settings: Any) -> None:
        super().__init__(**settings)
        check_routing(routing, 0 if routing == "oracle" else None)
        self._routing = routing

    @property
    def routing(self) -> str:
        """How the sub-network that answers is found."""
        return self._routing

    def build(self, model: nn.Module, optimizer: Optimizer) -> ContinualMethod:
        """Build the method now, for a model and an optimizer that holds its parameters.

        Returns
        -------
        ContinualMethod
            Now also `method`.

        Raises
        ------
        UnsupportedError
            If the model has a head per task, which names the task, and the routing is no oracle.
        """
        if isinstance(model, MultiTaskModule) and self.routing != "oracle":
            raise UnsupportedError(
                f"{type(model).__name__} is told the task to choose its head, so there is nothing "
                f"to find for routing={self.routing!r}; use routing='oracle', or a model with one "
                "head."
            )
        return super().build(model, optimizer)

    def begin_task(self, strategy: Any, classes: list[int]) -> None:
        """Begin a task of the method, if an oracle will be able to recognise it.

        Raises
        ------
        InvalidArgumentError
            If the routing is an oracle and the task has no label of its own.
        """
        labels = task_labels_of(strategy.experience)
        known = {label for task in self.task_labels for label in task}
        if self.routing == "oracle" and (not labels or known & set(labels)):
            raise InvalidArgumentError(
                f"routing='oracle' needs a task label of its own for every task, but task "
                f"{len(self.method.tasks)} has {labels or 'none'}; build the benchmark with "
                "task_labels=True, or route by max_softmax or entropy."
            )
        self.begin_subnetwork(strategy, classes)

    def begin_subnetwork(self, strategy: Any, classes: list[int]) -> None:
        """Begin a task of the method."""
        self.method.begin_task(classes)

    # Evaluation

    def answer(self, strategy: Any) -> Tensor:
        """Return the output of the sub-networks that the routing chooses, shape (n, classes)."""
        try:
            if self.routing == "oracle":
                return self._by_label(strategy)
            return self._by_confidence(strategy)
        finally:
            self._method_of_subnetworks.use_task(None)

    @property
    def _method_of_subnetworks(self) -> Any:
        return self.method

    def _by_label(self, strategy: Any) -> Tensor:
        output: Tensor = strategy.mb_output
        labels = task_labels_of_batch(strategy)
        if labels is None:
            raise InvalidArgumentError(
                "routing='oracle' needs task labels at evaluation; build the benchmark with "
                "task_labels=True, or route by max_softmax or entropy."
            )
        finished = self.task_labels[: len(self.method.tasks)]
        for number, known in enumerate(finished):
            mine = torch.isin(labels, torch.tensor(known, device=labels.device))
            if bool(mine.any()):
                output = torch.where(mine.unsqueeze(1), self._run(strategy, number), output)
        return output

    def _by_confidence(self, strategy: Any) -> Tensor:
        answers = [self._run(strategy, number) for number in range(len(self.method.tasks))]
        if self.method.current is not None:  # its sub-network is in the model already
            answers.append(self._own(strategy.mb_output, self.method.current))
        logits = torch.stack(answers)
        return routed(logits, route(logits, self.routing))

    def _run(self, strategy: Any, number: int) -> Tensor:
        self._method_of_subnetworks.use_task(number)
        labels = task_labels_of_batch(strategy)
        output = avalanche_forward(strategy.model, strategy.mb_x, labels)
        return self._own(output, self.method.tasks[number])

    def _own(self, output: Tensor, classes: tuple[int, ...]) -> Tensor:
        return self.method.class_scores(output, classes) if self.own_classes_only else output


class DSTMasksPlugin(SubnetworkPlugin):
    """Brings `sparsewire.continual.DSTMasks` into any Avalanche strategy.

    Parameters
    ----------
    routing : {"oracle", "max_softmax", "entropy"}
        Which sub-network answers; the paper's is the oracle.
    **settings
        Keyword arguments of `DSTMasks`: n_classes, density, allocation, drop, grow,
        update_interval, drop_fraction, final_drop_fraction, seed.

    Notes
    -----
    How many steps a task takes is read off the data loader when it begins. Put the plugin behind
    those that lengthen it, such as Replay.

    Examples
    --------
    >>> DSTMasksPlugin(routing="oracle", n_classes=10, density=0.1).routing
    'oracle'
    """

    method_class = DSTMasks
    own_classes_only = True

    def begin_subnetwork(self, strategy: Any, classes: list[int]) -> None:
        """Begin a task of the method, with the number of its steps.

        Raises
        ------
        UnsupportedError
            If an online stream does not tell how long the task will be.
        """
        experience = strategy.experience
        parts = 1
        if is_online(experience):
            if not knows_boundaries(experience) or experience.sub_stream_length is None:
                raise UnsupportedError(
                    "DSTMasks spreads its updates over a task, whose length this online stream "
                    "does not tell; split it with access_task_boundaries=True."
                )
            parts = experience.sub_stream_length
        steps = max(1, len(strategy.dataloader) * strategy.train_epochs * parts)
        method: Any = self.method
        method.begin_task(classes, steps=steps)


class ConceptCellsPlugin(SubnetworkPlugin):
    """Brings `sparsewire.continual.ConceptCells` into any Avalanche strategy.

    Parameters
    ----------
    routing : {"oracle", "max_softmax", "entropy"}
        Which cell answers. The released evaluation of SERENA amounts to an oracle.
    detector : DriftDetector, optional
        Finds the concepts in a stream whose boundaries are then not looked at; by default a concept
        is a task.
    **settings
        Keyword arguments of `ConceptCells`: n_classes, density, allocation, seed.

    Raises
    ------
    InvalidArgumentError
        If an oracle is asked for concepts that a detector finds, which nobody has labelled.

    Examples
    --------
    >>> ConceptCellsPlugin(routing="max_softmax", n_classes=10).routing
    'max_softmax'
    """

    method_class = ConceptCells
    own_classes_only = False

    def __init__(
        self, *, routing: str, detector: DriftDetector | None = None, **settings: Any
    ) -> None:
        super().__init__(routing=routing, **settings)
        if detector is not None and routing == "oracle":
            raise InvalidArgumentError(
                "routing='oracle' has no labels for concepts that a detector finds; route by "
                "max_softmax or entropy."
            )
        self.detector = detector

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Begin a task at a task boundary; with a detector, a first concept of all classes."""
        if self.detector is None:
            super().before_training_exp(strategy, **kwargs)
            return
        self.follow(strategy)
        if self.method.current is None:
            self.method.begin_task(range(self.method.settings["n_classes"]))
            self.task_labels.append([])

    def after_forward(self, strategy: Any, **kwargs: Any) -> None:
        """Show the loss and the metrics the logits, of a new cell if this batch shows a drift."""
        cells: Any = self.method
        detector = self.detector
        if detector is not None and cells.observe(strategy.mb_output, strategy.mb_y, detector):
            self.task_labels.append([])
            strategy.mb_output = strategy.forward()
        super().after_forward(strategy, **kwargs)

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """End the task at a task boundary; a detected concept goes on."""
        if self.detector is None:
            super().after_training_exp(strategy, **kwargs)

    def state_dict(self) -> dict[str, Any]:
        """Return the states of method and detector, and the tasks' labels."""
        detector = None if self.detector is None else self.detector.state_dict()
        return super().state_dict() | {"detector": detector}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where a saved plugin stopped; `build` it and load the model first.

        Raises
        ------
        CheckpointError
            If it is damaged, or of another plugin or other settings.
        """
        saved = state.get("detector") if isinstance(state, Mapping) else None
        if (saved is None) != (self.detector is None):
            raise CheckpointError(
                "only one of the checkpoint and this plugin has a drift detector; build the plugin "
                "as in the saved run."
            )
        super().load_state_dict(state)
        if self.detector is not None and saved is not None:
            self.detector.load_state_dict(saved)
