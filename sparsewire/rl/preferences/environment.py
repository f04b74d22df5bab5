"""How does an agent get learned rewards without knowing? Its environment gives it nothing else.

`LearnedReward` stands between environments and algorithm, and `ActionEncoder` brings actions into
the form in which both the environment's and the replay buffer's can be given to a reward model.
"""

from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from stable_baselines3.common.env_util import is_wrapped
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from sparsewire.core.errors import UnsupportedError

Floats = npt.NDArray[np.float32]

TRUE_REWARD_KEY = "true_reward"
"""Under this key every info dict has the reward that the environment gave."""


class ActionEncoder:
    """Turns actions into vectors of numbers around 1.

    Continuous actions are scaled to [-1, 1], as Stable-Baselines3 stores them in replay buffers;
    discrete ones become one-hot vectors.

    Parameters
    ----------
    space : gymnasium.spaces.Box or Discrete
        A bounded vector, or numbered actions.

    Attributes
    ----------
    size : int
        Length of an encoded action.

    Raises
    ------
    UnsupportedError
        If it is another kind of space.

    Examples
    --------
    >>> encoder = ActionEncoder(spaces.Box(-2, 2, (1,)))
    >>> encoder(np.array([[1.0]])), encoder.of_buffer(np.array([[0.5]]))
    (array([[0.5]], dtype=float32), array([[0.5]], dtype=float32))
    >>> ActionEncoder(spaces.Discrete(3))(np.array([2]))
    array([[0., 0., 1.]], dtype=float32)
    """

    def __init__(self, space: spaces.Space[Any]) -> None:
        if isinstance(space, spaces.Discrete):
            self.size = int(space.n)
        elif isinstance(space, spaces.Box) and _is_bounded_vector(space):
            self.size = int(space.low.size)
        else:
            raise UnsupportedError(
                "learned rewards need actions that are bounded vectors or numbers, a Box of shape "
                f"(n,) or a Discrete space, but the environment has {space}."
            )
        self._space = space

    def __call__(self, actions: npt.NDArray[Any]) -> Floats:
        """Encode actions as the environment gets them, of shape (..., n) or (...)."""
        if not isinstance(self._space, spaces.Box):
            return self._one_hot(actions)
        low, high = self._space.low, self._space.high
        scaled: Floats = (2 * (actions - low) / (high - low) - 1).astype(np.float32)
        return scaled

    def of_buffer(self, actions: npt.NDArray[Any]) -> Floats:
        """Encode actions as a replay buffer holds them, of shape (..., n) or (..., 1)."""
        if isinstance(self._space, spaces.Box):
            return actions.astype(np.float32)
        return self._one_hot(actions[..., 0])

    def _one_hot(self, actions: npt.NDArray[Any]) -> Floats:
        assert isinstance(self._space, spaces.Discrete)
        numbers = np.asarray(actions, dtype=np.int64) - int(self._space.start)
        encoded: Floats = np.eye(self.size, dtype=np.float32)[numbers]
        return encoded


def _is_bounded_vector(space: spaces.Box) -> bool:
    return space.low.ndim == 1 and bool(np.isfinite([space.low, space.high]).all())


class RewardSource(Protocol):
    """What gives the rewards, and learns what happened."""

    def reward(self, observations: Floats, actions: Floats) -> Floats:
        """Return the reward of a step of each environment."""

    def remember(
        self,
        observations: Floats,
        actions: Floats,
        rewards: npt.NDArray[Any],
        dones: npt.NDArray[Any],
    ) -> None:
        """Take note of a step of each environment and its true reward."""

    def interrupt(self) -> None:
        """Take note that the environments are being reset."""


class LearnedReward(VecEnvWrapper):
    """Environments whose rewards are a model's; the true ones are in ``info["true_reward"]``.

    A ``Monitor`` inside goes on reporting true returns.

    Parameters
    ----------
    venv : VecEnv
        The environments.
    source : RewardSource or None
        What gives the rewards. None passes the true ones on: an evaluation environment wrapped like
        the training environment, as Stable-Baselines3 wants it.
    """

    def __init__(self, venv: VecEnv, source: RewardSource | None) -> None:
        super().__init__(venv)
        self._encode = ActionEncoder(venv.action_space)
        self._source = source
        self._observations = np.empty(0, np.float32)
        self._actions = np.empty(0, np.float32)

    def reset(self) -> Any:
        """Reset the environments."""
        observations = self.venv.reset()
        self._observations = np.array(observations, dtype=np.float32)
        if self._source is not None:
            self._source.interrupt()
        return observations

    def step_async(self, actions: npt.NDArray[Any]) -> None:
        """Begin a step."""
        self._actions = self._encode(np.asarray(actions))
        self.venv.step_async(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Finish the step, and replace its rewards."""
        observations, rewards, dones, infos = self.venv.step_wait()
        for info, reward in zip(infos, rewards, strict=True):
            info[TRUE_REWARD_KEY] = float(reward)
        if self._source is None:
            return observations, rewards, dones, infos
        learned = self._source.reward(self._observations, self._actions)
        self._source.remember(self._observations, self._actions, rewards, dones)
        self._observations = np.array(observations, dtype=np.float32)
        return observations, learned, dones, infos


def as_vec_env(env: gym.Env[Any, Any] | VecEnv) -> VecEnv:
    """Return vectorised environments as they are, and one environment as Stable-Baselines3 would.

    Examples
    --------
    >>> as_vec_env(gym.make("Pendulum-v1")).num_envs
    1
    """
    if isinstance(env, VecEnv):
        return env
    if not isinstance(env, gym.Env):
        raise UnsupportedError(
            f"env must be a gymnasium.Env or a VecEnv, got {type(env).__name__}."
        )
    monitored = env if is_wrapped(env, Monitor) else Monitor(env)
    return DummyVecEnv([lambda: monitored])


def layers_of_env(env: VecEnv) -> list[VecEnv]:
    """Return vectorised environments and everything inside them, outermost first."""
    layers = [env]
    while isinstance(layers[-1], VecEnvWrapper):
        layers.append(layers[-1].venv)
    return layers
