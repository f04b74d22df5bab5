"""How good is a network on every task so far? One pass over the test images gives both answers.

From the same logits: class-incremental accuracy, choosing among all classes so far, and
task-incremental accuracy, choosing among the classes of the task. Sub-networks per task give
class-incremental logits for every routing; their task-incremental ones come from the task's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sparsewire.continual.command.streams import Stream
from sparsewire.continual.method import IMPOSSIBLE
from sparsewire.continual.routing import ROUTINGS
from sparsewire.continual.subnetwork_method import SubnetworkMethod

_BATCH = 2000

Rows = dict[str, list[float | None]]
"""Accuracy on each task: ``task_il``, and ``class_il`` or one row per routing."""


@torch.no_grad()
def evaluate(model: nn.Module, method: Any, stream: Stream, n_learnt: int) -> Rows:
    """Return the accuracies on all tasks that have been learnt.

    Parameters
    ----------
    model : nn.Module
        The network; left in the mode it has.
    method : ContinualMethod or None
        What has trained it; None for a dense network.
    stream : Stream
        The tasks.
    n_learnt : int
        Tasks learnt so far.

    Returns
    -------
    dict of str to list
        ``task_il`` and ``class_il``, or ``task_il`` and one row for each of
        `sparsewire.continual.routing.ROUTINGS`; None for later tasks.
    """
    training = model.training
    model.eval()
    rows: Rows = {}
    for task in range(n_learnt):
        for name, accuracy in _evaluate_task(model, method, stream, task, n_learnt).items():
            rows.setdefault(name, []).append(accuracy)
    model.train(training)
    later: list[float | None] = [None] * (len(stream.tasks) - n_learnt)
    return {name: row + later for name, row in rows.items()}


def _evaluate_task(
    model: nn.Module, method: Any, stream: Stream, task: int, n_learnt: int
) -> Mapping[str, float]:
    x, y = stream.examples(task)
    own = stream.tasks[task]
    seen = [label for classes in stream.tasks[:n_learnt] for label in classes]
    hits: dict[str, int] = {}
    for start in range(0, len(x), _BATCH):
        batch = slice(start, start + _BATCH)
        logits = _logits(model, method, x[batch], task)
        for name, output in logits.items():
            allowed = own if name == "task_il" else seen
            right = _among(output, allowed).argmax(1) == y[batch]
            hits[name] = hits.get(name, 0) + int(right.sum())
    return {name: count / len(x) for name, count in hits.items()}


def _logits(model: nn.Module, method: Any, x: Tensor, task: int) -> dict[str, Tensor]:
    if isinstance(method, SubnetworkMethod):
        found = {
            routing: method.scores(x, routing, task if routing == "oracle" else None)
            for routing in ROUTINGS
        }
        return found | {"task_il": found["oracle"]}
    output = model(x)
    return {"class_il": output, "task_il": output}


def _among(output: Tensor, classes: Sequence[int]) -> Tensor:
    """Return scores in which only some classes can win."""
    scores = torch.full_like(output, IMPOSSIBLE)
    scores[:, list(classes)] = output[:, list(classes)]
    return scores
