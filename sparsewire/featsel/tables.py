"""How does a table become a feature matrix, and a selection a smaller table? CSV, Parquet, NPZ.

Three formats, told apart by the file name's suffix: ``.csv`` (comma separated, UTF-8, first line
holds the column names), ``.parquet`` and ``.npz`` (arrays ``X`` and optionally ``y`` and
``feature_names``). Reading checks everything a selector would stumble over. Writing goes back to
the source file and copies the kept columns, so no value passes through a float on its way. Nothing
is imputed, encoded or scaled here, and nothing is selected.
"""

from __future__ import annotations

import csv
import os
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sparsewire.core._files import replacing
from sparsewire.core._validation import suggest
from sparsewire.core.errors import InvalidArgumentError

_ENCODING = "utf-8-sig"  # plain UTF-8, with or without the mark that spreadsheets put in front
_RESERVED = ("X", "feature_names", "file", "allow_pickle")  # the last two: numpy.savez's arguments
_SHOWN = 5  # how many columns an error message lists by name


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
        fewer than two rows or no feature. It is a ``ValueError`` and names the columns.

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
    _check_shape(table)
    _check_finite(table)
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
    names = _features(header, target, path)
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
    numeric = set(features.select_dtypes(include=["number", "bool"]).columns)
    _refuse_non_numeric(
        [f"{n!r} (first value {features[n].head(1).tolist()})" for n in names if n not in numeric]
    )
    return Table(path, features.to_numpy(dtype=np.float64), names, target)


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
    content = _parquet_content(path)
    index = _stored_index(content)
    names = _features([n for n in content.column_names if n not in index], target, path)
    columns = [content.column(name) for name in names]
    _refuse_non_numeric(
        [f"{n!r} ({c.type})" for n, c in zip(names, columns, strict=True) if not _is_number(c.type)]
    )
    values = np.empty((content.num_rows, len(names)))
    for place, column in enumerate(columns):  # a null becomes NaN
        values[:, place] = column.cast(pa.float64(), safe=False).to_numpy()
    return Table(path, values, names, target)


def _write_parquet(table: Table, selected: npt.NDArray[np.bool_], output: Path) -> None:
    content = _parquet_content(table.path)
    kept = _kept(table, selected) | _stored_index(content)
    places = [place for place, name in enumerate(content.column_names) if name in kept]
    pq.write_table(content.select(places), output)


def _parquet_content(path: Path) -> Any:
    try:
        with pq.ParquetFile(path) as file:
            return file.read()
    except pa.ArrowException as error:
        raise InvalidArgumentError(f"{path} is not a readable Parquet file: {error}") from error


def _stored_index(content: Any) -> set[str]:
    """Columns that are a pandas index: they belong to the rows and are no features."""
    metadata = content.schema.pandas_metadata or {}
    return {name for name in metadata.get("index_columns", []) if isinstance(name, str)}


def _is_number(kind: Any) -> bool:
    checks = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)
    return any(check(kind) for check in checks)


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
    return Table(path, values, _features(names, None, path), label)


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


def _features(header: Sequence[str], target: str | None, path: Path) -> tuple[str, ...]:
    """Return the column names without the target, after checking that they identify columns."""
    if "" in header:
        raise InvalidArgumentError(
            f"Column {header.index('') + 1} of {path} has no name; name it, or remove it if it is "
            "a row number."
        )
    repeated = [name for name, count in Counter(header).items() if count > 1]
    if repeated:
        raise InvalidArgumentError(f"{path} has repeated column names: {_listing(repeated)}.")
    if target is not None and target not in header:
        raise InvalidArgumentError(
            f"{path} has no target column {target!r}.{suggest(target, header)}"
        )
    return tuple(name for name in header if name != target)


def _kept(table: Table, selected: npt.NDArray[np.bool_]) -> set[str]:
    names = {name for name, keep in zip(table.names, selected, strict=True) if keep}
    return names if table.target is None else names | {table.target}


def _check_shape(table: Table) -> None:
    n_rows, n_features = table.values.shape
    if n_rows < 2 or n_features < 1:
        raise InvalidArgumentError(
            f"{table.path} has {n_rows} rows and {n_features} features; at least 2 rows and "
            "1 feature are needed."
        )


def _check_finite(table: Table) -> None:
    counts = np.count_nonzero(~np.isfinite(table.values), axis=0)
    bad = [f"{table.names[place]!r} ({counts[place]})" for place in np.flatnonzero(counts)]
    if bad:
        raise InvalidArgumentError(
            f"missing or infinite values in {_columns(bad)}: {_listing(bad)} (name and count); "
            "impute or remove them first, for example with sklearn.impute.SimpleImputer."
        )


def _refuse_non_numeric(columns: Sequence[str]) -> None:
    if columns:
        raise InvalidArgumentError(
            f"{_columns(columns)} not numeric: {_listing(columns)}; encode first, for example with "
            "sklearn.preprocessing.OneHotEncoder, or set one aside as the target."
        )


def _columns(items: Sequence[str]) -> str:
    return f"{len(items)} column{'s' if len(items) > 1 else ''}"


def _listing(items: Sequence[str]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + more
