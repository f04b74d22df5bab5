"""How does one show results in a single file? An HTML page with tables and embedded PNGs.

The page needs no network, script or second file: pictures are embedded as base64. It lays out what
it is given; it computes and judges nothing.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from sparsewire.core._files import replacing
from sparsewire.reporting.figures import DPI

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: 0.25rem 0.9rem; border-bottom: 1px solid #ccc; text-align: right; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; height: auto; display: block; margin: 1rem 0; }
pre { background: #f4f4f4; padding: 0.6rem; white-space: pre-wrap; overflow-wrap: anywhere; }
</style>
</head>
<body>
<h1>$title</h1>
$body
</body>
</html>
""")


class Page:
    """A page that grows from top to bottom; all texts are escaped.

    Parameters
    ----------
    title : str
        Title and main headline.

    Examples
    --------
    >>> page = Page("a < b")
    >>> page.heading("Scores")
    >>> page.table(["algorithm", "score"], [["td3", "1"]])
    >>> "<h1>a &lt; b</h1>" in page.html() and "<td>td3</td>" in page.html()
    True
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._parts: list[str] = []

    def heading(self, text: str) -> None:
        """Add a headline."""
        self._parts.append(f"<h2>{escape(text)}</h2>")

    def paragraph(self, text: str) -> None:
        """Add a paragraph of plain text."""
        self._parts.append(f"<p>{escape(text)}</p>")

    def code(self, text: str) -> None:
        """Add text as it is, such as a command line."""
        self._parts.append(f"<pre>{escape(text)}</pre>")

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Add a table; the first column names, the others hold values.

        Raises
        ------
        ValueError
            If a row is not as long as the header.
        """
        for row in rows:
            if len(row) != len(header):
                raise ValueError(
                    f"A table row has {len(row)} cells, its header {len(header)}: {list(row)}."
                )
        lines = [_row("th", header), *(_row("td", row) for row in rows)]
        self._parts.append("<table>\n" + "\n".join(lines) + "\n</table>")

    def figure(self, figure: Figure, description: str) -> None:
        """Embed a figure as PNG."""
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=DPI, metadata={"Software": None})
        self._embed(content.getvalue(), description)

    def image(self, path: Path) -> None:
        """Embed a PNG file; its name becomes the description."""
        self._embed(path.read_bytes(), path.stem)

    def _embed(self, png: bytes, description: str) -> None:
        data = base64.b64encode(png).decode("ascii")
        self._parts.append(f'<img alt="{escape(description)}" src="data:image/png;base64,{data}">')

    def html(self) -> str:
        """Return the page."""
        return _PAGE.substitute(title=escape(self._title), body="\n".join(self._parts))

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the page, in one step."""
        with replacing(path) as temporary:
            temporary.write_text(self.html(), encoding="utf-8")


def _row(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"
