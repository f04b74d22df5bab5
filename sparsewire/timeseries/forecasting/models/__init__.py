"""Which networks forecast? Linear ones, recurrent ones and transformers, as plain modules.

Each maps windows (batch, input_size, n_channels) to (batch, horizon, n_channels) and works in any
training loop; `sparsewire.timeseries.forecasting.SparseForecaster` trains them.
"""

from sparsewire.timeseries.forecasting.models.linear import DLinear, NLinear
from sparsewire.timeseries.forecasting.models.nstransformer import NSTransformer
from sparsewire.timeseries.forecasting.models.recurrent import RecurrentForecaster
from sparsewire.timeseries.forecasting.models.transformer import Transformer

__all__ = ["DLinear", "NLinear", "NSTransformer", "RecurrentForecaster", "Transformer"]
