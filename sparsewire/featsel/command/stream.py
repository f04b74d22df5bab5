"""How is a selector trained on a table larger than memory? Chunk by chunk, several times over.

The rows pass in the order of the file, once to be checked and once per epoch to be learnt. The
selector brings ``partial_fit``, which shuffles the rows of a chunk; a file sorted by a target is
better shuffled before.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from sparsewire.core.errors import InvalidArgumentError
from sparsewire.featsel.columns import FiniteCheck, check_shape, counted
from sparsewire.featsel.parquet import ParquetRows

Chunk = npt.NDArray[Any]


def fit_chunks(selector: Any, rows: ParquetRows, *, n_rows: int, progress: bool) -> None:
    """Fit a selector on a Parquet file without holding it in memory.

    Parameters
    ----------
    selector : estimator
        Has ``partial_fit`` and ``epochs``; it is fitted in place.
    rows : ParquetRows
        The open file.
    n_rows : int
        Rows of a chunk.
    progress : bool
        Whether to show a progress bar over rows on standard error.

    Raises
    ------
    InvalidArgumentError
        Before training, if a value is missing or infinite, the file too small, or every feature
        constant; or if the selector refuses the data.
    TrainingDivergedError
        If training diverges.
    """
    check_shape(rows.path, rows.n_rows, len(rows.names))
    epochs = int(selector.epochs)
    total = (1 + epochs) * rows.n_rows
    with tqdm(total=total, unit="row", unit_scale=True, disable=not progress) as bar:
        bar.set_description("checking")
        _check(rows, _counted(rows.chunks(n_rows), bar))
        for epoch in range(epochs):
            bar.set_description(f"epoch {epoch + 1}/{epochs}")
            for chunk in _counted(rows.chunks(n_rows), bar):
                _learn(selector, chunk, rows)


def _counted(chunks: Iterator[Chunk], bar: Any) -> Iterator[Chunk]:
    for chunk in chunks:
        yield chunk
        bar.update(len(chunk))


def _check(rows: ParquetRows, chunks: Iterator[Chunk]) -> None:
    """Refuse what cannot be learnt from, and warn of constant features."""
    finite = FiniteCheck(len(rows.names))
    low, high = np.full(len(rows.names), np.inf), np.full(len(rows.names), -np.inf)
    for chunk in chunks:
        finite.add(chunk)
        np.fmin(low, chunk.min(axis=0), out=low)
        np.fmax(high, chunk.max(axis=0), out=high)
    finite.refuse(rows.names)
    constant = int(np.count_nonzero(low == high))
    if constant == len(rows.names):
        raise InvalidArgumentError(
            f"{rows.path}: all {counted(constant, 'feature')} constant, so there is nothing to "
            "select from; at least one must vary."
        )
    if constant:
        warnings.warn(
            f"{constant} of {len(rows.names)} features are constant; they get importance 0 and "
            "rank last.",
            UserWarning,
            stacklevel=3,
        )


def _learn(selector: Any, chunk: Chunk, rows: ParquetRows) -> None:
    try:
        selector.partial_fit(chunk)
    except ValueError as error:
        raise InvalidArgumentError(f"{rows.path}: {error}") from error
