"""How is a fitted forecaster turned into arrays, and written to a file that cannot execute code?

A file is a zip of NumPy arrays without pickles and one JSON text with everything else. Pickles of
the forecaster hold the same arrays.
"""

import json
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import nn

from sparsewire.core import CheckpointError, InvalidArgumentError
from sparsewire.core._files import replacing
from sparsewire.core.masked import MASK_SUFFIX
from sparsewire.timeseries.forecasting.containers import History
from sparsewire.timeseries.forecasting.preparation import Preparation
from sparsewire.timeseries.protocols import Standardisation

if TYPE_CHECKING:
    from sparsewire.timeseries.forecasting.forecaster import SparseForecaster

Arrays = dict[str, npt.NDArray[Any]]
FORMAT = "sparsewire.timeseries.SparseForecaster"
VERSION = 1
_TEXT = "description"
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


def to_arrays(network: nn.Module) -> Arrays:
    """Return weights and masks of a network.

    Examples
    --------
    >>> list(to_arrays(nn.Linear(2, 1)))
    ['weight', 'bias']
    """
    return {name: value.cpu().numpy().copy() for name, value in network.state_dict().items()}


def from_arrays(network: nn.Module, arrays: Arrays) -> nn.Module:
    """Fill a fresh network with `to_arrays`, masks included.

    Raises
    ------
    CheckpointError
        If the arrays are not those of such a network.
    """
    for name in arrays:
        owner, _, buffer = name.rpartition(".")
        if buffer.endswith(MASK_SUFFIX) and name not in network.state_dict():
            mask = torch.ones(arrays[name].shape, dtype=torch.bool)
            network.get_submodule(owner).register_buffer(buffer, mask)
    try:
        network.load_state_dict({name: torch.tensor(value) for name, value in arrays.items()})
    except (RuntimeError, TypeError) as error:
        raise CheckpointError(f"the arrays do not fit the network: {error}") from error
    return network.eval()


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
        "format": FORMAT,
        "version": VERSION,
        "parameters": {k: _plain(v) for k, v in forecaster.get_params(deep=False).items()},
        "fitted": {name: fitted[name] for name in _PLAIN},
        "preparation": {
            name: getattr(prepared, name) for name in ("input_size", "horizon", "n_time_features")
        },
        "last": _index_to_text(last) | {"columns": [_plain(c) for c in last.columns]},
    }
    arrays = {f"network/{k}": v for k, v in to_arrays(forecaster.network_).items()}
    arrays["mean"] = prepared.standardisation.mean
    arrays["scale"] = prepared.standardisation.scale
    arrays["residuals"], arrays["last"] = forecaster._residuals, last.values
    arrays[_TEXT] = np.array(json.dumps(text))
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def _plain(value: Any) -> Any:
    """Return a value as JSON knows it; a random generator has no plain form and becomes None."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, (tuple, np.ndarray)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return None if isinstance(value, np.random.RandomState) else value


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
    with Path(path).open("rb") as file:
        try:
            with np.load(file, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            text = json.loads(str(arrays.pop(_TEXT)))
        except (ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
            raise CheckpointError(f"{path} is not a readable file of a forecaster: {error}") from (
                error
            )
    if not isinstance(text, dict) or (text.get("format"), text.get("version")) != (FORMAT, VERSION):
        raise CheckpointError(f"{path} was not written by SparseForecaster.save of this version.")
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
