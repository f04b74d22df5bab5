"""How does one select features from a shell? The sub-command ``sparsewire select``.

It reads a table, fits one selector, and writes into the output folder

* ``selected.csv``, ``.parquet`` or ``.npz``: the chosen columns in their original order and the
  target, values unchanged, in the format of the input;
* ``selection.json``: what was run, on what, and the score of every feature;
* with ``--plot``, ``importances.png`` and, given ``--image-shape``, ``heatmap.png``.

Everything is checked before training starts. A mistake is one line on stderr, ``error: ...``, and
exit code 2. Formats are the business of ``tables``, drawing that of ``plots``; heavy modules are
imported when the command runs, not when it is registered.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import tempfile
import time
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sparsewire.featsel.tables import Table

METHODS: dict[str, str] = {
    "quickselection": "sparsewire.featsel.quickselection:QuickSelection",
}
"""Where each method's estimator is: name on the command line -> ``module:class``."""

_HELP = (
    "Keep the most informative columns of a table.\n\n"
    "DATA is a .csv, .parquet or .npz file (arrays X, optionally y and feature_names) with numbers "
    "only, apart from the target. The folder OUT receives the reduced table (selected.csv, "
    ".parquet or .npz), selection.json with the score of every feature, and with --plot the "
    "pictures."
)

_Data = Annotated[Path, typer.Argument(help="Table to read.")]
_K = Annotated[
    str, typer.Option("-k", metavar="K", help="Columns to keep: 50, or a share such as 0.1.")
]
_Output = Annotated[Path, typer.Option(metavar="OUT", help="Folder to write into.")]
_Target = Annotated[
    str | None, typer.Option(help="Column (NPZ: array) to set aside and copy unchanged.")
]
_Method = Annotated[str, typer.Option(help=f"One of: {', '.join(METHODS)}.")]
_Epochs = Annotated[
    int | None, typer.Option(min=1, help="Passes over the rows; default: the method's own.")
]
_Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of all randomness.")]
_Plot = Annotated[bool, typer.Option("--plot", help="Draw the importances as PNG.")]
_ImageShape = Annotated[
    str | None,
    typer.Option(metavar="HxW", help="With --plot: columns are pixels, draw a heat map."),
]
_Force = Annotated[bool, typer.Option("--force", help="Replace existing output files.")]
_Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar, no summary.")]


@dataclass(frozen=True, kw_only=True)
class _Request:
    """The options of one call, as typed by the user."""

    data: Path
    target: str | None
    k: int | float
    method: str
    output: Path
    epochs: int | None
    seed: int
    plot: bool
    image_shape: tuple[int, int] | None
    quiet: bool
    force: bool

    @property
    def table_file(self) -> Path:
        return self.output / f"selected{self.data.suffix.lower()}"

    @property
    def json_file(self) -> Path:
        return self.output / "selection.json"

    @property
    def plot_files(self) -> dict[str, Path]:
        names = ["importances", *(["heatmap"] if self.image_shape else [])] if self.plot else []
        return {name: self.output / f"{name}.png" for name in names}


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
    seed: _Seed = 0,
    plot: _Plot = False,
    image_shape: _ImageShape = None,
    force: _Force = False,
    quiet: _Quiet = False,
) -> None:
    from sparsewire.core.errors import SparsewireError

    try:
        request = _Request(
            data=data,
            target=target,
            k=_parse_k(k),
            method=method,
            output=output,
            epochs=epochs,
            seed=seed,
            plot=plot,
            image_shape=_parse_shape(image_shape, plot),
            quiet=quiet,
            force=force,
        )
        _run(request)
    except (SparsewireError, OSError, ImportError) as error:
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(2) from None


def _run(request: _Request) -> None:
    """Check, fit, write: nothing is written or trained before everything is checked."""
    selector_class = _selector_class(request.method)
    _check_plot(request)
    _check_output(request)
    table = _read(request)
    request.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=request.output):
        pass  # a folder without write permission shows here, not after the training
    parameters = {
        "n_features_to_select": request.k,
        "random_state": request.seed,
        "verbose": 0 if request.quiet else 1,
        **({} if request.epochs is None else {"epochs": request.epochs}),
    }
    start = time.perf_counter()
    selector = _fit(selector_class(**parameters), table)
    seconds = time.perf_counter() - start
    _write(request, table, selector, seconds)
    if not request.quiet:
        kept, n_features = int(selector.n_features_to_select_), len(table.names)
        typer.echo(f"kept {kept} of {n_features} features in {seconds:.1f} s")
        for path in (request.table_file, *request.plot_files.values(), request.json_file):
            typer.echo(f"wrote {path}")


def _parse_k(text: str) -> int | float:
    """Read a number of features, or a share of them if it is written with a point."""
    from sparsewire.core.errors import InvalidArgumentError

    try:
        number = float(text) if "." in text else int(text)
    except ValueError:
        number = 0
    if number < 1 if isinstance(number, int) else not 0 < number <= 1:
        raise InvalidArgumentError(
            f"-k {text} is neither a whole number of at least 1, such as 50, nor a share in (0, 1] "
            "written with a point, such as 0.1."
        )
    return number


def _parse_shape(text: str | None, plot: bool) -> tuple[int, int] | None:
    from sparsewire.core.errors import InvalidArgumentError

    if text is None:
        return None
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if match is None:
        raise InvalidArgumentError(f"--image-shape {text} must look like 28x28 (height x width).")
    if not plot:
        raise InvalidArgumentError("--image-shape only has an effect together with --plot.")
    return int(match[1]), int(match[2])


def _selector_class(method: str) -> Any:
    from sparsewire.core._validation import suggest
    from sparsewire.core.errors import UnknownMethodError

    if method not in METHODS:
        raise UnknownMethodError(
            f"unknown method {method!r}; available: {', '.join(METHODS)}.{suggest(method, METHODS)}"
        )
    module, _, name = METHODS[method].partition(":")
    return getattr(importlib.import_module(module), name)


def _check_plot(request: _Request) -> None:
    if request.plot:
        from sparsewire.reporting.figures import require_matplotlib

        require_matplotlib()


def _check_output(request: _Request) -> None:
    from sparsewire.core.errors import InvalidArgumentError

    targets = (request.table_file, *request.plot_files.values(), request.json_file)
    if any(path.resolve() == request.data.resolve() for path in targets):
        raise InvalidArgumentError(
            f"the output would replace the input {request.data}; choose another --output folder."
        )
    existing = [str(path) for path in targets if path.exists()]
    if existing and not request.force:
        raise InvalidArgumentError(
            f"output exists already: {', '.join(existing)}; add --force to replace it."
        )
    if request.output.exists() and not request.output.is_dir():
        raise InvalidArgumentError(f"--output {request.output} is a file; name a folder.")


def _read(request: _Request) -> Table:
    from sparsewire.core.errors import InvalidArgumentError
    from sparsewire.featsel.tables import read_table

    table = read_table(request.data, request.target)
    n_features = len(table.names)
    if request.k > n_features:
        raise InvalidArgumentError(
            f"-k {request.k} is more than the {n_features} features of {request.data}."
        )
    if request.image_shape and request.image_shape[0] * request.image_shape[1] != n_features:
        height, width = request.image_shape
        raise InvalidArgumentError(
            f"--image-shape {height}x{width} stands for {height * width} pixels, but "
            f"{request.data} has {n_features} features."
        )
    return table


def _fit(selector: Any, table: Table) -> Any:
    """Fit, with a refusal of the data as a typed error and warnings as one line each."""
    from sparsewire.core.errors import InvalidArgumentError

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            selector.fit(table.values)
        except ValueError as error:
            raise InvalidArgumentError(f"{table.path}: {error}") from error
    for message in dict.fromkeys(str(warning.message) for warning in caught):
        typer.echo(f"warning: {' '.join(message.split())}", err=True)
    return selector


def _write(request: _Request, table: Table, selector: Any, seconds: float) -> None:
    """Write every file; the JSON comes last, so that it stands for a complete result."""
    from sparsewire.core._files import replacing
    from sparsewire.featsel.tables import write_selected

    write_selected(table, selector.support_, request.table_file)
    for name, path in request.plot_files.items():
        _draw(name, path, request, table, selector)
    text = json.dumps(
        _summary(request, table, selector, seconds), indent=2, allow_nan=False, ensure_ascii=False
    )
    with replacing(request.json_file) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _draw(name: str, path: Path, request: _Request, table: Table, selector: Any) -> None:
    from sparsewire.featsel import plots
    from sparsewire.reporting.figures import save

    if name == "heatmap" and request.image_shape is not None:
        figure = plots.importance_heatmap(
            selector.feature_importances_, selector.support_, request.image_shape
        )
    else:
        figure = plots.importance_bars(
            selector.feature_importances_, selector.support_, table.names
        )
    save(figure, path)


def _summary(request: _Request, table: Table, selector: Any, seconds: float) -> dict[str, Any]:
    """Everything ``selection.json`` holds, as plain Python values in a fixed order."""
    selected = [int(index) for index in selector.support_.nonzero()[0]]
    features = [
        {"index": index, "name": name, "importance": float(score), "ranking": int(rank)}
        for index, (name, score, rank) in enumerate(
            zip(table.names, selector.feature_importances_, selector.ranking_, strict=True)
        )
    ]
    return {
        "sparsewire_version": version("sparsewire"),
        "method": request.method,
        "parameters": dict(sorted(selector.get_params(deep=False).items())),
        "seed": request.seed,
        "input": {
            "file": request.data.name,
            "n_samples": int(table.values.shape[0]),
            "n_features": len(table.names),
            "target": table.target,
        },
        "n_features_selected": len(selected),
        "selected_names": [table.names[index] for index in selected],
        "selected_indices": selected,
        "epochs_run": int(selector.n_iter_),
        "fit_seconds": round(seconds, 3),
        "density": float(selector.density_),
        "n_connections": sum(int(layer.nnz) for layer in selector.connections_),
        "features": features,
    }
