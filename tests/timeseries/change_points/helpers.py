"""Small detectors and series with known changes."""

from typing import Any

import numpy as np

from sparsewire.timeseries.change_points import ALACPD
from sparsewire.timeseries.change_points.network import Floats

REFERENCE: dict[str, Any] = {
    "location": "reference",
    "causal": False,
    "afresh": False,
    "prequential": False,
    "aligned_ar": False,
    "threshold_low": 1.4,
}


def small(**changes: Any) -> ALACPD:
    """Return a detector that needs little time."""
    return ALACPD(**{"n_units": 4, "random_state": 0, **changes})


def shifted(n: int = 160, at: int = 100, size: float = 5.0, channels: int = 2) -> Floats:
    """Return noise whose mean shifts."""
    X = np.random.default_rng(0).normal(size=(n, channels))
    X[at:] += size
    return X


def two_shifts() -> Floats:
    """Return noise whose mean shifts twice, far enough apart to be found."""
    X = shifted(200, 80, 6.0)
    X[140:] -= 12.0
    return X
