"""From which density on is a dense layer faster than a truly sparse one?

Measured, not modelled: ``break_even.json`` beside this module is what
``sparsewire bench break-even`` wrote on the machine it names. Its fields:

``machine``
    ``cpu``, ``cores``, ``threads`` (most used), ``load`` (when the measurement ended) and
    ``kernels`` ("vector" or "portable").
``date``, ``versions``
    When, and with which versions of Python and the packages that matter.
``rows``
    A list of ``n_out``, ``n_in``, ``batch``, ``threads`` and ``density``: where a `SparseLinear`
    and a masked ``nn.Linear`` of that shape take the same time for forward, backward and a fused
    SGD step with momentum; 1 if the sparse layer wins always, 0 if never.
"""

import functools
import json
import math
from importlib import resources
from typing import TypedDict

from sparsewire.core._validation import check_integer


class Row(TypedDict):
    """One measurement."""

    n_out: int
    n_in: int
    batch: int
    threads: int
    density: float


@functools.cache
def table() -> tuple[Row, ...]:
    """Return the measurements."""
    file = resources.files("sparsewire.core.csr").joinpath("break_even.json")
    rows: list[Row] = json.loads(file.read_text("utf-8"))["rows"]
    return tuple(rows)


def break_even(n_out: int, n_in: int, threads: int) -> float:
    """Return the density above which a masked dense layer is faster than a sparse one.

    Of the measurements with the nearest number of threads, those of the nearest shape count, and
    of them, over all batch sizes, the smallest: below it the sparse layer wins at any batch size.
    Near means near in the logarithm.

    Parameters
    ----------
    n_out, n_in : int
        Shape of the weight matrix.
    threads : int
        Threads the layer may use, as ``torch.get_num_threads()`` tells.

    Returns
    -------
    float
        A density in [0, 1].

    Raises
    ------
    InvalidArgumentError
        If an argument is below 1.

    Examples
    --------
    >>> 0.1 < break_even(1000, 1000, threads=1) <= 1
    True
    >>> break_even(1010, 990, threads=1) == break_even(1000, 1000, threads=1)
    True
    """
    for name, value in (("n_out", n_out), ("n_in", n_in), ("threads", threads)):
        check_integer(name, value, minimum=1)
    return lookup(table(), n_out, n_in, threads)


def lookup(rows: tuple[Row, ...], n_out: int, n_in: int, threads: int) -> float:
    """Return what `break_even` reads from these rows.

    Examples
    --------
    >>> row = Row(n_out=10, n_in=10, batch=32, threads=1, density=0.6)
    >>> lookup((row, {**row, "batch": 128, "density": 0.5}, {**row, "n_in": 99}), 20, 20, threads=4)
    0.5
    """

    def distance(row: Row) -> tuple[float, float]:
        shape = math.hypot(math.log(row["n_out"] / n_out), math.log(row["n_in"] / n_in))
        return abs(math.log(row["threads"] / threads)), shape

    nearest = min(map(distance, rows))
    return min(row["density"] for row in rows if distance(row) == nearest)
