"""Does the figure show every channel, change and annotator?"""

from pathlib import Path

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
