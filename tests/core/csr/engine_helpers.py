"""One run in two storages, and what has to be the same in both.

`picture` shows a run the same way however it is stored: every weight, and every tensor of optimizer
state of its shape, as a dense matrix.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode

from sparsewire.core import Method, SparseLinear, SparsityHandle, sparsify
from tests.core.helpers import METHODS, MLP, OPTIMIZERS, OptimizerCase, Task, state_of

Layout = Literal["csr", "csc"]
Storage = Literal["masked", "csr", "auto"]
CASES = {case.name: case for case in OPTIMIZERS}
SGD, MOMENTUM, ADAM = CASES["sgd"], CASES["sgd-momentum"], CASES["adam"]
STORAGES: tuple[Storage, ...] = ("masked", "csr")
LAYOUTS: tuple[Layout, ...] = ("csr", "csc")

each_storage = pytest.mark.parametrize("storage", STORAGES)
each_layout = pytest.mark.parametrize("layout", LAYOUTS)
each_method_name = pytest.mark.parametrize("name", METHODS)


def use_layout(monkeypatch: pytest.MonkeyPatch, layout: Layout) -> None:
    """Let every layer made from now on have this layout, whatever its shape."""
    monkeypatch.setattr("sparsewire.core.csr.layer.default_layout", lambda n_out, n_in: layout)


def backward(loss: Tensor, **options: Any) -> None:
    loss.backward(**options)  # type: ignore[no-untyped-call]


def double(task: Task = MLP) -> Task:
    """Return the same task in double precision."""
    return Task(task.name, lambda: task.model().double(), lambda g: task.batch(g).double())


MLP64 = double()


def start(
    storage: Storage,
    method: Method | str = "static",
    case: OptimizerCase = MOMENTUM,
    model: Callable[[], nn.Module] = MLP64.model,
    *,
    density: float | None = 0.3,
    seed: int = 0,
    **options: Any,
) -> SparsityHandle:
    """Return the handle of a new run; the same arguments give the same weights."""
    torch.manual_seed(7)
    network = model()
    optimizer = case(network.parameters())
    return sparsify(
        network, optimizer, density=density, method=method, storage=storage, seed=seed, **options
    )


def both(*args: Any, **options: Any) -> tuple[SparsityHandle, SparsityHandle]:
    """Return the same run masked and truly sparse."""
    return start("masked", *args, **options), start("csr", *args, **options)


def step_on(handle: SparsityHandle, loss: Tensor, *, set_to_none: bool = True) -> None:
    """Take one optimizer step on a loss."""
    handle.optimizer.zero_grad(set_to_none=set_to_none)
    backward(loss)
    handle.optimizer.step()


def advance(handle: SparsityHandle, steps: int, task: Task = MLP64) -> SparsityHandle:
    """Train in the plainest loop there is."""
    for _ in range(steps):
        handle.optimizer.zero_grad()
        backward(task.loss(handle.model, handle.step))
        handle.optimizer.step()
    return handle


def sparse_layers(model: nn.Module) -> dict[str, SparseLinear]:
    """Return the truly sparse layers by the name of their weight."""
    return {
        f"{name}.weight": module
        for name, module in model.named_modules()
        if isinstance(module, SparseLinear)
    }


def dense_of(layer: SparseLinear, tensor: Tensor) -> Tensor:
    """Return a tensor that lies like the layer's weight as a dense matrix."""
    order = layer.index.order()
    values = tensor.detach() if order is None else tensor.detach()[torch.from_numpy(order).long()]
    flat = values.new_zeros(layer.out_features * layer.in_features)
    flat[layer.positions()] = values
    return flat.view(layer.shape)


def picture(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """Return parameters and optimizer state, those of sparse layers as dense matrices."""
    layers = sparse_layers(model)
    found = {}
    for name, parameter in model.named_parameters():
        tensors = {"": parameter.detach(), **state_of(optimizer, parameter)}
        for key, tensor in tensors.items():
            whole = name in layers and tensor.shape == parameter.shape
            found[f"{name}/{key}"] = dense_of(layers[name], tensor) if whole else tensor.clone()
    return found


def assert_close(
    left: Mapping[str, Tensor], right: Mapping[str, Tensor], tolerance: float = 0.0
) -> None:
    """Assert that two pictures agree; with no tolerance, in every number."""
    assert left.keys() == right.keys(), sorted(left.keys() ^ right.keys())
    for key, tensor in left.items():
        say = partial("{}: {}".format, key)
        torch.testing.assert_close(tensor, right[key], rtol=tolerance, atol=tolerance, msg=say)


def assert_same_masks(left: SparsityHandle, right: SparsityHandle) -> None:
    """Assert that two runs have the same topology."""
    ours, theirs = left.masks(), right.masks()
    assert ours.keys() == theirs.keys(), sorted(ours.keys() ^ theirs.keys())
    different = [name for name in ours if not torch.equal(ours[name], theirs[name])]
    assert different == [], f"topologies of {', '.join(different)} differ"


def books(handle: SparsityHandle) -> list[tuple[Any, ...]]:
    """Return the counts that a handle keeps."""
    rows = handle.summary().layers
    return [
        (handle.step, handle.updates, handle.density(), handle.exploration_rate()),
        *((r.name, r.shape, r.weights, r.active, r.dropped, r.grown, r.explored) for r in rows),
    ]


def assert_agree(masked: SparsityHandle, csr: SparsityHandle, tolerance: float = 1e-12) -> None:
    """Assert that two runs in different storages are the same run."""
    assert_same_masks(masked, csr)
    assert books(masked) == books(csr), "the counts differ"
    assert_close(
        picture(masked.model, masked.optimizer), picture(csr.model, csr.optimizer), tolerance
    )


def assert_sound(handle: SparsityHandle) -> None:
    """Assert that a truly sparse run keeps exact books and no damaged index."""
    active = {row.name: row.active for row in handle.summary().layers}
    for name, layer in sparse_layers(handle.model).items():
        positions = layer.positions()
        assert bool((positions[1:] > positions[:-1]).all()), name
        assert len(positions) == layer.weight.numel() == active[name], name
        assert layer.weight.dtype == layer.values().dtype
        for key, value in state_of(handle.optimizer, layer.weight).items():
            assert value.shape in (layer.weight.shape, ()), f"{name}/{key}"
    handle.verify()


class LargestTensor(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the size of the largest tensor that torch makes in memory, bitmaps left out."""

    largest = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            counts = isinstance(tensor, Tensor) and not tensor.is_meta
            if counts and tensor.dtype != torch.uint8:
                self.largest = max(self.largest, tensor.numel())
        return result
