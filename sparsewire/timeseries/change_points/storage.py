"""How is a detector written to a file that cannot execute code, in the middle of a stream?

A zip of NumPy arrays without pickles, and one JSON text with the parameters.
"""

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsewire.core._files import replacing
from sparsewire.core.errors import CheckpointError

Arrays = dict[str, npt.NDArray[Any]]
FORMAT = "sparsewire.timeseries.ALACPD"
VERSION = 1
_TEXT = "description"


def save(
    path: str | os.PathLike[str],
    parameters: Mapping[str, Any],
    arrays: Mapping[str, npt.NDArray[Any]],
) -> None:
    """Write parameters and state, atomically.

    Parameters
    ----------
    path : path
        File, replaced if it exists.
    parameters : mapping
        Of the detector; a random generator has no plain form and becomes None.
    arrays : mapping
        State of the stream.
    """
    text = {
        "format": FORMAT,
        "version": VERSION,
        "parameters": {name: _plain(value) for name, value in parameters.items()},
    }
    stored = {_TEXT: np.array(json.dumps(text)), **arrays}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **stored)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, tuple | list | np.ndarray):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, np.random.RandomState) else value


def load(path: str | os.PathLike[str]) -> tuple[dict[str, Any], Arrays]:
    """Read what `save` wrote; no code in the file is executed.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    parameters : dict
        Of the detector.
    arrays : dict
        State of the stream.

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
        except (
            ValueError,
            KeyError,
            EOFError,
            TypeError,
            AttributeError,
            zipfile.BadZipFile,
        ) as error:
            message = f"{path} is not a readable file of a detector: {error}"
            raise CheckpointError(message) from error
    if not isinstance(text, dict) or (text.get("format"), text.get("version")) != (FORMAT, VERSION):
        raise CheckpointError(f"{path} was not written by ALACPD.save of this version.")
    parameters = text.get("parameters")
    if not isinstance(parameters, dict) or not isinstance(parameters.get("skips"), list):
        raise CheckpointError(f"{path} is damaged: it has no parameters.")
    parameters["skips"] = tuple(parameters["skips"])
    return parameters, arrays
