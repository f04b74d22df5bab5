"""What ``sparsewire bench ts`` is made of: classifiers, forecasters and detectors compared."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparsewire.timeseries.benchmark.classification import ClassifyBench
    from sparsewire.timeseries.benchmark.detection import DetectBench
    from sparsewire.timeseries.benchmark.forecasting import ForecastBench
    from sparsewire.timeseries.benchmark.running import BenchResult, run_bench

__all__ = ["BenchResult", "ClassifyBench", "DetectBench", "ForecastBench", "run_bench"]

_HOMES = {
    "BenchResult": "running",
    "ClassifyBench": "classification",
    "DetectBench": "detection",
    "ForecastBench": "forecasting",
    "run_bench": "running",
}


def __getattr__(name: str) -> Any:
    """Import what a name needs when it is first used."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names for completion, imported or not."""
    return __all__
