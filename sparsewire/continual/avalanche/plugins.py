"""How does a continual learner take part in an Avalanche strategy?

A `SparsePlugin` builds a method of `sparsewire.continual` at the first experience and calls it at
the right places of Avalanche's loop. Gradients are masked and frozen weights restored by the
method's hooks on the optimizer, hence after every other plugin has had its say about the gradient,
whatever the order of the list. Plugins that add to the loss (EWC, SI, MAS, LwF) or to the data
(Replay) therefore need not know of it, nor it of them.
"""

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import torch
from avalanche.training.plugins import SupervisedPlugin
from torch import Tensor, nn
from torch.optim import Optimizer

from sparsewire.continual.afaf import AFAF
from sparsewire.continual.avalanche._experiences import (
    Batches,
    begins_task,
    classes_of,
    is_online,
    knows_boundaries,
    task_labels_of,
    task_labels_of_batch,
)
from sparsewire.continual.method import ContinualMethod
from sparsewire.continual.spacenet import SpaceNet
from sparsewire.core.errors import (
    CheckpointError,
    InvalidArgumentError,
    StateError,
    UnsupportedError,
)

PluginT = TypeVar("PluginT", bound="SparsePlugin")


def keyword_only(function: Any) -> dict[str, inspect.Parameter]:
    """Return the keyword-only parameters of a function by name."""
    parameters = inspect.signature(function).parameters
    return {n: p for n, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}


class SparsePlugin(SupervisedPlugin):
    """Base of the plugins; `method_class` says which method one brings.

    Tasks begin and end with experiences, in online streams at the task boundaries. If an online
    stream keeps its boundaries to itself, a task begins when labels appear that no task has had.
    At evaluation, examples whose task label was trained on are classified among the classes of that
    label (task-incremental), all others among all classes so far (class-incremental).

    Parameters
    ----------
    **settings
        Keyword arguments of the method, except model and optimizer.

    Attributes
    ----------
    settings : dict
        These arguments.
    task_labels : list of list of int
        Task labels of all finished tasks and the current one.
    class_scores : Tensor, shape (n, classes), or None
        During evaluation, the scores of the present batch among all classes so far, before they
        were restricted to those of a task.

    Raises
    ------
    TypeError
        If the method has no such argument.
    """

    method_class: ClassVar[type[ContinualMethod]]

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        known = keyword_only(self.method_class)
        if unknown := sorted(settings.keys() - known.keys()):
            raise TypeError(
                f"{type(self).__name__} has no argument {unknown[0]!r}; its method takes "
                f"{', '.join(known)}."
            )
        self.settings = settings
        self.task_labels: list[list[int]] = []
        self.class_scores: Tensor | None = None
        self._method: ContinualMethod | None = None
        self._parts = 0

    @classmethod
    def parameters(cls) -> dict[str, inspect.Parameter]:
        """Return the keyword arguments of the plugin, with those of its method."""
        return keyword_only(cls.__init__) | keyword_only(cls.method_class)

    @property
    def method(self) -> ContinualMethod:
        """The method.

        Raises
        ------
        StateError
            Before the first training experience.
        """
        if self._method is None:
            raise StateError(
                f"{type(self).__name__} builds its method at the first experience; train first."
            )
        return self._method

    @property
    def routing(self) -> str | None:
        """How the sub-network that answers is found; None for methods with a single network."""
        return None

    def build(self, model: nn.Module, optimizer: Optimizer) -> ContinualMethod:
        """Build the method now, for a model and an optimizer that holds its parameters.

        Training does so by itself; only whoever loads a state needs to call it.

        Returns
        -------
        ContinualMethod
            Now also `method`.
        """
        build: Any = self.method_class
        self._method = build(model, optimizer, **self.settings)
        return self.method

    # Tasks

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Begin a task at a task boundary; model and optimizer are adapted by now."""
        self.follow(strategy)
        experience = strategy.experience
        if knows_boundaries(experience):
            if begins_task(experience):
                self._begin(strategy, sorted({*classes_of(experience), *self._added(strategy)}))
        else:
            known = {*self.method.seen, *(self.method.current or ())}
            if new := [label for label in classes_of(experience) if label not in known]:
                self._begin(strategy, new)

    def follow(self, strategy: Any) -> None:
        """Build the method, or follow the strategy's optimizer.

        Raises
        ------
        UnsupportedError
            If the strategy has another model than before.
        """
        if self._method is None:
            self.build(strategy.model, strategy.optimizer)
        if self.method.model is not strategy.model:
            raise UnsupportedError(
                "the strategy has put another model in the place of the one that the earlier tasks "
                "were learnt in, as GDumb and training from scratch do; use the plugin without "
                "them."
            )
        self.method.attach(strategy.optimizer)

    def _begin(self, strategy: Any, classes: list[int]) -> None:
        experience = strategy.experience
        if is_online(experience) and self.method.current is not None:
            self.method.end_task()  # nothing has marked the end of the stream's last task
        self.begin_task(strategy, classes)
        self.task_labels = [*self.task_labels[: len(self.method.tasks)], task_labels_of(experience)]
        self._parts = 0

    def _added(self, strategy: Any) -> set[int]:
        """Return labels that no task has had and that the data were given beside the experience's.

        Joint training adds all other experiences.
        """
        targets = getattr(strategy.adapted_dataset, "targets", ())
        return {int(label) for label in getattr(targets, "uniques", ())} - {*self.method.seen}

    def begin_task(self, strategy: Any, classes: list[int]) -> None:
        """Begin a task of the method with what the strategy knows about it."""
        data = Batches(strategy.experience, strategy.eval_mb_size, strategy.device)
        self.method.begin_task(classes, data=data)

    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        """Rewire between two epochs."""
        # A plugin earlier in the list may have stopped training: no epoch follows then.
        if strategy.clock.train_exp_epochs > 0 and not strategy._stop_training:
            self.method.rewire()

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """End the task at a task boundary."""
        experience = strategy.experience
        self._parts += 1
        if not is_online(experience):
            self.method.end_task()
        elif knows_boundaries(experience):
            # Avalanche marks no last part where the parts are all of the same size.
            last = self._parts == experience.sub_stream_length
            if last or experience.is_last_subexp:
                self.method.end_task()

    # Training steps

    def after_forward(self, strategy: Any, **kwargs: Any) -> None:
        """Show the loss and the metrics the logits that this task is about."""
        strategy.mb_output = self.method.logits(strategy.mb_output, strategy.mb_y)

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Undo what plugins have written into frozen weights since the optimizer's step."""
        self.method.restore()

    # Evaluation

    def before_eval(self, strategy: Any, **kwargs: Any) -> None:
        """Undo what plugins behind this one have written, if evaluated within a task."""
        if self._method is not None and self.method.current is not None:
            self.method.restore()

    def after_eval_forward(self, strategy: Any, **kwargs: Any) -> None:
        """Leave each example the classes it may be of."""
        if self._method is None or not (self.method.tasks or self.method.current):
            return
        output = self.answer(strategy)
        self.class_scores = self.method.class_scores(output)
        strategy.mb_output = self._restrict(output, self.class_scores, strategy)

    def after_eval(self, strategy: Any, **kwargs: Any) -> None:
        """Forget the last batch."""
        self.class_scores = None

    def answer(self, strategy: Any) -> Tensor:
        """Return the output for the present batch, shape (n, classes)."""
        output: Tensor = strategy.mb_output
        return output

    def _restrict(self, output: Tensor, scores: Tensor, strategy: Any) -> Tensor:
        labels = task_labels_of_batch(strategy)
        if labels is None:
            return scores
        known = {label for task in self.task_labels for label in task}
        result = scores
        for label in set(labels.tolist()) & known:
            rows = labels == label
            restricted = self.method.class_scores(output, self.classes_of_label(label))
            result = torch.where(rows.unsqueeze(1), restricted, result)
        return result

    def classes_of_label(self, label: int) -> list[int]:
        """Return the classes of all tasks so far with a task label, ascending."""
        tasks = [*self.method.tasks, *([self.method.current] if self.method.current else [])]
        pairs = zip(tasks, self.task_labels, strict=True)
        return sorted({c for task, labels in pairs if label in labels for c in task})

    # Checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Return the method's state and the tasks' labels, without the model's ``state_dict``."""
        return {
            "plugin": type(self).__name__,
            "method": self.method.state_dict(),
            "task_labels": [list(labels) for labels in self.task_labels],
            "parts": self._parts,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where a saved plugin stopped; `build` it and load the model first.

        Parameters
        ----------
        state : mapping
            What `state_dict` returned.

        Raises
        ------
        CheckpointError
            If it is damaged, or of another plugin or other settings; nothing has changed then.
        """
        keys = {"plugin", "method", "task_labels", "parts"}
        if not isinstance(state, Mapping) or not keys <= state.keys():
            raise CheckpointError("the state of the plugin is damaged or foreign.")
        if state["plugin"] != type(self).__name__:
            raise CheckpointError(
                f"the checkpoint is of {state['plugin']}, this is {type(self).__name__}; continue "
                "with the plugin it was begun with, or start anew."
            )
        self.method.load_state_dict(state["method"])
        self.task_labels = [list(labels) for labels in state["task_labels"]]
        self._parts = int(state["parts"])


class SpaceNetPlugin(SparsePlugin):
    """Brings `sparsewire.continual.SpaceNet` into any Avalanche strategy.

    Parameters
    ----------
    **settings
        Keyword arguments of `SpaceNet`: density, select, reserve, rewire_fraction, strict, head,
        layers, seed.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from avalanche.training.supervised import Naive
    >>> from sparsewire.continual.avalanche.benchmarks import class_incremental
    >>> X, y = np.random.rand(40, 8), np.arange(40) % 4
    >>> benchmark = class_incremental((X, y), (X, y), n_tasks=2)
    >>> model = torch.nn.Sequential(
    ...     torch.nn.Linear(8, 20), torch.nn.ReLU(), torch.nn.Linear(20, 4)
    ... )
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> plugin = SpaceNetPlugin(select=5, reserve=2)
    >>> strategy = Naive(
    ...     model=model, optimizer=optimizer, train_mb_size=10, plugins=[plugin]
    ... )
    >>> strategy.evaluator.loggers = []
    >>> for experience in benchmark.train_stream:
    ...     _ = strategy.train(experience)
    >>> plugin.method.tasks
    [(0, 1), (2, 3)]
    """

    method_class = SpaceNet


class AFAFPlugin(SparsePlugin):
    """Brings `sparsewire.continual.AFAF` into any Avalanche strategy.

    Parameters
    ----------
    **settings
        Keyword arguments of `AFAF`: density, select, reserve, reuse_from, reuse_share,
        shared_layers, rewire_fraction, head, layers, seed.

    Notes
    -----
    Units to reuse are found on the data of the experience as they are evaluated, without
    augmentation.

    Examples
    --------
    >>> AFAFPlugin(reuse_from=4).settings
    {'reuse_from': 4}
    """

    method_class = AFAF


def find_plugin(strategy: Any, kind: type[PluginT]) -> PluginT:
    """Return a strategy's plugin of a class, such as after a checkpoint has replaced it.

    Parameters
    ----------
    strategy : avalanche strategy
        The strategy.
    kind : type
        `SparsePlugin` or a subclass.

    Raises
    ------
    InvalidArgumentError
        If it has not exactly one.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> plugin = SpaceNetPlugin()
    >>> find_plugin(SimpleNamespace(plugins=[plugin]), SpaceNetPlugin) is plugin
    True
    """
    found = [plugin for plugin in strategy.plugins if isinstance(plugin, kind)]
    if len(found) != 1:
        names = ", ".join(type(plugin).__name__ for plugin in strategy.plugins)
        raise InvalidArgumentError(
            f"the strategy has {len(found)} plugins of class {kind.__name__} (among {names}); "
            "give it exactly one."
        )
    return found[0]
