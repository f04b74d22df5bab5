"""What ``sparsewire rl`` is made of: run folders, checkpoints, evaluation, benches and plots."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparsewire.rl.command.benching import run_bench

__all__ = ["run_bench"]


def __getattr__(name: str) -> Any:
    """Import what a name needs when it is first used."""
    if name in __all__:
        return getattr(import_module(f"{__name__}.benching"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names for completion, imported or not."""
    return __all__
