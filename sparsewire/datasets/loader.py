"""Where are the arrays of a named data set, and are they the right ones? Find, verify, load.

``digits`` and ``breast_cancer`` are part of scikit-learn. Every other set is a file, looked for in

1. the directory named by the environment variable ``SPARSEWIRE_DATA``,
2. the user's cache (``~/.cache/sparsewire`` on Linux, the platform's own place elsewhere),

in each of them first as ``featsel/<file>`` or ``vision/<file>``, then as ``<file>``. The first
file found is the one that counts, and its SHA-256 is compared with the registry at every load. A
file that is nowhere is *not* downloaded: for none of the sets is a stable public address of these
very bytes known, so the error names the directory to fill, the file, its checksum and the origin of
the data.

Arrays come back in the file's own dtype, unscaled. Scaling and splitting at random are
the business of :mod:`sparsewire.featsel.evaluation`.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsewire.datasets.errors import DatasetCorruptedError, DatasetError, DatasetNotFoundError
from sparsewire.datasets.registry import SPECS, DatasetSpec, find

_ENVIRONMENT_VARIABLE = "SPARSEWIRE_DATA"
_SUBDIRECTORIES = ("featsel", "vision", ".")


@dataclass(frozen=True, eq=False, kw_only=True)
class Dataset:
    """Arrays of one data set with what is needed to use and to cite them.

    Two data sets compare by identity, since arrays have no single truth value.

    Parameters
    ----------
    name : str
        Canonical name.
    X : ndarray of shape (n_samples, n_features)
        Data in the source's dtype; every call of :func:`load` returns fresh, writable arrays.
    y : ndarray of shape (n_samples,)
        Labels as in the source.
    feature_names : tuple of str or None
        Column names where the source has some.
    n_train : int or None
        Number of leading rows that form the canonical training split.
    image_shape : tuple of (int, int) or None
        Height and width of the image a row is.
    description, licence, source : str
        What the rows are, under which terms, and where they come from.

    Examples
    --------
    >>> digits = load("digits")
    >>> digits.X.shape, digits.image_shape
    ((1797, 64), (8, 8))
    """

    name: str
    X: npt.NDArray[Any]
    y: npt.NDArray[Any]
    feature_names: tuple[str, ...] | None
    n_train: int | None
    image_shape: tuple[int, int] | None
    description: str
    licence: str
    source: str

    def train(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return ``(X, y)`` of the canonical training rows, as views.

        Raises
        ------
        DatasetError
            If the data set has no canonical split.
        """
        n = self._canonical_n_train()
        return self.X[:n], self.y[:n]

    def test(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return ``(X, y)`` of the canonical test rows, as views.

        Raises
        ------
        DatasetError
            If the data set has no canonical split.
        """
        n = self._canonical_n_train()
        return self.X[n:], self.y[n:]

    def _canonical_n_train(self) -> int:
        if self.n_train is None:
            raise DatasetError(
                f"Data set {self.name!r} has no canonical train/test split (n_train is None). "
                "Split X and y yourself, for example with sklearn.model_selection.train_test_split."
            )
        return self.n_train


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """Facts about a data set, known without reading it; ``print`` shows them as a table.

    Parameters
    ----------
    name : str
        Canonical name.
    shape : tuple of (int, int)
        Rows and columns of ``X``.
    n_classes : int
        Number of distinct labels.
    dtype : str
        NumPy dtype of ``X``.
    n_train : int or None
        Rows of the canonical training split.
    image_shape : tuple of (int, int) or None
        Height and width of the image a row is.
    description, licence, source : str
        What the rows are, under which terms, and where they come from.
    path : Path or None
        The file found on this machine; None for embedded sets and for files that are absent.
    available : bool
        Whether :func:`load` finds the data here. The checksum is verified only by loading.

    Examples
    --------
    >>> info("digits").available
    True
    """

    name: str
    shape: tuple[int, int]
    n_classes: int
    dtype: str
    n_train: int | None
    image_shape: tuple[int, int] | None
    description: str
    licence: str
    source: str
    path: Path | None
    available: bool

    def __str__(self) -> str:
        rows, columns = self.shape
        split = "none" if self.n_train is None else f"first {self.n_train} rows train"
        where = self.path or ("part of scikit-learn" if self.available else "not found here")
        lines = (
            self.name,
            f"  about    {self.description}",
            f"  shape    {rows} x {columns} {self.dtype}, {self.n_classes} classes",
            f"  split    {split}",
            f"  licence  {self.licence}",
            f"  source   {self.source}",
            f"  file     {where}",
        )
        return "\n".join(lines)


def names() -> tuple[str, ...]:
    """List the canonical names of all known data sets, embedded ones first.

    Returns
    -------
    tuple of str
        Names :func:`load` and :func:`info` accept.

    Examples
    --------
    >>> names()[:3]
    ('digits', 'breast_cancer', 'madelon')
    """
    return tuple(spec.name for spec in SPECS)


def info(name: str) -> DatasetInfo:
    """Describe a data set and say whether it is on this machine.

    Parameters
    ----------
    name : str
        Name of a data set; case, ``-`` and ``_`` do not matter.

    Returns
    -------
    DatasetInfo
        The registry's facts and the place of the file.

    Raises
    ------
    UnknownDatasetError
        If no data set has that name.

    Examples
    --------
    >>> info("breast-cancer").shape
    (569, 30)
    """
    spec = find(name)
    path = None if spec.filename is None else _locate(spec.filename)
    return DatasetInfo(
        name=spec.name,
        shape=spec.shape,
        n_classes=spec.n_classes,
        dtype=spec.dtype,
        n_train=spec.n_train,
        image_shape=spec.image_shape,
        description=spec.description,
        licence=spec.licence,
        source=spec.source,
        path=path,
        available=spec.embedded is not None or path is not None,
    )


def load(name: str) -> Dataset:
    """Load a data set by name, verifying the checksum of its file.

    Parameters
    ----------
    name : str
        Name of a data set, see :func:`names`; case, ``-`` and ``_`` do not matter.

    Returns
    -------
    Dataset
        The arrays and their description.

    Raises
    ------
    UnknownDatasetError
        If no data set has that name.
    DatasetNotFoundError
        If its file is in none of the searched directories.
    DatasetCorruptedError
        If the file found does not have the registered SHA-256.

    Examples
    --------
    >>> cancer = load("breast_cancer")
    >>> cancer.X.shape, cancer.feature_names[0]
    ((569, 30), 'mean radius')
    """
    spec = find(name)
    read = _read_embedded if spec.embedded is not None else _read_file
    x, y, feature_names = read(spec)
    return Dataset(
        name=spec.name,
        X=x,
        y=y,
        feature_names=feature_names,
        n_train=spec.n_train,
        image_shape=spec.image_shape,
        description=spec.description,
        licence=spec.licence,
        source=spec.source,
    )


_Content = tuple[npt.NDArray[Any], npt.NDArray[Any], tuple[str, ...] | None]


def _read_embedded(spec: DatasetSpec) -> _Content:
    # Imported here so that listing names and reading files does not pay for scikit-learn.
    import sklearn.datasets

    bunch = getattr(sklearn.datasets, str(spec.embedded))()
    return bunch.data, bunch.target, tuple(str(column) for column in bunch.feature_names)


def _read_file(spec: DatasetSpec) -> _Content:
    path = _locate(str(spec.filename))
    if path is None:
        raise _not_found(spec)
    # One read serves both the checksum and the arrays: what was verified is what is returned.
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != spec.sha256:
        raise DatasetCorruptedError(
            f"{path} is not the registered file of data set {spec.name!r}: its SHA-256 is {found}, "
            f"expected {spec.sha256}. Replace or remove the file; the data come from {spec.source}."
        )
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        x = archive["X"] if "X" in archive else archive["x"]
        return x.reshape(len(x), -1), archive["y"], None


def _roots() -> Iterator[Path]:
    configured = os.environ.get(_ENVIRONMENT_VARIABLE)
    if configured:
        yield Path(configured).expanduser()
    # Imported here so that a machine without pooch can still use embedded and configured data.
    import pooch

    yield Path(pooch.os_cache("sparsewire"))


def _locate(filename: str) -> Path | None:
    for root in _roots():
        for folder in _SUBDIRECTORIES:
            path = root / folder / filename
            if path.is_file():
                return path
    return None


def _not_found(spec: DatasetSpec) -> DatasetNotFoundError:
    searched = ", ".join(str(root) for root in _roots())
    variable = os.environ.get(_ENVIRONMENT_VARIABLE)
    state = f"is {variable!r}" if variable else "is not set"
    return DatasetNotFoundError(
        f"Data set {spec.name!r} is not on this machine: no {spec.filename} in {searched} "
        f"(nor in their {' and '.join(_SUBDIRECTORIES[:-1])} folders; {_ENVIRONMENT_VARIABLE} "
        f"{state}). It is not downloaded automatically. Put {spec.filename} (SHA-256 "
        f"{spec.sha256}) into one of these directories or point "
        f"{_ENVIRONMENT_VARIABLE} at one that holds it. The data come from {spec.source} "
        f"(licence: {spec.licence})."
    )
