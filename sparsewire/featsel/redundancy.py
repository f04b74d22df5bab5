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

Floats = npt.NDArray[np.float64]


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
    Time and memory are those of `count` products of a column with X.

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
    """Correlations of single columns with all, without a dense copy of a sparse matrix."""

    def __init__(self, X: Any) -> None:
        if sparse.issparse(X):
            self._X = sparse.csc_array(X, dtype=np.float64)
            self._mean = np.asarray(self._X.mean(axis=0)).ravel()
            squares = np.asarray(self._X.multiply(self._X).sum(axis=0)).ravel()
            norm = np.sqrt(np.maximum(squares - X.shape[0] * self._mean**2, 0))
        else:
            wide = X.astype(np.float64)
            self._X = wide - wide.mean(axis=0)
            self._mean = np.zeros(X.shape[1])
            norm = np.sqrt((self._X**2).sum(axis=0))
        # A constant column correlates with nothing.
        self._norm = np.where(norm > 0, norm, np.inf)

    def with_column(self, place: int) -> Floats:
        """Return the correlation of one column with every column, shape (d,)."""
        column = self._X[:, [place]]
        dense = column.toarray() if sparse.issparse(column) else column
        products = np.asarray(self._X.T @ dense).ravel()
        covariance: Floats = products - self._X.shape[0] * self._mean * self._mean[place]
        correlation: Floats = covariance / (self._norm * self._norm[place])
        return correlation
