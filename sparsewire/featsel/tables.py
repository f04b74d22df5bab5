"""How does a table become a feature matrix, and a selection a smaller table? CSV, Parquet, NPZ.

Three formats, told apart by the file name's suffix: ``.csv`` (comma separated, UTF-8, first line
holds the column names), ``.parquet`` and ``.npz`` (arrays ``X`` and optionally ``y`` and
``feature_names``). Reading checks everything a selector would stumble over. Writing goes back to
the source file and copies the kept columns, so no value passes through a float on its way. Nothing
is imputed, encoded or scaled here, and nothing is selected. What columns must be is said in
``columns``, how Parquet is read in ``parquet``.
"""

from __future__ import annotations

import csv
import os
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sparsewire.core._files import replacing
from sparsewire.core._validation import suggest
from sparsewire.core.errors import InvalidArgumentError
from sparsewire.featsel.columns import (
    BadColumn,
    FiniteCheck,
    check_shape,
    counted,
    feature_names,
    refuse_non_numeric,
)
from sparsewire.featsel.parquet import ParquetRows

_ENCODING = "utf-8-sig"  # plain UTF-8, with or without the mark that spreadsheets put in front
_RESERVED = ("X", "feature_names", "file", "allow_pickle")  # the last two: numpy.savez's arguments
_DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4}")


@dataclass(frozen=True, eq=False)
class Table:
    """The numeric features of a file, ready for a selector.

    Attributes
    ----------
    path : pathlib.Path
        The file it was read from.
    values : ndarray of shape (n_samples, n_features)
        Finite numbers. float64 from CSV and Parquet, the array's own type from NPZ.
    names : tuple of str
        One name per column of `values`, all different, in the order of the file.
    target : str or None
        Name of the column (CSV, Parquet) or array (NPZ) that was set aside.
    """

    path: Path
    values: npt.NDArray[Any]
    names: tuple[str, ...]
    target: str | None


def read_table(path: str | os.PathLike[str], target: str | None = None) -> Table:
    r"""Read the features of a CSV, Parquet or NPZ file and check that a selector can use them.

    Parameters
    ----------
    path : str or path-like
        File ending in ``.csv``, ``.parquet`` or ``.npz``.
    target : str, optional
        The column to set aside; it may hold anything. In NPZ files the name of the label array,
        by default ``y`` if there is one. Without it every column is a feature.

    Returns
    -------
    Table
        The features; Boolean columns count as 0 and 1.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    InvalidArgumentError
        If the format is unknown or the file damaged, the target does not exist, column names are
        missing or repeated, a feature is not numeric, a value is missing or infinite, or there are
        fewer than two rows or no feature. It is a ``ValueError`` and names the columns and a way
        out.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "leaves.csv")
    ...     _ = path.write_text("length,width,species\n5.1,3.5,setosa\n6.2,2.9,virginica\n")
    ...     table = read_table(path, target="species")
    >>> table.names, table.values.shape
    (('length', 'width'), (2, 2))
    """
    source = Path(path)
    reader, _ = _format_of(source)
    if not source.is_file():
        raise FileNotFoundError(f"no such file: {source}")
    table = reader(source, target)
    check_shape(source, *table.values.shape)
    check = FiniteCheck(table.values.shape[1])
    check.add(table.values)
    check.refuse(table.names)
    return table


def write_selected(
    table: Table, selected: npt.NDArray[np.bool_], output: str | os.PathLike[str]
) -> None:
    """Write the selected columns and the target, unchanged, in the format of the source.

    CSV keeps the text of every value, Parquet its types and a stored pandas index, NPZ the array's
    type; NPZ output always has ``feature_names`` and leaves out arrays other than ``X``, the label
    array and ``feature_names``.

    Parameters
    ----------
    table : Table
        What `read_table` returned; its file is read again.
    selected : ndarray of bool of shape (n_features,)
        True for the columns to keep. Their order stays that of the source.
    output : str or path-like
        File to write, replaced as a whole if it exists.

    Raises
    ------
    InvalidArgumentError
        If `selected` is not a Boolean array with one entry per feature.
    """
    mask = np.asarray(selected)
    if mask.dtype != np.bool_ or mask.shape != (len(table.names),):
        raise InvalidArgumentError(
            f"selected must be a Boolean array of shape ({len(table.names)},), "
            f"got {mask.dtype} of shape {mask.shape}."
        )
    _, writer = _format_of(table.path)
    with replacing(output) as temporary:
        writer(table, mask, temporary)


def _read_csv(path: Path, target: str | None) -> Table:
    header = _csv_header(path)
    names = feature_names(header, target, path)
    try:
        with warnings.catch_warnings():
            # With index_col=False a row that is too long is this warning, not a silent row index.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            # The target is read as text: it may be anything, and nobody computes with it here.
            types = {} if target is None else {target: str}
            frame = pd.read_csv(
                path, encoding=_ENCODING, low_memory=False, index_col=False, dtype=types
            )
    # pandas' parser errors and UnicodeDecodeError are ValueErrors.
    except (ValueError, pd.errors.ParserWarning) as error:
        raise InvalidArgumentError(f"{path} is not a readable CSV file: {error}") from error
    features = frame[list(names)]
    if features.empty:  # without a value no column has a type to complain about
        return Table(path, np.empty(features.shape), names, target)
    return Table(path, _numbers(features), names, target)


def _numbers(features: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Return the columns as numbers, or say which are none."""
    numeric = set(features.select_dtypes(include=["number", "bool"]).columns)
    odd = [name for name in features.columns if name not in numeric]
    # Whole numbers beyond 64 bits, and True and False among gaps, are numbers all the same.
    converted = {name: pd.to_numeric(features[name], errors="coerce") for name in odd}
    wrong = {name: features[name][converted[name].isna()].dropna() for name in odd}
    refuse_non_numeric(
        [_complaint(name, wrong[name], features[name].count()) for name in odd if len(wrong[name])]
    )
    return features.assign(**converted).to_numpy(dtype=np.float64)


def _complaint(name: str, wrong: pd.Series[Any], n_values: int) -> BadColumn:
    """Say what is wrong with a column of which `wrong` are no numbers, by row."""
    row, first = wrong.index[0], str(wrong.iloc[0])
    if 2 * len(wrong) < n_values:
        what = f"{len(wrong)} of {counted(n_values, 'value')} are no numbers, the first {first!r}"
        return BadColumn(name, "mixed", f"{what} in row {row + 1}")
    if _DATE.match(first):
        return BadColumn(name, "date", f"dates such as {first!r}")
    return BadColumn(name, "category", f"text such as {first!r}")


def _csv_header(path: Path) -> list[str]:
    try:
        with path.open(encoding=_ENCODING, newline="") as stream:
            header = next((row for row in csv.reader(stream) if row), [])
    except (csv.Error, UnicodeDecodeError) as error:
        raise InvalidArgumentError(f"{path} is not a readable CSV file: {error}") from error
    if len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
        raise InvalidArgumentError(
            f"{path} seems to have one column only, {header[0]!r}; values must be separated "
            "by commas."
        )
    return header


def _write_csv(table: Table, selected: npt.NDArray[np.bool_], output: Path) -> None:
    kept = _kept(table, selected)
    with (
        table.path.open(encoding=_ENCODING, newline="") as source,
        output.open("w", encoding="utf-8", newline="") as sink,
    ):
        rows = (row for row in csv.reader(source) if row)
        header = next(rows)
        places = [place for place, name in enumerate(header) if name in kept]
        writer = csv.writer(sink, lineterminator="\n")
        writer.writerow([header[place] for place in places])
        for row in rows:  # a short row can only lack its target: features were checked
            writer.writerow([row[place] if place < len(row) else "" for place in places])


def _read_parquet(path: Path, target: str | None) -> Table:
    with ParquetRows(path, target) as rows:
        return Table(path, rows.matrix(), rows.names, target)


def _write_parquet(table: Table, selected: npt.NDArray[np.bool_], output: Path) -> None:
    with ParquetRows(table.path, table.target) as rows:
        rows.write(selected, output)


def _read_npz(path: Path, target: str | None) -> Table:
    if target in _RESERVED:
        raise InvalidArgumentError(f"Array {target!r} cannot be the target; name a label array.")
    arrays = _npz_arrays(path, target)
    values = arrays["X"]
    if values.ndim != 2:
        raise InvalidArgumentError(
            f"Array 'X' of {path} must have shape (n_samples, n_features), got {values.shape}."
        )
    if values.dtype.kind not in "biuf":
        raise InvalidArgumentError(
            f"Array 'X' of {path} must hold real numbers, got dtype {values.dtype}."
        )
    names = _npz_names(arrays, values.shape[1], path)
    label = target or ("y" if "y" in arrays else None)
    if label is not None and arrays[label].shape[:1] != values.shape[:1]:
        raise InvalidArgumentError(
            f"Array {label!r} of {path} has shape {arrays[label].shape}, but 'X' has "
            f"{values.shape[0]} rows."
        )
    return Table(path, values, feature_names(names, None, path), label)


def _npz_arrays(path: Path, target: str | None) -> dict[str, npt.NDArray[Any]]:
    """Load ``X``, ``feature_names`` and the labels; other arrays stay unread."""
    wanted = {"X", "feature_names", target or "y"}
    try:
        # allow_pickle stays off: a data file must not be able to run code.
        with np.load(path) as content:
            stored = list(content)
            arrays = {name: content[name] for name in stored if name in wanted}
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidArgumentError(f"{path} is not a readable NPZ file: {error}") from error
    for needed in ("X", *([target] if target else [])):
        if needed not in arrays:
            raise InvalidArgumentError(
                f"{path} has no array {needed!r}; it holds {', '.join(stored)}."
                f"{suggest(needed, stored)}"
            )
    return arrays


def _npz_names(arrays: dict[str, npt.NDArray[Any]], n_features: int, path: Path) -> list[str]:
    if "feature_names" not in arrays:
        return [f"x{index}" for index in range(n_features)]
    names = arrays["feature_names"]
    if names.shape != (n_features,) or names.dtype.kind != "U":
        raise InvalidArgumentError(
            f"Array 'feature_names' of {path} must hold {n_features} strings, got {names.dtype} "
            f"of shape {names.shape}."
        )
    return [str(name) for name in names]


def _write_npz(table: Table, selected: npt.NDArray[np.bool_], output: Path) -> None:
    source = _npz_arrays(table.path, table.target)
    reduced: dict[str, Any] = {
        "X": source["X"][:, selected],
        "feature_names": np.array(table.names)[selected],
    }
    if table.target is not None:
        reduced[table.target] = source[table.target]
    np.savez_compressed(output, **reduced)


_Reader = Callable[[Path, str | None], Table]
_Writer = Callable[[Table, npt.NDArray[np.bool_], Path], None]
_FORMATS: dict[str, tuple[_Reader, _Writer]] = {
    ".csv": (_read_csv, _write_csv),
    ".parquet": (_read_parquet, _write_parquet),
    ".npz": (_read_npz, _write_npz),
}


def _format_of(path: Path) -> tuple[_Reader, _Writer]:
    try:
        return _FORMATS[path.suffix.lower()]
    except KeyError:
        raise InvalidArgumentError(
            f"unknown format {path.suffix!r} of {path}: the file name must end in "
            f"{', '.join(_FORMATS)}."
        ) from None


def _kept(table: Table, selected: npt.NDArray[np.bool_]) -> set[str]:
    names = {name for name, keep in zip(table.names, selected, strict=True) if keep}
    return names if table.target is None else names | {table.target}
