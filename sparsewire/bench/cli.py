"""How does one measure from a shell? The command group ``sparsewire bench``.

``kernels`` compares one layer, ``mlp`` a whole training step, and ``break-even`` measures the table
by which storage is chosen. Tables go to standard output, progress to a terminal's standard error,
everything as JSON into a file if one is named. A mistake is one line on stderr, ``error: ...``, and
exit code 2. Heavy modules are imported when a command runs, not when it is registered.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

_Shapes = Annotated[
    list[str] | None,
    typer.Option("--shape", metavar="INxOUT", help="Inputs x outputs of a layer; repeatable."),
]
_Densities = Annotated[
    list[float] | None, typer.Option("--density", help="Share of connections; repeatable.")
]
_Batches = Annotated[
    list[int] | None, typer.Option("--batch", min=1, help="Batch size; repeatable.")
]
_Threads = Annotated[
    int,
    typer.Option(min=1, help="Threads to use; one is timed by CPU time, more by wall time."),
]
_ManyThreads = Annotated[
    list[int] | None,
    typer.Option("--threads", min=1, help="Threads to use, as in `kernels`; repeatable."),
]
_Seconds = Annotated[float, typer.Option(help="Time for each rival on each case.")]
_Json = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write all results there as well.")
]
_Output = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write the table there, as JSON.")
]
_Full = Annotated[
    bool, typer.Option("--full", help="The whole grid instead: four shapes, seven densities.")
]
_Layers = Annotated[str, typer.Option(metavar="N,N,...", help="Neurons of each layer.")]
_Epsilon = Annotated[
    float, typer.Option(help="epsilon * (inputs + outputs) connections in a layer, at most all.")
]
_Batch = Annotated[int, typer.Option(min=1, help="Samples per step.")]
_Steps = Annotated[int, typer.Option(min=1, help="Timed steps of each network.")]


def register(app: typer.Typer) -> typer.Typer:
    """Add the group ``bench`` to the command line.

    Parameters
    ----------
    app : typer.Typer
        The application to extend; it is changed in place.

    Returns
    -------
    typer.Typer
        The group, to which applications add benchmarks of their own.

    Examples
    --------
    >>> app = typer.Typer()
    >>> [command.name for command in register(app).registered_commands]
    ['kernels', 'mlp', 'break-even']
    """
    group = typer.Typer(help="Measure speed and accuracy here.", no_args_is_help=True)
    group.command("kernels", help="Time one layer, forward and backward, beside others.")(_kernels)
    group.command("mlp", help="Time a whole training step: csr, masked and dense.")(_mlp)
    group.command("break-even", help="Find the density above which masked wins.")(_break_even)
    app.add_typer(group, name="bench")
    return group


def _kernels(
    shape: _Shapes = None,
    density: _Densities = None,
    batch: _Batches = None,
    threads: _Threads = 1,
    seconds: _Seconds = 0.3,
    json_file: _Json = None,
    full: _Full = False,
) -> None:
    with _one_line_errors():
        from sparsewire.bench import kernels, report
        from sparsewire.core._validation import check_fraction
        from sparsewire.core.errors import InvalidArgumentError

        if full and (shape or density):
            raise InvalidArgumentError("--full is a grid of its own; leave --shape, --density out.")
        _check(threads, seconds, json_file)
        shapes = [_shape(text) for text in shape or ()]
        shapes = shapes or list(kernels.FULL_SHAPES if full else kernels.SHAPES)
        densities = [check_fraction("--density", value, open_low=True) for value in density or ()]
        densities = densities or list(kernels.FULL_DENSITIES if full else kernels.DENSITIES)
        cases = kernels.grid(shapes, densities, batch or kernels.BATCHES)
        if not cases:
            raise InvalidArgumentError(
                f"no case has between 1 and {kernels.MOST} connections; change --shape, --density."
            )
        with report.progress(len(cases)) as done:
            found = kernels.measure(cases, threads=threads, seconds=seconds, done=done)
        report.kernel_tables(found, report.console())
        _write(found, json_file)


def _mlp(
    layers: _Layers = "784,1000,1000,1000,10",
    epsilon: _Epsilon = 20.0,
    batch: _Batch = 128,
    steps: _Steps = 50,
    threads: _Threads = 1,
    json_file: _Json = None,
) -> None:
    with _one_line_errors():
        from sparsewire.bench import mlp, report
        from sparsewire.core._validation import check_positive
        from sparsewire.core.errors import InvalidArgumentError

        if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)+", layers):
            raise InvalidArgumentError(f"--layers {layers} must look like 784,1000,10.")
        check_positive("--epsilon", epsilon)
        _check(threads, 1.0, json_file)
        sizes = [int(size) for size in layers.split(",")]
        found = mlp.measure(sizes, epsilon=epsilon, batch=batch, steps=steps, threads=threads)
        report.mlp_table(found, report.console())
        _write(found, json_file)


def _break_even(
    shape: _Shapes = None,
    batch: _Batches = None,
    threads: _ManyThreads = None,
    seconds: _Seconds = 0.3,
    output: _Output = None,
) -> None:
    with _one_line_errors():
        from sparsewire.bench import break_even, report

        counts = threads or sorted({1, min(2, os.cpu_count() or 1)})
        _check(max(counts), seconds, output)
        shapes = [_shape(text) for text in shape or ()] or break_even.SHAPES
        cases = [
            break_even.Case(n_out, n_in, size, count)
            for count in counts
            for n_in, n_out in shapes
            for size in batch or break_even.BATCHES
        ]
        with report.progress(len(cases)) as done:
            found = break_even.measure(cases, seconds, done)
        report.break_even_table(found, report.console())
        _write(found, output)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    from sparsewire.core.errors import SparsewireError

    try:
        yield
    except (SparsewireError, OSError) as error:
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(2) from None


def _check(threads: int, seconds: float, file: Path | None) -> None:
    """Refuse what would fail, or mean nothing, after a long measurement."""
    from sparsewire.core._validation import check_positive
    from sparsewire.core.errors import InvalidArgumentError

    cores = os.cpu_count() or 1
    if threads > cores:
        raise InvalidArgumentError(f"--threads {threads} is more than the {cores} cores here.")
    check_positive("--seconds", seconds)
    if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
        raise InvalidArgumentError(f"{file} cannot be written; name a file in an existing folder.")


def _shape(text: str) -> tuple[int, int]:
    from sparsewire.core.errors import InvalidArgumentError

    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if match is None:
        raise InvalidArgumentError(f"--shape {text} must look like 784x1000 (inputs x outputs).")
    return int(match[1]), int(match[2])


def _write(found: dict[str, Any], file: Path | None) -> None:
    from sparsewire.core._files import replacing

    if file is not None:
        text = json.dumps(found, indent=1, allow_nan=False)
        with replacing(file) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
        typer.echo(f"wrote {file}")
