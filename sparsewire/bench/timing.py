"""How are rivals timed on a machine that is not quiet?

They take turns in one run, so that a slow spell hits all of them, in an order drawn anew for every
round, so that nobody always runs after the same neighbour with the same caches. A turn of a short
step is many calls long. The median over turns is reported. One thread is timed by the process's CPU
time, which other jobs hardly disturb; several threads by the wall clock, since CPU time adds up
over threads.
"""

import gc
import math
import random
import statistics
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch

Step = Callable[[], object]
Clock = Callable[[], float]
Name = TypeVar("Name", bound=Hashable)

ROUNDS = 15
_LEAST = 3
"""Turns of a step too slow for the time it was given."""


class Turns(NamedTuple):
    """How often a step takes part: `number` turns of `calls` calls each."""

    calls: int
    number: int


@dataclass(frozen=True)
class Times:
    """Seconds per call, one number per turn.

    Examples
    --------
    >>> times = Times((0.3, 0.1, 0.2))
    >>> times.median, times.best
    (0.2, 0.1)
    """

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median turn."""
        return statistics.median(self.seconds)

    @property
    def best(self) -> float:
        """The fastest turn."""
        return min(self.seconds)


def clock_for(threads: int) -> Clock:
    """Return the clock that suits so many threads: CPU time for one, else wall time."""
    return time.process_time if threads == 1 else time.perf_counter


def clock_name(threads: int) -> str:
    """Return what `clock_for` measures, in words."""
    return "process CPU time" if threads == 1 else "wall time"


@contextmanager
def limited_to(threads: int) -> Iterator[None]:
    """Let torch, and with it our kernels, use so many threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def per_call(step: Step, calls: int, clock: Clock) -> float:
    """Return the time of one of `calls` calls in a row."""
    started = clock()
    for _ in range(calls):
        step()
    return (clock() - started) / calls


def plan(seconds_per_call: float, budget: float, rounds: int = ROUNDS) -> Turns:
    """Share a time budget between turns: at least three, at most one per round.

    Parameters
    ----------
    seconds_per_call : float
        Estimated time of one call.
    budget : float
        Seconds to spend on the step; one that is too slow for it takes three turns regardless.
    rounds : int
        Most turns.

    Examples
    --------
    >>> plan(0.001, 0.3), plan(0.1, 0.3), plan(2.0, 0.3)
    (Turns(calls=20, number=15), Turns(calls=1, number=3), Turns(calls=1, number=3))
    """
    call = max(seconds_per_call, 1e-7)
    calls = max(1, round(budget / (rounds * call)))
    return Turns(calls, min(rounds, max(_LEAST, int(budget / (calls * call) + 0.5))))


def interleave(
    steps: Mapping[Name, Step], turns: Mapping[Name, Turns], clock: Clock
) -> dict[Name, Times]:
    """Time steps that take turns.

    Parameters
    ----------
    steps : mapping
        What to call, by name. Each has run before: a first call may compile.
    turns : mapping
        How often each takes part. Steps with fewer turns than others sit rounds out, evenly.
    clock : callable
        Seconds from an arbitrary start.

    Returns
    -------
    dict
        The times of every step.
    """
    rounds = max((own.number for own in turns.values()), default=0)
    order, shuffle = list(steps), random.Random(0).shuffle
    found: dict[Name, list[float]] = {name: [] for name in steps}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for turn in range(rounds):
            shuffle(order)
            for name in order:
                calls, number = turns[name]
                if (turn + 1) * number // rounds > turn * number // rounds:
                    found[name].append(per_call(steps[name], calls, clock))
    finally:
        if collecting:
            gc.enable()
    return {name: Times(tuple(seconds)) for name, seconds in found.items()}


def compare(steps: Mapping[str, Step], budget: float, clock: Clock) -> dict[str, Times]:
    """Time steps that take turns, each for about `budget` seconds; each has run before."""
    turns = {name: plan(per_call(step, 1, clock), budget) for name, step in steps.items()}
    return interleave(steps, turns, clock)


def geometric_mean(values: Sequence[float]) -> float | None:
    """Return the geometric mean, or None of nothing.

    Examples
    --------
    >>> round(geometric_mean([1.0, 4.0]), 6)
    2.0
    """
    if not values:
        return None
    return math.exp(statistics.fmean(math.log(value) for value in values))
