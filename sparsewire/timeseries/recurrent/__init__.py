"""Sparse recurrent networks: classifier, backbones, connections that move between gates, averaging.

The forecaster of the kind is ``SparseForecaster(model="lstm")`` or ``"gru"``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparsewire.timeseries.recurrent.averaging import SNTASGD
    from sparsewire.timeseries.recurrent.backbones import SparseGRU, SparseLSTM
    from sparsewire.timeseries.recurrent.classifier import SparseRNNClassifier
    from sparsewire.timeseries.recurrent.gates import SelfishRNN, gate_densities

__all__ = [
    "SNTASGD",
    "SelfishRNN",
    "SparseGRU",
    "SparseLSTM",
    "SparseRNNClassifier",
    "gate_densities",
]

_HOMES = {
    "SNTASGD": "averaging",
    "SelfishRNN": "gates",
    "SparseGRU": "backbones",
    "SparseLSTM": "backbones",
    "SparseRNNClassifier": "classifier",
    "gate_densities": "gates",
}


def __getattr__(name: str) -> Any:
    """Import torch when a name is first used."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names for completion, imported or not."""
    return __all__
