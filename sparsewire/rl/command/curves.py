"""What did a set of runs come to? Their evaluations, grouped by environment and algorithm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsewire.core.errors import CheckpointError, InvalidArgumentError
from sparsewire.rl.command import arrays
from sparsewire.rl.command.runs import Run

Floats = npt.NDArray[np.float64]

FINAL_EVALUATIONS = 10
"""Of 201 evaluations Sokar et al. (2022) average the last ten to a final score."""


@dataclass(frozen=True)
class Evaluations:
    """The evaluations of one run.

    Attributes
    ----------
    steps : ndarray of shape (n_evaluations,)
        Environment steps before each.
    returns : ndarray of shape (n_evaluations, n_episodes)
        Undiscounted returns.
    """

    steps: npt.NDArray[np.int64]
    returns: Floats


@dataclass(frozen=True)
class Curve:
    """The runs of one algorithm in one environment, which differ by their seed only.

    Attributes
    ----------
    runs : list of Run
        The runs, by ascending seed.
    steps : ndarray of shape (n_evaluations,)
        Steps at which all of them were evaluated.
    returns : ndarray of shape (n_runs, n_evaluations)
        Mean return of each evaluation.
    """

    runs: list[Run]
    steps: npt.NDArray[np.int64]
    returns: Floats

    @property
    def seeds(self) -> list[int]:
        """Seeds of the runs."""
        return [run.settings.seed for run in self.runs]

    @property
    def final(self) -> Floats:
        """Mean of the last evaluations of each run, of shape (n_runs,); see `final_return`."""
        return np.array([final_return(returns) for returns in self.returns])


Table = dict[str, dict[str, Curve]]
"""Curves by environment and then by algorithm."""


def read_evaluations(run: Run) -> Evaluations:
    """Read the evaluations of a run.

    Parameters
    ----------
    run : Run
        The run.

    Returns
    -------
    Evaluations
        Its evaluations.

    Raises
    ------
    CheckpointError
        If the file is missing or damaged.
    """
    content = arrays.read(run.evaluations_file)
    if not {"timesteps", "results"} <= content.keys() or content["results"].ndim != 2:
        raise CheckpointError(f"{run.evaluations_file} holds no evaluations.")
    return Evaluations(content["timesteps"].astype(np.int64), content["results"].astype(float))


def final_return(returns: npt.ArrayLike) -> float:
    """Return the mean of the last ten evaluations, but at most of a tenth of all, at least of one.

    Parameters
    ----------
    returns : array_like of shape (n_evaluations,) or (n_evaluations, n_episodes)
        Of one run.

    Returns
    -------
    float
        The score.

    Examples
    --------
    >>> final_return(range(201)), final_return([0.0, 1.0, 4.0])
    (195.5, 4.0)
    """
    values = np.asarray(returns, dtype=np.float64)
    n_last = max(1, min(FINAL_EVALUATIONS, len(values) // 10))
    return float(values[-n_last:].mean())


def collect(runs: Sequence[Run]) -> Table:
    """Group complete runs into curves; of several runs with one seed, the last counts.

    Parameters
    ----------
    runs : sequence of Run
        Runs in the order of their numbers; incomplete ones are left out.

    Returns
    -------
    dict of str to dict of str to Curve
        By environment and by algorithm, each in the order of the runs. Where the runs of one
        algorithm differ in a hyperparameter, the name of the algorithm says so.

    Raises
    ------
    InvalidArgumentError
        If no run is complete and was evaluated, or evaluations have no steps in common.
    """
    complete = [run for run in runs if run.is_complete and run.settings.eval_freq]
    if not complete:
        raise InvalidArgumentError(
            f"none of {len(runs)} runs is complete and was evaluated; `sparsewire rl train` first."
        )
    groups: dict[tuple[str, str], dict[int, Run]] = {}
    names = algorithm_names(complete)
    for run, name in zip(complete, names, strict=True):
        groups.setdefault((environment_name(run), name), {})[run.settings.seed] = run
    table: Table = {}
    for (env, algo), by_seed in groups.items():
        table.setdefault(env, {})[algo] = _curve([by_seed[seed] for seed in sorted(by_seed)])
    return table


def _curve(runs: list[Run]) -> Curve:
    found = [read_evaluations(run) for run in runs]
    common = found[0].steps
    for evaluations in found[1:]:
        common = np.intersect1d(common, evaluations.steps)
    if not common.size:
        raise InvalidArgumentError(f"{runs[0].name} and others share no evaluation step.")
    rows = [found.returns.mean(axis=1)[np.isin(found.steps, common)] for found in found]
    return Curve(runs, common, np.array(rows))


def environment_name(run: Run) -> str:
    """Return the id of a run's environment with its arguments, such as ``Name-v5 (f=0.9)``."""
    return run.settings.env + _in_brackets(run.settings.env_kwargs)


def algorithm_names(runs: Sequence[Run]) -> list[str]:
    """Return the algorithm of each run, with the hyperparameters that not all of its runs share.

    Parameters
    ----------
    runs : sequence of Run
        The runs.

    Returns
    -------
    list of str
        One name per run.
    """
    names = []
    for run in runs:
        rivals = [other for other in runs if other.settings.algo == run.settings.algo]
        own = {
            key: value
            for key, value in run.settings.params.items()
            if any(other.settings.params.get(key) != value for other in rivals)
        }
        names.append(run.settings.algo + _in_brackets(own))
    return names


def _in_brackets(values: dict[str, Any]) -> str:
    inside = ", ".join(f"{key}={value}" for key, value in sorted(values.items()))
    return f" ({inside})" if inside else ""
