"""What does the engine add to a training step, as a ratio to the dense step in the same run?

    OMP_NUM_THREADS=1 python benchmarks/overhead.py

A 784-1000-1000-10 perceptron, batch 128, cross-entropy. Dense, static mask and RigL every 100 steps
(ERK, density 0.1) take turns in blocks of 100 steps; the ratio of a block is its time over the time
of the dense block next to it, and the table gives medians over all blocks. A block of RigL contains
exactly one topology update. Batches come from a pool too large to memorise: on a memorised batch
gradients underflow to denormal numbers, which slow every arithmetic operation down.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

import sparsewire

BLOCK = 100


def random_batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return the pool of batches."""
    return [(torch.randn(128, 784), torch.randint(0, 10, (128,))) for _ in range(200)]


def training_step(
    optimizer_name: str, method: str | None, batches: list[tuple[torch.Tensor, torch.Tensor]]
) -> Callable[[], None]:
    """Return a function that does one training step of a fresh model."""
    model = nn.Sequential(
        nn.Linear(784, 1000), nn.ReLU(), nn.Linear(1000, 1000), nn.ReLU(), nn.Linear(1000, 10)
    )
    optimizer: torch.optim.Optimizer
    if optimizer_name == "sgd":
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    else:
        optimizer = torch.optim.Adam(model.parameters(), fused=optimizer_name == "fused adam")
    pool = itertools.cycle(batches)
    if method is not None:
        sparsewire.sparsify(model, optimizer, density=0.1, method=method)

    def step() -> None:
        x, y = next(pool)
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(model(x), y))
        optimizer.step()

    return step


def seconds(step: Callable[[], None]) -> float:
    """Return the time of one block."""
    started = time.perf_counter()
    for _ in range(BLOCK):
        step()
    return time.perf_counter() - started


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=15)
    blocks = parser.parse_args().blocks
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s), {blocks} blocks")
    batches = random_batches()
    print("| optimizer | dense step, ms | static / dense | RigL / dense |\n|---|---|---|---|")
    for optimizer in ("sgd", "fused adam", "adam"):
        steps = {m: training_step(optimizer, m, batches) for m in (None, "static", "rigl")}
        for step in steps.values():
            seconds(step)
        times = [{m: seconds(step) for m, step in steps.items()} for _ in range(blocks)]
        dense = 1000 * statistics.median(t[None] for t in times) / BLOCK
        ratios = [statistics.median(t[m] / t[None] for t in times) for m in ("static", "rigl")]
        print(f"| {optimizer} | {dense:.2f} | {ratios[0]:.3f} | {ratios[1]:.3f} |", flush=True)


if __name__ == "__main__":
    main()
