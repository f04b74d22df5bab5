"""Which features does an order keep, and which rank does each one have?"""

import numpy as np
import numpy.typing as npt


def ranked(
    order: npt.NDArray[np.intp], count: int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Return support and ranking, by scikit-learn's convention for ``RFE``.

    Parameters
    ----------
    order : ndarray of shape (n_features,)
        Feature indices, best first.
    count : int
        How many to keep.

    Returns
    -------
    support : ndarray of bool, shape (n_features,)
        The features that are kept.
    ranking : ndarray of int64, shape (n_features,)
        1 for each of these, then 2, 3, ... in the given order.

    Examples
    --------
    >>> support, ranking = ranked(np.array([2, 0, 3, 1]), 2)
    >>> support.tolist(), ranking.tolist()
    ([True, False, True, False], [1, 3, 1, 2])
    """
    support = np.zeros(len(order), dtype=bool)
    support[order[:count]] = True
    ranking = np.ones(len(order), dtype=np.int64)
    ranking[order[count:]] = np.arange(2, len(order) - count + 2)
    return support, ranking
