"""Borders, window counts and the standardised scale of the published forecasting results."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsewire import datasets, timeseries
from sparsewire.core.errors import InvalidArgumentError
from sparsewire.timeseries import metrics
from sparsewire.timeseries.protocols import (
    ltsf_borders,
    ltsf_protocol,
    n_windows,
    repeat_last,
    standardise,
)


def test_etth_borders_are_12_4_and_4_months_of_hours() -> None:
    borders = ltsf_borders("ETTh1", look_back=96)
    assert borders == ltsf_borders("etth2", look_back=96)
    assert borders.train == (0, 8640)
    assert borders.validation == (8640 - 96, 11520)
    assert borders.test == (11520 - 96, 14400)


def test_ettm_borders_are_four_times_those_of_etth() -> None:
    borders = ltsf_borders("ETTm2", look_back=96)
    assert borders.train == (0, 34560)
    assert borders.validation == (34560 - 96, 46080)
    assert borders.test == (46080 - 96, 57600)


@pytest.mark.parametrize(
    ("name", "look_back", "horizon", "counts"),
    [
        ("etth1", 96, 96, (8449, 2785, 2785)),
        ("etth2", 96, 96, (8449, 2785, 2785)),
        ("exchange", 96, 96, (5120, 665, 1422)),
        ("exchange_rate", 96, 96, (5120, 665, 1422)),
        (7588, 96, 96, (5120, 665, 1422)),
        ("illness", 36, 24, (617, 74, 170)),
    ],
)
def test_window_counts_are_the_published_ones(
    name: str | int, look_back: int, horizon: int, counts: tuple[int, int, int]
) -> None:
    assert ltsf_borders(name, look_back).window_counts(horizon) == counts


@given(st.integers(1, 5000), st.data())
def test_blocks_follow_each_other_and_overlap_by_the_look_back(
    n_rows: int, data: st.DataObject
) -> None:
    n_train = int(0.7 * n_rows)
    if n_train == 0:
        return
    look_back = data.draw(st.integers(1, n_train))
    borders = ltsf_borders(n_rows, look_back)
    assert borders.train == (0, n_train)
    assert borders.validation[0] == borders.train[1] - look_back
    assert borders.test[0] == borders.validation[1] - look_back
    assert borders.test[1] == n_rows
    assert borders.test[1] - borders.validation[1] == int(0.2 * n_rows)


@given(st.integers(1, 40), st.integers(1, 20), st.integers(1, 20))
def test_windows_are_counted_as_they_are_cut(n_rows: int, look_back: int, horizon: int) -> None:
    starts = [start for start in range(n_rows) if start + look_back + horizon <= n_rows]
    if starts:
        assert n_windows(n_rows, look_back, horizon) == len(starts)
    else:
        with pytest.raises(InvalidArgumentError, match=f"at least {look_back + horizon} rows"):
            n_windows(n_rows, look_back, horizon)


def test_illness_is_weekly_and_has_shorter_horizons() -> None:
    for name in ("illness", "ILI", "national_illness"):
        assert ltsf_protocol(name).look_back == 36
        assert ltsf_protocol(name).horizons == (24, 36, 48, 60)
    for name in ("etth1", "ettm1", "exchange"):
        assert ltsf_protocol(name).look_back == 96
        assert ltsf_protocol(name).horizons == (96, 192, 336, 720)


@pytest.mark.parametrize("name", ["etth1", "etth2", "exchange", "illness"])
def test_every_published_horizon_fits_into_every_block(name: str) -> None:
    protocol = ltsf_protocol(name)
    borders = ltsf_borders(name, protocol.look_back)
    for horizon in protocol.horizons:
        assert min(borders.window_counts(horizon)) > 0


def slowly_repeated(
    values: npt.NDArray[np.float64], size: int, horizon: int
) -> tuple[float, float]:
    truths, forecasts = [], []
    for start in range(len(values) - size - horizon + 1):
        truths.append(values[start + size : start + size + horizon])
        forecasts.append(np.repeat(values[start + size - 1 : start + size], horizon, axis=0))
    return metrics.mse(truths, forecasts), metrics.mae(truths, forecasts)


def test_repeating_the_last_value_is_judged_over_every_window() -> None:
    values = np.random.default_rng(0).normal(size=(40, 3))
    found = repeat_last(values, 7, 5)
    assert (found.mse, found.mae) == pytest.approx(slowly_repeated(values, 7, 5))


@pytest.mark.parametrize(
    ("name", "horizon", "mse", "mae"),
    [("exchange", 96, 0.081, 0.196), ("exchange", 192, 0.167, 0.289)],
)
def test_repeating_the_last_row_has_the_published_errors(
    name: str, horizon: int, mse: float, mae: float, data_dir: Path
) -> None:
    borders = ltsf_borders(name, ltsf_protocol(name).look_back)
    scaled, _ = standardise(datasets.load_series(name).values, borders.train[1])
    total = repeat_last(scaled[slice(*borders.test)], borders.look_back, horizon)
    assert round(total.mse, 3) == mse
    assert round(total.mae, 3) == mae


def matrix(rows: int) -> npt.NDArray[np.float64]:
    return np.random.default_rng(1).normal([3.0, -200.0], [0.5, 40.0], size=(rows, 2))


def test_only_training_rows_decide_the_scale() -> None:
    values = matrix(50)
    scaled, fitted = standardise(values, 30)
    np.testing.assert_allclose(scaled[:30].mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(scaled[:30].std(axis=0, ddof=0), 1, rtol=1e-12)
    np.testing.assert_allclose(fitted.scale, values[:30].std(axis=0, ddof=0), rtol=1e-12)
    later = values.copy()
    later[30:] = 1e6
    np.testing.assert_array_equal(standardise(later, 30)[0][:30], scaled[:30])


def test_the_inverse_leads_back_to_the_units_of_the_source() -> None:
    values = matrix(50)
    scaled, fitted = standardise(values, 30)
    np.testing.assert_allclose(fitted.inverse_transform(scaled), values, rtol=1e-12)
    batches = scaled.reshape(5, 10, 2)
    np.testing.assert_allclose(fitted.inverse_transform(batches), values.reshape(5, 10, 2))


def test_values_missing_after_the_training_rows_stay_missing() -> None:
    values = matrix(10)
    values[7, 1] = math.nan
    scaled, _ = standardise(values, 5)
    assert np.argwhere(np.isnan(scaled)).tolist() == [[7, 1]]


def test_standardise_says_what_is_wrong() -> None:
    values = matrix(10)
    with pytest.raises(InvalidArgumentError, match=r"\(T, n_columns\), got \(10,\)"):
        standardise(values[:, 0], 5)
    with pytest.raises(InvalidArgumentError, match="n_train=11 is more than the 10 rows"):
        standardise(values, 11)
    with pytest.raises(InvalidArgumentError, match="n_train must be an integer >= 1"):
        standardise(values, 0)
    values[2, 1] = math.inf
    with pytest.raises(InvalidArgumentError, match=r"columns \[1\] are not finite"):
        standardise(values, 5)
    values[:5, 1] = 7.0
    with pytest.raises(InvalidArgumentError, match=r"columns \[1\] are constant in the 5"):
        standardise(values, 5)


def test_borders_say_what_is_wrong() -> None:
    with pytest.raises(InvalidArgumentError, match=r"look_back=71 .* training block of 70 rows"):
        ltsf_borders(100, 71)
    with pytest.raises(InvalidArgumentError, match="look_back must be an integer >= 1"):
        ltsf_borders("etth1", 0)
    with pytest.raises(InvalidArgumentError, match="number of rows, must be an integer >= 1"):
        ltsf_borders(0, 1)
    with pytest.raises(InvalidArgumentError, match="no window of look_back=90 and horizon=500"):
        ltsf_borders(1000, 90).window_counts(500)
    with pytest.raises(datasets.UnknownDatasetError, match="Did you mean 'exchange'"):
        ltsf_borders("exchanges", 96)
    with pytest.raises(datasets.DatasetKindError, match="load_panel"):
        ltsf_borders("gunpoint", 96)


def test_package_names_load_when_they_are_used_and_importing_it_loads_no_torch() -> None:
    assert set(timeseries.__all__) >= {"covering", "ltsf_borders", "mse"}
    for name in timeseries.__all__:
        assert getattr(timeseries, name) is not None
    assert dir(timeseries) == sorted(timeseries.__all__)
    with pytest.raises(AttributeError, match="'nothing'"):
        _ = timeseries.nothing
    code = "import sys, sparsewire.timeseries; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
