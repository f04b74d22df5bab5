"""How does one replay transitions as if each had met new noise? Store the state, redraw the rest.

In the published code of Grooten et al. (2023) noise and permutation are part of the networks'
forward pass and the replay buffer holds clean states. This buffer gives any off-policy algorithm of
Stable-Baselines3 that semantics, and needs memory for the real features only.
"""

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import VecNormalize

from sparsewire.core._validation import check_integer
from sparsewire.core.errors import UnsupportedError
from sparsewire.rl.envs._random import named_generator
from sparsewire.rl.envs.layout import layout_of
from sparsewire.rl.envs.noise import Floats
from sparsewire.rl.envs.noisy import PHASE_KEY


class FreshNoiseReplayBuffer(ReplayBuffer):
    """A replay buffer for `NoisyFeatures` that stores real features and draws the noise anew.

    Pass it as ``replay_buffer_class``; it needs no arguments, because the observation space of the
    environment says how the noise is made and every ``info`` says in which phase it is. It uses
    ``n_real / n_features`` of the memory of an ordinary buffer's observations.

    It differs from storing what the agent saw in three ways. A transition has different noise each
    time it is sampled, so noise cannot be memorised. Observation and next observation have
    independent noise (with ``refresh="episode"``, the same). After a permutation, old transitions
    are given in the order of the environment's current phase. In the published code each forward
    pass draws noise of its own; here all networks see the same draw in one gradient step.

    Parameters
    ----------
    buffer_size, observation_space, action_space, device, n_envs
        As for ``stable_baselines3.common.buffers.ReplayBuffer``; the algorithm passes them.
    optimize_memory_usage, handle_timeout_termination : bool
        Likewise.
    seed : int, optional
        Seeds the noise, through ``replay_buffer_kwargs={"seed": 0}``. By default the state of
        NumPy's global generator at construction does, without advancing it: Stable-Baselines3 has
        just seeded that with the algorithm's own ``seed``, so that one seed is enough.

    Attributes
    ----------
    phases : ndarray of int64 of shape (n_envs,)
        The phase each environment was in at its last transition. It is saved with the buffer; to
        resume, call ``env.set_phase`` with it.

    Raises
    ------
    UnsupportedError
        If the observations are not those of `NoisyFeatures`, or a wrapper changed them.
    InvalidArgumentError
        If `seed` is no non-negative integer.

    Examples
    --------
    >>> import gymnasium as gym
    >>> from stable_baselines3 import TD3
    >>> import sparsewire.rl
    >>> env = gym.make("NoisyPendulum-v1", noise_fraction=0.98)
    >>> model = TD3("MlpPolicy", env, buffer_size=1000, replay_buffer_class=FreshNoiseReplayBuffer)
    >>> model.replay_buffer.observations.shape, model.observation_space.shape
    ((1000, 1, 3), (150,))
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        device: torch.device | str = "auto",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
        handle_timeout_termination: bool = True,
        seed: int | None = None,
    ) -> None:
        layout = layout_of(observation_space)
        if layout is None:
            raise UnsupportedError(
                "FreshNoiseReplayBuffer needs the observations of NoisyFeatures as they are, but "
                f"the observation space is {observation_space}; wrap the environment in "
                "NoisyFeatures, outermost of the wrappers that change observations, or leave "
                "replay_buffer_class out."
            )
        super().__init__(
            buffer_size,
            spaces.Box(-np.inf, np.inf, (layout.n_real,), np.float32),  # what is stored
            action_space,
            device,
            n_envs,
            optimize_memory_usage,
            handle_timeout_termination,
        )
        self.layout = layout
        self.phases = np.zeros(n_envs, dtype=np.int64)
        seed = _seed_of_numpy() if seed is None else check_integer("seed", seed, minimum=0)
        self._generator = named_generator("replay", seed)

    def add(
        self,
        obs: npt.NDArray[Any],
        next_obs: npt.NDArray[Any],
        action: npt.NDArray[Any],
        reward: npt.NDArray[Any],
        done: npt.NDArray[Any],
        infos: list[dict[str, Any]],
    ) -> None:
        """Store the real features of a transition of each environment.

        Parameters
        ----------
        obs, next_obs, action, reward, done : ndarray of shape (n_envs, ...)
            The transitions.
        infos : list of dict
            Each with the phase of its observation under "noise_phase".

        Raises
        ------
        UnsupportedError
            If an info lacks the phase, since a wrapper removed it.
        """
        if not all(PHASE_KEY in info for info in infos):
            raise UnsupportedError(
                f"an info dict lacks {PHASE_KEY!r}, which NoisyFeatures puts there; a wrapper "
                "outside it has to pass infos on."
            )
        self.phases = np.array([info[PHASE_KEY] for info in infos], dtype=np.int64)
        places = np.stack([self.layout.places(int(phase)) for phase in self.phases])
        obs = np.take_along_axis(obs, places, axis=1)
        next_obs = np.take_along_axis(next_obs, places, axis=1)
        super().add(obs, next_obs, action, reward, done, infos)

    def _get_samples(
        self, batch_inds: npt.NDArray[np.int64], env: VecNormalize | None = None
    ) -> ReplayBufferSamples:
        # The same use of NumPy's global generator as in the parent, hence the same transitions.
        envs = np.random.randint(0, high=self.n_envs, size=len(batch_inds))  # noqa: NPY002
        if self.optimize_memory_usage:
            next_states = self.observations[(batch_inds + 1) % self.buffer_size, envs]
        else:
            next_states = self.next_observations[batch_inds, envs]
        noise = self._draw(len(envs))
        next_noise = noise if self.layout.per_episode else self._draw(len(envs))
        observations = self._noisy(self.observations[batch_inds, envs], noise, envs)
        next_observations = self._noisy(next_states, next_noise, envs)
        dones = self.dones[batch_inds, envs] * (1 - self.timeouts[batch_inds, envs])
        rewards = self.rewards[batch_inds, envs].reshape(-1, 1)
        data: tuple[Any, ...] = (
            self._normalize_obs(observations, env),
            self.actions[batch_inds, envs],
            self._normalize_obs(next_observations, env),
            dones.reshape(-1, 1),
            self._normalize_reward(rewards, env),
        )
        return ReplayBufferSamples(*(self.to_torch(array, copy=False) for array in data))

    def _draw(self, rows: int) -> Floats:
        return self.layout.noise.draw(self._generator, rows, self.layout.n_noise)

    def _noisy(self, states: Floats, noise: Floats, envs: npt.NDArray[np.int64]) -> Floats:
        features = np.concatenate([states, noise], axis=1)
        return self.layout.arrange(features, self.phases[envs])


def _seed_of_numpy() -> int:
    """Return a number that depends on the state of NumPy's global generator; only read it."""
    state: Any = np.random.get_state(legacy=False)  # noqa: NPY002
    key = state["state"]["key"].tobytes() + state["state"]["pos"].to_bytes(4, "little")
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little")
