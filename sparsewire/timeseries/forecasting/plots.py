"""What follows a series, how sure is that, and what really came? A figure.

It returns a ``matplotlib.figure.Figure`` made without pyplot; `sparsewire.reporting.figures.save`
writes it as PNG. matplotlib is optional (``pip install "sparsewire[plot]"``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from sparsewire.core.errors import InvalidArgumentError
from sparsewire.reporting.figures import COLOURS, new_figure, require_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_PANELS = 8
"""Columns that are drawn, the last ones: the target of the benchmarks is the last one."""

_GREY = "#808080"
_FORECAST = COLOURS[1]


def forecast_figure(
    history: pd.DataFrame,
    forecast: pd.DataFrame,
    *,
    interval: tuple[pd.DataFrame, pd.DataFrame] | None = None,
    level: float | None = None,
    truth: pd.DataFrame | None = None,
) -> Figure:
    """Draw the end of a series, its forecast, and what really came if that is known.

    Parameters
    ----------
    history : DataFrame
        The known rows to draw; the index is of times or numbers.
    forecast : DataFrame
        As `SparseForecaster.predict` returns it, with the same columns.
    interval : tuple of DataFrame or None, default None
        Lower and upper bounds, as `SparseForecaster.predict_interval` returns them.
    level : float or None, default None
        Level of the interval, for the legend.
    truth : DataFrame or None, default None
        The rows that were held out, with the index of the forecast.

    Returns
    -------
    matplotlib.figure.Figure
        A panel for each of the last `MAX_PANELS` columns.

    Raises
    ------
    InvalidArgumentError
        If columns differ, or there is none.

    Examples
    --------
    >>> known = pd.DataFrame({"load": [1.0, 2.0, 3.0]})
    >>> figure = forecast_figure(known, pd.DataFrame({"load": [4.0, 5.0]}, index=[3, 4]))
    >>> figure.axes[0].get_ylabel(), figure.axes[0].get_xlabel()
    ('load', 'row')
    """
    require_matplotlib()
    frames = {"history": history, "forecast": forecast, "truth": truth}
    if interval is not None:
        frames |= {"lower": interval[0], "upper": interval[1]}
    drawn = {
        n: _last_columns(n, frame, forecast) for n, frame in frames.items() if frame is not None
    }
    columns = list(drawn["forecast"])
    figure, _ = new_figure(9.0, 0.9 + 1.6 * len(columns), n_panels=1)
    figure.clear()  # its panels would stand side by side
    panels = list(figure.subplots(len(columns), 1, sharex=True, squeeze=False)[:, 0])
    for axes, column in zip(panels, columns, strict=True):
        axes.spines[["top", "right"]].set_visible(False)
        _draw(axes, {name: frame[column] for name, frame in drawn.items()}, level)
        axes.set_ylabel(_shortened(str(column)), parse_math=False)
    _label_times(panels[-1], drawn["history"].index)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    if (left_out := forecast.shape[1] - len(columns)) > 0:
        panels[0].set_title(
            f"the last {len(columns)} columns; {left_out} are not drawn", fontsize=9
        )
    return figure


def _last_columns(name: str, frame: pd.DataFrame, forecast: pd.DataFrame) -> pd.DataFrame:
    if list(frame.columns) != list(forecast.columns) or frame.shape[1] == 0:
        raise InvalidArgumentError(
            f"{name} has the columns {list(frame.columns)}, forecast {list(forecast.columns)}; "
            "they must be the same, and at least one."
        )
    found = frame.iloc[:, -MAX_PANELS:]
    return found.to_timestamp() if isinstance(found.index, pd.PeriodIndex) else found


def _draw(axes: Axes, lines: dict[str, pd.Series[Any]], level: float | None) -> None:
    marker = "." if len(lines["forecast"]) < 3 else None  # one step makes no line
    known = lines["history"]
    axes.plot(known.index, known, color="black", linewidth=1.0, label="known")
    if "truth" in lines:
        held_out = pd.concat([known.iloc[-1:], lines["truth"]])
        axes.plot(
            held_out.index, held_out, color=COLOURS[0], linewidth=1.2, marker=marker, label="truth"
        )
    forecast = lines["forecast"]
    axes.plot(
        forecast.index, forecast, color=_FORECAST, linewidth=1.5, marker=marker, label="forecast"
    )
    if "lower" in lines:
        axes.fill_between(
            forecast.index,
            lines["lower"],
            lines["upper"],
            color=_FORECAST,
            alpha=0.2,
            linewidth=0,
            zorder=1,  # below the lines
            label="interval" if level is None else f"{100 * level:g} % interval",
        )
    axes.margins(x=0.02)
    axes.axvline(known.index[-1], color=_GREY, linestyle=":", linewidth=0.8, zorder=0)


def _label_times(axes: Axes, index: pd.Index[Any]) -> None:
    if not isinstance(index, pd.DatetimeIndex):
        axes.set_xlabel("row" if index.name is None else str(index.name), parse_math=False)
        return
    from matplotlib import dates

    untyped: Any = dates
    locator = untyped.AutoDateLocator(minticks=4, maxticks=9)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(untyped.ConciseDateFormatter(locator))


def _shortened(name: str, longest: int = 18) -> str:
    return name if len(name) <= longest else f"{name[: longest - 1]}…"
