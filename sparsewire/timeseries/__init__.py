"""Time series with sparse neural networks: classify, forecast, find change points."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparsewire.timeseries.change_points import ALACPD, ChangeEvent
    from sparsewire.timeseries.dsn import DSNClassifier
    from sparsewire.timeseries.forecasting import (
        DLinear,
        NLinear,
        NSTransformer,
        RecurrentForecaster,
        SparseForecaster,
        Transformer,
    )
    from sparsewire.timeseries.metrics import (
        ErrorSums,
        covering,
        detection_delay,
        f1_score_with_margin,
        from_ruptures,
        mae,
        mse,
        to_ruptures,
    )
    from sparsewire.timeseries.pals import PALS
    from sparsewire.timeseries.protocols import (
        LTSFBorders,
        LTSFProtocol,
        Standardisation,
        ltsf_borders,
        ltsf_protocol,
        n_windows,
        repeat_last,
        standardise,
    )
    from sparsewire.timeseries.recurrent import (
        SNTASGD,
        SelfishRNN,
        SparseGRU,
        SparseLSTM,
        SparseRNNClassifier,
    )

__all__ = [
    "ALACPD",
    "PALS",
    "SNTASGD",
    "ChangeEvent",
    "DLinear",
    "DSNClassifier",
    "ErrorSums",
    "LTSFBorders",
    "LTSFProtocol",
    "NLinear",
    "NSTransformer",
    "RecurrentForecaster",
    "SelfishRNN",
    "SparseForecaster",
    "SparseGRU",
    "SparseLSTM",
    "SparseRNNClassifier",
    "Standardisation",
    "Transformer",
    "covering",
    "detection_delay",
    "f1_score_with_margin",
    "from_ruptures",
    "ltsf_borders",
    "ltsf_protocol",
    "mae",
    "mse",
    "n_windows",
    "repeat_last",
    "standardise",
    "to_ruptures",
]

_HOMES = {
    "ALACPD": "change_points",
    "ChangeEvent": "change_points",
    "DLinear": "forecasting",
    "DSNClassifier": "dsn",
    "ErrorSums": "metrics",
    "LTSFBorders": "protocols",
    "LTSFProtocol": "protocols",
    "NLinear": "forecasting",
    "NSTransformer": "forecasting",
    "PALS": "pals",
    "RecurrentForecaster": "forecasting",
    "SNTASGD": "recurrent",
    "SelfishRNN": "recurrent",
    "SparseForecaster": "forecasting",
    "SparseGRU": "recurrent",
    "SparseLSTM": "recurrent",
    "SparseRNNClassifier": "recurrent",
    "Standardisation": "protocols",
    "Transformer": "forecasting",
    "covering": "metrics",
    "detection_delay": "metrics",
    "f1_score_with_margin": "metrics",
    "from_ruptures": "metrics",
    "ltsf_borders": "protocols",
    "ltsf_protocol": "protocols",
    "mae": "metrics",
    "mse": "metrics",
    "n_windows": "protocols",
    "repeat_last": "protocols",
    "standardise": "protocols",
    "to_ruptures": "metrics",
}


def __getattr__(name: str) -> Any:
    """Import torch when a name is first used, not for `sparsewire --help`."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names for completion, imported or not."""
    return __all__
