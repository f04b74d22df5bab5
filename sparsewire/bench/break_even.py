"""From which density on is a masked dense layer faster than a truly sparse one?

For one layer, input gradient included, with its share of a fused SGD step with momentum. The
sparse layer is fed feature-major and the dense one batch-major, as each finds its input inside a
network of its own kind. A density is tried by timing both layers in turns; the next one to try is
where the ratio of their times would be 1 if it were linear between those known.

The table made here is what `sparsewire.core.csr.break_even` reads.
"""

import gc
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from sparsewire.bench.machine import describe
from sparsewire.bench.timing import Step, clock_for, compare, limited_to
from sparsewire.core import sparsify
from sparsewire.core.csr import SparseLinear

SHAPES = (
    (256, 256),
    (784, 1000),
    (1000, 1000),
    (1000, 4000),
    (4000, 1000),
    (4000, 4000),
    (1000, 20000),
    (20000, 1000),
)
"""Inputs and outputs of the layers measured by default."""
BATCHES = (32, 128)
_FIRST = 0.4
_TRIALS = 4
_LEAST = 0.001
_MOST = 0.95
"""Densest layer timed: a full one is walked in order, which flatters it by up to a tenth."""
_WARM_UP = 3


class Case(NamedTuple):
    """What one row of the table is about."""

    n_out: int
    n_in: int
    batch: int
    threads: int


def measure(
    cases: Iterable[Case], seconds: float, done: Callable[[Case], object] = lambda case: None
) -> dict[str, Any]:
    """Measure the table.

    Parameters
    ----------
    cases : iterable of Case
        The rows.
    seconds : float
        Time for each layer at each of four densities.
    done : callable
        Called with every case before it is measured, for progress.

    Returns
    -------
    dict
        The table as plain values; `sparsewire.core.csr.break_even` describes its fields.
    """
    rows = []
    for case in cases:
        done(case)
        rows.append({**case._asdict(), "density": round(break_even(case, seconds), 3)})
        gc.collect()  # a sparsified model and its optimizer know each other
    about = describe(max((row["threads"] for row in rows), default=1))
    date, versions = about.pop("date"), about.pop("versions")
    return {"machine": about, "date": date, "versions": versions, "rows": rows}


def break_even(case: Case, seconds: float) -> float:
    """Return the density at which both layers take the same time, 1 if the sparse one always wins.

    Below a thousandth, where the sparse layer costs no more than calling it, the answer is 0.
    """
    clock = clock_for(case.threads)
    ratios: dict[float, float] = {}
    density = _FIRST
    with limited_to(case.threads):
        dense = dense_step(case)
        for _ in range(_TRIALS):
            trial = min(density, _MOST)
            if trial in ratios:
                break
            steps = {"csr": sparse_step(case, trial), "masked": dense}
            times = compare(steps, seconds, clock)
            ratios[trial] = times["csr"].median / times["masked"].median
            density = crossing(ratios)
    return density if density > _LEAST else 0.0


def crossing(ratios: Mapping[float, float]) -> float:
    """Return where the ratio is 1, within [0.001, 1].

    Linear between the lowest two neighbouring densities that have 1 between them. If there are
    none, the end nearest to it is continued in proportion to the density.

    Examples
    --------
    >>> crossing({0.2: 0.5, 0.6: 1.5}), crossing({0.2: 0.8}), crossing({0.2: 4.0, 0.1: 2.0})
    (0.4, 0.25, 0.05)
    """
    points = sorted(ratios.items())
    for (low, below), (high, above) in itertools.pairwise(points):
        if below <= 1 < above:
            return low + (high - low) * (1 - below) / (above - below)
    density, ratio = points[0] if points[0][1] > 1 else points[-1]
    return min(1.0, max(_LEAST, density / ratio))


def sparse_step(case: Case, density: float) -> Step:
    """Return a step of a truly sparse layer."""
    own = torch.Generator().manual_seed(0)
    layer = SparseLinear(case.n_in, case.n_out, density=density, generator=own)
    x = torch.randn(case.n_in, case.batch, generator=own).t()
    dy = torch.randn(case.n_out, case.batch, generator=own).t()
    return _step(layer, _optimizer(layer), x, dy)


def dense_step(case: Case) -> Step:
    """Return a step of a dense layer with a mask; how many weights it hides costs nothing."""
    own = torch.Generator().manual_seed(0)
    layer = nn.Linear(case.n_in, case.n_out, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-0.01, 0.01, generator=own)
    optimizer = _optimizer(layer)
    sparsify(layer, optimizer, density=_FIRST, method="static")
    x = torch.randn(case.batch, case.n_in, generator=own)
    dy = torch.randn(case.batch, case.n_out, generator=own)
    return _step(layer, optimizer, x, dy)


def _optimizer(layer: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(layer.parameters(), lr=1e-6, momentum=0.9, fused=True)


def _step(
    layer: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, dy: torch.Tensor
) -> Step:
    x.requires_grad_()

    def step() -> None:
        x.grad = None
        optimizer.zero_grad()
        torch.autograd.backward(layer(x), dy)
        optimizer.step()

    for _ in range(_WARM_UP):
        step()
    return step
