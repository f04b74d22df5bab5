"""How does one show results in a single file? An HTML page with tables and embedded PNGs.

The page needs no network, script or second file: pictures are embedded as base64. It lays out what
it is given; it computes and judges nothing. The same tables can be shown in a terminal.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from sparsewire.core._files import replacing

if TYPE_CHECKING:
    from rich.table import Table

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; }
th, td { padding: 0.25rem 0.9rem; border-bottom: 1px solid #ccc; text-align: right; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; height: auto; display: block; margin: 1rem 0; }
</style>
</head>
<body>
<h1>$title</h1>
$body
</body>
</html>
""")


@dataclass(frozen=True, kw_only=True)
class Section:
    """One part of a report: a headline, a paragraph, a table and pictures.

    Attributes
    ----------
    heading : str
        Headline.
    text : str
        One paragraph of plain text below it.
    header : sequence of str
        Column names of the table; empty for no table.
    rows : sequence of sequence of str
        Cells, each row as long as `header`.
    images : sequence of pathlib.Path
        PNG files to embed, in this order; the file name becomes the alternative text.
    """

    heading: str
    text: str
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    images: Sequence[Path] = ()


def write_report(path: str | os.PathLike[str], *, title: str, sections: Sequence[Section]) -> None:
    """Write a self-contained HTML page in one step.

    Parameters
    ----------
    path : str or path-like
        File to write, replaced if it exists.
    title : str
        Title and main headline.
    sections : sequence of Section
        Parts of the page from top to bottom. All texts are escaped.

    Raises
    ------
    ValueError
        If a table row is not as long as its header.
    FileNotFoundError
        If a picture does not exist.

    Examples
    --------
    >>> import tempfile
    >>> section = Section(heading="A < B", text="Two rows.", header=["x"], rows=[["1"], ["2"]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = Path(folder, "report.html")
    ...     write_report(page, title="Demo", sections=[section])
    ...     "<h2>A &lt; B</h2>" in page.read_text(encoding="utf-8")
    True
    """
    body = "\n".join(_section(section) for section in sections)
    with replacing(path) as temporary:
        temporary.write_text(_PAGE.substitute(title=escape(title), body=body), encoding="utf-8")


def console_table(section: Section) -> Table:
    """Turn the table of a section into one that a rich console prints.

    Parameters
    ----------
    section : Section
        Its heading becomes the title; text and pictures are left out.

    Returns
    -------
    rich.table.Table
        To be given to ``rich.console.Console.print``.

    Examples
    --------
    >>> table = console_table(Section(heading="A", text="", header=["x"], rows=[["1"], ["2"]]))
    >>> table.title, table.row_count
    ('A', 2)
    """
    from rich.markup import escape as plain
    from rich.table import Table

    table = Table(*map(plain, section.header), title=plain(section.heading))
    for row in section.rows:
        table.add_row(*map(plain, row))
    return table


def _section(section: Section) -> str:
    parts = [f"<h2>{escape(section.heading)}</h2>", f"<p>{escape(section.text)}</p>"]
    if section.header:
        parts.append(_table(section.header, section.rows))
    for image in section.images:
        data = base64.b64encode(image.read_bytes()).decode("ascii")
        parts.append(f'<img alt="{escape(image.stem)}" src="data:image/png;base64,{data}">')
    return "\n".join(parts)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    for row in rows:
        if len(row) != len(header):
            raise ValueError(
                f"A table row has {len(row)} cells, its header {len(header)}: {list(row)}."
            )
    lines = [_row("th", header), *(_row("td", row) for row in rows)]
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def _row(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"
