"""How do several processes train one sparse network? Each learns digits from its own part of them.

Run ``torchrun --standalone --nproc-per-node 2 examples/parallel_training.py``, or with plain
``python`` for a single process; it takes some seconds and downloads nothing.
"""

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

import sparsewire
from sparsewire import datasets
from sparsewire.core.parallel import ParallelTraining

BATCH = 64


def join() -> None:
    """Meet the other processes that torchrun has started, if it has."""
    if dist.is_torchelastic_launched():
        dist.init_process_group("gloo")
    else:
        store = dist.HashStore()  # type: ignore[attr-defined]
        dist.init_process_group("gloo", store=store, rank=0, world_size=1)


def load() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return this process's training rows, equally many in each process, and all test rows."""
    digits = datasets.load("digits")
    X = torch.as_tensor(digits.X / 16, dtype=torch.float32)
    y = torch.as_tensor(digits.y.astype(np.int64))
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    train, test = order[:1440], order[1440:]
    own = train[dist.get_rank() :: dist.get_world_size()][: len(train) // dist.get_world_size()]
    return (X[own], y[own]), (X[test], y[test])


def batches(X: Tensor, y: Tensor, epochs: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield shuffled batches; all processes together see BATCH rows at a time."""
    generator = torch.Generator().manual_seed(dist.get_rank())
    size = max(1, BATCH // dist.get_world_size())
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(y), generator=generator), size):
            yield X[rows], y[rows]


def build(epochs: int, steps: int) -> sparsewire.SparsityHandle:
    """Return a truly sparse network, the same in every process."""
    torch.manual_seed(0)
    layers = [nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)]
    model = nn.Sequential(*layers)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    method = sparsewire.RigL(update_interval=max(1, steps // epochs), end=steps * 3 // 4)
    return sparsewire.sparsify(model, optimizer, density=0.1, method=method, storage="csr")


def accuracies(model: nn.Module, X: Tensor, y: Tensor) -> list[Any]:
    """Return the test accuracy of every process."""
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, float((model(X).argmax(1) == y).float().mean()))
    return found


def report(moment: str, found: list[float]) -> None:
    """Print a line, once."""
    if dist.get_rank() == 0:
        print(f"{moment}:", ", ".join(f"{100 * accuracy:.1f} %" for accuracy in found))


def main() -> None:
    """Share gradients for 70 % of the steps, train alone, average, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=20, help="passes over the training rows")
    parser.add_argument("--delayed", action="store_true", help="use gradients one step old")
    options = parser.parse_args()
    join()
    torch.set_num_threads(1)
    (X, y), test = load()
    steps = sum(1 for _ in batches(X, y, options.epochs))
    handle = build(options.epochs, steps)
    parallel = ParallelTraining(handle, local_after=steps * 7 // 10, delayed=options.delayed)
    for rows, labels in batches(X, y, options.epochs):
        handle.optimizer.zero_grad()
        F.cross_entropy(handle.model(rows), labels).backward()  # type: ignore[no-untyped-call]
        handle.optimizer.step()
    report("test accuracy of each process alone", accuracies(handle.model, *test))
    parallel.finish()
    report("test accuracy of their average", accuracies(handle.model, *test))
    report("density", [handle.density()])
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
