"""How is a benchmark shown? A page with a table and a picture of each data set and its settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sparsewire import datasets
from sparsewire.featsel.benchmark.cells import Record
from sparsewire.featsel.benchmark.table import HEADER, JUDGES, Entry, Row, table_cells
from sparsewire.reporting.figures import COLOURS, new_figure
from sparsewire.reporting.page import Page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MARKERS = ("o", "s", "^", "D")
_SCORES = HEADER[: 3 + len(JUDGES)]
_COSTS = ("method", "k", *HEADER[3 + len(JUDGES) :])
_COLUMNS = (
    "Mean ± standard deviation over seeds (ddof 0); a method that does not depend on the seed is "
    "run once. SVM, 1-NN and ExtraTrees: accuracy on the test rows with the selected columns only. "
    "K-means: clustering accuracy on the training rows, mean of 10 runs. Selectors saw the "
    "unscaled training rows only. Fit: wall time of selecting, without imports, reading data and "
    "judging; CPU: the same in CPU time; both with one thread. Memory: what the fit added at its "
    "peak, in a process of its own. Connections: of the trained network. Training: 6 operations "
    "(multiply and add; once forward, twice backward) for each connection and row, summed over "
    "epochs; biases, activations, the optimizer and topology updates are not counted. A dash "
    "stands where there is no such number."
)


def make_page(entries: Sequence[Entry], rows: Sequence[Row], command: str) -> Page:
    """Make the page of a benchmark.

    Parameters
    ----------
    entries : sequence of Entry
        All cells.
    rows : sequence of Row
        The table.
    command : str
        Command line; empty if it was run from Python.

    Returns
    -------
    Page
        To be written.
    """
    protocol = entries[0].cell.protocol
    page = Page(f"sparsewire bench featsel: protocol {protocol}")
    if command:
        page.code(command)
    page.paragraph(_COLUMNS)
    page.paragraph(_about_energy([entry.record for entry in entries]))
    for name in dict.fromkeys(row.dataset for row in rows):
        own = [row for row in rows if row.dataset == name]
        page.heading(name)
        page.paragraph(_about_data(entries, name))
        for columns in (_SCORES, _COSTS):  # side by side they would be too wide for a page
            page.table(columns, [_chosen(row, columns) for row in own])
        if any(row.records for row in own):
            page.figure(accuracy_figure(own), f"Accuracy on {name}")
    _failures(page, entries)
    _warnings(page, entries)
    _settings(page, entries)
    return page


def _chosen(row: Row, columns: Sequence[str]) -> list[str]:
    texts = dict(zip(HEADER, table_cells(row), strict=True))
    return [texts[column] for column in columns]


def accuracy_figure(rows: Sequence[Row]) -> Figure:
    """Draw the accuracies of one data set, a line per method, the best by SVM on top.

    Parameters
    ----------
    rows : sequence of Row
        Of one data set; those without a finished cell are left out.

    Returns
    -------
    matplotlib.figure.Figure
        Points are means, bars one standard deviation to either side.

    Examples
    --------
    >>> record = Record(scores={"svc": 0.9, "knn": 0.8, "extra_trees": 0.7, "kmeans": 0.6})
    >>> row = Row(dataset="d", method="m", k=9, records=[record], failed=0)
    >>> [text.get_text() for text in accuracy_figure([row]).axes[0].get_yticklabels()]
    ['m']
    """
    finished = [row for row in rows if row.records]
    finished.sort(key=lambda row: row.mean_and_std(JUDGES[0])[0] or 0.0)
    several = len({row.k for row in finished if row.method != "all"}) > 1
    figure, (axes,) = new_figure(8.0, 1.3 + 0.32 * len(finished))
    for index, judge in enumerate(JUDGES):
        found = [row.mean_and_std(judge) for row in finished]
        axes.errorbar(
            [100 * (mean or 0.0) for mean, _ in found],
            [position + 0.15 * (1.5 - index) for position in range(len(finished))],
            xerr=[100 * (std or 0.0) for _, std in found],
            fmt=_MARKERS[index], color=COLOURS[index], markersize=5, elinewidth=1.2,
            label=judge.title.removesuffix(", %"),
        )  # fmt: skip
    labels = [f"{row.method}, k {row.k}" if several else row.method for row in finished]
    axes.set_yticks(range(len(finished)), labels)
    axes.set_ylim(-0.6, len(finished) - 0.4)
    axes.set_xlabel("accuracy, %")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False)
    return figure


def _about_data(entries: Sequence[Entry], name: str) -> str:
    info = datasets.info(name)
    cell = next(entry.cell for entry in entries if entry.cell.dataset == name)
    rows, columns = info.shape
    split = (
        f"split 80/20 at random with seed 42{', stratified' * (cell.protocol == 'clean')}"
        if cell.n_train is None
        else f"the canonical split with {cell.n_train} training rows"
    )
    scaler = f"; judges' scaler: {cell.scaler}" if cell.scaler else ""
    return (
        f"{info.description}. {rows} rows × {columns} columns, {info.n_classes} classes; "
        f"{split}{scaler}."
    )


def _about_energy(records: Sequence[Record]) -> str:
    finished = [record for record in records if not record.error]
    if any(record.joules is not None for record in finished):
        return (
            "Energy: of all processor packages during the fit, read from the meter of the machine."
        )
    if any(record.jobs != 1 for record in finished):
        return (
            "Energy: not measured, because cells ran at the same time, which a meter cannot tell "
            "apart. Times are those of a busy machine, too; --jobs 1 gives undisturbed ones."
        )
    return "Energy: not measured; this machine has no meter that can be read (RAPL)."


def _failures(page: Page, entries: Sequence[Entry]) -> None:
    failed = [entry for entry in entries if entry.record.error]
    if failed:
        page.heading("Failed cells")
        page.table(
            ("data set", "method", "k", "seed", "error"),
            [
                [e.cell.dataset, e.cell.method, str(e.cell.k), str(e.cell.seed), e.record.error]
                for e in failed
            ],
        )


def _warnings(page: Page, entries: Sequence[Entry]) -> None:
    found = [
        [entry.cell.method, entry.cell.dataset, text]
        for entry in entries
        for text in entry.record.warnings
    ]
    if found:
        page.heading("Warnings of the fits")
        distinct = dict.fromkeys(map(tuple, found))
        page.table(("method", "data set", "warning"), [list(row) for row in distinct])


def _settings(page: Page, entries: Sequence[Entry]) -> None:
    page.heading("Settings")
    listed: dict[tuple[str, str], list[str]] = {}
    for entry in entries:
        text = ", ".join(f"{name}={value}" for name, value in entry.cell.parameters.items())
        names = listed.setdefault((entry.cell.method, text), [])
        if entry.cell.dataset not in names:
            names.append(entry.cell.dataset)
    page.table(
        ("method", "data sets", "parameters"),
        [[method, ", ".join(names), text] for (method, text), names in listed.items()],
    )
    finished = [entry.record for entry in entries if not entry.record.error]
    for text in dict.fromkeys(_origin(record) for record in finished):
        page.paragraph(text)


def _origin(record: Record) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    return f"Run with {versions}, on {record.machine}, with jobs={record.jobs}."
