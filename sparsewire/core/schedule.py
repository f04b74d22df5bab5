"""When does a topology update happen, and how large is it?

Everything here is a pure function of the step, the number of optimizer steps completed so far, so
a run resumed at any step sees the same sequence. What an update does with the numbers is the
business of `sparsewire.core.methods`.

The cosine decay of the drop fraction is that of RigL (Evci et al., 2020, arXiv:1911.11134); the
cubic ramp is that of gradual magnitude pruning (Zhu & Gupta, 2017, arXiv:1710.01878).
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache

from sparsewire.core._validation import check_fraction, check_integer
from sparsewire.core.errors import InvalidArgumentError


@dataclass(frozen=True)
class Every:
    """Topology updates every `interval` steps in ``begin <= step < end``.

    Parameters
    ----------
    interval : int
        Optimizer steps between two updates, >= 1.
    begin : int, default 0
        First step at which an update may happen. Updates follow optimizer steps, so with
        ``begin=0`` the first one comes after step `interval`.
    end : int or None, default None
        Updates stop strictly before this step; None means never.

    Raises
    ------
    InvalidArgumentError
        If a value is out of range or no update falls into the window.

    Examples
    --------
    >>> every = Every(100, end=301)
    >>> [step for step in range(1, 1000) if every.due(step)]
    [100, 200, 300]
    >>> every.last
    300
    """

    interval: int
    begin: int = 0
    end: int | None = None

    def __post_init__(self) -> None:
        check_integer("update_interval", self.interval, minimum=1)
        check_integer("begin", self.begin, minimum=0)
        if self.end is None:
            return
        check_integer("end", self.end, minimum=1)
        if self.last is None:
            raise InvalidArgumentError(
                f"no topology update falls into [{self.begin}, {self.end}) with "
                f"update_interval={self.interval}; raise end above {self._first} or lower "
                "update_interval."
            )

    @property
    def _first(self) -> int:
        return self.begin if self.begin > 0 else self.interval

    @property
    def last(self) -> int | None:
        """Step of the last update, or None if there is none or no end."""
        if self.end is None or self.end <= self._first:
            return None
        return self._first + (self.end - 1 - self._first) // self.interval * self.interval

    def due(self, step: int) -> bool:
        """Tell whether an update follows optimizer step number `step` (counted from 1)."""
        if step < self._first or (self.end is not None and step >= self.end):
            return False
        return (step - self._first) % self.interval == 0


@lru_cache(typed=True)  # True is no interval, though it equals 1
def every(interval: int, begin: int = 0, end: int | None = None) -> Every:
    """Return `Every` of the arguments, made and checked only once: methods ask in every step."""
    return Every(interval, begin, end)


class Schedule(ABC):
    """A quantity in [0, 1] as a pure function of the step.

    A schedule of your own needs a ``repr`` that shows its parameters, as a dataclass has:
    checkpoints compare it.
    """

    @abstractmethod
    def __call__(self, step: int) -> float:
        """Return the value at `step`."""


@dataclass(frozen=True)
class Constant(Schedule):
    """The same value at every step.

    Parameters
    ----------
    value : float
        In [0, 1].

    Examples
    --------
    >>> Constant(0.3)(1000)
    0.3
    """

    value: float

    def __post_init__(self) -> None:
        check_fraction("drop_fraction", self.value)

    def __call__(self, step: int) -> float:
        """Return the constant."""
        return float(self.value)


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from `start` at step `begin` to `stop` at step `end`, constant outside.

    ``stop + (start - stop) * (1 + cos(pi * (step - begin) / (end - begin))) / 2``. The offset
    `begin` enters the phase, which RigL's released code forgets.

    Parameters
    ----------
    start, stop : float
        Values in [0, 1].
    end : int
        Step at which `stop` is reached.
    begin : int, default 0
        Step until which `start` holds.

    Examples
    --------
    >>> cosine = Cosine(0.3, 0.0, end=1000)
    >>> cosine(0), round(cosine(500), 6), cosine(1000)
    (0.3, 0.15, 0.0)
    """

    start: float
    stop: float
    end: int
    begin: int = 0

    def __post_init__(self) -> None:
        check_fraction("start", self.start)
        check_fraction("stop", self.stop)
        check_integer("begin", self.begin, minimum=0)
        check_integer("end", self.end, minimum=self.begin + 1)

    def __call__(self, step: int) -> float:
        """Return the value at `step`."""
        progress = min(max((step - self.begin) / (self.end - self.begin), 0.0), 1.0)
        if progress == 1.0:
            return float(self.stop)
        return self.stop + (self.start - self.stop) * (1 + math.cos(math.pi * progress)) / 2


@dataclass(frozen=True)
class CubicRamp(Schedule):
    """Fraction of the pruning done: 0 before, ``1 - (1 - progress)**3`` during, 1 from `end` on.

    Parameters
    ----------
    begin, end : int
        Steps between which the ramp rises; ``end >= begin``.

    Examples
    --------
    >>> ramp = CubicRamp(begin=0, end=100)
    >>> ramp(0), ramp(50), ramp(100)
    (0.0, 0.875, 1.0)
    """

    begin: int
    end: int

    def __post_init__(self) -> None:
        check_integer("begin", self.begin, minimum=0)
        check_integer("end", self.end, minimum=self.begin)

    def __call__(self, step: int) -> float:
        """Return the fraction done at `step`."""
        if step >= self.end:
            return 1.0
        if step <= self.begin:
            return 0.0
        progress = (step - self.begin) / (self.end - self.begin)
        return 1.0 - (1.0 - progress) ** 3
