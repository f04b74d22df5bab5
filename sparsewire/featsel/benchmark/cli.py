"""How does one compare selectors from a shell? The command ``sparsewire bench featsel``.

A mistake is one line on stderr, ``error: ...``, and exit code 2, before anything is run; if a cell
failed, the exit code is 1. Heavy modules are imported when the command runs.
"""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sparsewire.reporting.terminal import command_line, one_line_errors, print_table, say

if TYPE_CHECKING:
    from sparsewire.featsel.benchmark.running import BenchResult

_PARAMETER = re.compile(r"([A-Za-z][\w-]*)\.([A-Za-z_]\w*)=(.+)", re.DOTALL)
_COUNT = re.compile(r"(?:([A-Za-z][\w-]*)=)?([1-9]\d*)")

_Datasets = Annotated[
    str, typer.Option(metavar="A,B,...", help="Data sets, such as coil20,madelon.")
]
_Methods = Annotated[
    str,
    typer.Option(
        metavar="A,B,...",
        help="quickselection, wast, neurofs, attribution; laplacian, variance, f_classif, "
        "mutual_info, extra_trees; random, all.",
    ),
]
_K = Annotated[
    str,
    typer.Option(
        "-k", metavar="N,...", help="Features to keep; 50,madelon=20 keeps 20 on that data set."
    ),
]
_Seeds = Annotated[str, typer.Option(help="Such as 0..4, 0-4 or 0,3,7.")]
_Protocol = Annotated[
    str, typer.Option(help="clean, quickselection, neurofs, wast or attribution.")
]
_Jobs = Annotated[int, typer.Option(help="Cells at the same time; -1: all cores.")]
_Output = Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder to write.")]
_Param = Annotated[
    list[str] | None,
    typer.Option(
        "--param", metavar="METHOD.NAME=VALUE",
        help="A parameter of a method, such as wast.epochs=5: a Python literal, read without "
        "executing anything; repeatable.",
    ),
]  # fmt: skip


def register_bench(group: typer.Typer) -> None:
    """Add the command ``featsel`` to the group ``bench``.

    Parameters
    ----------
    group : typer.Typer
        The group to extend; it is changed in place. Called with an ``obj``, it takes that for
        `run_bench`'s ``extra_methods``.

    Examples
    --------
    >>> group = typer.Typer()
    >>> register_bench(group)
    >>> [command.name for command in group.registered_commands]
    ['featsel']
    """
    group.command("featsel", help="Compare feature selectors over data sets and seeds.")(_featsel)


def _featsel(
    context: typer.Context,
    datasets: _Datasets,
    output: _Output,
    methods: _Methods = "quickselection,wast,random",
    k: _K = "50",
    seeds: _Seeds = "0..4",
    protocol: _Protocol = "clean",
    jobs: _Jobs = 1,
    param: _Param = None,
) -> None:
    with one_line_errors("plot"):
        from sparsewire.featsel.benchmark.planning import find_dataset
        from sparsewire.featsel.benchmark.running import run_bench
        from sparsewire.reporting.arguments import parse_seeds

        names = [find_dataset(name) for name in _names(datasets)]
        try:
            result = run_bench(
                names,
                _names(methods),
                k=_counts(k, names),
                seeds=parse_seeds(seeds.replace("..", "-")),
                protocol=protocol,
                jobs=jobs,
                output=output,
                parameters=_parameters(param or []),
                extra_methods=context.obj,
                command=command_line() if context.obj is None else shlex.join(sys.argv),
                say=say,
            )
        except KeyboardInterrupt:
            say("interrupted; the same command goes on where it stopped.")
            raise typer.Exit(130) from None
        show(result)
    if result.failed:
        raise typer.Exit(1)


def show(result: BenchResult) -> None:
    """Print the tables and what was written.

    Parameters
    ----------
    result : BenchResult
        From `run_bench`.
    """
    from sparsewire.featsel.benchmark.table import HEADER, table_cells

    for name in dict.fromkeys(row.dataset for row in result.rows):
        rows = [table_cells(row) for row in result.rows if row.dataset == name]
        print_table(name, HEADER, rows)
    for file in ("cells.csv", "summary.csv", "report.html"):
        typer.echo(f"wrote {result.output / file}")
    reused = sum(entry.reused for entry in result.entries)
    say(f"{len(result.entries)} cells, {reused} of them were there, {len(result.failed)} failed.")
    for error in dict.fromkeys(entry.record.error for entry in result.failed):
        say(f"failed: {error}")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _counts(text: str, names: list[str]) -> dict[str, list[int]]:
    """Read ``50,100,madelon=20``: numbers for all data sets that have none of their own."""
    from sparsewire.core.errors import InvalidArgumentError
    from sparsewire.featsel.benchmark.planning import find_dataset

    general: list[int] = []
    special: dict[str, list[int]] = {}
    for part in _names(text):
        match = _COUNT.fullmatch(part)
        if match is None:
            raise InvalidArgumentError(
                f"-k {text} must hold numbers of at least 1, such as 50, 25,50 or 50,madelon=20."
            )
        if match[1] is None:
            general.append(int(match[2]))
            continue
        name = find_dataset(match[1])
        if name not in names:
            raise InvalidArgumentError(f"-k {text} names {name}, which is not in --datasets.")
        special.setdefault(name, []).append(int(match[2]))
    return {name: special.get(name, general) for name in names}


def _parameters(texts: list[str]) -> dict[str, dict[str, Any]]:
    from sparsewire.core.errors import InvalidArgumentError
    from sparsewire.reporting.arguments import parse_pairs

    pairs: dict[str, list[str]] = {}
    for text in texts:
        match = _PARAMETER.fullmatch(text)
        if match is None:
            raise InvalidArgumentError(
                f"--param {text} must look like method.name=value, such as wast.epochs=5."
            )
        pairs.setdefault(match[1], []).append(f"{match[2]}:{match[3]}")
    return {name: parse_pairs(f"--param of {name}:", own) for name, own in pairs.items()}
