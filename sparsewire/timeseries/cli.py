"""How does one classify, forecast and watch series from a shell? The group ``sparsewire ts``.

``classify`` trains a dynamic sparse network on labelled series, ``forecast`` a sparse forecaster on
the columns of a table, ``detect`` finds change points in a series, or in a stream as it arrives.
A mistake is one line on stderr, ``error: ...``, and exit code 2, before anything is trained; after
Ctrl-C the exit code is 130, and the same command continues the training. This module names the
options; what happens is in ``command``, whose modules are imported when a command runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sparsewire.reporting.terminal import SeveralValues, one_line_errors

if TYPE_CHECKING:
    from sparsewire.timeseries.command.output import Common

_CLASSIFY = (
    "Learn to tell classes of series apart.\n\n"
    "TRAIN is a .ts, .tsv or .txt (UCR), .arff, .npz or .csv file (one row a series), or the name "
    "of a data set such as gunpoint, which brings its test cases along. OUT receives model.zip, "
    "metrics.json, history.csv, predictions.csv, and with --plots kernels.png and "
    "class_activation.png. With --model instead of TRAIN, a fitted classifier only predicts."
)
_FORECAST = (
    "Forecast the columns of a table with a sparse network.\n\n"
    "DATA is a .csv file with a row for each time, or the name of a series such as etth1. OUT "
    "receives forecast.csv, metrics.json, model.zip, history.csv, with PALS decisions.csv, and "
    "with --plots forecast.png. Without --test-size the forecast follows the end of DATA; with it, "
    "the rows that are left to train on. Values that --param missing:linear fills in are compared "
    "with like known ones; n_interpolated in metrics.json says how many."
)
_DETECT = (
    "Find where a series changes.\n\n"
    "DATA is a .csv file, a .json file of TCPD or the name of one of its series such as nile; OUT "
    "receives changes.json, scores.csv, and with --plots changes.png. With DATA - lines of CSV are "
    "read from standard input, and every change is printed as a line of JSON as soon as it is "
    "found; the first samples, --param n_init:N or 30, warm the detector up. "
    "Times must increase, in a file as in a stream."
)


class _SeveralParameters(SeveralValues):
    """A command in which ``--param a:1 b:2`` means ``--param a:1 --param b:2``."""

    several = ("--param",)


_Output = Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="Folder to write.")]
_Param = Annotated[
    list[str] | None,
    typer.Option(
        "--param", metavar="NAME:VALUE...",
        help="Parameters of the estimator, such as n_epochs:50: Python literals, read without "
        "executing anything.",
    ),
]  # fmt: skip
_Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of all randomness.")]
_Resume = Annotated[
    bool,
    typer.Option(
        "--resume/--no-resume",
        help="Keep the run in OUT/run.pt after every epoch while it lasts, and continue the one "
        "there is.",
    ),
]
_Plots = Annotated[bool, typer.Option("--plots", help="Draw pictures, with matplotlib.")]
_Force = Annotated[bool, typer.Option("--force", help="Replace existing output files.")]
_Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar, no summary.")]
_Time = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="Column of times; none: number the rows. Default: the first column, if it holds "
        "dates.",
    ),
]
_Columns = Annotated[
    str | None, typer.Option(metavar="A,B,...", help="Columns of the series; default: all others.")
]

_Table = Annotated[str, typer.Argument(help="Table to read, or a name.")]
_Horizon = Annotated[int, typer.Option(min=1, metavar="H", help="Steps to forecast.")]
_InputSize = Annotated[
    int | None, typer.Option(min=1, metavar="L", help="Steps known to each forecast.")
]
_Model = Annotated[
    str, typer.Option(help="Network, such as dlinear or nstransformer; another word lists all.")
]
_Sparsity = Annotated[
    str, typer.Option(help="How it becomes sparse: pals, static, dynamic, granet or none.")
]
_Level = Annotated[float, typer.Option(help="Level of the intervals, in (0, 1).")]
_TestSize = Annotated[
    str | None,
    typer.Option(metavar="N", help="Last rows to hold out: a number, or a share such as 0.2."),
]
_Protocol = Annotated[
    str | None,
    typer.Option(help="ltsf: the published borders of a named series, and its input size."),
]


def register(app: typer.Typer) -> None:
    """Add the group ``ts`` to the command line.

    Parameters
    ----------
    app : typer.Typer
        The application to extend; it is changed in place.

    Examples
    --------
    >>> app = typer.Typer()
    >>> register(app)
    >>> [command.name for command in app.registered_groups[0].typer_instance.registered_commands]
    ['classify', 'forecast', 'detect']
    """
    group = typer.Typer(
        help="Classify and forecast time series, find change points.", no_args_is_help=True
    )
    group.command("classify", cls=_SeveralParameters, help=_CLASSIFY)(_classify)
    group.command("forecast", cls=_SeveralParameters, help=_FORECAST)(_forecast)
    group.command("detect", cls=_SeveralParameters, help=_DETECT)(_detect)
    app.add_typer(group, name="ts")


def _common(
    output: Path | None, param: list[str] | None, seed: int, plots: bool, force: bool, quiet: bool
) -> Common:
    from sparsewire.timeseries.command.arguments import parse_parameters
    from sparsewire.timeseries.command.output import Common

    return Common(
        output=output,
        parameters=parse_parameters(param or []),
        seed=seed,
        plots=plots,
        force=force,
        quiet=quiet,
    )


def _classify(
    output: _Output,
    train: Annotated[str | None, typer.Argument(help="Labelled series to learn from.")] = None,
    test: Annotated[
        str | None, typer.Option(metavar="FILE", help="Labelled series to judge by.")
    ] = None,
    predict: Annotated[
        str | None, typer.Option(metavar="FILE", help="Series to predict the labels of.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column of the labels, in .csv files.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A model.zip, to predict only.")
    ] = None,
    param: _Param = None,
    seed: _Seed = 0,
    resume: _Resume = True,
    plots: _Plots = False,
    force: _Force = False,
    quiet: _Quiet = False,
) -> None:
    with one_line_errors("timeseries"):
        from sparsewire.timeseries.command.classify import Request, run

        run(
            Request(
                common=_common(output, param, seed, plots, force, quiet),
                train=train,
                test=test,
                predict=predict,
                target=target,
                model=model,
                resume=resume,
            )
        )


def _forecast(
    data: _Table,
    output: _Output,
    horizon: _Horizon,
    input_size: _InputSize = None,
    time: _Time = None,
    columns: _Columns = None,
    model: _Model = "dlinear",
    sparsity: _Sparsity = "pals",
    level: _Level = 0.9,
    test_size: _TestSize = None,
    protocol: _Protocol = None,
    param: _Param = None,
    seed: _Seed = 0,
    resume: _Resume = True,
    plots: _Plots = False,
    force: _Force = False,
    quiet: _Quiet = False,
) -> None:
    with one_line_errors("timeseries"):
        from sparsewire.timeseries.command.arguments import parse_names, parse_size
        from sparsewire.timeseries.command.forecast import Request, run

        run(
            Request(
                common=_common(output, param, seed, plots, force, quiet),
                data=data,
                horizon=horizon,
                input_size=input_size,
                time=time,
                columns=parse_names("--columns", columns),
                model=model,
                sparsity=sparsity,
                level=level,
                test_size=parse_size("--test-size", test_size),
                protocol=protocol,
                resume=resume,
            )
        )


def _detect(
    data: Annotated[str, typer.Argument(help="Series to read, a name, or - for a stream.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="OUT", help="Folder to write; not for a stream."),
    ] = None,
    time: _Time = None,
    columns: _Columns = None,
    annotations: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What people marked, as in TCPD; gives F1 and covering."),
    ] = None,
    save_state: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the detector at the end.")
    ] = None,
    load_state: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Continue a stream with this detector.")
    ] = None,
    param: _Param = None,
    seed: _Seed = 0,
    plots: _Plots = False,
    force: _Force = False,
    quiet: _Quiet = False,
) -> None:
    with one_line_errors("timeseries"):
        from sparsewire.timeseries.command import detect, stream
        from sparsewire.timeseries.command.arguments import parse_names

        request = detect.Request(
            common=_common(output, param, seed, plots, force, quiet),
            data=data,
            time=time,
            columns=parse_names("--columns", columns),
            annotations=annotations,
            save_state=save_state,
            load_state=load_state,
        )
        (stream if data == "-" else detect).run(request)
