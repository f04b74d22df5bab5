"""Which model does a run train, and how is one read from a file without executing code?

A model is always built anew, from the names and plain values in ``config.yml``; from the zip file
come only tensors, read by torch with ``weights_only=True``. The entry ``data`` of a
stable-baselines3 file, a pickle, is never opened, so ``Algo.load`` is not used.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.save_util import load_from_zip_file, recursive_setattr
from stable_baselines3.common.vec_env import VecEnv

from sparsewire.core._files import replacing
from sparsewire.core._validation import check_positive
from sparsewire.core.errors import CheckpointError, InvalidArgumentError, SparsewireError
from sparsewire.rl.command.settings import Settings
from sparsewire.rl.envs.replay import FreshNoiseReplayBuffer
from sparsewire.rl.presets import PRESETS
from sparsewire.rl.settings import paper_hyperparameters, resolve_algorithm

_BUFFERS: dict[str, type[ReplayBuffer]] = {"FreshNoiseReplayBuffer": FreshNoiseReplayBuffer}
_FALLBACK = "anf"
"""Whose hyperparameters a dense agent gets, and one that no paper has trained."""

_DICTIONARIES = ("policy_kwargs", "sparse_kwargs")


def configuration(settings: Settings) -> dict[str, Any]:
    """Work out every hyperparameter of a run: its paper's, with single ones replaced by the user's.

    Besides the arguments of the algorithm, the user's ``params`` may hold ``noise_std``, the
    standard deviation of normal action noise or None; ``normalize``, True or arguments of
    ``VecNormalize``; ``replay_buffer_class``, by name; and ``like``, the preset whose paper's
    hyperparameters are meant. By default that is the algorithm's own paper; a dense agent, and one
    that no paper has trained, gets those of ANF, so that all arms of a bench are treated alike.

    Parameters
    ----------
    settings : Settings
        The run.

    Returns
    -------
    dict
        ``algo``, ``normalize``, ``noise_std`` and ``hyperparameters``: plain values for YAML.

    Raises
    ------
    InvalidArgumentError
        If there is no such algorithm or paper, or the run is too short to learn anything.
    """
    params = dict(settings.params)
    hyperparameters = _of_paper(settings.algo, params.pop("like", None))
    for key in _DICTIONARIES:
        if isinstance(params.get(key), dict):
            params[key] = hyperparameters.get(key, {}) | params[key]
    hyperparameters |= params
    normalize = hyperparameters.pop("normalize", None)
    _add_length(settings, hyperparameters)
    return {
        "algo": settings.algo,
        "normalize": {} if normalize is True else normalize or None,
        "noise_std": hyperparameters.pop("noise_std", None),
        "hyperparameters": hyperparameters,
    }


def _of_paper(algo: str, like: str | None) -> dict[str, Any]:
    entry = resolve_algorithm(algo)
    if like is None:
        try:
            return paper_hyperparameters(algo)
        except InvalidArgumentError:
            like = _FALLBACK
    return paper_hyperparameters(entry.algorithm, like=like)


def _add_length(settings: Settings, hyperparameters: dict[str, Any]) -> None:
    """Tell schedules how long training is, one gradient step per environment step."""
    starts = hyperparameters.get("learning_starts", 100)
    if isinstance(starts, int) and starts >= settings.n_timesteps:
        raise InvalidArgumentError(
            f"learning starts after {starts} steps, but the run has only {settings.n_timesteps}; "
            "train longer, or set for example -params learning_starts:1000."
        )
    preset = resolve_algorithm(settings.algo).preset
    if preset is not None and PRESETS[preset].window is not None:
        length = {"total_steps": settings.n_timesteps - int(starts)}
        hyperparameters["sparse_kwargs"] = length | hyperparameters.get("sparse_kwargs", {})


def make_model(
    config: Mapping[str, Any],
    env: VecEnv,
    *,
    seed: int,
    device: str = "auto",
    for_training: bool = True,
) -> OffPolicyAlgorithm:
    """Build an untrained model.

    Parameters
    ----------
    config : mapping
        What `configuration` returned, or ``config.yml`` of a run holds.
    env : VecEnv
        Where it acts.
    seed : int
        Seed of its networks and its exploration.
    device : str, default="auto"
        Where its networks are.
    for_training : bool, default=True
        Whether it needs memory for a replay buffer.

    Returns
    -------
    OffPolicyAlgorithm
        The model.

    Raises
    ------
    InvalidArgumentError
        If the algorithm cannot act in this environment or refuses a hyperparameter.
    """
    try:
        entry, kwargs = resolve_algorithm(config["algo"]), _arguments(config, env)
        if not for_training:
            kwargs["buffer_size"] = 1
        model_class: Any = entry.model_class  # whose base class lacks two of the arguments
        model: OffPolicyAlgorithm = model_class(
            env=env, preset=entry.preset, seed=seed, device=device, **kwargs
        )
    except SparsewireError:
        raise
    except (TypeError, ValueError, AssertionError, KeyError, AttributeError, RuntimeError) as error:
        given = ", ".join(f"{key}={value!r}" for key, value in config["hyperparameters"].items())
        raise InvalidArgumentError(f"{config['algo']} refuses ({given}): {error}") from error
    return model


def _arguments(config: Mapping[str, Any], env: VecEnv) -> dict[str, Any]:
    """Return the arguments of the algorithm, with objects in place of names and numbers."""
    kwargs = dict(config["hyperparameters"])
    is_dict = isinstance(env.observation_space, gym.spaces.Dict)
    kwargs.setdefault("policy", "MultiInputPolicy" if is_dict else "MlpPolicy")
    if isinstance(kwargs.get("train_freq"), list):
        kwargs["train_freq"] = tuple(kwargs["train_freq"])
    if "replay_buffer_class" in kwargs:
        name = kwargs["replay_buffer_class"]
        if name not in _BUFFERS:
            raise InvalidArgumentError(
                f"replay_buffer_class must be {' or '.join(_BUFFERS)}, got {name!r}."
            )
        kwargs["replay_buffer_class"] = _BUFFERS[name]
    if config["noise_std"] is not None:
        noise = check_positive("noise_std", config["noise_std"], or_zero=True)
        shape = env.action_space.shape or ()
        kwargs["action_noise"] = NormalActionNoise(np.zeros(shape), np.full(shape, noise))
    return kwargs


def save_model(model: BaseAlgorithm, path: Path) -> None:
    """Write a model as an ordinary stable-baselines3 file, in one step."""
    with replacing(path) as temporary:
        model.save(temporary)


def load_weights(model: BaseAlgorithm, path: Path) -> None:
    """Give a newly made model the tensors of a file: networks, optimizers, entropy coefficient.

    Parameters
    ----------
    model : BaseAlgorithm
        Made from the configuration with which the file's model was made.
    path : pathlib.Path
        A stable-baselines3 file. No code in it is executed.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, or belongs to another kind of model.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no {path}; the run has not come so far.")
    try:
        _, parameters, variables = load_from_zip_file(path, load_data=False, device=model.device)
        model.set_parameters(parameters or {}, exact_match=True, device=model.device)
        for name, value in (variables or {}).items():
            if value is not None:
                recursive_setattr(model, f"{name}.data", value.data)
    except Exception as error:  # torch and zipfile raise anything on damaged bytes
        raise CheckpointError(
            f"{path} is damaged or belongs to another kind of model: {error}"
        ) from error


def is_cuda(model: BaseAlgorithm) -> bool:
    """Tell whether the model draws from CUDA's generator."""
    return model.device.type == torch.device("cuda").type
