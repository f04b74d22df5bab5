"""How does one compare time-series methods from a shell? The commands ``sparsewire bench ts``.

``classify``, ``forecast`` and ``detect`` run what a table still lacks and print it. A mistake is
one line on stderr, ``error: ...``, and exit code 2, before anything is run; if a run failed, the
exit code is 1. Heavy modules are imported when a command runs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from sparsewire.reporting.terminal import (
    SeveralValues,
    command_line,
    one_line_errors,
    print_table,
    say,
)

if TYPE_CHECKING:
    from sparsewire.timeseries.benchmark.running import BaseBench, BenchResult

_Data = Annotated[str, typer.Option(metavar="A,B,...", help="Data sets, or all.")]
_ClassifyMethods = Annotated[
    str, typer.Option(metavar="A,B,...", help="dsn, dsn-static, dsn-dense, 1nn.")
]
_ForecastMethods = Annotated[
    str,
    typer.Option(
        metavar="A,B,...",
        help="pals, dense, static, dynamic, granet, repeat-last. static, dynamic and granet take "
        "the density at which pals ended, unless --param density:0.2 gives one.",
    ),
]
_DetectMethods = Annotated[
    str | None,
    typer.Option(
        metavar="A,B,...",
        help="alacpd, alacpd-reference, none; with the package ruptures pelt, binseg. Default: all "
        "that can be run.",
    ),
]
_Models = Annotated[
    str,
    typer.Option(
        metavar="A,B,...", help="dlinear, nlinear, transformer, nstransformer, lstm, gru."
    ),
]
_Seeds = Annotated[str, typer.Option(help="Such as 0-2 or 0,3,7.")]
_Steps = Annotated[
    int, typer.Option(min=1, help="Steps of a run at most, about; fewer epochs of many series.")
]
_Horizons = Annotated[
    int, typer.Option(min=1, help="How many of the protocol's horizons, from the shortest on.")
]
_LookBack = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Known steps of a window; default: 336 for linear models (illness 104), else 96 (36).",
    ),
]
_Tune = Annotated[
    bool,
    typer.Option(
        "--tune",
        help="Choose prune_factor and loss_freedom of pals from {1.05, 1.1, 1.2} by the validation "
        "loss with the first seed, among runs with a sparsity of at least 0.6 if there are such.",
    ),
]
_Param = Annotated[
    list[str] | None,
    typer.Option(
        "--param", metavar="NAME:VALUE ...",
        help="Parameters of the estimator, such as n_filters:16; values are Python literals, read "
        "without executing anything.",
    ),
]  # fmt: skip
_Out = Annotated[
    Path,
    typer.Option(metavar="FILE", help="JSON lines; what it holds already is not run again."),
]
_Markdown = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write the table there as well.")
]
_Figures = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Draw what alacpd finds with the first seed."),
]
_DEFAULT_OUT = Path("bench_ts.jsonl")


class _Command(SeveralValues):
    several: ClassVar[tuple[str, ...]] = ("--param",)


def register_bench(group: typer.Typer) -> None:
    """Add the commands ``ts classify``, ``ts forecast`` and ``ts detect`` to the group ``bench``.

    Parameters
    ----------
    group : typer.Typer
        The group to extend; it is changed in place.

    Examples
    --------
    >>> group = typer.Typer()
    >>> register_bench(group)
    >>> [command.name for command in group.registered_groups[0].typer_instance.registered_commands]
    ['classify', 'forecast', 'detect']
    """
    ts = typer.Typer(help="Compare time-series methods.", no_args_is_help=True)
    ts.command("classify", cls=_Command, help="DSN on the UCR and UEA archives.")(_classify)
    ts.command("forecast", cls=_Command, help="PALS on the long-term benchmarks.")(_forecast)
    ts.command("detect", cls=_Command, help="ALACPD on annotated series.")(_detect)
    group.add_typer(ts, name="ts")


def _classify(
    data: _Data = "gunpoint,italypowerdemand,basicmotions",
    methods: _ClassifyMethods = "dsn,1nn",
    seeds: _Seeds = "0",
    steps: _Steps = 10_000,
    param: _Param = None,
    out: _Out = _DEFAULT_OUT,
    markdown: _Markdown = None,
) -> None:
    def make() -> BaseBench:
        from sparsewire.reporting.arguments import parse_seeds
        from sparsewire.timeseries.benchmark.classification import ClassifyBench

        return ClassifyBench(
            data=_names(data),
            methods=_names(methods),
            seeds=parse_seeds(seeds),
            steps=steps,
            parameters=_parameters(param),
        )

    _run(make, out, markdown)


def _forecast(
    data: _Data = "illness,etth1",
    models: _Models = "dlinear",
    methods: _ForecastMethods = "pals,dense,static,granet,repeat-last",
    seeds: _Seeds = "0",
    n_horizons: _Horizons = 1,
    look_back: _LookBack = None,
    tune: _Tune = False,
    param: _Param = None,
    out: _Out = _DEFAULT_OUT,
    markdown: _Markdown = None,
) -> None:
    def make() -> BaseBench:
        from sparsewire.reporting.arguments import parse_seeds
        from sparsewire.timeseries.benchmark.forecasting import ForecastBench

        return ForecastBench(
            data=_names(data),
            models=_names(models),
            methods=_names(methods),
            seeds=parse_seeds(seeds),
            n_horizons=n_horizons,
            look_back=look_back,
            tune=tune,
            parameters=_parameters(param),
        )

    _run(make, out, markdown)


def _detect(
    data: _Data = "all",
    methods: _DetectMethods = None,
    seeds: _Seeds = "0",
    param: _Param = None,
    figures: _Figures = None,
    out: _Out = _DEFAULT_OUT,
    markdown: _Markdown = None,
) -> None:
    def make() -> BaseBench:
        from sparsewire.reporting.arguments import parse_seeds
        from sparsewire.reporting.figures import require_matplotlib
        from sparsewire.timeseries.benchmark.detection import DetectBench

        if figures is not None:
            require_matplotlib()
        return DetectBench(
            data=_names(data),
            methods=None if methods is None else _names(methods),
            seeds=parse_seeds(seeds),
            parameters=_parameters(param),
        )

    def finish(bench: BaseBench) -> None:
        from sparsewire.timeseries.benchmark.detection import DetectBench, draw

        if figures is not None and isinstance(bench, DetectBench):
            for path in draw(bench, figures):
                typer.echo(f"wrote {path}")

    _run(make, out, markdown, finish)


def _run(
    make: Callable[[], BaseBench],
    out: Path,
    markdown: Path | None,
    finish: Callable[[BaseBench], None] | None = None,
) -> None:
    with one_line_errors("timeseries"):
        for path in filter(None, (out, markdown)):
            _check_writable(path)
        bench = make()
        from sparsewire.timeseries.benchmark.running import run_bench

        try:
            result = run_bench(bench, out, say=say)
        except KeyboardInterrupt:
            say("interrupted; the same command goes on where it stopped.")
            raise typer.Exit(130) from None
        _show(result, markdown)
        if finish is not None:
            finish(bench)
    if result.failed:
        raise typer.Exit(1)


def _show(result: BenchResult, markdown: Path | None) -> None:
    table = result.table
    print_table(table.title, table.header, table.rows)
    for note in table.notes:
        typer.echo(note)
    if markdown is not None:
        from sparsewire.core._files import replacing

        text = f"# {table.title}\n\n`{command_line()}`\n\n{table.markdown()}\n"
        with replacing(markdown) as temporary:
            temporary.write_text(text, encoding="utf-8")
        typer.echo(f"wrote {markdown}")
    failed = len(result.failed)
    say(f"{len(result.outcomes)} runs, {result.reused} of them were there, {failed} failed.")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _parameters(texts: list[str] | None) -> dict[str, Any]:
    from sparsewire.reporting.arguments import parse_pairs

    return parse_pairs("--param", texts or [])


def _check_writable(path: Path) -> None:
    """Refuse a file that could not be written after a long computation."""
    from sparsewire.core.errors import InvalidArgumentError

    if path.is_dir() or not path.absolute().parent.is_dir():
        raise InvalidArgumentError(f"{path} cannot be written; name a file in an existing folder.")
