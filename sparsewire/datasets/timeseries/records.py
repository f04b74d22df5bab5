"""What does a loaded time-series data set consist of? Plain records of arrays, and their facts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sparsewire.datasets.timeseries.spec import TimeSeriesKind
from sparsewire.datasets.timeseries.text import Panel


@dataclass(frozen=True, kw_only=True)
class TimeSeriesInfo:
    """Facts about a time-series data set, known without reading it; ``print`` shows them.

    Parameters
    ----------
    name, title : str
        Canonical name, and the name in the literature.
    kind : {"panel", "series", "change_points"}
        What it is for: classification, forecasting, finding change points.
    n_channels : int
        Series per case, or columns.
    length : int or tuple of (int, int)
        Steps; smallest and largest number where cases differ.
    n_train, n_test, n_classes : int or None
        Cases of the default split and classes of a panel.
    target : str or None
        Column to forecast.
    description, licence, source : str
        What it is, under which terms, and where it comes from.
    paths : tuple of Path
        The files found on this machine.
    available : bool
        Whether all files are here. The checksums are verified only by loading.

    Examples
    --------
    >>> from sparsewire.datasets import info
    >>> info("etth1", kind="series").target
    'OT'
    """

    name: str
    title: str
    kind: TimeSeriesKind
    n_channels: int
    length: int | tuple[int, int]
    n_train: int | None
    n_test: int | None
    n_classes: int | None
    target: str | None
    description: str
    licence: str
    source: str
    paths: tuple[Path, ...]
    available: bool

    def __str__(self) -> str:
        shape = f"{self.length} steps x {self.n_channels} columns"
        if self.kind == "panel":
            length = (
                self.length if isinstance(self.length, int) else "{} to {}".format(*self.length)
            )
            shape = (
                f"{self.n_train} train and {self.n_test} test cases, {self.n_channels} channels x "
                f"{length} steps, {self.n_classes} classes"
            )
        files = ", ".join(map(str, self.paths)) if self.available else "not found here"
        lines = (
            f"{self.name} ({self.title})",
            f"  about    {self.description}",
            f"  shape    {shape}",
            f"  licence  {self.licence}",
            f"  source   {self.source}",
            f"  files    {files}",
        )
        return "\n".join(lines)


@dataclass(frozen=True, eq=False, kw_only=True)
class PanelDataset:
    """Labelled series in their default split; two of them compare by identity.

    Parameters
    ----------
    X_train, X_test : ndarray of shape (n, channels, length) or list of ndarray (channels, length_i)
        Both lists if any two cases differ in length, nothing is padded; NaN where a value is
        missing, nothing is filled in. Fresh and writable at every load, scaled as in the file.
    y_train, y_test : ndarray of str of shape (n,)
        Labels as text.
    info : TimeSeriesInfo
        What it is and where it comes from.
    """

    X_train: Panel
    y_train: npt.NDArray[np.str_]
    X_test: Panel
    y_test: npt.NDArray[np.str_]
    info: TimeSeriesInfo


@dataclass(frozen=True, eq=False, kw_only=True)
class SeriesDataset:
    """One multivariate series to forecast, in the source's units.

    Parameters
    ----------
    values : ndarray of float64 of shape (T, n_columns)
        NaN where a value is missing. The target is the last column.
    times : ndarray of datetime64[s] of shape (T,)
        Strictly increasing.
    columns : tuple of str
        Names of the columns of `values`.
    target : str
        The last of them.
    info : TimeSeriesInfo or None, default=None
        What it is; None for a file that is not registered.
    """

    values: npt.NDArray[np.float64]
    times: npt.NDArray[np.datetime64]
    columns: tuple[str, ...]
    target: str
    info: TimeSeriesInfo | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class ChangePointDataset:
    """One series and where people saw it change.

    Parameters
    ----------
    values : ndarray of float64 of shape (T, n_columns)
        NaN where a value is missing.
    annotations : dict of str to list of int
        For each annotator the 0-based indices of the first samples of new segments, increasing;
        an empty list says that the series does not change. Empty if read without annotations.
    columns : tuple of str
        Names of the columns.
    times : tuple of str or None
        What the source gives as times, as it gives it.
    info : TimeSeriesInfo or None, default=None
        What it is; None for a file that is not registered.
    """

    values: npt.NDArray[np.float64]
    annotations: dict[str, list[int]]
    columns: tuple[str, ...]
    times: tuple[str, ...] | None
    info: TimeSeriesInfo | None = None
