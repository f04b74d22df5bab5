"""With which hyperparameters did the papers train, and which algorithms have a name?

A preset says what is sparse. Learning rates, batch sizes, weight decay and exploration are kept
apart, here, because the dense baselines of the papers were trained with them, too: a TD3 with the
defaults of Stable-Baselines3, without weight decay and with other layer sizes, is *not* the
baseline of DS-TD3 or ANF. ``paper_settings("td3", env, like="anf")`` is.
"""

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparsewire.core._validation import suggest
from sparsewire.core.errors import InvalidArgumentError
from sparsewire.rl.presets import PRESETS

if TYPE_CHECKING:
    from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
    from stable_baselines3.common.type_aliases import GymEnv

_CLASSES = {"td3": "SparseTD3", "sac": "SparseSAC", "ddpg": "SparseDDPG"}


@dataclass(frozen=True)
class AlgorithmName:
    """An algorithm by its name, such as ``anf-td3``.

    Attributes
    ----------
    name : str
        The name.
    algorithm : {"td3", "sac", "ddpg"}
        The algorithm of Stable-Baselines3.
    preset : str or None
        How it is sparse; None is dense.
    """

    name: str
    algorithm: str
    preset: str | None

    @property
    def model_class(self) -> "type[OffPolicyAlgorithm]":
        """`SparseTD3`, `SparseSAC` or `SparseDDPG`, which take ``preset=`` also if it is None."""
        from sparsewire.rl import algorithms

        model_class: type[OffPolicyAlgorithm] = getattr(algorithms, _CLASSES[self.algorithm])
        return model_class


ALGORITHMS: dict[str, AlgorithmName] = {
    entry.name: entry
    for preset in (None, *PRESETS)
    for algorithm in _CLASSES
    for entry in (
        AlgorithmName(f"{preset}-{algorithm}" if preset else algorithm, algorithm, preset),
    )
}
"""Everything that has a name: ``td3``, ``sac``, ``ddpg``, and ``<preset>-<algorithm>``."""


def resolve_algorithm(name: str) -> AlgorithmName:
    """Look an algorithm up by its name.

    Raises
    ------
    InvalidArgumentError
        If there is none of that name.

    Examples
    --------
    >>> resolve_algorithm("anf-td3")
    AlgorithmName(name='anf-td3', algorithm='td3', preset='anf')
    """
    if not isinstance(name, str) or name not in ALGORITHMS:
        raise InvalidArgumentError(
            f"unknown algorithm {name!r}; use {', '.join(_CLASSES)}, or one of these after "
            f"{', '.join(PRESETS)}, as in 'anf-td3'.{suggest(str(name), ALGORITHMS)}"
        )
    return ALGORITHMS[name]


def _policy(**optimizer: float) -> dict[str, Any]:
    return {"net_arch": [256, 256]} | ({"optimizer_kwargs": optimizer} if optimizer else {})


_COMMON: dict[str, Any] = {
    "buffer_size": 1_000_000,
    "learning_starts": 25_000,
    "gamma": 0.99,
    "tau": 0.005,
}
_TD3 = {
    **_COMMON,
    "noise_std": 0.1,
    "policy_delay": 2,
    "target_policy_noise": 0.2,
    "target_noise_clip": 0.5,
}
_DECAY = {"learning_rate": 1e-3, "batch_size": 100, "policy_kwargs": _policy(weight_decay=2e-4)}
_PLAIN = {"learning_rate": 3e-4, "batch_size": 256, "policy_kwargs": _policy()}
_DS_TD3 = {**_TD3, **_DECAY}
_ANF_SAC = {**_COMMON, **_DECAY, "ent_coef": 0.2}

_PAPERS: dict[tuple[str, str], dict[str, Any]] = {
    ("ds", "td3"): _DS_TD3,
    ("ds", "sac"): {
        **_COMMON,
        **_PLAIN,
        "ent_coef": 0.2,
        "tau": 1.0,
        "target_update_interval": 1000,
    },
    ("anf", "td3"): _DS_TD3,
    ("anf", "sac"): _ANF_SAC,
    ("static", "td3"): _DS_TD3,
    ("static", "sac"): _ANF_SAC,
    ("rlx2", "td3"): {**_TD3, **_PLAIN, "n_steps": 3},
    ("rlx2", "sac"): {**_COMMON, **_PLAIN, "n_steps": 3},
    ("rigl", "sac"): {**_COMMON, **_PLAIN},
    ("gmp", "sac"): {**_COMMON, **_PLAIN},
}
_NOT_DDPG = ("policy_delay", "target_policy_noise", "target_noise_clip")


def paper_hyperparameters(name: str, *, like: str | None = None) -> dict[str, Any]:
    """Return the hyperparameters of a paper as plain data, the standard deviation of noise too.

    Parameters
    ----------
    name : str
        Name of an algorithm, such as ``"anf-td3"``, or ``"td3"`` for its dense baseline.
    like : str or None, default None
        The preset whose paper is meant; None is that of `name`.

    Returns
    -------
    dict
        Arguments of Stable-Baselines3, with ``noise_std`` in place of ``action_noise`` for TD3 and
        DDPG. DDPG gets those of TD3 as far as it has them: no paper trained it sparse.

    Raises
    ------
    InvalidArgumentError
        If a name is unknown, or if there is no paper to follow.

    Notes
    -----
    What Stable-Baselines3 has no argument for is left out: ANF-SAC's Xavier initial weights, the
    reward scale 0.1 of ``rigl`` and ``gmp``, and of RLx2 the late start of n-step returns (after
    300,000 steps; here from the beginning) and the dynamic replay buffer. DS-SAC's appendix does
    not say how many random steps come first; 25,000 are DS-TD3's.

    Examples
    --------
    >>> paper_hyperparameters("td3", like="anf")["policy_kwargs"]
    {'net_arch': [256, 256], 'optimizer_kwargs': {'weight_decay': 0.0002}}
    """
    entry = resolve_algorithm(name)
    preset = entry.preset if like is None else like
    if preset is None:
        raise InvalidArgumentError(
            f"{name} is in every paper; say in whose, as in like='anf': {', '.join(PRESETS)}."
        )
    if preset not in PRESETS:
        raise InvalidArgumentError(
            f"like must be one of {', '.join(PRESETS)}, got {like!r}.{suggest(str(like), PRESETS)}"
        )
    ddpg = entry.algorithm == "ddpg"
    found = _PAPERS.get((preset, "td3" if ddpg else entry.algorithm))
    if found is None:
        known = ", ".join(f"{p}-{a}" for p, a in _PAPERS)
        raise InvalidArgumentError(
            f"there are no published settings of {preset} with {entry.algorithm}, only of {known};"
            " name another paper, as in like='anf'."
        )
    return {
        key: copy.deepcopy(value) for key, value in found.items() if not (ddpg and key in _NOT_DDPG)
    }


def paper_settings(name: str, env: "GymEnv", *, like: str | None = None) -> dict[str, Any]:
    """Return the hyperparameters of a paper as arguments of the algorithm.

    They are not part of the presets, so that a dense baseline can have the same ones.

    Parameters
    ----------
    name : str
        Name of an algorithm, such as ``"anf-td3"``, or ``"td3"`` for its dense baseline.
    env : gymnasium.Env or VecEnv
        Whose actions the action noise has to fit.
    like : str or None, default None
        The preset whose paper is meant; None is that of `name`.

    Returns
    -------
    dict
        Keyword arguments for `SparseTD3`, `SparseSAC` or `SparseDDPG`.

    Raises
    ------
    InvalidArgumentError
        If a name is unknown, or if there is no paper to follow.

    Notes
    -----
    See `paper_hyperparameters` for what could not be taken over. Change single entries by
    ``paper_settings(...) | {"learning_starts": 1000}``.

    Examples
    --------
    >>> import gymnasium as gym
    >>> from sparsewire.rl import SparseTD3
    >>> env = gym.make("Pendulum-v1")
    >>> settings = paper_settings("td3", env, like="anf") | {"buffer_size": 1000}
    >>> baseline = SparseTD3("MlpPolicy", env, **settings)
    >>> baseline.action_noise
    NormalActionNoise(mu=[0.], sigma=[0.1])
    """
    import numpy as np
    from stable_baselines3.common.noise import NormalActionNoise

    settings = paper_hyperparameters(name, like=like)
    if (std := settings.pop("noise_std", None)) is not None:
        shape = env.action_space.shape or ()
        settings["action_noise"] = NormalActionNoise(np.zeros(shape), np.full(shape, std))
    return settings
