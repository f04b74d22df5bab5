"""Which series stands in a ``.csv`` file? Columns of numbers, and if there is one, one of times.

Comma separated, UTF-8, a header, one row for each time. An empty field, ``?`` or ``NaN`` is a
missing value. Times are written with the year first, so that no day can be taken for a month, or
are whole numbers; they increase. Nothing is repaired, filled in or sorted.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sparsewire.core._validation import suggest
from sparsewire.core.errors import InvalidArgumentError

NO_TIME = "none"
"""What ``--time`` says if rows are to be numbered."""


@dataclass(frozen=True, eq=False)
class Table:
    """The texts of a ``.csv`` file.

    Attributes
    ----------
    path : pathlib.Path
        The file.
    header : list of str
        Names of the columns, all different.
    lines : list of int
        Where the rows stand, counted from 1.
    rows : list of list of str
        Fields without surrounding white space, as many as in the header.
    """

    path: Path
    header: list[str]
    lines: list[int]
    rows: list[list[str]]

    def column(self, name: str) -> list[str]:
        """Return the texts of a column.

        Raises
        ------
        InvalidArgumentError
            If there is no such column.
        """
        if name not in self.header:
            raise InvalidArgumentError(
                f"{self.path} has no column {name!r}; it has {', '.join(self.header)}."
                f"{suggest(name, self.header)}"
            )
        place = self.header.index(name)
        return [row[place] for row in self.rows]

    def numbers(self, names: Sequence[str], advice: str) -> npt.NDArray[np.float64]:
        """Return columns as numbers, shape (n_rows, n_names), NaN where one is missing.

        Parameters
        ----------
        names : sequence of str
            The columns.
        advice : str
            What to do about a column of something else, for the message.

        Raises
        ------
        InvalidArgumentError
            If a column does not exist or holds something else; names line, column and text.
        """
        values = np.empty((len(self.rows), len(names)))
        for place, name in enumerate(names):
            for row, text in enumerate(self.column(name)):
                number = to_number(text)
                if number is None:
                    raise InvalidArgumentError(
                        f"{self.path}, line {self.lines[row]}: column {name!r} holds {text!r}, "
                        f"which is no finite number; {advice}, and write a missing value as an "
                        "empty field, ? or NaN."
                    )
                values[row, place] = number
        return values


@dataclass(frozen=True, eq=False)
class Series:
    """A series with its times.

    Attributes
    ----------
    frame : DataFrame
        Columns of numbers; the index is a DatetimeIndex, whole numbers, or counts the rows from 0.
    time : str
        Name of the column of times, ``"row"`` if rows are counted.
    """

    frame: pd.DataFrame
    time: str


def to_number(text: str) -> float | None:
    """Return a number, NaN where it is missing, and None if the text is no finite number.

    Examples
    --------
    >>> to_number("1e3"), to_number(""), to_number("1_000"), to_number("inf")
    (1000.0, nan, None, None)
    """
    if text in ("", "?"):
        return math.nan
    try:
        # float() also knows 1_000 and the digits of other scripts, which are typing errors here.
        value = float(text) if text.isascii() and "_" not in text else math.inf
    except ValueError:
        return None
    return None if math.isinf(value) else value


def read_text(path: Path) -> Table:
    """Read a ``.csv`` file without interpreting it.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Returns
    -------
    Table
        Its header and rows; empty lines are left out.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    InvalidArgumentError
        If it is no UTF-8 text, names of columns are missing or repeated, a line has another number
        of fields, or no row follows the header.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        text = path.read_bytes().decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        found = [(reader.line_num, [f.strip() for f in fields]) for fields in reader if fields]
    except (csv.Error, UnicodeDecodeError) as error:
        raise InvalidArgumentError(f"{path} is not a readable CSV file: {error}") from error
    header = found[0][1] if found else []
    check_header(header, str(path))
    for line, fields in found[1:]:
        if len(fields) != len(header):
            raise InvalidArgumentError(
                f"{path}, line {line}: {len(fields)} fields instead of {len(header)} as in the "
                "header."
            )
    if len(found) < 2:
        raise InvalidArgumentError(f"{path}: no row follows the header.")
    return Table(path, header, [line for line, _ in found[1:]], [row for _, row in found[1:]])


def check_header(header: Sequence[str], where: str) -> None:
    """Raise `InvalidArgumentError` unless names are present and different.

    Examples
    --------
    >>> check_header(["time", "x"], "a.csv")
    """
    if len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
        raise InvalidArgumentError(
            f"{where} seems to have one column only, {header[0]!r}; separate values by commas."
        )
    if not header:
        raise InvalidArgumentError(f"{where} is empty; it must begin with a header.")
    # The first one may be empty: so pandas writes the column of an index.
    if "" in header[1:]:
        raise InvalidArgumentError(
            f"{where}: column {header.index('', 1) + 1} has no name; give every column one."
        )
    if repeated := sorted({name for name in header if header.count(name) > 1}):
        raise InvalidArgumentError(f"{where} has repeated column names: {', '.join(repeated)}.")


def read_csv(path: Path, *, time: str | None, columns: Sequence[str] | None) -> Series:
    r"""Read a series.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    time : str or None
        Column of times. ``"none"`` counts rows; None takes the first column if its first field
        is a date.
    columns : sequence of str or None
        Columns of the series; None takes all others.

    Returns
    -------
    Series
        The series.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    InvalidArgumentError
        If the file is damaged, a column does not exist or holds no numbers, or times are not
        readable, not sorted, or repeat.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "tiny.csv")
    ...     _ = path.write_text("date,OT\n2020-01-01,1.5\n2020-01-02,1.25\n")
    ...     series = read_csv(path, time=None, columns=None)
    >>> series.time, series.frame["OT"].tolist(), str(series.frame.index[1])
    ('date', [1.5, 1.25], '2020-01-02 00:00:00')
    """
    table = read_text(path)
    name = time_column(table.header, table.rows[0], time)
    wanted = list(columns) if columns is not None else [c for c in table.header if c != name]
    if name in wanted or not wanted:
        raise InvalidArgumentError(
            f"{path}: there must be a column of values beside that of times, {name!r}."
        )
    index: pd.Index[Any] = pd.RangeIndex(len(table.rows))
    if name is not None:
        places = [f"{path}, line {line}" for line in table.lines]
        index = to_times(table.column(name), name, places)
    values = table.numbers(wanted, "choose columns of numbers with --columns")
    frame = pd.DataFrame(values, index=index, columns=wanted)
    return Series(frame, name or "row")


def time_column(header: Sequence[str], first: Sequence[str], time: str | None) -> str | None:
    """Return the name of the column of times, or None; see `read_csv`.

    Examples
    --------
    >>> time_column(["date", "x"], ["2020-01", "3"], None)
    'date'
    >>> time_column(["x", "y"], ["2020", "3"], None) is None
    True
    """
    if time == NO_TIME:
        return None
    if time is not None:
        return time
    is_date = to_number(first[0]) is None and not pd.isna(_to_dates(first[:1])[0])
    return header[0] if is_date else None


def _to_dates(texts: Sequence[str]) -> pd.DatetimeIndex:
    try:
        return pd.to_datetime(list(texts), format="ISO8601", errors="coerce")
    except ValueError as error:  # offsets from UTC that differ
        raise InvalidArgumentError(f"{error} Write all times in one time zone.") from error


def to_times(texts: Sequence[str], name: str, places: Sequence[str]) -> pd.Index[Any]:
    """Read times that increase.

    Parameters
    ----------
    texts : sequence of str
        The times.
    name : str
        Their column, for messages.
    places : sequence of str
        Where each one stands, for messages.

    Returns
    -------
    Index
        Whole numbers, if all are, or else dates.

    Raises
    ------
    InvalidArgumentError
        If a text is no time, or a time is not after the one before.

    Examples
    --------
    >>> to_times(["3", "5"], "second", ["line 2", "line 3"]).tolist()
    [3, 5]
    """
    whole = np.array([re.fullmatch(r"-?\d{1,18}", text) is not None for text in texts])
    index: Any = pd.Index(np.array(texts, dtype=np.int64)) if whole.all() else _to_dates(texts)
    if index.hasnans:
        # A word among numbers is the mistake, not the first number.
        row = int(np.argmax(index.isna() * np.where(whole, 1, 2)))
        raise InvalidArgumentError(
            f"{places[row]}: {texts[row]!r} in column {name!r} is no time; write times as "
            "2024-01-31 or 2024-01-31 13:00, or as whole numbers."
        )
    later = np.asarray(index[1:] > index[:-1])
    if not later.all():
        row = int(np.flatnonzero(~later)[0]) + 1
        twice, before = index[row] == index[row - 1], texts[row - 1]
        what = "is there twice; keep one row" if twice else f"follows {before!r}; sort the rows"
        raise InvalidArgumentError(
            f"{places[row]}: the time {texts[row]!r} in column {name!r} {what}."
        )
    times: pd.Index[Any] = index
    return times


def plain_time(value: Any) -> Any:
    """Return a time as JSON and CSV can hold it.

    Examples
    --------
    >>> plain_time(pd.Timestamp("2020-01-01 12:00")), plain_time(np.int64(3)), plain_time("1871")
    ('2020-01-01 12:00:00', 3, '1871')
    """
    if isinstance(value, int | np.integer):
        return int(value)
    return str(value)
