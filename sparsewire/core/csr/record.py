"""What stands behind the gradient that a sparse weight has accumulated so far?

Growth by gradient needs the inputs and output gradients of exactly those backward passes that are
part of ``weight.grad`` at the optimizer step: not of passes for the input alone, nor of batches
that were abandoned.
"""

import torch
from torch import Tensor


class Record:
    """Feature-major inputs and output gradients, kept in step with a weight's gradient.

    Attributes
    ----------
    pairs : list of (Tensor, Tensor)
        Of the passes whose gradients are in ``weight.grad``.
    """

    def __init__(self) -> None:
        self.pairs: list[tuple[Tensor, Tensor]] = []
        # Of the backward pass that is running, and not yet part of the gradient.
        self._pending: list[tuple[Tensor, Tensor]] = []
        self._task = -1
        self._gradient: Tensor | None = None
        self._version = 0

    def add(self, X: Tensor, dY: Tensor, weight: Tensor) -> None:
        """Take note of a backward pass that is about to reach the weight."""
        self.refresh(weight)
        task = torch._C._current_graph_task_id()
        if task != self._task:
            self._task, self._pending = task, []
        if X.shape[1]:
            self._pending.append((X.clone(), dY.clone()))

    def confirm(self, weight: Tensor) -> None:
        """Take note that the gradient has reached the weight."""
        if weight.grad is not self._gradient:
            self.pairs = []
        if self._task == torch._C._current_graph_task_id():
            self.pairs += self._pending
        self._pending = []
        self._gradient = weight.grad
        self._version = 0 if weight.grad is None else weight.grad._version

    def refresh(self, weight: Tensor) -> None:
        """Drop what belongs to a gradient that was replaced or set to zero since."""
        gradient = weight.grad
        replaced = gradient is None or gradient is not self._gradient
        written = gradient is not None and gradient._version != self._version
        if replaced or (written and gradient is not None and not bool(gradient.any())):
            self.pairs = []

    def clear(self) -> None:
        """Drop everything."""
        self.pairs, self._pending, self._gradient = [], [], None
