"""How is a fitted estimator written to a file that cannot execute code, and read again?

A file is a zip of NumPy arrays without pickles and one JSON text with everything else. Pickles of
estimators hold the same arrays. What belongs into text and arrays is decided by each estimator.
"""

import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from sparsewire.core import CheckpointError
from sparsewire.core._files import replacing
from sparsewire.core.masked import MASK_SUFFIX

Arrays = dict[str, npt.NDArray[Any]]
Network = TypeVar("Network", bound=nn.Module)
Content = TypeVar("Content")
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
        for name in arrays:
            owner, _, buffer = name.rpartition(".")
            if buffer.endswith(MASK_SUFFIX) and name not in known:
                weight = network.get_parameter(name.removesuffix(MASK_SUFFIX))
                mask = torch.ones(weight.shape, dtype=torch.bool)
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


@contextmanager
def restoring(path: str | os.PathLike[str]) -> Iterator[None]:
    """Make one error of all that unexpected content of a file may cause.

    Parameters
    ----------
    path : path
        The file.

    Raises
    ------
    CheckpointError
        Naming the file and what is wrong.

    Examples
    --------
    >>> with restoring("model.npz"):
    ...     fields({"a": 1}, {"b": int}, "fitted")
    Traceback (most recent call last):
    sparsewire.core.errors.CheckpointError: model.npz is damaged, or of another version of \
sparsewire: fitted lacks ['b'].
    """
    try:
        yield
    except (
        ArithmeticError,
        AssertionError,
        AttributeError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        what = f"there is no {error}" if isinstance(error, KeyError) else error
        raise CheckpointError(
            f"{path} is damaged, or of another version of sparsewire: {what}"
        ) from error


def fields(
    value: Any,
    kinds: Mapping[str, Any],
    what: str,
    *,
    optional: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a mapping that was read, if it has the keys it must have, and no others.

    Parameters
    ----------
    value : object
        What was read.
    kinds, optional : mapping of str to type or tuple of type
        Keys it must have and may have, with the types of their values.
    what : str
        Its name, for the error.

    Raises
    ------
    CheckpointError
        If it is something else.

    Examples
    --------
    >>> fields({"n": 3}, {"n": int}, "fitted", optional={"names": list})
    {'n': 3}
    """
    if not isinstance(value, dict):
        raise CheckpointError(f"{what} is {value!r} instead of a mapping.")
    known = {**kinds, **(optional or {})}
    if missing := sorted(kinds.keys() - value.keys()):
        raise CheckpointError(f"{what} lacks {missing}.")
    if unknown := sorted(value.keys() - known.keys()):
        raise CheckpointError(f"{what} has unknown entries {unknown}.")
    for name, item in value.items():
        if not isinstance(item, known[name]):
            raise CheckpointError(f"{what} has {name} = {item!r}, which is of a wrong type.")
    return value


def made(kind: type[Content], values: Mapping[str, Any]) -> Content:
    """Return a dataclass made of values that were read; of literals, only those allowed.

    Raises
    ------
    CheckpointError
        If a value is none of the literals allowed.
    TypeError
        If the values are not those of the dataclass.
    """
    for name, hint in get_type_hints(kind).items():
        allowed = get_args(hint) if get_origin(hint) is Literal else None
        if allowed and name in values and values[name] not in allowed:
            raise CheckpointError(f"{name} must be one of {allowed}, got {values[name]!r}.")
    return kind(**values)


def check_array(array: npt.NDArray[Any], shape: tuple[int, ...], what: str) -> None:
    """Raise `CheckpointError` unless an array that was read holds floats in this shape."""
    if array.dtype.kind != "f" or array.shape != shape:
        raise CheckpointError(
            f"{what} must be floats of shape {shape}, got {array.dtype} of shape {array.shape}."
        )
