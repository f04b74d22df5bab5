"""What does a selection leave behind? The reduced table, ``selection.json``, and pictures.

All of it or nothing: every file is written beside its place first, and moved when all are complete,
the JSON last, so that it stands for a whole result. An interrupted run removes what it had begun.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsewire.core._files import replacing
from sparsewire.featsel.command.request import Request
from sparsewire.reporting.outputs import check_files


@dataclass(frozen=True, kw_only=True)
class Selection:
    """A fitted selector with what it was fitted on.

    Attributes
    ----------
    selector : estimator
        Fitted.
    names : tuple of str
        Its features.
    target : str or None
        The column that was no feature.
    n_samples : int
        Rows of the table.
    n_epochs : int or None
        Passes over the rows; None for a method that does not train.
    seconds : float
        Duration of the fit, with reading if the table was read in chunks.
    write_table : callable
        Writes the reduced table, given the Boolean mask of features and a file.
    """

    selector: Any
    names: tuple[str, ...]
    target: str | None
    n_samples: int
    n_epochs: int | None
    seconds: float
    write_table: Callable[[npt.NDArray[np.bool_], Path], None]


def check_output(request: Request, n_features: int | None = None) -> None:
    """Refuse to replace the input or, without ``--force``, any file.

    Parameters
    ----------
    request : Request
        What was asked for.
    n_features : int, optional
        Features of the table. Before they are known, a heat map is left out.

    Raises
    ------
    InvalidArgumentError
        Names the files and the way out.
    """
    files = (request.table_file, *request.picture_files(n_features).values(), request.json_file)
    check_files(request.output, files, inputs=[request.data], force=request.force)


def write_results(request: Request, result: Selection) -> list[Path]:
    """Write every file, or none.

    Parameters
    ----------
    request : Request
        What was asked for.
    result : Selection
        What came out.

    Returns
    -------
    list of pathlib.Path
        The files.
    """
    pictures = request.picture_files(len(result.names))
    with ExitStack() as files:  # moved into place in reverse order: the JSON last
        json_file = files.enter_context(replacing(request.json_file))
        places = {name: files.enter_context(replacing(pictures[name])) for name in pictures}
        result.write_table(
            result.selector.support_, files.enter_context(replacing(request.table_file))
        )
        for name, path in places.items():
            _draw(name, path, request, result)
        text = json.dumps(_summary(request, result), indent=2, allow_nan=False, ensure_ascii=False)
        json_file.write_text(text + "\n", encoding="utf-8")
    return [request.table_file, *pictures.values(), request.json_file]


def _draw(name: str, path: Path, request: Request, result: Selection) -> None:
    from sparsewire.featsel import plots
    from sparsewire.reporting.figures import save

    importances, selected = result.selector.feature_importances_, result.selector.support_
    pixels = request.pixels(len(result.names))
    if name == "heatmap" and pixels is not None:
        save(plots.importance_heatmap(importances, selected, pixels), path)
    else:
        save(plots.importance_bars(importances, selected, result.names), path)


def _summary(request: Request, result: Selection) -> dict[str, Any]:
    """Everything ``selection.json`` holds, as plain Python values in a fixed order."""
    selector = result.selector
    selected = [int(index) for index in selector.support_.nonzero()[0]]
    features = [
        {"index": index, "name": name, "importance": float(score), "ranking": int(rank)}
        for index, (name, score, rank) in enumerate(
            zip(result.names, selector.feature_importances_, selector.ranking_, strict=True)
        )
    ]
    return {
        "sparsewire_version": version("sparsewire"),
        "method": request.method,
        "parameters": dict(sorted(selector.get_params(deep=False).items())),
        "seed": request.seed,
        "input": {
            "file": request.data.name,
            "n_samples": result.n_samples,
            "n_features": len(result.names),
            "target": result.target,
        },
        **({} if request.chunk_rows is None else {"chunk_rows": request.chunk_rows}),
        "n_features_selected": len(selected),
        "selected_names": [result.names[index] for index in selected],
        "selected_indices": selected,
        **({} if result.n_epochs is None else {"epochs_run": result.n_epochs}),
        "fit_seconds": round(result.seconds, 3),
        **_network(selector),
        **_shadow(selector),
        "features": features,
    }


def _network(selector: Any) -> dict[str, Any]:
    if not hasattr(selector, "connections_"):
        return {}
    return {
        "density": float(selector.density_),
        "n_connections": sum(int(layer.nnz) for layer in selector.connections_),
    }


def _shadow(selector: Any) -> dict[str, Any]:
    if not hasattr(selector, "shadow_importance_"):
        return {}
    return {"shadow_importance": float(selector.shadow_importance_)}
