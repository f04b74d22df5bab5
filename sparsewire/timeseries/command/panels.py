"""Which labelled series does ``sparsewire ts classify`` read? A file's, or a named data set's.

``.ts``, ``.tsv`` and ``.txt`` (UCR), ``.arff``, ``.npz`` and ``.csv`` with one row a series. A
named data set and an archive of both splits bring training and test cases along.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsewire.core.errors import InvalidArgumentError
from sparsewire.datasets.timeseries import (
    load_panel,
    read_arff,
    read_panel_npz,
    read_ts,
    read_ucr,
)
from sparsewire.timeseries.classification.preparation import Preparation
from sparsewire.timeseries.command.arguments import refusals
from sparsewire.timeseries.command.output import describe_files
from sparsewire.timeseries.command.tables import read_text
from sparsewire.timeseries.panel import Panel, to_panel

_UCR = (".tsv", ".txt")
SUFFIXES = (".ts", *_UCR, ".arff", ".npz", ".csv")


@dataclass(frozen=True, eq=False, kw_only=True)
class Cases:
    """Series, and their labels if there are some.

    Attributes
    ----------
    source : str
        File or name, for messages.
    X : ndarray or list of ndarray
        As the estimator takes them.
    y : ndarray of str of shape (n,) or None
        Labels as text.
    files : tuple of pathlib.Path
        Where they were read from.
    columns : tuple of str
        Names of the time steps, of a ``.csv`` file.
    """

    source: str
    X: Any
    y: npt.NDArray[np.str_] | None
    files: tuple[Path, ...]
    columns: tuple[str, ...] = ()

    @property
    def panel(self) -> Panel:
        """The series in one form, checked."""
        with refusals(self.source):
            return to_panel(self.X)

    def describe(self) -> dict[str, Any]:
        """Return what a JSON file tells about them."""
        panel = self.panel
        return {
            "source": self.source,
            "files": describe_files(self.files),
            "n_series": len(panel),
            "n_channels": panel.n_channels,
            "length": [int(panel.lengths.min()), int(panel.lengths.max())],
            "n_missing": panel.n_missing,
        }


def read_cases(source: str, target: str | None) -> list[Cases]:
    """Read a file or a named data set.

    Parameters
    ----------
    source : str
        File, or name of a data set such as ``gunpoint``.
    target : str or None
        Column of the labels, in a ``.csv`` file.

    Returns
    -------
    list of Cases
        Training and test cases, or the one set that a file holds.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    InvalidArgumentError
        If the format is unknown, the file damaged, or no data set has that name.
    """
    path = Path(source)
    suffix = path.suffix.lower()
    if path.is_file() and suffix not in SUFFIXES:
        raise InvalidArgumentError(
            f"unknown format {suffix!r} of {path}: the file name must end in {', '.join(SUFFIXES)}."
        )
    if suffix in SUFFIXES and not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    with refusals():
        if suffix not in SUFFIXES:
            return _named(source)
        if suffix == ".csv":
            return [_csv(path, target)]
        if suffix == ".npz":
            return _npz(path)
        X, y = _READERS[suffix](path)
    if y is not None and y.dtype.kind != "U":
        raise InvalidArgumentError(
            f"{path} holds targets of a regression (@targetLabel), not labels of classes."
        )
    return [Cases(source=source, X=X, y=y, files=(path,))]


_READERS: dict[str, Any] = {".ts": read_ts, ".arff": read_arff, **dict.fromkeys(_UCR, read_ucr)}


def _named(name: str) -> list[Cases]:
    data = load_panel(name)
    files = data.info.paths
    # An archive is one file with both splits.
    train = Cases(source=f"{name} (train)", X=data.X_train, y=data.y_train, files=files[:1])
    return [train, Cases(source=f"{name} (test)", X=data.X_test, y=data.y_test, files=files[-1:])]


def _csv(path: Path, target: str | None) -> Cases:
    table = read_text(path)
    columns = [name for name in table.header if name != target]
    labels = None
    if target in table.header:
        labels = np.array(table.column(str(target)), dtype=np.str_)
        if "" in labels:
            line = table.lines[int(np.flatnonzero(labels == "")[0])]
            raise InvalidArgumentError(f"{path}, line {line}: the label in {target!r} is missing.")
    values = table.numbers(columns, "name the column of labels with --target")[:, np.newaxis]
    return Cases(source=str(path), X=values, y=labels, files=(path,), columns=tuple(columns))


def _npz(path: Path) -> list[Cases]:
    try:
        # allow_pickle stays off: a data file must not be able to run code.
        with np.load(path) as content:
            arrays = {name: content[name] for name in content if name in ("X", "y")}
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidArgumentError(f"{path} is not a readable NPZ file: {error}") from error
    if "X" not in arrays:
        splits = zip(("train", "test"), read_panel_npz(path), strict=True)
        return [Cases(source=f"{path} ({s})", X=X, y=y, files=(path,)) for s, (X, y) in splits]
    X, y = arrays["X"], arrays.get("y")
    if X.dtype.kind not in "biuf" or (y is not None and y.shape != X.shape[:1]):
        raise InvalidArgumentError(
            f"{path}: X must be an array of real numbers, and y have one label for each series; "
            f"got {X.dtype} of shape {X.shape} and labels of shape {getattr(y, 'shape', None)}."
        )
    return [Cases(source=str(path), X=X, y=None if y is None else y.astype(np.str_), files=(path,))]


def check_against(cases: Cases, *, columns: tuple[str, ...], treatment: Preparation) -> None:
    """Refuse series that are not like those of the training.

    Parameters
    ----------
    cases : Cases
        To be predicted.
    columns : tuple of str
        Names of the time steps of the training series; empty if they have none.
    treatment : Preparation
        Fitted to the training series.

    Raises
    ------
    InvalidArgumentError
        If channels or names differ, or a ``.csv`` file has more columns than there are steps.
    """
    if (found := cases.panel.n_channels) != treatment.n_channels:
        raise InvalidArgumentError(
            f"{cases.source} has {found} channels, the training series have {treatment.n_channels}."
        )
    if columns and cases.columns and cases.columns != columns:
        ours, theirs = set(columns), set(cases.columns)
        odd = sorted(ours ^ theirs) or ["another order"]
        raise InvalidArgumentError(
            f"{cases.source} has other columns than the training series: {', '.join(odd[:5])}; "
            "name the label column with --target."
        )
    # A column of labels that are numbers would pass for one more time step.
    if len(cases.columns) > treatment.length:
        raise InvalidArgumentError(
            f"{cases.source} has {len(cases.columns)} columns of values, but the longest training "
            f"series has {treatment.length} steps; name the column of labels with --target. Longer "
            "series can be given as .npz or .ts."
        )


def check_labels(cases: Cases, classes: npt.NDArray[Any]) -> None:
    """Refuse labels that were not seen at fit.

    Parameters
    ----------
    cases : Cases
        Test cases.
    classes : ndarray
        Labels of the training series.

    Raises
    ------
    InvalidArgumentError
        If there are no labels, or unknown ones.
    """
    if cases.y is None:
        raise InvalidArgumentError(
            f"{cases.source} has no labels to compare with; for a .csv file, name their column "
            "with --target. --predict takes series without labels."
        )
    if unseen := sorted(set(cases.y) - set(classes)):
        raise InvalidArgumentError(
            f"{cases.source} has labels that no training series has: {', '.join(unseen)}; those "
            f"are {', '.join(classes)}."
        )
