"""How is a fitted classifier turned into arrays, and written to a file that cannot execute code?

A file is a zip of NumPy arrays without pickles and one JSON text with everything else. Pickles of
the classifier hold the same arrays.
"""

import dataclasses
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sparsewire.core import CheckpointError, InvalidArgumentError
from sparsewire.core._files import replacing
from sparsewire.timeseries.dsn.network import Architecture, DSNNetwork
from sparsewire.timeseries.dsn.preparation import Preparation

Arrays = dict[str, npt.NDArray[Any]]
FORMAT = "sparsewire.timeseries.DSNClassifier"
VERSION = 1
_TEXT = "description"


def to_arrays(network: DSNNetwork) -> Arrays:
    """Return weights, masks and statistics of a network.

    Examples
    --------
    >>> network = DSNNetwork(Architecture(1, 2, 4, 1, 9, 3, "centre", "zero"))
    >>> len(to_arrays(network))
    14
    """
    return {name: value.cpu().numpy().copy() for name, value in network.state_dict().items()}


def from_arrays(shape: Architecture, arrays: Arrays) -> DSNNetwork:
    """Build a network from `to_arrays`.

    Raises
    ------
    CheckpointError
        If the arrays are not those of such a network.
    """
    network = DSNNetwork(shape)
    for name, conv in network.region_convs:
        if f"{name}_mask" in arrays:
            conv.register_buffer("weight_mask", torch.ones_like(conv.weight, dtype=torch.bool))
    try:
        network.load_state_dict({name: torch.tensor(value) for name, value in arrays.items()})
    except (RuntimeError, TypeError) as error:
        raise CheckpointError(f"the arrays do not fit the network: {error}") from error
    return network.eval()


def save(
    path: str | os.PathLike[str],
    *,
    parameters: Mapping[str, Any],
    fitted: Mapping[str, Any],
    classes: npt.NDArray[Any],
    preparation: Preparation,
    network: DSNNetwork,
) -> None:
    """Write a fitted classifier, atomically.

    Parameters
    ----------
    path : path
        File, replaced if it exists.
    parameters, fitted : mapping
        Plain values: parameters of the classifier, and attributes that were learned.
    classes : ndarray
        Labels.
    preparation, network
        The rest of what was learned.

    Raises
    ------
    InvalidArgumentError
        If the labels are neither numbers nor strings.
    """
    text = {
        "format": FORMAT,
        "version": VERSION,
        "parameters": {name: _plain(value) for name, value in parameters.items()},
        "fitted": dict(fitted),
        "classes": classes.dtype.kind,
        "shape": dataclasses.asdict(network.shape),
        "preparation": {
            name: value
            for name, value in vars(preparation).items()
            if not isinstance(value, np.ndarray)
        },
    }
    arrays = {f"network/{name}": value for name, value in to_arrays(network).items()}
    arrays["centre"], arrays["scale"] = preparation.centre, preparation.scale
    arrays["classes"] = _storable(classes)
    arrays[_TEXT] = np.array(json.dumps(text))
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def _plain(value: Any) -> Any:
    """Return a value as JSON knows it; a random generator has no plain form and becomes None."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return None if isinstance(value, np.random.RandomState) else value


def _storable(classes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if classes.dtype.kind != "O":
        return classes
    if not all(isinstance(label, str) for label in classes):
        raise InvalidArgumentError(
            f"labels of type {type(classes[0]).__name__} cannot be saved; use numbers or strings."
        )
    return classes.astype(str)


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what `save` wrote; no code in the file is executed.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    dict
        The arguments given to `save`.

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
            raise CheckpointError(f"{path} is not a readable file of a classifier: {error}") from (
                error
            )
    if not isinstance(text, dict) or (text.get("format"), text.get("version")) != (FORMAT, VERSION):
        raise CheckpointError(f"{path} was not written by DSNClassifier.save of this version.")
    try:
        return _contents(text, arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error


def _contents(text: dict[str, Any], arrays: Arrays) -> dict[str, Any]:
    classes = arrays.pop("classes")
    preparation = Preparation(
        **text["preparation"], centre=arrays.pop("centre"), scale=arrays.pop("scale")
    )
    states = {name.removeprefix("network/"): value for name, value in arrays.items()}
    return {
        "parameters": text["parameters"],
        "fitted": text["fitted"],
        "classes": classes.astype(object) if text["classes"] == "O" else classes,
        "preparation": preparation,
        "network": from_arrays(Architecture(**text["shape"]), states),
    }
