"""Does a truly sparse network learn Fashion-MNIST as well as the dense one, and does All-ReLU help?

    SPARSEWIRE_DATA=... OMP_NUM_THREADS=1 python benchmarks/fashion.py --epochs 20 --seeds 3

784-1000-1000-1000-10, pixels divided by 255, batch 128, He-uniform weights, Adam at 0.001 for all:
Curci et al. (2021) train for 500 epochs with SGD, too long to repeat here. Dense networks in plain
torch; SET and a static topology with 20 (n_in + n_out) connections per layer; SET at 5 % density.
Test accuracy in per cent after the last epoch, mean and standard deviation over seeds; median
seconds per epoch.
"""

import argparse
import math
import time
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn

from sparsewire import datasets
from sparsewire.core.csr import AllReLU
from sparsewire.neural_network import SparseMLPClassifier

SIZES = (784, 1000, 1000, 1000, 10)
BATCH, SLOPE = 128, 0.6
N_WEIGHTS = sum(a * b for a, b in pairwise(SIZES))
# The output layer has all its connections, so the hidden ones have a little less than 5 %.
FIVE_PERCENT = (0.05 * N_WEIGHTS - 10_000) / sum(a + b for a, b in pairwise(SIZES[:-1]))
RUNS: dict[str, dict[str, Any]] = {
    "dense, ReLU": {"activation": "relu"},
    "dense, All-ReLU": {"activation": "all-relu"},
    "SET, epsilon 20, ReLU": {"activation": "relu", "epsilon": 20},
    "SET, epsilon 20, All-ReLU": {"activation": "all-relu", "epsilon": 20},
    "static, epsilon 20, All-ReLU": {"activation": "all-relu", "epsilon": 20, "method": "static"},
    "SET, 5 % density, ReLU": {"activation": "relu", "epsilon": FIVE_PERCENT},
    "SET, 5 % density, All-ReLU": {"activation": "all-relu", "epsilon": FIVE_PERCENT},
}

Data = tuple[Any, Any]  # X, y
Outcome = tuple[float, float, int]  # accuracy in per cent, seconds per epoch, connections


def sparse(train: Data, test: Data, epochs: int, rate: float, seed: int, **other: Any) -> Outcome:
    """Train a truly sparse network."""
    model = SparseMLPClassifier(
        SIZES[1:-1], activation_slope=SLOPE, solver="adam", learning_rate_init=rate,
        weight_decay=0.0, batch_size=BATCH, max_iter=epochs, n_iter_no_change=np.inf,
        random_state=seed, **other,
    ).fit(*train)  # fmt: skip
    seconds = float(np.median(model.history_["seconds"]))
    return 100 * float(model.score(*test)), seconds, model.n_connections_


def dense(train: Data, test: Data, epochs: int, rate: float, seed: int, activation: str) -> Outcome:
    """Train the dense network in plain torch."""
    torch.manual_seed(seed)
    model = nn.Sequential()
    for number, (n_in, n_out) in enumerate(pairwise(SIZES), 1):
        linear = nn.Linear(n_in, n_out)
        nn.init.uniform_(linear.weight, -math.sqrt(6 / n_in), math.sqrt(6 / n_in))
        nn.init.zeros_(linear.bias)
        model.append(linear)
        if number < len(SIZES) - 1:
            model.append(AllReLU(SLOPE, number) if activation == "all-relu" else nn.ReLU())
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    X, y = (torch.from_numpy(array) for array in train)
    seconds = []
    for _ in range(epochs):
        started = time.perf_counter()
        order = torch.randperm(len(X))
        for start in range(0, len(X), BATCH):
            rows = order[start : start + BATCH]
            optimizer.zero_grad()
            torch.autograd.backward(nn.functional.cross_entropy(model(X[rows]), y[rows]))
            optimizer.step()
        seconds.append(time.perf_counter() - started)
    with torch.no_grad():
        right = model(torch.from_numpy(test[0])).argmax(1).numpy() == test[1]
    return 100 * float(right.mean()), float(np.median(seconds)), N_WEIGHTS


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rate", type=float, default=0.001)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="run the rows that contain this")
    options = parser.parse_args()
    data = datasets.load("fashion_mnist")
    train, test = (
        (X.astype(np.float32) / 255, y.astype(np.int64)) for X, y in (data.train(), data.test())
    )
    print("| network | connections | accuracy | by seed | s / epoch |\n|---|---|---|---|---|")
    for label, parameters in RUNS.items():
        if options.only not in label:
            continue
        run = sparse if "epsilon" in parameters else dense
        how = {"epochs": options.epochs, "rate": options.rate, **parameters}
        found = [run(train, test, seed=seed, **how) for seed in range(options.seeds)]
        accuracy, seconds, connections = np.array(found).T
        print(
            f"| {label} | {connections[0]:.0f} | {accuracy.mean():.2f} ± {accuracy.std():.2f} | "
            f"{' '.join(f'{value:.2f}' for value in accuracy)} | {np.median(seconds):.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
