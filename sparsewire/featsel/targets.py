"""What does a supervised selector train on? The target column of a table, as classes or numbers.

The column is read once more by itself, from CSV, Parquet or NPZ. Whole numbers stay numbers, and
anything that is not a number becomes text; whether it is classes or quantities is for the selector.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from sparsewire.core.errors import InvalidArgumentError
from sparsewire.featsel.columns import counted
from sparsewire.featsel.parquet import ParquetRows
from sparsewire.featsel.tables import Table


def read_target(table: Table) -> npt.NDArray[Any]:
    r"""Read the target of a table.

    Parameters
    ----------
    table : Table
        What `sparsewire.featsel.tables.read_table` returned for a file and a target.

    Returns
    -------
    ndarray of shape (n_samples,)
        int64 if all values are whole numbers, float64 if all are numbers, else str.

    Raises
    ------
    InvalidArgumentError
        If there is no target, a value is missing or infinite, or values are lists or the like.

    Examples
    --------
    >>> import tempfile
    >>> from sparsewire.featsel.tables import read_table
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "leaves.csv")
    ...     _ = path.write_text("length,species\n5.1,setosa\n6.2,virginica\n")
    ...     read_target(read_table(path, target="species")).tolist()
    ['setosa', 'virginica']
    """
    if table.target is None:
        raise InvalidArgumentError(f"{table.path} was read without a target.")
    values = _READERS[table.path.suffix.lower()](table.path, table.target)
    where = f"the target {table.target!r} of {table.path}"
    missing = int(values.isna().sum())
    if missing:
        raise InvalidArgumentError(
            f"{where} is missing in {counted(missing, 'row')}; remove them, or fill in the values."
        )
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.isna().any():
        return values.astype(str).to_numpy(dtype=str)
    array: npt.NDArray[Any] = numbers.to_numpy(dtype=np.float64)
    if not np.isfinite(array).all():
        raise InvalidArgumentError(f"{where} has infinite values; remove those rows.")
    whole = bool((array == np.trunc(array)).all() and (np.abs(array) < 2.0**53).all())
    return array.astype(np.int64) if whole else array


def _from_csv(path: Path, target: str) -> pd.Series[Any]:
    frame = pd.read_csv(path, encoding="utf-8-sig", index_col=False, usecols=[target], dtype=str)
    return frame[target]


def _from_parquet(path: Path, target: str) -> pd.Series[Any]:
    with ParquetRows(path, target) as rows:
        column = rows.column(target)
    if pa.types.is_nested(column.type):
        raise InvalidArgumentError(
            f"the target {target!r} of {path} holds {column.type}; numbers or text are needed."
        )
    series: pd.Series[Any] = column.to_pandas()
    return series.astype(object) if pa.types.is_dictionary(column.type) else series


def _from_npz(path: Path, target: str) -> pd.Series[Any]:
    with np.load(path) as content:  # read_table has opened it before: no pickles inside
        values = content[target]
    if values.ndim != 1 or values.dtype.kind not in "biufUS":
        raise InvalidArgumentError(
            f"the target {target!r} of {path} must be one number or text per row, got "
            f"{values.dtype} of shape {values.shape}."
        )
    return pd.Series(values.astype(str) if values.dtype.kind == "S" else values)


_READERS = {".csv": _from_csv, ".parquet": _from_parquet, ".npz": _from_npz}
