"""How do our kernels compare with those of the prototype they grew out of?

    SPARSEWIRE_PROTOTYPES=../shared/prototypes python benchmarks/kernels.py --threads 1

Forward and backward pass of one layer over the grid of specs/truly_sparse.md, table 4.3. The
prototype has vector kernels that gather in both passes. Both write into arrays made once and take
turns in one run; ratios are of medians, and of the best turns.
"""

import argparse
import importlib
import os
import sys
from pathlib import Path
from typing import Any


def prototype() -> Any:
    """Load the prototype's module, or end here if this machine does not have it."""
    beside = Path(__file__).parents[2] / "shared" / "prototypes"
    folder = Path(os.environ.get("SPARSEWIRE_PROTOTYPES", beside))
    if not (folder / "nbk.py").exists():
        print(f"no nbk.py in {folder}: nothing to compare with (see SPARSEWIRE_PROTOTYPES)")
        sys.exit()
    sys.path.insert(0, str(folder))
    return importlib.import_module("nbk")


def our_step(problem: Any) -> Any:
    """Return our step, with the batch padded to whole vectors."""
    import numpy as np

    from sparsewire.core.csr.multiply import gradients, multiply

    index, w, X, dY = problem.index, problem.w, problem.padded_X, problem.padded_dY
    Y, dX, g = np.empty_like(dY), np.empty_like(X), np.empty_like(w)

    def step() -> object:
        multiply(index, w, None, X, out=Y)
        gradients(index, w, X, dY, dX=dX, g=g)
        return Y, dX, g

    return step


def prototype_step(nbk: Any, problem: Any) -> Any:
    """Return the prototype's step; it knows input-major layers and whole vectors only."""
    import numpy as np

    case, index, w = problem.case, problem.index, problem.w
    forward, backward = nbk.vec_kernels(case.batch)
    own, outputs = (index.indptr, index.indices), index.other_side
    bias, g = np.zeros(case.n_out, np.float32), np.empty_like(w)
    Y, dX = np.empty_like(problem.dY), np.empty_like(problem.X)

    def step() -> object:
        forward(*outputs, w, bias, problem.X, Y)
        backward(*own, w, problem.X, problem.dY, dX, g)
        return Y, dX, g

    return step


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.5, help="for each side of each case")
    given = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = str(given.threads)
    from sparsewire.bench import kernels, machine, problem, report, timing

    nbk, clock = prototype(), timing.clock_for(given.threads)
    print(report.machine_line(machine.describe(given.threads), timing.clock_name(given.threads)))
    print("| in x out | density | batch | ours, ms | prototype, ms | ratio | ratio of best |")
    print("|---" * 7 + "|")
    ratios = []
    with timing.limited_to(given.threads):
        for case in kernels.grid(kernels.FULL_SHAPES, kernels.FULL_DENSITIES, kernels.BATCHES):
            layer = problem.Problem(case)
            ours, theirs = our_step(layer), prototype_step(nbk, layer)
            kernels.check("the prototype", theirs(), ours())
            times = timing.compare({"ours": ours, "theirs": theirs}, given.seconds, clock)
            a, b = times["ours"], times["theirs"]
            ratios.append((a.median / b.median, a.best / b.best))
            size = f"{case.n_in}x{case.n_out} | {100 * case.density:g} % | {case.batch}"
            ms = f"{1e3 * a.median:.4g} | {1e3 * b.median:.4g}"
            print(f"| {size} | {ms} | {ratios[-1][0]:.3f} | {ratios[-1][1]:.3f} |", flush=True)
    means = [timing.geometric_mean(values) for values in zip(*ratios, strict=True)]
    print(f"| geometric mean | | | | | {means[0]:.3f} | {means[1]:.3f} |")


if __name__ == "__main__":
    main()
