r"""Which series and labels stand in an ``.arff`` file of the UCR and UEA archives?

Weka's format: ``@attribute`` lines, ``@data``, then one case a line. *Flat* files have a numeric
attribute per step and the class last. *Relational* ones hold several dimensions in one quoted
field, separated by a written ``\n``, and then the class. A missing value is ``?``; as the number
of values is fixed, shorter series end in missing ones, which are cut.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sparsewire.datasets.timeseries.text import Panel, Source, stack, without_padding

_ATTRIBUTE = re.compile(r"@attribute\s+('[^']*'|\"[^\"]*\"|\S+)\s+(.+)", re.IGNORECASE)
_NUMERIC = {"numeric", "real", "integer"}
_RELATIONAL_CASE = re.compile(r"(['\"])(.*)\1\s*,\s*(.+)")


def read_arff(path: str | os.PathLike[str]) -> tuple[Panel, npt.NDArray[np.str_]]:
    r"""Read an ``.arff`` file, flat or relational.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    X : ndarray of shape (n, channels, length) or list of ndarray of shape (channels, length_i)
        Float64, NaN where a value is missing; a list if the cases differ in length.
    y : ndarray of str of shape (n,)
        The labels.

    Raises
    ------
    MalformedFileError
        If the file breaks the format or contradicts its own header; names file and line.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> head = "@attribute a numeric\n@attribute b numeric\n@attribute target {x,y}\n@data\n"
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "two.arff")
    ...     _ = path.write_text(head + "1,2,x\n3,4,y\n")
    ...     X, y = read_arff(path)
    >>> X.tolist(), y.tolist()
    ([[[1.0, 2.0]], [[3.0, 4.0]]], ['x', 'y'])
    """
    return parse_arff(str(path), Path(path).read_bytes())


def parse_arff(name: str, content: bytes) -> tuple[Panel, npt.NDArray[np.str_]]:
    r"""Read the content of an ``.arff`` file, as :func:`read_arff` does.

    Parameters
    ----------
    name : str
        What to call it in messages.
    content : bytes
        The file's bytes.

    Returns
    -------
    X, y
        As of :func:`read_arff`.

    Raises
    ------
    MalformedFileError
        As :func:`read_arff`.

    Examples
    --------
    >>> head = "@attribute s relational\n@attribute a numeric\n@end s\n@attribute c {x}\n@data\n"
    >>> X, y = parse_arff("one.arff", (head + r"'1\n2',x").encode())
    >>> X.tolist(), y.tolist()
    ([[[1.0], [2.0]]], ['x'])
    """
    source = Source(name, content)
    lines = source.lines("%")
    header = _read_header(source, lines)
    cases: list[npt.NDArray[np.float64]] = []
    labels: list[str] = []
    for line, text in lines:
        channels, label = _split_case(source, header, line, text)
        if label not in header.classes:
            raise source.error(
                f"the label {label!r} is not one of the header's: {', '.join(header.classes)}.",
                line,
            )
        if cases and len(channels) != len(cases[0]):
            raise source.error(
                f"expected {len(cases[0])} dimensions as in the first case, found {len(channels)}.",
                line,
            )
        cases.append(_read_channels(source, header, line, channels))
        labels.append(label)
    if not cases:
        raise source.error("no case follows @data.")
    return stack(cases), np.array(labels)


@dataclass(frozen=True, kw_only=True)
class _Header:
    relational: bool
    length: int
    classes: tuple[str, ...]


def _read_header(source: Source, lines: Iterator[tuple[int, str]]) -> _Header:
    length, relational, classes = 0, False, None
    for line, text in lines:
        word = text.split(maxsplit=1)[0].lower()
        if word == "@data":
            break
        if word in {"@relation", "@end"}:
            continue
        kind = _kind_of_attribute(source, line, text)
        if classes is not None:
            raise source.error("the class must be the last attribute.", line)
        if kind.lower() in _NUMERIC:
            length += 1
        elif kind.lower() == "relational" and not relational and not length:
            relational = True
        elif kind.startswith("{") and kind.endswith("}"):
            classes = tuple(_unquoted(one) for one in kind[1:-1].split(","))
        else:
            raise source.error(
                f"an attribute of the type {kind!r} is not read here; the steps must be numeric, "
                "in at most one relational attribute, and the class be nominal {a,b}.",
                line,
            )
    else:
        raise source.error("there is no line @data, so this is not an .arff file.")
    if classes is None or not length:
        raise source.error("the header must name numeric attributes and, last, the class {a,b}.")
    return _Header(relational=relational, length=length, classes=classes)


def _kind_of_attribute(source: Source, line: int, text: str) -> str:
    match = _ATTRIBUTE.fullmatch(text)
    if match is None:
        raise source.error("expected @attribute NAME TYPE, @end NAME or @data.", line)
    return match[2].strip()


def _unquoted(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def _split_case(source: Source, header: _Header, line: int, text: str) -> tuple[list[str], str]:
    """Split a line into the texts of its dimensions and the label."""
    if header.relational:
        match = _RELATIONAL_CASE.fullmatch(text)
        if match is None:
            raise source.error("expected the dimensions in quotes, a comma and the label.", line)
        return match[2].split("\\n"), _unquoted(match[3])
    series, _, label = text.rpartition(",")
    return [series], _unquoted(label)


def _read_channels(
    source: Source, header: _Header, line: int, channels: list[str]
) -> npt.NDArray[np.float64]:
    rows = []
    for place, channel in enumerate(channels, start=1):
        tokens = channel.split(",")
        if len(tokens) != header.length:
            raise source.error(
                f"expected {header.length} values in dimension {place}, as many as there are "
                f"numeric attributes, found {len(tokens)}.",
                line,
            )
        rows.append(source.numbers(tokens, line, f"dimension {place}"))
    case = without_padding(np.stack(rows))
    if not case.size:
        raise source.error("every value of the case is missing.", line)
    return case
