"""What is one cell of the benchmark, and where is its result kept?

A cell is one data set, method, number of features and seed, under one protocol and with every
parameter of its selector. Its result is a file ``cells/<names>-<digest of all that>.json``, so a
run with anything changed never meets the result of another one, and what was finished is found
again whatever else a later run asks for. Files are replaced in one step.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from sparsewire.core._files import replacing
from sparsewire.core.errors import CheckpointError

CANONICAL_SPLITS = ("madelon", "mnist", "fashion_mnist")
"""Data sets whose canonical training rows every protocol uses; the others are split at random."""

SCALERS = {("quickselection", "pcmac"): "minmax", ("neurofs", "madelon"): "standard"}
"""Where a paper scales a data set for its judges in another way than its others."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What is run; two cells with the same digest have the same result.

    Attributes
    ----------
    dataset, method : str
        Names.
    k : int
        Features to keep.
    seed : int
        Of the selector and of the judges.
    protocol : str
        Of `sparsewire.featsel.evaluate`.
    scaler : str or None
        For the judges; None is the protocol's own.
    n_train : int or None
        Canonical training rows; None splits at random.
    parameters : dict
        All parameters of the selector.

    Examples
    --------
    >>> cell = Cell(dataset="digits", method="random", k=9, seed=0, protocol="clean")
    >>> cell.file_name
    'digits-random-k9-seed0-406709b034.json'
    """

    dataset: str
    method: str
    k: int
    seed: int
    protocol: str
    scaler: str | None = None
    n_train: int | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def file_name(self) -> str:
        """Name of its file."""
        text = json.dumps(asdict(self), sort_keys=True, ensure_ascii=True)
        digest = hashlib.sha256(text.encode("ascii")).hexdigest()[:10]
        return f"{self.dataset}-{self.method}-k{self.k}-seed{self.seed}-{digest}.json"


@dataclass(frozen=True, kw_only=True)
class Record:
    """What became of a cell.

    Attributes
    ----------
    error : str
        Why it failed; empty if it did not. Everything else is empty if it did.
    scores : dict
        Fractions by judge: ``svc``, ``knn``, ``extra_trees``, ``kmeans``.
    seconds, cpu_seconds : float
        Of the fit, with one thread.
    peak_bytes : int or None
        Memory that the fit added at its peak.
    connections : int or None
        Of the trained network; None for a method without one.
    flops : float or None
        Of its training, as `sparsewire.featsel.benchmark.fitting.training_flops` counts.
    joules : float or None
        Of the fit; None without a meter or beside other cells.
    selected : list of int
        Columns.
    warnings : list of str
        Of the fit, each once.
    jobs : int
        Cells that may have run at the same time.
    versions : dict
        Of packages.
    machine : str
        Where it ran.
    """

    error: str = ""
    scores: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int | None = None
    connections: int | None = None
    flops: float | None = None
    joules: float | None = None
    selected: list[int] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    jobs: int = 1
    versions: dict[str, str] = field(default_factory=dict)
    machine: str = ""


@dataclass(frozen=True)
class Store:
    """The folder with the results of cells.

    Parameters
    ----------
    folder : pathlib.Path
        Made when the first result is written.

    Examples
    --------
    >>> import tempfile
    >>> cell = Cell(dataset="digits", method="random", k=9, seed=0, protocol="clean")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = Store(Path(folder, "cells"))
    ...     store.write(cell, Record(scores={"svc": 0.5}))
    ...     store.read(cell).scores
    {'svc': 0.5}
    """

    folder: Path

    def write(self, cell: Cell, record: Record) -> None:
        """Write the result of a cell, in one step."""
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {"cell": asdict(cell), "record": asdict(record)}
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        with replacing(self.folder / cell.file_name) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")

    def read(self, cell: Cell) -> Record | None:
        """Return the result of a cell, or None if it has none.

        Raises
        ------
        CheckpointError
            If its file is damaged or of another cell.
        """
        path = self.folder / cell.file_name
        if not path.exists():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            found, record = content["cell"], content["record"]
            complete = record.keys() == {item.name for item in fields(Record)}
        except (ValueError, KeyError, TypeError, AttributeError):
            complete = False
        if not complete or found != asdict(cell):
            raise CheckpointError(
                f"{path} does not hold the result of a cell; remove it, and it is run again."
            )
        return Record(**record)
