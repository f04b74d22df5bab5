"""Which time steps decided, and where do the learned kernels look? Two figures.

Both draw what `sparsewire.timeseries.dsn.explain` returns and compute nothing but positions. They
return a ``matplotlib.figure.Figure`` made without pyplot; `sparsewire.reporting.figures.save`
writes it as PNG. matplotlib is optional (``pip install "sparsewire[plot]"``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sparsewire.reporting.figures import COLOURS, new_figure, require_matplotlib
from sparsewire.timeseries.dsn.explain import LearnedKernels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.floating[Any]]
_GREY = "#808080"


def class_activation_figure(series: Floats, contribution: Floats, *, label: str) -> Figure:
    """Draw a series, coloured by what each time step adds to the score of one class.

    Parameters
    ----------
    series : ndarray of shape (length,) or (n_channels, length)
        The series; channels are drawn below one another.
    contribution : ndarray of shape (length,)
        One row of `Activation.contributions`; NaN beyond the end of the series is left out.
    label : str
        Class whose score it is, for the headline.

    Returns
    -------
    matplotlib.figure.Figure
        Red speaks for the class, blue against it; points are coloured on a scale symmetric
        about 0.

    Examples
    --------
    >>> figure = class_activation_figure(np.arange(5.0), np.arange(-2.0, 3.0), label="up")
    >>> figure.axes[0].get_xlabel()
    'time step'
    """
    channels = np.atleast_2d(series)
    inside = ~np.isnan(contribution)
    steps = np.flatnonzero(inside)
    scale = float(np.abs(contribution[inside]).max()) or 1.0
    figure, (axes,) = new_figure(6.8, 1.4 + 1.6 * min(len(channels), 6))
    heights = np.array([np.nanmax(c[inside]) - np.nanmin(c[inside]) for c in channels])
    room = 1.15 * float(heights.max()) or 1.0
    for index, channel in enumerate(channels):
        drawn = channel[inside] - index * room
        axes.plot(steps, drawn, color=_GREY, linewidth=0.8, zorder=1)
        points = axes.scatter(
            steps,
            drawn,
            c=contribution[inside],
            cmap="coolwarm",
            vmin=-scale,
            vmax=scale,
            s=16,
            zorder=2,
        )
    figure.colorbar(points, ax=axes, label="contribution to the logit")
    if len(channels) > 1:
        middles = [float(np.nanmean(c[inside])) - i * room for i, c in enumerate(channels)]
        axes.set_yticks(middles, [f"channel {i}" for i in range(len(channels))])
    else:
        axes.set_ylabel("value")
    axes.set_xlabel("time step")
    axes.set_title(f"what speaks for (red) and against (blue) class {label}", fontsize=10)
    return figure


def receptive_field_figure(kernels: Sequence[LearnedKernels]) -> Figure:
    """Draw the share of active taps by their offset in time, one panel per block.

    Parameters
    ----------
    kernels : sequence of LearnedKernels
        From `DSNClassifier.receptive_field`.

    Returns
    -------
    matplotlib.figure.Figure
        A line per group of kernels; its legend gives the median span, the samples from the first
        to the last active tap, of the kernels that have one.

    Examples
    --------
    >>> one = np.ones(3, dtype=np.float32)
    >>> group = LearnedKernels(0, 0, np.arange(-1, 2), one, one, np.full(4, 3))
    >>> receptive_field_figure([group]).axes[0].get_title()
    'block 1'
    """
    require_matplotlib()
    from matplotlib.ticker import MaxNLocator

    blocks = sorted({group.block for group in kernels})
    figure, panels = new_figure(5.2, 2.9, n_panels=len(blocks))
    top = 1.1 * max(float(group.active.max()) for group in kernels)
    for block, axes in zip(blocks, panels, strict=True):
        for group in (g for g in kernels if g.block == block):
            spans = group.spans[group.spans > 0]
            median = int(np.median(spans)) if len(spans) else 0
            axes.step(
                group.offsets,
                group.active,
                where="mid",
                color=COLOURS[group.group % len(COLOURS)],
                label=f"{len(group.offsets)} taps, median span {median}",
            )
        axes.axvline(0, color=_GREY, linestyle=":", linewidth=0.8, zorder=0)
        axes.set_ylim(0, top)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(f"block {block + 1}", fontsize=10)
        axes.set_xlabel("offset of the tap (time steps)")
        axes.set_ylabel("share of kernels")
        axes.legend(frameon=False, fontsize=8)
    return figure
