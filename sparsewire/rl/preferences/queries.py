"""Which pairs of segments is the teacher asked about? Random ones, or those that are disputed."""

import numpy as np
import numpy.typing as npt

from sparsewire.core._validation import check_integer, suggest
from sparsewire.core.errors import InvalidArgumentError
from sparsewire.rl.preferences.reward_model import RewardModel
from sparsewire.rl.preferences.segments import SegmentBuffer, Segments

Floats = npt.NDArray[np.float32]

SAMPLING = ("uniform", "disagreement")
CANDIDATES = 10
"""Candidates per query for "disagreement", as in B-Pref's released code (``large_batch``)."""


def check_sampling(sampling: str) -> str:
    """Return `sampling`, or raise `InvalidArgumentError` if it is no way of choosing queries."""
    if sampling not in SAMPLING:
        raise InvalidArgumentError(
            f"sampling must be 'uniform' or 'disagreement', got {sampling!r}."
            f"{suggest(str(sampling), SAMPLING)}"
        )
    return sampling


def choose_queries(
    buffer: SegmentBuffer,
    model: RewardModel,
    n: int,
    length: int,
    generator: np.random.Generator,
    sampling: str = "uniform",
) -> tuple[tuple[Segments, Segments], tuple[Floats, Floats]]:
    """Choose pairs of segments to ask about.

    Parameters
    ----------
    buffer : SegmentBuffer
        Where segments come from.
    model : RewardModel
        Whose members may disagree.
    n : int
        Number of pairs.
    length : int
        Steps in a segment.
    generator : numpy.random.Generator
        Draws the segments.
    sampling : {"uniform", "disagreement"}, default "uniform"
        Random pairs, or of ten times as many those about which the members' probabilities of a
        preference differ most (Christiano et al., 2017).

    Returns
    -------
    pairs : (Segments, Segments)
        The first and the second of each pair.
    returns : (ndarray, ndarray), each of shape (n,)
        Their true returns, for the teacher.

    Raises
    ------
    InvalidArgumentError
        If `sampling` is unknown or `n` no positive integer.
    StateError
        If no episode is long enough yet.

    Examples
    --------
    >>> buffer = SegmentBuffer(n_observation=2, n_action=1)
    >>> for t in range(10):
    ...     buffer.add(np.full((1, 2), t), np.zeros((1, 1)), np.array([t]), np.array([False]))
    >>> model = RewardModel(2, 1, net_arch=[8])
    >>> generator = np.random.default_rng(0)
    >>> pairs, returns = choose_queries(buffer, model, 4, 5, generator, "disagreement")
    >>> len(pairs[0]), returns[1].shape
    (4, (4,))
    """
    n = check_integer("n", n, minimum=1)
    drawn = n if check_sampling(sampling) == "uniform" else n * CANDIDATES
    first, first_returns = buffer.sample(drawn, length, generator)
    second, second_returns = buffer.sample(drawn, length, generator)
    if sampling == "uniform":
        return (first, second), (first_returns, second_returns)
    chosen = most_disputed(model.probabilities(first, second), n)
    return (first.take(chosen), second.take(chosen)), (
        first_returns[chosen],
        second_returns[chosen],
    )


def most_disputed(probabilities: Floats, n: int) -> npt.NDArray[np.int64]:
    """Return which pairs the members of an ensemble disagree about most, worst first.

    Parameters
    ----------
    probabilities : ndarray of shape (n_members, n_pairs)
        How likely every member finds a preference for the second segment.
    n : int
        How many to return.

    Returns
    -------
    ndarray of int64 of shape (n,)
        By falling standard deviation over members; equal ones in their order.

    Examples
    --------
    >>> most_disputed(np.array([[0.5, 0.1, 0.2], [0.5, 0.9, 0.3]], np.float32), 2)
    array([1, 2])
    """
    return np.argsort(-probabilities.std(axis=0), kind="stable")[:n]
