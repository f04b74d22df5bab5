"""Sparse reinforcement learning: Stable-Baselines3 algorithms and environments full of noise.

Importing this package imports neither Stable-Baselines3 nor Gymnasium, but lets the latter know the
environments ``NoisyPendulum-v1``, ``NoisyHalfCheetah-v5`` and so on.

>>> import gymnasium as gym, sparsewire.rl
>>> gym.make("NoisyPendulum-v1", noise_fraction=0.98).observation_space.shape
(150,)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sparsewire.rl.envs.registration import register_when_imported

if TYPE_CHECKING:
    from sparsewire.rl.algorithms import SparseDDPG, SparseSAC, SparseTD3
    from sparsewire.rl.conversion import sparsify
    from sparsewire.rl.envs.callbacks import PhaseCallback
    from sparsewire.rl.envs.noise import FeatureHistogram
    from sparsewire.rl.envs.noisy import NoisyFeatures, relevant_mask
    from sparsewire.rl.envs.replay import FreshNoiseReplayBuffer
    from sparsewire.rl.preferences.learner import PreferenceLearner
    from sparsewire.rl.preferences.reward_model import RewardModel
    from sparsewire.rl.preferences.segments import Preferences, SegmentBuffer, Segments
    from sparsewire.rl.preferences.teacher import ScriptedTeacher
    from sparsewire.rl.settings import (
        ALGORITHMS,
        paper_hyperparameters,
        paper_settings,
        resolve_algorithm,
    )
    from sparsewire.rl.sparsity_callback import SparsityCallback
    from sparsewire.rl.topology import Topology

__all__ = [
    "ALGORITHMS",
    "FeatureHistogram",
    "FreshNoiseReplayBuffer",
    "NoisyFeatures",
    "PhaseCallback",
    "PreferenceLearner",
    "Preferences",
    "RewardModel",
    "ScriptedTeacher",
    "SegmentBuffer",
    "Segments",
    "SparseDDPG",
    "SparseSAC",
    "SparseTD3",
    "SparsityCallback",
    "Topology",
    "paper_hyperparameters",
    "paper_settings",
    "relevant_mask",
    "resolve_algorithm",
    "sparsify",
]

_HOMES = {
    "ALGORITHMS": "sparsewire.rl.settings",
    "FeatureHistogram": "sparsewire.rl.envs.noise",
    "FreshNoiseReplayBuffer": "sparsewire.rl.envs.replay",
    "NoisyFeatures": "sparsewire.rl.envs.noisy",
    "PhaseCallback": "sparsewire.rl.envs.callbacks",
    "PreferenceLearner": "sparsewire.rl.preferences.learner",
    "Preferences": "sparsewire.rl.preferences.segments",
    "RewardModel": "sparsewire.rl.preferences.reward_model",
    "ScriptedTeacher": "sparsewire.rl.preferences.teacher",
    "SegmentBuffer": "sparsewire.rl.preferences.segments",
    "Segments": "sparsewire.rl.preferences.segments",
    "SparseDDPG": "sparsewire.rl.algorithms",
    "SparseSAC": "sparsewire.rl.algorithms",
    "SparseTD3": "sparsewire.rl.algorithms",
    "SparsityCallback": "sparsewire.rl.sparsity_callback",
    "Topology": "sparsewire.rl.topology",
    "paper_hyperparameters": "sparsewire.rl.settings",
    "paper_settings": "sparsewire.rl.settings",
    "relevant_mask": "sparsewire.rl.envs.noisy",
    "resolve_algorithm": "sparsewire.rl.settings",
    "sparsify": "sparsewire.rl.conversion",
}
_EXTRA = {"gymnasium", "mujoco", "stable_baselines3"}


def __getattr__(name: str) -> Any:
    """Import Stable-Baselines3, and with it torch, when one of the names is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRA:
            raise
        raise ImportError(
            f'{name} needs {package}: pip install "sparsewire[rl]" installs it.'
        ) from error


def __dir__() -> list[str]:
    """List the public names for completion, imported or not."""
    return __all__


register_when_imported()
