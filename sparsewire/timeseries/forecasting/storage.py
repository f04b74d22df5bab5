"""What does the file of a fitted forecaster hold?

Parameters, what was learned, the end of the series with its index, and the network as arrays; how
it is written is decided in `sparsewire.timeseries.model_files`.
"""

import os
from typing import TYPE_CHECKING, Any, TypeVar

import numpy.typing as npt
import pandas as pd

from sparsewire.core import CheckpointError, InvalidArgumentError
from sparsewire.timeseries.forecasting.containers import History
from sparsewire.timeseries.forecasting.preparation import Preparation
from sparsewire.timeseries.model_files import (
    Arrays,
    check_array,
    fields,
    plain,
    read,
    restoring,
    to_arrays,
    write,
)
from sparsewire.timeseries.protocols import Standardisation

if TYPE_CHECKING:
    from sparsewire.timeseries.forecasting.forecaster import SparseForecaster

Forecaster = TypeVar("Forecaster", bound="SparseForecaster")
FORMAT = "sparsewire.timeseries.SparseForecaster"
VERSION = 1
_FITTED = {
    "sparsity_": (int, float),
    "n_parameters_": int,
    "n_dense_parameters_": int,
    "flops_": (int, float),
    "dense_flops_": (int, float),
    "history_": dict,
    "decisions_": (dict, type(None)),
    "best_epoch_": int,
    "n_epochs_": int,
    "best_validation_loss_": (int, float),
}
_PREPARATION = {"input_size": int, "horizon": int, "n_time_features": int}


def save(path: str | os.PathLike[str], forecaster: "SparseForecaster") -> None:
    """Write a fitted forecaster, atomically.

    Parameters
    ----------
    path : path
        File, replaced if it exists.
    forecaster : SparseForecaster
        With a model that has a name.

    Raises
    ------
    InvalidArgumentError
        If its model is one's own.
    """
    if not isinstance(forecaster.model, str):
        raise InvalidArgumentError(
            "a forecaster with a model of one's own cannot be saved without code; pickle it, or "
            "save network_.state_dict()."
        )
    last, prepared, fitted = forecaster._last, forecaster._preparation, vars(forecaster)
    text = {
        "parameters": {k: plain(v) for k, v in forecaster.get_params(deep=False).items()},
        "fitted": {name: fitted[name] for name in _FITTED},
        "preparation": {name: getattr(prepared, name) for name in _PREPARATION},
        "last": _index_to_text(last) | {"columns": [plain(c) for c in last.columns]},
    }
    arrays = {f"network/{k}": v for k, v in to_arrays(forecaster.network_).items()}
    arrays["mean"] = prepared.standardisation.mean
    arrays["scale"] = prepared.standardisation.scale
    arrays["residuals"], arrays["last"] = forecaster._residuals, last.values
    write(path, text, arrays, format_=FORMAT, version=VERSION)


def _index_to_text(history: History) -> dict[str, Any]:
    index, times = history.index, history.times
    if index is None:
        return {"kind": None, "flat": history.flat}
    if times is None:
        return {"kind": "numbers", "flat": history.flat, "index": [int(i) for i in index]}
    return {
        "kind": "periods" if isinstance(index, pd.PeriodIndex) else "times",
        "flat": history.flat,
        "index": [str(i) for i in times.tz_localize(None)],
        "zone": None if times.tz is None else str(times.tz),
        "frequency": times.freqstr,
        "period": index.freqstr if isinstance(index, pd.PeriodIndex) else None,
    }


def _index_from_text(text: dict[str, Any]) -> tuple[pd.Index | None, pd.DatetimeIndex | None]:
    if text["kind"] is None:
        return None, None
    if text["kind"] == "numbers":
        return pd.Index(text["index"]), None
    naive = pd.DatetimeIndex(text["index"])
    times = pd.DatetimeIndex(naive.tz_localize(text["zone"]), freq=text["frequency"])
    if text["kind"] == "periods":
        return times.to_period(text["period"]), times
    return times, times


def load(path: str | os.PathLike[str], kind: type[Forecaster]) -> Forecaster:
    """Read what `save` wrote; no code in the file is executed.

    Parameters
    ----------
    path : path
        The file.
    kind : type
        Class of the forecaster.

    Returns
    -------
    SparseForecaster
        The forecaster.

    Raises
    ------
    CheckpointError
        If the file is damaged or something else.
    OSError
        If it cannot be opened.
    """
    text, arrays = read(path, format_=FORMAT, version=VERSION)
    with restoring(path):
        known = dict.fromkeys(kind._get_param_names(), object)
        parameters = fields(text["parameters"], known, "parameters")
        sizes = {"projector_sizes": tuple(parameters["projector_sizes"])}
        forecaster = kind(**parameters | sizes)
        forecaster._validate_params()
        state = _fitted(text, arrays)
        prepared = state["_preparation"]
        for name in ("input_size", "horizon"):
            if getattr(prepared, name) != parameters[name]:
                raise CheckpointError(f"its parts differ in {name}.")
        forecaster.__setstate__(vars(forecaster) | state)
        return forecaster


def _fitted(text: dict[str, Any], arrays: Arrays) -> dict[str, Any]:
    prepared = fields(text["preparation"], _PREPARATION, "preparation")
    last = _history(text["last"], arrays.pop("last"), prepared["input_size"])
    n_channels = len(last.columns)
    scale = Standardisation(mean=arrays.pop("mean"), scale=arrays.pop("scale"))
    check_array(scale.mean, (n_channels,), "mean")
    check_array(scale.scale, (n_channels,), "scale")
    errors = arrays.pop("residuals")
    check_array(errors, (len(errors), prepared["horizon"], n_channels), "residuals")
    return {
        **fields(text["fitted"], _FITTED, "fitted"),
        "_preparation": Preparation(**prepared, standardisation=scale),
        "_residuals": errors,
        "_last": last,
        "network_": {name.removeprefix("network/"): value for name, value in arrays.items()},
    }


def _history(text: dict[str, Any], values: npt.NDArray[Any], input_size: int) -> History:
    columns = tuple(text["columns"])
    check_array(values, (len(values), len(columns)), "last")
    index, times = _index_from_text(text)
    if len(values) < input_size or (index is not None and len(index) != len(values)):
        raise CheckpointError(f"{len(values)} rows are not the end of a series.")
    return History(values, columns, index, times, text["flat"])
