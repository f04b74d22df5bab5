"""Which columns can a selector use? Numbers, finite, each with a name of its own.

The checks that CSV, Parquet and NPZ files have in common, and the messages with advice when one
fails. Files are read elsewhere, and nothing is repaired here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsewire.core._validation import suggest
from sparsewire.core.errors import InvalidArgumentError

_SHOWN = 5  # how many columns an error message lists by name

_ADVICE = {
    "category": "encode categories first, for example with sklearn.preprocessing.OneHotEncoder",
    "date": "turn dates into numbers first, for example days since the earliest one",
    "mixed": "correct or remove what is no number",
    "nested": "spread nested values over columns of numbers",
}


@dataclass(frozen=True)
class BadColumn:
    """A column that does not hold numbers.

    Attributes
    ----------
    name : str
        The column.
    kind : {"category", "date", "mixed", "nested"}
        What it holds; decides the advice.
    what : str
        The same for a reader, such as ``text such as 'red'``.
    """

    name: str
    kind: str
    what: str


def feature_names(header: Sequence[str], target: str | None, path: Path) -> tuple[str, ...]:
    """Return the column names without the target, after checking that they identify columns.

    Parameters
    ----------
    header : sequence of str
        Names of all columns.
    target : str or None
        The column that is no feature.
    path : pathlib.Path
        The file, for messages.

    Returns
    -------
    tuple of str
        Names of the features in the order of the file.

    Raises
    ------
    InvalidArgumentError
        If a name is missing or repeated, or the target is not among them.

    Examples
    --------
    >>> feature_names(["length", "species"], "species", Path("leaves.csv"))
    ('length',)
    """
    if "" in header:
        raise InvalidArgumentError(
            f"Column {header.index('') + 1} of {path} has no name; name it, or remove it if it is "
            "a row number."
        )
    repeated = [name for name, count in Counter(header).items() if count > 1]
    if repeated:
        raise InvalidArgumentError(f"{path} has repeated column names: {listing(repeated)}.")
    if target is not None and target not in header:
        raise InvalidArgumentError(
            f"{path} has no target column {target!r}.{suggest(target, header)}"
        )
    return tuple(name for name in header if name != target)


def check_shape(path: Path, n_rows: int, n_features: int) -> None:
    """Raise `InvalidArgumentError` unless there are at least two rows and one feature."""
    if n_rows < 2 or n_features < 1:
        raise InvalidArgumentError(
            f"{path} has {n_rows} rows and {n_features} features; at least 2 rows and "
            "1 feature are needed."
        )


def refuse_non_numeric(columns: Sequence[BadColumn]) -> None:
    """Raise `InvalidArgumentError` with advice if there is any such column.

    Parameters
    ----------
    columns : sequence of BadColumn
        What was found.

    Raises
    ------
    InvalidArgumentError
        Names the columns and says what to do.
    """
    if columns:
        advice = [_ADVICE[kind] for kind in _ADVICE if any(bad.kind == kind for bad in columns)]
        raise InvalidArgumentError(
            f"{counted(len(columns), 'column')} not numeric: "
            f"{listing([f'{bad.name!r} ({bad.what})' for bad in columns])}; {'; '.join(advice)}; "
            "or set one column aside as the target."
        )


class FiniteCheck:
    """Counts missing and infinite values, one block of rows after the other.

    Parameters
    ----------
    n_features : int
        Columns of every block.

    Examples
    --------
    >>> check = FiniteCheck(2)
    >>> check.add(np.array([[1.0, 2.0], [3.0, 4.0]]))
    >>> check.refuse(["a", "b"])
    """

    def __init__(self, n_features: int) -> None:
        self._missing = np.zeros(n_features, dtype=np.int64)
        self._infinite = np.zeros(n_features, dtype=np.int64)

    def add(self, values: npt.NDArray[Any]) -> None:
        """Count in more rows, shape (n_rows, n_features)."""
        # The sum of finite numbers is finite unless it overflows: most blocks are done with it.
        with np.errstate(over="ignore", invalid="ignore"):
            suspicious = ~np.isfinite(values.sum(axis=0))
        for column in np.flatnonzero(suspicious):
            self._missing[column] += np.count_nonzero(np.isnan(values[:, column]))
            self._infinite[column] += np.count_nonzero(np.isinf(values[:, column]))

    def refuse(self, names: Sequence[str]) -> None:
        """Raise `InvalidArgumentError` if anything was found, with the columns' names and counts.

        Parameters
        ----------
        names : sequence of str of length n_features
            The columns.

        Raises
        ------
        InvalidArgumentError
            Names the columns, how often each is affected, and what to do.
        """
        parts = []
        for counts, word, advice in (
            (
                self._missing,
                "missing",
                "impute or remove them first, for example with sklearn.impute.SimpleImputer",
            ),
            (self._infinite, "infinite", "replace or remove them first"),
        ):
            bad = [f"{names[int(at)]!r} ({counts[at]})" for at in np.flatnonzero(counts)]
            if bad:
                parts.append(
                    f"{word} values in {counted(len(bad), 'column')}: {listing(bad)} (name and "
                    f"count); {advice}"
                )
        if parts:
            raise InvalidArgumentError(f"{'. '.join(parts)}.")


def counted(number: int, noun: str) -> str:
    """Return such as ``1 column`` or ``2 columns``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def listing(items: Sequence[str]) -> str:
    """Return the first few items, and how many more there are."""
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + more
