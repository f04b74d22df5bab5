"""How are many runs done? As independent jobs, as far as they were not done before.

Everything that can be known to fail is found before the first of them begins: folders that hold
runs with other settings, data that are missing, values out of range, and tasks for which a network
is too small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import joblib

from sparsewire.continual.command.runs import Run
from sparsewire.continual.command.settings import Settings
from sparsewire.continual.command.training import rehearse, run_once
from sparsewire.core.errors import InvalidArgumentError


@dataclass(frozen=True)
class Outcome:
    """What became of one job.

    Attributes
    ----------
    settings : Settings
        The job.
    run : Run or None
        Its finished run; None if it failed.
    reused : bool
        Whether the run was there before.
    error : str
        Why it failed; empty if it did not.
    """

    settings: Settings
    run: Run | None
    reused: bool = False
    error: str = ""


def run_all(
    wanted: Sequence[Settings],
    logs: Path,
    *,
    jobs: int = 1,
    command: str = "",
    progress: bool = False,
) -> list[Outcome]:
    """Do all runs that are not finished, and continue those that were interrupted.

    Parameters
    ----------
    wanted : sequence of Settings
        The runs.
    logs : pathlib.Path
        Folder of all runs.
    jobs : int, default=1
        Runs at the same time; -1 for as many as there are cores.
    command : str, default=""
        Command line, to be kept with the settings.
    progress : bool, default=False
        Whether to show a bar for each run, or with several jobs a line for each finished one.

    Returns
    -------
    list of Outcome
        In the order of `wanted`. A run that fails does not stop the others.

    Raises
    ------
    InvalidArgumentError
        If a value is wrong, data are missing or a network is too small; nothing is trained.
    CheckpointError
        If a folder holds a run with other settings; nothing is trained.

    Examples
    --------
    >>> import tempfile
    >>> from sparsewire.continual.command.settings import resolve_all
    >>> wanted = resolve_all("split-digits", ["naive"], [0], changes={"epochs": 1})
    >>> with tempfile.TemporaryDirectory() as logs:
    ...     first, again = (run_all(wanted, Path(logs))[0].reused for _ in range(2))
    >>> first, again
    (False, True)
    """
    if not isinstance(jobs, int) or jobs == 0 or jobs < -1:
        raise InvalidArgumentError(f"--jobs must be at least 1, or -1 for all cores, got {jobs}.")
    missing = [settings for settings in wanted if not _is_finished(settings, logs)]
    for settings in {settings.name: settings for settings in missing}.values():
        rehearse(settings)
    trained = iter(
        joblib.Parallel(n_jobs=jobs, verbose=10 if progress and jobs != 1 else 0)(
            joblib.delayed(_job)(settings, logs, command, progress and jobs == 1)
            for settings in missing
        )
    )
    return [
        next(trained)
        if settings in missing
        else Outcome(settings, Run.of(settings, logs), reused=True)
        for settings in wanted
    ]


def _is_finished(settings: Settings, logs: Path) -> bool:
    run = Run.of(settings, logs)
    run.check()
    results = run.read_results()
    return results is not None and results.finished


def _job(settings: Settings, logs: Path, command: str, progress: bool) -> Outcome:
    """Do one run; an error becomes a result, so that the other jobs go on."""
    try:
        return Outcome(settings, run_once(settings, logs, command=command, progress=progress))
    except Exception as error:  # whatever training may raise
        return Outcome(settings, None, error=f"{type(error).__name__}: {error}")
