"""Which selector is best on which data? Every data set, method and seed, in one table.

Cells are independent: each runs in a process of its own, one that fails stops no other, and what
was finished before is not run again. A failed cell is tried again by the next run.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import joblib

from sparsewire.core.errors import InvalidArgumentError
from sparsewire.featsel.benchmark.cells import Cell, Record, Store
from sparsewire.featsel.benchmark.fitting import Task, run_cell
from sparsewire.featsel.benchmark.methods import Factory, Parameters
from sparsewire.featsel.benchmark.page import make_page
from sparsewire.featsel.benchmark.planning import Counts, find_dataset, plan
from sparsewire.featsel.benchmark.processes import ChildError, FreshProcesses, one_thread_each
from sparsewire.featsel.benchmark.table import Entry, Row, summarise, write_cells, write_summary
from sparsewire.reporting.figures import require_matplotlib
from sparsewire.reporting.jobs import check_jobs, run_missing


@dataclass(frozen=True)
class BenchResult:
    """A finished benchmark.

    Attributes
    ----------
    entries : list of Entry
        All cells with their results, by data set, number of features, method and seed.
    output : pathlib.Path
        Folder with ``cells.csv``, ``summary.csv``, ``report.html`` and, in ``cells``, what a later
        run need not repeat.
    """

    entries: list[Entry]
    output: Path

    @property
    def rows(self) -> list[Row]:
        """The table: means and standard deviations over seeds."""
        return summarise(self.entries)

    @property
    def failed(self) -> list[Entry]:
        """The cells that failed."""
        return [entry for entry in self.entries if entry.record.error]


def run_bench(
    datasets: Iterable[str],
    methods: Iterable[str],
    *,
    k: Counts | Mapping[str, Counts],
    seeds: Iterable[int],
    protocol: str = "clean",
    jobs: int = 1,
    output: str | os.PathLike[str],
    parameters: Mapping[str, Parameters] | None = None,
    extra_methods: Mapping[str, Factory] | None = None,
    command: str = "",
    say: Callable[[str], None] | None = None,
) -> BenchResult:
    """Run every method on every data set with every seed, as far as not done before.

    Parameters
    ----------
    datasets : iterable of str
        Names of `sparsewire.datasets`.
    methods : iterable of str
        Names of ``METHODS``, or of `extra_methods`. Those that do not depend on the seed are run
        once, with seed 0.
    k : int, sequence of int, or mapping
        Features to keep; a mapping holds that by data set.
    seeds : iterable of int
        Seeds of selectors and judges. The split is always the protocol's.
    protocol : str, default="clean"
        Of `sparsewire.featsel.evaluate`: how rows are split and columns scaled for the judges. The
        papers' exceptions for single data sets are made.
    jobs : int, default=1
        Cells at the same time; -1 for as many as there are cores. With more than one, times are
        those of a busier machine, and energy is not measured.
    output : path
        Folder for everything; made if needed.
    parameters : mapping of str to mapping or None, default=None
        Parameters by method, for all data sets.
    extra_methods : mapping of str to Factory or None, default=None
        Other methods by name. They must be importable functions or objects, because they are
        pickled for the cells' processes; a script needs its ``if __name__ == "__main__"``.
    command : str, default=""
        Command line, for the page.
    say : callable or None, default=None
        Called with a line of text for each cell that has been run.

    Returns
    -------
    BenchResult
        All cells and the table. A cell that failed stops no other.

    Raises
    ------
    InvalidArgumentError
        If a name is unknown or a value wrong; nothing is run.
    CheckpointError
        If a stored result is damaged; nothing is run.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = run_bench(["digits"], ["variance", "f_classif"], k=20, seeds=[0], output=folder)
    >>> [(row.method, len(row.records)) for row in found.rows]
    [('variance', 1), ('f_classif', 1)]
    """
    check_jobs(jobs)
    require_matplotlib()
    tasks = plan(
        [find_dataset(name) for name in datasets],
        methods,
        k=k,
        seeds=seeds,
        protocol=protocol,
        jobs=jobs,
        parameters=parameters,
        extra_methods=extra_methods,
    )
    _check_pickle(tasks)
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    entries = _run(tasks, Store(folder / "cells"), jobs, say)
    result = BenchResult(entries, folder)
    write_cells(folder / "cells.csv", entries)
    write_summary(folder / "summary.csv", result.rows)
    make_page(entries, result.rows, command).write(folder / "report.html")
    return result


def _run(
    tasks: list[Task], store: Store, jobs: int, say: Callable[[str], None] | None
) -> list[Entry]:
    done = [_finished(store.read(task.cell)) for task in tasks]
    with FreshProcesses() as processes, one_thread_each(), joblib.parallel_config("threading"):
        work = partial(_work, processes=processes, store=store, say=say)
        outcomes = run_missing(tasks, done, work, jobs=jobs)
    return [
        Entry(outcome.settings.cell, outcome.run or Record(error=outcome.error), outcome.reused)
        for outcome in outcomes
    ]


def _finished(record: Record | None) -> Record | None:
    return None if record is None or record.error else record


def _work(
    task: Task, *, processes: FreshProcesses, store: Store, say: Callable[[str], None] | None
) -> Record:
    try:
        record = processes.call(run_cell, task)
    except ChildError as error:
        record = Record(error=str(error), jobs=task.jobs)
    with processes.unless_stopped():
        store.write(task.cell, record)
        if say is not None:
            say(_line(task.cell, record))
    return record


def _line(cell: Cell, record: Record) -> str:
    title = f"{cell.dataset}, {cell.method}, k {cell.k}, seed {cell.seed}"
    if record.error:
        return f"{title}: failed: {record.error}"
    return f"{title}: SVM {100 * record.scores['svc']:.2f} %, fit in {record.seconds:.2f} s"


def _check_pickle(tasks: list[Task]) -> None:
    for name, task in {task.cell.method: task for task in tasks}.items():
        try:
            pickle.dumps(task)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise InvalidArgumentError(
                f"the factory of {name!r} cannot be pickled ({error}); use a function or class "
                "defined at the top of a module."
            ) from error
