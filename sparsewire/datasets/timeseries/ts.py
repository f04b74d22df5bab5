"""Which series and labels stand in a ``.ts`` file, the format of the UCR and UEA archives?

Header lines ``@tag value`` up to ``@data``, then one case a line: the dimensions, separated by
``:``, and in the last field the label. Values are separated by commas, ``?`` or ``NaN`` is a
missing one, and cases may differ in length. What the header states about dimensions, lengths and
labels must hold. What it states about missing values is not checked, since they are plain to see in
the result. Time stamps inside the data are not read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sparsewire.datasets.timeseries.text import Panel, Source, stack

Labels = npt.NDArray[np.str_] | npt.NDArray[np.float64]
"""Class labels as text, or the targets of a regression as numbers."""

_TIMESTAMPS, _UNIVARIATE, _EQUAL = "timestamps", "univariate", "equallength"
_DIMENSIONS, _LENGTH = "dimensions", "serieslength"
_CLASSES, _TARGET = "classlabel", "targetlabel"


def read_ts(path: str | os.PathLike[str]) -> tuple[Panel, Labels | None]:
    r"""Read a ``.ts`` file.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    X : ndarray of shape (n, channels, length) or list of ndarray of shape (channels, length_i)
        Float64, NaN where a value is missing; a list if the cases differ in length.
    y : ndarray of shape (n,) or None
        Class labels as text, or numbers for ``@targetLabel``; None for ``@classLabel false``.

    Raises
    ------
    MalformedFileError
        If the file breaks the format or contradicts its own header; names file and line.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "two.ts")
    ...     _ = path.write_text("@classLabel true up down\n@data\n1,2,?:up\n3,2,1:down\n")
    ...     X, y = read_ts(path)
    >>> X.shape, y.tolist()
    ((2, 1, 3), ['up', 'down'])
    """
    return parse_ts(str(path), Path(path).read_bytes())


def parse_ts(name: str, content: bytes) -> tuple[Panel, Labels | None]:
    r"""Read the content of a ``.ts`` file, as :func:`read_ts` does.

    Parameters
    ----------
    name : str
        What to call it in messages.
    content : bytes
        The file's bytes.

    Returns
    -------
    X, y
        As of :func:`read_ts`.

    Raises
    ------
    MalformedFileError
        As :func:`read_ts`.

    Examples
    --------
    >>> X, y = parse_ts("one.ts", b"@classLabel false\n@data\n1,2:3,4\n")
    >>> X.shape, y
    ((1, 2, 2), None)
    """
    source = Source(name, content)
    lines = source.lines("#%")
    header = _Header(source, lines)
    cases: list[npt.NDArray[np.float64]] = []
    labels: list[str] = []
    targets: list[float] = []
    for line, text in lines:
        fields = text.split(":")
        if header.classes:
            labels.append(header.check_class(fields.pop().strip(), line))
        elif header.has_target:
            targets.append(float(source.numbers([fields.pop()], line, "the target")[0]))
        cases.append(_read_case(source, fields, line))
        header.check_shape(cases[-1], cases[0], line)
    if not cases:
        raise source.error("no case follows @data.")
    if header.classes:
        return stack(cases), np.array(labels)
    return stack(cases), np.array(targets) if header.has_target else None


def _read_case(source: Source, fields: list[str], line: int) -> npt.NDArray[np.float64]:
    if not fields:
        raise source.error("there is a label but no series.", line)
    channels = [
        source.numbers(field.split(","), line, f"dimension {place}")
        for place, field in enumerate(fields, start=1)
    ]
    lengths = [len(channel) for channel in channels]
    if len(set(lengths)) > 1:
        raise source.error(
            f"the dimensions have {lengths} values; within a case all must have as many. "
            "Resample or pad them.",
            line,
        )
    return np.stack(channels)


class _Header:
    """What the lines up to ``@data`` state, and whether a case keeps to it."""

    def __init__(self, source: Source, lines: Iterator[tuple[int, str]]) -> None:
        self._source = source
        self.classes: tuple[str, ...] = ()
        self._flags: dict[str, bool] = {}
        self._numbers: dict[str, int] = {}
        for line, text in lines:
            tag, *values = text.split()
            if not tag.startswith("@"):
                raise source.error("a case stands before @data, or @data is missing.", line)
            if tag.lower() == "@data":
                break
            self._read_tag(tag.lower()[1:], values, line)
        else:
            raise source.error("there is no line @data, so this is not a .ts file.")
        if self._flags.get(_TIMESTAMPS):
            raise source.error("@timeStamps true: time stamps inside the data are not read.")
        if _CLASSES not in self._flags and _TARGET not in self._flags:
            raise source.error(
                "the header has neither @classLabel nor @targetLabel, so it is not known whether "
                "the last field is a label; write @classLabel false if there is none."
            )

    @property
    def has_target(self) -> bool:
        return self._flags.get(_TARGET, False)

    def _read_tag(self, tag: str, values: list[str], line: int) -> None:
        if tag in {_TIMESTAMPS, _UNIVARIATE, _EQUAL, _CLASSES, _TARGET}:
            self._flags[tag] = self._flag(tag, values, line)
        elif tag in {_DIMENSIONS, "dimension", _LENGTH}:
            self._numbers[_LENGTH if tag == _LENGTH else _DIMENSIONS] = self._count(
                tag, values, line
            )
        if tag == _CLASSES:
            self.classes = tuple(values[1:])
            if self._flags[tag] != bool(self.classes):
                raise self._source.error(
                    "@classLabel is followed by true and all the classes, or by false.", line
                )

    def _flag(self, tag: str, values: list[str], line: int) -> bool:
        if not values or values[0].lower() not in {"true", "false"}:
            raise self._source.error(f"@{tag} needs true or false, got {values[:1]}.", line)
        return values[0].lower() == "true"

    def _count(self, tag: str, values: list[str], line: int) -> int:
        if len(values) != 1 or not values[0].isdecimal() or int(values[0]) < 1:
            raise self._source.error(f"@{tag} needs one number from 1 on, got {values}.", line)
        return int(values[0])

    def check_class(self, label: str, line: int) -> str:
        if label not in self.classes:
            shown = label if len(label) <= 40 else label[:37] + "..."
            raise self._source.error(
                f"the last field is {shown!r}, which is not one of the classes that @classLabel "
                f"names: {', '.join(self.classes)}.",
                line,
            )
        return label

    def check_shape(
        self, case: npt.NDArray[np.float64], first: npt.NDArray[np.float64], line: int
    ) -> None:
        expected = self._numbers.get(_DIMENSIONS, len(first))
        if self._flags.get(_UNIVARIATE):
            expected = 1
        if len(case) != expected:
            raise self._source.error(f"expected {expected} dimensions, found {len(case)}.", line)
        if not self._flags.get(_EQUAL):
            return
        length = self._numbers.get(_LENGTH, first.shape[1])
        if case.shape[1] != length:
            raise self._source.error(
                f"expected {length} values per dimension (@equalLength true), "
                f"found {case.shape[1]}.",
                line,
            )
