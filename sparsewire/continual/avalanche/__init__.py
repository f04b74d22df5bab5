"""Sparse continual learning in Avalanche: plugins, strategies, benchmarks, metrics, checkpoints.

Importing this package imports Avalanche, which takes a few seconds.

>>> import torch
>>> from sklearn.datasets import load_digits
>>> from sparsewire.continual.avalanche import SpaceNetStrategy, class_incremental
>>> X, y = load_digits(return_X_y=True)
>>> benchmark = class_incremental((X / 16, y), (X / 16, y), n_tasks=5)
>>> model = torch.nn.Sequential(torch.nn.Linear(64, 100), torch.nn.ReLU(), torch.nn.Linear(100, 10))
>>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
>>> strategy = SpaceNetStrategy(model=model, optimizer=optimizer, train_mb_size=32)
>>> strategy.evaluator.loggers = []
>>> for experience in benchmark.train_stream:
...     _ = strategy.train(experience)
>>> len(strategy.plugins[0].method.tasks)
5
"""

from sparsewire.continual.avalanche._require import require_avalanche

require_avalanche()

from sparsewire.continual.avalanche.benchmarks import (
    class_incremental,
    input_permutation,
    permuted,
)
from sparsewire.continual.avalanche.checkpoints import (
    load_checkpoint,
    load_state,
    save_checkpoint,
    save_state,
)
from sparsewire.continual.avalanche.metrics import (
    IncrementalAccuracy,
    SparsityMetrics,
)
from sparsewire.continual.avalanche.plugins import (
    AFAFPlugin,
    SpaceNetPlugin,
    SparsePlugin,
    find_plugin,
)
from sparsewire.continual.avalanche.strategies import (
    AFAFStrategy,
    ConceptCellsStrategy,
    DSTMasksStrategy,
    SpaceNetStrategy,
)
from sparsewire.continual.avalanche.subnetwork_plugins import (
    ConceptCellsPlugin,
    DSTMasksPlugin,
)

__all__ = [
    "AFAFPlugin",
    "AFAFStrategy",
    "ConceptCellsPlugin",
    "ConceptCellsStrategy",
    "DSTMasksPlugin",
    "DSTMasksStrategy",
    "IncrementalAccuracy",
    "SpaceNetPlugin",
    "SpaceNetStrategy",
    "SparsePlugin",
    "SparsityMetrics",
    "class_incremental",
    "find_plugin",
    "input_permutation",
    "load_checkpoint",
    "load_state",
    "permuted",
    "save_checkpoint",
    "save_state",
]
