"""How does cross-validated accuracy grow with the number of selected features?

`feature_path` fits a selector inside every training fold, so that no test row has a say in the
choice of features, and scores a predictor on nested selections of different sizes. Judging one
selection that is already made is `evaluate`'s part.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import clone, is_classifier
from sklearn.metrics import check_scoring
from sklearn.model_selection import check_cv
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils import _safe_indexing, indexable
from sklearn.utils.parallel import Parallel, delayed

from sparsewire.core import InvalidArgumentError

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

_N_DEFAULT_COUNTS = 10


@dataclass(frozen=True, eq=False)
class FeaturePath:
    """Cross-validated scores by number of selected features.

    Parameters
    ----------
    counts : ndarray of shape (n_counts,), int64
        Numbers of features, increasing.
    scores : ndarray of shape (n_counts, n_folds), float64
        Test score of each fold; larger is better.

    Examples
    --------
    >>> path = FeaturePath(np.array([1, 2, 4]), np.array([[0.5, 0.7], [0.8, 0.9], [0.8, 0.92]]))
    >>> path.mean.round(2).tolist(), path.best_count
    ([0.6, 0.85, 0.86], 2)
    """

    counts: Indices
    scores: Floats

    @property
    def mean(self) -> Floats:
        """Mean score over the folds, shape (n_counts,)."""
        mean: Floats = self.scores.mean(axis=1)
        return mean

    @property
    def std(self) -> Floats:
        """Standard deviation over the folds (ddof 0, scikit-learn's choice), shape (n_counts,)."""
        std: Floats = self.scores.std(axis=1)
        return std

    @property
    def best_count(self) -> int:
        """The fewest features whose mean is within one standard error of the best mean.

        The standard error is that of the best mean (ddof 1), 0 if there is one fold only.
        """
        best = int(self.mean.argmax())
        n_folds = self.scores.shape[1]
        error = 0.0 if n_folds == 1 else self.scores[best].std(ddof=1) / np.sqrt(n_folds)
        within = self.mean >= self.mean[best] - error
        return int(self.counts[within.argmax()])


def feature_path(
    selector: Any,
    X: Any,
    y: Any,
    *,
    counts: Iterable[int] | None = None,
    estimator: Any = None,
    cv: Any = 5,
    scoring: str | Callable[..., float] | None = None,
    n_jobs: int | None = None,
) -> FeaturePath:
    """Score a predictor on growing selections of features, by cross-validation.

    In every fold a copy of the selector is fitted on the training rows and cut at every count. It
    is fitted once if it has ``set_n_features``, as most selectors of this package have, and once
    per count otherwise (`NeuroFS`, scikit-learn's `RFE`).

    Parameters
    ----------
    selector : selector
        A scikit-learn selector with the parameter ``n_features_to_select``, which is overwritten.
        Not changed and not fitted itself. A ``random_state`` of None makes folds irreproducible.
    X : array-like or sparse matrix, shape (n_samples, n_features)
        Data that selector and estimator take.
    y : array-like of shape (n_samples,)
        Targets.
    counts : iterable of int or None, default None
        Numbers of features in [1, n_features], in any order; None for about ten from 1 to all,
        each the same multiple of the one before.
    estimator : classifier or regressor or None, default None
        Predictor trained on the selected columns. None is scikit-learn's ``SVC()``, the judge of
        the papers on sparse selectors, on columns divided by their standard deviation.
    cv : int, cross-validation generator or iterable, default 5
        The folds, as in `sklearn.model_selection.cross_validate`: stratified for classifiers.
    scoring : str, callable or None, default None
        As there; None is the predictor's own score, the accuracy of a classifier.
    n_jobs : int or None, default None
        Folds at the same time, in joblib's sense; None is one. It does not affect the result.

    Returns
    -------
    FeaturePath
        Scores by count and fold.

    Raises
    ------
    InvalidArgumentError
        If a count is out of range or repeated, or the selector cannot be cut at a count.
    ValueError
        If the data, the folds or the score are unusable; the message says why.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sparsewire.featsel.filters import LaplacianScore
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> path = feature_path(LaplacianScore(), X, y, counts=[2, 10, 30])
    >>> path.scores.shape, bool(path.mean.min() > 0.8)
    ((3, 5), True)
    """
    X, y = indexable(X if hasattr(X, "shape") else np.asarray(X), y)
    _check_selector(selector)
    sizes = _check_counts(counts, _n_features(X))
    if estimator is None:
        # Not centred: the SVC's kernel does not need it and sparse data do not allow it. The seed
        # is without effect, but without one SVC draws from NumPy's global generator.
        estimator = make_pipeline(StandardScaler(with_mean=False), SVC(random_state=0))
    scorer = check_scoring(estimator, scoring)
    folds = check_cv(cv, y, classifier=is_classifier(estimator)).split(X, y)
    columns = Parallel(n_jobs=n_jobs)(
        delayed(_score_fold)(clone(selector), estimator, scorer, X, y, fold, sizes)
        for fold in folds
    )
    return FeaturePath(sizes, np.array(columns, dtype=np.float64).T)


def _n_features(X: Any) -> int:
    if len(X.shape) != 2:
        raise InvalidArgumentError(f"X must have two dimensions, got shape {tuple(X.shape)}.")
    return int(X.shape[1])


def _check_selector(selector: Any) -> None:
    name = type(selector).__name__
    if not hasattr(selector, "get_support"):
        raise InvalidArgumentError(
            f"{name} has no get_support() and so selects nothing; selector must be a scikit-learn "
            "selector."
        )
    if "n_features_to_select" not in selector.get_params(deep=False):
        raise InvalidArgumentError(
            f"{name} has no parameter n_features_to_select, so it cannot be asked for a number of "
            "features; those of sparsewire.featsel and sklearn.feature_selection.RFE can."
        )


def _check_counts(counts: Iterable[Any] | None, n_features: int) -> Indices:
    """Return the distinct counts in increasing order."""
    if counts is None:
        grid = np.geomspace(1, n_features, min(_N_DEFAULT_COUNTS, n_features))
        return np.unique(grid.round().astype(np.int64))
    given = list(counts)
    for count in given:
        whole = isinstance(count, Integral) and not isinstance(count, bool)
        if not whole or not 1 <= count <= n_features:
            raise InvalidArgumentError(
                f"counts must hold integers in [1, {n_features}], as X has {n_features} features; "
                f"got {count!r}."
            )
    if not given or len(set(given)) < len(given):
        raise InvalidArgumentError(f"counts must be distinct and at least one, got {given!r}.")
    return np.sort(np.array(given, dtype=np.int64))


def _score_fold(
    selector: Any,
    estimator: Any,
    scorer: Callable[..., float],
    X: Any,
    y: Any,
    fold: tuple[Indices, Indices],
    counts: Indices,
) -> list[float]:
    """Return the test score of one fold for each count."""
    (X_train, y_train), (X_test, y_test) = (
        (_safe_indexing(X, rows), _safe_indexing(y, rows)) for rows in fold
    )
    scores = []
    for columns in _selections(selector, X_train, y_train, counts):
        predictor = clone(estimator).fit(_safe_indexing(X_train, columns, axis=1), y_train)
        scores.append(scorer(predictor, _safe_indexing(X_test, columns, axis=1), y_test))
    return scores


def _selections(selector: Any, X: Any, y: Any, counts: Indices) -> Iterable[Indices]:
    """Yield the selected columns for each count, in increasing order."""
    if hasattr(selector, "set_n_features"):
        # The largest, because redundancy is only accounted for among the features asked for.
        fitted = selector.set_params(n_features_to_select=int(counts[-1])).fit(X, y)
        for count in counts:
            yield fitted.set_n_features(int(count)).get_support(indices=True)
    else:
        for count in counts:
            fitted = clone(selector).set_params(n_features_to_select=int(count)).fit(X, y)
            yield fitted.get_support(indices=True)
