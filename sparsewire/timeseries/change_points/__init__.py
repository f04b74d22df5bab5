"""Change points of streams, found online by an ensemble of auto-encoders."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparsewire.timeseries.change_points.detector import ALACPD, Detection
    from sparsewire.timeseries.change_points.stream import ChangeEvent

__all__ = ["ALACPD", "ChangeEvent", "Detection"]

_HOMES = {"ALACPD": "detector", "ChangeEvent": "stream", "Detection": "detector"}


def __getattr__(name: str) -> Any:
    """Import numba and scikit-learn when the detector is first used."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names for completion, imported or not."""
    return __all__
