"""How does one add irrelevant columns to data? Gaussian noise columns with a known mask.

Used to show what feature selection does when the truth is known. It does not corrupt existing
entries and does not touch the labels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def with_noise_features(
    X: npt.ArrayLike, n_noise: int, *, seed: int
) -> tuple[npt.NDArray[np.floating[Any]], npt.NDArray[np.bool_]]:
    """Append columns of Gaussian noise that look like an average column of the data.

    Every noise entry is ``m + s * z`` with independent standard normal ``z``, where ``m`` is the
    mean of all entries of `X` and ``s`` is the root mean square of the standard deviations (ddof 0)
    of its columns. Hence a noise column has, in expectation, the mean of the data and the average
    variance of its columns. The original columns come first and keep their order.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Finite numbers, not all columns constant. It is copied, not changed.
    n_noise : int
        Number of columns to append, at least 1.
    seed : int
        Non-negative; seeds a ``numpy.random.Generator`` through ``numpy.random.SeedSequence``.

    Returns
    -------
    X_noisy : ndarray of shape (n_samples, n_features + n_noise)
        The smallest floating dtype that holds both `X`'s dtype and float32: float32 for uint8
        and float32 input, float64 for int64 and float64 input.
    is_noise : ndarray of bool of shape (n_features + n_noise,)
        True for the appended columns.

    Raises
    ------
    ValueError
        If `X` is not two-dimensional, empty, not finite or has only constant columns, if `n_noise`
        is below 1, or if `seed` is negative.

    Examples
    --------
    >>> X_noisy, is_noise = with_noise_features([[0.0, 2.0], [1.0, 4.0]], 3, seed=0)
    >>> X_noisy.shape, is_noise.tolist()
    ((2, 5), [False, False, True, True, True])
    """
    data = np.asarray(X)
    _check(data, n_noise)
    dtype = np.result_type(data.dtype, np.float32)
    mean = data.mean(dtype=np.float64)
    scale = np.sqrt(data.var(axis=0, dtype=np.float64).mean())
    if scale == 0:
        raise ValueError("Every column of X is constant: there is no spread to scale noise to.")
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
    noise = mean + scale * rng.standard_normal((data.shape[0], n_noise))
    columns = np.arange(data.shape[1] + n_noise)
    return np.hstack([data.astype(dtype), noise.astype(dtype)]), columns >= data.shape[1]


def _check(data: npt.NDArray[Any], n_noise: int) -> None:
    if data.ndim != 2 or data.size == 0:
        raise ValueError(
            f"X must have shape (n_samples, n_features) with at least one of each, "
            f"got shape {data.shape}."
        )
    if data.dtype.kind not in "biuf":
        raise ValueError(f"X must hold real numbers, got dtype {data.dtype}; convert it first.")
    if not np.isfinite(data).all():
        raise ValueError("X contains NaN or infinity; impute or remove these entries first.")
    if n_noise < 1:
        raise ValueError(f"n_noise={n_noise!r} is out of range: append at least 1 column.")
