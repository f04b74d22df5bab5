"""Forecasting with sparse networks: ready models, and an estimator that trains them.

`models` holds the networks as plain modules, `forecaster` the `SparseForecaster`; windows,
training, intervals and files have modules of their own.
"""

from sparsewire.timeseries.forecasting.forecaster import SparseForecaster
from sparsewire.timeseries.forecasting.models import (
    DLinear,
    NLinear,
    NSTransformer,
    RecurrentForecaster,
    Transformer,
)

__all__ = [
    "DLinear",
    "NLinear",
    "NSTransformer",
    "RecurrentForecaster",
    "SparseForecaster",
    "Transformer",
]
