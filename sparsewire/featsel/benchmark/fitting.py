"""What happens in one cell? A selector is fitted on training rows, measured, and its choice judged.

The selector sees the unscaled training rows of the protocol's split and nothing else, also under
the "neurofs" protocol, whose judges are given columns scaled with all rows. All four judges score
every choice, whichever of them the protocol names.

This runs in a process of its own with one thread. Before the measured fit, a selector that trains
in epochs is fitted for one epoch on a few random numbers, so that loading and compiling code counts
neither as its time nor as its memory.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import threading
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, cast, get_args

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from sparsewire import datasets
from sparsewire.featsel.benchmark.cells import Cell, Record
from sparsewire.featsel.benchmark.measuring import METERS, measured
from sparsewire.featsel.benchmark.methods import Factory, Parameters, build
from sparsewire.featsel.evaluation import (
    Judge,
    ProtocolName,
    ScalerName,
    score_support,
    split_and_scale,
    training_rows,
)

JUDGES: tuple[Judge, ...] = get_args(Judge)
PROTOCOLS: tuple[str, ...] = get_args(ProtocolName)


@dataclass(frozen=True, kw_only=True)
class Task:
    """A cell with what it takes to run it; it can be pickled.

    Attributes
    ----------
    cell : Cell
        What to run.
    factory : Factory
        Makes its selector.
    changes : mapping
        The factory's parameters that were given by name.
    jobs : int
        Cells that may run at the same time.
    """

    cell: Cell
    factory: Factory
    changes: Parameters
    jobs: int


def run_cell(task: Task) -> Record:
    """Fit, measure and judge.

    Parameters
    ----------
    task : Task
        The cell.

    Returns
    -------
    Record
        Its result.

    Examples
    --------
    >>> from sparsewire.featsel.benchmark.references import every_feature
    >>> cell = Cell(dataset="digits", method="all", k=64, seed=0, protocol="clean")
    >>> record = run_cell(Task(cell=cell, factory=every_feature, changes={}, jobs=1))
    >>> len(record.selected), record.scores["knn"] > 0.95, record.connections
    (64, True, None)
    """
    # tqdm's own lock holds a semaphore of the system, which a killed process would leave behind.
    tqdm.set_lock(threading.RLock())
    cell = task.cell
    data = datasets.load(cell.dataset)
    train = training_rows(data.y, cell.protocol, cell.n_train)
    X, y = data.X[train], data.y[train]
    _warm_up(_selector(task, k=1))
    selector = _selector(task, k=cell.k)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with measured(METERS if task.jobs == 1 else None) as cost:
            selector.fit(X, y)
    selected = np.flatnonzero(selector.get_support())
    layers = getattr(selector, "connections_", None)
    return Record(
        scores=_scores(cell, data, selected),
        seconds=cost.seconds,
        cpu_seconds=cost.cpu_seconds,
        peak_bytes=cost.peak_bytes,
        connections=None if layers is None else sum(int(layer.nnz) for layer in layers),
        flops=training_flops(selector, len(train)),
        joules=cost.joules,
        selected=selected.tolist(),
        warnings=list(dict.fromkeys(" ".join(str(w.message).split()) for w in caught)),
        jobs=task.jobs,
        versions={name: version(name) for name in ("sparsewire", "torch", "scikit-learn", "numpy")}
        | {"python": platform.python_version()},
        machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    )


def training_flops(selector: Any, n_rows: int) -> float | None:
    """Count the floating-point operations that the connections of a network need in training.

    A connection takes a multiplication and an addition in the forward pass and twice that in the
    backward pass, 6 operations for each row of an epoch. Summed over epochs, because the number of
    connections may change. Biases, activations, the optimizer, topology updates and predictions of
    validation rows are left out; so is what dense storage would compute for absent connections.

    Parameters
    ----------
    selector : object
        Fitted; with ``history_["n_connections"]``, the number after each epoch.
    n_rows : int
        Rows it was fitted on; a share ``validation_fraction`` of them is not trained on.

    Returns
    -------
    float or None
        None for a selector without such a history.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> training_flops(SimpleNamespace(history_={"n_connections": [100, 50]}), n_rows=10)
    9000.0
    """
    history = getattr(selector, "history_", None)
    if not isinstance(history, dict) or "n_connections" not in history:
        return None
    trained = n_rows * (1 - getattr(selector, "validation_fraction", 0.0))
    return float(3 * 2 * sum(history["n_connections"]) * trained)


def _selector(task: Task, k: int) -> Any:
    cell = task.cell
    return build(
        cell.method, task.factory, k=k, seed=cell.seed, dataset=cell.dataset,
        parameters=task.changes,
    )  # fmt: skip


def _warm_up(selector: Any) -> None:
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    if not hasattr(selector, "get_params") or "epochs" not in selector.get_params(deep=False):
        return
    rows = np.random.default_rng(0).normal(size=(32, 20)).astype(np.float32)
    # Settings that do not suit these few rows are no reason to fail: the real fit will tell.
    with contextlib.suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        selector.set_params(epochs=1).fit(rows, np.arange(32) % 2)


def _scores(cell: Cell, data: datasets.Dataset, selected: npt.NDArray[np.intp]) -> dict[str, float]:
    if not len(selected):
        raise ValueError("the method selected no feature, so there is nothing to judge.")
    # Scaling works column by column, so selecting first gives the same numbers for less memory.
    split = split_and_scale(
        data.X[:, selected],
        data.y,
        protocol=cast(ProtocolName, cell.protocol),
        scaler=cast("ScalerName | None", cell.scaler),
        n_train=cell.n_train,
    )
    return score_support(split, np.arange(len(selected)), judges=JUDGES, seed=cell.seed)
