"""Can a sparse network count bumps in noisy series of unequal length? It depends on exploration.

Somewhere in a noisy series there is no bump, one, or two. DSN is trained with taps that explore,
with taps that stay where they begin, and with all of them. Written are pictures of where the taps
of the first have gone, and of what each step of a series says to it. Run
``python examples/classify_series.py``; it takes some seconds and downloads nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from sparsewire.reporting.figures import save
from sparsewire.reporting.terminal import print_table
from sparsewire.timeseries import DSNClassifier
from sparsewire.timeseries.dsn.plots import class_activation_figure, receptive_field_figure

Series = npt.NDArray[np.float64]
HEADER = ("taps", "test accuracy", "FLOPs of full kernels", "seconds")
WIDTH = 10
BUMP = np.sin(np.linspace(0, np.pi, WIDTH))


def make(n_series: int, seed: int) -> tuple[list[Series], list[str]]:
    """Return series of 60 to 100 steps and their labels."""
    rng = np.random.default_rng(seed)
    series, labels = [], []
    for index in range(n_series):
        length, n_bumps = int(rng.integers(60, 101)), index % 3
        values = 0.3 * rng.normal(size=length)
        for start in rng.choice(np.arange(0, length - WIDTH, 2 * WIDTH), n_bumps, replace=False):
            values[start : start + WIDTH] += 2 * BUMP
        series.append(values)
        labels.append(("none", "one", "two")[n_bumps])
    return series, labels


def draw(clf: DSNClassifier, series: Series, label: str, folder: Path) -> None:
    """Write where the taps lie, and what the steps of a series add to the score of its class."""
    (maps,) = clf.class_activation([series]).contributions
    pictures = {
        "activation": class_activation_figure(
            series, maps[list(clf.classes_).index(label)], label=label
        ),
        "kernels": receptive_field_figure(clf.receptive_field()),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in pictures.items():
        path = folder / f"classify_series_{name}.png"
        save(figure, path)
        print(f"wrote {path}")


def main() -> None:
    """Train the three, print a table, explain the first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=40, help="epochs of each network")
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder to write into")
    options = parser.parse_args()
    torch.set_num_threads(1)  # more would only wait for one another
    X, y = make(90, seed=0)
    X_test, y_test = make(90, seed=1)
    fitted, rows = {}, []
    for topology in ("dynamic", "static", "dense"):
        clf = DSNClassifier(
            n_filters=8, depth=2, topology=topology, n_epochs=options.epochs, random_state=0
        )
        fitted[topology] = clf.fit(X, y)
        flops, seconds = clf.flops_, sum(clf.history_["seconds"])
        rows.append((
            topology,
            f"{100 * clf.score(X_test, y_test):.1f} %",
            f"{100 * flops.sparse / flops.dense:.0f} %",
            f"{seconds:.1f}",
        ))  # fmt: skip
    print_table("none, one or two; masks save theoretical FLOPs, no time", HEADER, rows)
    draw(fitted["dynamic"], X_test[2], y_test[2], options.output)


if __name__ == "__main__":
    main()
