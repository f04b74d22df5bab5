"""Where are the arrays of a named data set, and are they the right ones? Find, verify, load.

``digits`` and ``breast_cancer`` are part of scikit-learn. Every other table is a file, looked for
as ``featsel/<file>``, ``vision/<file>`` or ``<file>`` in the places that ``files`` names, and its
SHA-256 is compared with the registry at every load. Time series have other shapes and loaders of
their own, in ``timeseries``; :func:`names` and :func:`info` know them by their kind.

Arrays come back in the file's own dtype, unscaled. Scaling and splitting at random are
the business of :mod:`sparsewire.featsel.evaluation`.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt

from sparsewire.datasets.errors import DatasetError
from sparsewire.datasets.files import locate, not_found, read_verified
from sparsewire.datasets.registry import SPECS, DatasetSpec, find
from sparsewire.datasets.timeseries.loader import describe
from sparsewire.datasets.timeseries.records import TimeSeriesInfo
from sparsewire.datasets.timeseries.registry import (
    TIME_SERIES_SPECS,
    find_time_series,
    reject_other_kind,
)
from sparsewire.datasets.timeseries.spec import TimeSeriesKind

_FOLDERS = ("featsel", "vision")


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


def names(kind: Literal["table"] | TimeSeriesKind = "table") -> tuple[str, ...]:
    """List the canonical names of all known data sets of a kind.

    Parameters
    ----------
    kind : {"table", "panel", "series", "change_points"}, default="table"
        Tables of features and labels, the embedded ones first (:func:`load`); collections of
        labelled series (:func:`load_panel`); single series to forecast (:func:`load_series`);
        series with annotated change points (:func:`load_change_points`).

    Returns
    -------
    tuple of str
        Names that the loader of this kind and :func:`info` accept.

    Raises
    ------
    DatasetError
        If there is no such kind.

    Examples
    --------
    >>> names()[:3]
    ('digits', 'breast_cancer', 'madelon')
    >>> names("series")[:2]
    ('etth1', 'etth2')
    """
    if kind == "table":
        return tuple(spec.name for spec in SPECS)
    found = tuple(spec.name for spec in TIME_SERIES_SPECS if spec.kind == kind)
    if not found:
        raise DatasetError(
            f"kind={kind!r} is no kind of data set; choose 'table', 'panel', 'series' or "
            "'change_points'."
        )
    return found


@overload
def info(name: str, kind: Literal["table"] = "table") -> DatasetInfo: ...
@overload
def info(name: str, kind: TimeSeriesKind) -> TimeSeriesInfo: ...
def info(
    name: str, kind: Literal["table"] | TimeSeriesKind = "table"
) -> DatasetInfo | TimeSeriesInfo:
    """Describe a data set and say whether it is on this machine.

    Parameters
    ----------
    name : str
        Name of a data set; case, ``-`` and ``_`` do not matter.
    kind : {"table", "panel", "series", "change_points"}, default="table"
        Its kind, as in :func:`names`.

    Returns
    -------
    DatasetInfo or TimeSeriesInfo
        The registry's facts and the place of the file or files.

    Raises
    ------
    UnknownDatasetError
        If no data set of this kind has that name.
    DatasetKindError
        If the name belongs to a data set of another kind.

    Examples
    --------
    >>> info("breast-cancer").shape
    (569, 30)
    >>> info("gunpoint", kind="panel").length
    150
    """
    if kind != "table":
        return describe(find_time_series(name, kind))
    reject_other_kind(name, kind)
    spec = find(name)
    path = None if spec.filename is None else locate(spec.filename, _FOLDERS)
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
    DatasetKindError
        If the name belongs to time series; the message names their loader.
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
    reject_other_kind(name, "table")
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
    filename, sha256 = str(spec.filename), str(spec.sha256)
    path = locate(filename, _FOLDERS)
    if path is None:
        raise not_found(
            spec.name, {filename: sha256}, _FOLDERS, source=spec.source, licence=spec.licence
        )
    content = read_verified(path, sha256, name=spec.name, source=spec.source)
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        x = archive["X"] if "X" in archive else archive["x"]
        return x.reshape(len(x), -1), archive["y"], None
