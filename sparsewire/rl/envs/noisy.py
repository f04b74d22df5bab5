"""How does one hide the state among irrelevant features? A wrapper that appends noise to it.

The extremely noisy environments of Grooten et al. (2023), "Automatic Noise Filtering with Dynamic
Sparse Training in Deep Reinforcement Learning", as a Gymnasium wrapper: the noise is part of the
observation, as it would be for a robot with broken sensors. Dynamics, reward and termination are
untouched. `sparsewire.rl.envs.replay` has the variant in which replayed transitions get new noise.
"""

from typing import Any, Literal, SupportsFloat, cast

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from sparsewire.core._validation import check_integer, suggest
from sparsewire.core.errors import InvalidArgumentError, UnsupportedError
from sparsewire.rl.envs._random import named_generator
from sparsewire.rl.envs.layout import NoiseLayout, NoisyBox, layout_of, n_noisy_features
from sparsewire.rl.envs.noise import Distribution, Floats, Noise

# Under this key every info dict says in which phase its observation was made.
PHASE_KEY = "noise_phase"
_REFRESH = ("step", "episode")


class NoisyFeatures(
    gym.Wrapper[Floats, Any, npt.NDArray[Any], Any],
    gym.utils.RecordConstructorArgs,
):
    """Append irrelevant features to each observation, and permute all of them now and then.

    An observation of ``d`` features becomes one of ``ceil(d / (1 - noise_fraction))``: the real
    ones first, as float32, then noise. After `permute_every` steps the features are put into a new
    random order, real and noise alike; the agent is not told, it has to find its inputs again.

    The noise has a generator of its own. The base environment therefore runs through the same
    states for every noise fraction, given the same seed and actions. ``reset(seed=s)`` starts that
    generator afresh, but it neither changes the phase nor the count of steps in it: these belong to
    the task, not to the episode. Each ``info`` holds the phase under "noise_phase".

    Parameters
    ----------
    env : gymnasium.Env
        Its observation space must be a one-dimensional ``Box``.
    noise_fraction : float, default 0.9
        Share of the features that are noise, in [0, 1); 0.8 to 0.99 in Grooten et al. (2023).
        Taken as the decimal number it prints as, so that 17 features at 0.9 become exactly 170.
    noise_std : float, default 1
        Standard deviation of the noise, at least 0; for the named distributions only.
    distribution : {"normal", "uniform"} or callable, default "normal"
        Named distributions have mean 0. A callable takes a ``numpy.random.Generator`` and a size
        ``(rows, n_noise)`` and returns an array of that size, such as a `FeatureHistogram`. It must
        be picklable, so no lambda.
    refresh : {"step", "episode"}, default "step"
        Whether noise is drawn anew at each step, as published, or once per episode.
    permute_every : int, optional
        The first reset after this many steps starts the next phase, with its own order of the
        features; it then starts counting again. By default the order never changes.
    permutation_seed : int, default 0
        Decides all orders: phase 0 has the features unpermuted, and the order of phase ``k`` is a
        function of this seed and ``k``, equal to that of no earlier phase. Environments with the
        same seed go through the same orders.
    seed : int, optional
        Seeds the noise until the first ``reset(seed=...)``. By default it is unpredictable.

    Attributes
    ----------
    phase : int
        The current phase, from 0.
    steps_in_phase : int
        Steps made in it so far.
    relevant_mask : ndarray of bool of shape (n_features,)
        True where an observation of the current phase holds a real feature.

    Raises
    ------
    InvalidArgumentError
        If an argument is out of range.
    UnsupportedError
        If the observation space is no one-dimensional ``Box``, or the environment is noisy already.

    Examples
    --------
    >>> env = NoisyFeatures(gym.make("Pendulum-v1"), noise_fraction=0.5)
    >>> observation, info = env.reset(seed=0)
    >>> observation.shape, env.relevant_mask.tolist(), info
    ((6,), [True, True, True, False, False, False], {'noise_phase': 0})
    """

    def __init__(
        self,
        env: gym.Env[npt.NDArray[Any], Any],
        noise_fraction: float = 0.9,
        noise_std: float = 1.0,
        distribution: str | Distribution = "normal",
        refresh: Literal["step", "episode"] = "step",
        permute_every: int | None = None,
        permutation_seed: int = 0,
        seed: int | None = None,
    ) -> None:
        gym.utils.RecordConstructorArgs.__init__(
            self,
            noise_fraction=noise_fraction,
            noise_std=noise_std,
            distribution=distribution,
            refresh=refresh,
            permute_every=permute_every,
            permutation_seed=permutation_seed,
            seed=seed,
        )
        gym.Wrapper.__init__(self, env)
        n_real = _count_features(env.observation_space)
        _check_refresh(refresh)
        if permute_every is not None:
            check_integer("permute_every", permute_every, minimum=1)
        self.layout = NoiseLayout(
            n_real,
            n_noisy_features(n_real, noise_fraction),
            Noise(distribution, noise_std),
            per_episode=refresh == "episode",
            permutation_seed=check_integer("permutation_seed", permutation_seed, minimum=0),
        )
        # float32 is exact in the type of the observations, but Gymnasium's Box is not generic.
        self.observation_space = cast(gym.Space[Floats], NoisyBox(self.layout))
        self._permute_every = permute_every
        self._generator = np.random.default_rng() if seed is None else _generator(seed)
        self._phase = 0
        self._next_phase: tuple[int, int] | None = None  # with the steps made in it
        self._steps_in_phase = 0
        self._noise = np.empty((1, 0), np.float32)

    @property
    def phase(self) -> int:
        """The current phase, from 0."""
        return self._phase

    @property
    def steps_in_phase(self) -> int:
        """Steps made in the current phase so far."""
        return self._steps_in_phase

    @property
    def relevant_mask(self) -> npt.NDArray[np.bool_]:
        """True where an observation of the current phase holds a real feature."""
        return self.layout.relevant_mask(self._phase)

    def set_phase(self, phase: int, *, steps: int = 0, hold: bool = False) -> None:
        """Start `phase` at the next reset, to resume a run or to evaluate in its phase.

        Through a vectorised environment: ``env.env_method("set_phase", 1)``.

        Parameters
        ----------
        phase : int
            Non-negative.
        steps : int, default 0
            How many of the `permute_every` steps have been made in it already.
        hold : bool, default False
            Whether to stay in it from then on, whatever `permute_every` says.

        Raises
        ------
        InvalidArgumentError
            If `phase` or `steps` is negative, or there are fewer orders of the features.
        """
        phase = check_integer("phase", phase, minimum=0)
        self.layout.permutation(phase)  # raises now, not at the reset
        self._next_phase = (phase, check_integer("steps", steps, minimum=0))
        if hold:
            self._permute_every = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        """Reset the environment, with `seed` also the noise, and start a phase that is due."""
        observation, info = self.env.reset(seed=seed, options=options)
        if seed is not None:
            self._generator = _generator(seed)
        self._start_due_phase()
        self._draw()
        return self._arranged(observation), {**info, PHASE_KEY: self._phase}

    def step(self, action: Any) -> tuple[Floats, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step the environment; its reward and termination are passed on as they are."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._steps_in_phase += 1
        if not self.layout.per_episode:
            self._draw()
        info = {**info, PHASE_KEY: self._phase}
        return self._arranged(observation), reward, terminated, truncated, info

    def _start_due_phase(self) -> None:
        due = self._next_phase
        if due is None and self._permute_every is not None:
            due = (self._phase + 1, 0) if self._steps_in_phase >= self._permute_every else None
        if due is not None:
            self.layout.permutation(due[0])  # raises if all orders have been used
            self._phase, self._steps_in_phase = due
            self._next_phase = None

    def _draw(self) -> None:
        self._noise = self.layout.noise.draw(self._generator, 1, self.layout.n_noise)

    def _arranged(self, observation: npt.NDArray[Any]) -> Floats:
        features = np.concatenate([observation, self._noise[0]], dtype=np.float32)
        return features[self.layout.permutation(self._phase)] if self._phase else features


def relevant_mask(env: Any) -> npt.NDArray[np.bool_] | None:
    """Find out which features of an environment's observations are real.

    Parameters
    ----------
    env : gymnasium.Env or stable_baselines3 VecEnv
        Any environment, under any number of wrappers such as ``Monitor`` or ``VecNormalize``.

    Returns
    -------
    ndarray of bool of shape (n_features,), or None
        True for real features, in the current phase, that of the first of several environments.
        None if no `NoisyFeatures` is inside or a wrapper outside it replaces the observation space,
        such as one that stacks frames.

    Examples
    --------
    >>> relevant_mask(NoisyFeatures(gym.make("Pendulum-v1"), noise_fraction=0.5)).tolist()
    [True, True, True, False, False, False]
    >>> relevant_mask(gym.make("Pendulum-v1")) is None
    True
    """
    if layout_of(env.observation_space) is None:
        return None
    if isinstance(env, gym.Env):
        mask = env.get_wrapper_attr("relevant_mask")
    else:
        mask = env.get_attr("relevant_mask", indices=0)[0]
    return np.asarray(mask, dtype=np.bool_)


def _generator(seed: int) -> np.random.Generator:
    return named_generator("noise", check_integer("seed", seed, minimum=0))


def _check_refresh(refresh: str) -> None:
    if refresh not in _REFRESH:
        hint = suggest(str(refresh), _REFRESH)
        raise InvalidArgumentError(f"refresh must be 'step' or 'episode', got {refresh!r}.{hint}")


def _count_features(space: gym.Space[Any]) -> int:
    if layout_of(space) is not None:
        raise UnsupportedError("the environment has noise features already; wrap it only once.")
    if not isinstance(space, gym.spaces.Box) or len(space.shape) != 1 or space.shape[0] == 0:
        raise UnsupportedError(
            "NoisyFeatures needs observations that are vectors, a gymnasium.spaces.Box of shape "
            f"(n,), but the observation space is {space}; apply "
            "gymnasium.wrappers.FlattenObservation first."
        )
    return int(space.shape[0])
