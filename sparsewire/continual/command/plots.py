"""What do continual learners look like? Accuracy over tasks, accuracy matrices, owners.

Every function returns a ``matplotlib.figure.Figure`` made without pyplot, so no global state or
display is involved. matplotlib is optional and imported at the first figure.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sparsewire.reporting.figures import COLOURS, new_figure, require_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

_LINES = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_CELLS = 400
"""Units drawn by themselves; in wider layers several share a cell of the picture."""


def accuracy_over_tasks(matrices: Mapping[str, tuple[Floats, Floats]]) -> Figure:
    """Draw the mean accuracy on the tasks so far after each task, one line per method.

    Parameters
    ----------
    matrices : mapping of str to (ndarray, ndarray)
        By method: class-incremental and task-incremental accuracies of shape (runs, tasks, tasks),
        row i of a run after task i.

    Returns
    -------
    matplotlib.figure.Figure
        Two panels; bands of one sample standard deviation over runs, where there are several.

    Examples
    --------
    >>> runs = np.array([[[0.9, np.nan], [0.5, 0.9]]])
    >>> axes = accuracy_over_tasks({"naive": (runs, runs)}).axes[0]
    >>> axes.lines[0].get_ydata().tolist()
    [90.0, 70.0]
    """
    figure, panels = new_figure(6.4, 4.6, 2)
    for place, (axes, title) in enumerate(zip(panels, _TITLES, strict=True)):
        styles = zip(cycle(COLOURS), cycle(_LINES), cycle(_MARKERS), strict=False)
        lowest = 100.0
        for (name, both), (colour, line, marker) in zip(matrices.items(), styles, strict=False):
            means = 100 * np.nanmean(both[place], axis=2)
            tasks = np.arange(1, means.shape[1] + 1)
            middle = means.mean(axis=0)
            spread = means.std(axis=0, ddof=1) if len(means) > 1 else np.zeros_like(middle)
            axes.plot(
                tasks, middle, color=colour, linestyle=line, marker=marker, markersize=4, label=name
            )
            low, high = middle - spread, np.minimum(middle + spread, 100)
            axes.fill_between(tasks, low, high, color=colour, alpha=0.15, linewidth=0)
            axes.set_xticks(tasks)
            lowest = min(lowest, float(low.min()))
        axes.set_ylim(max(0, lowest - 0.05 * (100 - lowest) - 0.5), 100.5)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("tasks learnt")
        axes.set_ylabel("mean accuracy on them (%)\nband: standard deviation over seeds")
    lines = panels[0].get_lines()
    figure.legend(handles=lines, loc="outside lower center", ncols=min(len(lines), 4), fontsize=8)
    return figure


_TITLES = ("among all classes so far (class-IL)", "among the classes of the task (task-IL)")


def accuracy_matrices(class_il: Floats, task_il: Floats) -> Figure:
    """Draw the accuracy on each task after each task, averaged over runs.

    Parameters
    ----------
    class_il, task_il : ndarray of shape (runs, tasks, tasks)
        Accuracies, row i after task i.

    Returns
    -------
    matplotlib.figure.Figure
        Two panels with a number in each cell, in percent.

    Examples
    --------
    >>> runs = np.array([[[0.9, np.nan], [0.5, 0.9]]])
    >>> [text.get_text() for text in accuracy_matrices(runs, runs).axes[0].texts]
    ['90.0', '50.0', '90.0']
    """
    tasks = class_il.shape[1]
    figure, panels = new_figure(max(4.2, 1.5 + 0.55 * tasks), max(3.4, 1.2 + 0.45 * tasks), 2)
    for axes, runs, title in zip(panels, (class_il, task_il), _TITLES, strict=True):
        mean = 100 * runs.mean(axis=0)
        picture = axes.imshow(mean, vmin=0, vmax=100, cmap="cividis", aspect="auto")
        for row, column in zip(*np.nonzero(~np.isnan(mean)), strict=True):
            value = mean[row, column]
            colour = "white" if value < 55 else "black"
            axes.text(
                column, row, f"{value:.1f}", ha="center", va="center", color=colour, fontsize=8
            )
        ticks = range(tasks)
        axes.set_xticks(ticks, [str(t + 1) for t in ticks])
        axes.set_yticks(ticks, [str(t + 1) for t in ticks])
        axes.set_xlabel("tested on task")
        axes.set_ylabel("after task")
        axes.set_title(title, fontsize=10)
        figure.colorbar(picture, ax=axes, label="accuracy (%)")
    return figure


def ownership_maps(owners: Mapping[str, npt.NDArray[np.int16]], n_tasks: int) -> Figure:
    """Draw which task owns which connections, layer by layer, and how much of each layer.

    Parameters
    ----------
    owners : mapping of str to ndarray of shape (outputs, inputs)
        By layer, in order: owner of each connection + 1, 0 where free.
    n_tasks : int
        Number of tasks.

    Returns
    -------
    matplotlib.figure.Figure
        A panel for each layer, units of hidden layers sorted by the first task that used them, and
        one with shares. Where a picture's cell holds several connections, colours are mixed.
    """
    require_matplotlib()
    from matplotlib.patches import Patch

    figure, panels = new_figure(6.4, 4.2, len(owners) + 1)
    colours = _task_colours(n_tasks)
    orders = _orders(list(owners.values()))
    for number, (axes, (name, owner)) in enumerate(zip(panels[:-1], owners.items(), strict=True)):
        rows, columns = orders[number + 1], orders[number]
        axes.imshow(
            _mixed(owner[rows][:, columns], colours), aspect="auto", interpolation="nearest",
            extent=(0, owner.shape[1], len(owner), 0),
        )  # fmt: skip
        axes.set_title(f"{name}: {len(owner)} × {owner.shape[1]}", fontsize=10)
        axes.set_xlabel("inputs" if number == 0 else "units, sorted by task")
        axes.set_ylabel("classes" if number == len(owners) - 1 else "units, sorted by task")
    _draw_shares(panels[-1], owners, colours)
    patches = [Patch(color=colour, label=f"task {t + 1}") for t, colour in enumerate(colours)]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(n_tasks, 7), fontsize=8)
    return figure


def _task_colours(n_tasks: int) -> list[Any]:
    """Return one colour per task: the palette's, or where it has too few a scale of hues."""
    if n_tasks <= len(COLOURS):
        return list(COLOURS[:n_tasks])
    from matplotlib import colormaps

    return [colormaps["turbo"](value) for value in np.linspace(0.05, 0.95, n_tasks)]


def _orders(owners: list[npt.NDArray[np.int16]]) -> list[npt.NDArray[np.intp]]:
    """Return the order of inputs, of each hidden layer's units, and of classes.

    Units stand by the first task that has connected them to either side, unused ones last. Layers
    whose columns are no units, such as single weights of kernels, keep their columns.
    """
    orders = [np.arange(owners[0].shape[1])]
    for owner, behind in pairwise(owners):
        sides = [owner, behind.T] if behind.shape[1] == len(owner) else [owner]
        used = np.hstack([np.where(side > 0, side, np.iinfo(np.int16).max) for side in sides])
        orders.append(np.argsort(used.min(axis=1), kind="stable"))
    return [*orders, np.arange(len(owners[-1]))]


def _mixed(owner: npt.NDArray[np.int16], colours: list[Any]) -> Floats:
    """Return an RGB picture: white where free, darkest where most connections have owners."""
    from matplotlib.colors import to_rgb

    shares = np.stack([_coarse(owner == t + 1) for t in range(len(colours))], axis=-1)
    densest = shares.sum(axis=-1).max() or 1.0
    missing = 1 - np.array([to_rgb(colour) for colour in colours])
    picture: Floats = 1 - (shares / densest) @ missing
    return picture.clip(0, 1)


def _coarse(marked: npt.NDArray[np.bool_]) -> Floats:
    """Return the share that is marked in each cell of at most `_CELLS` by `_CELLS` cells."""
    values = marked.astype(np.float64)
    for axis in (0, 1):
        size = -(-values.shape[axis] // _CELLS)
        starts = np.arange(0, values.shape[axis], size)
        counts = np.diff(np.append(starts, values.shape[axis]))
        values = np.add.reduceat(values, starts, axis=axis)
        values /= counts[:, np.newaxis] if axis == 0 else counts
    return values


def _draw_shares(
    axes: Axes, owners: Mapping[str, npt.NDArray[np.int16]], colours: list[Any]
) -> None:
    """Draw bars of what each task owns of each layer."""
    for place, owner in enumerate(owners.values()):
        left = 0.0
        for task, colour in enumerate(colours):
            share = 100 * float((owner == task + 1).mean())
            axes.barh(place, share, left=left, color=colour, height=0.6)
            left += share
        axes.text(left, place, f" {left:.3g} %", va="center", fontsize=8)
    axes.set_yticks(range(len(owners)), list(owners))
    axes.set_ylim(len(owners) - 0.5, -0.5)
    axes.set_xlim(0, 1.2 * axes.get_xlim()[1])
    axes.set_xlabel("connections with an owner (%)")
    axes.set_title("shares of the layers", fontsize=10)
