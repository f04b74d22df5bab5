"""Is `SparseLinear` an ordinary module that computes what a dense layer with zeros would?

Every test that takes the `layout` fixture runs with both ways to store the same connections.
"""

import copy
import functools
import io
import itertools
import multiprocessing
import pickle
import random
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from sparsewire.core import Static, sparsify
from sparsewire.core.csr import AllReLU, SparseLinear
from sparsewire.core.csr import autograd as autograd_module
from sparsewire.core.csr import layer as layer_module
from sparsewire.core.csr import multiply as dispatch
from sparsewire.core.csr.index import Index, Layout
from sparsewire.core.errors import InvalidArgumentError, TopologyError
from tests.core.helpers import OptimizerCase, each_optimizer

BUFFERS: dict[Layout, tuple[str, str]] = {
    "csr": ("crow_indices", "col_indices"),
    "csc": ("ccol_indices", "row_indices"),
}
# torch says so once per process, whoever makes the first sparse tensor.
quiet = pytest.mark.filterwarnings("ignore:Sparse (invariant|CSR):UserWarning")


def use_layout(patch: pytest.MonkeyPatch, layout: Layout) -> None:
    """Store layers that are built from now on in this layout, whatever their shape."""
    patch.setattr(layer_module, "default_layout", lambda n_out, n_in: layout)


@pytest.fixture(params=BUFFERS)
def layout(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Layout:
    use_layout(monkeypatch, request.param)
    chosen: Layout = request.param
    return chosen


def make(
    n_in: int = 5, n_out: int = 4, count: int = 9, *, seed: int = 0, **options: Any
) -> SparseLinear:
    generator = torch.Generator().manual_seed(seed)
    return SparseLinear(n_in, n_out, n_connections=count, generator=generator, **options)


def dense_of(layer: SparseLinear) -> Tensor:
    """Return the weight matrix, read from the buffers one connection after the other."""
    W = torch.zeros(layer.shape, dtype=layer.weight.dtype)
    indptr, indices = (layer.get_buffer(name) for name in BUFFERS[layer.layout])
    for major in range(len(indptr) - 1):
        for k in range(int(indptr[major]), int(indptr[major + 1])):
            minor = int(indices[k])
            place = (major, minor) if layer.layout == "csr" else (minor, major)
            W[place] = layer.weight.detach()[k]
    return W


def computed_densely(layer: SparseLinear, x: Tensor) -> Tensor:
    bias = None if layer.bias is None else layer.bias.detach()
    return F.linear(x, dense_of(layer), bias)


def assert_right(layer: SparseLinear) -> None:
    """Assert that the layer computes what its buffers say."""
    x = torch.randn(3, layer.in_features, dtype=layer.weight.dtype)
    torch.testing.assert_close(layer(x), computed_densely(layer, x))


def assert_same(layer: SparseLinear, other: SparseLinear) -> None:
    """Assert that two layers have the same connections, weights and results."""
    assert torch.equal(dense_of(layer), dense_of(other))
    x = torch.randn(3, layer.in_features, dtype=layer.weight.dtype)
    torch.testing.assert_close(layer(x), other(x))


@pytest.fixture
def no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail when a kernel is asked for."""

    def fail(*args: object, **kwargs: object) -> None:
        raise AssertionError("a kernel ran")

    monkeypatch.setattr(dispatch, "multiply", fail)
    monkeypatch.setattr(dispatch, "gradients", fail)


# What it computes

N_IN = 5


def _randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


INPUTS: dict[str, Callable[[], Tensor]] = {
    "vector": lambda: _randn(N_IN),
    "one": lambda: _randn(1, N_IN),
    "batch": lambda: _randn(7, N_IN),
    "whole-vectors": lambda: _randn(16, N_IN),
    "several-tiles": lambda: _randn(150, N_IN),
    "three-dimensions": lambda: _randn(2, 3, N_IN),
    "four-dimensions": lambda: _randn(2, 1, 4, N_IN),
    "empty": lambda: _randn(0, N_IN),
    "empty-in-three": lambda: _randn(2, 0, N_IN),
    "strided": lambda: _randn(14, 2 * N_IN)[::2, ::2],
    "strided-vector": lambda: _randn(2 * N_IN)[::2],
    "expanded-batch": lambda: _randn(1, N_IN).expand(16, N_IN),
    "expanded-features": lambda: _randn(16, 1).expand(16, N_IN),
    "expanded-whole": lambda: _randn(1).expand(2, 8, N_IN),
    "transposed": lambda: _randn(3, N_IN, 2).transpose(1, 2),
    "permuted": lambda: _randn(N_IN, 4, 2).permute(2, 1, 0),
    "feature-major": lambda: _randn(N_IN, 16).t(),
    "feature-major-part": lambda: _randn(N_IN, 24)[:, 8:].t(),
    "feature-major-padded": lambda: _randn(N_IN, 16)[:, :13].t(),
    "offset": lambda: _randn(17 * N_IN + 1)[1 + N_IN :].view(16, N_IN),
}
each_input = pytest.mark.parametrize("x", INPUTS.values(), ids=INPUTS)


@each_input
def test_any_input_gives_what_a_dense_layer_gives(x: Callable[[], Tensor], layout: Layout) -> None:
    layer, input = make(dtype=torch.float64), x().requires_grad_()
    assert layer.bias is not None
    W, b = dense_of(layer).requires_grad_(), layer.bias.detach().clone().requires_grad_()
    y, expected = layer(input), F.linear(input, W, b)
    assert y.shape == expected.shape
    torch.testing.assert_close(y, expected)
    out = torch.randn_like(expected)
    dx, dw, db = torch.autograd.grad(y, [input, layer.weight, layer.bias], out)
    ex, ew, eb = torch.autograd.grad(expected, [input, W, b], out)
    assert dx.shape == input.shape
    torch.testing.assert_close(dx, ex)
    torch.testing.assert_close(db, eb)
    layer.weight.data = dw
    torch.testing.assert_close(dense_of(layer), ew * (dense_of(layer) != 0))


@each_input
def test_the_dense_twin_computes_the_same(x: Callable[[], Tensor], layout: Layout) -> None:
    layer, input = make(dtype=torch.float64), x()
    torch.testing.assert_close(layer.to_dense()(input), layer(input))


@pytest.mark.parametrize("batch", [1, 3, 8, 17])
@pytest.mark.parametrize("count", [0, 9, 20])
@pytest.mark.parametrize("bias", [True, False])
def test_gradients_are_those_of_finite_differences(
    bias: bool, count: int, batch: int, layout: Layout
) -> None:
    layer = make(count=count, bias=bias, dtype=torch.float64)
    names = [name for name, _ in layer.named_parameters()]
    values = [p.detach().clone().requires_grad_() for p in layer.parameters()]

    def compute(x: Tensor, *parameters: Tensor) -> Any:
        return functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(compute, (_randn(batch, N_IN).requires_grad_(), *values))


@pytest.mark.parametrize("frozen", list(itertools.product([False, True], repeat=3)), ids=str)
@pytest.mark.parametrize("batch", [3, 16])
def test_only_what_is_not_frozen_gets_a_gradient(
    batch: int, frozen: tuple[bool, bool, bool], layout: Layout
) -> None:
    layer = make()
    assert layer.bias is not None
    x = torch.randn(batch, N_IN)
    tensors = [x, layer.weight, layer.bias]
    for tensor, freeze in zip(tensors, frozen, strict=True):
        tensor.requires_grad_(not freeze)
    y = layer(x)
    assert y.requires_grad == (not all(frozen))
    if y.requires_grad:
        y.square().sum().backward()
    free = make()
    assert free.bias is not None
    twin = x.detach().clone().requires_grad_()
    free(twin).square().sum().backward()
    for tensor, full, freeze in zip(tensors, [twin, free.weight, free.bias], frozen, strict=True):
        if freeze:
            assert tensor.grad is None
        else:
            torch.testing.assert_close(tensor.grad, full.grad)


def test_a_layer_used_twice_adds_its_gradients(layout: Layout) -> None:
    layer = make(4, 4, 7, dtype=torch.float64)
    x = _randn(5, 4)
    layer(layer(x).tanh()).sum().backward()
    W = dense_of(layer).requires_grad_()
    F.linear(F.linear(x, W, layer.bias).tanh(), W, layer.bias).sum().backward()  # type: ignore[no-untyped-call]
    assert layer.weight.grad is not None
    assert W.grad is not None
    expected = W.grad.flatten()[layer.positions()]
    layer.weight.data = layer.weight.grad
    torch.testing.assert_close(layer.values(), expected)


def test_two_backward_passes_add_up(layout: Layout) -> None:
    layer = make()
    y = layer(torch.randn(3, N_IN)).square().sum()
    y.backward(retain_graph=True)
    assert layer.weight.grad is not None
    once = layer.weight.grad.clone()
    y.backward()
    torch.testing.assert_close(layer.weight.grad, 2 * once)


@pytest.mark.parametrize("batch", [1, 5, 16, 33])
def test_infinite_weights_leave_no_trace_in_padded_lanes(batch: int, layout: Layout) -> None:
    layer = make(count=20)
    with torch.no_grad():
        layer.weight[3] = torch.inf
    x = torch.rand(batch, N_IN, requires_grad=True)
    y = layer(x + 0.1)
    y.backward(torch.ones_like(y))
    assert not y.isnan().any()
    assert x.grad is not None
    assert not x.grad.isnan().any()
    assert layer.weight.grad is not None
    assert layer.weight.grad.isfinite().all()


@pytest.mark.parametrize("count", [0, 1, 20])
def test_no_connection_and_all_connections_work(count: int, layout: Layout) -> None:
    layer = make(count=count)
    assert (layer.n_connections, layer.density) == (count, count / 20)
    x = torch.randn(3, N_IN, requires_grad=True)
    torch.testing.assert_close(layer(x), computed_densely(layer, x))
    layer(x).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, dense_of(layer).sum(0).expand(3, -1))


def test_smallest_layers_work(layout: Layout) -> None:
    for n_in, n_out, count in [(1, 1, 1), (1, 1, 0), (1, 7, 4), (7, 1, 4)]:
        assert_right(make(n_in, n_out, count))


def test_a_layer_far_too_large_for_a_matrix_is_built_applied_and_exported() -> None:
    layer = SparseLinear(10**5, 10**5, n_connections=1000)  # 40 GB as a matrix
    x = torch.randn(2, 10**5)
    y = layer(x)
    y.sum().backward()
    W = layer.to_scipy()
    np.testing.assert_allclose(
        y.detach().numpy() - layer.bias.detach().numpy(),  # type: ignore[union-attr]
        (W @ x.numpy().T).T,
        atol=1e-4,
    )


def test_it_trains_inside_a_module_like_any_other(layout: Layout) -> None:
    model = nn.Sequential(make(5, 20, 60), AllReLU(0.6, 1), make(20, 1, 15))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    x = torch.randn(64, N_IN)
    target = x[:, :1] - x[:, 1:2]
    losses = []
    for _ in range(150):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), target)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 5


@each_optimizer
def test_every_optimizer_does_what_it_does_to_a_masked_dense_layer(
    optimizer_case: OptimizerCase, layout: Layout
) -> None:
    layer = make(6, 7, 20, dtype=torch.float64)
    dense = layer.to_dense()
    mask = torch.zeros(layer.shape, dtype=torch.bool)
    mask.view(-1)[layer.positions()] = True
    sparse_steps, dense_steps = (optimizer_case(m.parameters()) for m in (layer, dense))
    for _ in range(6):
        x, target = _randn(4, 6), _randn(4, 7)
        for module, optimizer in ((layer, sparse_steps), (dense, dense_steps)):
            optimizer.zero_grad()
            F.mse_loss(module(x), target).backward()  # type: ignore[no-untyped-call]
        assert dense.weight.grad is not None
        dense.weight.grad.mul_(mask)
        sparse_steps.step()
        dense_steps.step()
    torch.testing.assert_close(layer.values(), dense.weight.detach()[mask])
    torch.testing.assert_close(layer.bias, dense.bias)


# Memory


class Seen:
    """Where activations and gradients lay before and after they were turned feature-major."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[Tensor, Tensor]] = []
        original = autograd_module.feature_major

        def watched(x: Tensor) -> Tensor:
            turned = original(x)
            self.calls.append((x, turned))
            return turned

        monkeypatch.setattr(autograd_module, "feature_major", watched)

    def copied(self) -> list[bool]:
        return [x.data_ptr() != turned.data_ptr() for x, turned in self.calls]


@pytest.mark.parametrize(
    "between",
    [
        pytest.param(lambda: [nn.ReLU(), nn.Dropout(0.5)], id="relu-dropout"),
        pytest.param(lambda: [AllReLU(0.6), nn.Dropout(0.5)], id="allrelu-dropout"),
        pytest.param(lambda: [nn.Dropout(0.3), nn.Tanh()], id="dropout-tanh"),
        pytest.param(list, id="nothing"),
    ],
)
def test_a_chain_copies_neither_activations_nor_gradients(
    between: Callable[[], list[nn.Module]], layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = nn.Sequential(make(32, 48, 300), *between(), make(48, 16, 200))
    seen = Seen(monkeypatch)
    outputs: list[Tensor] = []
    gradients: list[Tensor] = []
    model[-2].register_forward_hook(lambda module, inputs, output: outputs.append(output))
    y = model(torch.randn(128, 32))
    assert seen.copied() == [True, False]  # a row-major batch is turned once
    assert seen.calls[1][1].data_ptr() == outputs[0].data_ptr()
    seen.calls.clear()
    y = model(torch.randn(32, 128).t())
    assert seen.copied() == [False, False]
    y.register_hook(gradients.append)
    seen.calls.clear()
    y.square().sum().backward()
    assert seen.copied() == [False, False]
    assert seen.calls[0][1].data_ptr() == gradients[0].data_ptr()


def test_the_gradient_for_the_input_is_feature_major_in_memory(layout: Layout) -> None:
    x = torch.randn(N_IN, 128).t().requires_grad_()
    y = make()(x)
    (dx,) = torch.autograd.grad(y.sum(), x)
    assert y.stride() == (1, 128)
    assert dx.stride() == (1, 128)


INPLACE = [
    pytest.param(nn.ReLU(inplace=True), id="relu"),
    pytest.param(nn.Dropout(0.0, inplace=True), id="dropout"),
    pytest.param(lambda y: y.add_(1), id="add"),
]


@pytest.mark.parametrize("shape", [(16, N_IN), (3, N_IN), (2, 4, N_IN), (N_IN,)], ids=str)
@pytest.mark.parametrize("change", INPLACE)
def test_its_output_may_be_changed_in_place(
    change: Callable[[Tensor], Tensor], shape: tuple[int, ...], layout: Layout
) -> None:
    layer = make()
    x = torch.randn(shape, requires_grad=True)
    change(layer(x)).sum().backward()  # type: ignore[no-untyped-call]
    twin = x.detach().clone().requires_grad_()
    change(layer.to_dense()(twin)).sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(x.grad, twin.grad)


def test_an_input_changed_after_it_was_used_is_noticed(layout: Layout) -> None:
    x = torch.randn(N_IN, 16, requires_grad=True).mul(1).t()  # feature-major: not copied
    y = make()(x)
    with torch.no_grad():
        x.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_weights_changed_after_they_were_used_are_noticed(layout: Layout) -> None:
    layer = make()
    y = layer(torch.randn(3, N_IN, requires_grad=True))
    with torch.no_grad():
        layer.weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_a_padded_input_may_change_after_it_was_copied(layout: Layout) -> None:
    layer = make()
    x = torch.randn(3, N_IN)
    (expected,) = torch.autograd.grad(layer(x).square().sum(), layer.weight)
    y = layer(x).square().sum()
    x.zero_()
    (found,) = torch.autograd.grad(y, layer.weight)
    torch.testing.assert_close(found, expected)


def test_the_input_and_the_incoming_gradient_are_left_as_they_were(layout: Layout) -> None:
    layer = make()
    x, out = torch.randn(N_IN, 16).t().requires_grad_(), torch.randn(4, 16).t()
    before = x.detach().clone(), out.clone()
    layer(x).backward(out)
    assert torch.equal(x, before[0])
    assert torch.equal(out, before[1])


@pytest.mark.parametrize("batch", [3, 16])
def test_strided_parameters_are_read_as_they_lie(batch: int, layout: Layout) -> None:
    layer = make()
    layer.weight = nn.Parameter(torch.randn(18)[::2])
    layer.bias = nn.Parameter(torch.randn(1).expand(4))
    x = torch.randn(batch, N_IN, requires_grad=True)
    torch.testing.assert_close(layer(x), computed_densely(layer, x))
    (dx,) = torch.autograd.grad(layer(x).sum(), x)
    torch.testing.assert_close(dx, dense_of(layer).sum(0).expand(batch, -1))


@pytest.mark.parametrize("count", [0, 8, 10])
@pytest.mark.usefixtures("no_kernel")
def test_a_wrong_number_of_weights_never_reaches_a_kernel(count: int, layout: Layout) -> None:
    layer = make()
    assert len(layer.index.indices) == 9
    with pytest.raises(RuntimeError, match="9"):
        functional_call(layer, {"weight": torch.ones(count)}, (torch.ones(2, N_IN),))
    layer.weight = nn.Parameter(torch.ones(count))
    with pytest.raises(TopologyError, match=rf"{count} weights but 9 connections"):
        layer(torch.ones(2, N_IN))


@pytest.mark.parametrize("count", [0, 1, 3, 5])
@pytest.mark.usefixtures("no_kernel")
def test_a_bias_of_wrong_length_never_reaches_a_kernel(count: int, layout: Layout) -> None:
    layer = make()
    layer.bias = nn.Parameter(torch.ones(count))
    with pytest.raises((InvalidArgumentError, RuntimeError), match=str(count)):
        layer(torch.ones(2, N_IN))


# Modes of torch


def test_autocast_computes_in_float32(layout: Layout) -> None:
    layer, first = make(), nn.Linear(3, N_IN)
    x = torch.randn(16, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = first(x)
        y = layer(hidden)
        same = layer(torch.ones(16, N_IN))
    assert hidden.dtype == torch.bfloat16
    assert y.dtype == same.dtype == torch.float32
    torch.testing.assert_close(y, computed_densely(layer, hidden.float()))
    y.sum().backward()
    exact = F.linear(x, first.weight.detach(), first.bias.detach())
    W = first.weight.detach().clone().requires_grad_()
    computed_densely(layer, F.linear(x, W, first.bias.detach())).sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(first.weight.grad, W.grad, rtol=0.05, atol=0.05)
    torch.testing.assert_close(hidden.float(), exact, rtol=0.05, atol=0.05)


def test_autocast_changes_nothing_for_float32_input(layout: Layout) -> None:
    layer, x = make(), torch.randn(16, N_IN)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x)
        y.sum().backward()
    twin = make()
    expected = twin(x)
    expected.sum().backward()
    assert torch.equal(y, expected)
    assert torch.equal(layer.weight.grad, twin.weight.grad)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int64, torch.bool])
def test_an_input_of_another_type_is_refused(dtype: torch.dtype) -> None:
    message = rf"the input is {dtype} and the weights are torch.float32; .*layer\.to\(input.dtype\)"
    with pytest.raises(InvalidArgumentError, match=message):
        make()(torch.ones(2, N_IN).to(dtype))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_layer_of_a_type_without_kernels_says_so(dtype: torch.dtype) -> None:
    layer = make().to(dtype)
    with pytest.raises(InvalidArgumentError, match=r"torch.float32 or torch.float64"):
        layer(torch.ones(2, N_IN, dtype=dtype))


def test_the_type_may_change_between_calls(layout: Layout) -> None:
    layer = make()
    x = _randn(3, N_IN)
    expected = layer(x.float())
    torch.testing.assert_close(layer.double()(x), expected.double())
    torch.testing.assert_close(layer.float()(x.float()), expected)


def test_inference_mode_and_no_grad_compute_the_same(layout: Layout) -> None:
    layer, x = make(), torch.randn(3, N_IN)
    expected = layer(x)
    with torch.no_grad():
        quiet_ = layer(x)
    with torch.inference_mode():
        inferred = layer(x)
        assert inferred.is_inference()
    assert torch.equal(quiet_, expected)
    assert torch.equal(inferred, expected)
    assert not quiet_.requires_grad
    assert expected.requires_grad
    expected.sum().backward()


def test_a_layer_first_used_in_inference_mode_can_be_trained(layout: Layout) -> None:
    layer, x = make(), torch.randn(3, N_IN)
    with torch.inference_mode():
        layer(x)
    layer(x).sum().backward()
    assert layer.weight.grad is not None


def test_a_layer_built_in_inference_mode_follows_its_state(layout: Layout) -> None:
    other = make(seed=3)
    with torch.inference_mode():
        layer = make()
        assert_right(layer)
        layer.load_state_dict(other.state_dict())
        assert_same(layer, other)


# A warning of torch's compiler about tensors between its graphs, which users do not see.
between_graphs = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")


def compiled(layer: nn.Module) -> Callable[[Tensor], Tensor]:
    torch.compiler.reset()
    function: Callable[[Tensor], Tensor] = torch.compile(layer, backend="eager")
    return function


@between_graphs
@pytest.mark.parametrize("shape", [(3, N_IN), (16, N_IN), (2, 3, N_IN)], ids=str)
def test_compiling_changes_no_result(shape: tuple[int, ...], layout: Layout) -> None:
    model = nn.Sequential(make(), nn.ReLU(), make(4, 3, 6))
    x, twin = (torch.ones(shape, requires_grad=True) for _ in range(2))
    fast = compiled(model)
    for _ in range(2):
        y, expected = fast(x), model(twin)
        assert torch.equal(y, expected)
        y.sum().backward()  # type: ignore[no-untyped-call]
        expected.sum().backward()
    assert x.grad is not None
    assert twin.grad is not None
    assert torch.equal(x.grad, twin.grad)


@between_graphs
def test_compiled_layers_follow_the_topology(layout: Layout) -> None:
    layer, other = make(), make(seed=3, count=12)
    fast, x = compiled(layer), torch.randn(3, N_IN)
    fast(x)
    layer.load_state_dict(other.state_dict())
    assert torch.equal(fast(x), other(x))


def test_differentiating_twice_is_refused_clearly(layout: Layout) -> None:
    x = torch.randn(3, N_IN, requires_grad=True)
    (dx,) = torch.autograd.grad(make()(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        dx.sum().backward()  # type: ignore[no-untyped-call]


# Threads and processes


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Share even the smallest work between two threads."""
    before = torch.get_num_threads()
    monkeypatch.setattr(dispatch, "_SERIAL", 1)
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_one_layer_serves_four_threads_at_once(layout: Layout) -> None:
    layer = make(40, 50, 700)
    inputs = [torch.randn(32, 40) for _ in range(4)]

    def work(x: Tensor) -> tuple[Tensor, Tensor]:
        for _ in range(20):
            y = layer(x)
            (gradient,) = torch.autograd.grad(y.square().sum(), layer.weight)
        return y, gradient

    expected = [work(x) for x in inputs]
    fresh = copy.deepcopy(layer)  # its index is not checked yet
    layer = fresh
    with ThreadPoolExecutor(4) as executor:
        found = list(executor.map(work, inputs))
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


@pytest.mark.usefixtures("two_threads")
def test_a_step_is_the_same_in_every_bit_when_repeated(layout: Layout) -> None:
    def step() -> list[Tensor]:
        layer = make(40, 50, 700)
        x = torch.randn(70, 40, generator=torch.Generator().manual_seed(1)).requires_grad_()
        layer(x).square().sum().backward()
        assert layer.weight.grad is not None
        assert x.grad is not None
        return [layer.weight.grad, x.grad]

    for one, other in zip(step(), step(), strict=True):
        assert torch.equal(one, other)


def _step_in_child(layer: SparseLinear, x: Tensor, expected: Tensor) -> None:
    torch.set_num_threads(2)
    y = layer(x)
    y.square().sum().backward()
    assert torch.equal(y, expected)


@pytest.mark.skipif(sys.platform != "linux", reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
@pytest.mark.usefixtures("two_threads")
def test_a_forked_process_takes_a_step_after_threads_have_run(layout: Layout) -> None:
    layer, x = make(40, 50, 700), torch.randn(32, 40)
    expected = layer(x).detach()
    fork = multiprocessing.get_context("fork")
    process = fork.Process(target=_step_in_child, args=(layer, x, expected))
    process.start()
    process.join(30)
    code = process.exitcode
    process.kill()
    process.join()
    assert code == 0


def test_shared_memory_is_what_the_kernels_use(layout: Layout) -> None:
    layer = make(300, 200, 5000)
    assert_right(layer)
    layer.share_memory()
    buffers = [layer.get_buffer(name) for name in BUFFERS[layout]]
    assert all(buffer.is_shared() for buffer in buffers)  # type: ignore[no-untyped-call]
    arrays = layer.index.indptr, layer.index.indices
    assert [a.ctypes.data for a in arrays] == [buffer.data_ptr() for buffer in buffers]


# Copies and files


def _saved_and_loaded(layer: SparseLinear) -> SparseLinear:
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    loaded: SparseLinear = torch.load(file, weights_only=False)
    return loaded


COPIES: dict[str, Callable[[SparseLinear], SparseLinear]] = {
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "pickle": lambda layer: pickle.loads(pickle.dumps(layer)),
    "torch.save": _saved_and_loaded,
}


@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
@pytest.mark.parametrize("twin", COPIES.values(), ids=COPIES)
def test_a_copy_is_the_same_layer(
    twin: Callable[[SparseLinear], SparseLinear], used: bool, layout: Layout
) -> None:
    layer = make()
    if used:
        layer(torch.randn(3, N_IN)).sum().backward()
    other = twin(layer)
    assert_same(other, layer)
    assert repr(other) == repr(layer)
    other(torch.randn(3, N_IN)).sum().backward()


@pytest.mark.parametrize("name", ["deepcopy", "pickle", "torch.save"])
def test_a_deep_copy_is_independent(name: str, layout: Layout) -> None:
    layer, other = make(), make(seed=3)
    x = torch.randn(3, N_IN)
    expected = layer(x)
    twin = COPIES[name](layer)
    twin.load_state_dict(other.state_dict())
    assert torch.equal(layer(x), expected)
    assert_same(twin, other)


def test_a_pickle_is_not_larger_for_having_been_used(layout: Layout) -> None:
    layer = make(30, 40, 500)
    before = len(pickle.dumps(layer))
    assert_right(layer)
    layer.positions()
    assert len(pickle.dumps(layer)) == before


def test_the_state_names_parameters_and_the_two_index_arrays(layout: Layout) -> None:
    state = make().state_dict()
    assert list(state)[:4] == ["weight", "bias", *BUFFERS[layout]]
    indptr, indices = (state[name] for name in BUFFERS[layout])
    assert (indptr.dtype, indices.dtype) == (torch.int64, torch.int32)


def test_the_state_is_what_safetensors_can_write(layout: Layout) -> None:
    tensors = list(make().state_dict().values())
    assert all(t.is_contiguous() and t.layout == torch.strided for t in tensors)
    pointers = [t.untyped_storage().data_ptr() for t in tensors]
    assert len(set(pointers)) == len(pointers)


def test_safetensors_round_trip(layout: Layout, tmp_path: Any) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    layer, other = make(), make(seed=3, count=12)
    safetensors.save_model(layer, tmp_path / "layer")
    safetensors.load_model(other, tmp_path / "layer")
    assert_same(other, layer)


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


@pytest.mark.parametrize("assign", [False, True], ids=["copied", "assigned"])
@pytest.mark.parametrize("count", [9, 5, 0, 20])
@pytest.mark.parametrize("other_layout", BUFFERS)
@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
def test_a_state_brings_its_topology_count_and_layout(
    used: bool,
    other_layout: Layout,
    count: int,
    assign: bool,
    layout: Layout,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layer = make()
    if used:
        assert_right(layer)
    use_layout(monkeypatch, other_layout)
    source = make(seed=3, count=count)
    weight = layer.weight
    done = layer.load_state_dict(through_a_file(source.state_dict()), assign=assign)
    assert (done.missing_keys, done.unexpected_keys) == ([], [])
    assert layer.layout == source.layout
    assert_same(layer, source)
    assert torch.equal(layer.positions(), source.positions())
    if not assign:
        assert layer.weight is weight  # or an optimizer would hold another
    layer(torch.randn(2, N_IN)).sum().backward()
    assert layer.state_dict().keys() == source.state_dict().keys()


def test_a_state_loads_inside_a_larger_model(layout: Layout) -> None:
    model = nn.Sequential(make(), nn.ReLU(), make(4, 3, 6))
    other = nn.Sequential(make(seed=3, count=4), nn.ReLU(), make(4, 3, 9, seed=5))
    model.load_state_dict(through_a_file(other.state_dict()))
    x = torch.randn(3, N_IN)
    assert torch.equal(model(x), other(x))


def test_a_state_of_another_count_may_come_while_a_graph_is_alive(layout: Layout) -> None:
    layer, source = make(), make(seed=3, count=6)
    loss = layer(torch.randn(3, N_IN)).sum()  # kept, as in any training loop
    loss.backward()
    layer.load_state_dict(source.state_dict())
    layer.zero_grad()
    x = torch.randn(3, N_IN)
    layer(x).sum().backward()
    source(x).sum().backward()
    torch.testing.assert_close(layer.weight.grad, source.weight.grad)
    assert loss.requires_grad


def test_a_state_of_another_count_leaves_no_gradient_of_the_old_one(layout: Layout) -> None:
    layer, x = make(), torch.randn(3, N_IN)
    layer(x).sum().backward()
    layer.load_state_dict(make(seed=3, count=6).state_dict())
    gradient = layer.weight.grad
    assert gradient is None or gradient.shape == (6,)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(4, 4), (6, 4), (5, 3), (5, 6)], ids=str)
def test_a_state_of_another_shape_is_refused(
    shape: tuple[int, int], bias: bool, layout: Layout
) -> None:
    layer = make(bias=bias)
    state = make(*shape, count=7, bias=bias).state_dict()
    with pytest.raises(RuntimeError):
        load_and_use(layer, state)


@pytest.mark.parametrize("shape", [(4, 4), (6, 4), (5, 3), (5, 6)], ids=str)
def test_a_refused_state_leaves_the_layer_in_order(shape: tuple[int, int], layout: Layout) -> None:
    layer = make()
    before = dense_of(layer)
    with pytest.raises(RuntimeError):
        layer.load_state_dict(make(*shape, count=7).state_dict())
    assert torch.equal(dense_of(layer), before)
    assert_right(layer)


def test_an_incomplete_state_is_refused(layout: Layout) -> None:
    for name in make().state_dict():
        state = make(seed=3).state_dict()
        del state[name]
        with pytest.raises(RuntimeError, match=f'Missing key.*"{name}"'):
            make().load_state_dict(state)


def test_the_last_of_several_states_counts(layout: Layout) -> None:
    for seed in range(0, 300, 3):
        layer = make()
        assert_right(layer)
        for more in range(3):  # the memory of one may be that of the next but one
            source = make(seed=seed + more)
            layer.load_state_dict(source.state_dict(), assign=True)
        x = torch.randn(2, N_IN)
        torch.testing.assert_close(layer(x), source(x))


def load_and_use(layer: SparseLinear, state: dict[str, Any], *, assign: bool = False) -> None:
    layer.load_state_dict(state, assign=assign)
    layer(torch.ones(2, layer.in_features))


DAMAGES: dict[str, Callable[[Tensor, Tensor], object]] = {
    "repeated": lambda indptr, indices: indices[:2].fill_(1),
    "descending": lambda indptr, indices: indices[:2].copy_(indices[:2].flip(0)),
    "too-large": lambda indptr, indices: indices[-1].fill_(10**6),
    "negative": lambda indptr, indices: indices[0].fill_(-1),
    "late-start": lambda indptr, indices: indptr[0].fill_(1),
    "early-end": lambda indptr, indices: indptr[-1].sub_(1),
    "late-end": lambda indptr, indices: indptr[-1].add_(1),
    "descending-pointers": lambda indptr, indices: indptr[1].fill_(2**62),
    "negative-pointer": lambda indptr, indices: indptr[1].fill_(-5),
}
each_damage = pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)


@each_damage
@pytest.mark.parametrize("assign", [False, True], ids=["copied", "assigned"])
@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
def test_a_damaged_state_is_refused_before_a_kernel_runs(
    used: bool,
    assign: bool,
    damage: Callable[[Tensor, Tensor], object],
    layout: Layout,
    request: pytest.FixtureRequest,
) -> None:
    layer, state = make(count=18), make(count=18, seed=3).state_dict()
    if used:
        assert_right(layer)
    request.getfixturevalue("no_kernel")
    damage(*(state[name] for name in BUFFERS[layout]))
    with pytest.raises(TopologyError, match="damaged"):
        load_and_use(layer, state, assign=assign)
    for use in (layer.positions, layer.values, layer.to_dense, layer.to_scipy):
        with pytest.raises(TopologyError, match="damaged"):
            use()


@each_damage
def test_buffers_damaged_in_place_are_refused_before_a_kernel_runs(
    damage: Callable[[Tensor, Tensor], object], layout: Layout, request: pytest.FixtureRequest
) -> None:
    layer = make(count=18)
    assert_right(layer)
    request.getfixturevalue("no_kernel")
    damage(*(layer.get_buffer(name) for name in BUFFERS[layout]))
    with pytest.raises(TopologyError, match="damaged"):
        layer(torch.ones(2, N_IN))


ODD_INDICES: dict[str, Callable[[Tensor], Tensor]] = {
    "fractions": lambda indices: indices + 0.5,
    "beyond-int32": lambda indices: indices.long() + 2**32,
    "two-dimensional": lambda indices: indices[:, None],
}


@pytest.mark.parametrize("assign", [False, True], ids=["copied", "assigned"])
@pytest.mark.parametrize("change", ODD_INDICES.values(), ids=ODD_INDICES)
def test_indices_that_are_no_row_numbers_are_refused(
    change: Callable[[Tensor], Tensor], assign: bool, layout: Layout
) -> None:
    layer, state = make(), make(seed=3).state_dict()
    name = BUFFERS[layout][1]
    state[name] = change(state[name])
    with pytest.raises(RuntimeError):
        load_and_use(layer, state, assign=assign)


@pytest.mark.parametrize("way", ["in place", "replaced", "data"])
@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
def test_a_sound_change_of_the_buffers_is_followed(used: bool, way: str, layout: Layout) -> None:
    layer, other = make(), make(seed=3)
    if used:
        assert_right(layer)
        layer.positions()
    for name in BUFFERS[layout]:
        new = other.get_buffer(name).clone()
        if way == "in place":
            layer.get_buffer(name).copy_(new)
        elif way == "replaced":
            setattr(layer, name, new)
        else:
            layer.get_buffer(name).data = new
    layer.weight.data = other.weight.data.clone()
    layer.bias = other.bias
    assert_same(layer, other)


@pytest.mark.parametrize("new", ["sound", "damaged"])
def test_an_index_changed_between_forward_and_backward_is_noticed(
    new: str, layout: Layout, request: pytest.FixtureRequest
) -> None:
    layer, other = make(), make(seed=3)
    x = torch.randn(3, N_IN, requires_grad=True)
    y = layer(x)
    if new == "sound":
        for name in BUFFERS[layout]:
            layer.get_buffer(name).copy_(other.get_buffer(name))
    else:
        layer.get_buffer(BUFFERS[layout][1])[-1] = 10**6
        request.getfixturevalue("no_kernel")
    with pytest.raises(RuntimeError, match=r"modified by an inplace operation|damaged"):
        y.sum().backward()


def test_a_new_topology_of_another_count_is_used_at_once(layout: Layout) -> None:
    layer, other = make(), make(seed=3, count=12)
    assert_right(layer)
    layer.set_index(other.index)
    layer.weight.data = other.weight.data.clone()
    layer.bias = other.bias
    assert_same(layer, other)


# Other forms

FEATURES = st.tuples(st.integers(1, 9), st.integers(1, 9))


@st.composite
def matrices(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """A weight matrix and a mask; some weights inside the mask are 0."""
    n_in, n_out = draw(FEATURES)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    mask = torch.rand(n_out, n_in, generator=generator) < draw(st.floats(0, 1))
    W = torch.randn(n_out, n_in, generator=generator)
    zero = torch.rand(n_out, n_in, generator=generator) < draw(st.sampled_from([0, 0.3]))
    return W.masked_fill(zero | ~mask, 0), mask


def linear_of(W: Tensor, *, bias: bool = True) -> nn.Linear:
    n_out, n_in = W.shape
    linear = nn.Linear(n_in, n_out, bias=bias, dtype=W.dtype)
    linear.weight.data = W.clone()
    return linear


both_layouts = st.sampled_from(list(BUFFERS))


def positions_of(mask: Tensor) -> Tensor:
    return mask.flatten().nonzero().squeeze(1)


@given(matrix=matrices(), layout=both_layouts, bias=st.booleans())
def test_dense_layers_survive_the_round_trip(
    matrix: tuple[Tensor, Tensor], layout: Layout, bias: bool
) -> None:
    W, mask = matrix
    linear = linear_of(W, bias=bias)
    with pytest.MonkeyPatch.context() as patch:
        use_layout(patch, layout)
        kept, nonzero = SparseLinear.from_dense(linear, mask), SparseLinear.from_dense(linear)
    assert torch.equal(kept.positions(), positions_of(mask))  # zeros inside the mask stay
    assert torch.equal(nonzero.positions(), positions_of(W != 0))
    for layer in (kept, nonzero):
        back = layer.to_dense()
        assert type(back) is nn.Linear
        assert torch.equal(back.weight, W)
        assert (back.bias is not None) == bias
        if bias:
            assert torch.equal(back.bias, linear.bias)
        assert layer.weight.requires_grad
        assert_right(layer)


@quiet
@given(matrix=matrices(), layout=both_layouts, dtype=st.sampled_from(["float32", "float64"]))
def test_torch_and_scipy_matrices_survive_the_round_trip(
    matrix: tuple[Tensor, Tensor], layout: Layout, dtype: str
) -> None:
    W, mask = matrix[0].to(getattr(torch, dtype)), matrix[1]
    with pytest.MonkeyPatch.context() as patch:
        use_layout(patch, layout)
        layer = SparseLinear.from_dense(linear_of(W, bias=False), mask)
        as_torch, as_scipy = layer.to_torch(), layer.to_scipy()
        back = SparseLinear.from_torch(as_torch)
    assert as_torch.layout == torch.sparse_csr
    assert as_torch.dtype == W.dtype
    assert torch.equal(as_torch.to_dense(), W)
    assert as_torch.values().numel() == as_scipy.nnz == int(mask.sum())
    assert as_scipy.shape == W.shape
    assert as_scipy.dtype == dtype
    np.testing.assert_array_equal(as_scipy.toarray(), W.numpy())
    as_scipy.check_format(full_check=True)
    assert as_scipy.has_canonical_format
    assert_same(back, layer)
    assert back.bias is None


@quiet
def test_exports_are_copies(layout: Layout) -> None:
    layer = make()
    before = dense_of(layer)
    with torch.no_grad():
        layer.to_dense().weight.zero_()
        layer.to_torch().values().zero_()
        layer.to_scipy().data[:] = 0
        layer.values().zero_()
        layer.positions().zero_()
    assert torch.equal(dense_of(layer), before)
    assert_right(layer)


@quiet
def test_a_torch_matrix_may_list_its_columns_in_any_order(layout: Layout) -> None:
    indptr, columns = torch.tensor([0, 3, 3]), torch.tensor([2, 0, 1])
    matrix = torch.sparse_csr_tensor(indptr, columns, torch.tensor([3.0, 1.0, 2.0]), (2, 3))
    layer = SparseLinear.from_torch(matrix, torch.tensor([5.0, 6.0]))
    assert layer.to_dense().weight.tolist() == [[1, 2, 3], [0, 0, 0]]
    assert layer(torch.ones(3)).tolist() == [11, 6]


@quiet
def test_a_torch_matrix_may_have_int32_indices(layout: Layout) -> None:
    indptr, columns = (torch.tensor(x, dtype=torch.int32) for x in ([0, 1, 2], [2, 0]))
    matrix = torch.sparse_csr_tensor(indptr, columns, torch.tensor([3.0, 1.0]), (2, 3))
    assert SparseLinear.from_torch(matrix).to_dense().weight.tolist() == [[0, 0, 3], [1, 0, 0]]


@quiet
def test_only_sparse_csr_matrices_come_in(layout: Layout) -> None:
    dense = torch.ones(2, 3)
    batched = torch.ones(2, 2, 3).to_sparse_csr()
    for wrong in (dense, dense.to_sparse(), dense.to_sparse_csc(), batched):
        with pytest.raises(InvalidArgumentError, match=r"two-dimensional torch\.sparse_csr tensor"):
            SparseLinear.from_torch(wrong)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta:UserWarning")
def test_an_exported_matrix_is_said_to_be_sound(layout: Layout) -> None:
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)  # else only the first sparse tensor of a process warns
    try:
        make().to_torch()
    finally:
        torch.set_warn_always(before)


def test_masked_layers_come_in_with_their_zeros(layout: Layout) -> None:
    model = nn.Sequential(nn.Linear(6, 7))
    sparsify(model, torch.optim.SGD(model.parameters(), lr=0.1), density=0.4, method=Static())
    masked = model[0]
    assert isinstance(masked, nn.Linear)
    mask = masked.get_buffer("weight_mask")
    with torch.no_grad():
        masked.weight[tuple(mask.nonzero()[0])] = 0
    layer = SparseLinear.from_masked(masked)
    assert torch.equal(layer.positions(), positions_of(mask))
    assert torch.equal(layer.to_dense().weight, masked.weight)
    x = torch.randn(3, 6)
    torch.testing.assert_close(layer(x), masked(x))


def test_a_layer_without_a_mask_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="no mask; use from_dense"):
        SparseLinear.from_masked(nn.Linear(2, 3))


def test_connections_may_be_given_in_any_order(layout: Layout) -> None:
    source = make(9, 8, 30)
    positions, values = source.positions(), source.values()
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    one, other = (
        SparseLinear.from_positions(9, 8, p, v, source.bias)
        for p, v in ((positions, values), (positions[order], values[order]))
    )
    for layer in (one, other):
        assert torch.equal(layer.positions(), positions)
        assert torch.equal(layer.values(), values)
    x = torch.randn(3, 9)
    gradients: list[Any] = []
    for layer in (source, one, other):
        y = layer(x)
        assert torch.equal(y, source(x))
        y.square().sum().backward()
        gradients.append(layer.weight.grad)
    assert torch.equal(gradients[0], gradients[1])
    assert torch.equal(gradients[1], gradients[2])


def test_results_do_not_depend_on_the_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    x = torch.randn(7, 9, dtype=torch.float64)
    for layout in BUFFERS:
        use_layout(monkeypatch, layout)
        layer = make(9, 8, 30, dtype=torch.float64)
        assert layer.layout == layout
        y = layer(x)
        y.square().sum().backward()
        assert layer.weight.grad is not None
        layer.weight.data, values = layer.weight.grad, layer.values()
        results.append((layer.positions(), values, y.detach(), layer.values()))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)
    assert torch.equal(results[0][1], results[1][1])


def test_values_are_set_in_the_order_of_the_positions(layout: Layout) -> None:
    layer = make()
    values = torch.arange(9.0)
    layer.set_values(values)
    assert torch.equal(layer.values(), values)
    assert torch.equal(dense_of(layer).flatten()[layer.positions()], values)
    values.zero_()
    assert layer.values().sum() == 36


@pytest.mark.parametrize("count", [0, 1, 8, 10])
def test_a_wrong_number_of_values_is_not_set(count: int, layout: Layout) -> None:
    layer = make()
    before = layer.values()
    with pytest.raises((ValueError, RuntimeError, IndexError)):
        layer.set_values(torch.ones(count))
    assert torch.equal(layer.values(), before)


@pytest.mark.parametrize("positions", [[0, 0], [5, 5], [-1, 0], [0, 6], [2**40, 0]], ids=str)
def test_repeated_or_foreign_positions_are_refused(positions: list[int], layout: Layout) -> None:
    with pytest.raises(TopologyError, match=r"distinct and in \[0, 6\)"):
        SparseLinear.from_positions(3, 2, torch.tensor(positions), torch.ones(2))


LAYER_ARGUMENTS: dict[str, Any] = {
    "no-inputs": (0, 2, [], []),
    "negative-inputs": (-3, 2, [], []),
    "no-outputs": (3, 0, [], []),
    "values-missing": (3, 2, [0, 5], [1.0]),
    "values-left-over": (3, 2, [0, 5], [1.0, 2.0, 3.0]),
    "bias-short": (3, 2, [0, 5], [1.0, 2.0], [1.0]),
    "bias-long": (3, 2, [0, 5], [1.0, 2.0], [1.0, 2.0, 3.0]),
    "bias-scalar": (3, 2, [0, 5], [1.0, 2.0], 1.0),
}


@pytest.mark.parametrize("arguments", LAYER_ARGUMENTS.values(), ids=LAYER_ARGUMENTS)
def test_numbers_that_do_not_fit_the_shape_are_refused(arguments: Any, layout: Layout) -> None:
    n_in, n_out, positions, *rest = arguments
    numbers = [torch.tensor(x, dtype=torch.float32) for x in rest]
    with pytest.raises(InvalidArgumentError):
        SparseLinear.from_positions(
            n_in, n_out, torch.tensor(positions, dtype=torch.int64), *numbers
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
def test_positions_that_are_no_integers_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(InvalidArgumentError):
        SparseLinear.from_positions(3, 2, torch.tensor([0, 1]).to(dtype), torch.ones(2))


@pytest.mark.parametrize("shape", [(2, 3), (1, 3), (4, 2), (6,), (3, 2, 1)], ids=str)
def test_a_mask_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidArgumentError, match="mask"):
        SparseLinear.from_dense(nn.Linear(2, 3), torch.ones(shape, dtype=torch.bool))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int32, torch.complex64])
def test_numbers_of_a_type_without_kernels_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(
        InvalidArgumentError, match=r"dtype must be torch\.float32 or torch\.float64"
    ):
        SparseLinear.from_positions(3, 2, torch.tensor([0]), torch.ones(1).to(dtype))


# Sizes and initial values


@given(shape=FEATURES, density=st.floats(0, 1), layout=both_layouts)
def test_a_density_gives_exactly_its_share_of_connections(
    shape: tuple[int, int], density: float, layout: Layout
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        use_layout(patch, layout)
        layer = SparseLinear(*shape, density=density)
    most = shape[0] * shape[1]
    assert layer.n_connections == round(density * most)
    assert layer.density == layer.n_connections / most
    positions = layer.positions()
    assert len(set(positions.tolist())) == layer.n_connections
    assert torch.equal(positions, positions.sort().values)
    assert ((positions >= 0) & (positions < most)).all()


@given(shape=FEATURES, epsilon=st.floats(1e-3, 100))
def test_an_epsilon_gives_its_share_of_neurons_up_to_all(
    shape: tuple[int, int], epsilon: float
) -> None:
    layer = SparseLinear(*shape, epsilon=epsilon)
    assert layer.n_connections == min(shape[0] * shape[1], round(epsilon * sum(shape)))


@given(shape=FEATURES, data=st.data())
def test_a_number_of_connections_is_kept(shape: tuple[int, int], data: st.DataObject) -> None:
    count = data.draw(st.integers(0, shape[0] * shape[1]))
    layer = SparseLinear(*shape, n_connections=count)
    assert layer.n_connections == len(layer.positions()) == count


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64])
def test_sizes_may_be_numpy_numbers(kind: Any) -> None:
    layer = SparseLinear(np.int64(5), np.int64(4), density=kind(1))  # type: ignore[arg-type]
    assert layer.n_connections == 20
    assert_right(layer)
    assert_same(pickle.loads(pickle.dumps(layer)), layer)


ERRORS: dict[str, tuple[dict[str, Any], str]] = {
    "no-size": ({}, "exactly one of density, epsilon and n_connections, got none"),
    "two-sizes": ({"density": 0.5, "epsilon": 1}, "exactly one .* got density=0.5, epsilon=1"),
    "three-sizes": ({"density": 1, "epsilon": 1, "n_connections": 1}, "exactly one"),
    "density-above": ({"density": 1.1}, r"density must be a number in \[0, 1\], got 1.1"),
    "density-below": ({"density": -0.1}, r"density must be a number in \[0, 1\], got -0.1"),
    "density-nan": ({"density": float("nan")}, r"density must be a number in \[0, 1\], got nan"),
    "density-text": ({"density": "0.5"}, r"density must be a number in \[0, 1\], got '0.5'"),
    "epsilon-zero": ({"epsilon": 0}, "epsilon must be a finite number > 0, got 0"),
    "epsilon-inf": ({"epsilon": float("inf")}, "epsilon must be a finite number > 0, got inf"),
    "count-above": ({"n_connections": 21}, "n_connections=21 is more than the 20 possible ones"),
    "count-below": ({"n_connections": -1}, "n_connections must be an integer >= 0, got -1"),
    "count-float": ({"n_connections": 3.0}, "n_connections must be an integer >= 0, got 3.0"),
    "count-bool": ({"n_connections": True}, "n_connections must be an integer >= 0, got True"),
    "inputs-zero": ({"in_features": 0, "density": 1}, "in_features must be an integer >= 1, got 0"),
    "outputs-float": (
        {"out_features": 4.0, "density": 1},
        "out_features must be an integer >= 1, got 4.0",
    ),
    "half": (
        {"density": 1, "dtype": torch.float16},
        "dtype must be torch.float32 or torch.float64, got torch.float16",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), ERRORS.values(), ids=ERRORS)
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        SparseLinear(**{"in_features": 5, "out_features": 4} | arguments)


@pytest.mark.parametrize("shape", [(), (4,), (3, 4), (5, 3), (2, 5, 6)], ids=str)
def test_an_input_of_another_width_is_refused(shape: tuple[int, ...]) -> None:
    message = r"an input of shape \(\.\.\., 5\), got \(" + ", ".join(map(str, shape))
    with pytest.raises(InvalidArgumentError, match=message):
        make()(torch.ones(shape))


def test_a_generator_decides_everything(layout: Layout) -> None:
    assert_same(make(seed=5), make(seed=5))
    assert not torch.equal(make(seed=5).positions(), make(seed=6).positions())
    layer, other = make(seed=5), make(seed=5)
    with torch.no_grad():
        layer.weight.zero_()
    for each in (layer, other):
        each.reset_parameters(torch.Generator().manual_seed(3))
    assert_same(layer, other)
    assert torch.equal(layer.bias, other.bias)  # type: ignore[arg-type]


def test_without_a_generator_the_global_seed_decides(layout: Layout) -> None:
    layers = []
    for _ in range(2):
        torch.manual_seed(11)
        layers.append(SparseLinear(5, 4, density=0.5))
    assert_same(*layers)
    assert not torch.equal(SparseLinear(5, 4, density=0.5).weight, layers[0].weight)


def test_initial_values_do_not_depend_on_the_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = []
    for layout in BUFFERS:
        use_layout(monkeypatch, layout)
        layers.append(make())
    assert torch.equal(dense_of(layers[0]), dense_of(layers[1]))
    assert torch.equal(layers[0].bias, layers[1].bias)  # type: ignore[arg-type]


def global_state() -> list[Any]:
    numpy_state = np.random.get_state()  # noqa: NPY002
    return [torch.get_rng_state().tolist(), str(numpy_state), random.getstate()]


@quiet
def test_a_generator_leaves_every_global_one_alone(layout: Layout) -> None:
    before = global_state()
    layer = make()
    layer.reset_parameters(torch.Generator().manual_seed(1))
    layer(torch.ones(3, N_IN)).sum().backward()
    dense = layer.to_dense()
    SparseLinear.from_dense(dense)
    SparseLinear.from_torch(layer.to_torch())
    copy.deepcopy(layer).load_state_dict(make(seed=2, count=3).state_dict())
    assert global_state() == before


@pytest.mark.parametrize("shape", [(400, 300), (300, 400)], ids=str)
def test_initial_values_are_uniform_within_the_bound_of_the_real_fan_in(
    shape: tuple[int, int], layout: Layout
) -> None:
    layer = make(*shape, count=6000)
    assert layer.bias is not None
    bound = (6000 / shape[1]) ** -0.5
    for values in (layer.weight.detach(), layer.bias.detach()):
        scaled = values.double() / bound
        assert scaled.abs().max() <= 1 + 1e-6
        # Kolmogorov and Smirnov: the distance that a uniform sample passes once in 10^5.
        grid = (torch.arange(len(scaled)) + 0.5) / len(scaled)
        distance = ((scaled.sort().values + 1) / 2 - grid).abs().max()
        assert distance < 2.5 * len(scaled) ** -0.5


def test_fewer_connections_than_outputs_are_bounded_by_one(layout: Layout) -> None:
    layer = make(50, 40, 3)
    assert layer.weight.abs().max() <= 1
    assert make(50, 40, 0).bias.abs().max() <= 1  # type: ignore[union-attr]


def test_every_connection_is_equally_likely() -> None:
    counts = torch.zeros(6)
    for seed in range(600):
        counts[make(3, 2, 2, seed=seed).positions()] += 1
    assert counts.sum() == 1200
    assert (counts - 200).abs().max() < 60  # over 5 standard deviations


def test_the_default_type_is_torchs() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        assert make().weight.dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert make().weight.dtype == torch.float32


def test_its_representation_tells_sizes() -> None:
    expected = "SparseLinear(in_features=5, out_features=4, n_connections=9, bias=False)"
    assert repr(make(bias=False)) == expected


def test_the_index_is_of_the_layers_shape(layout: Layout) -> None:
    layer = make()
    index = layer.index
    assert isinstance(index, Index)
    assert (index.n_out, index.n_in, index.layout) == (4, 5, layout)
    assert layer.index is index
    assert functools.reduce(lambda a, b: a * b, layer.shape) == 20
