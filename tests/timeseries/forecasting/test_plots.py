"""Does the figure show what was known, what was forecast, and what came?"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sparsewire.core import InvalidArgumentError
from sparsewire.reporting.figures import save

pytest.importorskip("matplotlib")


def frame(first: int, n_rows: int, columns: int = 2, index: Any = None) -> pd.DataFrame:
    steps = np.arange(first, first + n_rows)
    values = np.stack([np.sin(steps / 3 + k) for k in range(columns)], axis=1)
    days = pd.date_range("2024-01-01", periods=first + n_rows)[first:]
    names = [f"column {k}" for k in range(columns)]
    return pd.DataFrame(values, index=days if index is None else index, columns=names)


def test_every_column_has_its_lines_and_its_interval(tmp_path: Path) -> None:
    from sparsewire.timeseries.forecasting.plots import forecast_figure

    known, forecast, truth = frame(0, 40), frame(40, 12) + 0.1, frame(40, 12)
    figure = forecast_figure(
        known, forecast, interval=(forecast - 1, forecast + 1), level=0.8, truth=truth
    )
    assert [axes.get_ylabel() for axes in figure.axes] == ["column 0", "column 1"]
    for axes, name in zip(figure.axes, known, strict=True):
        drawn = {str(line.get_label()): line for line in axes.lines}
        np.testing.assert_array_equal(drawn["known"].get_ydata(), known[name])
        np.testing.assert_array_equal(drawn["forecast"].get_ydata(), forecast[name])
        # From the last known row on, so that no gap is left.
        np.testing.assert_array_equal(drawn["truth"].get_ydata()[1:], truth[name])  # type: ignore[index]
        assert len(axes.collections) == 1
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "known", "truth", "forecast", "80 % interval",
    ]  # fmt: skip
    save(figure, tmp_path / "forecast.png")
    assert (tmp_path / "forecast.png").stat().st_size > 10_000


def test_one_step_is_a_point_and_rows_may_have_numbers() -> None:
    from sparsewire.timeseries.forecasting.plots import forecast_figure

    known = frame(0, 10, index=pd.RangeIndex(10, name="year"))
    figure = forecast_figure(known, frame(10, 1, index=[10]))
    assert figure.axes[-1].get_xlabel() == "year"
    assert [
        line.get_marker() for line in figure.axes[0].lines if line.get_label() == "forecast"
    ] == ["."]


def test_of_many_columns_the_last_are_drawn_and_the_rest_is_counted() -> None:
    from sparsewire.timeseries.forecasting.plots import MAX_PANELS, forecast_figure

    figure = forecast_figure(frame(0, 9, columns=11), frame(9, 3, columns=11))
    assert len(figure.axes) == MAX_PANELS
    assert figure.axes[-1].get_ylabel() == "column 10"
    assert f"{11 - MAX_PANELS} are not drawn" in figure.axes[0].get_title()


def test_periods_are_drawn_and_long_names_are_cut() -> None:
    from sparsewire.timeseries.forecasting.plots import forecast_figure

    months = pd.period_range("2024-01", periods=12, freq="M")
    known, forecast = frame(0, 9, index=months[:9]), frame(9, 3, index=months[9:])
    long = {"column 0": "price in $ and more of $\\frac{"}
    figure = forecast_figure(known.rename(columns=long), forecast.rename(columns=long))
    figure.draw_without_rendering()
    assert figure.axes[0].get_ylabel() == "price in $ and mo…"


def test_columns_that_differ_are_refused() -> None:
    from sparsewire.timeseries.forecasting.plots import forecast_figure

    with pytest.raises(InvalidArgumentError, match="history has the columns"):
        forecast_figure(frame(0, 9, columns=1), frame(9, 3))
