"""Every selector with parameters that let it fit in milliseconds."""

from collections.abc import Callable
from typing import Any

from sparsewire.featsel import (
    WAST,
    AttributionSelector,
    LaplacianScore,
    NeuroFS,
    QuickSelection,
    RandomSelector,
)
from sparsewire.featsel.base import BaseSelector

Make = Callable[..., Any]
SELECTORS: dict[str, tuple[type[BaseSelector], dict[str, Any]]] = {
    "QuickSelection": (QuickSelection, {"hidden_size": 12, "epochs": 3, "batch_size": 16}),
    "WAST": (WAST, {"hidden_size": 12, "epochs": 2, "batch_size": 16}),
    "NeuroFS": (NeuroFS, {"hidden_layer_sizes": (12, 8, 8), "epochs": 4, "batch_size": 16}),
    "AttributionSelector": (
        AttributionSelector,
        {"hidden_layer_sizes": (12, 8), "epochs": 2, "batch_size": 16},
    ),
    "LaplacianScore": (LaplacianScore, {}),
    "RandomSelector": (RandomSelector, {}),
}
SUPERVISED = ["NeuroFS", "AttributionSelector"]
NETWORKS = ["QuickSelection", "WAST", "NeuroFS", "AttributionSelector"]


def maker(name: str) -> Make:
    """Return a constructor of a selector that fits in milliseconds."""
    kind, fast = SELECTORS[name]

    def small(n_features_to_select: int | float | None = 4, **parameters: Any) -> Any:
        return kind(n_features_to_select, **{**fast, "random_state": 0, **parameters})

    return small
