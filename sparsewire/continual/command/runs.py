"""Where does a run keep its files? In ``<logs>/<benchmark>/<method>/seed<k>``.

================== ==============================================================================
``settings.json``  benchmark, method, seed and all settings; versions and the command line
``results.json``   accuracy of all tasks after each task, times, connections, memory and FLOPs
``owners.npz``     by layer: the task that owns each connection + 1, 0 where free (sparse methods)
``checkpoint.pt``  all that continues the run, while it is not finished
================== ==============================================================================

Files are replaced in one step and read without executing anything.
"""

from __future__ import annotations

import json
import platform
import zipfile
import zlib
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsewire.continual.command.settings import Settings
from sparsewire.core._files import replacing
from sparsewire.core.errors import CheckpointError

Matrix = list[list[float | None]]
_ASIDE = ("versions", "command")
"""What ``settings.json`` holds beside the settings."""


@dataclass
class Results:
    """What came out of a run so far.

    Attributes
    ----------
    tasks : list of list of int
        Classes of all tasks, learnt or not.
    class_il, task_il : list of list
        Row i: accuracy on each task after task i, choosing among all classes so far, or among those
        of the task that is being tested; None for tasks that come later. With sub-networks per task
        the first is that of the run's routing, and the second uses the task's own.
    routings : dict
        For methods with sub-networks: ``class_il`` of every routing by its name.
    cpu_seconds, wall_seconds : list of float
        Of each task's training.
    connections : dict
        Connections by layer; empty for a dense network.
    memory : dict or None
        Of a sparse method: see `sparsewire.continual.Memory`.
    flops, dense_flops : float
        Forward FLOPs per image that the connections need (with sub-networks, those of all, which a
        routing has to run), and that all weights would.
    dense_weights : int
        Weights without sparsity.
    examples_stored : int
        Examples kept for replay.
    finished : bool
        Whether all tasks are done.
    """

    tasks: list[list[int]]
    class_il: Matrix = field(default_factory=list)
    task_il: Matrix = field(default_factory=list)
    routings: dict[str, Matrix] = field(default_factory=dict)
    cpu_seconds: list[float] = field(default_factory=list)
    wall_seconds: list[float] = field(default_factory=list)
    connections: dict[str, int] = field(default_factory=dict)
    memory: dict[str, Any] | None = None
    flops: float = 0.0
    dense_flops: float = 0.0
    dense_weights: int = 0
    examples_stored: int = 0
    finished: bool = False

    @property
    def share(self) -> float:
        """Share of the dense weights that is in use."""
        return 1.0 if self.memory is None else self.memory["weights"] / self.dense_weights

    @property
    def megabytes(self) -> float:
        """What weights, biases and, if sparse, indices take; biases of a dense net are left out."""
        if self.memory is None:
            return 4 * self.dense_weights / 1e6
        index = min(self.memory["index_bytes"], self.memory["bitmap_bytes"])
        return float(self.memory["value_bytes"] + index) / 1e6


def to_matrix(rows: Matrix) -> npt.NDArray[np.float64]:
    """Return accuracies as an array of shape (tasks, tasks), NaN where there is none.

    Examples
    --------
    >>> to_matrix([[1.0, None], [0.5, 0.9]])
    array([[1. , nan],
           [0.5, 0.9]])
    """
    return np.array(rows, dtype=np.float64)


@dataclass(frozen=True)
class Run:
    """The folder of one run.

    Parameters
    ----------
    path : pathlib.Path
        The folder.
    settings : Settings
        What is run.
    """

    path: Path
    settings: Settings

    @classmethod
    def of(cls, settings: Settings, logs: Path) -> Run:
        """Return the run of some settings in a folder of all runs; nothing is made."""
        path = logs / settings.benchmark / settings.name / f"seed{settings.seed}"
        return cls(path, settings)

    @property
    def checkpoint_file(self) -> Path:
        """All that continues the run."""
        return self.path / "checkpoint.pt"

    def check(self) -> None:
        """Refuse to continue, or to take for this run, one with other settings.

        Raises
        ------
        CheckpointError
            If the folder holds such a run; the message names all differences.
        """
        path = self.path / "settings.json"
        if not path.exists():
            return
        found = {key: value for key, value in _read(path).items() if key not in _ASIDE}
        if differences := self.settings.differences(found):
            raise CheckpointError(
                f"{self.path} holds a run with other settings: {differences}. Use the same ones, "
                "another --logs, or remove the folder."
            )

    def prepare(self, command: str) -> None:
        """Make the folder and write ``settings.json``, unless it is there."""
        self.path.mkdir(parents=True, exist_ok=True)
        if not (self.path / "settings.json").exists():
            versions = {name: version(name) for name in ("sparsewire", "torch", "avalanche-lib")}
            versions["python"] = platform.python_version()
            content = {"versions": versions, "command": command}
            _write(self.path / "settings.json", self.settings.as_plain() | content)

    def command(self) -> str:
        """Return the command line that made the run."""
        return str(_read(self.path / "settings.json").get("command", ""))

    def read_results(self) -> Results | None:
        """Return what came out so far; None if nothing has.

        Raises
        ------
        CheckpointError
            If the file is damaged.
        """
        path = self.path / "results.json"
        if not path.exists():
            return None
        content = _read(path)
        if content.keys() != {field.name for field in fields(Results)}:
            raise CheckpointError(
                f"{path} is damaged: it must hold {', '.join(f.name for f in fields(Results))}."
            )
        return Results(**content)

    def write_results(self, results: Results) -> None:
        """Write ``results.json``, in one step."""
        _write(self.path / "results.json", asdict(results))

    def write_owners(self, owners: dict[str, npt.NDArray[np.int16]]) -> None:
        """Write ``owners.npz``, in one step."""
        with replacing(self.path / "owners.npz") as temporary:
            np.savez_compressed(temporary, allow_pickle=False, **owners)

    def read_owners(self) -> dict[str, npt.NDArray[np.int16]]:
        """Return by layer which task owns each connection; empty for a dense network.

        Raises
        ------
        CheckpointError
            If the file is damaged.
        """
        path = self.path / "owners.npz"
        if not path.exists():
            return {}
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
                return {name: content[name] for name in content.files}
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            raise CheckpointError(f"{path} is damaged: {error}") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is damaged: it holds no dictionary.")
    return content


def _write(path: Path, content: dict[str, Any]) -> None:
    with replacing(path) as temporary:
        text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")
