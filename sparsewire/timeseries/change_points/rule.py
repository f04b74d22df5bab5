"""When is a sample an anomaly, and when are anomalies a change?

A member of the ensemble finds a sample anomalous if its loss is a multiple of its usual loss, and
the majority decides. Several anomalies in a row are a change. Nothing here knows of networks: the
rule sees losses and can be tested with made-up ones.

References
----------
Atashgahi, Mocanu, Veldhuis & Pechenizkiy (2022), arXiv:2207.03932.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_FIRST = 8  # samples after the warm-up that are never anomalies
_FEWEST = 4  # ordinary samples since the last change that a usual loss needs


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What counts as an anomaly and as a change.

    Parameters
    ----------
    high, low : float
        Multiples of the usual loss that are anomalous: `high` until `settle` ordinary samples
        were seen since a change, then `low`.
    settle : int
        See above.
    patience : int
        Anomalies in a row that are a change.
    floor : float
        Least usual loss, so that the rounding errors of a constant series are no anomalies.
    """

    high: float
    low: float
    settle: int
    patience: int
    floor: float


@dataclass(frozen=True)
class Verdict:
    """What was found about one sample.

    Attributes
    ----------
    score : float
        Multiple of the usual loss that a majority of the members reaches or exceeds.
    votes : int
        Members that find the sample anomalous.
    anomalous, changed : bool
        Whether a majority does, and whether that completes a change.
    """

    score: float
    votes: int
    anomalous: bool
    changed: bool


class Rule:
    """The running state of the decision; constant in size.

    Parameters
    ----------
    thresholds : Thresholds
        What counts.
    usual : ndarray of shape (n_members,)
        Mean loss of each member on the warm-up block.
    n_ordinary : int
        How many losses that is the mean of.

    Attributes
    ----------
    usual : ndarray of shape (n_members,)
        Mean loss of each member since the last change.
    n_ordinary, n_judged, run : int
        Ordinary samples since the last change, samples judged, and anomalies in a row now.

    Examples
    --------
    >>> thresholds = Thresholds(high=4.0, low=1.4, settle=7, patience=1, floor=1e-8)
    >>> rule = Rule(thresholds, np.ones(3), n_ordinary=20)
    >>> for _ in range(9):  # the first ones are never anomalies
    ...     verdict = rule.judge(np.array([5.0, 2.0, 1.0]))
    >>> rule.judge(np.array([5.0, 2.0, 1.0]))
    Verdict(score=2.0, votes=2, anomalous=True, changed=True)
    """

    def __init__(self, thresholds: Thresholds, usual: Floats, n_ordinary: int) -> None:
        self.thresholds = thresholds
        self.usual = usual
        self.n_ordinary = n_ordinary
        self.n_judged = 0
        self.run = 0

    def judge(self, losses: Floats) -> Verdict:
        """Judge the next sample by the members' losses before they learn from it.

        Parameters
        ----------
        losses : ndarray of shape (n_members,)
            Losses.

        Returns
        -------
        Verdict
            After a change the caller calls `restart`, after an ordinary sample `learn`.
        """
        limits = self.thresholds
        ratios = losses / np.maximum(self.usual, limits.floor)
        majority = len(ratios) // 2 + 1
        score = float(np.sort(ratios)[-majority])
        threshold = limits.low if self.n_ordinary > limits.settle else limits.high
        settled = self.n_judged > _FIRST and self.n_ordinary > _FEWEST
        anomalous = settled and score >= threshold
        self.n_judged += 1
        self.run = self.run + 1 if anomalous else 0
        votes = int((ratios >= threshold).sum())
        changed = self.run >= limits.patience
        return Verdict(score, votes, anomalous, changed)

    def learn(self, losses: Floats) -> None:
        """Let the losses on an ordinary sample enter the usual ones."""
        self.n_ordinary += 1
        self.usual = self.usual + (losses - self.usual) / self.n_ordinary

    def restart(self, usual: Floats) -> None:
        """Begin a new segment with these usual losses, which the next ordinary sample replaces."""
        self.usual = usual
        self.n_ordinary = 0
        self.run = 0
