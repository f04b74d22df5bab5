"""What do all selectors of this package have in common?

Everything but the training: validation as scikit-learn wants it, the number of features to keep,
scaling of the rows used for training, constant features, and turning importances into a ranking and
a support. How importances come about is the business of each selector.
"""

import warnings
from abc import abstractmethod
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, _fit_context
from sklearn.feature_selection import SelectorMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, RealNotInt, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from sparsewire.core import InvalidArgumentError
from sparsewire.featsel.rows import Floats, RowScaler


class BaseSparseSelector(SelectorMixin, BaseEstimator):
    """Base class of selectors that rank features by training a sparse network.

    A concrete selector implements `_train`, which returns one importance per feature.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_features_to_select": [
            None,
            Interval(Integral, 1, None, closed="left"),
            Interval(RealNotInt, 0, 1, closed="right"),
        ],
        "scale": [StrOptions({"standard", "minmax"}), None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    n_features_to_select: int | float | None
    scale: str | None
    random_state: int | np.random.RandomState | None
    verbose: int

    @abstractmethod
    def _train(self, rows: RowScaler, n_samples: int, seed: int) -> Floats:
        """Train on the scaled rows and return one non-negative importance per feature."""

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Rank the features of `X`.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_samples, n_features)
            Training data, finite.
        y : ignored
            Present for scikit-learn's conventions.

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
        X = validate_data(
            self, X, accept_sparse="csr", dtype=[np.float64, np.float32], ensure_min_samples=2
        )
        self._reject_booleans()
        self.n_features_to_select_ = self._resolve_count(X.shape[1])
        scaler = RowScaler(X, self.scale)
        self._check_constant(scaler.constant)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        with torch.inference_mode(False), torch.enable_grad():
            importances = self._train(scaler, X.shape[0], seed)
        self.feature_importances_ = np.where(scaler.constant, 0.0, importances)
        # A constant feature ranks below every other, even one whose importance is 0 too.
        self.order_ = np.lexsort((-self.feature_importances_, scaler.constant))
        self._rank()
        return self

    def _reject_booleans(self) -> None:
        """Refuse True and False, which scikit-learn's own validation takes for integers."""
        for name, value in self.get_params(deep=False).items():
            if name != "verbose" and isinstance(value, (bool, np.bool_)):
                raise InvalidArgumentError(
                    f"{name} must not be a bool, got {value!r}; use a number."
                )

    def _rank(self) -> None:
        chosen = self.order_[: self.n_features_to_select_]
        self.support_ = np.zeros(self.n_features_in_, dtype=bool)
        self.support_[chosen] = True
        self.ranking_ = np.ones(self.n_features_in_, dtype=np.int64)
        rest = self.order_[self.n_features_to_select_ :]
        self.ranking_[rest] = np.arange(2, len(rest) + 2)

    def _resolve_count(self, n_features: int) -> int:
        wanted = self.n_features_to_select
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

    def _get_support_mask(self) -> npt.NDArray[np.bool_]:
        check_is_fitted(self)
        mask: npt.NDArray[np.bool_] = self.support_
        return mask

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
