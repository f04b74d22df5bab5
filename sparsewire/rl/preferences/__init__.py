"""Rewards learned from preferences between pieces of behaviour, with sparse reward models (R2N)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparsewire.rl.preferences.learner import PreferenceLearner
    from sparsewire.rl.preferences.reward_model import RewardModel
    from sparsewire.rl.preferences.segments import Preferences, SegmentBuffer, Segments
    from sparsewire.rl.preferences.teacher import ScriptedTeacher

__all__ = [
    "PreferenceLearner",
    "Preferences",
    "RewardModel",
    "ScriptedTeacher",
    "SegmentBuffer",
    "Segments",
]


def __getattr__(name: str) -> Any:
    """Import Stable-Baselines3 when one of the names is first used."""
    if name in __all__:
        return getattr(import_module("sparsewire.rl"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names for completion, imported or not."""
    return __all__
