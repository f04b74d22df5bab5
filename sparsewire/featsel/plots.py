"""What did the selector choose, and how good is it? Four figures.

Importance bars, an importance heat map for images, accuracy bars with their spread, and training
curves. Every function returns a ``matplotlib.figure.Figure`` made without pyplot, so no global
state or display is involved; `sparsewire.reporting.figures.save` writes it as PNG. Nothing is
computed here but positions.

matplotlib is optional (``pip install "sparsewire[plot]"``) and imported at the first figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sparsewire.reporting.figures import COLOURS, new_figure, require_matplotlib

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sparsewire.featsel.path import FeaturePath

_BLUE, _ORANGE, _GREY = COLOURS[0], COLOURS[1], "#B0B0B0"
_LINES = list(COLOURS[:3])
_NAME_LENGTH = 40  # characters; a longer name would leave no room for its bar


def importance_bars(
    importances: npt.NDArray[np.floating[Any]],
    selected: npt.NDArray[np.bool_],
    names: Sequence[str],
    *,
    n_top: int = 30,
) -> Figure:
    """Draw the largest importances as horizontal bars, the most important on top.

    Parameters
    ----------
    importances : ndarray of shape (n_features,)
        Non-negative scores without a unit; only their order and ratios matter.
    selected : ndarray of bool of shape (n_features,)
        Selected features are drawn in another colour than the others.
    names : sequence of str of length n_features
        Labels of the bars, cut after 40 characters.
    n_top : int, default=30
        How many bars at most; 30 is what stays readable on one page.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; write it with `save`.

    Examples
    --------
    >>> scores, chosen = np.array([0.5, 2.0, 1.0]), np.array([False, True, True])
    >>> figure = importance_bars(scores, chosen, ["a", "b", "c"])
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['b', 'c', 'a']
    """
    order = np.argsort(-importances, kind="stable")[:n_top]
    figure, (axes,) = new_figure(6.4, 1.2 + 0.2 * len(order))
    colours = np.where(selected[order], _BLUE, _GREY)
    axes.barh(np.arange(len(order)), importances[order], color=colours.tolist())
    labels = [_shortened(names[index]) for index in order]
    axes.set_yticks(np.arange(len(order)), labels, fontsize=8, parse_math=False)  # "$" is a "$"
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.set_xlabel("importance (arbitrary unit)")
    axes.set_ylabel("feature")
    axes.set_title(
        f"{len(order)} largest of {len(importances)} importances; blue: selected", fontsize=10
    )
    return figure


def _shortened(name: str) -> str:
    return name if len(name) <= _NAME_LENGTH else f"{name[: _NAME_LENGTH - 1]}…"


def importance_heatmap(
    importances: npt.NDArray[np.floating[Any]],
    selected: npt.NDArray[np.bool_],
    image_shape: tuple[int, int],
) -> Figure:
    """Draw importances on the pixel grid of an image and frame the selected pixels.

    Parameters
    ----------
    importances : ndarray of shape (height * width,)
        Non-negative scores, row by row.
    selected : ndarray of bool of shape (height * width,)
        Pixels to frame.
    image_shape : tuple of int
        (height, width) in pixels.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; write it with `save`.

    Examples
    --------
    >>> figure = importance_heatmap(np.arange(6.0), np.arange(6) > 3, (2, 3))
    >>> len(figure.axes[0].patches)
    2
    """
    require_matplotlib()
    from matplotlib.patches import Rectangle
    from matplotlib.ticker import MaxNLocator

    height, width = image_shape
    figure, (axes,) = new_figure(5.6, 0.8 + 4.4 * min(height / width, 2.0))
    line = min(1.6, 50 / max(image_shape))  # thinner than a pixel, however many there are
    image = axes.imshow(importances.reshape(image_shape), cmap="cividis", vmin=0.0)
    for pixel in np.flatnonzero(selected):
        row, column = divmod(int(pixel), width)
        corner = (column - 0.44, row - 0.44)
        axes.add_patch(Rectangle(corner, 0.88, 0.88, fill=False, edgecolor=_ORANGE, linewidth=line))
    figure.colorbar(image, ax=axes, label="importance (arbitrary unit)", shrink=0.8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("column (pixel)")
    axes.set_ylabel("row (pixel)")
    axes.set_title(f"framed: the {int(selected.sum())} selected pixels", fontsize=10)
    return figure


def accuracy_bars(scores: Mapping[str, Sequence[float]], *, title: str) -> Figure:
    """Draw the mean accuracy of several methods, with the standard deviation as whiskers.

    Parameters
    ----------
    scores : mapping of str to sequence of float
        Accuracies in [0, 1] by method, one per repetition.
    title : str
        Headline of the figure; should name data, judge and number of repetitions.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; write it with `save`. The axis starts at 0, so lengths can be compared.

    Examples
    --------
    >>> figure = accuracy_bars({"all": [0.9, 1.0], "random": [0.5, 0.7]}, title="demo")
    >>> [float(round(bar.get_width(), 1)) for bar in figure.axes[0].patches]
    [95.0, 60.0]
    """
    figure, (axes,) = new_figure(6.4, 1.4 + 0.42 * len(scores))
    places = np.arange(len(scores))
    means = np.array([100 * np.mean(values) for values in scores.values()])
    spreads = np.array([100 * np.std(values) for values in scores.values()])
    axes.barh(places, means, xerr=spreads, height=0.6, color=_BLUE, ecolor="black", capsize=3)
    for place, mean, spread in zip(places, means, spreads, strict=True):
        axes.text(mean + spread + 1.5, float(place), f"{mean:.1f}", va="center", fontsize=9)
    axes.set_yticks(places, list(scores))
    axes.invert_yaxis()
    axes.set_xlim(0, 112)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("test accuracy (%), mean and standard deviation")
    axes.set_title(title, fontsize=10)
    return figure


def training_curves(losses: Mapping[str, Sequence[float]]) -> Figure:
    """Draw the training loss of each epoch, relative to the first epoch.

    Parameters
    ----------
    losses : mapping of str to sequence of float
        Positive losses per epoch by run. Data sets differ in scale, hence the division by the
        first epoch's loss.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; write it with `save`.

    Examples
    --------
    >>> figure = training_curves({"digits": [4.0, 2.0, 1.0]})
    >>> figure.axes[0].lines[0].get_ydata().tolist()
    [1.0, 0.5, 0.25]
    """
    require_matplotlib()
    from matplotlib.ticker import MaxNLocator

    figure, (axes,) = new_figure(6.4, 3.6)
    axes.set_prop_cycle(color=_LINES, linestyle=["-", "--", ":"])
    for name, values in losses.items():
        relative = np.asarray(values, dtype=float) / values[0]
        axes.plot(np.arange(1, len(relative) + 1), relative, label=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("epoch")
    axes.set_ylabel("training loss / loss of epoch 1")
    axes.legend(frameon=False)
    return figure


def path_curve(path: FeaturePath) -> Figure:
    """Draw the cross-validated score over the number of selected features.

    Parameters
    ----------
    path : FeaturePath
        What `feature_path` returned.

    Returns
    -------
    matplotlib.figure.Figure
        The mean over the folds as a line, the standard deviation as a band and the chosen count as
        a point; write it with `save`.

    Examples
    --------
    >>> from sparsewire.featsel.path import FeaturePath
    >>> path = FeaturePath(np.array([1, 10]), np.array([[0.5, 0.7], [0.8, 0.9]]))
    >>> path_curve(path).axes[0].get_xlabel()
    'number of selected features'
    """
    figure, (axes,) = new_figure(6.4, 3.8)
    mean, std, chosen = path.mean, path.std, path.best_count
    axes.fill_between(path.counts, mean - std, mean + std, color=_BLUE, alpha=0.2, linewidth=0)
    axes.plot(path.counts, mean, color=_BLUE, marker=".")
    score = float(mean[path.counts == chosen][0])
    axes.axvline(chosen, color=_GREY, linestyle="--", linewidth=1, zorder=0)
    axes.plot([chosen], [score], color=_ORANGE, marker="o", markersize=8)
    axes.set_xscale("log")
    ticks = _apart(path.counts)
    axes.set_xticks(ticks, [str(count) for count in ticks], fontsize=8)
    axes.set_xticks([], minor=True)
    axes.set_xlabel("number of selected features")
    axes.set_ylabel("cross-validated score, mean and deviation")
    axes.set_title(
        f"{chosen}: the fewest features within one standard error of the best", fontsize=10
    )
    return figure


def _apart(counts: npt.NDArray[np.int64]) -> list[int]:
    """Return those of the increasing counts whose labels do not touch on a logarithmic axis."""
    least = (counts[-1] / counts[0]) ** 0.05
    kept = [int(counts[0])]
    for count in counts[1:]:
        if count >= least * kept[-1]:
            kept.append(int(count))
    return kept
