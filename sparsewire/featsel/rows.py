"""How do rows of a data matrix reach a network, batch by batch?

Scaling for training only, without a scaled copy of the whole matrix, for dense and sparse input;
and the order of the rows in an epoch. What is trained is not decided here.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from sklearn.utils.sparsefuncs import mean_variance_axis
from torch import Tensor

from sparsewire.core import InvalidArgumentError

Floats = npt.NDArray[np.float64]
Statistics = tuple[Floats, Floats, npt.NDArray[np.bool_]]


class RowScaler:
    """Scaled rows of a dense or sparse matrix, one batch at a time.

    Statistics are those of the whole matrix in float64, so huge values lose nothing before they are
    scaled. A constant column is only centred.

    Parameters
    ----------
    X : ndarray or CSR matrix, shape (n, d)
        The data; never changed.
    scale : {"standard", "minmax", "global"} or None
        Standard score per column, the range [0, 1] per column, the standard score with one mean and
        deviation of the whole matrix, or the values as they are.
    dtype : {"float32", "float64"}, default "float32"
        Type of the rows.
    statistics : tuple of ndarray, optional
        Shift and factor of every column and which columns are constant, each of shape (d,), if they
        are known already, as when `X` is a chunk of a larger matrix; `scale` has no effect then.

    Attributes
    ----------
    shape : tuple of int
        Rows and columns of the matrix.
    dtype : numpy.dtype
        Type of the rows.
    constant : ndarray of bool, shape (d,)
        Columns with one value only.

    Raises
    ------
    InvalidArgumentError
        If a column cannot be scaled in double precision.
    """

    def __init__(
        self,
        X: Any,
        scale: str | None,
        dtype: str = "float32",
        *,
        statistics: Statistics | None = None,
    ) -> None:
        self._X = X
        self.shape: tuple[int, int] = X.shape
        self.dtype = np.dtype(dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            self._shift, self._factor, self.constant = statistics or _statistics(X, scale)
        unusable = ~np.isfinite(self._shift) | ~np.isfinite(self._factor) | (self._factor <= 0)
        if unusable.any():
            raise InvalidArgumentError(
                f"{int(unusable.sum())} feature(s), the first at index "
                f"{int(unusable.argmax())}, have values too large or too close together to be "
                "scaled in double precision; rescale or drop them."
            )

    def rows(self, index: npt.NDArray[np.int64]) -> npt.NDArray[np.floating[Any]]:
        """Return the scaled rows, shape (len(index), d)."""
        batch = self._X[index]
        dense = batch.toarray() if sparse.issparse(batch) else batch
        scaled: Floats = dense - self._shift
        scaled /= self._factor
        return scaled.astype(self.dtype, copy=False)

    def tensor(self, index: npt.NDArray[np.int64]) -> Tensor:
        """Return the scaled rows column by column in memory, as a sparse layer wants them."""
        return torch.from_numpy(np.ascontiguousarray(self.rows(index).T)).t()


def _statistics(X: Any, scale: str | None) -> Statistics:
    """Return shift and factor of every column, and which columns are constant."""
    low, high = column_extremes(X)
    constant = high == low
    shift, factor = np.zeros(X.shape[1]), np.ones(X.shape[1])
    if scale == "standard":
        mean, factor = column_moments(X)
        # The mean of equal huge values carries a rounding error that is no small input.
        shift = np.where(constant, low, mean)
    elif scale == "minmax":
        shift, factor = low, high - low
    elif scale == "global":
        mean, deviation = column_moments(X)
        whole = mean.mean()
        shift = shift + whole
        spread = np.sqrt((deviation**2 + (mean - whole) ** 2).mean())
        return shift, factor * (spread if spread else 1.0), constant
    return shift, np.where(constant, 1.0, factor), constant


def column_extremes(X: Any) -> tuple[Floats, Floats]:
    """Return the smallest and the largest value of every column, each of shape (d,)."""
    if sparse.issparse(X):
        low, high = X.min(axis=0).toarray(), X.max(axis=0).toarray()
        return low.ravel().astype(np.float64), high.ravel().astype(np.float64)
    return X.min(axis=0).astype(np.float64), X.max(axis=0).astype(np.float64)


def column_moments(X: Any) -> tuple[Floats, Floats]:
    """Return mean and standard deviation of every column, each of shape (d,)."""
    if not sparse.issparse(X):
        return X.mean(axis=0, dtype=np.float64), X.std(axis=0, dtype=np.float64)
    wide = X.astype(np.float64)
    wide.sum_duplicates()  # else mean_variance_axis is wrong where an entry is stored twice
    mean, variance = mean_variance_axis(wide, axis=0)
    return mean, np.sqrt(variance)


def shuffled_batches(
    n_samples: int, batch_size: int, generator: np.random.Generator
) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the row indices of one epoch in random order; the last batch may be smaller.

    Parameters
    ----------
    n_samples, batch_size : int
        Number of rows, and rows per batch.
    generator : numpy.random.Generator
        Source of the order.

    Yields
    ------
    ndarray of int64
        Row indices.

    Examples
    --------
    >>> import numpy as np
    >>> [len(index) for index in shuffled_batches(5, 2, np.random.default_rng(0))]
    [2, 2, 1]
    """
    order = generator.permutation(n_samples)
    for start in range(0, n_samples, batch_size):
        yield order[start : start + batch_size]
