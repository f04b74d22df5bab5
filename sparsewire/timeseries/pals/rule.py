"""Shall a network shrink, rest or expand, and by how many connections?

Pure functions: from validation loss and sparsity to a decision, and from a decision to exact counts
of one layer. Which connections go and come is decided in `sparsewire.timeseries.pals.method`.

References
----------
Atashgahi et al. (2024). Adaptive sparsity level during training for efficient time series
forecasting with transformers. ECML-PKDD 2024; arXiv:2305.18382.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

from sparsewire.core._validation import check_fraction, check_positive
from sparsewire.core.errors import InvalidArgumentError, NonFiniteError

State = Literal["shrink", "stable", "expand"]


@dataclass(frozen=True)
class Rule:
    """The constants of the decision.

    Parameters
    ----------
    loss_freedom : float, default 1.1
        Lambda of the paper, which chooses among 1.05, 1.1 and 1.2: the network may shrink while its
        loss is at most this many times the best.
    min_sparsity, max_sparsity : float, default 0.2 and 0.9
        Below the first it always shrinks, from the second on it never does (paper).
    latch : bool, default True
        Whether the network never expands below `min_sparsity` once it has reached that. Without, as
        in the paper, it may oscillate around it.
    smoothing : float, default 0.7
        Weight of the past in the exponential moving average of the loss, which evens out the noise
        of a part of the validation set; 0, as in the paper, takes each loss as it is.

    Raises
    ------
    InvalidArgumentError
        If a value is out of range.

    Examples
    --------
    >>> Rule.reference().smoothing
    0.0
    """

    loss_freedom: float = 1.1
    min_sparsity: float = 0.2
    max_sparsity: float = 0.9
    latch: bool = True
    smoothing: float = 0.7

    def __post_init__(self) -> None:
        if check_positive("loss_freedom", self.loss_freedom) < 1:
            raise InvalidArgumentError(
                f"loss_freedom must be at least 1, got {self.loss_freedom!r}; else even the best "
                "loss would be too large."
            )
        check_fraction("max_sparsity", self.max_sparsity)
        check_fraction("min_sparsity", self.min_sparsity)
        if self.min_sparsity > self.max_sparsity or self.max_sparsity == 1:
            raise InvalidArgumentError(
                "sparsities must satisfy 0 <= min_sparsity <= max_sparsity < 1, got "
                f"{self.min_sparsity} and {self.max_sparsity}."
            )
        if check_fraction("smoothing", self.smoothing) == 1:
            raise InvalidArgumentError("smoothing must be less than 1, got 1.")

    @classmethod
    def reference(
        cls, loss_freedom: float = 1.1, min_sparsity: float = 0.2, max_sparsity: float = 0.9
    ) -> "Rule":
        """Return the rule of the paper: no latch, no smoothing."""
        return cls(loss_freedom, min_sparsity, max_sparsity, latch=False, smoothing=0.0)


@dataclass(frozen=True)
class Memory:
    """What the rule remembers from one decision to the next.

    Attributes
    ----------
    best_loss : float
        Lowest loss so far, infinite at first.
    best_sparsity : float
        Sparsity of the network that had it.
    loss : float or None
        The smoothed loss of the last decision.
    latched : bool
        Whether the minimum sparsity has been reached.
    """

    best_loss: float = math.inf
    best_sparsity: float = 0.0
    loss: float | None = None
    latched: bool = False


def decide(rule: Rule, memory: Memory, loss: float, sparsity: float) -> tuple[State, Memory]:
    """Return what to do with a network of this validation loss and sparsity.

    Parameters
    ----------
    rule : Rule
        The constants.
    memory : Memory
        From the decision before; ``Memory()`` for the first.
    loss : float
        Validation loss, finite and not negative.
    sparsity : float
        Share of the weights that are no connections.

    Returns
    -------
    state : {"shrink", "stable", "expand"}
        The decision.
    memory : Memory
        For the next decision. The best loss is updated after the decision, not before.

    Raises
    ------
    NonFiniteError
        If the loss is NaN or infinite.
    InvalidArgumentError
        If the loss is negative, because tolerances are multiples of it.

    Examples
    --------
    >>> rule, memory = Rule.reference(), Memory()
    >>> state, memory = decide(rule, memory, loss=1.0, sparsity=0.3)
    >>> state, decide(rule, memory, loss=1.2, sparsity=0.4)[0]
    ('shrink', 'expand')
    """
    _check_loss(loss)
    smoothed = loss
    if memory.loss is not None and rule.smoothing:
        smoothed = rule.smoothing * memory.loss + (1 - rule.smoothing) * loss
    tolerable = smoothed <= rule.loss_freedom * memory.best_loss
    state: State = "stable"
    if sparsity < rule.min_sparsity or (tolerable and sparsity < rule.max_sparsity):
        state = "shrink"
    elif not tolerable and sparsity > memory.best_sparsity:
        state = "expand"
    latched = memory.latched or (rule.latch and sparsity >= rule.min_sparsity)
    memory = replace(memory, loss=smoothed, latched=latched)
    if smoothed < memory.best_loss:
        memory = replace(memory, best_loss=smoothed, best_sparsity=sparsity)
    return state, memory


def _check_loss(loss: float) -> None:
    if not math.isfinite(loss):
        raise NonFiniteError(f"the validation loss is {loss}; lower the learning rate.")
    if loss < 0:
        raise InvalidArgumentError(
            f"the validation loss must not be negative, got {loss}: how much worse the network may "
            "become is a multiple of its best loss. Add a constant."
        )


def changes(
    state: State,
    present: int,
    numel: int,
    fraction: float,
    prune_factor: float,
    *,
    least: int = 1,
    most: int | None = None,
) -> tuple[int, int]:
    """Return how many connections of a layer to prune, and how many to grow afterwards.

    Shrinking prunes ``ceil(prune_factor * fraction * present)`` and grows that divided by
    `prune_factor`; resting replaces ``ceil(fraction * present)``; expanding prunes as many and
    grows them times `prune_factor` (all in floating point, as the released code does).

    Parameters
    ----------
    state : {"shrink", "stable", "expand"}
        The decision.
    present, numel : int
        Connections and weights of the layer.
    fraction : float
        Present drop fraction, in [0, 1].
    prune_factor : float
        Gamma of the paper, at least 1.
    least : int, default 1
        Shrinking ends at this number of connections.
    most : int or None, default None
        Expanding ends at this number; None means all weights.

    Returns
    -------
    pruned, grown : int
        Growth may choose again what has just been pruned.

    Examples
    --------
    >>> changes("shrink", 1000, 2000, fraction=0.5, prune_factor=1.2)
    (600, 500)
    >>> changes("shrink", 1000, 2000, fraction=0.5, prune_factor=1.2, least=950)
    (600, 550)
    >>> changes("expand", 1000, 2000, fraction=0.5, prune_factor=1.2)
    (500, 600)
    """
    factor = prune_factor if state == "shrink" else 1.0
    pruned = min(math.ceil(factor * fraction * present), present)
    kept = present - pruned
    if state == "shrink":
        wanted = math.floor(pruned / prune_factor)
        # A layer that is below its minimum already, from before, is left as large as it is.
        grown = max(wanted, min(least, present) - kept)
    elif state == "expand":
        wanted = math.floor(prune_factor * pruned)
        grown = min(wanted, max(numel if most is None else most, present) - kept)
    else:
        grown = pruned
    return pruned, min(grown, numel - kept)
