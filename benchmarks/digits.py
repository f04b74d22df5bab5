"""Which growth rule learns best on digits, and how often should the topology change?

    OMP_NUM_THREADS=1 python benchmarks/digits.py --seeds 10 --jobs 2

A 64-128-128-10 perceptron with Erdős–Rényi densities on scikit-learn's digits (70 % of the rows
for training, split by seed), batch 128, SGD with learning rate 0.1 and momentum 0.9. First table:
static, SET and RigL at three densities, an update every 10 steps, drop fraction 0.3 constant.
Second table: SET at density 0.05, update intervals with a constant and with an annealed drop
fraction. Test accuracy in per cent, mean and standard deviation over seeds.
"""

import argparse
from collections.abc import Sequence

import numpy as np
import torch
from joblib import Parallel, delayed
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

import sparsewire
from sparsewire.core import Constant, Cosine, Method

STEPS = 1200
DENSITIES = (0.10, 0.03, 0.015)
INTERVALS = (10, 50, 150)


def accuracy(method: Method, density: float, seed: int) -> float:
    """Train one network and return its test accuracy in per cent."""
    torch.set_num_threads(1)
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(
        (X / 16).astype(np.float32), y, test_size=0.3, random_state=seed, stratify=y
    )
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    sparsewire.sparsify(
        model, optimizer, density=density, method=method, allocation="er", seed=seed
    )
    inputs, labels = torch.from_numpy(X_train), torch.from_numpy(y_train)
    order = torch.Generator().manual_seed(seed)
    for _ in range(STEPS):
        batch = torch.randint(len(labels), (128,), generator=order)
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(model(inputs[batch]), labels[batch]))
        optimizer.step()
    with torch.no_grad():
        predicted = model(torch.from_numpy(X_test)).argmax(1).numpy()
    return 100 * float((predicted == y_test).mean())


def cell(method: Method, density: float, seeds: Sequence[int], jobs: int) -> str:
    """Return mean and standard deviation over seeds."""
    values = Parallel(n_jobs=jobs)(delayed(accuracy)(method, density, seed) for seed in seeds)
    return f"{np.mean(values):.1f} ± {np.std(values):.1f}"


def growth_table(seeds: Sequence[int], jobs: int) -> None:
    """Print static, SET and RigL at several densities."""
    constant = Constant(0.3)
    methods: dict[str, Method] = {
        "static": sparsewire.Static(),
        "SET": sparsewire.SET(update_interval=10, drop_fraction=constant),
        "SET, magnitude": sparsewire.SET(10, constant, drop="magnitude"),
        "RigL": sparsewire.RigL(update_interval=10, drop_fraction=constant),
    }
    print("| density | " + " | ".join(methods) + " |\n|" + "---|" * (len(methods) + 1))
    for density in DENSITIES:
        cells = [cell(method, density, seeds, jobs) for method in methods.values()]
        print(f"| {density:g} | {' | '.join(cells)} |", flush=True)


def interval_table(seeds: Sequence[int], jobs: int) -> None:
    """Print SET with several update intervals."""
    print(f"\nstatic, density 0.05: {cell(sparsewire.Static(), 0.05, seeds, jobs)}\n")
    print("| interval | constant drop fraction | annealed drop fraction |\n|---|---|---|")
    for interval in INTERVALS:
        schedules = (Constant(0.3), Cosine(0.3, 0.0, end=STEPS))
        cells = [
            cell(sparsewire.SET(interval, schedule, end=STEPS), 0.05, seeds, jobs)
            for schedule in schedules
        ]
        print(f"| {interval} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    growth_table(range(options.seeds), options.jobs)
    interval_table(range(options.seeds), options.jobs)


if __name__ == "__main__":
    main()
