"""How many features are worth choosing? As many as beat their own shadows.

Every column is joined by a shadow, the same values in random order, which can only look important
by chance. Trained on both, features more important than the best shadow are kept: the idea of
Boruta (Kursa & Rudnicki, 2010, Journal of Statistical Software 36(11)), with one training.
"""

from typing import Any

import numpy as np
from scipy import sparse


def with_shadows(X: Any, generator: np.random.Generator) -> Any:
    """Return X with a shuffled copy of every column appended.

    Parameters
    ----------
    X : ndarray or CSR matrix, shape (n, d)
        The data; not changed.
    generator : numpy.random.Generator
        Source of the orders, one for each column.

    Returns
    -------
    ndarray or CSR matrix, shape (n, 2 d)
        Shadow j is column d + j.

    Examples
    --------
    >>> X = np.array([[0, 5], [1, 6], [2, 7]])
    >>> shadowed = with_shadows(X, np.random.default_rng(0))
    >>> sorted(shadowed[:, 2].tolist()), sorted(shadowed[:, 3].tolist())
    ([0, 1, 2], [5, 6, 7])
    """
    if not sparse.issparse(X):
        return np.hstack([X, generator.permuted(X, axis=0)])
    shadows = sparse.csc_array(X, copy=True)
    shadows.sum_duplicates()
    for column in range(X.shape[1]):
        begin, end = shadows.indptr[column : column + 2]
        rows = generator.choice(X.shape[0], end - begin, replace=False)
        shadows.indices[begin:end] = rows
    shadows.has_sorted_indices = False
    return sparse.hstack([X, shadows], format="csr")
