"""What ``sparsewire bench featsel`` is made of: selectors compared over data sets and seeds."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparsewire.featsel.benchmark.running import BenchResult, run_bench

__all__ = ["BenchResult", "run_bench"]


def __getattr__(name: str) -> Any:
    """Import what a name needs when it is first used."""
    if name in __all__:
        return getattr(import_module(f"{__name__}.running"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names for completion, imported or not."""
    return __all__
