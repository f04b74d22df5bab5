"""What is worth doing before there is a reward? Seeing what has not been seen.

PEBBLE (Lee et al., 2021, arXiv:2106.05091) begins with an unsupervised phase, in which the agent is
rewarded for the entropy of the states it visits, estimated by the distance to the k-th nearest
neighbour among them. Here the reward of a step is computed once, when it is made, against what had
been observed until then; the code of PEBBLE's authors computes it anew whenever a transition is
replayed, and divides it by a running standard deviation.
"""

import numpy as np
import numpy.typing as npt

from sparsewire.core._validation import check_integer

Floats = npt.NDArray[np.float32]

NEIGHBOUR = 5
"""Which neighbour's distance counts; the value of B-Pref's released code (``topK``)."""


def state_entropy_reward(observations: Floats, memory: Floats, k: int = NEIGHBOUR) -> Floats:
    """Return ``log(1 + distance to the k-th nearest of the remembered observations)``.

    Where most features are noise, distances say little about the state: this phase then rewards
    almost everything alike, and works like exploring at random.

    Parameters
    ----------
    observations : ndarray of shape (n, n_observation)
        Whose novelty is asked for.
    memory : ndarray of shape (m, n_observation)
        Observations to compare with, without the former.
    k : int, default 5
        Which neighbour; the farthest if there are fewer.

    Returns
    -------
    ndarray of float32 of shape (n,)
        Non-negative; 0 if there is nothing to compare with.

    Examples
    --------
    >>> memory = np.array([[0.0], [1.0], [3.0]], np.float32)
    >>> np.expm1(state_entropy_reward(np.zeros((1, 1), np.float32), memory, k=2)).round(4)
    array([1.], dtype=float32)
    """
    k = min(check_integer("k", k, minimum=1), len(memory))
    if k == 0:
        return np.zeros(len(observations), np.float32)
    # One observation at a time: the memory is wide, and a handful of environments step at once.
    squares = np.stack([np.square(memory - row).sum(axis=1) for row in observations])
    nearest = np.partition(squares, k - 1, axis=1)[:, k - 1]
    rewards: Floats = np.log1p(np.sqrt(nearest)).astype(np.float32)
    return rewards
