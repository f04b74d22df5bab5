"""What is one run of the benchmark, and where is its result kept? One line of a JSON-lines file.

A cell is a task, a data set, a method, a seed, and those settings of the method that the benchmark
or its user chose; two cells with the same key have the same result. What was finished is found
again whatever else a later run asks for, and one file may hold the rows of all tasks and settings.
What is left at an estimator's own default is not part of a cell: after an upgrade that changes
results, begin a new file; every row names the versions it was made with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sparsewire.core._files import replacing
from sparsewire.core.errors import CheckpointError

Result = dict[str, Any]
"""What a cell's run has measured, as JSON holds it."""

_PACKAGES = ("sparsewire", "torch", "numpy")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What is run.

    Attributes
    ----------
    task : str
        ``"classify"``, ``"forecast"`` or ``"detect"``.
    data, method : str
        Names.
    seed : int
        Of the method; 0 for one that has none.
    settings : mapping
        What was chosen for the method, as JSON holds it.

    Examples
    --------
    >>> one = Cell(task="detect", data="nile", method="alacpd", seed=0, settings={"gap": 4})
    >>> one.key == Cell(task="detect", data="nile", method="alacpd", seed=1).key
    False
    """

    task: str
    data: str
    method: str
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Text that is equal for equal cells."""
        return json.dumps(asdict(self), sort_keys=True, allow_nan=False)

    @property
    def title(self) -> str:
        """Name for people, without the settings."""
        return f"{self.data}, {self.method}, seed {self.seed}"


@dataclass(frozen=True)
class RowFile:
    """The file with the results of cells.

    Every row is added by replacing the file in one step, so it never holds half a row. Let each
    process write to a file of its own; files may be concatenated afterwards.

    Parameters
    ----------
    path : pathlib.Path
        Made when the first result is written.

    Examples
    --------
    >>> import tempfile
    >>> cell = Cell(task="detect", data="nile", method="none")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = RowFile(Path(folder, "rows.jsonl"))
    ...     file.add(cell, {"f1": 1.0})
    ...     file.read()[cell.key]
    {'f1': 1.0}
    """

    path: Path

    def read(self) -> dict[str, Result]:
        """Return the results by the keys of their cells; none if there is no file.

        Raises
        ------
        CheckpointError
            If a line is no row; the message names it.
        """
        found = {}
        for number, line in enumerate(self._lines(), start=1):
            try:
                row = json.loads(line)
                cell = Cell(**row["cell"])
                complete = isinstance(row["result"], dict) and isinstance(row["versions"], dict)
            except (ValueError, KeyError, TypeError):
                complete = False
            if not complete:
                raise CheckpointError(
                    f"line {number} of {self.path} is no row of this benchmark; remove the line, "
                    "or name another file."
                )
            found[cell.key] = row["result"]
        return found

    def add(self, cell: Cell, result: Result, *, versions: Mapping[str, str] | None = None) -> None:
        """Add a row and keep all others.

        Parameters
        ----------
        cell : Cell
            What was run.
        result : dict
            What came out.
        versions : mapping or None, default None
            Of the packages it was run with; None means those installed now.
        """
        if versions is None:
            versions = {name: version(name) for name in _PACKAGES}
        row = {"cell": asdict(cell), "result": result, "versions": dict(versions)}
        lines = [*self._lines(), json.dumps(row, ensure_ascii=False, allow_nan=False)]
        with replacing(self.path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def _lines(self) -> list[str]:
        if not self.path.exists():
            return []
        # Not splitlines(): JSON may hold its exotic line ends inside of texts.
        return [line for line in self.path.read_text(encoding="utf-8").split("\n") if line.strip()]
