"""Which features does a selector choose again and again, and how stable is its choice?

`StableSelector` runs a selector several times, with other seeds and if wanted on other rows, and
keeps the features that rank well on average or are chosen most often. How a single run ranks
features is the business of the selector; how much the runs agree is measured in `stability`.

References
----------
Meinshausen and Bühlmann (2010). Stability selection. Journal of the Royal Statistical Society B 72.
"""

from numbers import Integral, Real
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata
from sklearn.base import BaseEstimator, MetaEstimatorMixin, _fit_context, clone
from sklearn.feature_selection import SelectorMixin
from sklearn.utils import check_consistent_length, check_random_state, get_tags, resample
from sklearn.utils._param_validation import HasMethods, Interval, RealNotInt, StrOptions
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted, validate_data

from sparsewire.core import InvalidArgumentError
from sparsewire.featsel.ranking import ranked
from sparsewire.featsel.stability import selection_stability

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_LARGEST_SEED = 2**31 - 1


class _Run(NamedTuple):
    """A fitted selector, what it selected and where every feature stands in its order, from 1 on.

    Features that it does not tell apart differ in `places` but share their mean place in `ranks`.
    """

    estimator: Any
    support: Mask
    places: Floats
    ranks: Floats


class StableSelector(MetaEstimatorMixin, SelectorMixin, BaseEstimator):
    """Select the features that several runs of a selector agree on.

    Every run fits a copy of `estimator` with a seed of its own on its own rows. The result does not
    depend on `n_jobs`.

    Parameters
    ----------
    estimator : selector
        A scikit-learn selector with ``get_support`` that orders its features: by ``order_`` (best
        first), ``feature_importances_`` (the larger the better) or ``ranking_`` (1 is best).
    n_runs : int, default 5
        How often it is fitted, at least twice (5 as in the papers on sparse selectors).
    subsample : float, default 1.0
        Share of the rows a run sees, drawn without replacement; 1.0 gives every run all rows, so
        that only the seeds differ. Stability selection takes 0.5. The shares of the classes are
        kept if `estimator` needs `y` and each label occurs at least twice.
    aggregate : {"mean_rank", "frequency"}, default "mean_rank"
        Order features by their mean rank, or by how often they were selected. The other one breaks
        ties.
    n_features_to_select : int, float or None, default None
        How many features to keep: a number, a share in (0, 1], or None for as many as the runs
        selected, on average and rounded.
    n_jobs : int or None, default None
        Runs at the same time, in joblib's sense; None is one.
    random_state : int, RandomState or None, default None
        Seed of the runs' seeds and rows. It replaces any ``random_state`` set on `estimator` or a
        part of it.

    Attributes
    ----------
    selection_frequency_ : ndarray of shape (n_features,), float64
        Share of the runs that selected the feature.
    mean_rank_ : ndarray of shape (n_features,), float64
        Mean rank over the runs, 1 is best; features a run does not tell apart share their rank.
    stability_ : float
        Agreement of the runs' selections, see `selection_stability`; nan if each selects
        everything.
    feature_importances_ : ndarray of shape (n_features,), float64
        In [0, 1]: the share of the other features the feature outranks on average, or its selection
        frequency, as `aggregate` says.
    order_ : ndarray of shape (n_features,), int64
        Feature indices, best first.
    ranking_ : ndarray of shape (n_features,), int64
        1 for every selected feature, then 2, 3, ... by falling importance.
    support_ : ndarray of shape (n_features,), bool
        The selected features.
    n_features_to_select_ : int
        How many were selected.
    estimators_ : list of selectors
        The fitted copies.
    n_features_in_ : int
        Features seen in `fit`.
    feature_names_in_ : ndarray of str
        Their names, if `X` has string column names.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sparsewire.featsel.filters import LaplacianScore
    >>> X, _ = load_breast_cancer(return_X_y=True)
    >>> selector = StableSelector(LaplacianScore(5), subsample=0.5, random_state=0).fit(X)
    >>> selector.transform(X).shape
    (569, 5)
    >>> selector.stability_ > 0.8
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": [HasMethods(["fit"])],
        "n_runs": [Interval(Integral, 2, None, closed="left")],
        "subsample": [Interval(Real, 0, 1, closed="right")],
        "aggregate": [StrOptions({"mean_rank", "frequency"})],
        "n_features_to_select": [
            None,
            Interval(Integral, 1, None, closed="left"),
            Interval(RealNotInt, 0, 1, closed="right"),
        ],
        "n_jobs": [None, Integral],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any,
        *,
        n_runs: int = 5,
        subsample: float = 1.0,
        aggregate: Literal["mean_rank", "frequency"] = "mean_rank",
        n_features_to_select: int | float | None = None,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.estimator = estimator
        self.n_runs = n_runs
        self.subsample = subsample
        self.aggregate = aggregate
        self.n_features_to_select = n_features_to_select
        self.n_jobs = n_jobs
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the runs and put their rankings together.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_samples, n_features)
            Training data; sparse if `estimator` takes it.
        y : array-like of shape (n_samples,) or None, default None
            Targets, handed to `estimator`; needed if it needs them.

        Returns
        -------
        self
            The fitted selector.

        Raises
        ------
        ValueError
            If the data or a parameter is unusable; the message says which and why.
        InvalidArgumentError
            If `estimator` turns out not to order or select features.
        """
        X, y = self._validate(X, y)
        wanted = self.n_features_to_select
        count = None if wanted is None else _resolve_count(wanted, self.n_features_in_)
        seeds = check_random_state(self.random_state).randint(_LARGEST_SEED, size=(self.n_runs, 2))
        runs: list[_Run] = Parallel(n_jobs=self.n_jobs)(
            delayed(_fit_run)(
                _seeded(self.estimator, int(seed)), X, y, self._rows(X.shape[0], y, int(row_seed))
            )
            for seed, row_seed in seeds
        )
        self.estimators_ = [run.estimator for run in runs]
        supports = np.array([run.support for run in runs])
        self.selection_frequency_: Floats = supports.mean(axis=0)
        self.mean_rank_: Floats = np.mean([run.ranks for run in runs], axis=0)
        self.stability_ = selection_stability(supports)
        self._order(np.mean([run.places for run in runs], axis=0))
        mean_count = max(1, round(supports.sum() / self.n_runs))
        return self.set_n_features(mean_count if count is None else count)

    def set_n_features(self, n_features: int | float) -> Self:
        """Keep another number of features, without fitting again.

        Parameters
        ----------
        n_features : int or float
            A number from 1 to the number of features, or a share in (0, 1].

        Returns
        -------
        self
            With new `support_`, `ranking_` and `n_features_to_select_`.

        Raises
        ------
        InvalidArgumentError
            If the number is out of range.
        NotFittedError
            If `fit` was not called.
        """
        check_is_fitted(self)
        self.n_features_to_select_ = _resolve_count(n_features, self.n_features_in_)
        self.support_, self.ranking_ = ranked(self.order_, self.n_features_to_select_)
        return self

    def _validate(self, X: Any, y: Any) -> tuple[Any, npt.NDArray[Any] | None]:
        if not hasattr(self.estimator, "get_support"):
            raise InvalidArgumentError(
                f"{type(self.estimator).__name__} has no get_support() and so selects nothing; "
                "estimator must be a scikit-learn selector."
            )
        for name in ("n_runs", "subsample", "n_features_to_select"):
            value = getattr(self, name)
            if isinstance(value, (bool, np.bool_)):
                raise InvalidArgumentError(
                    f"{name} must not be a bool, got {value!r}; use a number."
                )
        tags = get_tags(self)
        options = {
            "accept_sparse": "csr" if tags.input_tags.sparse else False,
            "ensure_all_finite": not tags.input_tags.allow_nan,
            "ensure_min_samples": 2,
        }
        if tags.target_tags.required:
            X, y = validate_data(self, X, y, **options)
            return X, y
        X = validate_data(self, X, **options)
        if y is None:
            return X, None
        check_consistent_length(X, y)
        return X, np.asarray(y)

    def _rows(
        self, n_samples: int, y: npt.NDArray[Any] | None, seed: int
    ) -> npt.NDArray[np.int64] | None:
        """Draw the rows of a run, in their order in `X`; None stands for all."""
        if self.subsample == 1:
            return None
        labels = y if get_tags(self).target_tags.required else None
        if labels is not None and np.unique(labels, return_counts=True)[1].min() < 2:
            labels = None
        rows: npt.NDArray[np.int64] = resample(
            np.arange(n_samples),
            replace=False,
            n_samples=min(n_samples, max(2, round(self.subsample * n_samples))),
            random_state=seed,
            stratify=labels,
        )
        return np.sort(rows)

    def _order(self, mean_place: Floats) -> None:
        """Set the importances and the order they imply; `mean_place` settles the last ties."""
        # Selectors put constant features last even among others of importance 0; so do the places.
        if self.aggregate == "frequency":
            self.feature_importances_ = self.selection_frequency_.copy()
            keys = (mean_place, self.mean_rank_, -self.selection_frequency_)
        else:
            others = max(1, self.n_features_in_ - 1)
            self.feature_importances_ = 1 - (self.mean_rank_ - 1) / others
            keys = (mean_place, -self.selection_frequency_, self.mean_rank_)
        self.order_ = np.lexsort(keys)

    def _get_support_mask(self) -> Mask:
        check_is_fitted(self)
        mask: Mask = self.support_
        return mask

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.input_tags.sparse = inner.input_tags.sparse
        tags.input_tags.allow_nan = inner.input_tags.allow_nan
        tags.target_tags.required = inner.target_tags.required
        if inner.transformer_tags is not None:
            tags.transformer_tags.preserves_dtype = list(inner.transformer_tags.preserves_dtype)
        return tags


def _resolve_count(wanted: Any, n_features: int) -> int:
    is_number = isinstance(wanted, Real) and not isinstance(wanted, (bool, np.bool_))
    is_count = is_number and isinstance(wanted, Integral)
    limit = n_features if is_count else 1
    if not is_number or not 0 < wanted <= limit:
        raise InvalidArgumentError(
            f"n_features_to_select={wanted!r} is out of range: choose an integer in "
            f"[1, {n_features}] or a fraction in (0, 1]."
        )
    return int(wanted) if is_count else max(1, int(wanted * n_features))


def _seeded(estimator: Any, seed: int) -> Any:
    """Return an unfitted copy, every random state of which is set from one seed."""
    copied = clone(estimator)
    names = sorted(
        name
        for name in copied.get_params(deep=True)
        if name == "random_state" or name.endswith("__random_state")
    )
    states = np.random.SeedSequence(seed).generate_state(len(names))
    return copied.set_params(
        **{name: int(state % _LARGEST_SEED) for name, state in zip(names, states, strict=True)}
    )


def _fit_run(
    estimator: Any, X: Any, y: npt.NDArray[Any] | None, rows: npt.NDArray[np.int64] | None
) -> _Run:
    if rows is not None:
        X, y = X[rows], y if y is None else y[rows]
    estimator.fit(X, y)
    return _Run(estimator, np.asarray(estimator.get_support()), *_standing(estimator))


def _standing(estimator: Any) -> tuple[Floats, Floats]:
    """Return places and ranks of the features, from what the selector says most exactly."""
    importances = getattr(estimator, "feature_importances_", None)
    if hasattr(estimator, "order_"):
        places = np.empty(len(estimator.order_))
        places[estimator.order_] = np.arange(1, len(places) + 1)
        return places, places if importances is None else _shared(places, importances)
    if importances is not None:
        ranks = rankdata(-np.asarray(importances, dtype=np.float64))
    elif hasattr(estimator, "ranking_"):
        ranks = rankdata(estimator.ranking_)
    else:
        raise InvalidArgumentError(
            f"{type(estimator).__name__} selects features but does not order them: after fit it "
            "has none of the attributes order_, feature_importances_ and ranking_. Selectors of "
            "sparsewire.featsel and sklearn.feature_selection.RFE have them."
        )
    return ranks, ranks


def _shared(places: Floats, importances: Floats) -> Floats:
    """Give neighbours of equal importance their mean place: their order is by index, no merit."""
    order = np.argsort(places)
    starts_group = np.diff(importances[order], prepend=np.nan) != 0
    group = np.cumsum(starts_group)[np.argsort(order)] - 1
    ranks: Floats = (np.bincount(group, weights=places) / np.bincount(group))[group]
    return ranks
