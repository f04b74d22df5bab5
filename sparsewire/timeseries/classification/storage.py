"""What does the file of a fitted classifier hold?

Parameters, what was learned, labels, the treatment of series, and the network as arrays; how it is
written is decided in `sparsewire.timeseries.model_files`.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsewire.core import CheckpointError, InvalidArgumentError
from sparsewire.timeseries.classification.preparation import Preparation
from sparsewire.timeseries.classification.training import BaseSeriesNetwork
from sparsewire.timeseries.model_files import Arrays, from_arrays, plain, read, to_arrays, write

VERSION = 1


def save(
    path: str | os.PathLike[str],
    kind: str,
    *,
    parameters: Mapping[str, Any],
    fitted: Mapping[str, Any],
    classes: npt.NDArray[Any],
    preparation: Preparation,
    network: BaseSeriesNetwork,
) -> None:
    """Write a fitted classifier, atomically.

    Parameters
    ----------
    path : path
        File, replaced if it exists.
    kind : str
        Name of the classifier's class.
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
        "parameters": {name: plain(value) for name, value in parameters.items()},
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
    write(path, text, arrays, format_=_format(kind), version=VERSION)


def _format(kind: str) -> str:
    return f"sparsewire.timeseries.{kind}"


def _storable(classes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if classes.dtype.kind != "O":
        return classes
    if not all(isinstance(label, str) for label in classes):
        raise InvalidArgumentError(
            f"labels of type {type(classes[0]).__name__} cannot be saved; use numbers or strings."
        )
    return classes.astype(str)


def load(
    path: str | os.PathLike[str], kind: str, build: Callable[[dict[str, Any]], BaseSeriesNetwork]
) -> dict[str, Any]:
    """Read what `save` wrote; no code in the file is executed.

    Parameters
    ----------
    path : path
        The file.
    kind : str
        Name of the classifier's class.
    build : callable
        From the sizes of a network by name to a fresh one.

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
    text, arrays = read(path, format_=_format(kind), version=VERSION)
    try:
        return _contents(text, arrays, build)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error


def _contents(
    text: dict[str, Any], arrays: Arrays, build: Callable[[dict[str, Any]], BaseSeriesNetwork]
) -> dict[str, Any]:
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
        "network": from_arrays(build(text["shape"]), states),
    }
