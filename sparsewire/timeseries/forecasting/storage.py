"""What does the file of a fitted forecaster hold?

Parameters, what was learned, the end of the series with its index, and the network as arrays; how
it is written is decided in `sparsewire.timeseries.model_files`.
"""

import os
from typing import TYPE_CHECKING, Any

import pandas as pd

from sparsewire.core import CheckpointError, InvalidArgumentError
from sparsewire.timeseries.forecasting.containers import History
from sparsewire.timeseries.forecasting.preparation import Preparation
from sparsewire.timeseries.model_files import Arrays, plain, read, to_arrays, write
from sparsewire.timeseries.protocols import Standardisation

if TYPE_CHECKING:
    from sparsewire.timeseries.forecasting.forecaster import SparseForecaster

FORMAT = "sparsewire.timeseries.SparseForecaster"
VERSION = 1
_PLAIN = (
    "sparsity_",
    "n_parameters_",
    "n_dense_parameters_",
    "flops_",
    "dense_flops_",
    "history_",
    "decisions_",
    "best_epoch_",
    "n_epochs_",
    "best_validation_loss_",
)


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
        "fitted": {name: fitted[name] for name in _PLAIN},
        "preparation": {
            name: getattr(prepared, name) for name in ("input_size", "horizon", "n_time_features")
        },
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


def load(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read what `save` wrote; no code in the file is executed.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    parameters, fitted : dict
        Arguments of the forecaster, and its attributes with the network as arrays.

    Raises
    ------
    CheckpointError
        If the file is damaged or something else.
    OSError
        If it cannot be opened.
    """
    text, arrays = read(path, format_=FORMAT, version=VERSION)
    try:
        parameters = text["parameters"]
        sizes = {"projector_sizes": tuple(parameters["projector_sizes"])}
        return parameters | sizes, _fitted(text, arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error


def _fitted(text: dict[str, Any], arrays: Arrays) -> dict[str, Any]:
    last = text["last"]
    index, times = _index_from_text(last)
    scale = Standardisation(mean=arrays.pop("mean"), scale=arrays.pop("scale"))
    return {
        **{name: text["fitted"][name] for name in _PLAIN},
        "_preparation": Preparation(**text["preparation"], standardisation=scale),
        "_residuals": arrays.pop("residuals"),
        "_last": History(arrays.pop("last"), tuple(last["columns"]), index, times, last["flat"]),
        "network_": {name.removeprefix("network/"): value for name, value in arrays.items()},
    }
