"""Accuracy of QuickSelection beside the published numbers, with random features as a reference.

    SPARSEWIRE_DATA=... python benchmarks/quickselection.py --datasets coil20 madelon --seeds 5

The published row is "QS" of Table 7 of the NeuroFS paper (K = 50; judges SVM, 1-NN, ExtraTrees);
it gives no number for Madelon. Selection sees the training rows only; the judges are those of the
"neurofs" protocol, on Madelon those of "clean". One JSON line per run, then a Markdown table.
"""

import argparse
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Literal

import numpy as np
from sklearn.model_selection import train_test_split

from sparsewire import datasets
from sparsewire.featsel import QuickSelection, evaluate

PUBLISHED = {
    "coil20": {"svc": (96.52, 1.53), "knn": (98.80, 0.38), "extra_trees": (99.25, 0.47)},
    "mnist": {"svc": (93.62, 0.49), "knn": (89.30, 0.76), "extra_trees": (91.95, 0.58)},
}
JUDGES = ("svc", "knn", "extra_trees")


def run(name: str, seed: int, epochs: int, method: str) -> dict[str, float | str | int]:
    """Select on the training rows of one data set and judge the selection."""
    data = datasets.load(name)
    k = 20 if name == "madelon" else 50
    if data.n_train is None:
        rows = train_test_split(np.arange(len(data.X)), test_size=0.2, random_state=42)[0]
    else:
        rows = np.arange(data.n_train)
    started = time.perf_counter()
    if method == "random":
        support = np.random.default_rng(seed).choice(data.X.shape[1], k, replace=False)
    else:
        selector = QuickSelection(
            k,
            epochs=epochs,
            output_activation="tanh" if name == "madelon" else "linear",
            random_state=seed,
        )
        support = selector.fit(data.X[rows].astype(np.float32)).order_[:k]
    seconds = time.perf_counter() - started
    protocol: Literal["clean", "neurofs"] = "clean" if name == "madelon" else "neurofs"
    scores = evaluate(data.X, data.y, support, protocol=protocol, n_train=data.n_train, seed=seed)
    percent = {judge: 100 * scores[judge] for judge in JUDGES}
    return {"data": name, "method": method, "seed": seed, "k": k, "seconds": seconds, **percent}


def table(runs: list[dict[str, float | str | int]], epochs: int) -> str:
    """Return a Markdown table of mean and standard deviation over seeds."""
    lines = ["| data, K | method | seeds | SVM | 1-NN | ExtraTrees | seconds |", "|---" * 7 + "|"]
    for name, method in dict.fromkeys((r["data"], r["method"]) for r in runs):
        own = [r for r in runs if (r["data"], r["method"]) == (name, method)]
        cells = [_cell([float(r[judge]) for r in own]) for judge in JUDGES]
        label = f"QuickSelection, {epochs} epochs" if method == "quickselection" else method
        seconds = np.median([float(r["seconds"]) for r in own])
        row = (f"{name}, {own[0]['k']}", label, str(len(own)), *cells, f"{seconds:.0f}")
        lines.append(f"| {' | '.join(map(str, row))} |")
        if method == "quickselection" and name in PUBLISHED:
            published = [f"{m:.2f} ± {s:.2f}" for m, s in PUBLISHED[str(name)].values()]
            lines.append(f"| | published | 5 | {' | '.join(published)} | |")
    return "\n".join(lines)


def _cell(values: list[float]) -> str:
    return f"{np.mean(values):.2f} ± {np.std(values):.2f}"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", nargs="+", default=["coil20", "madelon", "mnist"])
    parser.add_argument("--methods", nargs="+", default=["random", "quickselection"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--output", type=Path, help="JSON lines are appended here too")
    options = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)  # constant pixels
    runs = []
    for name in options.datasets:
        for method in options.methods:
            for seed in options.seeds:
                runs.append(run(name, seed, options.epochs, method))
                line = json.dumps(runs[-1])
                print(line, file=sys.stderr, flush=True)
                if options.output:
                    with options.output.open("a") as file:
                        file.write(line + "\n")
    print(table(runs, options.epochs))


if __name__ == "__main__":
    main()
