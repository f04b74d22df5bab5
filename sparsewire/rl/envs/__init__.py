"""Environments whose observations are mostly noise, and what trains and evaluates in them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparsewire.rl.envs.callbacks import PhaseCallback
    from sparsewire.rl.envs.noise import FeatureHistogram
    from sparsewire.rl.envs.noisy import NoisyFeatures, relevant_mask
    from sparsewire.rl.envs.replay import FreshNoiseReplayBuffer

__all__ = [
    "FeatureHistogram",
    "FreshNoiseReplayBuffer",
    "NoisyFeatures",
    "PhaseCallback",
    "relevant_mask",
]


def __getattr__(name: str) -> Any:
    """Import Gymnasium or Stable-Baselines3 when one of the names is first used."""
    if name in __all__:
        return getattr(import_module("sparsewire.rl"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names for completion, imported or not."""
    return __all__
