"""RigL: rigging the lottery."""

from dataclasses import dataclass

from sparsewire.core.criteria import GRADIENT, MAGNITUDE, DropRule, GrowRule
from sparsewire.core.methods.base import BaseDropAndGrow
from sparsewire.core.schedule import Schedule


@dataclass(frozen=True)
class RigL(BaseDropAndGrow):
    """Rigging the lottery (Evci et al., 2020, arXiv:1911.11134).

    The smallest weights go, the inactive connections with the largest gradient come. A connection
    dropped and grown in the same round is untouched. Unlike the released code, the optimizer step
    before a round is not skipped.

    Parameters
    ----------
    update_interval : int, default 100
        Optimizer steps between rounds (the paper's ImageNet setting).
    drop_fraction : float or Schedule, default 0.3
        Share of each layer's connections replaced in the first round (the paper's 0.3), annealed to
        0 by a cosine if `end` is given, constant otherwise.
    begin, end : int, int or None, default 0 and None
        Rounds follow optimizer steps in ``begin <= step < end``. The paper stops at about three
        quarters of training, so ``end=int(0.75 * steps)`` is a good value.

    Raises
    ------
    InvalidArgumentError
        If a value is out of range.

    Examples
    --------
    >>> method = RigL(end=1000)
    >>> round(method.schedule(500), 6)
    0.15
    """

    update_interval: int = 100
    drop_fraction: float | Schedule = 0.3
    begin: int = 0
    end: int | None = None

    @property
    def _drop(self) -> DropRule:
        return MAGNITUDE

    @property
    def _grow(self) -> GrowRule:
        return GRADIENT
