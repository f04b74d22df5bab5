"""How does ``sparsewire select`` run? Check everything, fit one selector, write every file.

Nothing is trained before options, output and table are checked, and nothing is written before the
training is done.
"""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import typer

from sparsewire.core.errors import InvalidArgumentError
from sparsewire.featsel.columns import counted
from sparsewire.featsel.command.methods import is_supervised, make_selector
from sparsewire.featsel.command.request import Request
from sparsewire.featsel.command.results import (
    Selection,
    check_output,
    write_results,
)
from sparsewire.featsel.command.stream import fit_chunks
from sparsewire.featsel.parquet import ParquetRows
from sparsewire.featsel.tables import read_table, write_selected
from sparsewire.featsel.targets import read_target
from sparsewire.reporting.outputs import output_folder


def run(request: Request) -> None:
    """Do what was asked for.

    Parameters
    ----------
    request : Request
        What was asked for.

    Raises
    ------
    SparsewireError
        If an option, the table or the output is unusable, or training diverges.
    OSError
        If a file cannot be read or written.
    ImportError
        If a picture was asked for and matplotlib is missing.
    """
    selector = make_selector(request)
    if request.explain:
        from sparsewire.reporting.figures import require_matplotlib

        require_matplotlib()
    check_output(request)
    with warnings.catch_warnings(), output_folder(request.output):
        warnings.simplefilter("default", UserWarning)  # each once, as one line
        if request.chunk_rows is None:
            result, files = _whole(request, selector)
        else:
            result, files = _chunked(request, selector)
    if not request.quiet:
        kept = int(result.selector.n_features_to_select_)
        typer.echo(f"kept {kept} of {len(result.names)} features in {result.seconds:.1f} s")
        for path in files:
            typer.echo(f"wrote {path}")


def _whole(request: Request, selector: Any) -> tuple[Selection, list[Path]]:
    table = read_table(request.data, request.target)
    _check_features(request, len(table.names))
    supervised = is_supervised(selector)
    if supervised and table.target is None:
        raise InvalidArgumentError(
            f"--method {request.method} learns from a target, and {request.data} has no array 'y'; "
            "name another with --target."
        )
    y = read_target(table) if supervised else None
    start = time.perf_counter()
    try:
        selector.fit(table.values, y)
    except ValueError as error:
        raise InvalidArgumentError(f"{table.path}: {error}") from error
    result = Selection(
        selector=selector,
        names=table.names,
        target=table.target,
        n_samples=len(table.values),
        n_epochs=getattr(selector, "n_iter_", None),
        seconds=time.perf_counter() - start,
        write_table=lambda selected, path: write_selected(table, selected, path),
    )
    return result, write_results(request, result)


def _chunked(request: Request, selector: Any) -> tuple[Selection, list[Path]]:
    if not request.data.is_file():
        raise FileNotFoundError(f"no such file: {request.data}")
    with ParquetRows(request.data, request.target) as rows:
        _check_features(request, len(rows.names))
        start = time.perf_counter()
        fit_chunks(
            selector, rows, n_rows=request.chunk_rows or rows.n_rows, progress=not request.quiet
        )
        result = Selection(
            selector=selector,
            names=rows.names,
            target=rows.target,
            n_samples=rows.n_rows,
            n_epochs=int(selector.epochs),
            seconds=time.perf_counter() - start,
            write_table=rows.write,
        )
        return result, write_results(request, result)


def _check_features(request: Request, n_features: int) -> None:
    """Check what depends on the table's width."""
    if not isinstance(request.k, str) and request.k > n_features:
        raise InvalidArgumentError(
            f"-k {request.k} is more than the {counted(n_features, 'feature')} of {request.data}."
        )
    check_output(request, n_features)
