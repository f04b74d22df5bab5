"""What do the cells of a benchmark show? The rows of its table and its two CSV files.

Texts for the terminal and the page come from the same rows as the CSV files, so they cannot
disagree. Spread is the standard deviation over seeds with ddof 0, as in the papers.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sparsewire.core._files import replacing
from sparsewire.featsel.benchmark.cells import Cell, Record

Number = float | None


@dataclass(frozen=True)
class Entry:
    """A cell with its result.

    Attributes
    ----------
    cell : Cell
        What was run.
    record : Record
        What became of it.
    reused : bool
        Whether it was finished before.
    """

    cell: Cell
    record: Record
    reused: bool = False


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A column of numbers.

    Attributes
    ----------
    name : str
        In the CSV files, and of the score or the attribute of `Record`.
    title : str
        In the table.
    scale : float
        What the table multiplies by; the CSV files hold fractions, seconds, bytes and plain counts.
    digits : int
        Decimals in the table.
    """

    name: str
    title: str
    scale: float = 1.0
    digits: int = 2

    def value(self, record: Record) -> Number:
        """Return the number of a finished cell, None if it has none."""
        if self.name in record.scores:
            return record.scores[self.name]
        number: Number = getattr(record, self.name, None)
        return number


METRICS = (
    Metric(name="svc", title="SVM, %", scale=100),
    Metric(name="knn", title="1-NN, %", scale=100),
    Metric(name="extra_trees", title="ExtraTrees, %", scale=100),
    Metric(name="kmeans", title="K-means, %", scale=100),
    Metric(name="seconds", title="fit, s"),
    Metric(name="cpu_seconds", title="CPU, s"),
    Metric(name="peak_bytes", title="memory, MB", scale=1e-6, digits=1),
    Metric(name="connections", title="connections", digits=0),
    Metric(name="flops", title="training, GFLOPs", scale=1e-9),
    Metric(name="joules", title="energy, J", digits=1),
)
JUDGES = METRICS[:4]
HEADER = ("method", "k", "seeds", *(metric.title for metric in METRICS))


@dataclass(frozen=True, kw_only=True)
class Row:
    """All seeds of one method on one data set.

    Attributes
    ----------
    dataset, method : str
        Names.
    k : int
        Features kept.
    records : list of Record
        Of the finished cells.
    failed : int
        Cells that failed.
    """

    dataset: str
    method: str
    k: int
    records: list[Record]
    failed: int

    def mean_and_std(self, metric: Metric) -> tuple[Number, Number]:
        """Return mean and standard deviation (ddof 0); None if a cell has no such number."""
        values = [metric.value(record) for record in self.records]
        known = [value for value in values if value is not None]
        if not known or len(known) < len(values):
            return None, None
        return float(np.mean(known)), float(np.std(known))


def summarise(entries: Iterable[Entry]) -> list[Row]:
    """Put the seeds of each data set, number of features and method together.

    Parameters
    ----------
    entries : iterable of Entry
        All cells.

    Returns
    -------
    list of Row
        In the order in which they come first.

    Examples
    --------
    >>> cells = [Cell(dataset="d", method="m", k=9, seed=s, protocol="clean") for s in (0, 1)]
    >>> scores = ({"svc": 0.5}, {"svc": 0.75})
    >>> row = summarise(Entry(c, Record(scores=s)) for c, s in zip(cells, scores))[0]
    >>> row.mean_and_std(METRICS[0])
    (0.625, 0.125)
    """
    groups: dict[tuple[str, str, int], list[Record]] = {}
    for entry in entries:
        key = entry.cell.dataset, entry.cell.method, entry.cell.k
        groups.setdefault(key, []).append(entry.record)
    return [
        Row(
            dataset=dataset,
            method=method,
            k=k,
            records=[record for record in records if not record.error],
            failed=sum(bool(record.error) for record in records),
        )
        for (dataset, method, k), records in groups.items()
    ]


def table_cells(row: Row) -> list[str]:
    """Return the texts of a row, with the columns `HEADER`.

    Parameters
    ----------
    row : Row
        What to show.

    Returns
    -------
    list of str
        Mean ± standard deviation, or the mean alone if there is one seed; – for no number.

    Examples
    --------
    >>> row = Row(dataset="d", method="m", k=9, records=[Record(scores={"svc": 0.5})], failed=1)
    >>> table_cells(row)[:5]
    ['m', '9', '1 (1 failed)', '50.00', '–']
    """
    failed = f" ({row.failed} failed)" if row.failed else ""
    texts = [_text(row, metric) for metric in METRICS]
    return [row.method, str(row.k), f"{len(row.records)}{failed}", *texts]


def _text(row: Row, metric: Metric) -> str:
    mean, std = row.mean_and_std(metric)
    if mean is None or std is None:
        return "–"
    text = f"{metric.scale * mean:,.{metric.digits}f}"
    several = len(row.records) > 1
    return f"{text} ± {metric.scale * std:,.{metric.digits}f}" if several else text


def write_summary(path: Path, rows: Sequence[Row]) -> None:
    """Write means and standard deviations, one line per row of the table, in one step.

    Parameters
    ----------
    path : pathlib.Path
        File, replaced if it exists.
    rows : sequence of Row
        The table.
    """
    header = ["dataset", "k", "method", "seeds", "failed"]
    header += [f"{metric.name}_{kind}" for metric in METRICS for kind in ("mean", "std")]
    lines: list[list[object]] = [
        [row.dataset, row.k, row.method, len(row.records), row.failed]
        + [value for metric in METRICS for value in row.mean_and_std(metric)]
        for row in rows
    ]
    _write_csv(path, header, lines)


def write_cells(path: Path, entries: Sequence[Entry]) -> None:
    """Write every cell with its settings and its numbers, in one step.

    Parameters
    ----------
    path : pathlib.Path
        File, replaced if it exists.
    entries : sequence of Entry
        All cells; of a failed one the numbers are empty.
    """
    settings = ("dataset", "k", "method", "seed", "protocol", "scaler", "n_train")
    header = [*settings, *(metric.name for metric in METRICS), "jobs", "parameters", "error"]
    lines: list[list[object]] = []
    for entry in entries:
        cell, record = entry.cell, entry.record
        numbers = [None if record.error else metric.value(record) for metric in METRICS]
        parameters = json.dumps(cell.parameters, ensure_ascii=False)
        chosen = [getattr(cell, name) for name in settings]
        lines.append([*chosen, *numbers, record.jobs, parameters, record.error])
    _write_csv(path, header, lines)


def _write_csv(path: Path, header: list[str], lines: list[list[object]]) -> None:
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(lines)
