"""Where does a series change, and how sure was the detector? A figure.

It returns a ``matplotlib.figure.Figure`` made without pyplot; `sparsewire.reporting.figures.save`
writes it as PNG. matplotlib is optional (``pip install "sparsewire[plot]"``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from sparsewire.reporting.figures import COLOURS, new_figure, require_matplotlib
from sparsewire.timeseries.change_points.network import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sparsewire.timeseries.change_points.detector import Detection

_GREY = "#808080"
_FOUND, _MARKED = COLOURS[1], COLOURS[0]


def change_points_figure(
    values: Floats,
    detection: Detection,
    *,
    threshold: float,
    annotations: Mapping[str, Iterable[int]] | None = None,
    columns: Iterable[str] | None = None,
) -> Figure:
    """Draw a series, the changes found in it, and how unusual each sample was.

    Parameters
    ----------
    values : ndarray of shape (T, n_channels)
        The series.
    detection : Detection
        From `ALACPD.detect`.
    threshold : float
        Multiple of the usual loss that counts as anomalous, ``threshold_low_`` of the detector.
    annotations : mapping of str to iterable of int or None, default None
        What people marked, drawn as a row of ticks for each of them.
    columns : iterable of str or None, default None
        Names of the channels.

    Returns
    -------
    matplotlib.figure.Figure
        One panel for each channel, and one for the scores.

    Examples
    --------
    >>> from sparsewire.timeseries.change_points import ALACPD
    >>> X = np.repeat([0.0, 5.0], 60)[:, np.newaxis] + np.sin(np.arange(120.0))[:, np.newaxis]
    >>> detector = ALACPD(random_state=0)
    >>> found = detector.detect(X)
    >>> figure = change_points_figure(X, found, threshold=detector.threshold_low_)
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['channel 0', 'loss / usual loss']
    """
    require_matplotlib()
    n_channels = values.shape[1]
    names = list(columns or (f"channel {k}" for k in range(n_channels)))
    rows = n_channels + 1 + (annotations is not None)
    figure, _ = new_figure(9.0, 1.0 + 1.3 * rows, n_panels=1)
    figure.clear()  # its panels would stand side by side
    panels: list[Axes] = list(figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0])
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    time = np.arange(len(values))
    for k in range(n_channels):
        panels[k].plot(time, values[:, k], color="black", linewidth=0.8)
        panels[k].set_ylabel(_shortened(names[k]), parse_math=False)
    if annotations is not None:
        _draw_annotations(panels[n_channels], annotations)
    _draw_scores(panels[-1], detection, threshold)
    for axes in panels:
        axes.axvspan(0, detection.n_init, color=_GREY, alpha=0.15, linewidth=0)
        for place in detection.change_points:
            axes.axvline(place, color=_FOUND, linewidth=1.2, zorder=0)
    panels[-1].set_xlabel("sample")
    panels[-1].set_xlim(0, len(values) - 1)
    panels[0].set_title(_title(len(detection.change_points)), fontsize=10)
    return figure


def _title(n_found: int) -> str:
    found = f"{n_found} change points found (orange)" if n_found else "no change points found"
    return f"{found}; grey: warm-up; dashed: threshold"


def _shortened(name: str, longest: int = 18) -> str:
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def _draw_annotations(axes: Axes, annotations: Mapping[str, Iterable[int]]) -> None:
    marked = [list(points) for points in annotations.values()]
    for row, points in enumerate(marked):
        axes.axhline(row, color=_GREY, linewidth=0.4, zorder=0)
        if not points:  # else the row would look as if something were missing
            axes.text(
                0.01,
                row,
                "marks no change",
                transform=axes.get_yaxis_transform(),
                va="center",
                fontsize=7,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
            )
    axes.eventplot(
        marked,
        colors=_MARKED,
        lineoffsets=list(range(len(annotations))),
        linelengths=0.7,
        linewidths=2.0,
    )
    axes.set_yticks(range(len(annotations)), list(annotations), fontsize=7)
    axes.set_ylim(-0.6, len(annotations) - 0.4)
    axes.set_ylabel("annotator")


def _draw_scores(axes: Axes, detection: Detection, threshold: float) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.plot(detection.scores, color="black", linewidth=0.8)
    axes.axhline(threshold, color=_GREY, linestyle="--", linewidth=0.8)
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    # Over less than two decades powers of ten alone would be too few ticks.
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("loss / usual loss")
