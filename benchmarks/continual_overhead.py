"""What does the SpaceNet plugin add to Avalanche's Naive strategy, as a ratio in the same run?

    OMP_NUM_THREADS=1 SPARSEWIRE_DATA=... python benchmarks/continual_overhead.py

A 784-400-400-10 perceptron, SGD with learning rate 0.01, batch 128, split MNIST from tensors in
memory. Strategies take turns, epoch by epoch, each on the first two classes with a model of its
own; an epoch is timed in seconds of CPU, and its ratio is to the epoch of Naive next to it. The
table gives medians over all rounds.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from sparsewire import datasets
from sparsewire.continual.avalanche import SpaceNetPlugin, class_incremental

from avalanche.training.plugins import EvaluationPlugin, SupervisedPlugin  # isort: skip
from avalanche.training.supervised import Naive  # isort: skip


class EpochTimer(SupervisedPlugin):
    """Notes the CPU time of every training epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self._started = 0.0

    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        """Start the clock; it runs while the plugins behind prepare the epoch."""
        self._started = time.process_time()

    def after_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        """Stop the clock."""
        self.seconds.append(time.process_time() - self._started)


def make_strategy(sparse: bool, epochs: int, momentum: float) -> tuple[Naive, EpochTimer]:
    """Return a strategy with a model of its own, and its clock."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 400), nn.ReLU(), nn.Linear(400, 10)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=momentum)
    timer = EpochTimer()
    plugins = [timer, SpaceNetPlugin()] if sparse else [timer]
    strategy = Naive(
        model=model,
        optimizer=optimizer,
        train_mb_size=128,
        train_epochs=epochs,
        plugins=plugins,
        evaluator=EvaluationPlugin(loggers=[_Silent()]),
    )
    return strategy, timer


class _Silent:
    def log_metrics(self, values: list[Any]) -> None:
        """Log nothing."""


def epoch_seconds(sparse: bool, experience: Any, momentum: float) -> Callable[[], float]:
    """Return a function that trains a new strategy for two epochs and times the second one."""

    def run() -> float:
        strategy, timer = make_strategy(sparse, 2, momentum)
        strategy.train(experience)
        return timer.seconds[-1]  # with the rewiring in front of it

    return run


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--momentum", type=float, default=0.0)
    arguments = parser.parse_args()
    mnist = datasets.load("mnist")
    X, y = mnist.X, mnist.y
    pixels = (X.reshape(len(X), -1) / 255 - 0.1307) / 0.3081
    benchmark = class_incremental((pixels[:60000], y[:60000]), (pixels[60000:], y[60000:]))
    experience = benchmark.train_stream[0]
    runs = {
        sparse: epoch_seconds(sparse, experience, arguments.momentum) for sparse in (False, True)
    }
    for run in runs.values():
        run()
    rounds = [{sparse: run() for sparse, run in runs.items()} for _ in range(arguments.rounds)]
    naive = statistics.median(r[False] for r in rounds)
    ratio = statistics.median(r[True] / r[False] for r in rounds)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s), {len(rounds)} rounds")
    print("| Naive, CPU seconds per epoch | Naive + SpaceNetPlugin, ratio |\n|---|---|")
    print(f"| {naive:.3f} | {ratio:.3f} |")


if __name__ == "__main__":
    main()
