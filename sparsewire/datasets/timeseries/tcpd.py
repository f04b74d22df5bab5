"""Which series and which change points stand in the ``.json`` files of TCPD?

TCPD (van den Burg and Williams, "An evaluation of change point detection algorithms", 2020) keeps
one file per series and one with the annotations of all of them. A change point is the 0-based index
of the first sample of a new segment. ``null`` is a missing value.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsewire.datasets.timeseries.records import ChangePointDataset
from sparsewire.datasets.timeseries.text import Source

Annotations = dict[str, dict[str, list[int]]]
"""For each series, for each annotator, the sorted change points."""


def read_tcpd(path: str | os.PathLike[str]) -> ChangePointDataset:
    """Read a series of TCPD.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    ChangePointDataset
        The series, float64 with NaN where a value is missing; no annotations, `info` is None.

    Raises
    ------
    MalformedFileError
        If the file is not JSON of this structure, or its ``n_obs`` or ``n_dim`` does not hold.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> content = {"n_obs": 3, "n_dim": 1, "series": [{"label": "V1", "raw": [1, None, 2.5]}]}
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "tiny.json")
    ...     _ = path.write_text(json.dumps(content))
    ...     series = read_tcpd(path)
    >>> series.values.tolist(), series.columns
    ([[1.0], [nan], [2.5]], ('V1',))
    """
    return parse_tcpd(str(path), Path(path).read_bytes())


def parse_tcpd(name: str, content: bytes) -> ChangePointDataset:
    """Read the content of a TCPD series, as :func:`read_tcpd` does.

    Parameters
    ----------
    name : str
        What to call it in messages.
    content : bytes
        The file's bytes.

    Returns
    -------
    ChangePointDataset
        As of :func:`read_tcpd`.

    Raises
    ------
    MalformedFileError
        As :func:`read_tcpd`.
    """
    source = Source(name, content)
    top = _object(source, _parse(source), "the file")
    entries = top.get("series")
    n_rows = top.get("n_obs")
    if not isinstance(entries, list) or len(entries) != top.get("n_dim") or not entries:
        raise source.error("'series' must be a list of as many entries as 'n_dim' says, not none.")
    series = [_object(source, entry, "an entry of 'series'") for entry in entries]
    columns = tuple(str(one.get("label", place)) for place, one in enumerate(series))
    raws = [one.get("raw") for one in series]
    values = [
        _numbers(source, raw, n_rows, column) for raw, column in zip(raws, columns, strict=True)
    ]
    return ChangePointDataset(
        values=np.stack(values, axis=1),
        annotations={},
        columns=columns,
        times=_times(source, top.get("time"), n_rows),
    )


def read_annotations(path: str | os.PathLike[str]) -> Annotations:
    """Read TCPD's file of annotations.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    dict of str to dict of str to list of int
        For each series, for each annotator, the sorted change points.

    Raises
    ------
    MalformedFileError
        If the file is not JSON of this structure, or a change point is not a whole number from 0.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "annotations.json")
    ...     _ = path.write_text('{"nile": {"6": [28], "7": []}}')
    ...     read_annotations(path)
    {'nile': {'6': [28], '7': []}}
    """
    return parse_annotations(str(path), Path(path).read_bytes())


def parse_annotations(name: str, content: bytes) -> Annotations:
    """Read the content of a file of annotations, as :func:`read_annotations` does.

    Parameters
    ----------
    name : str
        What to call it in messages.
    content : bytes
        The file's bytes.

    Returns
    -------
    dict of str to dict of str to list of int
        As of :func:`read_annotations`.

    Raises
    ------
    MalformedFileError
        As :func:`read_annotations`.
    """
    source = Source(name, content)
    top = _object(source, _parse(source), "the file")
    found: Annotations = {}
    for series, annotators in top.items():
        what = f"the entry {series!r}"
        found[series] = {
            annotator: _change_points(source, points, f"annotator {annotator!r} of {what}")
            for annotator, points in _object(source, annotators, what).items()
        }
    return found


def _parse(source: Source) -> Any:
    try:
        return json.loads(source.text)
    except json.JSONDecodeError as error:
        raise source.error(f"this is not JSON: {error.msg}.", error.lineno) from error
    except (RecursionError, ValueError) as error:
        raise source.error(f"this is no JSON that can be read: {error}.") from error


def _object(source: Source, value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise source.error(f"{what} must be a JSON object, got {type(value).__name__}.")
    return value


def _change_points(source: Source, points: Any, what: str) -> list[int]:
    if not isinstance(points, list):
        raise source.error(f"{what} must be a list of change points.")
    for point in points:
        if isinstance(point, bool) or not isinstance(point, int) or point < 0:
            raise source.error(f"{what} holds {point!r}; a change point is an index from 0 on.")
    return sorted(points)


def _numbers(source: Source, raw: Any, n_rows: Any, column: str) -> npt.NDArray[np.float64]:
    if not isinstance(raw, list) or len(raw) != n_rows or not raw:
        raise source.error(f"'raw' of {column!r} must be a list of {n_rows} values ('n_obs').")
    for place, value in enumerate(raw):
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            raise source.error(f"value {place} of {column!r} is {value!r}, not a number or null.")
    try:
        numbers = np.array([np.nan if value is None else value for value in raw], dtype=np.float64)
    except OverflowError as error:
        raise source.error(f"a number of {column!r} is too large.") from error
    if np.isinf(numbers).any():
        raise source.error(f"value {np.isinf(numbers).argmax()} of {column!r} is infinite.")
    return numbers


def _times(source: Source, time: Any, n_rows: Any) -> tuple[str, ...] | None:
    raw = time.get("raw") if isinstance(time, dict) else None
    if raw is None:
        return None
    if not isinstance(raw, list) or len(raw) != n_rows:
        raise source.error(f"'raw' of 'time' must be a list of {n_rows} times ('n_obs').")
    return tuple(map(str, raw))
