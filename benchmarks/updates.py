"""How does the time of a topology update grow with the layer, and what do two threads bring?

    OMP_WAIT_POLICY=PASSIVE python benchmarks/updates.py

SET updates of square layers of doubling width at constant epsilon, so that the number of
connections doubles too: CPU seconds of one update, and the exponent of a fit. Then forward and
backward of layers above a million connections with one and two threads: wall seconds, medians.
"""

import os
import statistics
import time

import numpy as np
import torch
from torch import nn

from sparsewire import SET, sparsify
from sparsewire.core import SetEpsilon, SparseLinear

EPSILON = 20


def update_seconds(width: int) -> float:
    """Return the CPU time of the fastest of three SET updates of one layer."""
    model = nn.Sequential(nn.Linear(width, width, device="meta"))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    method = SET(update_interval=1)
    handle = sparsify(
        model, optimizer, method=method, allocation=SetEpsilon(EPSILON), storage="csr"
    )
    seconds = []
    for _ in range(3):
        torch.autograd.backward(model(torch.ones(1, width)).sum())
        started = time.process_time()
        optimizer.step()
        seconds.append(time.process_time() - started)
    assert handle.updates == 3
    return min(seconds)


def passes_seconds(width: int, density: float, batch: int, threads: int) -> float:
    """Return the wall time of a forward and backward pass."""
    torch.set_num_threads(threads)
    layer = SparseLinear(width, width, density=density)
    x = torch.randn(width, batch).t().requires_grad_()
    seconds = []
    for _ in range(15):
        started = time.perf_counter()
        torch.autograd.backward(layer(x).sum())
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def main() -> None:
    """Measure and print."""
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    widths = [2**k for k in range(13, 19)]
    torch.set_num_threads(1)
    times = [update_seconds(width) for width in widths]
    for width, seconds in zip(widths, times, strict=True):
        print(f"{width} x {width}, {2 * EPSILON * width:,} connections: {seconds:.3f} s")
    print(f"exponent {np.polyfit(np.log(widths), np.log(times), 1)[0]:.2f}")
    for width, density in ((4000, 0.1), (20000, 0.005), (65536, 0.0005)):
        one, two = (passes_seconds(width, density, 128, threads) for threads in (1, 2))
        count = round(width * width * density)
        print(f"{width} wide, {count:,} connections: {one:.4f} s, {two:.4f} s: {one / two:.2f}x")


if __name__ == "__main__":
    main()
