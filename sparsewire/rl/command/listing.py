"""Which environments with noise features are there, and how large are their observations?"""

from __future__ import annotations

import contextlib
import tempfile

import gymnasium as gym

from sparsewire.rl.envs.layout import n_noisy_features
from sparsewire.rl.envs.registration import BASE_IDS, register_noisy_envs

_FRACTIONS = (0.9, 0.95, 0.98, 0.99)
COLUMNS = ("id", "d", *(f"D at {fraction:g}" for fraction in _FRACTIONS), "actions")


def environment_rows() -> list[list[str]]:
    """Return the registered noisy environments with their numbers of features.

    Returns
    -------
    list of list of str
        Rows with the columns `COLUMNS`: d real features, D of an observation at each fraction of
        noise, and the number of actions.
    """
    register_noisy_envs()
    # MuJoCo writes its log into the working folder.
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        return [_row(base) for base in BASE_IDS]


def _row(base: str) -> list[str]:
    env = gym.make(base)
    d, n_actions = (gym.spaces.flatdim(s) for s in (env.observation_space, env.action_space))
    env.close()
    sizes = [str(n_noisy_features(d, fraction)) for fraction in _FRACTIONS]
    return [f"Noisy{base}", str(d), *sizes, str(n_actions)]
