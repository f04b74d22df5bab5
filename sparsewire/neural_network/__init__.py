"""Sparse multilayer perceptrons as scikit-learn estimators, like ``sklearn.neural_network``."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparsewire.neural_network.classifier import SparseMLPClassifier
    from sparsewire.neural_network.regressor import SparseMLPRegressor

__all__ = ["SparseMLPClassifier", "SparseMLPRegressor"]

_HOMES = {"SparseMLPClassifier": "classifier", "SparseMLPRegressor": "regressor"}


def __getattr__(name: str) -> Any:
    """Import scikit-learn when an estimator is first used, not for `sparsewire --help`."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names for completion, imported or not."""
    return __all__
