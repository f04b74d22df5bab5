"""Dynamic sparse networks (DSN) that classify time series, as a scikit-learn estimator."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparsewire.timeseries.dsn.adapters import to_aeon, to_sktime
    from sparsewire.timeseries.dsn.classifier import DSNClassifier

__all__ = ["DSNClassifier", "to_aeon", "to_sktime"]

_HOMES = {"DSNClassifier": "classifier", "to_aeon": "adapters", "to_sktime": "adapters"}


def __getattr__(name: str) -> Any:
    """Import torch and scikit-learn when the classifier is first used."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names for completion, imported or not."""
    return __all__
