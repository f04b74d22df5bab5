"""What do all text formats of time series share? Lines, numbers, missing values, typed errors.

Missing is ``?`` or ``NaN`` in every format and becomes NaN; nothing is filled in. Infinite numbers
and Python's own spellings of numbers (``1_000``) are refused. How a format puts its lines together
is the business of its own module.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from sparsewire.datasets.errors import MalformedFileError

Panel = npt.NDArray[np.floating] | list[npt.NDArray[np.floating]]
"""Cases of one length as an array (n, channels, length), else a list of (channels, length_i)."""


class Source:
    r"""A file's name and lines, and errors that name them.

    Parameters
    ----------
    name : str
        What to call the file in messages.
    content : bytes
        UTF-8 text, with or without a byte-order mark, lines ending in LF or CRLF.

    Attributes
    ----------
    name : str
        As given.
    text : str
        The decoded content.

    Raises
    ------
    MalformedFileError
        If the content is not UTF-8.

    Examples
    --------
    >>> list(Source("a.ts", b"@data\n\n1,2:a").lines("#"))
    [(1, '@data'), (3, '1,2:a')]
    """

    def __init__(self, name: str, content: bytes) -> None:
        self.name = name
        try:
            self.text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise self.error("this is not UTF-8 text; convert the file.", line) from error

    def lines(self, comment: str) -> Iterator[tuple[int, str]]:
        """Yield number and text of the lines that are neither empty nor a comment.

        Parameters
        ----------
        comment : str
            Characters that open a comment; may be empty.

        Yields
        ------
        tuple of (int, str)
            Number, from 1, and text without surrounding white space.
        """
        for number, line in enumerate(self.text.split("\n"), start=1):
            stripped = line.strip()
            if stripped and stripped[0] not in comment:
                yield number, stripped

    def error(self, message: str, line: int | None = None) -> MalformedFileError:
        """Build an error that names the file and, if known, the line.

        Parameters
        ----------
        message : str
            What is wrong.
        line : int or None, default=None
            Where, counted from 1.

        Returns
        -------
        MalformedFileError
            To be raised by the caller.
        """
        where = self.name if line is None else f"{self.name}, line {line}"
        return MalformedFileError(f"{where}: {message}")

    def numbers(self, tokens: Sequence[str], line: int, what: str) -> npt.NDArray[np.float64]:
        """Turn the texts of numbers into an array.

        Parameters
        ----------
        tokens : sequence of str
            One number, ``?`` or ``NaN`` each.
        line : int
            Where they stand, for the message.
        what : str
            What they are, for the message: ``"dimension 2"``.

        Returns
        -------
        ndarray of float64
            As many numbers; NaN where one is missing.

        Raises
        ------
        MalformedFileError
            If a text is no finite number.
        """
        values = np.empty(len(tokens))
        for place, token in enumerate(tokens):
            values[place] = value = _number(token)
            if math.isinf(value):
                raise self.error(
                    f"value {place + 1} of {what} is {token.strip()!r}, not a finite number; "
                    "a missing value is written ? or NaN.",
                    line,
                )
        return values


def _number(token: str) -> float:
    """Return the number, NaN where it is missing, and infinity where there is none."""
    try:
        # float() also knows 1_000 and the digits of other scripts, which are typing errors here.
        return float(token) if token.isascii() and "_" not in token else math.inf
    except ValueError:
        return math.nan if token.strip() == "?" else math.inf


def stack(cases: Sequence[npt.NDArray[np.float64]]) -> Panel:
    """Put cases into one array if they all have one shape, else leave them a list.

    Parameters
    ----------
    cases : sequence of ndarray of shape (channels, length_i)
        At least one.

    Returns
    -------
    ndarray of shape (n, channels, length) or list of ndarray
        The panel.

    Examples
    --------
    >>> stack([np.zeros((1, 3)), np.ones((1, 3))]).shape
    (2, 1, 3)
    >>> [case.shape for case in stack([np.zeros((1, 3)), np.ones((1, 2))])]
    [(1, 3), (1, 2)]
    """
    return np.stack(cases) if len({case.shape for case in cases}) == 1 else list(cases)


def without_padding(case: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Cut the steps at the end in which every channel is missing.

    Formats with a fixed number of values per line fill a shorter series up with missing values;
    where it stops cannot be told from values that are missing there.

    Parameters
    ----------
    case : ndarray of shape (channels, length)
        NaN where a value is missing.

    Returns
    -------
    ndarray of shape (channels, up to length)
        A view up to the last step with a value.

    Examples
    --------
    >>> without_padding(np.array([[1.0, np.nan, 2.0, np.nan]]))
    array([[ 1., nan,  2.]])
    """
    present = np.flatnonzero(~np.isnan(case).all(axis=0))
    return case[:, : present[-1] + 1] if len(present) else case[:, :0]
