"""How does ``sparsewire ts forecast`` run? Check everything, train, forecast, compare, write.

Nothing is trained before options, output and data are checked, and nothing but ``run.pt`` is
written before all is done. Errors are on the standardised scale, each beside that of repeating the
last value over the same windows.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import typer

from sparsewire.core._validation import suggest
from sparsewire.core.errors import InvalidArgumentError, UnknownMethodError
from sparsewire.datasets.timeseries import load_series
from sparsewire.reporting.outputs import output_folder
from sparsewire.timeseries.command.arguments import make_estimator, refusals
from sparsewire.timeseries.command.output import (
    Common,
    Writer,
    check_output,
    csv_writer,
    describe_files,
    describe_run,
    history_writer,
    json_writer,
    resumable,
    write_files,
)
from sparsewire.timeseries.command.tables import Series, plain_time, read_csv
from sparsewire.timeseries.forecasting import SparseForecaster
from sparsewire.timeseries.forecasting.containers import to_history
from sparsewire.timeseries.forecasting.intervals import half_widths
from sparsewire.timeseries.forecasting.parameters import MODELS
from sparsewire.timeseries.forecasting.preparation import training_rows
from sparsewire.timeseries.protocols import ltsf_borders, ltsf_protocol, n_windows, repeat_last

_OPTIONS = {
    "model": "--model",
    "sparsity": "--sparsity",
    "horizon": "--horizon",
    "input_size": "--input-size",
    "random_state": "--seed",
    "verbose": "--quiet",
    "checkpoint": "--resume",
}


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options of one call.

    Attributes
    ----------
    common : Common
        Those that all commands have.
    data : str
        ``.csv`` file, or name of a series.
    horizon : int
        Steps to forecast.
    input_size : int or None
        Known steps; None for those of the protocol, or the estimator's own.
    time : str or None
        Column of times; see `read_csv`.
    columns : list of str or None
        Columns of the series; None for all.
    model, sparsity : str
        Network, and how it becomes sparse.
    level : float
        Of the intervals.
    test_size : int, float or None
        Number or share of the last rows, which are held out.
    protocol : str or None
        ``"ltsf"`` for a benchmark's own borders.
    resume : bool
        Whether to keep the run, and to continue one.
    """

    common: Common
    data: str
    horizon: int
    input_size: int | None = None
    time: str | None = None
    columns: list[str] | None = None
    model: str = "dlinear"
    sparsity: str = "pals"
    level: float = 0.9
    test_size: int | float | None = None
    protocol: str | None = None
    resume: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise InvalidArgumentError(f"--level must be in (0, 1), got {self.level:g}.")
        if self.model not in MODELS:
            raise UnknownMethodError(
                f"--model {self.model} is unknown; available: {', '.join(MODELS)}."
                f"{suggest(self.model, MODELS)}"
            )
        if self.protocol is not None:
            self._check_protocol()

    def _check_protocol(self) -> None:
        if self.protocol != "ltsf":
            raise InvalidArgumentError(f"--protocol {self.protocol} is unknown; there is ltsf.")
        if self.test_size is not None:
            raise InvalidArgumentError("--protocol ltsf holds out rows of its own; leave out "
                                       "--test-size.")  # fmt: skip
        if "validation_size" in self.common.parameters:
            raise InvalidArgumentError("--protocol ltsf has validation rows of its own; leave out "
                                       "--param validation_size.")  # fmt: skip
        if Path(self.data).suffix:
            raise InvalidArgumentError(
                f"--protocol ltsf knows the borders of named series such as etth1, not of the file "
                f"{self.data}; use --test-size."
            )

    @property
    def files(self) -> list[str]:
        """Names of the files to write."""
        decisions = ["decisions.csv"] if self.sparsity == "pals" else []
        pictures = ["forecast.png"] if self.common.plots else []
        return ["model.zip", "forecast.csv", "history.csv", *decisions, *pictures, "metrics.json"]


@dataclass(frozen=True, eq=False)
class _Split:
    """Rows to train on, the first of them for validation, and the row after the held-out ones."""

    n_fit: int
    first_validation: int
    n_used: int


def run(request: Request) -> None:
    """Do what was asked for.

    Parameters
    ----------
    request : Request
        What was asked for.

    Raises
    ------
    SparsewireError
        If an option, the data or the output is unusable, or training diverges.
    OSError
        If a file cannot be read or written.
    ImportError
        If a picture was asked for and matplotlib is missing.
    """
    common = request.common
    forecaster = make_estimator(
        SparseForecaster,
        common.parameters,
        _OPTIONS,
        model=request.model,
        sparsity=None if request.sparsity == "none" else request.sparsity,
        horizon=request.horizon,
        input_size=_input_size(request),
        random_state=common.seed,
        verbose=0 if common.quiet else 1,
    )
    path = Path(request.data)
    check_output(common, request.files, [path] if path.is_file() else [])
    series, files = _read(request)
    with refusals(request.data):
        split = _split(request, forecaster, len(series.frame))
        _check_level(request, split, int(forecaster.input_size))
        to_history(series.frame, missing=forecaster.missing)  # refuses
    with output_folder(common.folder), resumable(common, keep=request.resume) as checkpoint:
        start = time.perf_counter()
        forecaster.set_params(checkpoint=checkpoint)
        with refusals(request.data):
            forecaster.fit(series.frame.iloc[: split.n_fit])
        forecaster.set_params(checkpoint=None)  # the model must not ask for the run's file
        seconds = time.perf_counter() - start
        _finish(request, forecaster, series, split, {"seconds": round(seconds, 3), "files": files})


def _input_size(request: Request) -> int:
    if request.input_size is not None:
        return request.input_size
    with refusals():
        return ltsf_protocol(request.data).look_back if request.protocol else (
            SparseForecaster().input_size
        )  # fmt: skip


def _read(request: Request) -> tuple[Series, list[Path]]:
    path = Path(request.data)
    if path.is_file() or path.suffix:
        return read_csv(path, time=request.time, columns=request.columns), [path]
    if request.time is not None:
        raise InvalidArgumentError(f"--time names a column of a file; {path} is none.")
    with refusals():
        data = load_series(request.data)
    index = pd.DatetimeIndex(data.times)
    frame = pd.DataFrame(data.values, index=index, columns=list(data.columns))
    for name in request.columns or []:
        if name not in frame:
            raise InvalidArgumentError(
                f"{path} has no column {name!r}; it has {', '.join(data.columns)}."
            )
    paths = [] if data.info is None else list(data.info.paths)
    return Series(frame[request.columns or list(data.columns)], "date"), paths


def _split(request: Request, forecaster: Any, n_rows: int) -> _Split:
    horizon, size = request.horizon, int(forecaster.input_size)
    if request.protocol is not None:
        borders = ltsf_borders(request.data, size)
        n_fit, n_used = borders.validation[1], borders.test[1]
        forecaster.set_params(validation_size=n_fit - borders.train[1])
    else:
        held_out = request.test_size or 0
        n_test = held_out if isinstance(held_out, int) else int(n_rows * held_out)
        if request.test_size is not None and n_test < horizon:
            raise InvalidArgumentError(
                f"--test-size {request.test_size} holds out {n_test} of {n_rows} rows, fewer than "
                f"the horizon of {horizon}; give more, or leave it out."
            )
        n_fit, n_used = n_rows - n_test, n_rows
    if horizon >= n_rows or n_fit < 1:
        raise InvalidArgumentError(
            f"the series has {n_rows} rows, of which {max(n_fit, 0)} are there to train on: too "
            f"few for a horizon of {horizon}."
        )
    return _Split(n_fit, training_rows(n_fit, size, horizon, forecaster.validation_size), n_used)


def _check_level(request: Request, split: _Split, size: int) -> None:
    """Refuse a level that the validation windows do not give, and say which they would."""
    level, horizon = request.level, request.horizon
    n_windows = split.n_fit - split.first_validation - horizon + 1
    try:
        half_widths(np.zeros((n_windows, 1, 1)), level)
    except InvalidArgumentError as error:
        highest = math.floor(1000 * n_windows / (n_windows + 1)) / 1000
        rows = math.ceil(round(level / (1 - level), 9)) + horizon - 1
        possible = request.protocol is None and split.n_fit - rows >= size + horizon
        other = f"set --param validation_size:{rows}" if possible else "give more rows"
        raise InvalidArgumentError(f"{error} Lower --level to {highest:g}, or {other}.") from error


def _finish(
    request: Request, forecaster: Any, series: Series, split: _Split, facts: dict[str, Any]
) -> None:
    common, size = request.common, int(forecaster.input_size)
    frame, fit = series.frame, series.frame.iloc[: split.n_fit]
    forecast = forecaster.predict()
    interval = forecaster.predict_interval(level=request.level)
    held_out = split.n_used > split.n_fit
    truth = frame.iloc[split.n_fit : split.n_fit + request.horizon] if held_out else None
    blocks = {"validation": fit.iloc[split.first_validation - size :]}
    if held_out:
        blocks["test"] = frame.iloc[split.n_fit - size : split.n_used]
    content = describe_run(forecaster, common, _describe(request, series, split, facts["files"]))
    content |= _network(forecaster) | {"fit_seconds": facts["seconds"], "level": request.level}
    content |= {name: scores(forecaster, rows) for name, rows in blocks.items()}
    writers: dict[str, Writer] = {
        "model.zip": forecaster.save,
        "forecast.csv": _forecast_writer(series.time, forecast, interval, truth),
        "history.csv": history_writer(forecaster.history_, "epoch"),
    }
    if forecaster.decisions_ is not None:
        writers["decisions.csv"] = history_writer(forecaster.decisions_, None)
    if common.plots:
        tail = fit.iloc[-max(size, 2 * request.horizon) :]
        writers["forecast.png"] = _picture(tail, forecast, interval, request.level, truth)
    write_files(common, writers | {"metrics.json": json_writer(content)})
    if not common.quiet:
        typer.echo(_summary(content))


def scores(forecaster: Any, rows: pd.DataFrame) -> dict[str, Any]:
    """Compare forecasts over all windows of some rows with the truth, on the standardised scale.

    Parameters
    ----------
    forecaster : SparseForecaster
        Fitted.
    rows : DataFrame
        ``input_size`` rows of context, and at least ``horizon`` rows to forecast.

    Returns
    -------
    dict
        Windows, truths that were missing and interpolated, errors, and the errors of repeating the
        last known value.
    """
    values = to_history(rows, missing=forecaster.missing).values
    scaled = forecaster.standardisation_.transform(values)
    size, horizon = int(forecaster.input_size), int(forecaster.horizon)
    own, repeated = forecaster.evaluate(rows), repeat_last(scaled, size, horizon)
    return {
        "n_windows": n_windows(len(rows), size, horizon),
        "n_interpolated": int(rows.iloc[size:].isna().to_numpy().sum()),
        "mse": own.mse,
        "mae": own.mae,
        "repeat_last": {"mse": repeated.mse, "mae": repeated.mae},
    }


def _describe(request: Request, series: Series, split: _Split, files: list[Path]) -> dict[str, Any]:
    frame = series.frame
    return {
        "source": request.data,
        "files": describe_files(files),
        "time": series.time,
        "first": plain_time(frame.index[0]),
        "last": plain_time(frame.index[-1]),
        "columns": [str(name) for name in frame.columns],
        "n_rows": len(frame),
        "n_train": split.first_validation,
        "n_validation": split.n_fit - split.first_validation,
        "n_test": split.n_used - split.n_fit,
    }


def _network(forecaster: Any) -> dict[str, Any]:
    return {
        "epochs_run": int(forecaster.n_epochs_),
        "best_epoch": int(forecaster.best_epoch_),
        "sparsity": float(forecaster.sparsity_),
        "n_parameters": int(forecaster.n_parameters_),
        "n_dense_parameters": int(forecaster.n_dense_parameters_),
        "flops": float(forecaster.flops_),
        "dense_flops": float(forecaster.dense_flops_),
    }


def _forecast_writer(
    time: str,
    forecast: pd.DataFrame,
    interval: tuple[pd.DataFrame, pd.DataFrame],
    truth: pd.DataFrame | None,
) -> Writer:
    """Return what writes one row for each step: time, and for each column value and bounds."""
    header, columns = [time], [[plain_time(value) for value in forecast.index]]
    parts = {"": forecast, "_lower": interval[0], "_upper": interval[1]}
    if truth is not None:
        parts["_truth"] = truth
    for name in forecast.columns:
        for suffix, frame in parts.items():
            header.append(f"{name}{suffix}")
            columns.append(frame[name].tolist())
    return csv_writer(header, zip(*columns, strict=True))


def _picture(
    tail: pd.DataFrame,
    forecast: pd.DataFrame,
    interval: tuple[pd.DataFrame, pd.DataFrame],
    level: float,
    truth: pd.DataFrame | None,
) -> Writer:
    from sparsewire.reporting.figures import save
    from sparsewire.timeseries.forecasting.plots import forecast_figure

    figure = forecast_figure(tail, forecast, interval=interval, level=level, truth=truth)
    return lambda path: save(figure, path)


def _summary(content: dict[str, Any]) -> str:
    block = "test" if "test" in content else "validation"
    found = content[block]
    return (
        f"{content['epochs_run']} epochs in {content['fit_seconds']:.1f} s; sparsity "
        f"{content['sparsity']:.1%}; {block} MSE {found['mse']:.4f}, MAE {found['mae']:.4f} "
        f"(repeating the last value: {found['repeat_last']['mse']:.4f}, "
        f"{found['repeat_last']['mae']:.4f})"
    )
