"""Which rows does a protocol train on? The split that all papers share, or the canonical one."""

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import train_test_split

_TEST_SIZE = 0.2
_SPLIT_SEED = 42

Rows = npt.NDArray[np.intp]


def split_rows(
    labels: npt.NDArray[Any], *, n_train: int | None, stratify: bool
) -> tuple[Rows, Rows]:
    """Return the training and the test rows.

    Parameters
    ----------
    labels : ndarray of shape (n_samples,)
        Class labels.
    n_train : int or None
        The first `n_train` rows are the training rows. None splits at random, 80/20 with the fixed
        seed 42, as in the papers.
    stratify : bool
        Whether a random split keeps the share of every class.

    Returns
    -------
    tuple of (ndarray of intp, ndarray of intp)
        Row indices.

    Raises
    ------
    ValueError
        If `n_train` leaves no training or no test row, or a class is too small to stratify.

    Examples
    --------
    >>> train, test = split_rows(np.array([0, 1, 0, 1]), n_train=3, stratify=False)
    >>> train.tolist(), test.tolist()
    ([0, 1, 2], [3])
    """
    rows = np.arange(len(labels))
    if n_train is None:
        train, test = train_test_split(
            rows,
            test_size=_TEST_SIZE,
            random_state=_SPLIT_SEED,
            stratify=labels if stratify else None,
        )
        return train, test
    if not 1 <= n_train < len(labels):
        raise ValueError(
            f"n_train={n_train!r} is out of range: with {len(labels)} rows it must be between 1 "
            f"and {len(labels) - 1}, or None for a random split."
        )
    return rows[:n_train], rows[n_train:]
