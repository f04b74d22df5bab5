"""Continual learning with sparse connections: old tasks stay, new ones find room.

The methods work in any PyTorch loop; `sparsewire.continual.avalanche` has them as Avalanche plugins
and strategies. Importing this package imports no Avalanche.

>>> import torch, sparsewire.continual as continual
>>> model = torch.nn.Sequential(torch.nn.Linear(8, 20), torch.nn.ReLU(), torch.nn.Linear(20, 4))
>>> optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
>>> continual.SpaceNet(model, optimizer).connections()
{'0': 0, '2': 0}
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparsewire.continual.afaf import AFAF
    from sparsewire.continual.chain import Chain
    from sparsewire.continual.concept_cells import ConceptCells
    from sparsewire.continual.costs import Memory
    from sparsewire.continual.drift import DriftDetector
    from sparsewire.continual.dst_masks import DSTMasks
    from sparsewire.continual.measures import (
        average_accuracy,
        backward_transfer,
        forward_transfer,
        learning_curve_area,
    )
    from sparsewire.continual.method import ContinualMethod
    from sparsewire.continual.spacenet import SpaceNet

__all__ = [
    "AFAF",
    "Chain",
    "ConceptCells",
    "ContinualMethod",
    "DSTMasks",
    "DriftDetector",
    "Memory",
    "SpaceNet",
    "average_accuracy",
    "backward_transfer",
    "forward_transfer",
    "learning_curve_area",
]

_HOMES = {
    "AFAF": "afaf",
    "Chain": "chain",
    "ConceptCells": "concept_cells",
    "ContinualMethod": "method",
    "DSTMasks": "dst_masks",
    "DriftDetector": "drift",
    "Memory": "costs",
    "SpaceNet": "spacenet",
    "average_accuracy": "measures",
    "backward_transfer": "measures",
    "forward_transfer": "measures",
    "learning_curve_area": "measures",
}


def __getattr__(name: str) -> Any:
    """Import what a name needs when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"sparsewire.continual.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """List the public names for completion, imported or not."""
    return __all__
