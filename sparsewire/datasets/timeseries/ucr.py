"""Which series and labels stand in a text file of the UCR archive (``.tsv``, ``.txt``, ``.csv``)?

One case a line, the label first, no header; separated by tabs (archive of 2018), commas (2015) or
spaces. Every line has as many fields. A missing value is ``NaN`` or ``?``, and the archive fills
shorter series up with missing values at the end, so those are cut.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sparsewire.datasets.timeseries.text import Panel, Source, stack, without_padding


def read_ucr(path: str | os.PathLike[str]) -> tuple[Panel, npt.NDArray[np.str_]]:
    r"""Read a text file of the UCR archive.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    X : ndarray of shape (n, 1, length) or list of ndarray of shape (1, length_i)
        Float64, NaN where a value is missing; a list if the cases differ in length.
    y : ndarray of str of shape (n,)
        The labels; a whole number however written (``1.0000000e+00``) is its digits (``1``).

    Raises
    ------
    MalformedFileError
        If a line has another number of fields or a field is no number; names file and line.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "two.tsv")
    ...     _ = path.write_text("1\t0.5\t0.25\n-1\t0.75\tNaN\n")
    ...     X, y = read_ucr(path)
    >>> [case.tolist() for case in X], y.tolist()
    ([[[0.5, 0.25]], [[0.75]]], ['1', '-1'])
    """
    return parse_ucr(str(path), Path(path).read_bytes())


def parse_ucr(name: str, content: bytes) -> tuple[Panel, npt.NDArray[np.str_]]:
    """Read the content of a text file of the UCR archive, as :func:`read_ucr` does.

    Parameters
    ----------
    name : str
        What to call it in messages.
    content : bytes
        The file's bytes.

    Returns
    -------
    X, y
        As of :func:`read_ucr`.

    Raises
    ------
    MalformedFileError
        As :func:`read_ucr`.

    Examples
    --------
    >>> X, y = parse_ucr("one.txt", b"2, 0.5, 1.5")
    >>> X.tolist(), y.tolist()
    ([[[0.5, 1.5]]], ['2'])
    """
    source = Source(name, content)
    lines = list(source.lines(""))
    if not lines:
        raise source.error("the file is empty.")
    first = lines[0][1]
    # None splits at any run of white space; the other two keep empty fields, which are errors.
    separator = next((mark for mark in "\t," if mark in first), None)
    n_fields = len(first.split(separator))
    cases, labels = [], []
    for line, text in lines:
        fields = text.split(separator)
        if len(fields) != n_fields or n_fields < 2:
            raise source.error(
                f"expected a label and {max(n_fields - 1, 1)} values, as many as in the first "
                f"line, found {len(fields)} fields.",
                line,
            )
        labels.append(_label(source, fields[0], line))
        case = without_padding(source.numbers(fields[1:], line, "the series")[np.newaxis])
        if not case.size:
            raise source.error("every value of the series is missing.", line)
        cases.append(case)
    return stack(cases), np.array(labels)


def _label(source: Source, field: str, line: int) -> str:
    number = float(source.numbers([field], line, "the label")[0])
    if np.isnan(number):
        raise source.error("the label is missing.", line)
    return str(int(number)) if number.is_integer() else field.strip()
