"""What does a command leave behind? All of its files or none, and a JSON that says what was run.

Every file is written beside its place first, and moved when all are complete, the JSON last, so
that it stands for a whole result. The one exception is ``run.pt``, which keeps a run while it
lasts.
"""

from __future__ import annotations

import csv
import hashlib
import json
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import typer

from sparsewire.core._files import replacing
from sparsewire.core.errors import InvalidArgumentError
from sparsewire.reporting.outputs import check_files
from sparsewire.reporting.terminal import command_line, say

Writer = Callable[[Path], None]
RUN_FILE = "run.pt"
_HIDDEN = ("checkpoint", "verbose")  # do not make another run


@dataclass(frozen=True, kw_only=True)
class Common:
    """The options that all commands have.

    Attributes
    ----------
    output : pathlib.Path or None
        Folder to write into.
    parameters : dict
        Of the estimator, by name.
    seed : int
        Of everything random.
    plots, force, quiet : bool
        Whether to draw, to replace existing files, and to be silent.
    """

    output: Path | None
    parameters: dict[str, Any]
    seed: int
    plots: bool = False
    force: bool = False
    quiet: bool = False

    @property
    def folder(self) -> Path:
        """The folder to write into.

        Raises
        ------
        InvalidArgumentError
            If none was named.
        """
        if self.output is None:
            raise InvalidArgumentError("name a folder for the results with --output.")
        return self.output


def check_output(common: Common, names: Iterable[str], inputs: Iterable[Path]) -> None:
    """Refuse to replace an input or, without ``--force``, any file.

    Parameters
    ----------
    common : Common
        What was asked for.
    names : iterable of str
        Files that will be written.
    inputs : iterable of pathlib.Path
        Files that will be read.

    Raises
    ------
    InvalidArgumentError
        Names the files and the way out.
    ImportError
        If pictures are wanted and matplotlib is missing.
    """
    if common.plots:
        from sparsewire.reporting.figures import require_matplotlib

        require_matplotlib()
    files = [common.folder / name for name in names]
    check_files(common.folder, files, inputs=inputs, force=common.force)


@contextmanager
def resumable(common: Common, *, keep: bool) -> Iterator[Path | None]:
    """Give the file that keeps the run of the block, and say how to go on after Ctrl-C.

    A run that reached the end of the block needs the file no more, and it is deleted.

    Parameters
    ----------
    common : Common
        What was asked for.
    keep : bool
        Whether to keep the run at all.

    Yields
    ------
    pathlib.Path or None
        The file for the estimator's ``checkpoint``.

    Raises
    ------
    typer.Exit
        With code 130 after an interrupt.
    """
    file = common.folder / RUN_FILE
    if keep and file.exists() and not common.quiet:
        say(f"continuing the run of {file}")
    try:
        yield file if keep else None
    except KeyboardInterrupt:
        kept = keep and file.exists()
        how = f"the same command continues the run of {file}" if kept else "nothing was written"
        say(f"interrupted; {how}.")
        raise typer.Exit(130) from None
    if keep:
        file.unlink(missing_ok=True)


def write_files(common: Common, writers: Mapping[str, Writer]) -> None:
    """Write every file, or none, and say so.

    Parameters
    ----------
    common : Common
        What was asked for.
    writers : mapping of str to callable
        For each file what writes it, the JSON last.
    """
    with ExitStack() as stack:  # moved into place in reverse order of entering
        names = reversed(list(writers))
        places = {n: stack.enter_context(replacing(common.folder / n)) for n in names}
        for name, write in writers.items():
            write(places[name])
    if not common.quiet:
        for name in writers:
            typer.echo(f"wrote {common.folder / name}")


def json_writer(content: Mapping[str, Any]) -> Writer:
    """Return what writes a JSON file that any reader accepts: no NaN, no Infinity."""

    def write(path: Path) -> None:
        text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")

    return write


def csv_writer(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Writer:
    """Return what writes a CSV file; NaN and None are empty fields."""

    def write(path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            for row in rows:
                writer.writerow(["" if value is None or value != value else value for value in row])

    return write


def history_writer(history: Mapping[str, Sequence[object]], counter: str | None) -> Writer:
    """Return what writes lists of equal length as columns, counted from 1 if `counter` has a name.

    Parameters
    ----------
    history : mapping of str to sequence
        Columns.
    counter : str or None
        Name of a first column with the number of the row.
    """
    rows = zip(*history.values(), strict=True)
    if counter is None:
        return csv_writer(list(history), rows)
    return csv_writer([counter, *history], ((n, *row) for n, row in enumerate(rows, start=1)))


def describe_run(estimator: Any, common: Common, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was run, with what and on what, as plain values for a JSON file.

    Parameters
    ----------
    estimator : estimator
        Its class and parameters are told.
    common : Common
        What was asked for.
    data : mapping
        What was read.

    Returns
    -------
    dict
        In a fixed order.
    """
    parameters = estimator.get_params(deep=False)
    return {
        "sparsewire_version": version("sparsewire"),
        "command": command_line(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "numpy", "scikit-learn", "pandas")},
        },
        "data": dict(data),
        "estimator": type(estimator).__name__,
        "parameters": {n: parameters[n] for n in sorted(parameters) if n not in _HIDDEN},
        "seed": common.seed,
    }


def describe_files(paths: Iterable[Path]) -> list[dict[str, str]]:
    """Return name and SHA-256 of every file."""
    found = []
    for path in paths:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        found.append({"file": str(path), "sha256": digest})
    return found
