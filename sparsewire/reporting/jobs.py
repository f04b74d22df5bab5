"""How are many runs done, each once, in parallel, and without one failure stopping the others?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import joblib

from sparsewire.core.errors import InvalidArgumentError

S = TypeVar("S")
R = TypeVar("R")


@dataclass(frozen=True)
class Outcome(Generic[S, R]):
    """What became of one job.

    Attributes
    ----------
    settings : object
        The job.
    run : object or None
        Its finished run; None if it failed.
    reused : bool
        Whether the run was there before.
    error : str
        Why it failed; empty if it did not.
    """

    settings: S
    run: R | None
    reused: bool = False
    error: str = ""


def check_jobs(jobs: object) -> None:
    """Raise `InvalidArgumentError` unless `jobs` is a number of runs at the same time.

    Examples
    --------
    >>> check_jobs(-1)
    """
    if not isinstance(jobs, int) or isinstance(jobs, bool) or jobs == 0 or jobs < -1:
        raise InvalidArgumentError(f"jobs must be at least 1, or -1 for all cores, got {jobs!r}.")


def run_missing(
    wanted: Sequence[S],
    done: Sequence[R | None],
    work: Callable[[S], R],
    *,
    jobs: int = 1,
    verbose: int = 0,
) -> list[Outcome[S, R]]:
    """Do all jobs that have no run yet.

    Parameters
    ----------
    wanted : sequence
        The jobs.
    done : sequence
        For each its finished run, or None.
    work : callable
        Does a job and returns its run. An error that it raises becomes an outcome.
    jobs : int, default=1
        Jobs at the same time; -1 for as many as there are cores. Where they run is up to
        ``joblib.parallel_config``.
    verbose : int, default=0
        joblib's: how much to print about finished jobs.

    Returns
    -------
    list of Outcome
        In the order of `wanted`.

    Examples
    --------
    >>> for outcome in run_missing([4, 2, 0], [None, "half", None], lambda n: f"{8 // n}"):
    ...     print(outcome.settings, outcome.run, outcome.reused, outcome.error)
    4 2 False
    2 half True
    0 None False ZeroDivisionError: integer division or modulo by zero
    """
    check_jobs(jobs)
    missing = [settings for settings, run in zip(wanted, done, strict=True) if run is None]
    new = iter(
        joblib.Parallel(n_jobs=jobs, verbose=verbose)(
            joblib.delayed(_attempt)(work, settings) for settings in missing
        )
    )
    return [
        next(new) if run is None else Outcome(settings, run, reused=True)
        for settings, run in zip(wanted, done, strict=True)
    ]


def _attempt(work: Callable[[S], R], settings: S) -> Outcome[S, R]:
    try:
        return Outcome(settings, work(settings))
    except Exception as error:  # whatever training may raise
        return Outcome(settings, None, error=f"{type(error).__name__}: {error}")
