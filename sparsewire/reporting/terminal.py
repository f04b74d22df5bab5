"""How does a command speak? One line per mistake or warning, tables, and its own command line."""

from __future__ import annotations

import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand

_WIDTH = 200
"""Columns where there is no terminal to ask; a narrow table would break its numbers."""


class SeveralValues(TyperCommand):
    """A command in which ``--set a:1 b:2`` means ``--set a:1 --set b:2``.

    Attributes
    ----------
    several : tuple of str
        Options that take all values up to the next option.
    """

    several: ClassVar[tuple[str, ...]] = ()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat such an option before each of its values."""
        spread: list[str] = []
        option = ""
        for argument in args:
            if argument.startswith("-"):
                option = argument if argument in self.several else ""
            elif option and spread[-1] != option:
                spread.append(option)
            spread.append(argument)
        return super().parse_args(ctx, spread)


@contextmanager
def one_line_errors(extra: str) -> Iterator[None]:
    """Turn a refusal into one line on stderr and exit code 2, and a warning into one line.

    Parameters
    ----------
    extra : str
        What to install for the command's packages, the part in ``sparsewire[extra]``.

    Raises
    ------
    typer.Exit
        In place of an error that a user can mend.

    Examples
    --------
    >>> with one_line_errors("rl"):
    ...     pass
    """
    from sparsewire.core.errors import SparsewireError

    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            yield
    except (SparsewireError, OSError, ImportError) as error:
        text = " ".join(str(error).split())
        if isinstance(error, ModuleNotFoundError) and "pip install" not in text:
            text += f'; pip install "sparsewire[{extra}]" installs what the command needs.'
        say(f"error: {text}")
        raise typer.Exit(2) from None


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    say(f"warning: {' '.join(str(message).split())}")


def say(text: str) -> None:
    """Print a line to stderr."""
    typer.echo(text, err=True)


def command_line() -> str:
    """Return what was typed, quoted for a shell."""
    return shlex.join(["sparsewire", *sys.argv[1:]])


def check_confidence(confidence: float) -> None:
    """Raise `InvalidArgumentError` unless the level of an interval is in (0, 1)."""
    from sparsewire.core.errors import InvalidArgumentError

    if not 0 < confidence < 1:
        raise InvalidArgumentError(f"--ci must be in (0, 1), such as 0.95, got {confidence:g}.")


def checked_output(path: Path, suffix: str) -> Path:
    """Refuse a file that could not be written after a long computation.

    Parameters
    ----------
    path : pathlib.Path
        File to write; its folder is made if needed.
    suffix : str
        What it must end in, such as ``.png``.

    Returns
    -------
    pathlib.Path
        The same.

    Raises
    ------
    InvalidArgumentError
        If it has another suffix or is a folder.
    OSError
        If its folder cannot be made.
    """
    from sparsewire.core.errors import InvalidArgumentError

    if path.suffix.lower() != suffix or path.is_dir():
        raise InvalidArgumentError(f"--output {path} must be a file that ends in {suffix}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table to standard output.

    Parameters
    ----------
    title : str
        Line above the table.
    header : sequence of str
        Column names; the first column is aligned to the left, the others to the right.
    rows : sequence of sequence of str
        Cells.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left")
    for index, name in enumerate(header):
        table.add_column(escape(name), justify="right" if index else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    terminal = Console()
    (terminal if terminal.is_terminal else Console(width=_WIDTH)).print(table)
