"""How does one train from a shell, and go on where a run stopped?

A run draws from the global generators of Python, NumPy and torch, because stable-baselines3 does.
They are given back as they were, so a caller's random numbers do not depend on it.
"""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.logger import configure
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from sparsewire.core.errors import InvalidArgumentError, SparsewireError
from sparsewire.rl.command import callbacks, checkpoints, normalization, sizes
from sparsewire.rl.command.curves import final_return, read_evaluations
from sparsewire.rl.command.environments import evaluation_env, log_episodes, training_env
from sparsewire.rl.command.models import configuration, make_model, save_model
from sparsewire.rl.command.runs import Run, create_run, open_run
from sparsewire.rl.command.settings import Settings
from sparsewire.rl.envs.callbacks import PhaseCallback
from sparsewire.rl.envs.noisy import relevant_mask
from sparsewire.rl.sparsity_callback import SparsityCallback
from sparsewire.rl.sparsity_report import report_on

Say = Callable[[str], None]


def _silent(_: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class _Session:
    """A model with its two environments."""

    model: OffPolicyAlgorithm
    env: VecEnv
    evaluation: VecEnv


def train(
    settings: Settings,
    logs: Path,
    *,
    command: str = "",
    progress: bool = False,
    say: Say = _silent,
) -> Run:
    """Train one agent in a new run folder.

    Parameters
    ----------
    settings : Settings
        What to train.
    logs : pathlib.Path
        Folder of all runs.
    command : str, default=""
        The command line, for ``command.txt``.
    progress : bool, default=False
        Whether to show a progress bar.
    say : callable
        Told the result of each evaluation; by default nothing is said.

    Returns
    -------
    Run
        The complete run.

    Raises
    ------
    InvalidArgumentError
        If the algorithm or environment is unknown, or they refuse an argument; no folder is made.
    ImportError
        If a package that the environment needs is missing.
    """
    config = configuration(settings)
    with _alone(settings.num_threads), ExitStack() as stack:
        session = _prepare(settings, config, stack)
        run = create_run(logs, settings)
        run.write_settings(config, command)
        log_episodes(session.env, run.monitor_file, keep=0)
        _learn(run, session, progress, say)
    return run


def resume(
    path: Path,
    *,
    changes: dict[str, Any],
    command: str = "",
    progress: bool = False,
    say: Say = _silent,
) -> Run:
    """Continue a run from its newest checkpoint, to its end or further.

    Parameters
    ----------
    path : pathlib.Path
        The run's folder.
    changes : dict
        Settings to change: the length ``n_timesteps`` and how the run is logged and saved.
    command, progress, say
        As in `train`.

    Returns
    -------
    Run
        The complete run, in the same folder.

    Raises
    ------
    InvalidArgumentError
        If the run is complete already.
    CheckpointError
        If the folder holds no run or no checkpoint, or is damaged.
    """
    found = open_run(path)
    run = Run(path, dataclasses.replace(found.settings, **changes))
    checkpoint, config = checkpoints.latest(run.checkpoints), run.config
    with _alone(run.settings.num_threads), ExitStack() as stack:
        session = _prepare(run.settings, config, stack)
        if not checkpoints.load(session.model, checkpoint):
            say(
                "warning: the checkpoint has no replay buffer; training goes on with an empty one, "
                "and otherwise than without the interruption."
            )
        done = session.model.num_timesteps
        if done >= run.settings.n_timesteps:
            raise InvalidArgumentError(
                f"{path} has its {done} steps already; give a larger -n to train further."
            )
        run.write_settings(config, f"{run.command}\n{command}")
        log_episodes(session.env, run.monitor_file, keep=session.model._episode_num)
        _learn(run, session, progress, say)
    return run


@contextmanager
def _alone(num_threads: int) -> Iterator[None]:
    """Limit torch's threads; give them and the global generators back as they were."""
    threads = torch.get_num_threads()
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])


def _prepare(settings: Settings, config: dict[str, Any], stack: ExitStack) -> _Session:
    """Make everything that can fail, before anything is written."""
    env = stack.enter_context(closing(training_env(settings, config["normalize"])))
    evaluation = stack.enter_context(closing(evaluation_env(settings, config["normalize"])))
    model = make_model(config, env, seed=settings.seed, device=settings.device)
    return _Session(model, env, evaluation)


def _learn(run: Run, session: _Session, progress: bool, say: Say) -> None:
    settings, model = run.settings, session.model
    model.set_logger(_logger(run))
    start, first = time.perf_counter(), model.num_timesteps
    model.learn(
        settings.n_timesteps - model.num_timesteps,
        callback=CallbackList(_callbacks(run, session, progress, say)),
        reset_num_timesteps=False,
    )
    seconds = time.perf_counter() - start
    model.logger.close()
    with_buffer = settings.save_replay_buffer
    checkpoints.save(model, run.checkpoints, with_replay_buffer=with_buffer)
    if isinstance(session.env, VecNormalize):
        normalization.save(session.env, run.normalization_file(best=False))
    save_model(model, run.model_file)
    run.write_result(
        {
            "timesteps": model.num_timesteps,
            "episodes": model._episode_num,
            "steps_per_second": round((model.num_timesteps - first) / seconds, 1),
            "phase": session.env.get_attr("phase")[0] if _is_noisy(session) else 0,
            "final_return": final_return(read_evaluations(run).returns)
            if settings.eval_freq
            else None,
            "size": sizes.as_plain(report_on(model)),
        }
    )


def _callbacks(run: Run, session: _Session, progress: bool, say: Say) -> list[BaseCallback]:
    settings = run.settings
    found: list[BaseCallback] = []
    if _is_noisy(session):
        found.append(PhaseCallback(session.evaluation))
        interval = settings.eval_freq or max(1, settings.n_timesteps // 100)
        found.append(callbacks.FocusRecord(run, interval))
    if settings.eval_freq:
        tell = callbacks.above_bar if progress else say
        found.append(callbacks.Evaluation(run, session.evaluation, tell))
    if settings.tensorboard_log is not None:
        found.append(SparsityCallback())
    if settings.save_freq:
        found.append(callbacks.Checkpointing(run))
    if progress:
        found.append(callbacks.ProgressBar(settings.n_timesteps))
    return found


def _is_noisy(session: _Session) -> bool:
    return relevant_mask(session.env) is not None


def _logger(run: Run) -> Any:
    """Log to TensorBoard if wanted; a resumed run continues in the same folder."""
    if run.settings.tensorboard_log is None:
        return configure(str(run.path), [])
    folder = Path(run.settings.tensorboard_log, run.path.parent.name, run.path.name)
    try:
        return configure(str(folder), ["tensorboard"])
    except AssertionError as error:
        raise SparsewireError(
            f'-tb needs TensorBoard: pip install "sparsewire[rl]" ({error})'
        ) from error
