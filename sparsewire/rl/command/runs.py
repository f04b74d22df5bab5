"""Where does a run keep its files? The RL Zoo's folder, ``<logs>/<algo>/<env>_<k>``.

============================ ==============================================================
``args.yml``                 the settings of the run, as typed
``config.yml``               what they came to: class, preset and every hyperparameter
``command.txt``              the command line
``<env>.zip``                the trained model; an ordinary stable-baselines3 file
``best_model.zip``           the model with the best evaluation so far, likewise
``[best_]vecnormalize.npz``  running moments that belong to them, with ``normalize:True``
``evaluations.npz``          steps, returns and lengths of all evaluations, as SB3 writes them
``focus.npz``                connections to real and to noise inputs over time
``0.monitor.csv``            every training episode, as SB3 writes it
``checkpoints/<steps>/``     all that continues the run (`sparsewire.rl.command.checkpoints`)
``result.yml``               written last: the run is complete
============================ ==============================================================

YAML is only ever read with ``safe_load``; files are replaced in one step.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sparsewire.core._files import replacing
from sparsewire.core.errors import CheckpointError, InvalidArgumentError
from sparsewire.rl.command.settings import Settings

CONFIGURATION = dict.fromkeys(("algo", "normalize", "noise_std", "hyperparameters")).keys()
"""What ``config.yml`` holds."""


@dataclass(frozen=True)
class Run:
    """The folder of one run, and where its files are.

    Parameters
    ----------
    path : pathlib.Path
        The folder.
    settings : Settings
        What was asked for.
    """

    path: Path
    settings: Settings

    @property
    def name(self) -> str:
        """Algorithm and folder, such as ``td3/Pendulum-v1_1``."""
        return f"{self.path.parent.name}/{self.path.name}"

    @property
    def model_file(self) -> Path:
        """The trained model."""
        return self.path / f"{_safe(self.settings.env)}.zip"

    @property
    def best_model_file(self) -> Path:
        """The model with the best evaluation."""
        return self.path / "best_model.zip"

    def normalization_file(self, *, best: bool) -> Path:
        """Return where the running moments of one of the two models are, if it has any."""
        return self.path / ("best_vecnormalize.npz" if best else "vecnormalize.npz")

    @property
    def evaluations_file(self) -> Path:
        """All evaluations."""
        return self.path / "evaluations.npz"

    @property
    def focus_file(self) -> Path:
        """Connections to the inputs over time."""
        return self.path / "focus.npz"

    @property
    def monitor_file(self) -> Path:
        """All training episodes."""
        return self.path / "0.monitor.csv"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def config(self) -> dict[str, Any]:
        """What was trained: algorithm and hyperparameters."""
        content = read_yaml(self.path / "config.yml")
        if content.keys() != CONFIGURATION or not isinstance(content["hyperparameters"], dict):
            raise CheckpointError(
                f"{self.path / 'config.yml'} is damaged: it must hold {', '.join(CONFIGURATION)}."
            )
        return content

    @property
    def command(self) -> str:
        """The command line that made the run."""
        return (self.path / "command.txt").read_text(encoding="utf-8").strip()

    @property
    def result(self) -> dict[str, Any]:
        """What came out, if the run is complete."""
        return read_yaml(self.path / "result.yml")

    @property
    def is_complete(self) -> bool:
        """Whether the run has come to its end."""
        try:
            return int(self.result["timesteps"]) >= self.settings.n_timesteps
        except (OSError, CheckpointError, KeyError, TypeError, ValueError):
            return False

    def write_settings(self, config: Mapping[str, Any], command: str) -> None:
        """Write ``args.yml``, ``config.yml`` and ``command.txt``; args.yml comes last."""
        with replacing(self.path / "command.txt") as temporary:
            temporary.write_text(command + "\n", encoding="utf-8")
        write_yaml(self.path / "config.yml", config)
        write_yaml(self.path / "args.yml", self.settings.as_plain())

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Mark the run as complete."""
        write_yaml(self.path / "result.yml", result)


def create_run(logs: Path, settings: Settings) -> Run:
    """Make the next free folder ``<logs>/<algo>/<env>_<k>``, safe beside other processes.

    Parameters
    ----------
    logs : pathlib.Path
        Folder of all runs, made if needed.
    settings : Settings
        What will run.

    Returns
    -------
    Run
        With an empty folder.

    Raises
    ------
    OSError
        If the folder cannot be made.

    Examples
    --------
    >>> import tempfile
    >>> settings = Settings(algo="td3", env="Pendulum-v1")
    >>> with tempfile.TemporaryDirectory() as logs:
    ...     [create_run(Path(logs), settings).name for _ in range(2)]
    ['td3/Pendulum-v1_1', 'td3/Pendulum-v1_2']
    """
    parent = logs / _safe(settings.algo)
    parent.mkdir(parents=True, exist_ok=True)
    while True:
        number = 1 + max((number for number, _ in _numbered(parent, settings.env)), default=0)
        path = parent / f"{_safe(settings.env)}_{number}"
        try:
            path.mkdir()
        except FileExistsError:
            continue  # another process was faster; it now counts
        return Run(path, settings)


def open_run(path: Path) -> Run:
    """Read the settings of an existing run.

    Parameters
    ----------
    path : pathlib.Path
        Folder of the run.

    Returns
    -------
    Run
        The run.

    Raises
    ------
    CheckpointError
        If the folder is empty, or its ``args.yml`` is damaged.
    InvalidArgumentError
        If there is no such folder.
    """
    if not path.is_dir():
        raise InvalidArgumentError(f"there is no folder {path}; name the folder of a run.")
    try:
        content = read_yaml(path / "args.yml")
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} holds no args.yml, so it is not the folder of a run; name one such as "
            "logs/td3/Pendulum-v1_1."
        ) from None
    try:
        return Run(path, Settings.from_plain(content))
    except InvalidArgumentError as error:
        raise CheckpointError(f"{path / 'args.yml'} is damaged: {error}") from error


def find_runs(folder: Path) -> list[Run]:
    """Find all runs below a folder, or the one that it is itself.

    Parameters
    ----------
    folder : pathlib.Path
        Where to look.

    Returns
    -------
    list of Run
        In the order of algorithm, environment and number.

    Raises
    ------
    InvalidArgumentError
        If there is none.
    """
    runs = [open_run(path.parent) for path in folder.rglob("args.yml")]
    if not runs:
        raise InvalidArgumentError(f"there is no run below {folder}; `sparsewire rl train` first.")
    return sorted(runs, key=lambda run: (run.settings.algo, run.settings.env, _number(run.path)))


def latest_run(logs: Path, algo: str, env: str, number: int = 0) -> Run:
    """Find run number `number` of an algorithm in an environment, by default the latest.

    Parameters
    ----------
    logs : pathlib.Path
        Folder of all runs.
    algo, env : str
        Names of the algorithm and the environment.
    number : int, default=0
        The k of ``<env>_<k>``; 0 is the highest, as in the RL Zoo.

    Returns
    -------
    Run
        The run.

    Raises
    ------
    InvalidArgumentError
        If there is none.
    """
    runs = dict(_numbered(logs / _safe(algo), env))
    if not runs or (number and number not in runs):
        known = f"; there are {', '.join(map(str, sorted(runs)))}" if runs else ""
        wanted = f" number {number}" if number else ""
        raise InvalidArgumentError(f"{logs} has no run{wanted} of {algo} in {env}{known}.")
    return open_run(runs[number or max(runs)])


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a dictionary from YAML, executing nothing.

    Raises
    ------
    CheckpointError
        If the file is damaged.
    OSError
        If it cannot be read.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is damaged: it holds no settings.")
    return content


def write_yaml(path: Path, content: Mapping[str, Any]) -> None:
    """Write a dictionary of plain values as YAML, in one step."""
    with replacing(path) as temporary:
        text = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)
        temporary.write_text(text, encoding="utf-8")


def _safe(name: str) -> str:
    """Make a file name of an id, which may look like ``module:namespace/Name-v0``."""
    return re.sub(r"[^\w.-]", "-", name)


def _numbered(parent: Path, env: str) -> list[tuple[int, Path]]:
    if not parent.is_dir():
        return []
    pattern = re.compile(re.escape(_safe(env)) + r"_\d+")
    return [(_number(path), path) for path in parent.iterdir() if pattern.fullmatch(path.name)]


def _number(path: Path) -> int:
    number = path.name.rpartition("_")[2]
    return int(number) if number.isdigit() else 0
