"""ITOP: in-time over-parameterisation."""

from dataclasses import dataclass
from typing import Literal

from sparsewire.core.criteria import GROW_RULES, MAGNITUDE, DropRule, GrowRule
from sparsewire.core.errors import InvalidArgumentError
from sparsewire.core.methods.base import BaseDropAndGrow
from sparsewire.core.schedule import Schedule


@dataclass(frozen=True)
class ITOP(BaseDropAndGrow):
    """In-time over-parameterisation (Liu et al., 2021, arXiv:2102.02887).

    Rare rounds that go on to the very end, so that many different connections are tried for long;
    the handle's `exploration_rate` is the paper's in-time over-parameterisation rate.

    Parameters
    ----------
    growth : {"random", "gradient"}, default "random"
        SET-ITOP or RigL-ITOP.
    update_interval : int, default 1500
        Optimizer steps between rounds; the paper's CIFAR setting for random growth. It uses 4000
        for gradient growth, and so does the method name ``"rigl-itop"``.
    drop_fraction : float or Schedule, default 0.5
        Share of connections replaced, annealed to 0.005 by a cosine if `end` is given (the released
        code's values), constant otherwise.
    begin, end : int, int or None, default 0 and None
        Rounds follow optimizer steps in ``begin <= step < end``; the paper goes to the end of
        training, so pass the number of training steps.

    Raises
    ------
    InvalidArgumentError
        If a value is out of range.

    Examples
    --------
    >>> ITOP(end=3001).when.last
    3000
    """

    growth: Literal["random", "gradient"] = "random"
    update_interval: int = 1500
    drop_fraction: float | Schedule = 0.5
    begin: int = 0
    end: int | None = None

    _annealed_to = 0.005

    def __post_init__(self) -> None:
        if self.growth not in tuple(GROW_RULES):
            raise InvalidArgumentError(
                f"growth must be 'random' or 'gradient', got {self.growth!r}."
            )
        super().__post_init__()

    @property
    def _drop(self) -> DropRule:
        return MAGNITUDE

    @property
    def _grow(self) -> GrowRule:
        return GROW_RULES[self.growth]
