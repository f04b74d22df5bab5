"""How does one avoid choosing the same information twice?

Importances rank features one by one, so copies of a good feature are all chosen. Here features are
chosen one after another, each for its importance minus its mean absolute correlation with those
chosen before, in the spirit of minimum redundancy, maximum relevance (Peng, Long & Ding, 2005,
IEEE TPAMI 27:1226).
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from sparsewire.featsel.rows import Floats, column_extremes, column_moments


def greedy_order(X: Any, importances: Floats, count: int, weight: float) -> npt.NDArray[np.intp]:
    """Choose features one by one by importance minus redundancy.

    Parameters
    ----------
    X : ndarray or CSR matrix, shape (n, d)
        The data.
    importances : ndarray of shape (d,)
        Non-negative; divided by their largest here.
    count : int
        How many to choose, at most d.
    weight : float
        Of the redundancy, which is a mean absolute correlation, in [0, 1]; 0 is order by
        importance.

    Returns
    -------
    ndarray of intp, shape (count,)
        Column indices in the order of choice. A choice does not depend on how many follow.

    Notes
    -----
    Takes `count` products of a column with X and, of a dense X, one copy in float64.

    Examples
    --------
    >>> X = np.array([[0.0, 0.0, 1.0], [1.0, 1.0, 0.0], [2.0, 2.0, 1.0], [3.0, 3.0, 0.0]])
    >>> greedy_order(X, np.array([3.0, 2.9, 2.6]), 2, weight=0.5).tolist()
    [0, 2]
    """
    correlate = _Correlation(X)
    relevance = importances / max(float(importances.max()), np.finfo(np.float64).tiny)
    overlap = np.zeros(len(relevance))
    free = np.ones(len(relevance), dtype=bool)
    chosen: list[int] = []
    for _ in range(count):
        gain = relevance - weight * overlap / max(1, len(chosen))
        best = int(np.where(free, gain, -np.inf).argmax())
        chosen.append(best)
        free[best] = False
        overlap += np.abs(correlate.with_column(best))
    return np.array(chosen, dtype=np.intp)


class _Correlation:
    """Correlations of single columns with all, without a dense copy of a sparse matrix.

    Columns are divided by their largest magnitude first, so that no square overflows or vanishes.
    """

    def __init__(self, X: Any) -> None:
        n_rows = X.shape[0]
        largest = np.maximum(*map(np.abs, column_extremes(X)))
        scale = np.where(largest > 0, largest, 1.0)
        if sparse.issparse(X):
            self._X = sparse.csc_array(X, dtype=np.float64) @ sparse.diags_array(1 / scale)
            self._mean, deviation = column_moments(sparse.csr_array(self._X))
            norm = deviation * np.sqrt(n_rows)
        else:
            self._X = X / scale
            self._X -= self._X.mean(axis=0)
            self._mean = np.zeros(X.shape[1])
            norm = np.sqrt(np.einsum("ij,ij->j", self._X, self._X))
        # A constant column correlates with nothing.
        self._norm = np.where(norm > 0, norm, np.inf)

    def with_column(self, place: int) -> Floats:
        """Return the correlation of one column with every column, shape (d,)."""
        column = self._X[:, [place]]
        dense = column.toarray().ravel() if sparse.issparse(column) else column.ravel()
        centred = dense - self._mean[place]
        covariance = np.asarray(self._X.T @ centred).ravel() - self._mean * centred.sum()
        correlation: Floats = covariance / (self._norm * self._norm[place])
        return correlation
