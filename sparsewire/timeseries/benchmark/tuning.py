"""Which pair of PALS' two factors does the paper's protocol choose for a data set and horizon?

Every pair of a grid is run with the first seed, the pair with the lowest validation loss is used
with all seeds. Because a nearly dense network often has the lowest loss, only runs that reached a
sparsity of at least 0.6 compete, if there are such.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Pair = tuple[float, float]

FACTORS = (1.05, 1.1, 1.2)
GRID: tuple[Pair, ...] = tuple(itertools.product(FACTORS, FACTORS))
"""Values of ``prune_factor`` and ``loss_freedom``."""

SPARSE_ENOUGH = 0.6


@dataclass(frozen=True)
class Choice:
    """A pair and how it was chosen.

    Attributes
    ----------
    pair : tuple of (float, float)
        ``prune_factor`` and ``loss_freedom``.
    n_sparse : int
        Runs that reached a sparsity of `SPARSE_ENOUGH`; if there is none, all runs competed.
    n_runs : int
        Runs of the grid that did not fail.
    """

    pair: Pair
    n_sparse: int
    n_runs: int

    @property
    def text(self) -> str:
        """For a cell of a table: pair, and how many runs were sparse enough."""
        return f"{self.pair[0]:g}, {self.pair[1]:g} ({self.n_sparse} of {self.n_runs})"


def choose(runs: Mapping[Pair, Mapping[str, Any]]) -> Choice:
    """Choose the pair with the lowest validation loss.

    Parameters
    ----------
    runs : mapping of pair to mapping
        At least one run, with ``validation_loss`` and ``sparsity``.

    Returns
    -------
    Choice
        Of equally good pairs the first.

    Examples
    --------
    >>> runs = {
    ...     (1.05, 1.05): {"validation_loss": 0.1, "sparsity": 0.2},
    ...     (1.1, 1.05): {"validation_loss": 0.3, "sparsity": 0.6},
    ...     (1.2, 1.05): {"validation_loss": 0.2, "sparsity": 0.9},
    ... }
    >>> choose(runs).text
    '1.2, 1.05 (2 of 3)'
    """
    sparse = {pair: run for pair, run in runs.items() if run["sparsity"] >= SPARSE_ENOUGH}
    competing = sparse or runs
    best = min(competing, key=lambda pair: float(competing[pair]["validation_loss"]))
    return Choice(best, len(sparse), len(runs))
