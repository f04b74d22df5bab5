"""Feature selection with sparse neural networks, as scikit-learn selectors."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparsewire.featsel.evaluation import evaluate
    from sparsewire.featsel.quickselection import QuickSelection

__all__ = ["QuickSelection", "evaluate"]

_HOMES = {"QuickSelection": "quickselection", "evaluate": "evaluation"}


def __getattr__(name: str) -> Any:
    """Import torch and scikit-learn when a selector is first used, not for `sparsewire --help`."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names for completion, imported or not."""
    return __all__
