"""How are arrays, replay buffers and generators stored so that reading executes no code?

Arrays go into ``.npz`` files, which are read with ``allow_pickle=False``; generators become JSON.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from stable_baselines3.common.buffers import BaseBuffer

from sparsewire.core.errors import CheckpointError

_DAMAGE = (
    OSError, ValueError, TypeError, KeyError, EOFError, AttributeError, NotImplementedError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What NumPy and zipfile raise on damaged bytes."""


def read(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read all arrays of a file.

    Parameters
    ----------
    path : pathlib.Path
        A file written by ``numpy.savez``.

    Returns
    -------
    dict of str to ndarray
        The arrays by name.

    Raises
    ------
    CheckpointError
        If the file is missing or damaged, or holds anything but arrays of numbers and strings.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(Path(folder, "a.npz"), x=np.arange(3))
    ...     read(Path(folder, "a.npz"))
    {'x': array([0, 1, 2])}
    """
    try:
        # Opened here: NumPy leaves a damaged file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            return {name: content[name] for name in content.files}
    except FileNotFoundError:
        raise CheckpointError(f"there is no {path}.") from None
    except _DAMAGE as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error


def generator_state(generator: np.random.Generator) -> str:
    """Return the state of a generator as JSON.

    Parameters
    ----------
    generator : numpy.random.Generator
        The generator.

    Returns
    -------
    str
        To be given to `set_generator_state`.

    Examples
    --------
    >>> first, second = np.random.default_rng(0), np.random.default_rng(1)
    >>> set_generator_state(second, generator_state(first))
    >>> bool(first.random() == second.random())
    True
    """
    return json.dumps(generator.bit_generator.state, default=np.ndarray.tolist)


def set_generator_state(generator: np.random.Generator, state: str) -> None:
    """Bring a generator to a state returned by `generator_state`.

    Parameters
    ----------
    generator : numpy.random.Generator
        A generator of the same kind; changed in place.
    state : str
        The state.

    Raises
    ------
    ValueError
        If the state is of another kind of generator.
    """
    generator.bit_generator.state = json.loads(state)


def write_buffer(path: Path, buffer: BaseBuffer) -> None:
    """Write the filled part of every array of a replay buffer, its position and its generators.

    Parameters
    ----------
    path : pathlib.Path
        File to write, ending in ``.npz``.
    buffer : BaseBuffer
        A buffer whose state is arrays, dictionaries of arrays and generators.
    """
    content: dict[str, Any] = {"pos": buffer.pos, "full": buffer.full}
    for name, value in _arrays(buffer):
        content[f"array/{name}"] = value[: _rows(buffer, value)]
    for name, generator in _generators(buffer):
        content[f"generator/{name}"] = generator_state(generator)
    np.savez(path, allow_pickle=False, **content)


def read_buffer(path: Path, buffer: BaseBuffer) -> None:
    """Read what `write_buffer` wrote into a new buffer of the same size.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    buffer : BaseBuffer
        Changed in place.

    Raises
    ------
    CheckpointError
        If the file is damaged or does not fit.
    """
    stored = read(path)
    targets = {f"array/{name}": value for name, value in _arrays(buffer)}
    generators = {f"generator/{name}": value for name, value in _generators(buffer)}
    if stored.keys() != {"pos", "full", *targets, *generators}:
        raise CheckpointError(f"{path} belongs to another kind of replay buffer.")
    buffer.pos, buffer.full = int(stored["pos"]), bool(stored["full"])
    for name, target in targets.items():
        found, expected = stored[name], (_rows(buffer, target), *target.shape[1:])
        if found.dtype != target.dtype or found.shape != expected:
            raise CheckpointError(
                f"{path} does not fit: {name} is {found.dtype} {found.shape}, expected "
                f"{target.dtype} {expected}."
            )
        target[: len(found)] = found
    for name, generator in generators.items():
        set_generator_state(generator, str(stored[name]))


def _rows(buffer: BaseBuffer, array: npt.NDArray[Any]) -> int:
    """Return how many rows hold data: a memory-saving buffer has written one beyond `pos`."""
    is_filled = buffer.full or len(array) != buffer.buffer_size
    return len(array) if is_filled else min(buffer.pos + 1, len(array))


def _arrays(buffer: BaseBuffer) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    for name, value in sorted(vars(buffer).items()):
        parts = value.items() if isinstance(value, dict) else [("", value)]
        for key, part in parts:
            if isinstance(part, np.ndarray) and part.ndim:
                yield (f"{name}/{key}" if key else name), part


def _generators(buffer: BaseBuffer) -> Iterator[tuple[str, np.random.Generator]]:
    for name, value in sorted(vars(buffer).items()):
        if isinstance(value, np.random.Generator):
            yield name, value
