"""Do all selectors cope with a hundred thousand features and two hundred rows?

A synthetic table in the shape of gene expression data: columns in correlated modules of 20, two
classes, and 50 informative columns, spread over the table, whose mean differs between the classes
by one standard deviation, with either sign. Every selector runs in a process of its own, on one
thread, which reports its CPU time, its peak memory, and how many of the 50 it finds among the first
50 and the first 500.

    python benchmarks/genomics.py [--methods wast neurofs ...] [--json out.json]
"""

import argparse
import json
import multiprocessing
import os
import resource
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from sklearn.feature_selection import f_classif

N_ROWS, N_FEATURES, N_INFORMATIVE, MODULE = 200, 100_000, 50, 20


def make_table(
    seed: int,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the table, its classes, and the informative columns."""
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(N_ROWS, N_FEATURES)).astype(np.float32)
    shared = generator.normal(size=(N_ROWS, N_FEATURES // MODULE)).astype(np.float32)
    X = np.sqrt(0.5) * X + np.sqrt(0.5) * np.repeat(shared, MODULE, axis=1)
    y = generator.permutation(np.arange(N_ROWS) % 2)
    informative = generator.choice(N_FEATURES, N_INFORMATIVE, replace=False)
    signs = generator.choice([-0.5, 0.5], N_INFORMATIVE)
    X[:, informative] += (np.where(y[:, None] == 1, 1, -1) * signs).astype(np.float32)
    return X, y, informative


def _by_f_test(X: Any, y: Any) -> npt.NDArray[np.int64]:
    return np.argsort(-f_classif(X, y)[0], kind="stable")


def _by(name: str, **parameters: Any) -> Callable[[Any, Any], npt.NDArray[np.int64]]:
    def fit(X: Any, y: Any) -> npt.NDArray[np.int64]:
        from sparsewire import featsel

        selector = getattr(featsel, name)(N_INFORMATIVE, random_state=0, **parameters)
        order: npt.NDArray[np.int64] = selector.fit(X, y).order_
        return order

    return fit


def _by_stability(X: Any, y: Any) -> npt.NDArray[np.int64]:
    from sparsewire.featsel import WAST, StableSelector

    stable = StableSelector(WAST(N_INFORMATIVE, sensitivity=0.01), n_runs=3, random_state=0)
    order: npt.NDArray[np.int64] = stable.fit(X, y).order_
    return order


METHODS: dict[str, Callable[[Any, Any], npt.NDArray[np.int64]]] = {
    "SelectKBest (F-test)": _by_f_test,
    "QuickSelection": _by("QuickSelection"),
    "WAST": _by("WAST", sensitivity=0.01),
    "NeuroFS": _by("NeuroFS", batch_size=20, storage="auto"),
    "AttributionSelector": _by("AttributionSelector", batch_size=32, density=0.02),
    "LaplacianScore": _by("LaplacianScore"),
    "RandomSelector": _by("RandomSelector"),
    "StableSelector(WAST)": _by_stability,
}


def run(name: str, seed: int) -> dict[str, float]:
    """Fit one method here and return what it cost and found."""
    X, y, informative = make_table(seed)
    warnings.simplefilter("ignore")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    order = METHODS[name](X, y)
    seconds = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {k: len(np.intersect1d(order[:k], informative)) for k in (50, 500)}
    return {
        "cpu_seconds": round(seconds, 1),
        "peak_gib": round(peak / 2**20, 2),
        "gib_before": round(before / 2**20, 2),
        "found_in_50": found[50],
        "found_in_500": found[500],
    }


def main() -> None:
    """Run every method in a fresh process and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    table = Table("method", "CPU s", "peak GiB", "in first 50", "in first 500")
    results = {}
    for name in options.methods:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            results[name] = result = pool.apply(run, (name, options.seed))
        cells = [result[key] for key in ("cpu_seconds", "peak_gib", "found_in_50", "found_in_500")]
        table.add_row(name, *map(str, cells))
        if options.json:
            options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    Console().print(table)


if __name__ == "__main__":
    main()
