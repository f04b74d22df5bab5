"""Can a network of a million neurons be trained on two cores, and what does it take?

Trains a truly sparse multilayer perceptron with SET on a synthetic microarray problem (few samples,
thousands of features, class centres hidden in noise) and prints time and memory.

    python benchmarks/million.py                               # 903 317 neurons, 31.6 M connections
    python benchmarks/million.py --hidden 1000000 --steps 3    # 3 003 317 neurons, 105 M
"""

import argparse
import itertools
import math
import resource
import time

import torch
from torch import Tensor, nn

from sparsewire import SET, sparsify
from sparsewire.core import AllReLU, SetEpsilon

FEATURES, CLASSES, SAMPLES = 3312, 5, 135


def network(hidden: int) -> nn.Sequential:
    """Build the layers without weights."""
    widths = [FEATURES, hidden, hidden, hidden, CLASSES]
    layers: list[nn.Module] = []
    with torch.device("meta"):
        for number, (n_in, n_out) in enumerate(itertools.pairwise(widths), start=1):
            layers += [nn.Linear(n_in, n_out), AllReLU(0.6, layer=number)]
    return nn.Sequential(*layers[:-1])


def microarray(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return samples around one centre per class, hidden in as much noise."""
    target = torch.arange(SAMPLES) % CLASSES
    centres = torch.randn(CLASSES, FEATURES, generator=generator)
    noise = torch.randn(SAMPLES, FEATURES, generator=generator)
    return (centres[target] + noise) / math.sqrt(2), target


def peak() -> float:
    """Return the largest memory the process has had, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main() -> None:
    """Build, train and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", type=int, default=300_000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=None, help="stop after so many steps")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=0.01)
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    print(f"{torch.get_num_threads()} threads; imports take {peak():.2f} GB")

    start, cpu = time.perf_counter(), time.process_time()
    model = network(options.hidden)
    optimizer = torch.optim.SGD(model.parameters(), lr=options.lr, momentum=0.9, fused=True)
    steps = math.ceil(SAMPLES / options.batch)
    handle = sparsify(
        model,
        optimizer,
        method=SET(update_interval=steps, drop_fraction=0.3),
        allocation=SetEpsilon(20),
        storage="csr",
    )
    neurons = FEATURES + 3 * options.hidden + CLASSES
    connections = sum(p.numel() for p in model.parameters() if p.ndim == 1) - neurons + FEATURES
    print(
        f"{neurons:,} neurons, {connections:,} connections: built in "
        f"{time.perf_counter() - start:.1f} s ({time.process_time() - cpu:.1f} s CPU), "
        f"peak {peak():.2f} GB"
    )
    X, target = microarray(generator)
    done = 0
    for epoch in range(options.epochs):
        order = torch.randperm(SAMPLES, generator=generator)
        losses, cpu, wall = [], time.process_time(), time.perf_counter()
        update_cpu = 0.0
        for rows in torch.split(order, options.batch):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(X[rows]), target[rows])
            torch.autograd.backward(loss)
            losses.append(loss.item() * len(rows))
            before, updates = time.process_time(), handle.updates
            optimizer.step()
            if handle.updates > updates:
                update_cpu = time.process_time() - before
            done += 1
            if done == options.steps:
                break
        print(
            f"epoch {epoch + 1}: loss {sum(losses) / SAMPLES:.4f}, {len(losses)} steps "
            f"{time.process_time() - cpu:.1f} s CPU of which SET update {update_cpu:.1f} s "
            f"({time.perf_counter() - wall:.1f} s wall), peak {peak():.2f} GB",
            flush=True,
        )
        if done == options.steps:
            break


if __name__ == "__main__":
    main()
