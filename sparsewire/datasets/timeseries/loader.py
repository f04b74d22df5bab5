"""Where are the series of a named data set, and are they the right ones? Find, verify, read.

Files are looked for below ``timeseries/`` in the places that :mod:`sparsewire.datasets.files`
names, then below these places themselves, and every file's SHA-256 is compared with the registry
at every load. Values come as they are in the file: nothing is scaled, filled in, padded or cut to
one length, and the split of a panel is the archive's own.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from sparsewire.datasets.files import locate, not_found, read_verified
from sparsewire.datasets.timeseries.archive import parse_panel_npz
from sparsewire.datasets.timeseries.arff import parse_arff
from sparsewire.datasets.timeseries.ltsf import parse_ltsf_csv
from sparsewire.datasets.timeseries.records import (
    ChangePointDataset,
    PanelDataset,
    SeriesDataset,
    TimeSeriesInfo,
)
from sparsewire.datasets.timeseries.registry import find_time_series
from sparsewire.datasets.timeseries.spec import TimeSeriesSpec
from sparsewire.datasets.timeseries.tcpd import parse_annotations, parse_tcpd
from sparsewire.datasets.timeseries.text import Panel
from sparsewire.datasets.timeseries.ts import parse_ts
from sparsewire.datasets.timeseries.ucr import parse_ucr

_FOLDERS = ("timeseries",)
_Split = tuple[Panel, npt.NDArray[np.str_]]


def load_panel(name: str) -> PanelDataset:
    """Load labelled series in their default split.

    Parameters
    ----------
    name : str
        Name of a panel, see ``names("panel")``; case, ``-`` and ``_`` do not matter.

    Returns
    -------
    PanelDataset
        Both splits; lists instead of arrays if any two cases differ in length.

    Raises
    ------
    UnknownDatasetError
        If no data set has that name.
    DatasetKindError
        If the name belongs to a data set of another kind; the message names its loader.
    DatasetNotFoundError
        If one of its files is in none of the searched directories.
    DatasetCorruptedError
        If a file found does not have the registered SHA-256.

    Examples
    --------
    >>> from sparsewire.datasets import info
    >>> if info("gunpoint", kind="panel").available:
    ...     gunpoint = load_panel("gunpoint")
    ...     assert gunpoint.X_train.shape == (50, 1, 150)
    """
    spec = find_time_series(name, "panel")
    paths, contents = _contents(spec)
    train: _Split
    test: _Split
    if spec.format in {"npz", "npz_channels_last"}:
        last = spec.format == "npz_channels_last"
        train, test = parse_panel_npz(paths[0], contents[0], channels_last=last)
    else:
        train, test = (
            _read_split(spec.format, path, content)
            for path, content in zip(paths, contents, strict=True)
        )
    X_train, X_test = train[0], test[0]
    if not isinstance(spec.length, int):
        # One split alone may happen to have one length; both come in the same form.
        X_train, X_test = list(X_train), list(X_test)
    return PanelDataset(
        X_train=X_train, y_train=train[1], X_test=X_test, y_test=test[1], info=describe(spec)
    )


def load_series(name: str) -> SeriesDataset:
    """Load a series to forecast.

    Parameters
    ----------
    name : str
        Name of a series, see ``names("series")``; case, ``-`` and ``_`` do not matter.

    Returns
    -------
    SeriesDataset
        Values in the source's units, the target in the last column.

    Raises
    ------
    UnknownDatasetError, DatasetKindError, DatasetNotFoundError, DatasetCorruptedError
        As :func:`load_panel`.

    Examples
    --------
    >>> load_series("run_log")
    Traceback (most recent call last):
        ...
    sparsewire.datasets.errors.DatasetKindError: Data set 'run_log' is not of the kind 'series' ...
    """
    spec = find_time_series(name, "series")
    paths, contents = _contents(spec)
    series = parse_ltsf_csv(paths[0], contents[0], target=spec.target)
    return replace(series, info=describe(spec))


def load_change_points(name: str) -> ChangePointDataset:
    """Load a series with annotated change points.

    Parameters
    ----------
    name : str
        Name of a series, see ``names("change_points")``; case, ``-`` and ``_`` do not matter.

    Returns
    -------
    ChangePointDataset
        The series and, for each annotator, where it changes.

    Raises
    ------
    UnknownDatasetError, DatasetKindError, DatasetNotFoundError, DatasetCorruptedError
        As :func:`load_panel`.

    Examples
    --------
    >>> from sparsewire.datasets import info
    >>> if info("nile", kind="change_points").available:
    ...     nile = load_change_points("nile")
    ...     assert nile.values.shape == (100, 1)
    """
    spec = find_time_series(name, "change_points")
    paths, contents = _contents(spec)
    series = parse_tcpd(paths[0], contents[0])
    annotations = parse_annotations(paths[1], contents[1])
    return replace(series, annotations=annotations[spec.name], info=describe(spec))


def describe(spec: TimeSeriesSpec) -> TimeSeriesInfo:
    """Describe an entry of the registry and say whether its files are on this machine.

    Parameters
    ----------
    spec : TimeSeriesSpec
        The entry.

    Returns
    -------
    TimeSeriesInfo
        Its facts and the places of its files.

    Examples
    --------
    >>> describe(find_time_series("nile", "change_points")).length
    100
    """
    paths = [path for filename in spec.files if (path := locate(filename, _FOLDERS))]
    return TimeSeriesInfo(
        name=spec.name,
        title=spec.title,
        kind=spec.kind,
        n_channels=spec.n_channels,
        length=spec.length,
        n_train=spec.n_train,
        n_test=spec.n_test,
        n_classes=spec.n_classes,
        target=spec.target,
        description=spec.description,
        licence=spec.licence,
        source=spec.source,
        paths=tuple(paths),
        available=len(paths) == len(spec.files),
    )


def _read_split(form: str, path: str, content: bytes) -> _Split:
    if form == "ts":
        X, y = parse_ts(path, content)
        # The registry holds only files with classes, which are text.
        return X, np.asarray(y, dtype=np.str_)
    return (parse_ucr if form == "ucr" else parse_arff)(path, content)


def _contents(spec: TimeSeriesSpec) -> tuple[list[str], list[bytes]]:
    """Read and verify all files of an entry, or none of them if one is absent."""
    found = {filename: locate(filename, _FOLDERS) for filename in spec.files}
    missing = {file: spec.files[file] for file, path in found.items() if path is None}
    if missing:
        raise not_found(spec.name, missing, _FOLDERS, source=spec.source, licence=spec.licence)
    paths = [path for path in found.values() if path is not None]
    contents = [
        read_verified(path, sha256, name=spec.name, source=spec.source)
        for path, sha256 in zip(paths, spec.files.values(), strict=True)
    ]
    return [str(path) for path in paths], contents
