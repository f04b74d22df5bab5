"""Feature selection with sparse neural networks, as scikit-learn selectors."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparsewire.featsel.attribution import AttributionSelector
    from sparsewire.featsel.evaluation import evaluate
    from sparsewire.featsel.filters import LaplacianScore, RandomSelector
    from sparsewire.featsel.neurofs import NeuroFS
    from sparsewire.featsel.path import feature_path
    from sparsewire.featsel.quickselection import QuickSelection
    from sparsewire.featsel.stable import StableSelector
    from sparsewire.featsel.wast import WAST

__all__ = [
    "WAST",
    "AttributionSelector",
    "LaplacianScore",
    "NeuroFS",
    "QuickSelection",
    "RandomSelector",
    "StableSelector",
    "evaluate",
    "feature_path",
]

_HOMES = {
    "AttributionSelector": "attribution",
    "LaplacianScore": "filters",
    "NeuroFS": "neurofs",
    "QuickSelection": "quickselection",
    "RandomSelector": "filters",
    "StableSelector": "stable",
    "WAST": "wast",
    "evaluate": "evaluation",
    "feature_path": "path",
}


def __getattr__(name: str) -> Any:
    """Import torch and scikit-learn when a selector is first used, not for `sparsewire --help`."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names for completion, imported or not."""
    return __all__
