"""How does one compare continual learners from a shell? The command group ``sparsewire cl``.

``run`` trains one method with several seeds, ``compare`` several methods, doing only what was not
done before; a run that was interrupted goes on after its last finished task. A mistake is one line
on stderr, ``error: ...``, and exit code 2, before anything is trained or written; if a run failed,
the exit code is 1. Heavy modules are imported when a command runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sparsewire.reporting.terminal import (
    SeveralValues,
    command_line,
    one_line_errors,
    print_table,
)

if TYPE_CHECKING:
    from sparsewire.continual.command.comparing import Outcome
    from sparsewire.continual.command.results import Entry


class _SeveralSettings(SeveralValues):
    """A command in which ``--set a:1 b:2`` means ``--set a:1 --set b:2``."""

    several = ("--set",)


_Benchmark = Annotated[
    str,
    typer.Option(
        help="split-digits, split-mnist, split-fashion-mnist, split-cifar10 or permuted-mnist."
    ),
]
_Seeds = Annotated[str, typer.Option(help="Such as 0-4 or 0,3,7.")]
_Logs = Annotated[Path, typer.Option("-f", "--logs", help="Folder of all runs.")]
_Jobs = Annotated[int, typer.Option(help="Runs at the same time; -1: all cores.")]
_Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY:VALUE...",
        help="Settings to replace, such as epochs:2 or select:0.1: Python literals, read without "
        "executing anything.",
    ),
]  # fmt: skip
_Replay = Annotated[int, typer.Option(min=0, help="Examples to keep and replay beside the method.")]
_Progress = Annotated[bool, typer.Option("-P", "--progress", help="Show progress bars.")]


def register(app: typer.Typer) -> None:
    """Add the group ``cl`` to the command line.

    Parameters
    ----------
    app : typer.Typer
        The application to extend; it is changed in place.

    Examples
    --------
    >>> app = typer.Typer()
    >>> register(app)
    >>> [command.name for command in app.registered_groups[0].typer_instance.registered_commands]
    ['run', 'compare']
    """
    group = typer.Typer(help="Learn task after task in sparse networks.", no_args_is_help=True)
    group.command("run", cls=_SeveralSettings, help="Train one method over seeds.")(_run)
    group.command("compare", cls=_SeveralSettings, help="Compare methods over seeds.")(_compare)
    app.add_typer(group, name="cl")


def _run(
    method: Annotated[
        str,
        typer.Option(
            help="spacenet, spacenet-reference, afaf, dst-masks, concept-cells, or of Avalanche: "
            "naive, ewc, si, lwf, replay."
        ),
    ],
    benchmark: _Benchmark = "split-digits",
    seeds: _Seeds = "0-4",
    logs: _Logs = Path("logs"),
    jobs: _Jobs = 1,
    changes: _Set = None,
    replay: _Replay = 0,
    plot: Annotated[bool, typer.Option("--plot", help="Draw accuracies and owners.")] = False,
    progress: _Progress = False,
) -> None:
    with one_line_errors("continual"):
        outcomes = _outcomes(
            benchmark, [method], seeds, logs, jobs, changes, replay, progress, draws=plot
        )
        entries = _report(benchmark, outcomes)
        if plot and entries:
            from sparsewire.continual.command import results

            folder = entries[0].runs[0].path.parent
            for path in results.write_figures(folder, results.figures_of(entries)):
                typer.echo(f"wrote {path}")
        _finish(outcomes)


def _compare(
    methods: Annotated[
        str,
        typer.Option(
            metavar="A,B,...", help="Methods as in run; spacenet+replay500 replays 500 examples."
        ),
    ] = "spacenet,naive,ewc",
    benchmark: _Benchmark = "split-digits",
    seeds: _Seeds = "0-2",
    logs: _Logs = Path("logs"),
    jobs: _Jobs = 1,
    changes: _Set = None,
    replay: _Replay = 0,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder; default <logs>/<benchmark>/compare."),
    ] = None,
    progress: _Progress = False,
) -> None:
    with one_line_errors("continual"):
        names = [name.strip() for name in methods.split(",")]
        folder = _folder(output or logs / benchmark / "compare")
        outcomes = _outcomes(
            benchmark, names, seeds, logs, jobs, changes, replay, progress, draws=True
        )
        entries = _report(benchmark, outcomes)
        if entries:
            _write(folder, entries, outcomes)
        _finish(outcomes)


def _folder(path: Path) -> Path:
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"--output {path} is a file; name a folder.")
    return path


def _outcomes(
    benchmark: str,
    methods: list[str],
    seeds: str,
    logs: Path,
    jobs: int,
    changes: list[str] | None,
    replay: int,
    progress: bool,
    *,
    draws: bool,
) -> list[Outcome]:
    """Do all runs that are missing."""
    from sparsewire.continual.command.settings import resolve_all
    from sparsewire.reporting.arguments import parse_pairs, parse_seeds
    from sparsewire.reporting.figures import require_matplotlib

    wanted = resolve_all(
        benchmark, methods, parse_seeds(seeds), replay=replay,
        changes=parse_pairs("--set", changes or ()),
    )  # fmt: skip
    if draws:
        require_matplotlib()
    from sparsewire.continual.command.comparing import run_all

    return run_all(wanted, logs, jobs=jobs, command=command_line(), progress=progress)


def _report(benchmark: str, outcomes: list[Outcome]) -> list[Entry]:
    """Print the table of what has finished."""
    from sparsewire.continual.command import results

    entries = results.collect([outcome.run for outcome in outcomes if outcome.run is not None])
    if entries:
        title = f"{benchmark}: mean ± standard deviation over seeds; percent where there is no unit"
        print_table(title, results.HEADER, results.table_rows(entries))
    return entries


def _write(folder: Path, entries: list[Entry], outcomes: list[Outcome]) -> None:
    from sparsewire.continual.command import results

    figures = results.figures_of(entries)
    files = results.write_figures(folder, figures)
    results.write_csv(folder / "compare.csv", entries)
    results.make_page(entries, figures, outcomes, command_line()).write(folder / "compare.html")
    for path in (*files, folder / "compare.csv", folder / "compare.html"):
        typer.echo(f"wrote {path}")


def _finish(outcomes: list[Outcome]) -> None:
    """Name the runs that failed, with exit code 1 if there are any."""
    failed = [outcome for outcome in outcomes if outcome.run is None]
    for outcome in failed:
        settings = outcome.settings
        text = " ".join(outcome.error.split())
        typer.echo(f"failed: {settings.name}, seed {settings.seed}: {text}", err=True)
    if failed:
        raise typer.Exit(1)
