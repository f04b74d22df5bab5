"""What do the runs of a benchmark show? The rows of its table, its CSV file and its page.

Texts and numbers for terminal, file and page come from the same rows, so they cannot disagree.
A method with sub-networks has one row per routing: with an oracle it is told the task of every
image, which no other row is.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sparsewire.continual.command import plots
from sparsewire.continual.command.benchmarks import find_benchmark
from sparsewire.continual.command.comparing import Outcome
from sparsewire.continual.command.methods import find_method
from sparsewire.continual.command.runs import Results, Run, to_matrix
from sparsewire.continual.measures import average_accuracy, backward_transfer
from sparsewire.core._files import replacing
from sparsewire.core.errors import CheckpointError
from sparsewire.reporting.figures import save
from sparsewire.reporting.page import Page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Entry:
    """All runs of one method, seen through one routing if it has sub-networks.

    Attributes
    ----------
    name : str
        Method, with its replay and routing, such as ``concept-cells [oracle]``.
    routing : str
        The routing; empty for one network.
    runs : list of Run
        One per seed.
    results : list of Results
        Of each run.
    class_il, task_il : ndarray of shape (runs, tasks, tasks)
        Accuracies, NaN above the diagonals.
    """

    name: str
    routing: str
    runs: list[Run]
    results: list[Results]
    class_il: Floats
    task_il: Floats


COLUMNS = (
    "ACC",
    "BWT",
    "task-IL ACC",
    "task-IL BWT",
    "weights",
    "FLOPs",
    "memory, MB",
    "replay",
    "CPU, s",
)
"""Percent where no unit is named; weights and FLOPs of those of the dense network."""
HEADER = ("method", "runs", *COLUMNS)


def collect(runs: Sequence[Run]) -> list[Entry]:
    """Read finished runs of one benchmark and put those of a method together.

    Parameters
    ----------
    runs : sequence of Run
        Finished; seeds of one method after each other.

    Returns
    -------
    list of Entry
        By method and routing.

    Raises
    ------
    CheckpointError
        If the results of a run are missing or damaged.
    """
    entries = []
    for name in dict.fromkeys(run.settings.name for run in runs):
        own = [run for run in runs if run.settings.name == name]
        results = [_results_of(run) for run in own]
        task_il = np.stack([to_matrix(result.task_il) for result in results])
        for routing in results[0].routings or [""]:
            rows = [r.routings[routing] if routing else r.class_il for r in results]
            title = f"{name} [{routing}]" if routing else name
            class_il = np.stack([to_matrix(matrix) for matrix in rows])
            entries.append(Entry(title, routing, own, results, class_il, task_il))
    return entries


def _results_of(run: Run) -> Results:
    results = run.read_results()
    if results is None or not results.finished:
        raise CheckpointError(f"{run.path} holds no finished run.")
    return results


def numbers(entry: Entry) -> dict[str, Floats]:
    """Return one number per run for each of `COLUMNS`.

    Parameters
    ----------
    entry : Entry
        The runs.

    Returns
    -------
    dict of str to ndarray of shape (runs,)
        By column. CPU seconds are those of the training of all tasks.
    """
    values = (
        [100 * average_accuracy(matrix) for matrix in entry.class_il],
        [100 * backward_transfer(matrix) for matrix in entry.class_il],
        [100 * average_accuracy(matrix) for matrix in entry.task_il],
        [100 * backward_transfer(matrix) for matrix in entry.task_il],
        [100 * result.share for result in entry.results],
        [100 * _flops(entry, result) / result.dense_flops for result in entry.results],
        [result.megabytes for result in entry.results],
        [result.examples_stored for result in entry.results],
        [sum(result.cpu_seconds) for result in entry.results],
    )
    return {name: np.array(column, float) for name, column in zip(COLUMNS, values, strict=True)}


def _flops(entry: Entry, result: Results) -> float:
    """Return the FLOPs for an image; an oracle runs one sub-network, another routing all."""
    return result.flops / (len(result.tasks) if entry.routing == "oracle" else 1)


def spread(values: Floats) -> float:
    """Return the sample standard deviation; 0 for a single value.

    Examples
    --------
    >>> spread(np.array([1.0, 3.0])) == 2**0.5, spread(np.array([1.0]))
    (True, 0.0)
    """
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def table_rows(entries: Sequence[Entry]) -> list[list[str]]:
    """Return the cells of the table, mean ± standard deviation over seeds.

    Parameters
    ----------
    entries : sequence of Entry
        What to compare.

    Returns
    -------
    list of list of str
        One row per entry, with the columns `HEADER`.
    """
    return [
        [entry.name, str(len(entry.runs)), *map(_cell, numbers(entry).values())]
        for entry in entries
    ]


def _cell(values: Floats) -> str:
    """Return mean and deviation with two digits, or none if all values are the same integer."""
    digits = 0 if not spread(values) and float(values[0]).is_integer() else 2
    mean = f"{values.mean() + 0.0:.{digits}f}"  # + 0.0 turns -0.0 into 0.0
    deviation = f"{spread(values):.{digits}f}"
    return f"{mean} ± {deviation}" if float(deviation) else mean


def write_csv(path: Path, entries: Sequence[Entry]) -> None:
    """Write means and standard deviations of all columns, in one step.

    Parameters
    ----------
    path : pathlib.Path
        File, replaced if it exists.
    entries : sequence of Entry
        What was compared.
    """
    header = ["method", "seeds"] + [f"{c}, {kind}" for c in COLUMNS for kind in ("mean", "std")]
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for entry in entries:
            seeds = " ".join(str(run.settings.seed) for run in entry.runs)
            pairs = [(v.mean(), spread(v)) for v in numbers(entry).values()]
            writer.writerow([entry.name, seeds, *(f"{x:.10g}" for pair in pairs for x in pair)])


def figures_of(entries: Sequence[Entry]) -> dict[str, tuple[str, Figure]]:
    """Draw everything there is to see.

    Parameters
    ----------
    entries : sequence of Entry
        What was compared.

    Returns
    -------
    dict of str to (str, Figure)
        A description and the figure by a name that is good for a file: ``accuracy``, and
        ``matrix_<method>`` and, for sparse methods, ``ownership_<method>`` of the first seed.
    """
    curves = {entry.name: (entry.class_il, entry.task_il) for entry in entries}
    found = {"accuracy": ("Accuracy over tasks", plots.accuracy_over_tasks(curves))}
    for entry in entries:
        name = _file_name(entry.name)
        figure = plots.accuracy_matrices(entry.class_il, entry.task_il)
        found[f"matrix_{name}"] = (f"Accuracy of {entry.name}", figure)
    for run in {entry.runs[0].settings.name: entry.runs[0] for entry in entries}.values():
        if owners := run.read_owners():
            title = f"Owners of connections: {run.settings.name}, seed {run.settings.seed}"
            figure = plots.ownership_maps(owners, len(_results_of(run).tasks))
            found[f"ownership_{_file_name(run.settings.name)}"] = (title, figure)
    return found


def _file_name(name: str) -> str:
    return name.replace(" [", "_").replace("]", "")


def write_figures(folder: Path, figures: dict[str, tuple[str, Figure]]) -> list[Path]:
    """Write every figure as PNG and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{name}.png" for name in figures]
    for path, (_, figure) in zip(files, figures.values(), strict=True):
        save(figure, path)
    return files


def make_page(
    entries: Sequence[Entry],
    figures: dict[str, tuple[str, Figure]],
    outcomes: Sequence[Outcome],
    command: str,
) -> Page:
    """Make the page of a comparison.

    Parameters
    ----------
    entries : sequence of Entry
        What was compared.
    figures : dict
        From `figures_of`.
    outcomes : sequence of Outcome
        All jobs.
    command : str
        Command line of the comparison.

    Returns
    -------
    Page
        To be written.
    """
    benchmark = find_benchmark(outcomes[0].settings.benchmark)
    page = Page(f"sparsewire cl compare: {benchmark.name}")
    page.code(command)
    page.paragraph(
        "Mean ± standard deviation over seeds. ACC: mean accuracy on all tasks after the last one; "
        "BWT: how much it changed since each task was learnt. Without task-IL, among all classes; "
        "with it, among the classes of the task under test. Both from the same logits. In percent, "
        "as are weights and FLOPs (of the dense network's)."
    )
    page.table(HEADER, table_rows(entries))
    page.paragraph(
        "Weights, FLOPs of a forward pass and memory (weights, biases of sparse methods, and the "
        "smaller of indices and bitmaps; what is kept for training alone is not in it) are counts "
        "of what is needed, not times: masks on dense tensors save neither. Replay: images kept. "
        "CPU: training of all tasks."
    )
    if any(entry.routing for entry in entries):
        page.paragraph(
            "Brackets name how the sub-network that answers is found. An oracle is told the task "
            "of every image, so its ACC stands beside the others' task-IL ACC, not their ACC; and "
            "it runs one sub-network where another routing has to run all."
        )
    for title, figure in figures.values():
        page.heading(title)
        page.figure(figure, title)
    _protocol(page, benchmark.origin, outcomes)
    return page


def _protocol(page: Page, origin: str, outcomes: Sequence[Outcome]) -> None:
    page.heading("Settings")
    page.paragraph(f"Defaults: {origin}.")
    first = {outcome.settings.name: outcome.settings for outcome in outcomes}
    rows = [
        [name, find_method(settings.method).about, _listed(settings.training | settings.options)]
        for name, settings in first.items()
    ]
    page.table(("method", "what it is", "settings"), rows)
    page.heading("Runs")
    page.table(
        ("run", "seed", "CPU seconds of each task", "state"), [_run_row(o) for o in outcomes]
    )
    commands = dict.fromkeys(o.run.command() for o in outcomes if o.run is not None)
    page.heading("Command lines of the runs")
    page.code("\n".join(commands))


def _listed(values: dict[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())


def _run_row(outcome: Outcome) -> list[str]:
    settings = outcome.settings
    if outcome.run is None:
        return [settings.name, str(settings.seed), "-", f"failed: {outcome.error}"]
    times = " ".join(f"{seconds:.1f}" for seconds in _results_of(outcome.run).cpu_seconds)
    state = "was there" if outcome.reused else "trained"
    return [settings.name, str(settings.seed), times, state]
