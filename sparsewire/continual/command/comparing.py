"""How are many runs done? As independent jobs, as far as they were not done before.

Everything that can be known to fail is found before the first of them begins: folders that hold
runs with other settings, data that are missing, values out of range, and tasks for which a network
is too small.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from sparsewire.continual.command.runs import Run
from sparsewire.continual.command.settings import Settings
from sparsewire.continual.command.training import rehearse, run_once
from sparsewire.reporting.jobs import Outcome as AnyOutcome
from sparsewire.reporting.jobs import check_jobs, run_missing

Outcome = AnyOutcome[Settings, Run]


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
    check_jobs(jobs)
    done = [_finished_run(settings, logs) for settings in wanted]
    missing = [settings for settings, run in zip(wanted, done, strict=True) if run is None]
    for settings in {settings.name: settings for settings in missing}.values():
        rehearse(settings)
    alone = jobs == 1
    work = partial(run_once, logs=logs, command=command, progress=progress and alone)
    verbose = 10 if progress and not alone else 0
    return run_missing(wanted, done, work, jobs=jobs, verbose=verbose)


def _finished_run(settings: Settings, logs: Path) -> Run | None:
    run = Run.of(settings, logs)
    run.check()
    results = run.read_results()
    return run if results is not None and results.finished else None
