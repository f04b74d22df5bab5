"""How are results shown? One table with notes below, as Markdown and on the terminal.

Both come from the same texts, so they cannot disagree.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

NOTHING = "–"
"""What stands where there is no number."""


@dataclass(frozen=True)
class Table:
    r"""A table of texts.

    Attributes
    ----------
    title : str
        What it shows.
    header : sequence of str
        Names of the columns; the first column names the row.
    rows : sequence of sequence of str
        Texts.
    notes : sequence of str
        Sentences below the table.

    Examples
    --------
    >>> print(Table("Speed", ["data", "s"], [["a|b", "1.5"]], ["One run."]).markdown())
    | data | s |
    |---|---:|
    | a\|b | 1.5 |
    <BLANKLINE>
    - One run.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = field(default_factory=list)

    def markdown(self) -> str:
        """Return the table and its notes, without the title."""
        lines = [_line(self.header), "|---|" + "---:|" * (len(self.header) - 1)]
        lines += [_line(row) for row in self.rows]
        if self.notes:
            lines += ["", *(f"- {note}" for note in self.notes)]
        return "\n".join(lines)


def _line(texts: Sequence[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"


def mean_text(values: Sequence[float], digits: int, *, scale: float = 1.0) -> str:
    """Return the mean, with the deviation over seeds (ddof 0) if there are several.

    Examples
    --------
    >>> mean_text([0.5, 0.75], 1, scale=100), mean_text([0.5], 1), mean_text([], 1)
    ('62.5 ± 12.5', '0.5', '–')
    """
    if not values:
        return NOTHING
    text = f"{scale * statistics.fmean(values):,.{digits}f}"
    if len(values) == 1:
        return text
    return f"{text} ± {scale * statistics.pstdev(values):,.{digits}f}"


def mean(values: Sequence[float]) -> float:
    """Return the mean, NaN of nothing.

    Examples
    --------
    >>> mean([1.0, 2.0]), mean([])
    (1.5, nan)
    """
    return statistics.fmean(values) if values else math.nan


def number_text(value: float, digits: int) -> str:
    """Return a number, or a dash for NaN.

    Examples
    --------
    >>> number_text(1234.5, 1), number_text(math.nan, 1)
    ('1,234.5', '–')
    """
    return NOTHING if math.isnan(value) else f"{value:,.{digits}f}"
