"""Which of several algorithms is best? Many runs, side by side, over environments and seeds.

Runs are independent jobs of joblib. On one machine they are processes; a cluster is plugged in from
outside, because the backend is not chosen here::

    import joblib
    from ray.util.joblib import register_ray
    from sparsewire.rl.command import run_bench

    register_ray()
    with joblib.parallel_config(backend="ray"):
        run_bench(["td3", "anf-td3"], ["NoisyPendulum-v1"], range(5), logs="/shared/logs", jobs=-1)

All machines must see the same folder. With ``backend="threading"`` runs share the process's global
random generators, from which stable-baselines3 draws, so they are not reproducible.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from sparsewire.core.errors import InvalidArgumentError
from sparsewire.reporting.jobs import Outcome as AnyOutcome
from sparsewire.reporting.jobs import check_jobs, run_missing
from sparsewire.rl.command.environments import make_env
from sparsewire.rl.command.models import configuration
from sparsewire.rl.command.runs import Run, find_runs
from sparsewire.rl.command.settings import Settings
from sparsewire.rl.command.training import train
from sparsewire.rl.presets import PRESETS
from sparsewire.rl.settings import resolve_algorithm

Outcome = AnyOutcome[Settings, Run]


def run_bench(
    algos: Iterable[str],
    envs: Iterable[str],
    seeds: Iterable[int],
    *,
    logs: str | os.PathLike[str],
    jobs: int = 1,
    command: str = "",
    verbose: int = 0,
    **settings: Any,
) -> list[Outcome]:
    """Train every algorithm in every environment with every seed, as far as not done before.

    Parameters
    ----------
    algos, envs : iterable of str
        Names of algorithms and of environments.
    seeds : iterable of int
        Seeds.
    logs : path
        Folder of all runs. A complete run in it with the same settings is not repeated.
    jobs : int, default=1
        Runs at the same time; -1 for as many as there are cores. Where they run is up to
        ``joblib.parallel_config``.
    command : str, default=""
        The command line, for ``command.txt``.
    verbose : int, default=0
        joblib's: how much to print about finished jobs.
    **settings
        The rest of `Settings`, the same for all runs, such as ``n_timesteps`` and ``env_kwargs``.
        Entries of ``params["sparse_kwargs"]`` go to the algorithms for which they mean something.

    Returns
    -------
    list of Outcome
        By environment, algorithm and seed. A run that fails does not stop the others.

    Raises
    ------
    InvalidArgumentError
        If a name is unknown or a setting wrong; nothing is trained.

    Examples
    --------
    >>> import tempfile
    >>> params = {"policy_kwargs": {"net_arch": [4]}, "learning_starts": 5, "buffer_size": 100}
    >>> with tempfile.TemporaryDirectory() as logs:
    ...     outcomes = run_bench(["td3"], ["Pendulum-v1"], [0, 1], logs=logs, n_timesteps=10,
    ...                          eval_freq=5, eval_episodes=1, params=params)
    ...     [outcome.run.name for outcome in outcomes]
    ['td3/Pendulum-v1_1', 'td3/Pendulum-v1_2']
    """
    check_jobs(jobs)
    seeds, algos = list(seeds), list(dict.fromkeys(algos))
    params = settings.pop("params", {})
    wanted = [
        Settings(algo=algo, env=env, seed=seed, params=applicable(algo, params), **settings)
        for env in dict.fromkeys(envs)
        for algo in algos
        for seed in seeds
    ]
    _check(wanted)
    folder = Path(logs)
    done = [_complete_run(settings, folder) for settings in wanted]
    work = partial(train, logs=folder, command=command)
    return run_missing(wanted, done, work, jobs=jobs, verbose=verbose)


def applicable(algo: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what has no meaning for an algorithm, such as the interval of a static topology.

    Parameters
    ----------
    algo : str
        Name of an algorithm.
    params : mapping
        Hyperparameters for all algorithms of a bench.

    Returns
    -------
    dict
        Those without such entries of ``sparse_kwargs``.

    Examples
    --------
    >>> params = {"gamma": 0.9, "sparse_kwargs": {"update_interval": 200, "density": 0.1}}
    >>> applicable("td3", params)
    {'gamma': 0.9}
    >>> applicable("static-td3", params)
    {'gamma': 0.9, 'sparse_kwargs': {'density': 0.1}}
    """
    kept = dict(params)
    preset = resolve_algorithm(algo).preset
    sparse = kept.pop("sparse_kwargs", None)
    if preset is None or not isinstance(sparse, dict):
        return kept
    sparse = {key: value for key, value in sparse.items() if key not in PRESETS[preset].fixed}
    return kept | ({"sparse_kwargs": sparse} if sparse else {})


def _check(wanted: list[Settings]) -> None:
    """Raise before the first run starts, not after the last one."""
    if not wanted:
        raise InvalidArgumentError("a bench needs at least one algorithm, environment and seed.")
    seen: set[tuple[str, str]] = set()
    for settings in wanted:
        if (settings.algo, settings.env) not in seen:
            seen.add((settings.algo, settings.env))
            configuration(settings)
            make_env(settings).close()


def _complete_run(settings: Settings, logs: Path) -> Run | None:
    folder = logs / settings.algo
    runs = find_runs(folder) if any(folder.glob("*/args.yml")) else []
    same = [run for run in runs if run.is_complete and run.settings.same_training(settings)]
    return same[-1] if same else None
