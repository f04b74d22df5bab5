"""Is a dynamic sparse network as accurate as a residual network, at a quarter of its cost?

Default splits of the UCR and UEA sets in SPARSEWIRE_DATA, several seeds, against the published
accuracy of ResNet (tsml-eval, resample 0, which is the default split). Every result is appended to
a file at once; results that are there already are not computed again.

    SPARSEWIRE_DATA=... OMP_NUM_THREADS=1 python benchmarks/dsn_accuracy.py --out results.jsonl
"""

import argparse
import json
import math
import statistics
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sparsewire.datasets import load_panel
from sparsewire.timeseries.dsn import DSNClassifier
from sparsewire.timeseries.dsn.training import default_batch_size

RESNET: dict[str, float | None] = {
    "italypowerdemand": 96.5,
    "gunpoint": 99.3,
    "coffee": 100.0,
    "basicmotions": 100.0,
    "ering": 85.6,
    "cbf": 99.4,
    "racketsports": 90.8,
    "ecg200": 87.0,
    "arrowhead": 81.1,
    "beef": 76.7,
    "libras": 94.4,
    "trace": 100.0,
    "epilepsy": 99.3,
    "pendigits": 98.5,
    "osuleaf": 97.9,
    "japanesevowels": None,
    "pickupgesturewiimotez": None,
}
"""Accuracy in %, None where there is no published one; cheap sets first."""


def resnet_macs(n_channels: int) -> int:
    """Return multiply-accumulates per time step of the ResNet of Wang et al. (2017).

    Three blocks of convolutions with 8, 5 and 3 taps and 64, 128, 128 filters; the shortcuts of the
    first two are 1x1 convolutions.
    """
    macs, before = 0, n_channels
    for filters in (64, 128, 128):
        macs += 8 * before * filters + (5 + 3) * filters * filters
        macs += before * filters if before != filters else 0
        before = filters
    return macs


def epochs(n_series: int, most: int, steps: int) -> int:
    """Return the length of a run: a number of epochs, or of steps if there are many series."""
    return min(most, math.ceil(steps / math.ceil(n_series / default_batch_size(n_series))))


def measure(name: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train once and return what is to be recorded."""
    data = load_panel(name)
    clf = DSNClassifier(
        n_filters=options.n_filters,
        n_epochs=epochs(len(data.y_train), options.epochs, options.steps),
        learning_rate=options.learning_rate,
        normalise=options.normalise,
        density=options.density,
        random_state=seed,
    )
    started = time.process_time()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "kernel_size", UserWarning)
        clf.fit(data.X_train, data.y_train)
    return {
        "accuracy": 100 * float(clf.score(data.X_test, data.y_test)),
        "cpu_seconds": time.process_time() - started,
        "epochs": clf.n_epochs_,
        "macs": clf.flops_.macs_per_step,
        "share_of_resnet": clf.flops_.macs_per_step / resnet_macs(clf.n_channels_in_),
        "train_loss": min(clf.history_["loss"]),
    }


def runs(options: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """Yield data sets and seeds, all sets with the first seed before the next seed."""
    for seed in range(options.seeds):
        for name in options.sets or RESNET:
            yield name, seed


def main() -> None:
    """Measure what is missing and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="file of results, one JSON a line")
    parser.add_argument("--sets", nargs="*", help="data sets; all if left out")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--n-filters", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=200, help="at most")
    parser.add_argument("--steps", type=int, default=10_000, help="at most, about")
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--density", type=float, default=0.2)
    parser.add_argument("--normalise", default="none", choices=["none", "instance", "train"])
    options = parser.parse_args()
    settings = {k: v for k, v in vars(options).items() if k not in ("out", "sets", "seeds")}
    found: dict[tuple[str, int], dict[str, Any]] = {}
    if options.out.exists():
        for line in options.out.read_text().splitlines():
            row = json.loads(line)
            if row["settings"] == settings:
                found[row["name"], row["seed"]] = row
    for name, seed in runs(options):
        if (name, seed) not in found:
            row = {"name": name, "seed": seed, "settings": settings}
            row |= measure(name, seed, options)
            with options.out.open("a") as file:
                file.write(json.dumps(row) + "\n")
            found[name, seed] = row
            print(f"{name} seed {seed}: {row['accuracy']:.1f} %, {row['cpu_seconds']:.0f} s")
    report(found)


def report(found: dict[tuple[str, int], dict[str, Any]]) -> None:
    """Print a Markdown table and the means over sets with a published accuracy."""
    print("\n| data set | DSN, mean (deviation) | ResNet | MACs / ResNet | epochs | CPU s |")
    print("|---|---|---|---|---|---|")
    ours, theirs = [], []
    for name in dict.fromkeys(name for name, _ in found):
        rows = [row for (other, _), row in found.items() if other == name]
        accuracies = [row["accuracy"] for row in rows]
        mean, published = statistics.mean(accuracies), RESNET.get(name)
        if published is not None:
            ours.append(mean)
            theirs.append(published)
        print(
            f"| {name} | {mean:.1f} ({statistics.pstdev(accuracies):.1f}) | {published or '-'} | "
            f"{rows[0]['share_of_resnet']:.3f} | {rows[0]['epochs']} | "
            f"{statistics.mean(row['cpu_seconds'] for row in rows):.0f} |"
        )
    if ours:
        print(f"\nmean of {len(ours)} sets: DSN {statistics.mean(ours):.2f}, ", end="")
        print(f"ResNet {statistics.mean(theirs):.2f}")


if __name__ == "__main__":
    main()
