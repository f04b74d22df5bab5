"""What do the selectors cost? Time and memory, masked and truly sparse, in one run.

    SPARSEWIRE_DATA=... python benchmarks/selector_costs.py [--lassonet-seconds 600]

On one thread: CPU seconds per epoch of QuickSelection on Madelon, csr and masked by turns; peak
memory of a fit with 20 000 columns and 150 rows; WAST, 10 epochs on the 60 000 rows of MNIST. With
``--lassonet-seconds`` also LassoNet (``pip install lassonet``) on those rows, stopped after so many
seconds of CPU time. Memory is that of a process of its own, beyond what it held before the fit.
"""

import argparse
import json
import multiprocessing
import os
import resource
import signal
import statistics
import time
from importlib import import_module
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt

from sparsewire import datasets
from sparsewire.featsel import WAST, QuickSelection
from sparsewire.featsel.training import Storage

Floats = npt.NDArray[np.float32]


def cpu_seconds(selector: Any, X: Any, y: Any = None) -> float:
    """Fit and return the CPU time it took."""
    started = time.process_time()
    selector.fit(X, y)
    return time.process_time() - started


def madelon(epochs: int, rounds: int) -> dict[str, float]:
    """Return the median CPU time of an epoch by storage, interleaved."""
    X = datasets.load("madelon").X[:2000].astype(np.float32)
    times: dict[Storage, list[float]] = {"csr": [], "masked": []}
    for storage in times:  # compile
        QuickSelection(20, epochs=1, storage=storage, random_state=0).fit(X)
    for _ in range(rounds):
        for storage, found in times.items():
            selector = QuickSelection(20, epochs=epochs, storage=storage, random_state=0)
            found.append(cpu_seconds(selector, X) / epochs)
    return {storage: statistics.median(found) for storage, found in times.items()}


def _growth(storage: Storage) -> float:
    X = np.random.default_rng(0).normal(size=(150, 20_000)).astype(np.float32)
    QuickSelection(2, epochs=1, storage=storage, hidden_size=4).fit(X[:, :50])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    QuickSelection(50, epochs=3, storage=storage, random_state=0).fit(X)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def wide() -> dict[str, float]:
    """Return by storage how many MiB a fit with 20 000 columns adds to a fresh process."""
    found = {}
    for storage in ("csr", "masked"):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found[storage] = pool.apply(_growth, (storage,))
    return found


def wast_on_mnist() -> float:
    """Return the CPU time of ten epochs."""
    X = datasets.load("mnist").X[:60_000]
    WAST(50, epochs=1, random_state=0).fit(X[:200])
    return cpu_seconds(WAST(50, sensitivity=0.4, random_state=0), X)


def _out_of_time(*_: object) -> None:
    raise TimeoutError


def _lassonet(seconds: int) -> float:
    data = datasets.load("mnist")
    X = (data.X[:60_000] / 255).astype(np.float32)
    model = import_module("lassonet").LassoNetClassifier(verbose=0)
    started = time.process_time()
    signal.signal(signal.SIGPROF, _out_of_time)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        model.path(X, data.y[:60_000].astype(np.int64))
    except TimeoutError:
        return float("inf")
    return time.process_time() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lassonet-seconds", type=int)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results: dict[str, Any] = {"madelon, CPU s per epoch": madelon(epochs=20, rounds=5)}
    print(results)
    results["20 000 columns, MiB"] = wide()
    print(results)
    results["WAST on MNIST, CPU s"] = wast_on_mnist()
    print(results)
    if options.lassonet_seconds:
        results["LassoNet on MNIST, CPU s"] = _lassonet(options.lassonet_seconds)
        print(results)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
