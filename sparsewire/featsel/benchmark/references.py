"""What must a selector be better than? scikit-learn's own selectors, ready for the benchmark.

Every column, the variance, the F-test, mutual information and the importances of trees. All are
`sklearn.feature_selection` classes with a score; those of this package are in ``filters``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.feature_selection import SelectFromModel, SelectKBest, f_classif, mutual_info_classif

Floats = npt.NDArray[np.float64]
Score = Callable[[npt.NDArray[Any], npt.NDArray[Any]], Floats]

_BINS = 10


def best_by_score(score: Score, *, k: int, seed: int, dataset: str) -> SelectKBest:
    """Keep the `k` columns with the highest score; the other arguments mean nothing here.

    Parameters
    ----------
    score : callable
        From rows and labels to one score per column.
    k, seed, dataset
        As every factory is told.

    Returns
    -------
    sklearn.feature_selection.SelectKBest
        Unfitted.

    Examples
    --------
    >>> X, y = np.array([[1.0, 5.0], [1.0, 6.0], [1.0, 9.0]]), np.array([0, 0, 1])
    >>> best_by_score(anova_f, k=1, seed=0, dataset="").fit(X, y).get_support()
    array([False,  True])
    """
    return SelectKBest(score, k=k)


def every_feature(*, k: int, seed: int, dataset: str) -> SelectKBest:
    """Keep all columns, whatever is asked for.

    Parameters
    ----------
    k, seed, dataset
        As every factory is told.

    Returns
    -------
    sklearn.feature_selection.SelectKBest
        Unfitted.
    """
    return SelectKBest(no_preference, k="all")


def extra_trees(*, k: int, seed: int, dataset: str, n_estimators: int = 500) -> SelectFromModel:
    """Keep the `k` columns most important to extremely randomised trees.

    Parameters
    ----------
    k, seed, dataset
        As every factory is told.
    n_estimators : int, default=500
        Trees.

    Returns
    -------
    sklearn.feature_selection.SelectFromModel
        Unfitted.
    """
    trees = ExtraTreesClassifier(n_estimators, random_state=seed)
    return SelectFromModel(trees, max_features=k, threshold=-np.inf)


def no_preference(X: npt.NDArray[Any], y: npt.NDArray[Any]) -> Floats:
    """Return 0 for every column.

    Examples
    --------
    >>> no_preference(np.ones((3, 2)), np.ones(3))
    array([0., 0.])
    """
    return np.zeros(X.shape[1])


def scaled_variance(X: npt.NDArray[Any], y: npt.NDArray[Any]) -> Floats:
    """Return the variance of every column scaled to [0, 1]; 0 for a constant one.

    Unscaled, it would rank units of measurement; with standard scores all would be 1.

    Examples
    --------
    >>> scaled_variance(np.array([[0.0, 7.0], [100.0, 7.0]]), np.zeros(2))
    array([0.25, 0.  ])
    """
    data = X.astype(np.float64)
    data -= data.min(axis=0)
    data /= _positive(data.max(axis=0))
    variance: Floats = data.var(axis=0)
    return variance


def anova_f(X: npt.NDArray[Any], y: npt.NDArray[Any]) -> Floats:
    """Return the F statistic of classes in every column; 0 for a constant one.

    Examples
    --------
    >>> anova_f(np.array([[0.0, 7.0], [2.0, 7.0], [4.0, 7.0]]), np.array([0, 0, 1]))
    array([3., 0.])
    """
    varies = X.min(axis=0) < X.max(axis=0)
    statistic = np.zeros(X.shape[1])
    if varies.any():
        with np.errstate(divide="ignore"):  # classes without any overlap: infinity, the best score
            statistic[varies] = f_classif(X[:, varies], y)[0]
    return statistic


def binned_mutual_information(X: npt.NDArray[Any], y: npt.NDArray[Any]) -> Floats:
    """Return the mutual information of classes and every column in 10 bins of equal width.

    Much faster than scikit-learn's estimate by nearest neighbours.

    Examples
    --------
    >>> X, y = np.array([[0.0, 1.0], [9.0, 1.0]]), np.array([0, 1])
    >>> binned_mutual_information(X, y).round(3)
    array([0.693, 0.   ])
    """
    data = X.astype(np.float64)
    data -= data.min(axis=0)
    data *= _BINS / _positive(data.max(axis=0))
    bins = np.minimum(data, _BINS - 1).astype(np.uint8)
    information: Floats = mutual_info_classif(bins, y, discrete_features=True, random_state=0)
    return information


def _positive(span: Floats) -> Floats:
    """Return `span` with 1 in place of 0, to divide by."""
    return np.where(span > 0, span, 1.0)
