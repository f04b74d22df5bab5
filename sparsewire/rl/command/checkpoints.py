"""How does a run continue after a crash? From a checkpoint that holds all of its state.

A checkpoint is the folder ``checkpoints/<steps>_steps``:

* ``model.zip``: networks, optimizers, masks and their counters, by stable-baselines3;
* ``state.json``, ``state.npz``: counters, generators, the actions of the current episode;
* ``replay_buffer.npz``: the arrays of the replay buffer, if wanted; only the newest keeps it;
* ``vecnormalize.npz``: running moments, if observations or rewards are normalised.

It is written under another name, flushed to disk and renamed, so that after a crash at any moment
the newest complete one is still there. Nothing is read as a pickle; no code is executed.

A run that continues from a checkpoint with a replay buffer equals one that was never interrupted,
bit for bit, on the same machine and device, given an environment whose `reset(seed=...)`
determines it. Two things are not kept: the state of correlated action noise and of gSDE's
exploration matrix (``use_sde``), which both start afresh.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from sparsewire.core.errors import CheckpointError
from sparsewire.rl.command import arrays, normalization
from sparsewire.rl.command.environments import episodes_of, repeat_episode
from sparsewire.rl.command.models import is_cuda, load_weights

FORMAT = {"format": "sparsewire.rl.checkpoint", "version": 1}
_COUNTERS = (
    "num_timesteps", "_n_updates", "_episode_num", "_n_calls", "exploration_rate",
    "_current_progress_remaining",
)  # fmt: skip


def save(model: BaseAlgorithm, folder: Path, *, with_replay_buffer: bool) -> Path:
    """Write a checkpoint of a model between two rollouts.

    Parameters
    ----------
    model : BaseAlgorithm
        In an environment made by `environments.training_env`.
    folder : pathlib.Path
        The run's folder of checkpoints, made if needed.
    with_replay_buffer : bool
        Whether to store the replay buffer, if the model has one.

    Returns
    -------
    pathlib.Path
        The checkpoint.

    Raises
    ------
    OSError
        If it cannot be written; earlier checkpoints are intact then.
    """
    final = folder / f"{model.num_timesteps}_steps"
    temporary = folder / f".{final.name}.{os.getpid()}"
    for left_by_a_crash in folder.glob(".*_steps.*"):
        shutil.rmtree(left_by_a_crash)
    temporary.mkdir(parents=True)
    try:
        _write(model, temporary, with_replay_buffer)
        _flush(temporary)
        if final.exists():  # from an earlier resumption of this run
            shutil.rmtree(final)
        temporary.replace(final)
        _flush_folder(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for path in _complete(folder)[:-1]:
        (path / "replay_buffer.npz").unlink(missing_ok=True)
    return final


def latest(folder: Path) -> Path:
    """Return the newest complete checkpoint of a run.

    Raises
    ------
    CheckpointError
        If there is none.
    """
    found = _complete(folder)
    if not found:
        raise CheckpointError(
            f"{folder} holds no checkpoint, so there is nothing to continue from; train with "
            "--save-freq and --save-replay-buffer."
        )
    return found[-1]


def load(model: BaseAlgorithm, path: Path) -> bool:
    """Bring a newly made model, and its environment, to where a checkpoint was written.

    Parameters
    ----------
    model : BaseAlgorithm
        Made from the run's configuration, in a new training environment.
    path : pathlib.Path
        The checkpoint.

    Returns
    -------
    bool
        Whether the replay buffer was restored, if the model has one: without it the run goes on,
        but not as it would have.

    Raises
    ------
    CheckpointError
        If the checkpoint is damaged or belongs to another kind of model.
    """
    try:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        if {key: state.get(key) for key in FORMAT} != FORMAT:
            raise CheckpointError(f"it must be {FORMAT}")
        stored = arrays.read(path / "state.npz")
        load_weights(model, path / "model.zip")
        complete = _load_replay_buffer(model, path / "replay_buffer.npz")
        repeat_episode(model, state["episode"], tuple(state["phase"]), stored["actions"])
        _load_normalization(model, path / "vecnormalize.npz")
        _set_state(model, state, stored)
    except CheckpointError as error:
        raise CheckpointError(
            f"{path} cannot be continued: {error} Delete this folder to go back to the checkpoint "
            "before it."
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} cannot be continued, its state is damaged: {error!r}. Delete this folder to "
            "go back to the checkpoint before it."
        ) from error
    return complete


def _complete(folder: Path) -> list[Path]:
    found = {
        int(match[1]): path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if (match := re.fullmatch(r"(\d+)_steps", path.name)) and path.is_dir()
    }
    return [found[steps] for steps in sorted(found)]


def _write(model: BaseAlgorithm, folder: Path, with_replay_buffer: bool) -> None:
    model.save(folder / "model.zip")
    buffer = getattr(model, "replay_buffer", None)
    if with_replay_buffer and buffer is not None:
        arrays.write_buffer(folder / "replay_buffer.npz", buffer)
    normalizer = model.get_vec_normalize_env()
    if normalizer is not None:
        normalization.save(normalizer, folder / "vecnormalize.npz")
    state, stored = _state(model)
    (folder / "state.json").write_text(json.dumps(state), encoding="utf-8")
    np.savez(folder / "state.npz", allow_pickle=False, **stored)


def _flush(folder: Path) -> None:
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    _flush_folder(folder)


def _flush_folder(folder: Path) -> None:
    """Make a folder's names durable, where the system can: POSIX can, Windows cannot."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _state(model: BaseAlgorithm) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Return all state outside networks and buffers: what JSON can hold, and arrays."""
    env = model.get_env()
    assert env is not None
    episodes = episodes_of(env)
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 (stable-baselines3 uses it)
    state = FORMAT | {
        "counters": {name: getattr(model, name) for name in _COUNTERS if hasattr(model, name)},
        "episode": episodes.next_episode - 1,
        "phase": episodes.starting_phase,
        "recent_episodes": list(model.ep_info_buffer or ()),
        "python": random.getstate(),
        "numpy": [kind, *rest],
        "action_space": arrays.generator_state(model.action_space.np_random),
    }
    shape = (-1, *(env.action_space.shape or ()))
    stored = {
        "actions": np.array(episodes.actions, env.action_space.dtype).reshape(shape),
        "numpy": np.asarray(keys),
        "torch": torch.get_rng_state().numpy(),
    }
    if is_cuda(model):
        stored["cuda"] = torch.cuda.get_rng_state(model.device).numpy()
    return state, stored


def _set_state(
    model: BaseAlgorithm, state: dict[str, Any], stored: dict[str, npt.NDArray[Any]]
) -> None:
    for name, value in state["counters"].items():
        if name not in _COUNTERS:
            raise CheckpointError(f"it counts {name!r}, which no model does.")
        setattr(model, name, value)
    model.ep_info_buffer = deque(state["recent_episodes"], maxlen=model._stats_window_size)
    model.ep_success_buffer = deque(maxlen=model._stats_window_size)
    version, keys, gauss = state["python"]
    random.setstate((version, tuple(keys), gauss))
    kind, *rest = state["numpy"]
    np.random.set_state((kind, stored["numpy"], *rest))  # noqa: NPY002
    arrays.set_generator_state(model.action_space.np_random, state["action_space"])
    torch.set_rng_state(torch.from_numpy(stored["torch"]))
    if is_cuda(model) and "cuda" in stored:
        torch.cuda.set_rng_state(torch.from_numpy(stored["cuda"]), model.device)


def _load_replay_buffer(model: BaseAlgorithm, path: Path) -> bool:
    buffer = getattr(model, "replay_buffer", None)
    if buffer is None:
        return True
    if not path.exists():
        return False
    arrays.read_buffer(path, buffer)
    return True


def _load_normalization(model: BaseAlgorithm, path: Path) -> None:
    """Restore the running moments, and see the last observation through them."""
    normalizer = model.get_vec_normalize_env()
    if normalizer is not None:
        normalization.load(normalizer, path)
        model._last_obs = normalizer.normalize_obs(normalizer.get_original_obs())
