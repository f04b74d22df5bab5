"""How long does a whole training step take, truly sparse, masked and dense?

A perceptron with ReLU and cross-entropy: forward, backward and optimizer step, as in anybody's
training loop. The batches come from a pool of random ones that is too large to memorise: once a
batch is memorised, gradients underflow to denormal numbers, which slow arithmetic down.

A topology update of SET is timed together with the step it follows; the difference to the plain
step is its own time.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from sparsewire.bench.machine import describe
from sparsewire.bench.networks import connections, perceptron, random_batches, state_bytes
from sparsewire.bench.timing import (
    Step,
    Times,
    Turns,
    clock_for,
    clock_name,
    interleave,
    limited_to,
)
from sparsewire.core import SET, SetEpsilon, sparsify

STORAGES = ("csr", "masked", "dense")
OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "SGD": lambda weights: torch.optim.SGD(weights, lr=0.01, momentum=0.9, fused=True),
    "Adam": lambda weights: torch.optim.Adam(weights, lr=0.001, fused=True),
}
PLAIN, WITH_UPDATE = "training step", "step and SET update"
_CALLS = 5
_WARM_UP = 3


class Kind(NamedTuple):
    """What a row of the table is about."""

    what: str
    optimizer: str
    storage: str


KINDS = (
    *(Kind(PLAIN, optimizer, storage) for optimizer in OPTIMIZERS for storage in STORAGES),
    *(Kind(WITH_UPDATE, "SGD", storage) for storage in STORAGES[:2]),
)


class Entry(NamedTuple):
    """A step of a network of its own, and how large that is."""

    step: Step
    connections: int
    state_bytes: Callable[[], int]


def measure(
    layers: Sequence[int], *, epsilon: float, batch: int, steps: int, threads: int
) -> dict[str, Any]:
    """Compare the training steps of one architecture.

    Parameters
    ----------
    layers : sequence of int
        Neurons of each layer, the input first; at least two.
    epsilon : float
        Connections per neuron: ``epsilon * (n_in + n_out)`` in a layer, at most all.
    batch, steps : int
        Samples per step, and timed steps of every entry.
    threads : int
        Threads of torch and of our kernels; one thread is timed by CPU time, more by wall time.

    Returns
    -------
    dict
        ``machine``, ``clock``, the arguments and ``rows``, as plain values. The ratio of a row is
        to the csr row of the same kind; its bytes are those of weights, gradients, indices,
        masks and optimizer state.
    """
    clock = clock_for(threads)
    with limited_to(threads):
        about = describe(threads)
        batches = random_batches(layers[0], layers[-1], batch)
        entries = {kind: training_step(kind, layers, epsilon, batches) for kind in KINDS}
        for entry in entries.values():
            for _ in range(_WARM_UP):
                entry.step()
        calls = min(_CALLS, steps)
        turns = dict.fromkeys(entries, Turns(calls, -(-steps // calls)))
        times = interleave({kind: entry.step for kind, entry in entries.items()}, turns, clock)
    rows = [
        _row(kind, entry, times[kind], times[kind._replace(storage=STORAGES[0])])
        for kind, entry in entries.items()
    ]
    arguments = {"layers": list(layers), "epsilon": epsilon, "batch": batch, "steps": steps}
    return {"machine": about, "clock": clock_name(threads), **arguments, "rows": rows}


def _row(kind: Kind, entry: Entry, times: Times, reference: Times) -> dict[str, Any]:
    return {
        **kind._asdict(),
        "connections": entry.connections,
        "state_bytes": entry.state_bytes(),
        "median_ms": 1e3 * times.median,
        "best_ms": 1e3 * times.best,
        "ratio": times.median / reference.median,
    }


def training_step(
    kind: Kind, layers: Sequence[int], epsilon: float, batches: list[tuple[Tensor, Tensor]]
) -> Entry:
    """Return a training step of a fresh network."""
    model = perceptron(layers, epsilon, kind.storage)
    optimizer = OPTIMIZERS[kind.optimizer](model.parameters())
    if kind.what == WITH_UPDATE:
        rule = SetEpsilon(epsilon)
        sparsify(model, optimizer, method=SET(update_interval=1), allocation=rule)
    elif kind.storage == "masked":
        sparsify(model, optimizer, method="static", allocation=SetEpsilon(epsilon))
    pool = itertools.cycle(batches)

    def step() -> Tensor:
        x, y = next(pool)
        optimizer.zero_grad()
        torch.autograd.backward(loss := cross_entropy(model(x), y))
        optimizer.step()
        return loss.detach()

    count = sum(connections(layer) for layer in model if not isinstance(layer, nn.ReLU))
    return Entry(step, count, lambda: state_bytes(model, optimizer))
