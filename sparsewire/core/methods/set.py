"""SET: sparse evolutionary training."""

from dataclasses import dataclass
from typing import Literal

from sparsewire.core._validation import check_positive
from sparsewire.core.criteria import DROP_RULES, RANDOM, DropRule, GrowRule
from sparsewire.core.errors import InvalidArgumentError
from sparsewire.core.methods.base import BaseDropAndGrow
from sparsewire.core.schedule import Constant, Schedule


@dataclass(frozen=True)
class SET(BaseDropAndGrow):
    """Sparse evolutionary training (Mocanu et al., 2018, Nature Communications 9:2383).

    Parameters
    ----------
    update_interval : int, default 100
        Optimizer steps between rounds. The paper makes one round per epoch; pass the number of
        batches per epoch for that.
    drop_fraction : float or Schedule, default Constant(0.3)
        Share of each layer's connections replaced in a round; the paper's constant 0.3. A plain
        number together with `end` is annealed to 0 by a cosine.
    drop : {"sign", "magnitude"}, default "sign"
        "sign" is the paper's rule: the fraction nearest to zero of each sign. "magnitude" ignores
        the sign, which later papers also call SET.
    begin, end : int, int or None, default 0 and None
        Rounds follow optimizer steps in ``begin <= step < end``.
    grown_std : float, default 0
        Standard deviation of the normal initial value of new connections; 0 starts them at zero,
        as SET's masked code does. Its truly sparse code uses 0.1.

    Raises
    ------
    InvalidArgumentError
        If a value is out of range.

    Examples
    --------
    >>> SET(update_interval=50).when.due(50)
    True
    """

    update_interval: int = 100
    drop_fraction: float | Schedule = Constant(0.3)
    drop: Literal["sign", "magnitude"] = "sign"
    begin: int = 0
    end: int | None = None
    grown_std: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.drop not in tuple(DROP_RULES):
            raise InvalidArgumentError(f"drop must be 'sign' or 'magnitude', got {self.drop!r}.")
        check_positive("grown_std", self.grown_std, or_zero=True)

    @property
    def _drop(self) -> DropRule:
        return DROP_RULES[self.drop]

    @property
    def _grow(self) -> GrowRule:
        return RANDOM

    @property
    def _keep_regrown(self) -> bool:
        return False

    @property
    def _grown_std(self) -> float:
        return self.grown_std
