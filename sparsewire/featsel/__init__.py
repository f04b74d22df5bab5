"""Feature selection with sparse neural networks, as scikit-learn selectors."""

from sparsewire.featsel.evaluation import evaluate
from sparsewire.featsel.quickselection import QuickSelection

__all__ = ["QuickSelection", "evaluate"]
