"""How does one show results in a single file? An HTML page with tables and embedded PNGs.

The page needs no network, script or second file: pictures are embedded as base64. It lays out what
it is given; it computes and judges nothing. The same tables can be shown in a terminal.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sparsewire.reporting.page import Page

if TYPE_CHECKING:
    from rich.table import Table


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
    page = Page(title)
    for section in sections:
        page.heading(section.heading)
        page.paragraph(section.text)
        if section.header:
            page.table(section.header, section.rows)
        for image in section.images:
            page.image(image)
    page.write(path)


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
