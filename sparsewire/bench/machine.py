"""On what machine was this measured, and how fast could anything be here?

Two limits bound a layer: the multiply-add rate of the cores, seen in a dense float32 matrix
product, and the time to fetch a row of activations that lies anywhere in memory, seen in one long
sum of randomly chosen rows. A sparse layer fetches two such rows per connection and step.
"""

import datetime
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sparsewire.bench.timing import Clock, Step, per_call
from sparsewire.core.csr import multiply

MIB = 2**20
ROW_BYTES = (128, 512)
TABLE_MIB = (0.5, 2.0, 8.0, 32.0, 128.0)
_FETCHES = 200_000
_SIDE = 1024
_TURNS = 10


def describe(threads: int) -> dict[str, Any]:
    """Return what somebody else needs to know to compare, as plain values."""
    return {
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "kernels": multiply.backend().__name__.rpartition(".")[2],
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("sparsewire", "torch", "numba", "numpy", "scipy")},
        },
    }


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text("utf-8").splitlines() if file.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def memory() -> int:
    """Return the bytes a benchmark may take: half of what the machine has."""
    if not hasattr(os, "sysconf"):  # Windows does not tell
        return 4 * 2**30
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def limits(clock: Clock, table_mib: tuple[float, ...] = TABLE_MIB) -> dict[str, Any]:
    """Measure the two limits.

    Parameters
    ----------
    clock : callable
        As from `sparsewire.bench.timing.clock_for`. The matrix product uses all of torch's threads,
        the sum of rows one.
    table_mib : tuple of float
        Sizes of the tables rows are fetched from, in MiB.

    Returns
    -------
    dict
        ``matmul_gflops`` and ``gather``, a list with nanoseconds per row and GB/s for every size of
        row and table. A limit is the best of several turns.
    """
    a, b = torch.ones(_SIDE, _SIDE), torch.ones(_SIDE, _SIDE)
    torch.mm(a, b)
    product = _best(lambda: torch.mm(a, b), clock)
    rows = [_gather(row, size, clock) for row in ROW_BYTES for size in table_mib]
    return {"matmul_gflops": round(2e-9 * _SIDE**3 / product, 1), "gather": rows}


def _best(step: Step, clock: Clock) -> float:
    return min(per_call(step, 1, clock) for _ in range(_TURNS))


def _gather(row_bytes: int, table_mib: float, clock: Clock) -> dict[str, float]:
    """Time a sum of random rows: the forward kernel on an output with very many inputs."""
    width = row_bytes // 4
    table = np.ones((int(table_mib * MIB) // row_bytes, width), np.float32)
    chosen = np.random.default_rng(0).integers(0, len(table), _FETCHES).astype(np.int32)
    pointers = np.array([0, _FETCHES])
    arrays = (
        pointers,
        chosen,
        np.ones(_FETCHES, np.float32),
        np.zeros(1, np.float32),
        table,
        np.empty((1, width), np.float32),
    )
    lanes = (0,) * (row_bytes // multiply.VECTOR_BYTES)
    gather = multiply.backend().gather
    gather(lanes, arrays, 0, 1, 0)
    seconds = _best(lambda: gather(lanes, arrays, 0, 1, 0), clock) / _FETCHES
    return {
        "row_bytes": row_bytes,
        "table_mib": table_mib,
        "ns_per_row": round(1e9 * seconds, 2),
        "gb_per_s": round(1e-9 * row_bytes / seconds, 1),
    }
