"""How is a benchmark run? Whatever its table still lacks, each cell once, stopped at any time.

A benchmark plans in stages: it names the cells whose settings are known already, and is asked again
when they are done, until it names nothing new. So a cell may depend on the results of others, such
as a density on the one that another method found.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from sparsewire.reporting.jobs import run_missing
from sparsewire.timeseries.benchmark.cells import Cell, Result, RowFile
from sparsewire.timeseries.benchmark.table import Table

Outcomes = Mapping[str, Result | None]
"""Results by the keys of their cells; None for a cell that failed."""


class BaseBench(ABC):
    """One task's benchmark.

    Attributes
    ----------
    task : str
        Its name, part of every cell.
    """

    task: ClassVar[str]

    @abstractmethod
    def plan(self, outcomes: Outcomes) -> list[Cell]:
        """Return all cells that can be named, those done already among them."""

    @abstractmethod
    def measure(self, cell: Cell) -> Result:
        """Run a cell and return what is to be kept."""

    @abstractmethod
    def headline(self, cell: Cell, result: Result) -> str:
        """Return the one number or two to show as soon as a cell is done."""

    @abstractmethod
    def table(self, outcomes: Outcomes) -> Table:
        """Return the table of what there is."""


@dataclass(frozen=True)
class BenchResult:
    """A finished benchmark.

    Attributes
    ----------
    outcomes : mapping
        Results by the keys of their cells; None for a cell that failed.
    table : Table
        What they show.
    reused : int
        Cells that were in the file before.
    failed : list of str
        Cells that failed, with their settings and why.
    """

    outcomes: Outcomes
    table: Table
    reused: int
    failed: list[str]


def run_bench(
    bench: BaseBench, path: Path, *, say: Callable[[str], None] | None = None
) -> BenchResult:
    """Run every cell that the file lacks, and make the table.

    Parameters
    ----------
    bench : BaseBench
        What to run: a `ClassifyBench`, `ForecastBench` or `DetectBench`.
    path : pathlib.Path
        JSON-lines file; a row is added as soon as a cell is done. Rows of other cells stay.
    say : callable or None, default None
        Called with a line of text for each cell that has been run.

    Returns
    -------
    BenchResult
        All results and the table. A cell that failed stops no other; it is not written, so the
        next run tries it again.

    Raises
    ------
    CheckpointError
        If the file holds a line that is no row; nothing is run.

    Examples
    --------
    >>> import tempfile
    >>> from sparsewire import datasets
    >>> from sparsewire.timeseries.benchmark.detection import DetectBench
    >>> if datasets.info("nile", kind="change_points").available:
    ...     bench = DetectBench(data=["nile"], methods=["none"])
    ...     with tempfile.TemporaryDirectory() as folder:
    ...         found = run_bench(bench, Path(folder, "rows.jsonl"))
    ...     assert found.table.rows[0] == ["nile", "0.824 / 0.758 (0)"]
    """
    file = RowFile(path)
    stored = file.read()
    outcomes: dict[str, Result | None] = {}
    failed: list[str] = []
    reused = 0

    def work(cell: Cell) -> Result:
        result = bench.measure(cell)
        file.add(cell, result)
        if say is not None:
            say(f"{cell.title}: {bench.headline(cell, result)}")
        return result

    while new := {c.key: c for c in bench.plan(outcomes) if c.key not in outcomes}:
        for outcome in run_missing(list(new.values()), [stored.get(key) for key in new], work):
            outcomes[outcome.settings.key] = outcome.run
            reused += outcome.reused
            if outcome.run is None:
                failed.append(_failure(outcome.settings, outcome.error))
    table = bench.table(outcomes)
    if failed:
        note = f"Failed, and not in the means: {'; '.join(failed)}."
        table = replace(table, notes=[*table.notes, note])
    return BenchResult(outcomes, table, reused, failed)


def _failure(cell: Cell, error: str) -> str:
    settings = ", ".join(f"{name}={value}" for name, value in cell.settings.items())
    return f"{cell.title}{f' ({settings})' if settings else ''}: {' '.join(error.split())}"


def finished(cells: list[Cell], outcomes: Outcomes) -> list[Result]:
    """Return the results of those cells that have one.

    Examples
    --------
    >>> cells = [Cell(task="detect", data="nile", method="none", seed=seed) for seed in (0, 1)]
    >>> finished(cells, {cells[1].key: {"f1": 1.0}})
    [{'f1': 1.0}]
    """
    found = (outcomes.get(cell.key) for cell in cells)
    return [result for result in found if result is not None]
