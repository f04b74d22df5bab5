"""What did a sparse continual learner learn, own and cost? Metrics for Avalanche's evaluator.

`IncrementalAccuracy` computes class-incremental and task-incremental accuracy from the same logits
of one evaluation, for any strategy, and collects the accuracy matrices that the measures of
`sparsewire.continual.measures` are functions of. `SparsityMetrics` reports connections by task and
layer, memory and FLOPs of the strategy's `SparsePlugin`.
"""

from typing import Any, Literal

import numpy as np
import torch
from avalanche.evaluation import PluginMetric
from avalanche.evaluation.metric_results import MetricValue
from avalanche.evaluation.metric_utils import get_metric_name
from avalanche.models import MultiTaskModule
from numpy.typing import NDArray
from torch import Tensor

from sparsewire.continual.avalanche._experiences import begins_task, classes_of
from sparsewire.continual.avalanche.plugins import SparsePlugin
from sparsewire.continual.measures import average_accuracy, backward_transfer, forward_transfer
from sparsewire.core.errors import InvalidArgumentError

Kind = Literal["class_il", "task_il"]
KINDS: tuple[Kind, Kind] = ("class_il", "task_il")
_NAMES = {"class_il": "ClassIL_Acc", "task_il": "TaskIL_Acc"}


class IncrementalAccuracy(PluginMetric):
    """Class-incremental and task-incremental accuracy of every evaluated experience.

    Class-incremental predictions are the largest of the logits of all classes seen so far (before
    training, of all classes), task-incremental ones the largest among the classes of the
    experience. Emitted are ``ClassIL_Acc_Exp``, ``TaskIL_Acc_Exp`` and, over all examples of the
    stream, ``ClassIL_Acc_Stream``, ``TaskIL_Acc_Stream``. Where the model was told the task, by an
    oracle among sub-networks or by its heads, the class-incremental names end in ``(oracle)``;
    other routings are named likewise.

    Parameters
    ----------
    stream : str, default "test"
        The stream whose accuracies are collected in the matrices. Metrics are emitted for all.

    Examples
    --------
    >>> metric = IncrementalAccuracy()
    >>> metric.matrix("class_il").shape
    (0, 0)
    """

    def __init__(self, stream: str = "test") -> None:
        super().__init__()
        self.stream = stream
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._tasks = 0
        self._seen: set[int] = set()
        # By kind, number of tasks learnt, and experience.
        self._accuracies: dict[str, dict[tuple[int, int], float]] = {kind: {} for kind in KINDS}
        self._counts = _Counts()
        self._stream_counts = _Counts()
        self._classes: list[int] = []

    def result(self) -> dict[str, float]:
        """Return the last evaluated experience's accuracy by kind."""
        return {kind: self._counts.accuracy(kind) for kind in KINDS}

    def matrix(self, kind: Kind) -> NDArray[np.float64]:
        """Return the accuracy matrix.

        Parameters
        ----------
        kind : {"class_il", "task_il"}
            Which accuracy.

        Returns
        -------
        ndarray, shape (tasks, tasks)
            Row i, column j: accuracy on task j after learning task i; NaN where not evaluated.

        Raises
        ------
        InvalidArgumentError
            If `kind` is neither.
        """
        return self._table(kind)[1:, : self._tasks]

    def baseline(self, kind: Kind) -> NDArray[np.float64]:
        """Return the accuracies before any training, NaN where not evaluated.

        Parameters
        ----------
        kind : {"class_il", "task_il"}
            Which accuracy.

        Returns
        -------
        ndarray, shape (tasks,)
            One per task learnt so far.
        """
        baseline: NDArray[np.float64] = self._table(kind)[0, : self._tasks]
        return baseline

    def _table(self, kind: Kind) -> NDArray[np.float64]:
        if kind not in KINDS:
            raise InvalidArgumentError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}.")
        known = self._accuracies[kind]
        columns = max([self._tasks, *(experience + 1 for _, experience in known)])
        table = np.full((self._tasks + 1, columns), np.nan)
        for place, accuracy in known.items():
            table[place] = accuracy
        return table

    def summary(self) -> dict[str, dict[str, float]]:
        """Return ACC, BWT and FWT of both kinds.

        Returns
        -------
        dict of dict from str to float
            By kind. FWT is NaN unless all tasks were evaluated before and after each was learnt.

        Raises
        ------
        InvalidArgumentError
            If a task was not evaluated after a later one.
        """
        return {kind: self._summary(kind) for kind in KINDS}

    def _summary(self, kind: Kind) -> dict[str, float]:
        matrix, baseline = self.matrix(kind), self.baseline(kind)
        forward = np.nan
        if not (np.isnan(matrix).any() or np.isnan(baseline).any()):
            forward = forward_transfer(matrix, baseline)
        return {
            "ACC": average_accuracy(matrix),
            "BWT": backward_transfer(matrix),
            "FWT": forward,
        }

    # Callbacks

    def before_training_exp(self, strategy: Any) -> None:
        """Count the task and its classes."""
        if begins_task(strategy.experience):
            self._tasks += 1
        self._seen |= set(classes_of(strategy.experience))

    def before_eval(self, strategy: Any) -> None:
        """Begin a stream."""
        self._stream_counts = _Counts()

    def before_eval_exp(self, strategy: Any) -> None:
        """Begin an experience."""
        self._counts = _Counts()
        self._classes = classes_of(strategy.experience)

    def after_eval_iteration(self, strategy: Any) -> None:
        """Count the hits of a batch."""
        scores, targets = _scores(strategy), strategy.mb_y
        everything = range(scores.shape[1])
        for kind, classes in (("class_il", self._seen or everything), ("task_il", self._classes)):
            hits = int((_argmax(scores, classes) == targets).sum())
            self._counts.add(kind, hits, len(targets))
            self._stream_counts.add(kind, hits, len(targets))

    def after_eval_exp(self, strategy: Any) -> list[Any]:
        """Emit and collect the accuracies of an experience."""
        experience = strategy.experience
        if experience.origin_stream.name == self.stream:
            for kind in KINDS:
                place = self._tasks, int(experience.current_experience)
                self._accuracies[kind][place] = self._counts.accuracy(kind)
        return self._values(strategy, self._counts, "Exp", add_experience=True)

    def after_eval(self, strategy: Any) -> list[Any]:
        """Emit the accuracies of the stream."""
        return self._values(strategy, self._stream_counts, "Stream", add_experience=False)

    def _values(
        self, strategy: Any, counts: "_Counts", scope: str, *, add_experience: bool
    ) -> list[Any]:
        routing = _routing(strategy)
        values = []
        for kind in KINDS:
            told = f"({routing})" if routing and kind == "class_il" else ""
            name = get_metric_name(
                f"{_NAMES[kind]}_{scope}{told}",
                strategy,
                add_experience=add_experience,
                add_task=add_experience,
            )
            x = strategy.clock.train_iterations
            values.append(MetricValue(self, name, counts.accuracy(kind), x))
        return values

    def __str__(self) -> str:
        return "IncrementalAccuracy"


class _Counts:
    """Hits and examples by kind of accuracy."""

    def __init__(self) -> None:
        self.hits = dict.fromkeys(KINDS, 0)
        self.examples = dict.fromkeys(KINDS, 0)

    def add(self, kind: Any, hits: int, examples: int) -> None:
        self.hits[kind] += hits
        self.examples[kind] += examples

    def accuracy(self, kind: Kind) -> float:
        return self.hits[kind] / self.examples[kind] if self.examples[kind] else float("nan")


def _plugin(strategy: Any) -> SparsePlugin | None:
    return next((p for p in strategy.plugins if isinstance(p, SparsePlugin)), None)


def _scores(strategy: Any) -> Tensor:
    """Return scores of the batch among all classes, even if the plugin has restricted them."""
    plugin = _plugin(strategy)
    own = None if plugin is None else plugin.class_scores
    scores: Tensor = strategy.mb_output if own is None else own
    return scores


def _routing(strategy: Any) -> str | None:
    plugin = _plugin(strategy)
    if plugin is not None and plugin.routing is not None:
        return plugin.routing
    return "oracle" if isinstance(strategy.model, MultiTaskModule) else None


def _argmax(scores: Tensor, classes: Any) -> Tensor:
    """Return the class of the largest score among some classes, as far as the model has outputs."""
    columns = torch.tensor([c for c in sorted(classes) if c < scores.shape[1]], dtype=torch.int64)
    columns = columns.to(scores.device)
    if not len(columns):
        return torch.full((len(scores),), -1, device=scores.device)
    return columns[scores[:, columns].argmax(dim=1)]


class SparsityMetrics(PluginMetric):
    """Connections by task and layer, memory and FLOPs, after every finished task.

    Emitted are ``Connections/<layer>``, ``Ownership/<layer>/Task<t>``, ``Memory/weights``,
    ``Memory/biases``, ``Memory/value_bytes``, ``Memory/index_bytes``, ``Memory/bitmap_bytes``,
    ``Memory/dense_weights``, ``FLOPs/sparse`` and ``FLOPs/dense`` (forward, per example; not for
    multi-head models). A strategy without a `SparsePlugin` emits nothing.

    Examples
    --------
    >>> SparsityMetrics().result()
    {}
    """

    def __init__(self) -> None:
        super().__init__()
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._values: dict[str, float] = {}
        self._example: Tensor | None = None
        self._tasks = 0

    def result(self) -> dict[str, float]:
        """Return the values after the last finished task by name."""
        return dict(self._values)

    def before_training_iteration(self, strategy: Any) -> None:
        """Note what an input looks like."""
        if self._example is None:
            self._example = strategy.mb_x[:1].detach().clone()

    def after_training_exp(self, strategy: Any) -> list[Any]:
        """Emit the values if a task has ended."""
        plugin = _plugin(strategy)
        if plugin is None or len(plugin.method.tasks) == self._tasks:
            return []
        self._tasks = len(plugin.method.tasks)
        self._values = self._measure(plugin)
        x = strategy.clock.train_iterations
        return [MetricValue(self, name, value, x) for name, value in self._values.items()]

    def _measure(self, plugin: SparsePlugin) -> dict[str, float]:
        method = plugin.method
        values: dict[str, float] = {}
        for layer, count in method.connections().items():
            values[f"Connections/{layer}"] = count
        for layer, owner in method.owners().items():
            for task in range(len(method.tasks)):
                values[f"Ownership/{layer}/Task{task:03d}"] = int((owner == task + 1).sum())
        for name, value in vars(method.memory()).items():
            values[f"Memory/{name}"] = value
        # A model with heads is not run here: it has to be told a task.
        if self._example is not None and not isinstance(method.model, MultiTaskModule):
            values["FLOPs/sparse"] = method.flops(self._example)
            values["FLOPs/dense"] = method.dense_flops(self._example)
        return values

    def __str__(self) -> str:
        return "SparsityMetrics"
