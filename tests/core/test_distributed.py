"""Do processes that train together under DistributedDataParallel stay sparse together?

Two processes with different data and different global seeds train every case once; the tests look
at what they wrote.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from sparsewire.core import SET, Method, RigL, SparsityHandle, sparsify

STEPS, INTERVAL, RANKS = 21, 2, 2
METHODS: dict[str, Method] = {
    "set": SET(update_interval=INTERVAL),
    "rigl": RigL(update_interval=INTERVAL),
}
# Name of the case, sparsify before wrapping?, options of DistributedDataParallel.
WRAPPINGS: dict[str, tuple[bool, dict[str, Any]]] = {
    "sparsify then wrap": (True, {}),
    "wrap then sparsify": (False, {}),
    "without broadcast of buffers": (True, {"broadcast_buffers": False}),
    "gradients as views of buckets": (False, {"gradient_as_bucket_view": True}),
}
CASES = [(method, wrapping) for method in METHODS for wrapping in WRAPPINGS]

pytestmark = pytest.mark.skipif(
    not (distributed.is_available() and distributed.is_gloo_available()), reason="needs gloo"
)


def network() -> nn.Module:
    torch.manual_seed(7)
    return nn.Sequential(
        nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 4)
    ).double()


def loss(model: nn.Module, rank: int, step: int) -> Tensor:
    generator = torch.Generator().manual_seed(100 * step + rank)
    x = torch.randn(8, 12, generator=generator, dtype=torch.float64)
    y = torch.randn(8, 4, generator=generator, dtype=torch.float64)
    return F.mse_loss(model(x), y)


def sparse(model: nn.Module, method: str) -> SparsityHandle:
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    optimizer = torch.optim.Adam(inner.parameters(), lr=0.01)
    return sparsify(model, optimizer, density=0.3, method=METHODS[method], seed=3)


def work(rank: int, folder: str) -> None:
    """Train every case as one of the processes and write what came out."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=RANKS
    )
    results = {}
    for method, wrapping in CASES:
        first, options = WRAPPINGS[wrapping]
        model = network()
        torch.manual_seed(rank)
        handle = sparse(model, method) if first else None
        wrapped = DistributedDataParallel(model, **options)
        handle = handle or sparse(wrapped, method)
        for step in range(STEPS):
            torch.manual_seed(1000 * rank + step)
            handle.optimizer.zero_grad()
            loss(wrapped, rank, step).backward()  # type: ignore[no-untyped-call]
            handle.optimizer.step()
        results[f"{method}/{wrapping}"] = (
            handle.model.state_dict(),
            handle.state_dict(),
            handle.optimizer.state_dict(),
        )
    torch.save(results, Path(folder) / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("processes")
    # This file as a program: spawned children would import it as "tests.core...", a name that an
    # installed package can own too.
    command = [sys.executable, __file__, str(folder)]
    processes = [
        subprocess.Popen([*command, str(rank)], stderr=subprocess.PIPE, text=True)
        for rank in range(RANKS)
    ]
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    return [torch.load(folder / f"{rank}.pt") for rank in range(RANKS)]


def alone(method: str) -> SparsityHandle:
    """Train one process on the mean gradient."""
    handle = sparse(network(), method)
    for step in range(STEPS):
        handle.optimizer.zero_grad()
        losses = [loss(handle.model, rank, step) for rank in range(RANKS)]
        torch.stack(losses).mean().backward()  # type: ignore[no-untyped-call]
        handle.optimizer.step()
    return handle


def tensors(tree: Any) -> list[Tensor]:
    if isinstance(tree, Tensor):
        return [tree]
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, tuple) else ()
    return [tensor for part in parts for tensor in tensors(part)]


@pytest.mark.parametrize(("method", "wrapping"), CASES)
def test_weights_masks_and_state_are_identical_in_all_processes(
    method: str, wrapping: str, results: list[dict[str, Any]]
) -> None:
    left, right = (tensors(result[f"{method}/{wrapping}"]) for result in results)
    assert len(left) == len(right) > 20
    assert all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize(("method", "wrapping"), CASES)
def test_two_processes_equal_one_that_trains_on_the_mean_gradient(
    method: str, wrapping: str, results: list[dict[str, Any]]
) -> None:
    model, state, _ = results[0][f"{method}/{wrapping}"]
    handle = alone(method)
    assert state["updates"] == handle.updates == 10
    for name, expected in handle.model.state_dict().items():
        if expected.dtype == torch.bool:
            assert torch.equal(model[name], expected), name
            weight = model[name.removesuffix("_mask")]
            assert int(torch.count_nonzero(weight[~expected])) == 0
        else:
            torch.testing.assert_close(model[name], expected, rtol=1e-7, atol=1e-10)
    assert state["layers"] == handle.state_dict()["layers"]


if __name__ == "__main__":
    work(int(sys.argv[2]), sys.argv[1])
