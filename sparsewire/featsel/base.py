"""What do all selectors of this package have in common?

Everything but the scores: validation as scikit-learn wants it, the number of features to keep,
scaling of the rows used for training, constant features, shadows, redundancy, and turning
importances into a ranking and a support. How importances come about is the business of each
selector.
"""

import warnings
from abc import abstractmethod
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, _fit_context
from sklearn.feature_selection import SelectorMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, RealNotInt, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from sparsewire.core import InvalidArgumentError
from sparsewire.featsel.probe import with_shadows
from sparsewire.featsel.ranking import ranked
from sparsewire.featsel.redundancy import greedy_order
from sparsewire.featsel.rows import Floats, RowScaler
from sparsewire.featsel.training import Storage, Training

Constraints = dict[str, list[Any]]


class BaseSelector(SelectorMixin, BaseEstimator):
    """Base class of selectors that rank features by an importance.

    A concrete selector implements `_train`, which returns one importance per column.
    """

    _parameter_constraints: ClassVar[Constraints] = {
        "n_features_to_select": [
            None,
            Interval(Integral, 1, None, closed="left"),
            Interval(RealNotInt, 0, 1, closed="right"),
            StrOptions({"probe"}),
        ],
        "redundancy": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state"],
    }

    n_features_to_select: int | float | str | None
    redundancy: float
    random_state: int | np.random.RandomState | None

    @abstractmethod
    def _train(self, rows: RowScaler, y: npt.NDArray[Any] | None, seed: int) -> Floats:
        """Return one non-negative importance for each column of `rows`.

        There are twice as many columns as features if every feature has a shadow.
        """

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Rank the features of `X`.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_samples, n_features)
            Training data, finite.
        y : array-like of shape (n_samples,)
            Target of supervised selectors; the others ignore it.

        Returns
        -------
        self
            The fitted selector.

        Raises
        ------
        ValueError
            If the data or a parameter is unusable; the message says which and why.
        RuntimeError
            If training diverges.
        """
        for name in ("support_", "shadow_importance_"):  # of an earlier fit, should this one fail
            self.__dict__.pop(name, None)
        X, target = self._validated(X, y)
        self._reject_booleans()
        probing = self._probing
        if not probing:
            self.n_features_to_select_ = self._resolve_count(self.n_features_to_select)
        rows = self._rows(X)
        self._check_constant(rows.constant)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        if probing:
            rows = self._rows(with_shadows(X, np.random.default_rng([seed, 1])))
        with torch.inference_mode(False), torch.enable_grad():
            importances = self._train(rows, target, seed)
        constant = rows.constant[: self.n_features_in_]
        if probing:
            self._count_beyond_shadows(np.where(rows.constant, 0.0, importances))
        self.feature_importances_ = np.where(constant, 0.0, importances[: len(constant)])
        self._order(X, constant)
        self._rank()
        return self

    def _validated(self, X: Any, y: Any) -> tuple[Any, npt.NDArray[Any] | None]:
        """Return checked data and the target to train on."""
        return validate_data(self, X, **self._accepted), None

    @property
    def _accepted(self) -> dict[str, Any]:
        return {
            "accept_sparse": "csr",
            "dtype": [np.float64, np.float32],
            "ensure_min_samples": 2,
        }

    def _rows(self, X: Any) -> RowScaler:
        """Return the rows to train on."""
        return RowScaler(X, None)

    @property
    def _probing(self) -> bool:
        return self.n_features_to_select == "probe"

    def _reject_booleans(self) -> None:
        """Refuse True and False, which scikit-learn's own validation takes for integers."""
        for name, value in self.get_params(deep=False).items():
            if name != "verbose" and isinstance(value, (bool, np.bool_)):
                raise InvalidArgumentError(
                    f"{name} must not be a bool, got {value!r}; use a number."
                )

    def _resolve_count(self, wanted: Any) -> int:
        n_features = int(self.n_features_in_)
        if wanted is None:
            return max(1, n_features // 2)
        if not isinstance(wanted, int | np.integer):
            return max(1, int(wanted * n_features))
        if wanted > n_features:
            raise InvalidArgumentError(
                f"n_features_to_select={wanted} is more than the {n_features} features of X; "
                f"choose an integer in [1, {n_features}] or a fraction in (0, 1]."
            )
        return int(wanted)

    def _check_constant(self, constant: npt.NDArray[np.bool_]) -> None:
        if constant.all():
            raise InvalidArgumentError(
                f"all {len(constant)} feature(s) of X are constant, so there is nothing to select "
                "from; at least one must vary."
            )
        if constant.any():
            warnings.warn(
                f"{int(constant.sum())} of {len(constant)} features are constant; they get "
                "importance 0 and rank last.",
                UserWarning,
                stacklevel=4,
            )

    def _count_beyond_shadows(self, importances: Floats) -> None:
        """Set how many features to keep: those more important than every shadow, at least one."""
        self.shadow_importance_ = float(importances[self.n_features_in_ :].max())
        beyond = int((importances[: self.n_features_in_] > self.shadow_importance_).sum())
        if beyond == 0:
            warnings.warn(
                "no feature is more important than the best shadow; the best one is kept.",
                UserWarning,
                stacklevel=4,
            )
        self.n_features_to_select_ = max(1, beyond)

    def _order(self, X: Any, constant: npt.NDArray[np.bool_]) -> None:
        """Order features by importance, the first ones by redundancy as well if asked for."""
        # A constant feature ranks below every other, even one whose importance is 0 too.
        self.order_ = np.lexsort((-self.feature_importances_, constant))
        self._n_ordered = len(constant)
        if self.redundancy > 0:
            best = self.order_[: self.n_features_to_select_]
            # Beyond the shadows nothing is to be had, however little it has in common with others.
            pool = np.sort(best) if self._probing else np.flatnonzero(~constant)
            count = min(self.n_features_to_select_, len(pool))
            importances = self.feature_importances_[pool]
            first = pool[greedy_order(X[:, pool], importances, count, self.redundancy)]
            rest = self.order_[~np.isin(self.order_, first)]
            self.order_ = np.concatenate([first, rest])
            if count < len(pool) or self._probing:
                self._n_ordered = count

    def _rank(self) -> None:
        self.support_, self.ranking_ = ranked(self.order_, self.n_features_to_select_)

    def set_n_features(self, n_features: int | float) -> Self:
        """Keep another number of features without fitting again.

        Parameters
        ----------
        n_features : int or float
            A number from 1 to the number of features, or a share in (0, 1].

        Returns
        -------
        self
            With a new `support_`, `ranking_` and `n_features_to_select_`.

        Raises
        ------
        InvalidArgumentError
            If it is out of range, or if features were chosen with ``redundancy`` and more are asked
            for than `fit` chose.
        NotFittedError
            Before `fit`.

        Examples
        --------
        >>> import numpy as np
        >>> from sparsewire.featsel import RandomSelector
        >>> X = np.random.default_rng(0).normal(size=(10, 6))
        >>> RandomSelector(2, random_state=0).fit(X).set_n_features(0.5).transform(X).shape
        (10, 3)
        """
        check_is_fitted(self, "support_")
        number: Any = n_features
        whole = isinstance(number, int | np.integer)
        largest = self.n_features_in_ if whole else 1
        sound = isinstance(number, Real) and not isinstance(number, bool)
        if not sound or not 0 < number <= largest:
            raise InvalidArgumentError(
                f"n_features must be an integer in [1, {self.n_features_in_}] or a share in "
                f"(0, 1], got {n_features!r}."
            )
        count = self._resolve_count(n_features)
        if count > self._n_ordered:
            raise InvalidArgumentError(
                f"with redundancy only {self._n_ordered} features were chosen one by one, so "
                f"{count} cannot be kept; fit with n_features_to_select={count}."
            )
        self.n_features_to_select_ = count
        self._rank()
        return self

    def _get_support_mask(self) -> npt.NDArray[np.bool_]:
        check_is_fitted(self, "support_")
        mask: npt.NDArray[np.bool_] = self.support_
        return mask

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class BaseSparseSelector(BaseSelector):
    """Base class of selectors that rank features by training a sparse network."""

    _parameter_constraints: ClassVar[Constraints] = {
        **BaseSelector._parameter_constraints,
        "scale": [StrOptions({"standard", "minmax", "global"}), None],
        "epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "device": [StrOptions({"cpu", "cuda", "auto"})],
        "storage": [StrOptions({"csr", "masked", "auto"})],
        "dtype": [StrOptions({"float32", "float64"})],
        "verbose": ["verbose"],
    }

    scale: str | None
    epochs: int
    batch_size: int
    learning_rate: float
    device: str
    storage: Storage
    dtype: str
    verbose: int

    def _rows(self, X: Any) -> RowScaler:
        return RowScaler(X, self.scale, self.dtype)

    @property
    def _torch_dtype(self) -> torch.dtype:
        return {"float32": torch.float32, "float64": torch.float64}[self.dtype]

    def _publish(self, training: Training, device: torch.device) -> None:
        """Keep what is to be seen of a finished training, without any tensor."""
        self.history_ = training.history
        self.n_iter_ = len(training.history["loss"])
        self.connections_ = training.connections()
        weights = sum(layer.shape[0] * layer.shape[1] for layer in self.connections_)
        self.density_ = sum(layer.nnz for layer in self.connections_) / weights
        self.device_ = str(device)


class SupervisedSelector(BaseSparseSelector):
    """Base class of selectors that train on a target.

    Classification unless `_encode` is overridden: the target becomes class numbers.
    """

    def _validated(self, X: Any, y: Any) -> tuple[Any, npt.NDArray[Any] | None]:
        X, y = validate_data(self, X, y, **self._accepted)
        return X, self._encode(y)

    def _encode(self, y: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the class number of every row, int64, and remember the classes."""
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InvalidArgumentError(
                f"{type(self).__name__} needs at least 2 classes, but y has 1 class, "
                f"{self.classes_[0]!r}."
            )
        return codes.astype(np.int64)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags
