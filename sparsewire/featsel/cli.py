"""How does one select features from a shell? The sub-command ``sparsewire select``.

It reads a table, fits one selector, and writes into the output folder

* ``selected.csv``, ``.parquet`` or ``.npz``: the chosen columns in their original order and the
  target, values unchanged, in the format of the input;
* ``selection.json``: what was run, on what, and the score of every feature;
* with ``--explain``, ``importances.png``, and ``heatmap.png`` if the features are pixels.

A mistake is one line on stderr, ``error: ...``, and exit code 2. This module names the options;
what happens is in ``command``, whose modules are imported when the command runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sparsewire.featsel.command.methods import METHODS
from sparsewire.reporting.terminal import one_line_errors

_HELP = (
    "Keep the most informative columns of a table.\n\n"
    "DATA is a .csv, .parquet or .npz file (arrays X, optionally y and feature_names) with numbers "
    "only, apart from the target. The folder OUT receives the reduced table (selected.csv, "
    ".parquet or .npz), selection.json with the score of every feature, and with --explain the "
    "pictures."
)

_Data = Annotated[Path, typer.Argument(help="Table to read.")]
_K = Annotated[
    str,
    typer.Option(
        "-k", metavar="K",
        help="Columns to keep: 50, a share such as 0.1, or probe: those more important than every "
        "shuffled copy.",
    ),
]  # fmt: skip
_Output = Annotated[Path, typer.Option(metavar="OUT", help="Folder to write into.")]
_Target = Annotated[
    str | None,
    typer.Option(
        help="Column (NPZ: array) to set aside and copy unchanged; neurofs and attribution learn "
        "from it."
    ),
]
_Method = Annotated[str, typer.Option(help=f"One of: {', '.join(METHODS)}.")]
_Epochs = Annotated[
    int | None, typer.Option(min=1, help="Passes over the rows; default: the method's own.")
]
_Redundancy = Annotated[
    float, typer.Option(min=0, help="Weight of correlation with columns chosen already.")
]
_Param = Annotated[
    list[str] | None,
    typer.Option(
        "--param", metavar="NAME=VALUE",
        help="Any parameter of the selector, such as hidden_size=500; may be repeated.",
    ),
]  # fmt: skip
_ChunkRows = Annotated[
    int | None,
    typer.Option(
        min=2,
        help="Parquet with --method wast: hold so many rows in memory at a time, for a table that "
        "does not fit.",
    ),
]
_Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of all randomness.")]
_Explain = Annotated[
    bool,
    typer.Option(
        "--explain", help="Draw the importances: bars, and a heat map if the columns are pixels."
    ),
]
_ImageShape = Annotated[
    str | None,
    typer.Option(
        metavar="HxW",
        help="With --explain: the columns are pixels of such an image; default: of a square one if "
        "their number allows it.",
    ),
]
_Force = Annotated[bool, typer.Option("--force", help="Replace existing output files.")]
_Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar, no summary.")]


def register(app: typer.Typer) -> None:
    """Add the sub-command ``select`` to the command line.

    Parameters
    ----------
    app : typer.Typer
        The application to extend; it is changed in place.

    Examples
    --------
    >>> app = typer.Typer()
    >>> register(app)
    >>> app.registered_commands[0].name
    'select'
    """
    app.command("select", help=_HELP)(_select)


def _select(
    data: _Data,
    k: _K,
    output: _Output,
    target: _Target = None,
    method: _Method = "quickselection",
    epochs: _Epochs = None,
    redundancy: _Redundancy = 0.0,
    param: _Param = None,
    chunk_rows: _ChunkRows = None,
    seed: _Seed = 0,
    explain: _Explain = False,
    image_shape: _ImageShape = None,
    force: _Force = False,
    quiet: _Quiet = False,
) -> None:
    with one_line_errors("all"):
        from sparsewire.featsel.command import request
        from sparsewire.featsel.command.select import run

        run(
            request.Request(
                data=data,
                target=target,
                k=request.parse_k(k),
                method=method,
                output=output,
                epochs=epochs,
                redundancy=redundancy,
                parameters=request.parse_parameters(param or []),
                chunk_rows=chunk_rows,
                seed=seed,
                explain=explain,
                image_shape=request.parse_shape(image_shape),
                force=force,
                quiet=quiet,
            )
        )
