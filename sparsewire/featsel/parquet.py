"""How does one read a Parquet file without holding it in memory? In chunks of rows.

`ParquetRows` reads the schema at once and the values when asked, as one matrix or chunk by chunk,
and copies chosen columns to another file the same way. Memory is one chunk and what Parquet decodes
of every column at a time: a row group at most, and about 1 MB where row groups are larger, as they
are by pandas' default. Nothing is selected here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from sparsewire.core.errors import InvalidArgumentError
from sparsewire.featsel.columns import BadColumn, feature_names, refuse_non_numeric

_BATCH_ROWS = 4096
"""Rows decoded at a time, at most; small beside a chunk, large beside the cost of a call."""

_READ_BYTES = 16 * 2**20
"""Shared by the read buffers of all columns; one buffer stays between 4 KiB and 1 MiB."""


class ParquetRows:
    """The rows of a Parquet file with numbers in every column but the target.

    Parameters
    ----------
    path : str or path-like
        The file.
    target : str, optional
        A column to set aside; it may hold anything.

    Attributes
    ----------
    path : pathlib.Path
        The file.
    names : tuple of str
        The features: all columns but the target and a stored pandas index.
    target : str or None
        The column that was set aside.
    n_rows : int
        Rows of the file.
    dtype : numpy dtype
        float32 if that holds the values of every feature exactly, else float64.

    Raises
    ------
    InvalidArgumentError
        If the file is damaged, a name is missing or repeated, the target does not exist, or a
        feature is not numeric.
    OSError
        If the file cannot be opened.

    Examples
    --------
    >>> import tempfile, pandas as pd
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "leaves.parquet")
    ...     pd.DataFrame({"length": [5.1, 6.2, 4.7], "width": [3, 2, 3]}).to_parquet(path)
    ...     with ParquetRows(path) as rows:
    ...         names, shapes = rows.names, [chunk.shape for chunk in rows.chunks(2)]
    >>> names, shapes
    (('length', 'width'), [(2, 2), (1, 2)])
    """

    def __init__(self, path: str | os.PathLike[str], target: str | None = None) -> None:
        self.path = Path(path)
        self.target = target
        try:
            # Without a buffer of its own a column reads all its bytes of a row group at once.
            with pq.ParquetFile(self.path) as file:
                n_columns, self.n_rows = max(1, file.metadata.num_columns), file.metadata.num_rows
            buffer_size = min(max(_READ_BYTES // n_columns, 2**12), 2**20)
            self._file = pq.ParquetFile(self.path, buffer_size=buffer_size, pre_buffer=False)
        except pa.ArrowException as error:
            raise _damaged(self.path, error) from error
        try:
            self._schema = self._file.schema_arrow
            self._index = _stored_index(self._schema)
            header = [name for name in self._schema.names if name not in self._index]
            self.names = feature_names(header, target, self.path)
            refuse_non_numeric(_bad_columns(self._schema, self.names))
        except BaseException:
            self._file.close()
            raise
        small = all(_fits_float32(self._schema.field(name).type) for name in self.names)
        self.dtype = np.dtype(np.float32 if small else np.float64)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def chunks(self, n_rows: int, dtype: npt.DTypeLike | None = None) -> Iterator[npt.NDArray[Any]]:
        """Yield the features, `n_rows` rows at a time, in the order of the file.

        Parameters
        ----------
        n_rows : int
            Rows of a chunk, at least 1; the last chunk has what is left.
        dtype : numpy dtype, optional
            Type of the values, by default that of the attribute.

        Yields
        ------
        ndarray of shape (<= n_rows, n_features)
            Values; missing ones are NaN. The memory is used again for the next chunk.

        Raises
        ------
        InvalidArgumentError
            If the file turns out to be damaged.
        """
        size = min(n_rows, self.n_rows)
        chunk = np.empty((size, len(self.names)), dtype or self.dtype)
        filled = 0
        for batch in self._batches(self.names, min(n_rows, _BATCH_ROWS)):
            while batch.num_rows:
                part = batch.slice(0, size - filled)
                _fill(chunk[filled : filled + part.num_rows], part)
                batch, filled = batch.slice(part.num_rows), filled + part.num_rows
                if filled == size:
                    yield chunk
                    filled = 0
        if filled:
            yield chunk[:filled]

    def matrix(self) -> npt.NDArray[np.float64]:
        """Return all features as one float64 array of shape (n_rows, n_features)."""
        whole = next(self.chunks(max(1, self.n_rows), np.float64), None)
        return np.empty((0, len(self.names))) if whole is None else whole

    def column(self, name: str) -> Any:
        """Return one column as a pyarrow.ChunkedArray."""
        try:
            return self._file.read(columns=[name]).column(name)
        except (pa.ArrowException, OSError) as error:
            raise _damaged(self.path, error) from error

    def write(self, selected: npt.NDArray[np.bool_], output: Path) -> None:
        """Copy the selected columns, the target and a stored pandas index, unchanged.

        Parameters
        ----------
        selected : ndarray of bool of shape (n_features,)
            The features to keep.
        output : pathlib.Path
            File to write.
        """
        kept = {name for name, keep in zip(self.names, selected, strict=True) if keep}
        kept |= self._index | ({self.target} if self.target is not None else set())
        fields = [field for field in self._schema if field.name in kept]
        schema = pa.schema(fields, metadata=self._schema.metadata)
        with pq.ParquetWriter(output, schema) as writer:
            for batch in self._batches(schema.names, 16 * _BATCH_ROWS):
                writer.write_batch(batch)

    def _batches(self, names: Sequence[str], n_rows: int) -> Iterator[Any]:
        wanted = list(names)
        try:
            for batch in self._file.iter_batches(batch_size=n_rows, columns=wanted):
                yield batch.select(wanted)  # asked for "a", pyarrow also reads a column "a.b"
        except (pa.ArrowException, OSError) as error:
            raise _damaged(self.path, error) from error


def _damaged(path: Path, error: Exception) -> InvalidArgumentError:
    return InvalidArgumentError(f"{path} is not a readable Parquet file: {error}")


def _fill(values: npt.NDArray[Any], batch: Any) -> None:
    """Copy a record batch into an array of the same shape, nulls as NaN."""
    kind = pa.from_numpy_dtype(values.dtype)
    for place, column in enumerate(batch.columns):
        values[:, place] = column.cast(kind, safe=False).to_numpy(zero_copy_only=False)


def _stored_index(schema: Any) -> set[str]:
    """Columns that are a pandas index: they belong to the rows and are no features."""
    metadata = schema.pandas_metadata or {}
    return {name for name in metadata.get("index_columns", []) if isinstance(name, str)}


def _bad_columns(schema: Any, names: Sequence[str]) -> list[BadColumn]:
    stored = (schema.pandas_metadata or {}).get("columns", [])
    # Categories that are numbers are stored as plain numbers; only pandas' notes tell.
    coded = {note.get("name") for note in stored if note.get("pandas_type") == "categorical"}
    bad = []
    for name in names:
        kind = schema.field(name).type
        if name in coded or not _is_number(kind):
            bad.append(BadColumn(name, *_complaint(kind)))
    return bad


def _is_number(kind: Any) -> bool:
    is_ = pa.types  # a column of nothing but nulls counts as numbers that are missing
    checks = (is_.is_integer, is_.is_floating, is_.is_boolean, is_.is_decimal, is_.is_null)
    return any(check(kind) for check in checks)


def _complaint(kind: Any) -> tuple[str, str]:
    """Kind of column and its description, as `BadColumn` wants them."""
    if pa.types.is_dictionary(kind):
        return "category", f"categories of type {kind.value_type}"
    if pa.types.is_temporal(kind):
        return "date", str(kind)
    if pa.types.is_nested(kind):
        return "nested", str(kind)
    return "category", f"categories of type {kind}" if _is_number(kind) else str(kind)


def _fits_float32(kind: Any) -> bool:
    small = pa.types.is_integer(kind) and kind.bit_width <= 16
    half = pa.types.is_floating(kind) and kind.bit_width <= 32
    return bool(small or half or pa.types.is_boolean(kind) or pa.types.is_null(kind))
