"""How well, and how fast, does ALACPD find the change points that people marked?

Series of the Turing Change Point Dataset, default parameters for everyone: no detector sees the
annotations. F1 with a margin of 5 samples and covering, means over seeds; samples per second of
CPU time. "none" reports no change at all, which is hard to beat where people saw few changes.
ruptures' PELT and binary segmentation see the whole series at once and choose the number of changes
by a penalty; here the usual one, 2 m log(T) on standardised channels with a Gaussian cost ("l2").

    pip install ruptures
    SPARSEWIRE_DATA=... OMP_NUM_THREADS=1 python benchmarks/change_points.py --figures figures
"""

import argparse
import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sparsewire.datasets import load_change_points
from sparsewire.reporting.figures import save
from sparsewire.timeseries.change_points import ALACPD
from sparsewire.timeseries.change_points.network import Floats
from sparsewire.timeseries.change_points.plots import change_points_figure
from sparsewire.timeseries.metrics import covering, f1_score_with_margin, from_ruptures

SERIES = (
    "run_log",
    "nile",
    "bank",
    "businv",
    "seatbelts",
    "us_population",
    "quality_control_1",
    "quality_control_2",
    "quality_control_3",
    "well_log",
)
REFERENCE: dict[str, Any] = {
    "location": "reference",
    "causal": False,
    "prequential": False,
    "aligned_ar": False,
    "threshold_low": 1.4,
}
Detector = Callable[[Floats, int], list[int]]


def alacpd(**options: Any) -> Detector:
    """Return a detector with the given parameters, otherwise default ones."""
    return lambda X, seed: ALACPD(random_state=seed, missing="hold", **options).predict(X)


def penalised(search: str) -> Detector:
    """Return a search of ruptures."""
    try:
        ruptures = importlib.import_module("ruptures")
    except ImportError as error:
        raise SystemExit("this benchmark compares with ruptures: pip install ruptures") from error

    def detect(X: Floats, seed: int) -> list[int]:
        X = (X - X.mean(axis=0)) / np.maximum(X.std(axis=0), 1e-12)
        penalty = 2 * X.shape[1] * np.log(len(X))
        algorithm = getattr(ruptures, search)(model="l2", min_size=2, jump=1)
        return from_ruptures(int(k) for k in algorithm.fit(X).predict(pen=penalty))

    return detect


def contenders() -> dict[str, tuple[Detector, bool]]:
    """Return detectors by name, and whether they depend on a seed."""
    return {
        "none": (lambda X, seed: [], False),
        "PELT": (penalised("Pelt"), False),
        "BinSeg": (penalised("Binseg"), False),
        "reference": (alacpd(**REFERENCE), True),
        "low=1.4": (alacpd(threshold_low=1.4), True),
        "ALACPD": (alacpd(), True),
    }


def measure(name: str, detect: Detector, n_seeds: int) -> list[float]:
    """Return mean number of change points, F1, covering and samples per second."""
    series = load_change_points(name)
    rows = []
    for seed in range(n_seeds):
        started = time.process_time()
        found = detect(series.values, seed)
        seconds = time.process_time() - started
        f1 = f1_score_with_margin(series.annotations, found)
        cover = covering(series.annotations, found, len(series.values))
        rows.append([len(found), f1, cover, len(series.values) / max(seconds, 1e-9)])
    means: list[float] = np.mean(rows, axis=0).tolist()
    return means


def draw(name: str, folder: Path) -> None:
    """Write a figure of what the default detector finds."""
    series, detector = load_change_points(name), ALACPD(random_state=0, missing="hold")
    found = detector.detect(series.values)
    figure = change_points_figure(
        series.values,
        found,
        threshold=detector.threshold_low_,
        annotations=series.annotations,
        columns=series.columns,
    )
    save(figure, folder / f"{name}.png")


def main() -> None:
    """Measure and print a table of F1 / covering (number of change points)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", nargs="+", default=SERIES, help="names of the data sets")
    parser.add_argument("--seeds", type=int, default=3, help="runs of what depends on a seed")
    parser.add_argument("--figures", type=Path, help="folder for figures of what is found")
    arguments = parser.parse_args()
    detectors, totals, rates = contenders(), [], []
    ALACPD(random_state=0).predict(np.random.default_rng(0).normal(size=60))  # compiles
    print(f"{'series':18}" + "".join(f"{name:>21}" for name in detectors))
    for name in arguments.series:
        cells = [
            measure(name, detect, arguments.seeds if seeded else 1)
            for detect, seeded in detectors.values()
        ]
        totals.append([cell[1:3] for cell in cells])
        rates.append(cells[-1][3])
        print(f"{name:18}" + "".join(f"{f:9.3f} /{c:6.3f} ({n:2.0f})" for n, f, c, _ in cells))
        if arguments.figures is not None:
            arguments.figures.mkdir(parents=True, exist_ok=True)
            draw(name, arguments.figures)
    print(f"{'mean':18}" + "".join(f"{f:9.3f} /{c:6.3f}     " for f, c in np.mean(totals, axis=0)))
    print(f"ALACPD: {np.median(rates):.0f} samples per second of CPU time (median over series)")


if __name__ == "__main__":
    main()
