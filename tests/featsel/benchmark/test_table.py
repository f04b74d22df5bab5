"""Means, standard deviations, CSV files and the page, against numbers worked out by hand."""

import csv
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from sparsewire.featsel.benchmark.cells import Cell, Record
from sparsewire.featsel.benchmark.page import accuracy_figure, make_page
from sparsewire.featsel.benchmark.table import (
    HEADER,
    JUDGES,
    METRICS,
    Entry,
    summarise,
    table_cells,
    write_cells,
    write_summary,
)


def entry(dataset: str, method: str, seed: int, record: Record, k: int = 9) -> Entry:
    parameters = {"epochs": 5} if method == "wast" else {}
    cell = Cell(
        dataset=dataset, method=method, k=k, seed=seed, protocol="clean", parameters=parameters
    )
    return Entry(cell, record)


def record(svc: float, seconds: float, **others: object) -> Record:
    scores = {"svc": svc, "knn": 0.25, "extra_trees": 0.5, "kmeans": 1 / 3}
    return Record(scores=scores, seconds=seconds, cpu_seconds=1.0, **others)  # type: ignore[arg-type]


ENTRIES = [
    entry("digits", "wast", 0, record(0.5, 2.0, connections=10_000, flops=2e9, peak_bytes=10**6)),
    entry("digits", "wast", 1, record(0.9, 5.0, connections=20_000, flops=4e9, peak_bytes=10**6)),
    entry("digits", "wast", 2, record(0.7, 2.0, connections=30_000, flops=6e9, peak_bytes=10**6)),
    entry("digits", "all", 0, record(0.75, 0.0), k=64),
    entry("breast_cancer", "wast", 0, Record(error="ValueError: <no>, \"quotes\", 'and'")),
    entry("breast_cancer", "random", 0, record(0.8, 0.1, warnings=["careful"])),
    entry("breast_cancer", "random", 1, Record(error="RuntimeError: late")),
]


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_row_holds_mean_and_population_deviation_of_all_seeds() -> None:
    rows = summarise(ENTRIES)
    assert [(row.dataset, row.method, row.k, len(row.records), row.failed) for row in rows] == [
        ("digits", "wast", 9, 3, 0),
        ("digits", "all", 64, 1, 0),
        ("breast_cancer", "wast", 9, 0, 1),
        ("breast_cancer", "random", 9, 1, 1),
    ]
    cells = dict(zip(HEADER, table_cells(rows[0]), strict=True))
    assert cells["SVM, %"] == "70.00 ± 16.33"  # ddof 1 would give 20.00
    assert cells["fit, s"] == "3.00 ± 1.41"
    assert cells["connections"] == "20,000 ± 8,165"
    assert cells["training, GFLOPs"] == "4.00 ± 1.63"
    assert cells["memory, MB"] == "1.0 ± 0.0"
    assert cells["energy, J"] == "–"


def test_one_seed_has_no_deviation_and_failed_cells_count_for_nothing() -> None:
    rows = summarise(ENTRIES)
    assert table_cells(rows[1])[:4] == ["all", "64", "1", "75.00"]
    assert table_cells(rows[2])[2:4] == ["0 (1 failed)", "–"]
    assert table_cells(rows[3])[2:4] == ["1 (1 failed)", "80.00"]


def test_a_number_that_one_seed_lacks_is_not_averaged() -> None:
    mixed = [
        entry("digits", "wast", 0, record(0.5, 1.0, joules=3.0)),
        entry("digits", "wast", 1, record(0.5, 1.0)),
    ]
    assert summarise(mixed)[0].mean_and_std(METRICS[-1]) == (None, None)


def test_csv_files_hold_every_number_unrounded(tmp_path: Path) -> None:
    write_cells(tmp_path / "cells.csv", ENTRIES)
    lines = read(tmp_path / "cells.csv")
    assert len(lines) == len(ENTRIES)
    for line, found in zip(lines, ENTRIES, strict=True):
        assert line["error"] == found.record.error
        for metric in METRICS:
            value = None if found.record.error else metric.value(found.record)
            assert line[metric.name] == ("" if value is None else str(value))
    assert lines[0]["parameters"] == '{"epochs": 5}'
    write_summary(tmp_path / "summary.csv", summarise(ENTRIES))
    first = read(tmp_path / "summary.csv")[0]
    assert float(first["svc_mean"]) == np.mean([0.5, 0.9, 0.7])
    assert float(first["svc_std"]) == np.std([0.5, 0.9, 0.7])
    assert (first["joules_mean"], first["seeds"], first["failed"]) == ("", "3", "0")


class Page(HTMLParser):
    """Collects texts of table cells, and checks that tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "img"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self.open and self.open[-1] == "td":
            self.rows[-1].append(data)


def test_the_page_has_every_number_of_the_table_and_every_error() -> None:
    rows = summarise(ENTRIES)
    page = Page(make_page(ENTRIES, rows, "sparsewire bench featsel '<script>'").html())
    headings = [text for text in page.texts if text in {row.dataset for row in rows}]
    assert headings[:2] == ["digits", "breast_cancer"]
    for row in rows:
        scores, costs = table_cells(row)[:7], table_cells(row)[7:]
        assert scores in page.rows
        assert [row.method, str(row.k), *costs] in page.rows
    failed = ["breast_cancer", "wast", "9", "0", "ValueError: <no>, \"quotes\", 'and'"]
    assert failed in page.rows
    assert ["random", "breast_cancer", "careful"] in page.rows
    assert ["wast", "digits, breast_cancer", "epochs=5"] in page.rows
    assert page.tags.count("img") == 2
    assert not {"script", "link", "no"} & set(page.tags)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "no meter"),
        ({"jobs": 2}, "not measured, because cells ran at the same time"),
        ({"joules": 4.0}, "read from the meter of the machine"),
    ],
)
def test_the_page_says_where_the_energy_comes_from(changes: dict[str, object], text: str) -> None:
    found = [entry("digits", "wast", 0, record(0.5, 1.0, **changes))]
    assert text in make_page(found, summarise(found), "").html()


def test_the_figure_shows_the_means_with_the_best_on_top() -> None:
    rows = [row for row in summarise(ENTRIES) if row.dataset == "digits"]
    axes = accuracy_figure(rows).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["wast", "all"]
    drawn = [container.lines[0].get_xdata() for container in axes.containers]  # type: ignore[attr-defined]
    for points, judge in zip(drawn, JUDGES, strict=True):
        means = [100 * (row.mean_and_std(judge)[0] or 0) for row in rows]
        np.testing.assert_allclose(np.asarray(points, float), means)
