"""Where in a noisy observation are the real features? First, until the features are permuted.

A layout turns real features and noise into an observation and back. It holds no state and draws
nothing on its own, so the environment and a replay buffer can share one.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from numbers import Real
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from sparsewire.core.errors import InvalidArgumentError
from sparsewire.rl.envs._random import named_generator
from sparsewire.rl.envs.noise import Floats, Noise

Indices = npt.NDArray[np.int64]


def n_noisy_features(n_real: int, noise_fraction: float) -> int:
    """Return how many features an observation has of which `noise_fraction` are noise.

    That is ``ceil(n_real / (1 - noise_fraction))``, computed with the decimal number that
    `noise_fraction` prints as: in floating point, 17 real features at 0.9 would give 171.

    Parameters
    ----------
    n_real : int
        Number of real features.
    noise_fraction : float
        In [0, 1).

    Returns
    -------
    int
        Number of features in all.

    Raises
    ------
    InvalidArgumentError
        If `noise_fraction` is not a number in [0, 1).

    Examples
    --------
    >>> n_noisy_features(17, 0.9), n_noisy_features(348, 0.99)
    (170, 34800)
    """
    share: object = noise_fraction
    if isinstance(share, bool) or not isinstance(share, Real) or not 0 <= noise_fraction < 1:
        raise InvalidArgumentError(
            f"noise_fraction must be a number in [0, 1), got {share!r}; 0.9 means that nine "
            "tenths of the features are noise."
        )
    return math.ceil(n_real / (1 - Fraction(str(noise_fraction))))


@lru_cache(maxsize=64)
def permutation(seed: int, phase: int, size: int) -> Indices:
    """Return the order of the features in a phase: feature ``p[i]`` stands at place ``i``.

    A pure function of its arguments: the identity in phase 0, and in each later phase a uniformly
    random order that no earlier phase has. It draws all earlier ones to know, which takes time
    proportional to ``phase * size``.

    Parameters
    ----------
    seed : int
        Non-negative.
    phase : int
        Non-negative and below ``size!``, since there are no more orders.
    size : int
        Number of features.

    Returns
    -------
    ndarray of int64 of shape (size,)
        The order; read-only.

    Raises
    ------
    InvalidArgumentError
        If there are not that many orders.

    Examples
    --------
    >>> permutation(0, 0, 3).tolist()
    [0, 1, 2]
    >>> sorted(permutation(0, 1, 3).tolist())
    [0, 1, 2]
    """
    if size <= 20 and phase >= math.factorial(size):
        raise InvalidArgumentError(
            f"phase {phase} does not exist: {size} features have only {math.factorial(size)} "
            "orders, and none is used twice."
        )
    order = np.arange(size)
    seen = {order.tobytes()}
    for k in range(1, phase + 1):
        generator = named_generator("permutation", seed, k)
        order = generator.permutation(size)
        while order.tobytes() in seen:
            order = generator.permutation(size)
        seen.add(order.tobytes())
    order.setflags(write=False)
    return order


@lru_cache(maxsize=64)
def _places(seed: int, phase: int, size: int, n_real: int) -> Indices:
    places = np.argsort(permutation(seed, phase, size))[:n_real]
    places.setflags(write=False)
    return places


@dataclass(frozen=True)
class NoiseLayout:
    """How real features and noise make up an observation, in every phase.

    Parameters
    ----------
    n_real, n_features : int
        Number of real features, and of features in all.
    noise : Noise
        Distribution of the other features.
    per_episode : bool
        Whether noise stays the same for an episode, hence also for both ends of a transition.
    permutation_seed : int
        Decides the order of the features in each phase but the first.

    Examples
    --------
    >>> layout = NoiseLayout(2, 4, Noise("normal", 1.0), per_episode=False, permutation_seed=0)
    >>> layout.relevant_mask(0).tolist()
    [True, True, False, False]
    >>> features = np.array([[1, 2, -1, -2]], dtype=np.float32)
    >>> observation = layout.arrange(features, np.array([3]))
    >>> observation[0, layout.places(3)].tolist()
    [1.0, 2.0]
    """

    n_real: int
    n_features: int
    noise: Noise
    per_episode: bool
    permutation_seed: int

    @property
    def n_noise(self) -> int:
        """Number of noise features."""
        return self.n_features - self.n_real

    def permutation(self, phase: int) -> Indices:
        """Return the order of the features in `phase`; see `permutation`."""
        return permutation(self.permutation_seed, phase, self.n_features)

    def relevant_mask(self, phase: int) -> npt.NDArray[np.bool_]:
        """Return a bool array of shape (n_features,), true where a real feature stands."""
        return self.permutation(phase) < self.n_real

    def places(self, phase: int) -> Indices:
        """Return the places of the real features in their own order, of shape (n_real,)."""
        return _places(self.permutation_seed, phase, self.n_features, self.n_real)

    def arrange(self, features: Floats, phases: npt.NDArray[np.int64]) -> Floats:
        """Put each row of features, real ones first, into the order of its phase.

        Parameters
        ----------
        features : ndarray of float32 of shape (rows, n_features)
            Changed in place.
        phases : ndarray of int64 of shape (rows,)
            Phase of each row.

        Returns
        -------
        ndarray of float32 of shape (rows, n_features)
            `features`, rearranged.
        """
        for phase in np.unique(phases):
            if phase:
                rows = phases == phase
                features[rows] = features[rows][:, self.permutation(int(phase))]
        return features


class NoisyBox(gym.spaces.Box):
    """The space of noisy observations: an unbounded float32 `Box` that knows its layout.

    It is what tells a replay buffer, which Stable-Baselines3 builds from the spaces alone, about
    the noise. A wrapper that changes the observation replaces the space, and with it the claim.

    Parameters
    ----------
    layout : NoiseLayout
        The layout of the observations.

    Examples
    --------
    >>> layout = NoiseLayout(2, 4, Noise("normal", 1.0), per_episode=False, permutation_seed=0)
    >>> NoisyBox(layout)
    Box(-inf, inf, (4,), float32)
    """

    def __init__(self, layout: NoiseLayout) -> None:
        super().__init__(-np.inf, np.inf, (layout.n_features,), np.float32)
        self.layout = layout


def layout_of(space: gym.Space[Any]) -> NoiseLayout | None:
    """Return the layout of the observations in `space`, or None if they are not noisy ones."""
    return space.layout if isinstance(space, NoisyBox) else None
