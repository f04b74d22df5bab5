"""How much do several selections of features agree, beyond what chance would make of them?

One number for any number of runs of any selector. What to do about a selector that wavers is
answered in `stable`.

References
----------
Nogueira, Sechidis and Brown (2018). On the stability of feature selection algorithms. Journal of
Machine Learning Research 18(174).
"""

import numpy as np
import numpy.typing as npt

from sparsewire.core import InvalidArgumentError


def selection_stability(supports: npt.ArrayLike) -> float:
    """Measure how much several selections of features agree, corrected for chance.

    The measure of Nogueira, Sechidis and Brown (2018): one minus the mean variance of a feature's
    being selected over that of a random selection of the same size. It equals Kuncheva's index
    where all selections have the same size, and allows that they have not.

    Parameters
    ----------
    supports : array-like of bool, shape (n_runs, n_features)
        One selection per row.

    Returns
    -------
    float
        1 if all selections are equal, 0 on average if they are random, at least
        ``-1 / (n_runs - 1)``; nan where every selection holds all features or none, for which the
        measure is not defined.

    Raises
    ------
    InvalidArgumentError
        If there are fewer than two selections, or no feature.

    Examples
    --------
    >>> selection_stability([[True, True, False, False], [True, False, True, False]])
    0.0
    """
    selected = np.asarray(supports, dtype=np.bool_)
    if selected.ndim != 2 or len(selected) < 2 or selected.shape[1] == 0:
        raise InvalidArgumentError(
            "supports must hold at least two selections, one per row, of at least one feature; got "
            f"shape {selected.shape}."
        )
    n_runs = len(selected)
    frequency = selected.mean(axis=0)
    share = float(frequency.mean())
    if share in (0.0, 1.0):
        return float("nan")
    variance = float((frequency * (1 - frequency)).mean()) * n_runs / (n_runs - 1)
    return 1.0 - variance / (share * (1 - share))
