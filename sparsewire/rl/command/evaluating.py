"""How good is a trained agent, and what does it look like? Episodes with its deterministic policy.

The model is read without executing code (`sparsewire.rl.command.models`) and acts in an environment
made like the training one: same arguments, same phase of the noise, but episodes of its own.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from sparsewire.core._files import replacing
from sparsewire.core._validation import check_integer
from sparsewire.core.errors import InvalidArgumentError, SparsewireError
from sparsewire.rl.command import arrays, normalization
from sparsewire.rl.command.environments import evaluation_env
from sparsewire.rl.command.models import load_weights, make_model
from sparsewire.rl.command.runs import Run
from sparsewire.rl.envs.noisy import relevant_mask

VIDEOS = (".mp4", ".gif")


@dataclass(frozen=True)
class Episodes:
    """What some episodes came to.

    Attributes
    ----------
    returns : ndarray of shape (n_episodes,)
        Undiscounted returns.
    lengths : ndarray of shape (n_episodes,)
        Steps.
    """

    returns: npt.NDArray[np.float64]
    lengths: npt.NDArray[np.int64]


def evaluate(
    run: Run, *, episodes: int = 100, seed: int = 1000, best: bool = False, device: str = "auto"
) -> Episodes:
    """Let the trained agent of a run act in new episodes.

    Parameters
    ----------
    run : Run
        A run that has written its model.
    episodes : int, default=100
        How many.
    seed : int, default=1000
        Seed of the episodes; the same seed gives every agent the same ones.
    best : bool, default=False
        Whether to take the model with the best evaluation instead of the last one.
    device : str, default="auto"
        Where the networks are.

    Returns
    -------
    Episodes
        Their returns and lengths.

    Raises
    ------
    CheckpointError
        If the model is missing or damaged.
    """
    check_integer("episodes", episodes, minimum=1)
    check_integer("seed", seed, minimum=0)
    with opened(run, seed=seed, best=best, device=device) as (model, env):
        returns, lengths = evaluate_policy(
            model, env, episodes, deterministic=True, return_episode_rewards=True
        )
    return Episodes(np.array(returns), np.array(lengths))


@contextmanager
def opened(
    run: Run, *, seed: int, best: bool, device: str, **env_arguments: Any
) -> Iterator[tuple[BaseAlgorithm, VecEnv]]:
    """Give a run's model and an environment for it, which is closed at the end.

    Parameters
    ----------
    run : Run
        The run.
    seed : int
        Seed of the episodes.
    best : bool
        Whether to take the model with the best evaluation.
    device : str
        Where the networks are.
    **env_arguments
        Further arguments of ``gymnasium.make``, such as ``render_mode``.

    Yields
    ------
    model : BaseAlgorithm
        Ready to act, not to train.
    env : VecEnv
        Its environment.
    """
    config = run.config
    path = run.best_model_file if best else run.model_file
    with closing(
        evaluation_env(run.settings, config["normalize"], seed=seed, **env_arguments)
    ) as env:
        model = make_model(config, env, seed=run.settings.seed, device=device, for_training=False)
        load_weights(model, path)
        if isinstance(env, VecNormalize):
            normalization.load(env, run.normalization_file(best=best))
        if relevant_mask(env) is not None:
            env.env_method("set_phase", _phase(run, best), hold=True)
        yield model, env


def _phase(run: Run, best: bool) -> int:
    """Return in which phase of the noise the model was trained last."""
    if not best:
        return int(run.result["phase"])
    content = arrays.read(run.evaluations_file)
    return int(content["phases"][content["results"].mean(axis=1).argmax()])


def enjoy(
    run: Run,
    *,
    steps: int = 1000,
    seed: int = 0,
    best: bool = False,
    device: str = "auto",
    record: Path | None = None,
    render: bool = True,
) -> Episodes:
    """Watch a trained agent, or record it.

    Parameters
    ----------
    run : Run
        A run that has written its model.
    steps : int, default=1000
        Environment steps; 1000 is the RL Zoo's.
    seed, best, device
        As in `evaluate`.
    record : pathlib.Path or None
        Video to write, ``.mp4`` or ``.gif``, instead of opening a window.
    render : bool, default=True
        Whether to open a window if nothing is recorded.

    Returns
    -------
    Episodes
        The episodes that ended within these steps.

    Raises
    ------
    InvalidArgumentError
        If the video has another suffix.
    ImportError
        If a package for rendering or for the video is missing.
    SparsewireError
        If the environment cannot be rendered here.
    """
    check_integer("steps", steps, minimum=1)
    if record is not None:
        check_video(record)
    mode = "rgb_array" if record is not None else "human" if render else None
    with opened(run, seed=seed, best=best, device=device, render_mode=mode) as (model, env):
        frames: list[npt.NDArray[np.uint8]] = []
        found = _play(model, env, steps, mode, frames)
        if record is not None:
            _write_video(record, frames, _fps(env))
    return found


def check_video(path: Path) -> None:
    """Raise unless a video of this name can be written.

    Raises
    ------
    InvalidArgumentError
        If its suffix is neither ``.mp4`` nor ``.gif``.
    ImportError
        If imageio, or its ffmpeg for ``.mp4``, is missing.
    """
    if path.suffix.lower() not in VIDEOS:
        raise InvalidArgumentError(f"--record {path} must end in .mp4 or .gif.")
    needed = ["imageio", *(["imageio_ffmpeg"] if path.suffix.lower() == ".mp4" else [])]
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        hint = " A .gif needs imageio only." if missing == ["imageio_ffmpeg"] else ""
        raise ImportError(
            f'videos need {missing[0]}, which is not installed: pip install "sparsewire[rl]" or '
            f'"imageio[ffmpeg]".{hint}'
        )


def _play(
    model: BaseAlgorithm, env: VecEnv, steps: int, mode: str | None, frames: list[Any]
) -> Episodes:
    returns, lengths = [], []
    observation = env.reset()
    for _ in range(steps):
        if mode is not None:
            frame = _render(env, mode)
            frames += [frame] if mode == "rgb_array" else []
        action, _ = model.predict(observation, deterministic=True)  # type: ignore[arg-type]
        observation, _, _, infos = env.step(action)
        if "episode" in infos[0]:
            returns.append(infos[0]["episode"]["r"])
            lengths.append(infos[0]["episode"]["l"])
    return Episodes(np.array(returns), np.array(lengths, dtype=np.int64))


def _render(env: VecEnv, mode: str) -> Any:
    """Render, with any of the many errors of a missing display as one that says what to do."""
    try:
        if mode == "human" and _lacks_display():
            raise OSError("no display")  # GLFW would abort the process
        return env.render(mode)
    except Exception as error:  # GLFW, EGL, OSMesa and pygame all raise their own
        raise SparsewireError(
            f"{env.get_attr('spec')[0].id} cannot be rendered here ({error}). Without a display, "
            "use --record with MUJOCO_GL=egl or MUJOCO_GL=osmesa in the environment, or "
            "--no-render."
        ) from error


def _lacks_display() -> bool:
    known = os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"}
    return sys.platform.startswith("linux") and not known


def _fps(env: VecEnv) -> int:
    fps: Any = env.metadata.get("render_fps", 30)
    return int(fps)


def _write_video(path: Path, frames: list[npt.NDArray[np.uint8]], fps: int) -> None:
    import imageio.v2 as imageio

    with replacing(path) as temporary:
        if path.suffix.lower() == ".gif":
            imageio.mimwrite(temporary, frames, duration=1000 / fps, loop=0)  # type: ignore[arg-type]
        else:
            imageio.mimwrite(temporary, frames, fps=fps, macro_block_size=1)  # type: ignore[arg-type]
