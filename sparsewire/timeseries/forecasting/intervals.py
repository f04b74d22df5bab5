"""How wide must an interval be to hold the truth nine times out of ten? Split conformal prediction.

Residuals of windows that were not trained on give the width, for each step and column apart.

References
----------
Lei, G'Sell, Rinaldo, Tibshirani & Wasserman (2018). Distribution-free predictive inference for
regression. Journal of the American Statistical Association 113.
"""

import math

import numpy as np
import numpy.typing as npt

from sparsewire.core.errors import InvalidArgumentError


def half_widths(residuals: npt.NDArray[np.float64], level: float) -> npt.NDArray[np.float64]:
    """Return half the width of the interval of each step and column.

    Parameters
    ----------
    residuals : ndarray, shape (n_windows, horizon, n_channels)
        Errors of forecasts on held-out windows.
    level : float
        Share of the truth that the interval is to hold, in (0, 1).

    Returns
    -------
    ndarray, shape (horizon, n_channels)
        The ``ceil((n + 1) * level)``-th smallest absolute error.

    Raises
    ------
    InvalidArgumentError
        If the level is out of range, or the windows are too few for it.

    Notes
    -----
    The guarantee holds for exchangeable windows. Those of a time series overlap and drift, so that
    coverage is approximate.

    Examples
    --------
    >>> half_widths(np.arange(9.0).reshape(9, 1, 1), level=0.8).item()
    7.0
    """
    if not 0 < level < 1:
        raise InvalidArgumentError(f"level must be a share in (0, 1), got {level!r}.")
    n = len(residuals)
    rank = math.ceil(round((n + 1) * level, 9))  # 0.8 of 10 is 8
    if rank > n:
        raise InvalidArgumentError(
            f"{n} validation windows are too few for level={level}; at least "
            f"{math.ceil(round(level / (1 - level), 9))} are needed."
        )
    widths: npt.NDArray[np.float64] = np.partition(np.abs(residuals), rank - 1, axis=0)[rank - 1]
    return widths
