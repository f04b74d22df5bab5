"""What do the results look like? Learning curves, focus, areas and sizes.

Every function returns a ``matplotlib.figure.Figure`` made without pyplot, so no global state or
display is involved. matplotlib is optional and imported at the first figure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsewire.reporting.figures import COLOURS, new_figure, require_matplotlib
from sparsewire.rl.command import statistics
from sparsewire.rl.command.curves import Curve, Table
from sparsewire.rl.command.focus import Record
from sparsewire.rl.sparsity_report import SparsityReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINES = ("-", "--", "-.", ":")
_WIDTH, _HEIGHT = 6.4, 3.8


def learning_curves(
    table: Table, kind: statistics.Aggregate = "mean", *, confidence: float = 0.95
) -> Figure:
    """Draw the evaluations of each algorithm over time, with bootstrap intervals over its runs.

    Parameters
    ----------
    table : dict of str to dict of str to Curve
        Curves by environment and algorithm; one panel per environment.
    kind : {"iqm", "mean", "median"}, default="mean"
        How runs are aggregated.
    confidence : float, default=0.95
        Level of the intervals, drawn as bands where there are at least two runs.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; write it with `save`.
    """
    figure, panels = _figure(len(table))
    for axes, (env, curves) in zip(panels, table.items(), strict=True):
        for (name, curve), (colour, line) in zip(curves.items(), _styles(), strict=False):
            middle, low, high = statistics.aggregate_curve(
                curve.returns, kind, confidence=confidence
            )
            label = f"{name}, {_runs(curve)}"
            marker = "o" if len(curve.steps) == 1 else None
            axes.plot(curve.steps, middle, color=colour, linestyle=line, marker=marker, label=label)
            axes.fill_between(curve.steps, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.set_title(env, fontsize=10)
        axes.set_xlabel("environment steps")
        axes.set_ylabel(f"return ({_LABELS[kind]}, {100 * confidence:g} % interval)")
        axes.legend(frameon=False, fontsize=8)
    return figure


_LABELS = {"iqm": "IQM", "mean": "mean", "median": "median"}


def learning_areas(
    table: Table, kind: statistics.Aggregate = "mean", *, confidence: float = 0.95
) -> Figure:
    """Draw the mean return over all evaluations of a run, which ranks like the area (LCA).

    Parameters
    ----------
    table, kind, confidence
        As in `learning_curves`.

    Returns
    -------
    matplotlib.figure.Figure
        The figure: every run as a dot, the aggregate and its interval beside.
    """
    figure, panels = _figure(len(table))
    for axes, (env, curves) in zip(panels, table.items(), strict=True):
        for place, (curve, (colour, _)) in enumerate(zip(curves.values(), _styles(), strict=False)):
            scores = curve.returns.mean(axis=1)
            found = statistics.aggregate([scores], kind, confidence=confidence)
            axes.plot(scores, np.full(len(scores), place), "o", color=colour, alpha=0.35)
            axes.plot([found.low, found.high], [place + 0.18] * 2, color=colour, linewidth=2)
            axes.plot(found.estimate, place + 0.18, "D", color=colour)
        axes.set_yticks(range(len(curves)), [f"{name}, {_runs(c)}" for name, c in curves.items()])
        axes.set_ylim(len(curves) - 0.5, -0.5)
        axes.set_title(env, fontsize=10)
        axes.set_xlabel(
            "mean return over all evaluations = LCA × 1e6 / evaluations\n"
            f"dots: runs; diamond: {_LABELS[kind]}, {100 * confidence:g} % interval"
        )
    return figure


def focus_curves(records: Mapping[str, Mapping[str, Sequence[Record]]]) -> Figure:
    """Draw the mean connections of a real and of a noise input over time.

    Parameters
    ----------
    records : mapping of str to mapping of str to sequence of Record
        Records of all runs by environment and algorithm; one panel for each algorithm in each
        environment. Networks are told apart by colour, averaged over runs.

    Returns
    -------
    matplotlib.figure.Figure
        Solid lines for real inputs, dashed ones for noise.
    """
    require_matplotlib()
    from matplotlib.lines import Line2D

    cells = [(e, algo, found) for e, algos in records.items() for algo, found in algos.items()]
    figure, panels = _figure(len(cells))
    for axes, (env, algo, found) in zip(panels, cells, strict=True):
        steps = sorted(set.intersection(*(set(record.steps) for record in found)))
        legend = []
        for (network, means), (colour, _) in zip(
            _mean_pairs(found, steps), _styles(), strict=False
        ):
            legend += axes.plot(steps, means[:, 0], color=colour, label=network)
            axes.plot(steps, means[:, 1], color=colour, linestyle="--")
        legend.append(Line2D([], [], color="black", label="real inputs"))
        legend.append(Line2D([], [], color="black", linestyle="--", label="noise inputs"))
        axes.set_title(f"{algo} in {env}", fontsize=10)
        axes.set_xlabel("environment steps")
        axes.set_ylabel("mean connections of an input")
        axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
        axes.legend(handles=legend, frameon=False, fontsize=8)
    return figure


def _mean_pairs(records: Sequence[Record], steps: Sequence[int]) -> list[tuple[str, Any]]:
    """Average records over runs: an array of shape (n_steps, 2) by network."""
    return [
        (network, np.mean([record.at(network, steps) for record in records], axis=0))
        for network in records[0].networks
    ]


def size_bars(sizes: Mapping[str, Mapping[str, SparsityReport]]) -> Figure:
    """Draw the parameters of agents beside those of a dense agent of the same shape.

    Parameters
    ----------
    sizes : mapping of str to mapping of str to SparsityReport
        Sizes by environment and algorithm; one panel per environment.

    Returns
    -------
    matplotlib.figure.Figure
        Grey bars for dense, blue ones for what there is, labelled with the shares of parameters
        and of FLOPs.
    """
    figure, panels = _figure(len(sizes), height=1.8 + 0.45 * max(map(len, sizes.values())))
    for axes, (env, found) in zip(panels, sizes.items(), strict=True):
        places = np.arange(len(found))
        dense = [size.dense_parameters for size in found.values()]
        axes.barh(places, dense, height=0.7, color="#D8D8D8")
        sparse = [size.parameters for size in found.values()]
        axes.barh(places, sparse, height=0.4, color=COLOURS[0])
        for place, size in zip(places, found.values(), strict=True):
            share = f"{size.parameters / size.dense_parameters:.1%}; FLOPs {size.density:.1%}"
            axes.text(1.02 * max(dense), float(place), share, va="center", fontsize=8)
        axes.set_yticks(places, list(found))
        axes.invert_yaxis()
        axes.set_xlim(0, 1.45 * max(dense))
        axes.set_title(env, fontsize=10)
        axes.set_xlabel("parameters; grey: dense, blue: connections and biases")
    return figure


def _styles() -> Iterator[tuple[str, Any]]:
    """Pair colours with line styles, so that curves differ in black and white as well."""
    return zip(cycle(COLOURS), cycle(_LINES), strict=False)


def _runs(curve: Curve) -> str:
    return f"{len(curve.runs)} run{'s' if len(curve.runs) > 1 else ''}"


def _figure(n_panels: int, height: float = _HEIGHT) -> tuple[Figure, list[Axes]]:
    figure, panels = new_figure(_WIDTH, height, n_panels)
    for axes in panels:
        axes.xaxis.set_major_formatter(_thousands)
    return figure, panels


def _thousands(value: float, _: float) -> str:
    return f"{value:,.6g}"
