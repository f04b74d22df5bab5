"""How is an agent evaluated in the phase it trains in? The evaluation environment is told.

When `NoisyFeatures` permutes the features of the training environment, an evaluation environment
with a count of its own would permute them at another time, or never.
"""

from typing import Any

import gymnasium as gym
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from sparsewire.core.errors import InvalidArgumentError
from sparsewire.rl.envs.layout import NoiseLayout, layout_of
from sparsewire.rl.envs.noisy import PHASE_KEY


class PhaseCallback(BaseCallback):
    """Keep an evaluation environment in the phase of the training environment.

    Give it before the ``EvalCallback`` in the list of callbacks. The evaluation environment takes
    up a phase at its next reset, with which an evaluation begins, and no longer counts steps
    itself. Of several training environments in different phases, the latest phase counts.

    Parameters
    ----------
    eval_env : gymnasium.Env or VecEnv
        Made like the training environment, with the same ``permutation_seed``.
    verbose : int, default 0
        1 prints each change.

    Raises
    ------
    InvalidArgumentError
        If `eval_env` has no `NoisyFeatures`, or when training starts, if the training environment
        has none or goes through other orders of the features.

    Examples
    --------
    >>> import sparsewire.rl
    >>> from stable_baselines3.common.callbacks import EvalCallback
    >>> eval_env = gym.make("NoisyPendulum-v1", permute_every=1000)
    >>> callbacks = [PhaseCallback(eval_env), EvalCallback(eval_env, eval_freq=500)]
    """

    def __init__(self, eval_env: gym.Env[Any, Any] | VecEnv, verbose: int = 0) -> None:
        super().__init__(verbose)
        self.eval_env = eval_env
        self._layout = _layout(eval_env, "eval_env")
        self._phase = -1

    def _on_training_start(self) -> None:
        training = _layout(self.training_env, "the training environment")
        for name in ("n_real", "n_features", "permutation_seed"):
            ours, theirs = getattr(self._layout, name), getattr(training, name)
            if ours != theirs:
                raise InvalidArgumentError(
                    f"eval_env has {name}={ours} but the training environment {name}={theirs}; "
                    "make both with the same arguments, or their phases mean different orders."
                )
        self._phase = -1  # whatever the evaluation environment has done since the last training
        self._follow(self.training_env.get_attr("phase"))

    def _on_step(self) -> bool:
        self._follow([info[PHASE_KEY] for info in self.locals["infos"]])
        return True

    def _follow(self, phases: list[int]) -> None:
        phase = max(phases)
        if phase == self._phase:
            return
        self._phase = phase
        if isinstance(self.eval_env, VecEnv):
            self.eval_env.env_method("set_phase", phase, hold=True)
        else:
            self.eval_env.get_wrapper_attr("set_phase")(phase, hold=True)
        if self.verbose:
            print(f"Evaluating in phase {phase}")  # noqa: T201


def _layout(env: gym.Env[Any, Any] | VecEnv, name: str) -> NoiseLayout:
    layout = layout_of(env.observation_space)
    if layout is None:
        raise InvalidArgumentError(
            f"{name} has no noise features; make it with gymnasium.make('Noisy...') or wrap it in "
            "NoisyFeatures."
        )
    return layout
