"""In which environment does a run train, and in which is it evaluated?

Every episode is numbered and reset with a seed of its own, made from the run's seed and that number
(`NumberedEpisodes`). So an episode does not depend on the ones before it, and a run that stopped in
the middle of one continues exactly: the episode is started again and its actions are repeated.
The evaluation environment has another seed and shares no state with the training one.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from stable_baselines3.common.monitor import Monitor, ResultsWriter
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from sparsewire.core._files import replacing
from sparsewire.core._validation import suggest
from sparsewire.core.errors import InvalidArgumentError
from sparsewire.rl.command.settings import EVALUATION_SEED_OFFSET, Settings
from sparsewire.rl.envs.noisy import NoisyFeatures
from sparsewire.rl.envs.registration import register_noisy_envs

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm


class NumberedEpisodes(gym.Wrapper[Any, Any, Any, Any]):
    """Seed every episode by its number, and remember the actions of the current one.

    Parameters
    ----------
    env : gymnasium.Env
        The environment; its ``reset(seed=...)`` must determine all that follows but the actions.
    seed : int
        Seed of the series of episodes.

    Attributes
    ----------
    next_episode : int
        Number of the episode that the next `reset` starts; may be set.
    actions : list of ndarray
        The actions since the last `reset`.
    starting_phase : tuple of int
        Phase of the noise when the episode began, and steps in it until then.

    Examples
    --------
    >>> env = NumberedEpisodes(gym.make("Pendulum-v1"), seed=0)
    >>> first, second = env.reset()[0], env.reset()[0]
    >>> env.next_episode = 0
    >>> bool((env.reset()[0] == first).all())
    True
    """

    def __init__(self, env: gym.Env[Any, Any], seed: int) -> None:
        super().__init__(env)
        self._seed = seed
        self.next_episode = 0
        self.actions: list[npt.NDArray[Any]] = []
        self.starting_phase = (0, 0)
        self._noisy = self._find_noisy()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start the next episode; `seed` is ignored, the number of the episode takes its place."""
        del seed
        own = np.random.SeedSequence([self._seed, self.next_episode]).generate_state(1)
        self.next_episode += 1
        self.actions = []
        result = self.env.reset(seed=int(own[0]), options=options)
        if self._noisy is not None:
            self.starting_phase = self._noisy.phase, self._noisy.steps_in_phase
        return result

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Pass an action on and remember it."""
        self.actions.append(np.array(action))
        return self.env.step(action)

    def restart(self, number: int, phase: tuple[int, int]) -> None:
        """Let the next `reset` start episode `number`, in a phase of the noise.

        Parameters
        ----------
        number : int
            Number of the episode.
        phase : tuple of int
            What the attribute `starting_phase` was in it.
        """
        self.next_episode = number
        if self._noisy is not None:
            self._noisy.set_phase(phase[0], steps=phase[1])

    def _find_noisy(self) -> NoisyFeatures | None:
        layer: gym.Env[Any, Any] = self.env
        while isinstance(layer, gym.Wrapper):
            if isinstance(layer, NoisyFeatures):
                return layer
            layer = layer.env
        return None


def make_env(settings: Settings, **more: Any) -> gym.Env[Any, Any]:
    """Make the environment of a run, without any wrapper of ours.

    Parameters
    ----------
    settings : Settings
        The run.
    **more
        Further arguments of ``gymnasium.make``, such as ``render_mode``.

    Returns
    -------
    gymnasium.Env
        The environment.

    Raises
    ------
    InvalidArgumentError
        If there is no such environment, or it does not take these arguments.
    ImportError
        If a package that it needs is missing.

    Examples
    --------
    >>> make_env(Settings(algo="td3", env="Pendulum-v1")).spec.id
    'Pendulum-v1'
    """
    check_env_id(settings.env)
    try:
        return gym.make(settings.env, **(settings.env_kwargs | more))
    except gym.error.DependencyNotInstalled as error:
        extra = '; or: pip install "sparsewire[rl]"' if "mujoco" in str(error).lower() else ""
        raise ImportError(f"{error}{extra}") from error
    except (gym.error.Error, ImportError, TypeError, ValueError, AssertionError) as error:
        given = ", ".join(f"{key}={value!r}" for key, value in settings.env_kwargs.items())
        raise InvalidArgumentError(
            f"environment {settings.env} cannot be made with ({given}): {error}"
        ) from error


def check_env_id(env: str) -> None:
    """Raise unless `env` is registered; an id ``module:Name`` imports the module first.

    Raises
    ------
    InvalidArgumentError
        If it is not, naming similar ids.
    """
    register_noisy_envs()
    module, _, name = env.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise InvalidArgumentError(f"--env {env}: cannot import {module}: {error}") from error
    if name not in gym.registry:
        known = [known for known in gym.registry if "/" not in known]
        raise InvalidArgumentError(
            f"unknown environment {env!r}; `sparsewire rl envs` lists the noisy ones."
            f"{suggest(env, known)}"
        )


def training_env(settings: Settings, normalize: Mapping[str, Any] | None) -> VecEnv:
    """Make the environment that a run trains in.

    Parameters
    ----------
    settings : Settings
        The run.
    normalize : mapping or None
        Arguments of ``VecNormalize``; None for no normalisation.

    Returns
    -------
    VecEnv
        One environment; its episodes are logged once `log_episodes` was called.
    """
    return _vectorized(settings, settings.seed, normalize, training=True)


def evaluation_env(settings: Settings, normalize: Mapping[str, Any] | None, **more: Any) -> VecEnv:
    """Make the environment that a run is evaluated in: other episodes, rewards as they are.

    Parameters
    ----------
    settings : Settings
        The run; its seed + 10 000 is that of the evaluation, unless `more` holds ``seed``.
    normalize : mapping or None
        Arguments of ``VecNormalize``; None for no normalisation.
    **more
        ``seed``, and further arguments of ``gymnasium.make``, such as ``render_mode``.

    Returns
    -------
    VecEnv
        One environment.
    """
    seed = more.pop("seed", settings.seed + EVALUATION_SEED_OFFSET)
    return _vectorized(settings, seed, normalize, training=False, **more)


def _vectorized(
    settings: Settings,
    seed: int,
    normalize: Mapping[str, Any] | None,
    *,
    training: bool,
    **more: Any,
) -> VecEnv:
    env = Monitor(NumberedEpisodes(make_env(settings, **more), seed))
    vectorized: VecEnv = DummyVecEnv([lambda: env])
    if normalize is not None:
        vectorized = VecNormalize(vectorized, training=training, **normalize)
        vectorized.norm_reward = vectorized.norm_reward and training
    return vectorized


def episodes_of(env: VecEnv) -> NumberedEpisodes:
    """Return the wrapper that numbers the episodes of `env`."""
    found: NumberedEpisodes = _find(env, NumberedEpisodes)
    return found


def _find(env: VecEnv, kind: type[Any]) -> Any:
    inner = env.unwrapped
    assert isinstance(inner, DummyVecEnv)
    layer: gym.Env[Any, Any] = inner.envs[0]
    while not isinstance(layer, kind):
        assert isinstance(layer, gym.Wrapper)
        layer = layer.env
    return layer


def log_episodes(env: VecEnv, path: Path, *, keep: int) -> None:
    """Write every episode of `env` to a monitor file from now on.

    Parameters
    ----------
    env : VecEnv
        A training environment.
    path : pathlib.Path
        The file.
    keep : int
        How many episodes already in the file belong to this run; the rest is cut off.
    """
    monitor = _find(env, Monitor)
    lines = path.read_text(encoding="utf-8").splitlines()[: 2 + keep] if path.exists() else []
    if keep and len(lines) == 2 + keep:
        with replacing(path) as temporary:
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    header = {"t_start": monitor.t_start, "env_id": str(env.get_attr("spec")[0].id)}
    monitor.results_writer = ResultsWriter(
        str(path), header=header, override_existing=not (keep and path.exists())
    )


def repeat_episode(
    model: BaseAlgorithm, number: int, phase: tuple[int, int], actions: npt.NDArray[Any]
) -> None:
    r"""Bring the environment of `model` to where episode `number` is after `actions`.

    Parameters
    ----------
    model : BaseAlgorithm
        Its environment and its last observation are changed.
    number : int
        Number of the episode.
    phase : tuple of int
        Phase of the noise when it began, and steps in it until then.
    actions : ndarray of shape (n_steps, \*action_shape)
        Actions from the start of the episode.
    """
    env = model.get_env()
    assert env is not None
    episodes_of(env).restart(number, phase)
    observation: Any = env.reset()
    for action in actions:
        observation = env.step(action[np.newaxis])[0]
    model._last_obs = observation
    model._last_episode_starts = np.array([len(actions) == 0])
    normalizer = model.get_vec_normalize_env()
    if normalizer is not None:
        model._last_original_obs = normalizer.get_original_obs()
