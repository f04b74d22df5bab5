"""Which of two segments would a teacher prefer who knows the true reward? And how reliably?

The scripted teacher of PEBBLE (Lee et al., 2021, arXiv:2106.05091) prefers the larger true return;
B-Pref (Lee et al., 2021, arXiv:2111.03026) makes it fallible. Of B-Pref's teachers, the one that
skips queries and the one that discounts early steps are not here.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsewire.core._validation import check_fraction, check_integer, check_positive
from sparsewire.core.errors import InvalidArgumentError
from sparsewire.rl.envs._random import named_generator

Floats = npt.NDArray[np.float32]


class ScriptedTeacher:
    """Prefers the segment with the larger true return, with the flaws that are asked for.

    Parameters
    ----------
    beta : float, default inf
        Rationality: the second segment is preferred with probability
        ``sigmoid(beta * (return_2 - return_1))``. Infinity, PEBBLE's oracle, never errs; 0 guesses.
    mistake_probability : float, default 0
        Share of the preferences that are then turned around, in [0, 1].
    equal_threshold : float, default 0
        Returns that differ by no more than this are called equally good, a label of 0.5, without a
        mistake. B-Pref sets its threshold to a share of the agent's average return; here it is a
        return itself, of one segment.
    seed : int, default 0
        Of guesses and mistakes. Each call draws from a generator of its own.

    Attributes
    ----------
    calls : int
        Calls of `compare` so far; the number of the next generator.

    Raises
    ------
    InvalidArgumentError
        If an argument is out of range.

    Examples
    --------
    >>> ScriptedTeacher(equal_threshold=0.5).compare([1.0, 3.0, 2.0], [2.0, 1.0, 2.5]).tolist()
    [1.0, 0.0, 0.5]
    """

    def __init__(
        self,
        beta: float = math.inf,
        mistake_probability: float = 0.0,
        equal_threshold: float = 0.0,
        seed: int = 0,
    ) -> None:
        if not (isinstance(beta, float) and beta == math.inf):
            beta = check_positive("beta", beta, or_zero=True)
        self.beta = beta
        self.mistake_probability = check_fraction("mistake_probability", mistake_probability)
        self.equal_threshold = check_positive("equal_threshold", equal_threshold, or_zero=True)
        self.seed = check_integer("seed", seed, minimum=0)
        self.calls = 0

    def probabilities(self, first: npt.ArrayLike, second: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return how likely the teacher says that the second segment is better, if not equal.

        Parameters
        ----------
        first, second : array of shape (n,)
            True returns of the two segments of each pair.

        Returns
        -------
        ndarray of float64 of shape (n,)
            Mistakes included.

        Raises
        ------
        InvalidArgumentError
            If the shapes differ or a return is not finite.

        Examples
        --------
        >>> ScriptedTeacher(mistake_probability=0.1).probabilities([0.0], [1.0]).tolist()
        [0.9]
        """
        gap = _gap(first, second)
        if math.isinf(self.beta):
            rational = np.heaviside(gap, 0.5)
        else:
            rational = 0.5 * (1 + np.tanh(0.5 * self.beta * gap))  # the sigmoid, without overflow
        return rational + self.mistake_probability * (1 - 2 * rational)

    def compare(self, first: npt.ArrayLike, second: npt.ArrayLike) -> Floats:
        """Say for each pair of segments which one is better.

        Parameters
        ----------
        first, second : array of shape (n,)
            True returns of the two segments of each pair.

        Returns
        -------
        ndarray of float32 of shape (n,)
            1 where the second is preferred, 0 where the first is, 0.5 where they are equal.

        Raises
        ------
        InvalidArgumentError
            If the shapes differ or a return is not finite.
        """
        gap = _gap(first, second)
        generator = named_generator("teacher", self.seed, self.calls)
        self.calls += 1
        chosen = generator.random(len(gap)) < self.probabilities(first, second)
        labels = np.where(np.abs(gap) <= self.equal_threshold, 0.5, chosen)
        return labels.astype(np.float32)

    def settings(self) -> dict[str, Any]:
        """Return the arguments it was made with, as numbers."""
        names = ("beta", "mistake_probability", "equal_threshold", "seed")
        return {name: getattr(self, name) for name in names}


def _gap(first: npt.ArrayLike, second: npt.ArrayLike) -> npt.NDArray[np.float64]:
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise InvalidArgumentError(
            f"returns must be two vectors of one length, got shapes {a.shape} and {b.shape}."
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InvalidArgumentError(
            "returns must be finite; the environment gave a reward that is NaN or infinite."
        )
    return b - a
