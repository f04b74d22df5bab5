"""Has the stream changed? A collapse of the running training accuracy tells.

SERENA (Gurbuz et al., 2025, CoLLAs, PMLR 330, arXiv:2403.14684) begins a new concept when the
newest value of the running training accuracy falls below half of the mean of the last ten. Its
released code counts that accuracy from zero at every true boundary between tasks, which hands the
boundary to the detector. The detector here sees nothing but the accuracies of the batches, in
order; its running accuracy is that of the last few batches.

What happens at a drift is `sparsewire.continual.concept_cells`' business.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any

from sparsewire.core._validation import check_fraction, check_integer
from sparsewire.core.errors import CheckpointError


class DriftDetector:
    """Compares the running accuracy with its own mean a little earlier.

    Parameters
    ----------
    window : int, default 10
        Batches over which accuracy runs, and values of the running accuracy that are averaged.
    ratio : float, default 0.5
        In [0, 1]; a running accuracy strictly below this share of the mean is a drift.

    Raises
    ------
    InvalidArgumentError
        If a value is out of range.

    Notes
    -----
    Both defaults are those of the released code. With them, an accuracy that drops from any level
    to 0 is noticed at the sixth batch. After a drift everything is forgotten, since the old
    concept's accuracy says nothing about the new one; the next can be noticed ``2 * window``
    batches later.

    A single batch in place of the running accuracy would be noticed at once, but chance halves the
    accuracy of ten examples now and then while a concept is still being learnt. On a stream of
    split MNIST (learning rate 0.01) that made 42 drifts, where this detector finds the true four.

    Examples
    --------
    >>> detector = DriftDetector(window=2)
    >>> [detector.observe(accuracy) for accuracy in (0.9, 0.7, 0.9, 0.9, 0.3, 0.1, 0.1)]
    [False, False, False, False, False, True, False]
    """

    def __init__(self, window: int = 10, ratio: float = 0.5) -> None:
        self.window = check_integer("window", window, minimum=1)
        self.ratio = check_fraction("ratio", ratio)
        self._batches: deque[float] = deque(maxlen=self.window)
        self._running: deque[float] = deque(maxlen=self.window)

    def observe(self, accuracy: float) -> bool:
        """Take note of the accuracy of one more batch.

        Parameters
        ----------
        accuracy : float
            In [0, 1], of the network's predictions for the batch before it is trained on it.

        Returns
        -------
        bool
            True if the stream seems to have changed.

        Raises
        ------
        InvalidArgumentError
            If `accuracy` is no number in [0, 1].
        """
        self._batches.append(check_fraction("accuracy", accuracy))
        if len(self._batches) < self.window:
            return False
        running = sum(self._batches) / self.window
        full = len(self._running) == self.window
        drift = full and running < self.ratio * sum(self._running) / self.window
        if drift:
            self._batches.clear()
            self._running.clear()
        else:
            self._running.append(running)
        return drift

    def state_dict(self) -> dict[str, Any]:
        """Return settings and what is remembered, as plain data."""
        return {
            "window": self.window,
            "ratio": self.ratio,
            "batches": list(self._batches),
            "running": list(self._running),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`.

        Parameters
        ----------
        state : mapping
            Of a detector with the same settings.

        Raises
        ------
        CheckpointError
            If it is damaged or of other settings; nothing has changed then.
        """
        own = self.state_dict()
        if not isinstance(state, Mapping) or state.keys() != own.keys():
            raise CheckpointError("this is not the state of a DriftDetector.")
        for name in ("window", "ratio"):
            if state[name] != own[name]:
                raise CheckpointError(
                    f"the state has {name} {state[name]!r}, this detector {own[name]!r}."
                )
        for name in ("batches", "running"):
            if not _are_accuracies(state[name], self.window):
                raise CheckpointError(f"the state's accuracies are damaged: {state[name]!r}.")
        self._batches = deque(state["batches"], maxlen=self.window)
        self._running = deque(state["running"], maxlen=self.window)


def _are_accuracies(values: object, most: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) <= most
        and all(isinstance(value, float) and 0 <= value <= 1 for value in values)
    )
