"""Figures and the report: what is drawn is what was given."""

import base64
import io
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from rich.console import Console

from sparsewire.featsel import plots
from sparsewire.featsel.report import Section, console_table, write_report
from sparsewire.reporting.figures import save

SCORES = np.array([0.5, 4.0, 0.0, 3.0, 1.0, 2.0])
SELECTED = np.array([False, True, False, True, False, False])
PNG = b"\x89PNG\r\n\x1a\n"


def test_bars_show_the_largest_importances_in_order_and_colour_the_selected() -> None:
    axes: Any = plots.importance_bars(SCORES, SELECTED, list("abcdef"), n_top=4).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "d", "f", "e"]
    assert [bar.get_width() for bar in axes.patches] == [4.0, 3.0, 2.0, 1.0]
    colours = [to_hex(bar.get_facecolor()) for bar in axes.patches]
    assert colours[0] == colours[1] != colours[2] == colours[3]
    assert axes.yaxis_inverted()


def test_heatmap_holds_the_scores_row_by_row_and_frames_the_selected_pixels() -> None:
    axes = plots.importance_heatmap(SCORES, SELECTED, (2, 3)).axes[0]
    np.testing.assert_array_equal(axes.images[0].get_array(), SCORES.reshape(2, 3))
    centres = [patch.get_window_extent().get_points().mean(axis=0) for patch in axes.patches]
    pixels = [tuple(axes.transData.inverted().transform(c).round(6)) for c in centres]
    assert pixels == [(1.0, 0.0), (0.0, 1.0)]  # (column, row) of features 1 and 3


def test_accuracy_bars_show_mean_and_spread_in_per_cent() -> None:
    axes: Any = plots.accuracy_bars({"a": [0.9, 1.0], "b": [0.5]}, title="judge").axes[0]
    bars, whiskers = axes.containers[1], axes.collections[0]
    assert [bar.get_width() for bar in bars] == pytest.approx([95.0, 50.0])
    spans = [path.vertices[:, 0] for path in whiskers.get_paths()]
    assert spans[0] == pytest.approx([90.0, 100.0])
    assert spans[1] == pytest.approx([50.0, 50.0])
    assert axes.get_title() == "judge"


def test_training_curves_start_at_one_in_epoch_one() -> None:
    axes = plots.training_curves({"a": [8.0, 2.0], "b": [1.0, 3.0, 2.0]}).axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), [[1, 1], [2, 0.25]])
    np.testing.assert_array_equal(axes.lines[1].get_xydata(), [[1, 1], [2, 3], [3, 2]])
    assert axes.get_xlabel() == "epoch"


def test_saving_writes_the_same_png_for_the_same_data(tmp_path: Path) -> None:
    for name in ("first.png", "second.png"):
        save(plots.importance_heatmap(SCORES, SELECTED, (2, 3)), tmp_path / name)
    content = (tmp_path / "first.png").read_bytes()
    assert content.startswith(PNG)
    assert content == (tmp_path / "second.png").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first.png", "second.png"]


def test_missing_matplotlib_names_the_extra_to_install() -> None:
    code = """
import sys
sys.modules["matplotlib"] = None
from sparsewire.featsel import plots
try:
    plots.training_curves({"a": [1.0]})
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "sparsewire[plot]"' in done.stdout


class Page(HTMLParser):
    """Collects the cells and picture sources of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.sources: list[str] = []
        self.tags: set[str] = set()
        self._in_cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._in_cell = tag in {"th", "td"}
        self.sources += [value or "" for name, value in attrs if name in {"src", "href"}]

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.cells.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = False


def test_the_report_escapes_texts_and_embeds_its_pictures(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    save(plots.training_curves({"a": [1.0, 0.5]}), picture)
    section = Section(
        heading="A", text="<script>", header=["<x>", "$y"], rows=[["1 & 2", "±"]], images=[picture]
    )
    write_report(tmp_path / "report.html", title="T", sections=[section])
    page = Page()
    page.feed((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.cells == ["<x>", "$y", "1 & 2", "±"]
    assert "script" not in page.tags
    (source,) = page.sources
    start = "data:image/png;base64,"
    assert source.startswith(start)
    assert base64.b64decode(source.removeprefix(start)) == picture.read_bytes()


def test_the_report_refuses_a_row_of_another_length_and_writes_nothing(tmp_path: Path) -> None:
    section = Section(heading="A", text="", header=["x", "y"], rows=[["1"]])
    with pytest.raises(ValueError, match="1 cells, its header 2"):
        write_report(tmp_path / "report.html", title="T", sections=[section])
    assert list(tmp_path.iterdir()) == []


def test_the_console_table_prints_markup_as_plain_text() -> None:
    stream = io.StringIO()
    section = Section(heading="[b]A", text="", header=["x"], rows=[["[red]1"], ["2"]])
    Console(file=stream, width=40).print(console_table(section))
    assert "[b]A" in stream.getvalue()
    assert "[red]1" in stream.getvalue()
