"""What does the command ``sparsewire`` offer? The sub-commands its packages register.

Each package with commands has its own ``cli`` module with a function ``register``; this one only
puts them together. Nothing heavy is imported until a sub-command runs, so ``--help`` answers at
once.
"""

from __future__ import annotations

from typing import Annotated

import typer

import sparsewire
from sparsewire.bench import cli as bench_cli
from sparsewire.continual import cli as continual_cli
from sparsewire.featsel import cli as featsel_cli
from sparsewire.featsel.benchmark import cli as featsel_bench_cli
from sparsewire.rl import cli as rl_cli
from sparsewire.timeseries import cli as ts_cli
from sparsewire.timeseries.benchmark import cli as ts_bench_cli

app = typer.Typer(
    help="Dynamic sparse training: one engine, several applications.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sparsewire {sparsewire.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Hold the options that belong to no sub-command."""


featsel_cli.register(app)
bench = bench_cli.register(app)
featsel_bench_cli.register_bench(bench)
ts_bench_cli.register_bench(bench)
rl_cli.register(app)
continual_cli.register(app)
ts_cli.register(app)


def main() -> None:
    """Run the command line; the entry point of the installed script.

    Examples
    --------
    >>> [command.name for command in app.registered_commands]
    ['select']
    >>> [group.name for group in app.registered_groups]
    ['bench', 'rl', 'cl', 'ts']
    """
    app()
