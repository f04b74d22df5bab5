"""How sparse does a forecaster become if it may decide? DLinear on two days of an hourly load.

The load of half a year is made up: cycles of day and week, a wandering level, noise. It is forecast
by DLinear with PALS, which decides by the validation loss how sparse it can be, and without;
beside them stands the load of the same hours two days before. Run
``python examples/forecast_series.py``; it takes some seconds and downloads nothing.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from sparsewire.reporting.terminal import print_table
from sparsewire.timeseries import SparseForecaster, mae, mse

HORIZON, LOOK_BACK = 48, 168
HEADER = ("forecast", "MSE", "MAE", "sparsity", "weights and biases", "seconds")


def load(days: int, seed: int) -> pd.DataFrame:
    """Return two columns of hourly values in megawatts."""
    rng, hours = np.random.default_rng(seed), np.arange(24 * days)
    times = pd.date_range("2025-01-01", periods=len(hours), freq="h")
    day, week = 2 * np.pi * hours / 24, 2 * np.pi * hours / 168
    level = np.cumsum(0.05 * rng.normal(size=len(hours)))
    town = 50 + 10 * np.sin(day - 2) + 4 * np.sin(2 * day) + 3 * np.sin(week) + level
    works = 30 + 5 * np.where(times.day_of_week < 5, np.sin(day - 2), -1) + 0.5 * level
    values = np.column_stack([town, works]) + rng.normal(size=(len(hours), 2))
    return pd.DataFrame(values, index=times, columns=["town", "works"])


def main() -> None:
    """Compare, then forecast the two days after the last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=180, help="days of the series, at least 60")
    parser.add_argument("--epochs", type=int, default=10, help="epochs at most")
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder to write into")
    options = parser.parse_args()
    torch.set_num_threads(1)  # more would only wait for one another
    series = load(options.days, seed=0)
    known, test = series[: -24 * 20], series[-24 * 20 - LOOK_BACK :]  # the last 20 days
    rows = []
    for sparsity in (None, "pals"):
        forecaster = SparseForecaster(
            "dlinear", input_size=LOOK_BACK, horizon=HORIZON, sparsity=sparsity,
            max_epochs=options.epochs, random_state=0,
        ).fit(known)  # fmt: skip
        errors = forecaster.evaluate(test)
        rows.append((
            "DLinear, dense" if sparsity is None else "DLinear, PALS",
            f"{errors.mse:.3f}",
            f"{errors.mae:.3f}",
            f"{100 * forecaster.sparsity_:.0f} %",
            str(forecaster.n_parameters_),
            f"{sum(forecaster.history_['seconds']):.1f}",
        ))  # fmt: skip
    scaled = forecaster.standardisation_.transform(test.to_numpy())
    truth, before = scaled[LOOK_BACK:], scaled[LOOK_BACK - HORIZON : -HORIZON]
    rows.append(
        ("two days before", f"{mse(truth, before):.3f}", f"{mae(truth, before):.3f}", *3 * "-")
    )
    print_table("errors on the standardised scale, last 20 days", HEADER, rows)
    if forecaster.decisions_ is not None:  # of the last one, with PALS
        counts = Counter(forecaster.decisions_["state"])
        print("PALS:", ", ".join(f"{n} x {state}" for state, n in counts.items()))
    lower, upper = forecaster.predict_interval(series, level=0.9)
    frame = pd.concat(
        {"forecast": forecaster.predict(series), "lower": lower, "upper": upper}, axis=1
    )
    options.output.mkdir(parents=True, exist_ok=True)
    frame.to_csv(options.output / "forecast_series.csv")
    print(f"wrote {options.output / 'forecast_series.csv'}, {frame.index[0]} to {frame.index[-1]}")


if __name__ == "__main__":
    main()
