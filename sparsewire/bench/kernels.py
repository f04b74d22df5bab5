"""How long does one layer's forward and backward pass take, with us and with others?"""

import gc
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from sparsewire.bench import machine
from sparsewire.bench.contenders import CONTENDERS, Result
from sparsewire.bench.problem import Case, Problem
from sparsewire.bench.timing import (
    Clock,
    Step,
    Times,
    clock_for,
    clock_name,
    compare,
    geometric_mean,
    limited_to,
    per_call,
)
from sparsewire.core.errors import SparsewireError

OURS = next(iter(CONTENDERS))
SHAPES = ((1000, 1000), (4000, 4000))
DENSITIES = (0.01, 0.05, 0.2)
BATCHES = (32, 128)
FULL_SHAPES = (*SHAPES, (54675, 1000), (65536, 65536))
FULL_DENSITIES = (0.0001, 0.001, 0.01, 0.02, 0.05, 0.1, 0.2)
"""The grid of specs/truly_sparse.md, table 4.3."""

LONGEST = 5.0
"""Seconds; a contender that needs longer for one step is left out."""
MOST = 50_000_000
MANY = 100_000
"""Connections above which caches no longer decide; the means are given there as well."""
_TOLERANCE = 1e-4


class DisagreementError(SparsewireError, ArithmeticError):
    """Two contenders computed different numbers, so that their times mean nothing."""


def grid(
    shapes: Iterable[tuple[int, int]], densities: Sequence[float], batches: Sequence[int]
) -> list[Case]:
    """Return all cases with at least one connection and no more than fifty million.

    Examples
    --------
    >>> [case.connections for case in grid([(10, 10), (10**6, 10**6)], [0.1, 0.2], [32])]
    [10, 20]
    """
    cases = [
        Case(n_in, n_out, density, batch)
        for n_in, n_out in shapes
        for density in densities
        for batch in batches
    ]
    return [case for case in cases if 1 <= case.connections <= MOST]


def measure(
    cases: Sequence[Case],
    *,
    threads: int,
    seconds: float,
    table_mib: tuple[float, ...] = machine.TABLE_MIB,
    done: Callable[[Case], object] = lambda case: None,
) -> dict[str, Any]:
    """Compare all contenders on all cases.

    Parameters
    ----------
    cases : sequence of Case
        What to time.
    threads : int
        Threads of torch and of our kernels; one thread is timed by CPU time, more by wall time.
    seconds : float
        Time for each contender on each case.
    table_mib : tuple of float
        See `sparsewire.bench.machine.limits`.
    done : callable
        Called with every case before it is measured, for progress.

    Returns
    -------
    dict
        ``machine``, ``limits``, ``clock``, ``rows`` and ``geometric_means``, as plain values. A row
        has, for each contender, ``median_ms``, ``best_ms`` and ``peak_bytes``, or why it is out.

    Raises
    ------
    DisagreementError
        If a contender computes something else than the others.
    """
    clock = clock_for(threads)
    speeds: dict[str, float] = {}
    with limited_to(threads):
        about = machine.describe(threads)
        limits = machine.limits(clock, table_mib)
        rows = []
        for case in cases:
            done(case)
            rows.append(_row(case, clock, seconds, speeds))
            gc.collect()  # so that two cases never share the memory
    return {
        "machine": about,
        "clock": clock_name(threads),
        "limits": limits,
        "rows": rows,
        "geometric_means": _means(rows),
    }


def _row(case: Case, clock: Clock, seconds: float, speeds: dict[str, float]) -> dict[str, Any]:
    """Check and time the contenders on one case; `speeds` remembers what each needs per product."""
    problem = Problem(case)
    steps, skipped = _ready(problem, clock, speeds)
    times = compare(steps, seconds, clock)
    speeds |= {name: own.median / _work(name, case) for name, own in times.items()}
    found = {name: _summary(name, times[name], problem) for name in steps}
    return {
        "n_in": case.n_in,
        "n_out": case.n_out,
        "density": case.density,
        "batch": case.batch,
        "connections": case.connections,
        "contenders": {name: found.get(name) for name in CONTENDERS},
        "skipped": skipped,
    }


def _work(name: str, case: Case) -> int:
    size = case.n_in * case.n_out if CONTENDERS[name].dense else case.connections
    return size * case.batch


def _ready(
    problem: Problem, clock: Clock, speeds: dict[str, float]
) -> tuple[dict[str, Step], dict[str, str]]:
    """Build the contenders that can take part and check them against the first."""
    steps: dict[str, Step] = {}
    skipped: dict[str, str] = {}
    reference: Result | None = None
    for name, contender in CONTENDERS.items():
        if speeds.get(name, 0.0) * _work(name, problem.case) > LONGEST:
            skipped[name] = f"would take more than {LONGEST:g} s"
        elif contender.peak_bytes(problem) > machine.memory():
            skipped[name] = f"would need {contender.peak_bytes(problem) / 1e6:,.1f} MB"
        else:
            step, read = contender.build(problem)
            result = read(step())
            reference = result if reference is None else reference
            check(name, result, reference)
            if per_call(step, 1, clock) > LONGEST:
                skipped[name] = f"takes more than {LONGEST:g} s"
            else:
                steps[name] = step
    return steps, skipped


def check(name: str, result: Result, reference: Result) -> None:
    """Raise `DisagreementError` unless both results are equal up to rounding."""
    for what, own, other in zip(("Y", "dX", "dW"), result, reference, strict=True):
        scale = max(float(np.abs(other).max(initial=0.0)), 1e-30)
        error = float(np.abs(own - other).max(initial=0.0)) / scale
        if not error < _TOLERANCE:
            raise DisagreementError(
                f"{name} and {OURS} differ in {what} by {error:.1e} of its size."
            )


def _summary(name: str, times: Times, problem: Problem) -> dict[str, float]:
    return {
        "median_ms": 1e3 * times.median,
        "best_ms": 1e3 * times.best,
        "peak_bytes": CONTENDERS[name].peak_bytes(problem),
    }


def _means(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Return geometric means of times over ours, of all rows and of those with many connections."""
    many = [row for row in rows if row["connections"] >= MANY]
    return {
        label: {name: geometric_mean(ratios(chosen, name)) for name in CONTENDERS}
        for label, chosen in (("all", rows), (f"from {MANY:,} connections", many))
        if chosen
    }


def ratios(rows: Sequence[dict[str, Any]], name: str) -> list[float]:
    """Return a contender's medians over ours, of the rows in which both took part."""
    pairs = [(row["contenders"][name], row["contenders"][OURS]) for row in rows]
    return [own["median_ms"] / ours["median_ms"] for own, ours in pairs if own and ours]
