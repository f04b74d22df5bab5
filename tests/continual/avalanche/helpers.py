"""Small benchmarks, models and strategies, and what every test of a plugin looks at."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sparsewire.continual.avalanche import SparsePlugin, class_incremental

from avalanche.models import (  # isort: skip
    IncrementalClassifier,
    MultiHeadClassifier,
    MultiTaskModule,
)
from avalanche.training.plugins import EvaluationPlugin  # isort: skip
from avalanche.training.supervised import Naive  # isort: skip

FEATURES, CLASSES = 12, 6


class Silent:
    """A logger that logs nothing; Avalanche warns if it has none."""

    def log_metrics(self, values: list[Any]) -> None:
        """Take them and forget them."""


def arrays(n: int = 120, seed: int = 0) -> tuple[Any, Any]:
    """Return inputs whose largest of the first features names the class."""
    generator = np.random.default_rng(seed)
    y = np.arange(n) % CLASSES
    X = generator.normal(size=(n, FEATURES)).astype(np.float32)
    X[np.arange(n), y] += 3
    return X, y


def benchmark(n_tasks: int = 3, **options: Any) -> Any:
    return class_incremental(arrays(), arrays(60, seed=1), n_tasks, **options)


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(FEATURES, 30), nn.ReLU(), nn.Linear(30, 30), nn.ReLU(), nn.Linear(30, CLASSES)
    )


class Growing(nn.Module):
    """A network whose classifier gains rows when classes appear."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Linear(FEATURES, 30), nn.ReLU())
        self.classifier = IncrementalClassifier(30, 2)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.classifier(self.features(x))
        return scores


class MultiHead(MultiTaskModule):
    """A network with a head per task."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Linear(FEATURES, 30), nn.ReLU())
        self.classifier = MultiHeadClassifier(30, 2)

    def forward(self, x: Tensor, task_labels: Tensor) -> Tensor:
        scores: Tensor = self.classifier(self.features(x), task_labels)
        return scores


class Convolutional(nn.Module):
    """Batch normalisation and a flattened map in front of the classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Unflatten(1, (1, 3, 4)),
            nn.Conv2d(1, 15, 3, padding=1),
            nn.BatchNorm2d(15),
            nn.ReLU(),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.Flatten(),
            nn.Linear(60, 30),
            nn.BatchNorm1d(30),
            nn.ReLU(),
            nn.Linear(30, CLASSES),
        )

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.body(x)
        return scores


OPTIMIZERS: dict[str, Any] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.01),
}


def strategy(
    plugins: Sequence[Any],
    model: nn.Module | None = None,
    *,
    optimizer: str = "momentum",
    metrics: Sequence[Any] = (),
    **options: Any,
) -> Any:
    model = mlp() if model is None else model
    settings = {"train_mb_size": 8, "eval_mb_size": 16, "train_epochs": 2} | options
    return Naive(
        model=model,
        optimizer=OPTIMIZERS[optimizer](model.parameters()),
        plugins=list(plugins),
        evaluator=EvaluationPlugin(*metrics, loggers=[Silent()]),
        **settings,
    )


def owned_weights(plugin: SparsePlugin) -> dict[str, Tensor]:
    """Return by layer the weights of finished tasks, others 0."""
    kept = {}
    for name, owner in plugin.method.owners().items():
        weight = plugin.method.model.get_parameter(f"{name}.weight").detach()
        grid = weight.reshape(*owner.shape, -1)
        kept[name] = grid * (owner > 0).unsqueeze(2)
    return kept


def same_where_owned(before: dict[str, Tensor], plugin: SparsePlugin, tasks: int) -> bool:
    """Tell whether weights that the first tasks own have every bit they had."""
    for name, owner in plugin.method.owners().items():
        weight = plugin.method.model.get_parameter(f"{name}.weight").detach()
        grid = weight.reshape(*owner.shape, -1)
        mine = (owner > 0) & (owner <= tasks)
        rows = before[name].shape[0]
        if bool(mine[rows:].any()):
            return False
        if not torch.equal(grid[:rows][mine[:rows]], before[name][mine[:rows]]):
            return False
    return True
