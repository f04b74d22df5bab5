"""Which noisy environments does ``gymnasium.make`` know? The usual ones, as ``Noisy...``.

They are registered as soon as both Gymnasium and `sparsewire.rl` are imported, in either order.
Importing `sparsewire.rl` does not import Gymnasium (0.2 s with NumPy), since the command line
loads it even for ``sparsewire --help``; it only watches for Gymnasium's import.
"""

import importlib.abc
import inspect
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparsewire.rl.envs.noisy import NoisyFeatures

# Each registered name is "Noisy" + one of these.
BASE_IDS = (
    "HalfCheetah-v5",
    "Hopper-v5",
    "Walker2d-v5",
    "Ant-v5",
    "Humanoid-v5",
    "Reacher-v5",
    "Swimmer-v5",
    "InvertedPendulum-v5",
    "InvertedDoublePendulum-v5",
    "Pendulum-v1",
)


def make_noisy(base_id: str, **kwargs: Any) -> "NoisyFeatures":
    """Make an environment with noise features; ``gymnasium.make`` calls this.

    Parameters
    ----------
    base_id : str
        Name of an environment that Gymnasium knows.
    **kwargs
        Arguments of `sparsewire.rl.envs.NoisyFeatures`; all others go to the environment itself.

    Returns
    -------
    NoisyFeatures
        The environment, without a limit on time: ``gymnasium.make`` adds it.

    Examples
    --------
    >>> make_noisy("Pendulum-v1", noise_fraction=0.98, g=9.81).observation_space.shape
    (150,)
    """
    import gymnasium as gym

    from sparsewire.rl.envs.noisy import NoisyFeatures

    known = inspect.signature(NoisyFeatures).parameters
    noise = {name: kwargs.pop(name) for name in list(kwargs) if name in known}
    base = gym.make(base_id, max_episode_steps=-1, disable_env_checker=True, **kwargs)
    return NoisyFeatures(base, **noise)


def register_noisy_envs() -> None:
    """Register ``NoisyHopper-v5`` and the others now, with their base's time limit and threshold.

    Importing `sparsewire.rl` sees to it; calling it again changes nothing.

    Examples
    --------
    >>> import gymnasium as gym
    >>> register_noisy_envs()
    >>> gym.spec("NoisyHopper-v5").reward_threshold
    3800.0
    """
    from gymnasium.envs.registration import register, registry

    for base_id in BASE_IDS:
        base = registry.get(base_id)
        if base is None or f"Noisy{base_id}" in registry:
            continue
        register(
            f"Noisy{base_id}",
            entry_point=f"{__name__}:make_noisy",
            reward_threshold=base.reward_threshold,
            nondeterministic=base.nondeterministic,
            max_episode_steps=base.max_episode_steps,
            kwargs={**base.kwargs, "base_id": base_id},
        )


def register_when_imported() -> None:
    """Register the environments now, or right after Gymnasium is imported for the first time."""
    if sys.modules.get("gymnasium") is not None:
        register_noisy_envs()
    elif not any(isinstance(finder, _GymnasiumWatcher) for finder in sys.meta_path):
        sys.meta_path.insert(0, _GymnasiumWatcher())


class _GymnasiumWatcher(importlib.abc.MetaPathFinder):
    """Lets the other finders find Gymnasium, and adds one thing to what its loader does."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "gymnasium":
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        specs = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            self._extend(spec.loader)
        return spec

    def _extend(self, loader: importlib.abc.Loader) -> None:
        execute = loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            sys.meta_path.remove(self)
            register_noisy_envs()

        # On the instance, which serves this one module: its class is what importlib.resources
        # looks at, and stays as it is.
        setattr(loader, "exec_module", execute_and_register)  # noqa: B010
