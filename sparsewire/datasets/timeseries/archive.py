"""Which series and labels stand in an ``.npz`` archive with the two splits of a data set?

The arrays ``X_train``, ``y_train``, ``X_test`` and ``y_test``; nothing in them is executed
(``allow_pickle`` is off). Written by ``numpy.savez_compressed``, as the registered ones were.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsewire.datasets.errors import MalformedFileError

_Split = tuple[npt.NDArray[np.floating], npt.NDArray[np.str_]]
_KEYS = ("X_train", "y_train", "X_test", "y_test")


def read_panel_npz(
    path: str | os.PathLike[str], *, channels_last: bool = False
) -> tuple[_Split, _Split]:
    """Read an archive with a training and a test split.

    Parameters
    ----------
    path : str or path-like
        The file.
    channels_last : bool, default=False
        Whether the arrays are (n, length, channels), as tslearn writes them.

    Returns
    -------
    train, test : tuple of (ndarray of shape (n, channels, length), ndarray of str of shape (n,))
        Series in the file's floating dtype, and labels as text.

    Raises
    ------
    MalformedFileError
        If this is no such archive, an array is absent, or shapes or dtypes do not fit.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "tiny.npz")
    ...     split = {"X_train": np.ones((3, 1, 8)), "y_train": np.arange(3)}
    ...     np.savez(path, **split, X_test=np.ones((2, 1, 8)), y_test=np.arange(2))
    ...     (X, y), _ = read_panel_npz(path)
    >>> X.shape, y.tolist()
    ((3, 1, 8), ['0', '1', '2'])
    """
    return parse_panel_npz(str(path), Path(path).read_bytes(), channels_last=channels_last)


def parse_panel_npz(
    name: str, content: bytes, *, channels_last: bool = False
) -> tuple[_Split, _Split]:
    """Read the content of an archive, as :func:`read_panel_npz` does.

    Parameters
    ----------
    name : str
        What to call it in messages.
    content : bytes
        The file's bytes.
    channels_last : bool, default=False
        As of :func:`read_panel_npz`.

    Returns
    -------
    train, test
        As of :func:`read_panel_npz`.

    Raises
    ------
    MalformedFileError
        As :func:`read_panel_npz`.
    """
    arrays = _arrays(name, content)
    train = _split(name, arrays["X_train"], arrays["y_train"], channels_last)
    test = _split(name, arrays["X_test"], arrays["y_test"], channels_last)
    if train[0].shape[1:] != test[0].shape[1:]:
        raise MalformedFileError(
            f"{name}: train cases have shape {train[0].shape[1:]}, test cases {test[0].shape[1:]}."
        )
    return train, test


def _arrays(name: str, content: bytes) -> dict[str, npt.NDArray[Any]]:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            return {key: archive[key] for key in _KEYS}
    except KeyError as error:
        raise MalformedFileError(
            f"{name}: the archive must hold the arrays {', '.join(_KEYS)}; {error.args[0]}."
        ) from error
    except Exception as error:
        # What numpy, zipfile and zlib raise for damaged bytes is not written down anywhere: a dozen
        # kinds are seen. An array of objects, which could run code, is a ValueError.
        raise MalformedFileError(
            f"{name}: this is no .npz archive of plain arrays ({error})."
        ) from error


def _split(name: str, X: npt.NDArray[Any], y: npt.NDArray[Any], channels_last: bool) -> _Split:
    if X.ndim != 3 or X.dtype.kind != "f" or 0 in X.shape:
        raise MalformedFileError(
            f"{name}: series must be a non-empty floating array with three axes, got shape "
            f"{X.shape} and dtype {X.dtype}."
        )
    if y.shape != X.shape[:1]:
        raise MalformedFileError(f"{name}: {len(X)} series but labels of shape {y.shape}.")
    return np.ascontiguousarray(X.transpose(0, 2, 1)) if channels_last else X, y.astype(np.str_)
