"""Does the figure show every channel, change and annotator?"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sparsewire.reporting.figures import save
from tests.timeseries.change_points.helpers import small, two_shifts

pytest.importorskip("matplotlib")


def test_the_figure_has_a_panel_for_everything_and_a_line_for_every_change(tmp_path: Path) -> None:
    from sparsewire.timeseries.change_points.plots import change_points_figure

    X, detector = two_shifts(), small()
    found = detector.detect(X)
    figure = change_points_figure(
        X,
        found,
        threshold=detector.threshold_low_,
        annotations={"a": [80, 140], "b": []},
        columns=["pace", "distance"],
    )
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels == ["pace", "distance", "annotator", "loss / usual loss"]
    places = [line.get_xdata()[0] for line in figure.axes[0].lines[1:]]  # type: ignore[index]
    assert places == found.change_points
    assert f"{len(places)} change points" in figure.axes[0].get_title()
    save(figure, tmp_path / "changes.png")
    assert (tmp_path / "changes.png").stat().st_size > 10_000


def test_an_annotator_who_marks_nothing_is_seen_to_do_so() -> None:
    from sparsewire.timeseries.change_points.plots import change_points_figure

    X, detector = two_shifts(), small()
    found = detector.detect(X)
    marked = {"a": [80], "b": [], "c": []}
    figure = change_points_figure(X, found, threshold=detector.threshold_low_, annotations=marked)
    said = {text.get_position()[1]: text.get_text() for text in figure.axes[2].texts}
    assert said == {1: "marks no change", 2: "marks no change"}


def test_a_figure_without_changes_says_so_and_has_readable_ticks() -> None:
    from sparsewire.timeseries.change_points.plots import change_points_figure

    X = np.random.default_rng(0).normal(size=(120, 1))
    detector = small()
    found = replace(detector.detect(X), change_points=[], events=[])
    figure = change_points_figure(X, found, threshold=2.0)
    assert "no change points" in figure.axes[0].get_title()
    figure.draw_without_rendering()
    low, high = (axis := figure.axes[-1].yaxis).get_view_interval()
    drawn = [tick for tick in axis.get_majorticklocs() if low <= tick <= high]
    assert 2 <= len(drawn) <= 7
    assert all("10^" not in label.get_text() for label in axis.get_ticklabels(which="both"))
