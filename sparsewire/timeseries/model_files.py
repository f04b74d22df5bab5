"""How is a fitted estimator written to a file that cannot execute code, and read again?

A file is a zip of NumPy arrays without pickles and one JSON text with everything else. Pickles of
estimators hold the same arrays. What belongs into text and arrays is decided by each estimator.
"""

import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from sparsewire.core import CheckpointError
from sparsewire.core._files import replacing
from sparsewire.core.masked import MASK_SUFFIX

Arrays = dict[str, npt.NDArray[Any]]
Network = TypeVar("Network", bound=nn.Module)
_TEXT = "description"
_DAMAGES = (  # what reading a zip with some bytes changed may raise, too
    ValueError,
    KeyError,
    EOFError,
    TypeError,
    RuntimeError,
    OverflowError,
    SyntaxError,
    zipfile.BadZipFile,
    zlib.error,
)


def to_arrays(network: nn.Module) -> Arrays:
    """Return weights, statistics and masks of a network.

    Examples
    --------
    >>> list(to_arrays(nn.Linear(2, 1)))
    ['weight', 'bias']
    """
    return {name: value.cpu().numpy().copy() for name, value in network.state_dict().items()}


def from_arrays(network: Network, arrays: Arrays) -> Network:
    """Fill a fresh network of the same sizes with `to_arrays`, masks included, and return it.

    Raises
    ------
    CheckpointError
        If the arrays are not those of such a network.

    Examples
    --------
    >>> one = nn.Linear(2, 1)
    >>> torch.equal(from_arrays(nn.Linear(2, 1), to_arrays(one)).weight, one.weight)
    True
    """
    known = network.state_dict()
    try:
        for name, array in arrays.items():
            owner, _, buffer = name.rpartition(".")
            if buffer.endswith(MASK_SUFFIX) and name not in known:
                mask = torch.ones(array.shape, dtype=torch.bool)
                network.get_submodule(owner).register_buffer(buffer, mask)
        network.load_state_dict({name: torch.tensor(value) for name, value in arrays.items()})
    except (AttributeError, KeyError, RuntimeError, TypeError) as error:
        raise CheckpointError(f"the arrays do not fit the network: {error}") from error
    return network.eval()


def plain(value: Any) -> Any:
    """Return a parameter's value as JSON knows it.

    A random generator has no plain form and becomes None.

    Examples
    --------
    >>> plain(np.int64(3)), plain((1, 2)), plain(np.random.RandomState(0))
    (3, [1, 2], None)
    """
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, (tuple, np.ndarray)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return None if isinstance(value, np.random.RandomState) else value


def write(
    path: str | os.PathLike[str],
    text: Mapping[str, Any],
    arrays: Arrays,
    *,
    format_: str,
    version: int,
) -> None:
    """Write a file, atomically.

    Parameters
    ----------
    path : path
        File, replaced if it exists.
    text : mapping
        Plain values.
    arrays : dict of str to ndarray
        Not of objects.
    format_, version : str, int
        What `read` has to be asked for.
    """
    described = json.dumps({"format": format_, "version": version, **text})
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays, **{_TEXT: np.array(described)})


def read(
    path: str | os.PathLike[str], *, format_: str, version: int
) -> tuple[dict[str, Any], Arrays]:
    """Return text and arrays of a file; no code in the file is executed.

    Parameters
    ----------
    path : path
        The file.
    format_, version : str, int
        What it must have been written as.

    Raises
    ------
    CheckpointError
        If the file is damaged or something else.
    OSError
        If it cannot be opened.
    """
    kind = format_.rpartition(".")[2]
    with Path(path).open("rb") as file:
        try:
            with np.load(file, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            text = json.loads(str(arrays.pop(_TEXT)))
        except _DAMAGES as error:
            raise CheckpointError(f"{path} is not a readable file of a {kind}: {error}") from error
    if not isinstance(text, dict) or (text.get("format"), text.get("version")) != (
        format_,
        version,
    ):
        raise CheckpointError(f"{path} was not written by {kind}.save of this version.")
    return text, arrays
