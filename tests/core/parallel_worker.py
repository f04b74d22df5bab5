"""What each of the processes in test_parallel.py does; run as a program.

``parallel_worker.py FOLDER RANK WORLD`` trains all cases and writes what came out to
``FOLDER/RANK.pt``. Without RANK and WORLD, it expects to be started by torchrun.
"""

import copy
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from sparsewire.core import SET, Method, RigL, SparseLinear, SparsityHandle, checkpoint, sparsify
from sparsewire.core.parallel import ParallelTraining

Result = dict[str, Any]
OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd-nesterov": lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, nesterov=True),
    "sgd-fused": lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, fused=True),
    "adam-amsgrad": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    "adam-foreach": lambda p: torch.optim.Adam(p, lr=0.01, foreach=True),
    "adam-fused": lambda p: torch.optim.Adam(p, lr=0.01, fused=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.05),
    "nadam": lambda p: torch.optim.NAdam(p, lr=0.01),
    "radam": lambda p: torch.optim.RAdam(p, lr=0.01),
    "adadelta": lambda p: torch.optim.Adadelta(p, lr=1.0),
    "asgd": lambda p: torch.optim.ASGD(p, lr=0.05, t0=3),
    "rprop": lambda p: torch.optim.Rprop(p, lr=0.01),
}
SHARED, STEPS, SEEDS = 7, 16, range(2)
# RigL looks at gradients of the very step in which gradients of an older topology arrive.
METHODS: dict[str, Method] = {
    "set": SET(update_interval=3, grown_std=0.1),
    "rigl": RigL(update_interval=1, begin=2, end=STEPS - 1),
}
CASES = {
    f"{method} {storage}{' delayed' * delayed}": (method, storage, delayed)
    for method in METHODS
    for storage in ("masked", "csr")
    for delayed in (False, True)
}


def cases(world: int) -> list[str]:
    """Return the names of the cases that are trained by so many processes."""
    few = ["set masked", "set csr delayed", "rigl masked delayed", "rigl csr"]
    return list(CASES) if world == 2 else few


def network() -> nn.Sequential:
    torch.manual_seed(7)
    layers = [nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 4)]
    return nn.Sequential(*layers).double()


def make(
    method: str, storage: Any, model: nn.Module | None = None, *, seed: int = 3, lr: float = 0.05
) -> SparsityHandle:
    model = network() if model is None else model
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=1e-3)
    return sparsify(
        model, optimizer, density=0.3, method=METHODS[method], storage=storage, seed=seed
    )


def loss(model: nn.Module, rank: int, step: int) -> Tensor:
    generator = torch.Generator().manual_seed(100 * step + rank)
    x = torch.randn(8, 12, generator=generator, dtype=torch.float64)
    y = torch.randn(8, 4, generator=generator, dtype=torch.float64)
    return F.mse_loss(model(x), y)


def train(handle: SparsityHandle, begin: int, end: int, rank: int | None = None) -> None:
    """Take the steps begin to end - 1 on the data of one process."""
    rank = distributed.get_rank() if rank is None else rank
    for step in range(begin, end):
        handle.optimizer.zero_grad()
        loss(handle.model, rank, step).backward()  # type: ignore[no-untyped-call]
        handle.optimizer.step()


def dense(handle: SparsityHandle) -> dict[str, Tensor]:
    """Return all parameters and buffers, weights as dense matrices."""
    found: dict[str, Tensor] = {}
    for name, module in handle.model.named_modules():
        plain = module.to_dense() if isinstance(module, SparseLinear) else module
        own = [*plain.named_parameters(recurse=False), *plain.named_buffers(recurse=False)]
        found |= {f"{name}.{key}": value.detach().clone() for key, value in own}
    return {name: value for name, value in found.items() if not name.endswith("_mask")}


def snapshot(handle: SparsityHandle) -> Result:
    return {
        "weights": dense(handle),
        "masks": handle.masks(),
        "model": copy.deepcopy(handle.model.state_dict()),
        "optimizer": copy.deepcopy(handle.optimizer.state_dict()),
        "handle": handle.state_dict(),
    }


def two_phases(method: str, storage: str, delayed: bool) -> Result:
    """Share, train alone, average, and go on for one step on the same data."""
    handle = make(method, storage)
    parallel = ParallelTraining(handle, local_after=SHARED, delayed=delayed)
    train(handle, 0, SHARED)
    result = {"shared": snapshot(handle)}
    train(handle, SHARED, STEPS + distributed.get_rank())  # at different speed
    result["alone"] = snapshot(handle)
    parallel.finish()
    result["averaged"] = snapshot(handle)
    train(handle, 0, 7, rank=0)
    result["later"] = snapshot(handle)
    return result


def resume(method: str, storage: str, delayed: bool, folder: Path) -> Result:
    """Save in either phase, and train on both with and without having been loaded."""

    def path(step: int) -> Path:
        return folder / f"{method}-{storage}-{delayed}-{step}-{distributed.get_rank()}.pt"

    result: Result = {}
    handle, begin = make(method, storage), 0
    parallel = ParallelTraining(handle, local_after=SHARED, delayed=delayed)
    for moment in (3, SHARED, SHARED + 2):
        train(handle, begin, moment)
        checkpoint.save(path(moment), handle, parallel=parallel.state_dict())
        begin = moment
    train(handle, begin, STEPS)
    result["original"] = snapshot(handle)
    for moment in (3, SHARED, SHARED + 2):
        handle = make(method, storage)
        extra = checkpoint.load(path(moment), handle)
        parallel = ParallelTraining(handle, local_after=SHARED, delayed=delayed)
        parallel.load_state_dict(extra["parallel"])
        train(handle, moment, STEPS)
        result[f"from step {moment}"] = snapshot(handle)
    return result


class Branches(nn.Module):
    """Process 0 uses the left layer, the others the right one, nobody the third."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        layers = [nn.Linear(12, 16), nn.Linear(16, 4), nn.Linear(16, 4), nn.Linear(16, 4)]
        self.first, self.left, self.right, self.idle = (layer.double() for layer in layers)
        self.branches = range(2)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(x))
        chosen = [(self.left, self.right)[branch](hidden) for branch in self.branches]
        return torch.stack(chosen).sum(0)


def branches(storage: str) -> Result:
    model = Branches()
    model.branches = range(1) if distributed.get_rank() == 0 else range(1, 2)
    handle = make("rigl", storage, model)
    ParallelTraining(handle, local_after=20)
    train(handle, 0, 8)
    without = [n for n, p in model.named_parameters() if p.grad is None]
    return {**snapshot(handle), "without gradient": without}


def optimizers() -> Result:
    result: Result = {}
    for name, build in OPTIMIZERS.items():
        model = network()
        optimizer = build(model.parameters())
        handle = sparsify(model, optimizer, density=0.3, method=METHODS["set"], seed=3)
        parallel = ParallelTraining(handle, local_after=4)
        train(handle, 0, 4)
        shared = dense(handle)
        train(handle, 4, 6)
        parallel.finish()
        train(handle, 6, 8, rank=0)
        result[name] = {"shared": shared, "later": dense(handle)}
    return result


def images() -> Result:
    """Convolutions whose weights are not contiguous, normalisation, several dtypes."""
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.Flatten()
    )
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model[3].bfloat16()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, fused=True)
    handle = sparsify(model, optimizer, density=0.4, method=METHODS["rigl"], seed=3)
    parallel = ParallelTraining(handle, local_after=4, delayed=True)

    def step(number: int) -> None:
        generator = torch.Generator().manual_seed(100 * number + distributed.get_rank())
        x = torch.randn(4, 2, 6, 6, generator=generator)
        x = x.contiguous(memory_format=torch.channels_last)
        optimizer.zero_grad()
        hidden = model[:3](x).bfloat16()
        model[3:](hidden).float().square().mean().backward()
        optimizer.step()

    for number in range(4):
        step(number)
    result = {"shared": snapshot(handle)}
    for number in range(4, 8):
        step(number)
    result["alone"] = snapshot(handle)
    parallel.finish()
    result["averaged"] = snapshot(handle)
    return result


def pruned(storage: str) -> Result:
    """Neurons go while gradients travel, and then in each process others."""
    handle = make("set", storage)
    parallel = ParallelTraining(handle, local_after=SHARED, delayed=True)
    train(handle, 0, 4)
    handle.prune_neurons(0.2)
    train(handle, 4, SHARED)
    result = {"shared": snapshot(handle)}
    handle.prune_neurons(0.4 + 0.2 * distributed.get_rank())
    train(handle, SHARED, STEPS)
    result["alone"] = snapshot(handle)
    parallel.finish()
    result["averaged"] = snapshot(handle)
    train(handle, STEPS, STEPS + 4, rank=0)
    result["later"] = snapshot(handle)
    return result


def error_of(call: Callable[[], object]) -> str:
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing raised"


def different_starts() -> Result:
    rank = distributed.get_rank()

    def start(**options: Any) -> str:
        local_after = options.pop("local_after", SHARED)
        handle = make(options.pop("method", "set"), "csr", **options)
        return error_of(lambda: ParallelTraining(handle, local_after=local_after))

    other = network()
    if rank == 0:
        with torch.no_grad():
            other.get_parameter("0.bias")[0] += 1e-9
    return {
        "seed": start(seed=rank),
        "weights": start(model=other),
        "optimizer": start(lr=0.05 + 0.01 * rank),
        "arguments": start(local_after=SHARED + rank),
        "method": error_of(
            lambda: ParallelTraining(make(["set", "rigl"][rank > 0], "csr"), local_after=1)
        ),
    }


def uneven_batches(delayed: bool) -> Result:
    """Process 0 stops early; everybody hears of it, and can still finish."""
    handle = make("rigl", "csr")
    parallel = ParallelTraining(handle, local_after=SHARED, delayed=delayed)
    train(handle, 0, 4)

    def the_rest() -> None:
        if distributed.get_rank() > 0:
            train(handle, 4, SHARED)
        parallel.finish()

    result: Result = {"error": error_of(the_rest)}
    parallel.finish()
    return {**result, **snapshot(handle)}


def not_finite(storage: str, delayed: bool) -> Result:
    """One process meets NaN, in a gradient that growth needs and then in its weights."""
    rank = distributed.get_rank()
    result: Result = {}
    handle = make("rigl", storage)
    parallel = ParallelTraining(handle, local_after=SHARED, delayed=delayed)
    train(handle, 0, 2)
    before = snapshot(handle)
    handle.optimizer.zero_grad()
    factor = torch.nan if rank == 0 else 1.0
    (factor * loss(handle.model, rank, 2)).backward()  # type: ignore[no-untyped-call]
    result["growth"] = error_of(handle.optimizer.step)
    result["unchanged"] = before, snapshot(handle)
    if rank == 0:
        with torch.no_grad():
            handle.model.get_parameter("2.bias").fill_(torch.inf)
    before = snapshot(handle)
    result["finish"] = error_of(parallel.finish)
    result["untouched"] = before, snapshot(handle)
    return result


def learn(seed: int, rank: int, world: int, delayed: bool | None) -> tuple[float, float]:
    """Learn handwritten digits; return the test accuracy before and after the average.

    There is no average, and no other process, if `delayed` is None.
    """
    from sklearn.datasets import load_digits  # a second that only these processes need

    X, y = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
    X = X.float() / 16
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    train, test = order[:1408][rank::world], order[1408:]
    torch.manual_seed(seed)
    layers = [nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)]
    model = nn.Sequential(*layers)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.07, momentum=0.9)
    method = SET(update_interval=22)  # an epoch
    handle = sparsify(model, optimizer, density=0.2, method=method, storage="csr", seed=seed)
    parallel = None
    if delayed is not None:
        parallel = ParallelTraining(handle, local_after=8 * 22, delayed=delayed)
    generator = torch.Generator().manual_seed(100 + rank)

    def accuracy() -> float:
        return float((model(X[test]).argmax(1) == y[test]).float().mean())

    for _ in range(12):
        shuffled = train[torch.randperm(len(train), generator=generator)]
        for rows in torch.split(shuffled, 64 // world):
            optimizer.zero_grad()
            F.cross_entropy(model(X[rows]), y[rows]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    before = accuracy()
    if parallel is not None:
        parallel.finish()
    return before, accuracy()


def learning(delayed: bool) -> Result:
    rank, world = distributed.get_rank(), distributed.get_world_size()
    return {str(seed): learn(seed, rank, world, delayed) for seed in SEEDS}


def tasks(folder: Path) -> dict[str, Callable[[], Result]]:
    """Return what to do; with more than two processes, what depends on their number."""
    found: dict[str, Callable[[], Result]] = {
        f"two phases {name}": partial(two_phases, *CASES[name])
        for name in cases(distributed.get_world_size())
    }
    for storage in ("masked", "csr"):
        found[f"branches {storage}"] = partial(branches, storage)
    for delayed in (False, True):
        found[f"uneven batches{' delayed' * delayed}"] = partial(uneven_batches, delayed)
    if distributed.get_world_size() > 2:
        return found
    for name, case in CASES.items():
        found[f"resume {name}"] = partial(resume, *case, folder)
    for storage in ("masked", "csr"):
        found[f"pruned {storage}"] = partial(pruned, storage)
        for delayed in (False, True):
            name = f"not finite {storage}{' delayed' * delayed}"
            found[name] = partial(not_finite, storage, delayed)
    for delayed in (False, True):
        found[f"learning{' delayed' * delayed}"] = partial(learning, delayed)
    found["different starts"] = different_starts
    found["optimizers"] = optimizers
    found["images"] = images
    return found


def main(place: str, *numbers: str) -> None:
    torch.set_num_threads(1)
    meeting: dict[str, Any] = {}
    if numbers:
        rank, world = map(int, numbers)
        meeting = {"init_method": f"file://{place}/meeting", "rank": rank, "world_size": world}
    distributed.init_process_group("gloo", **meeting)
    folder = Path(place)
    results = {name: task() for name, task in tasks(folder).items()}
    torch.save(results, folder / f"{distributed.get_rank()}.pt")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
