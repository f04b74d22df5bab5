"""Which series stands in a ``.csv`` file of the long-term forecasting benchmarks?

A header, the time in the first column, a number in every other one. Times are strictly increasing
and all in one of a few formats that put the year first, so that no day can be taken for a month.
The target becomes the last column, as the benchmarks' own code arranges files that are not ETT.

In the common ``exchange_rate.csv`` the dates are made up (the original has none) and the last two
columns are swapped against the original, so its target ``OT`` is the original's seventh column of
eight. The values are the same, the order of the file is kept.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sparsewire.datasets.timeseries.records import SeriesDataset
from sparsewire.datasets.timeseries.text import Source

_USUAL_TARGET = "OT"
_TIME_FORMATS = (
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%d %H:%M",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%Y-%m-%d",
    "%Y/%m/%d",
    "%Y-%m",
)


def read_ltsf_csv(path: str | os.PathLike[str], *, target: str | None = None) -> SeriesDataset:
    r"""Read a ``.csv`` file with a column of times.

    Parameters
    ----------
    path : str or path-like
        The file.
    target : str or None, default=None
        Column to forecast; None takes ``OT``, the target of all benchmarks, or the last column
        where there is no ``OT``.

    Returns
    -------
    SeriesDataset
        The series with the target last; its `info` is None. An empty field, ``?`` or ``NaN`` is a
        missing value and becomes NaN.

    Raises
    ------
    MalformedFileError
        If a line has another number of fields, a field is no number, a time has another format, or
        times do not increase; names file and line. Also if there is no column `target`.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "tiny.csv")
    ...     _ = path.write_text("date,OT,load\n2020-01-01,1.5,8\n2020-01-02,1.25,9\n")
    ...     series = read_ltsf_csv(path)
    >>> series.columns, series.values[0].tolist(), str(series.times[1])
    (('load', 'OT'), [8.0, 1.5], '2020-01-02T00:00:00')
    """
    return parse_ltsf_csv(str(path), Path(path).read_bytes(), target=target)


def parse_ltsf_csv(name: str, content: bytes, *, target: str | None = None) -> SeriesDataset:
    r"""Read the content of a ``.csv`` file, as :func:`read_ltsf_csv` does.

    Parameters
    ----------
    name : str
        What to call it in messages.
    content : bytes
        The file's bytes.
    target : str or None, default=None
        As of :func:`read_ltsf_csv`.

    Returns
    -------
    SeriesDataset
        As of :func:`read_ltsf_csv`.

    Raises
    ------
    MalformedFileError
        As :func:`read_ltsf_csv`.

    Examples
    --------
    >>> parse_ltsf_csv("a.csv", b"Month,sold\n1949-01,112\n1949-02,118\n").target
    'sold'
    """
    source = Source(name, content)
    rows = _rows(source)
    header = _columns(source, rows[0] if rows else (1, []))
    values = np.empty((len(rows) - 1, len(header)))
    for place, (line, fields) in enumerate(rows[1:]):
        if len(fields) != len(header) + 1:
            raise source.error(
                f"expected {len(header) + 1} fields as in the header, found {len(fields)}.", line
            )
        tokens = [field.strip() or "?" for field in fields[1:]]
        values[place] = source.numbers(tokens, line, "the columns after the time")
    times = _times(source, [(line, fields[0].strip()) for line, fields in rows[1:]])
    chosen = _target(source, header, target)
    order = sorted(range(len(header)), key=lambda column: column == chosen)
    return SeriesDataset(
        values=values[:, order],
        times=times,
        columns=tuple(header[column] for column in order),
        target=header[chosen],
    )


def _rows(source: Source) -> list[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(source.text, newline=""), strict=True)
    try:
        return [(reader.line_num, fields) for fields in reader if fields]
    except csv.Error as error:
        raise source.error(f"{error}.", reader.line_num) from error


def _columns(source: Source, header: tuple[int, list[str]]) -> list[str]:
    line, fields = header
    columns = [field.strip() for field in fields]
    if len(columns) < 2:
        raise source.error("expected a header with a column of times and at least one more.", line)
    if len(set(columns)) < len(columns) or not all(columns[1:]):
        raise source.error(f"column names must be distinct and not empty, got {columns}.", line)
    return columns[1:]


def _target(source: Source, columns: Sequence[str], target: str | None) -> int:
    if target is None:
        return columns.index(_USUAL_TARGET) if _USUAL_TARGET in columns else len(columns) - 1
    if target not in columns:
        raise source.error(f"there is no column {target!r}; columns are {', '.join(columns)}.")
    return columns.index(target)


def _times(source: Source, entries: list[tuple[int, str]]) -> npt.NDArray[np.datetime64]:
    if not entries:
        raise source.error("no row follows the header.")
    first_line, first = entries[0]
    form = next((form for form in _TIME_FORMATS if _time(first, form)), None)
    if form is None:
        raise source.error(
            f"{first!r} in the first column is no time in one of the formats "
            f"{', '.join(_TIME_FORMATS)}.",
            first_line,
        )
    times: list[datetime] = []
    for line, text in entries:
        time = _time(text, form)
        if time is None:
            raise source.error(f"{text!r} is no time like the first one ({form}).", line)
        if times and time <= times[-1]:
            raise source.error(
                f"the time {text!r} is not later than the one before; sort the rows and remove "
                "duplicates.",
                line,
            )
        times.append(time)
    return np.array(times, dtype="datetime64[s]")


def _time(text: str, form: str) -> datetime | None:
    try:
        return datetime.strptime(text, form)
    except ValueError:
        return None
