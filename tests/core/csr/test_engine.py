"""Is a truly sparse run the same run as a masked one, update by update, whatever the loop does?"""

import copy
import itertools
import math
import pickle
import random
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recompute

from sparsewire.core import (
    GMP,
    ITOP,
    SET,
    InvalidArgumentError,
    Method,
    NonFiniteError,
    RigL,
    SparseLinear,
    SparsityHandle,
    StateError,
    Static,
    UnknownLayerError,
    UnsupportedError,
    sparsify,
)
from sparsewire.core.criteria import LayerView, drop_count
from sparsewire.core.csr.gradient import OuterGradient
from sparsewire.core.schedule import Every
from sparsewire.core.topology import LayerPlan
from tests.core.csr.engine_helpers import (
    ADAM,
    CASES,
    MLP64,
    MOMENTUM,
    SGD,
    LargestTensor,
    Layout,
    Storage,
    advance,
    assert_agree,
    assert_close,
    assert_same_masks,
    assert_sound,
    backward,
    books,
    both,
    each_layout,
    each_method_name,
    each_storage,
    picture,
    sparse_layers,
    start,
    step_on,
    use_layout,
)
from tests.core.helpers import (
    DYNAMIC_METHODS,
    INTERVAL,
    METHODS,
    OPTIMIZERS,
    OptimizerCase,
    Task,
    assert_same_run,
    differences,
    gaussian,
    mlp,
    snapshot,
)

RIGL, RANDOM = METHODS["rigl"], METHODS["set"]
each_dynamic_name = pytest.mark.parametrize("name", DYNAMIC_METHODS)


# The same run in both storages


def grid() -> Iterator[Any]:
    """Yield every method with every optimizer; what is not typical is slow."""
    for name in METHODS:
        for case in OPTIMIZERS:
            typical = name == "rigl" or case in (MOMENTUM, ADAM)
            marks = () if typical else (pytest.mark.slow,)
            yield pytest.param(name, case, id=f"{name}-{case}", marks=marks)


def train_both(masked: SparsityHandle, csr: SparsityHandle, steps: int, task: Task = MLP64) -> None:
    """Train both runs and compare their topologies after every update."""
    for _ in range(0, steps, INTERVAL):
        advance(masked, INTERVAL, task)
        advance(csr, INTERVAL, task)
        assert_same_masks(masked, csr)


@pytest.mark.parametrize(("name", "case"), list(grid()))
def test_masked_and_csr_runs_agree_for_100_steps(name: str, case: OptimizerCase) -> None:
    masked, csr = both(METHODS[name], case)
    assert_same_masks(masked, csr)
    train_both(masked, csr, 100)
    # A centred second moment is a difference of nearly equal numbers.
    assert_agree(masked, csr, 1e-8 if case.options.get("centered") else 1e-12)
    assert_sound(csr)
    assert (csr.updates > 0) == (name != "static")
    assert {row.storage for row in csr.summary().layers} == {"csr"}


@each_method_name
def test_runs_agree_in_the_output_major_layout(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use_layout(monkeypatch, "csr")
    masked, csr = both(METHODS[name], ADAM)
    assert {layer.layout for layer in sparse_layers(csr.model).values()} == {"csr"}
    train_both(masked, csr, 100)
    assert_agree(masked, csr)
    assert_sound(csr)


@each_method_name
def test_runs_agree_when_the_index_of_the_other_side_is_never_kept(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparsewire.core.csr.index._LARGE", 0, raising=False)
    masked, csr = both(METHODS[name], MOMENTUM)
    train_both(masked, csr, 3 * INTERVAL)
    assert_agree(masked, csr)


def tall() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 2**14), nn.Tanh(), nn.Linear(2**14, 3)).double()


@pytest.mark.parametrize("name", ["set", "rigl", "gmp"])
def test_layer_with_many_outputs_is_stored_output_major_and_agrees(name: str) -> None:
    task = Task("tall", tall, lambda g: torch.randn(4, 6, generator=g).double())
    masked, csr = both(METHODS[name], ADAM, tall, density=0.05)
    layouts = {layer: module.layout for layer, module in sparse_layers(csr.model).items()}
    assert layouts == {"0.weight": "csr", "2.weight": "csc"}
    train_both(masked, csr, 2 * INTERVAL, task)
    assert_agree(masked, csr)


@each_method_name
@pytest.mark.parametrize("case", [MOMENTUM, ADAM], ids=str)
def test_single_precision_runs_agree_loosely(name: str, case: OptimizerCase) -> None:
    task = Task("mlp", mlp, gaussian(8, 12))
    masked, csr = both(METHODS[name], case, mlp)
    train_both(masked, csr, 4 * INTERVAL, task)
    assert_agree(masked, csr, 1e-3)


@pytest.mark.parametrize("search", [None, "strong_wolfe"], ids=str)
def test_lbfgs_with_a_static_topology_agrees(search: str | None) -> None:
    def lbfgs(parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.LBFGS(parameters, lr=0.1, max_iter=4, line_search_fn=search)

    losses: dict[str, list[float]] = {}
    for storage in ("masked", "csr"):
        handle = start(storage, Static(), OptimizerCase("lbfgs", lbfgs))

        def closure(handle: SparsityHandle = handle) -> float:
            handle.optimizer.zero_grad()
            loss = MLP64.loss(handle.model, 0)
            backward(loss)
            return loss.item()

        losses[storage] = [float(handle.optimizer.step(closure)) for _ in range(6)]
    assert losses["csr"] == pytest.approx(losses["masked"], rel=1e-8)
    assert losses["csr"][-1] < losses["csr"][0]


@pytest.mark.parametrize("density", [0.02, 0.97, 1.0])
@each_method_name
def test_runs_agree_at_extreme_densities(name: str, density: float) -> None:
    masked, csr = both(METHODS[name], ADAM, density=density)
    train_both(masked, csr, 4 * INTERVAL)
    assert_agree(masked, csr)


@given(
    sizes=st.lists(st.integers(1, 9), min_size=2, max_size=4),
    density=st.floats(0.3, 1.0),
    name=st.sampled_from([*METHODS]),
    batch=st.integers(1, 20),
    fraction=st.sampled_from([0.0, 0.3, 1.0]),
    layout=st.sampled_from(["csr", "csc"]),
)
@settings(max_examples=40)
def test_runs_of_any_shape_agree(
    sizes: list[int], density: float, name: str, batch: int, fraction: float, layout: Layout
) -> None:
    methods: dict[str, Method] = {
        **METHODS,
        "set": SET(update_interval=INTERVAL, drop_fraction=fraction),
        "rigl": RigL(update_interval=INTERVAL, drop_fraction=fraction),
    }

    def build() -> nn.Module:
        pairs = itertools.pairwise(sizes)
        layers = [m for a, b in pairs for m in (nn.Linear(a, b), nn.Tanh())]
        return nn.Sequential(*layers).double()

    task = Task("any", build, lambda g: torch.randn(batch, sizes[0], generator=g).double())
    assume(all(round(density * a * b) >= 1 for a, b in itertools.pairwise(sizes)))
    with pytest.MonkeyPatch.context() as patch:
        use_layout(patch, layout)
        masked, csr = both(methods[name], MOMENTUM, build, density=density, allocation="uniform")
        train_both(masked, csr, 2 * INTERVAL, task)
        assert_agree(masked, csr)
        assert_sound(csr)


# Loops of other people. Each takes one step and has to give one run, however it is stored.

Loop = Callable[[SparsityHandle, int], None]
LOOPS: dict[str, Loop] = {}


def loop(function: Loop) -> Loop:
    LOOPS[function.__name__.removeprefix("_").replace("_", "-")] = function
    return function


def loss_of(handle: SparsityHandle, step: int) -> Tensor:
    return MLP64.loss(handle.model, step)


def abandon(handle: SparsityHandle, step: int, bad: float = 1.0) -> None:
    """Compute gradients of a batch that the loop then decides to leave out."""
    backward(MLP64.loss(handle.model, 500 + step) * bad)


@loop
def _zeroed_between_forward_and_backward(handle: SparsityHandle, step: int) -> None:
    loss = loss_of(handle, step)
    handle.optimizer.zero_grad()
    backward(loss)
    handle.optimizer.step()


@loop
def _zeroed_in_place(handle: SparsityHandle, step: int) -> None:
    step_on(handle, loss_of(handle, step), set_to_none=False)


@loop
def _zeroed_after_the_step(handle: SparsityHandle, step: int) -> None:
    backward(loss_of(handle, step))
    handle.optimizer.step()
    handle.optimizer.zero_grad()


def _micro_batches(handle: SparsityHandle, step: int, set_to_none: bool) -> None:
    handle.optimizer.zero_grad(set_to_none=set_to_none)
    for part in range(3):
        backward(loss_of(handle, 10 * step + part) / 3)
    handle.optimizer.step()


@loop
def _micro_batches_zeroed_to_none(handle: SparsityHandle, step: int) -> None:
    _micro_batches(handle, step, True)


@loop
def _micro_batches_zeroed_in_place(handle: SparsityHandle, step: int) -> None:
    _micro_batches(handle, step, False)


@loop
def _micro_batches_zeroed_after_the_first_forward(handle: SparsityHandle, step: int) -> None:
    for part in range(3):
        loss = loss_of(handle, 10 * step + part) / 3
        if part == 0:
            handle.optimizer.zero_grad()
        backward(loss)
    handle.optimizer.step()


@loop
def _all_forwards_before_all_backwards(handle: SparsityHandle, step: int) -> None:
    handle.optimizer.zero_grad()
    losses = [loss_of(handle, 10 * step + part) for part in range(3)]
    for loss in losses:
        backward(loss)
    handle.optimizer.step()


@loop
def _abandoned_batch(handle: SparsityHandle, step: int) -> None:
    handle.optimizer.zero_grad()
    abandon(handle, step)
    handle.optimizer.zero_grad(set_to_none=True)
    step_on(handle, loss_of(handle, step))


@loop
def _abandoned_batch_zeroed_after_the_next_forward(handle: SparsityHandle, step: int) -> None:
    handle.optimizer.zero_grad()
    abandon(handle, step)
    loss = loss_of(handle, step)
    handle.optimizer.zero_grad(set_to_none=True)
    backward(loss)
    handle.optimizer.step()


@loop
def _abandoned_nan_batch_zeroed_after_the_next_forward(handle: SparsityHandle, step: int) -> None:
    handle.optimizer.zero_grad()
    abandon(handle, step, math.nan)
    loss = loss_of(handle, step)
    handle.optimizer.zero_grad(set_to_none=True)
    backward(loss)
    handle.optimizer.step()


@loop
def _abandoned_batch_zeroed_in_place(handle: SparsityHandle, step: int) -> None:
    handle.optimizer.zero_grad()
    abandon(handle, step)
    handle.optimizer.zero_grad(set_to_none=False)
    step_on(handle, loss_of(handle, step), set_to_none=False)


@loop
def _abandoned_micro_batches(handle: SparsityHandle, step: int) -> None:
    handle.optimizer.zero_grad()
    abandon(handle, step)
    abandon(handle, step + 100)
    _micro_batches(handle, step, True)


@loop
def _evaluation_before_the_backward_pass(handle: SparsityHandle, step: int) -> None:
    handle.optimizer.zero_grad()
    loss = loss_of(handle, step)
    handle.model.eval()
    with torch.no_grad():
        loss_of(handle, 700 + step)
    with torch.inference_mode():
        loss_of(handle, 800 + step)
    handle.model.train()
    backward(loss)
    handle.optimizer.step()


@loop
def _backward_twice_through_one_graph(handle: SparsityHandle, step: int) -> None:
    handle.optimizer.zero_grad()
    loss = loss_of(handle, step)
    backward(loss, retain_graph=True)
    backward(loss * 0.5)
    handle.optimizer.step()


@loop
def _attack_on_the_input_first(handle: SparsityHandle, step: int) -> None:
    handle.optimizer.zero_grad()
    backward(attacked(handle, step))
    handle.optimizer.step()


@loop
def _attack_on_the_input_of_every_micro_batch(handle: SparsityHandle, step: int) -> None:
    handle.optimizer.zero_grad()
    for part in range(2):
        backward(attacked(handle, 10 * step + part))
    handle.optimizer.step()


def attacked(handle: SparsityHandle, step: int) -> Tensor:
    """Return the loss at the input that a gradient sign attack makes."""
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(8, 12, generator=generator).double().requires_grad_()
    (slope,) = torch.autograd.grad(handle.model(x).square().mean(), x)
    output: Tensor = handle.model((x + 0.1 * slope.sign()).detach())
    return (output - 1).square().mean()


@loop
def _gradients_looked_at_before_the_backward_pass(handle: SparsityHandle, step: int) -> None:
    handle.optimizer.zero_grad()
    for part in range(2):
        loss = loss_of(handle, 10 * step + part)
        torch.autograd.grad(loss, list(handle.model.parameters()), retain_graph=True)
        backward(loss)
    handle.optimizer.step()


@loop
def _passed_through_while_frozen(handle: SparsityHandle, step: int) -> None:
    """Train as a discriminator: frozen while a generator learns, which here is the input."""
    handle.optimizer.zero_grad()
    backward(loss_of(handle, step))
    handle.model.requires_grad_(False)
    x = torch.randn(8, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(step))
    backward(handle.model(x.requires_grad_()).square().mean())
    handle.model.requires_grad_(True)
    handle.optimizer.step()


@loop
def _closure(handle: SparsityHandle, step: int) -> None:
    def closure() -> float:
        handle.optimizer.zero_grad()
        loss = loss_of(handle, step)
        backward(loss)
        return loss.item()

    handle.optimizer.step(closure)


@loop
def _masked_and_clipped(handle: SparsityHandle, step: int) -> None:
    handle.optimizer.zero_grad()
    backward(loss_of(handle, step))
    handle.mask_gradients()
    nn.utils.clip_grad_norm_(handle.model.parameters(), 0.01)
    handle.optimizer.step()


@loop
def _masked_after_every_micro_batch(handle: SparsityHandle, step: int) -> None:
    handle.optimizer.zero_grad()
    for part in range(3):
        backward(loss_of(handle, 10 * step + part))
        handle.mask_gradients()
    handle.optimizer.step()


@loop
def _three_dimensional_input(handle: SparsityHandle, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(2, 3, 5, 12, generator=generator).double()
    step_on(handle, (handle.model(x) - 1).square().mean())


@loop
def _single_samples(handle: SparsityHandle, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    step_on(handle, (handle.model(torch.randn(12, generator=generator).double()) - 1).abs().sum())


@loop
def _batches_of_changing_size(handle: SparsityHandle, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(1 + step % 19, 12, generator=generator).double()
    step_on(handle, (handle.model(x) - 1).square().mean())


@loop
def _loss_of_some_samples(handle: SparsityHandle, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    output = handle.model(torch.randn(9, 12, generator=generator).double())
    step_on(handle, output[::2, 1:].sum() + output.expand(3, 9, 4).mean())


@loop
def _empty_batch_among_others(handle: SparsityHandle, step: int) -> None:
    handle.optimizer.zero_grad()
    backward(handle.model(torch.zeros(0, 12).double()).sum())
    backward(loss_of(handle, step))
    handle.optimizer.step()


@loop
def _activations_computed_again(handle: SparsityHandle, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(8, 12, generator=generator).double()
    hidden = recompute(handle.model[:3], x, use_reentrant=False)  # type: ignore[index]
    step_on(handle, (handle.model[3:](hidden) - 1).square().mean())  # type: ignore[index]


@loop
def _input_buffer_filled_anew_for_every_micro_batch(handle: SparsityHandle, step: int) -> None:
    buffer = torch.empty(12, 16, dtype=torch.float64).t()
    handle.optimizer.zero_grad()
    for part in range(2):
        generator = torch.Generator().manual_seed(10 * step + part)
        buffer.copy_(torch.randn(16, 12, generator=generator))
        backward((handle.model(buffer) - 1).square().mean())
    handle.optimizer.step()


@pytest.mark.parametrize("take_step", LOOPS.values(), ids=LOOPS)
@pytest.mark.parametrize("name", ["rigl", "set"])
def test_every_loop_gives_the_same_run_in_both_storages(name: str, take_step: Loop) -> None:
    masked, csr = both(METHODS[name], MOMENTUM)
    for step in range(3 * INTERVAL + 1):
        take_step(masked, step)
        take_step(csr, step)
        assert_same_masks(masked, csr)
    assert masked.updates == csr.updates == 3
    assert_agree(masked, csr)
    assert_sound(csr)


def _used_again(handle: SparsityHandle, step: int) -> None:
    if step % 2 == 0:  # updates follow steps 5, 10 and 15, so every other one lies between
        handle.optimizer.zero_grad()
        backward(loss_of(handle, step))
    handle.optimizer.step()


def _never_zeroed(handle: SparsityHandle, step: int) -> None:
    backward(loss_of(handle, step))
    handle.optimizer.step()


@pytest.mark.parametrize("take_step", [_used_again, _never_zeroed])
@pytest.mark.parametrize("name", ["set", "set-magnitude", "itop", "gmp"])
def test_gradients_kept_over_an_update_stay_with_their_connections(
    name: str, take_step: Loop
) -> None:
    masked, csr = both(METHODS[name], MOMENTUM)
    for step in range(3 * INTERVAL + 1):
        take_step(masked, step)
        take_step(csr, step)
    assert_agree(masked, csr)


@pytest.mark.parametrize("name", ["static", "set", "rigl"])
def test_gradients_stay_with_their_connections_when_neurons_are_pruned(name: str) -> None:
    masked, csr = both(METHODS[name], MOMENTUM)
    for handle in (masked, csr):
        for step in range(2 * INTERVAL):
            handle.optimizer.zero_grad()
            backward(loss_of(handle, step))
            if step == 2:
                assert handle.prune_neurons(0.3) > 0
            handle.optimizer.step()
    assert_agree(masked, csr)


def test_activations_are_kept_only_for_a_step_that_is_due() -> None:
    handle = start("csr", RIGL)
    for step in range(2 * INTERVAL):
        due = (step + 1) % INTERVAL == 0
        handle.optimizer.zero_grad()
        backward(loss_of(handle, step))
        for layer in sparse_layers(handle.model).values():
            assert len(layer.record.pairs if layer.record else []) == due
        handle.optimizer.step()
        records = [layer.record for layer in sparse_layers(handle.model).values()]
        assert not any(record.pairs for record in records if record is not None)


@pytest.mark.parametrize("names", [("rigl", "set"), ("gmp", "rigl"), ("set", "gmp")])
def test_one_optimizer_trains_two_models(names: tuple[str, str]) -> None:
    torch.manual_seed(7)
    models = [MLP64.model(), MLP64.model()]
    copies = copy.deepcopy(models)
    shared = ADAM([p for model in models for p in model.parameters()])
    own = [ADAM(model.parameters()) for model in copies]
    runs, twins = [], []
    for i, name in enumerate(names):
        method = METHODS[name]
        runs.append(sparsify(models[i], shared, density=0.3, method=method, storage="csr"))
        twins.append(sparsify(copies[i], own[i], density=0.3, method=method))
    for step in range(3 * INTERVAL):
        shared.zero_grad()
        backward(MLP64.loss(models[0], step) + MLP64.loss(models[1], step))
        shared.step()
        for twin in twins:
            advance(twin, 1)
    for run, twin in zip(runs, twins, strict=True):
        assert_agree(twin, run)


@pytest.mark.parametrize("name", ["set", "set-normal", "rigl", "gmp", "static"])
def test_a_default_device_other_than_the_models_does_not_matter(name: str) -> None:
    plain = start("csr", METHODS[name])
    torch.manual_seed(7)
    model = MLP64.model()
    with torch.device("meta"):
        optimizer = MOMENTUM(model.parameters())
        handle = sparsify(model, optimizer, density=0.3, method=METHODS[name], storage="csr")
    for step in range(INTERVAL + 1):
        for run in (handle, plain):
            run.optimizer.zero_grad()
            backward(loss_of(run, step))
        with torch.device("meta"):
            handle.optimizer.step()
        plain.optimizer.step()
    with torch.device("meta"):
        assert handle.prune_neurons(0.3) == plain.prune_neurons(0.3)
    assert_same_run(handle, plain)


@pytest.mark.parametrize("name", ["set-normal", "rigl", "gmp"])
def test_the_default_dtype_does_not_matter(name: str) -> None:
    task = Task("mlp", mlp, gaussian(8, 12))
    plain, handle = (start("csr", METHODS[name], MOMENTUM, mlp) for _ in range(2))
    advance(plain, 2 * INTERVAL, task)
    for step in range(2 * INTERVAL):
        handle.optimizer.zero_grad()
        backward(task.loss(handle.model, step))
        torch.set_default_dtype(torch.float64)
        try:
            handle.optimizer.step()
        finally:
            torch.set_default_dtype(torch.float32)
    assert_same_run(handle, plain)


class Shared(nn.Module):
    """One layer used three times, once behind recomputed activations if wished."""

    def __init__(self, again: bool = False) -> None:
        super().__init__()
        self.inner, self.head, self.again = nn.Linear(12, 12), nn.Linear(12, 4), again

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = recompute(self._once, x, use_reentrant=False) if self.again else self._once(x)
        output: Tensor = self.head(x)
        return output

    def _once(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.inner(x).tanh()
        return hidden


@pytest.mark.parametrize("again", [False, True], ids=["kept", "computed again"])
@each_dynamic_name
def test_layer_used_several_times_in_one_pass_agrees(name: str, again: bool) -> None:
    task = Task("shared", lambda: Shared(again).double(), MLP64.batch)
    masked, csr = both(METHODS[name], ADAM, task.model)
    train_both(masked, csr, 4 * INTERVAL, task)
    assert_agree(masked, csr)


class Branches(nn.Module):
    """A branch that is not used in every step, beside one that is."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.other, self.on = nn.Linear(12, 12), nn.Linear(12, 12), True

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.used(x)
        return output + self.other(x) if self.on else output


@pytest.mark.parametrize("set_to_none", [True, False], ids=["none", "zeros"])
def test_layer_not_used_at_an_update_agrees(set_to_none: bool) -> None:
    masked, csr = both(RIGL, MOMENTUM, lambda: Branches().double(), density=0.1)
    for handle in (masked, csr):
        for step in range(2 * INTERVAL):
            handle.model.on = (step + 1) % INTERVAL != 0  # type: ignore[assignment]
            handle.optimizer.zero_grad(set_to_none=set_to_none)
            backward(loss_of(handle, step))
            handle.optimizer.step()
    assert_agree(masked, csr)


def test_layer_frozen_after_sparsify_agrees() -> None:
    masked, csr = both(RIGL, MOMENTUM)
    for handle in (masked, csr):
        handle.model.get_submodule("2").requires_grad_(False)
        advance(handle, 3 * INTERVAL)
    assert_agree(masked, csr)


@pytest.mark.parametrize("masked_first", [False, True], ids=["as they are", "masked"])
def test_gradient_norms_are_those_of_the_sparse_network(masked_first: bool) -> None:
    masked, csr = both(RIGL, MOMENTUM)
    norms: list[list[float]] = [[], []]
    for handle, found in zip((masked, csr), norms, strict=True):
        for step in range(2 * INTERVAL):
            handle.optimizer.zero_grad()
            backward(loss_of(handle, step))
            if masked_first or handle is masked:
                handle.mask_gradients()
            found.append(float(nn.utils.clip_grad_norm_(handle.model.parameters(), 0.01)))
            handle.optimizer.step()
    assert norms[1] == pytest.approx(norms[0], rel=1e-10)
    assert_agree(masked, csr)


# Mixed precision

SCALED = [MOMENTUM, CASES["adam-fused"]]
each_scaled = pytest.mark.parametrize("case", SCALED, ids=str)


def scaled_step(
    handle: SparsityHandle,
    scaler: torch.amp.GradScaler,
    step: int,
    *,
    poisoned: bool = False,
    clip: bool = False,
    set_to_none: bool = True,
) -> None:
    handle.optimizer.zero_grad(set_to_none=set_to_none)
    loss = loss_of(handle, step)
    backward(scaler.scale(loss * math.inf if poisoned else loss))
    if clip:
        scaler.unscale_(handle.optimizer)
        handle.mask_gradients()
        nn.utils.clip_grad_norm_(handle.model.parameters(), 0.01)
    scaler.step(handle.optimizer)
    scaler.update()


@each_scaled
@pytest.mark.parametrize("name", ["rigl", "set", "gmp"])
@pytest.mark.parametrize("clip", [False, True], ids=["plain", "clipped"])
@pytest.mark.parametrize("due", [True, False], ids=["due", "between"])
@pytest.mark.parametrize("set_to_none", [True, False], ids=["none", "zeros"])
def test_skipped_steps_change_nothing_and_training_goes_on_alike(
    case: OptimizerCase, name: str, clip: bool, due: bool, set_to_none: bool
) -> None:
    skipped = INTERVAL - 1 if due else 2
    masked, csr = both(METHODS[name], case)
    for handle in (masked, csr):
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        how = partial(scaled_step, handle, scaler, clip=clip, set_to_none=set_to_none)
        for step in range(skipped):
            how(step)
        before = picture(handle.model, handle.optimizer), books(handle)
        how(99, poisoned=True)
        assert scaler.get_scale() == 512.0, "the scaler did not see the infinity"
        assert books(handle) == before[1]
        weights = {k: v for k, v in before[0].items() if k.endswith("/")}
        after = picture(handle.model, handle.optimizer)
        assert_close({k: after[k] for k in weights}, weights)
        for step in range(skipped, 2 * INTERVAL):
            how(step)
        assert (handle.step, handle.updates) == (2 * INTERVAL, 2)
    assert_agree(masked, csr)


@pytest.mark.parametrize("scale", [2.0**-40, 1.0, 2.0**40])
def test_loss_scale_does_not_change_what_grows(scale: float) -> None:
    plain, scaled = start("csr", RIGL), start("csr", RIGL)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=10**6)
    for step in range(2 * INTERVAL):
        step_on(plain, loss_of(plain, step))
        scaled_step(scaled, scaler, step)
    assert_agree(plain, scaled)


# Numbers that are not finite


@each_storage
@pytest.mark.parametrize("set_to_none", [True, False], ids=["none", "zeros"])
@pytest.mark.parametrize("zero_first", [True, False], ids=["zeroed first", "zeroed late"])
@pytest.mark.parametrize("bad", [math.nan, math.inf], ids=str)
@pytest.mark.parametrize("name", ["rigl", "itop-gradient"])
def test_non_finite_batch_at_an_update_is_an_error_before_anything_changes(
    name: str, bad: float, zero_first: bool, set_to_none: bool, storage: Storage
) -> None:
    handle = advance(start(storage, METHODS[name], ADAM), INTERVAL - 1)
    before = snapshot(handle)
    handle.optimizer.zero_grad()
    backward(loss_of(handle, 50) * bad)
    with pytest.raises(NonFiniteError, match=r"of \d+\.weight captured at step 5.*clip gradients"):
        handle.optimizer.step()
    assert differences(snapshot(handle), before) == []
    if zero_first:
        handle.optimizer.zero_grad(set_to_none=set_to_none)
    step_on(handle, loss_of(handle, INTERVAL - 1), set_to_none=set_to_none)
    plain = advance(start(storage, METHODS[name], ADAM), INTERVAL)
    assert_same_run(advance(handle, 7), advance(plain, 7))


@each_storage
def test_gradient_that_overflows_only_at_a_missing_connection_is_an_error_in_time(
    storage: Storage,
) -> None:
    handle = start(storage, RigL(update_interval=1), SGD, lambda: nn.Sequential(nn.Linear(4, 4)))
    mask = handle.masks()["0.weight"]
    row, column = (~mask).nonzero()[0].tolist()
    x, slope = torch.zeros(1, 4), torch.zeros(1, 4)
    x[0, column] = slope[0, row] = 1e30
    assert not mask[row, column]
    before = snapshot(handle)
    backward((handle.model(x) * slope * 1.0).sum())
    with pytest.raises(NonFiniteError):
        handle.optimizer.step()
    assert differences(snapshot(handle)["model"], before["model"]) == []


@each_storage
@pytest.mark.parametrize("name", ["set", "set-magnitude", "rigl", "itop", "gmp"])
def test_non_finite_weight_at_an_update_is_an_error_that_changes_no_topology(
    name: str, storage: Storage
) -> None:
    handle = advance(start(storage, METHODS[name]), INTERVAL - 1)
    masks = handle.masks()
    handle.optimizer.zero_grad()
    backward(loss_of(handle, 0))
    with torch.no_grad():
        weight = handle.model.get_parameter("4.weight")
        weight.masked_fill_(weight != 0, math.nan)
    with pytest.raises(NonFiniteError, match="NaN or infinite"):
        handle.optimizer.step()
    assert differences(handle.masks(), masks) == []
    assert handle.updates == 0


# Growth by blocks


def in_blocks_of(size: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Cut gradients into blocks of a size; return the list that their sizes will be added to."""
    seen: list[int] = []

    class Spied(OuterGradient):
        def blocks(self) -> Iterator[tuple[int, Tensor]]:
            for first, block in super().blocks():
                seen.append(block.numel())
                yield first, block

    monkeypatch.setattr("sparsewire.core.csr.store.OuterGradient", partial(Spied, block=size))
    return seen


def rectified() -> nn.Module:
    """Return a network many of whose gradients are exactly 0, so that they tie."""
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU()).double()


def _half_dark(generator: torch.Generator) -> Tensor:
    x = torch.randn(8, 12, generator=generator).double()
    x[:, 5:] = 0
    return x


DARK = Task("dark", rectified, _half_dark)


@pytest.mark.parametrize("task", [MLP64, DARK], ids=["distinct", "tied"])
@pytest.mark.parametrize("name", ["rigl", "itop-gradient"])
@pytest.mark.parametrize("size", [1, 16, 17, 100, 256, 10**6])
def test_growth_does_not_depend_on_the_size_of_blocks(
    size: int, name: str, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = advance(start("csr", METHODS[name], MOMENTUM, task.model), 4 * INTERVAL, task)
    masked = advance(start("masked", METHODS[name], MOMENTUM, task.model), 4 * INTERVAL, task)
    seen = in_blocks_of(size, monkeypatch)
    cut = advance(start("csr", METHODS[name], MOMENTUM, task.model), 4 * INTERVAL, task)
    assert 0 < max(seen) <= max(size, 16)  # at least one row
    assert_same_run(whole, cut)
    assert_agree(masked, cut)


@pytest.mark.parametrize("name", ["rigl", "itop-gradient", "set", "set-normal", "itop"])
def test_update_makes_no_tensor_larger_than_a_block_or_the_connections(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_blocks_of(4000, monkeypatch)
    task = Task("wide", lambda: nn.Sequential(nn.Linear(1000, 1200)), gaussian(4, 1000))
    handle = start("csr", METHODS[name], MOMENTUM, task.model, density=0.001)
    advance(handle, INTERVAL - 1, task)
    handle.optimizer.zero_grad()
    backward(task.loss(handle.model, 0))
    with LargestTensor() as mode:  # type: ignore[no-untyped-call]
        handle.optimizer.step()
    assert handle.updates == 1
    assert 1200 <= mode.largest <= 1200 * 16  # lanes of a padded batch


# What one update does, connection by connection


@dataclass(frozen=True)
class Watched(Method):
    """A method that shows what it is about to do."""

    inner: Method
    before: Callable[[], None] = field(compare=False)
    plans: list[LayerPlan] = field(default_factory=list, compare=False)

    @property
    def when(self) -> Every | None:
        return self.inner.when

    @property
    def needs_gradient(self) -> bool:
        return self.inner.needs_gradient

    def count(self, target: int, numel: int, step: int) -> int:
        return self.inner.count(target, numel, step)

    def plan(
        self, layer: LayerView, target: int, step: int, generator: torch.Generator
    ) -> LayerPlan:
        if not self.plans:
            self.before()
        self.plans.append(self.inner.plan(layer, target, step, generator))
        return self.plans[-1]


STATEFUL = [MOMENTUM, CASES["adam-amsgrad"], CASES["rprop"]]


@each_layout
@each_storage
@pytest.mark.parametrize("case", STATEFUL, ids=str)
@each_dynamic_name
def test_update_moves_no_number_that_stays_and_starts_the_rest_afresh(
    name: str, case: OptimizerCase, storage: Storage, layout: Layout, monkeypatch: Any
) -> None:
    use_layout(monkeypatch, layout)
    seen: list[dict[str, Tensor]] = []
    method = Watched(METHODS[name], lambda: seen.append(picture(handle.model, handle.optimizer)))
    handle = start(storage, method, case)
    for _ in range(3):
        seen.clear()
        method.plans.clear()
        masks = handle.masks()
        while not seen:
            advance(handle, 1)
        check_update(handle, masks, method.plans, seen[0])


def check_update(
    handle: SparsityHandle,
    masks: dict[str, Tensor],
    plans: list[LayerPlan],
    before: dict[str, Tensor],
) -> None:
    after, now = picture(handle.model, handle.optimizer), handle.masks()
    for plan in plans:
        dropped, grown = set(plan.dropped.tolist()), plan.grown.tolist()
        values = [0.0] * len(grown) if plan.values is None else plan.values.tolist()
        fresh = dict(zip(grown, values, strict=True))
        was = set(masks[plan.name].flatten().nonzero().squeeze(1).tolist())
        expected = (was - dropped) | set(fresh)
        assert set(now[plan.name].flatten().nonzero().squeeze(1).tolist()) == expected
        for key in (k for k in before if k.startswith(f"{plan.name}/")):
            if before[key].shape != masks[plan.name].shape:
                assert torch.equal(before[key], after[key])
                continue
            old, new = before[key].flatten().tolist(), after[key].flatten().tolist()
            first = fresh if key.endswith("/") else dict.fromkeys(grown, 0.0)
            wanted = [first.get(p, old[p] if p in was - dropped else 0.0) for p in range(len(old))]
            assert new == wanted, key


@each_storage
@pytest.mark.parametrize("fraction", [0.0, 0.29, 0.3, 1 / 3, 0.999, 1.0])
@pytest.mark.parametrize("kind", [RigL, ITOP, partial(SET, drop="magnitude")], ids=str)
def test_exactly_the_stated_share_is_replaced(
    kind: Callable[..., Method], fraction: float, storage: Storage
) -> None:
    method = Watched(kind(update_interval=1, drop_fraction=fraction), lambda: None)
    handle = start(storage, method)
    counts = {name: int(mask.sum()) for name, mask in handle.masks().items()}
    advance(handle, 1)
    for plan in method.plans:
        free = handle.masks()[plan.name].numel() - counts[plan.name]
        stated = drop_count(counts[plan.name], fraction)
        assert plan.dropped.numel() == plan.grown.numel() <= stated
        if isinstance(method.inner, SET):
            assert plan.dropped.numel() == stated
        assert free >= 0
        assert int(handle.masks()[plan.name].sum()) == counts[plan.name]


# Importance pruning


def weak_slowly(weight: Tensor, mask: Tensor, share: str) -> set[tuple[int, int]]:
    """Return the connections into the weakest neurons, by sorting their strengths."""
    rows = range(mask.shape[0])
    strength = [float(weight[row][mask[row]].abs().sum()) for row in rows]
    rank = math.ceil(Fraction(share) * len(strength))
    if rank == 0:
        return set()
    cut = sorted(strength)[rank - 1]
    connections = [tuple(c) for c in mask.nonzero().tolist()]
    weak = {(r, c) for r, c in connections if strength[r] <= cut}
    return set() if len(weak) == len(connections) else weak


def hundred() -> nn.Module:
    return nn.Sequential(
        nn.Linear(12, 100), nn.Tanh(), nn.Linear(100, 30), nn.Tanh(), nn.Linear(30, 25)
    ).double()


HUNDRED = Task("hundred", hundred, MLP64.batch)
SHARES = ["0", "0.01", "0.07", "0.1", "0.14", "0.2", "0.28", "0.29", "0.5", "0.57", "0.99", "1"]


@each_layout
@each_storage
@pytest.mark.parametrize("share", SHARES)
def test_pruning_removes_exactly_what_the_slow_reference_does(
    share: str, storage: Storage, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_layout(monkeypatch, layout)
    handle = start(storage, RANDOM, CASES["adam-amsgrad"], hundred, density=0.3)
    advance(handle, 4, HUNDRED)
    masks, before = handle.masks(), picture(handle.model, handle.optimizer)
    removed = handle.prune_neurons(float(share), ["0", "2.weight", "4.*"])
    after, now, total = picture(handle.model, handle.optimizer), handle.masks(), 0
    for name, mask in masks.items():
        weak = weak_slowly(before[f"{name}/"], mask, share)
        total += len(weak)
        for row, column in weak:
            mask[row, column] = False
        assert torch.equal(now[name], mask), name
        for key in (k for k in before if k.startswith(f"{name}/")):
            whole = before[key].shape == mask.shape
            kept = torch.where(mask, before[key], 0.0) if whole else before[key]
            assert torch.equal(after[key], kept), key
    assert removed == total
    assert sum(row.active for row in handle.summary().layers) == int(
        sum(m.sum() for m in now.values())
    )
    handle.verify()


@each_storage
@each_method_name
def test_pruning_is_for_good_and_falls_with_every_call(name: str, storage: Storage) -> None:
    handle = start(storage, METHODS[name], ADAM, hundred, density=0.3)
    advance(handle, 30, HUNDRED)  # gradual pruning is over by then
    counts = [handle.density()]
    for share in (0.2, 0.5, 0.8):
        removed = handle.prune_neurons(share)
        assert removed > 0
        counts.append(handle.density())
        advance(handle, INTERVAL, HUNDRED)
        assert handle.density() == counts[-1]
        handle.verify()
    assert counts == sorted(counts, reverse=True)
    assert len(set(counts)) == 4


@each_method_name
def test_pruned_runs_agree(name: str) -> None:
    masked, csr = both(METHODS[name], ADAM, hundred, density=0.3)
    train_both(masked, csr, 30, HUNDRED)
    for share in (0.1, 0.25):
        assert masked.prune_neurons(share) == csr.prune_neurons(share) > 0
        assert_agree(masked, csr)
        train_both(masked, csr, 2 * INTERVAL, HUNDRED)
    assert_agree(masked, csr)
    assert_sound(csr)


@each_storage
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("step", [0, 6, 16])
def test_pruning_during_gradual_pruning_leaves_a_run_that_goes_on(
    step: int, share: float, storage: Storage
) -> None:
    handle = start(storage, GMP(update_interval=INTERVAL, end=26), ADAM, hundred, density=0.3)
    advance(handle, step, HUNDRED)
    handle.prune_neurons(share)
    densities = [handle.density()]
    for _ in range(30 - step):
        advance(handle, 1, HUNDRED)
        densities.append(handle.density())
    assert densities == sorted(densities, reverse=True)
    assert 0 < densities[-1] <= 0.3 + 1e-9
    handle.verify()


@each_storage
def test_more_is_pruned_at_a_higher_share(storage: Storage) -> None:
    removed = [
        start(storage, RANDOM, MOMENTUM, hundred).prune_neurons(k / 50, ["0"]) for k in range(50)
    ]
    assert removed == sorted(removed)
    assert removed[0] == 0 < removed[1]


@each_storage
def test_last_layer_is_pruned_only_by_name(storage: Storage) -> None:
    handle = start(storage, RANDOM, MOMENTUM, hundred)
    last = handle.masks()["4.weight"]
    handle.prune_neurons(0.5)
    assert torch.equal(handle.masks()["4.weight"], last)
    first = handle.masks()["0.weight"]
    assert handle.prune_neurons(0.5, ["4"]) == int(last.sum()) - int(
        handle.masks()["4.weight"].sum()
    )
    assert torch.equal(handle.masks()["0.weight"], first)
    assert handle.prune_neurons(0.5, []) == 0


@each_storage
def test_neuron_whose_connections_are_all_zero_is_weak(storage: Storage) -> None:
    handle = start(storage, RANDOM, MOMENTUM, lambda: nn.Sequential(nn.Linear(6, 4)), density=0.5)
    mask = handle.masks()["0.weight"]
    with torch.no_grad():
        handle.model.get_parameter("0.weight").mul_(0.0)
    row = int(mask.sum(1).argmax())
    layer = handle.model.get_submodule("0")
    with torch.no_grad():
        if isinstance(layer, SparseLinear):
            layer.weight.copy_(layer.stored((layer.positions() // 6 != row).to(layer.weight)))
        else:
            layer.get_parameter("weight").copy_(mask.float())
            layer.get_parameter("weight")[row] = 0
    assert handle.prune_neurons(0.01, ["0"]) == int(mask[row].sum())


@each_storage
@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan, math.inf, "0.1", None, True], ids=repr)
def test_share_out_of_range_is_refused_and_changes_nothing(share: Any, storage: Storage) -> None:
    handle = advance(start(storage, RANDOM), 3)
    before = snapshot(handle)
    with pytest.raises(InvalidArgumentError, match=r"share must be a number in \[0, 1\], got"):
        handle.prune_neurons(share)
    assert differences(snapshot(handle), before) == []


@each_storage
def test_pruning_of_a_layer_that_is_none_is_refused_and_changes_nothing(storage: Storage) -> None:
    handle = advance(start(storage, RANDOM), 3)
    before = snapshot(handle)
    for wrong in ("7", "0.bias", "head"):
        with pytest.raises(UnknownLayerError, match=f"'{wrong}'.*0.weight, 2.weight, 4.weight"):
            handle.prune_neurons(0.5, ["0", wrong])
    assert differences(snapshot(handle), before) == []
    handle.finalize()
    with pytest.raises(StateError, match="finalized"):
        handle.prune_neurons(0.1)


@each_storage
def test_pruning_of_weights_that_are_not_finite_is_refused_and_changes_nothing(
    storage: Storage,
) -> None:
    handle = advance(start(storage, RANDOM), 3)
    with torch.no_grad():
        weight = handle.model.get_parameter("2.weight")
        weight[weight != 0] = math.nan
    masks = handle.masks()
    with pytest.raises(NonFiniteError):
        handle.prune_neurons(0.5)
    assert differences(handle.masks(), masks) == []


def test_backward_pass_through_a_layer_pruned_meanwhile_is_right_or_refused() -> None:
    x = torch.randn(8, 12, dtype=torch.float64, requires_grad=True)
    plain, pruned = start("csr", RANDOM), start("csr", RANDOM)
    (expected,) = torch.autograd.grad(plain.model(x).square().sum(), x)
    loss = pruned.model(x).square().sum()
    assert pruned.prune_neurons(0.4) > 0
    try:
        (found,) = torch.autograd.grad(loss, x)
    except RuntimeError as error:
        assert "inplace" in str(error)  # noqa: PT017
    else:
        torch.testing.assert_close(found, expected)


def test_pruning_under_lbfgs_works_or_is_refused_by_name() -> None:
    def lbfgs(parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.LBFGS(parameters, lr=0.1, max_iter=3)

    handle = start("csr", Static(), OptimizerCase("lbfgs", lbfgs))

    def closure() -> float:
        handle.optimizer.zero_grad()
        loss = loss_of(handle, 0)
        backward(loss)
        return loss.item()

    handle.optimizer.step(closure)
    try:
        handle.prune_neurons(0.3)
    except UnsupportedError as error:
        assert "LBFGS" in str(error)  # noqa: PT017
    handle.optimizer.step(closure)


# Exploration


@each_layout
@pytest.mark.parametrize("name", ["set", "rigl", "itop", "gmp", "static"])
def test_exploration_is_the_share_of_weights_ever_active(
    name: str, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_layout(monkeypatch, layout)
    masked, csr = both(METHODS[name], MOMENTUM)
    ever = csr.masks()
    for step in range(30):
        advance(masked, 1)
        advance(csr, 1)
        if step == 17:
            masked.prune_neurons(0.3)
            csr.prune_neurons(0.3)
        for key, mask in csr.masks().items():
            ever[key] |= mask
        share = sum(int(m.sum()) for m in ever.values()) / sum(m.numel() for m in ever.values())
        assert csr.exploration_rate() == masked.exploration_rate() == share
    for row in csr.summary().layers:
        assert row.explored == int(ever[row.name].sum()) / row.weights


def test_exploration_of_a_large_layer_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparsewire.core.csr.store._TRACKED", 16 * 16 - 1)
    handle = advance(start("csr", RIGL), 2 * INTERVAL)
    rows = {row.name: row.explored for row in handle.summary().layers}
    assert rows["2.weight"] is None
    assert rows["0.weight"] is not None
    assert rows["4.weight"] is not None
    assert math.isnan(handle.exploration_rate())
    assert "unknown" in str(handle.summary())
    with pytest.raises(UnsupportedError, match=r"2\.weight would have 256 entries.*positions\(\)"):
        handle.masks()
    plain = snapshot(handle)
    other = start("csr", RIGL)
    other.model.load_state_dict(copy.deepcopy(plain["model"]))
    other.optimizer.load_state_dict(copy.deepcopy(plain["optimizer"]))
    other.load_state_dict(plain["handle"])
    assert_same_run(advance(handle, INTERVAL), advance(other, INTERVAL))


# Seeds


def global_generators() -> bytes:
    states = torch.get_rng_state().tolist(), np.random.get_state(), random.getstate()  # noqa: NPY002
    return pickle.dumps(states)


@each_method_name
def test_neither_conversion_nor_training_touches_a_global_generator(name: str) -> None:
    torch.manual_seed(7)
    model = MLP64.model()
    optimizer = MOMENTUM(model.parameters())
    batches = [torch.randn(8, 12).double() for _ in range(8)]
    before = global_generators()
    handle = sparsify(model, optimizer, density=0.3, method=METHODS[name], storage="csr")
    for x in batches:
        step_on(handle, model(x).square().mean())
    handle.prune_neurons(0.2)
    handle.summary(batches[0])
    handle.load_state_dict(handle.state_dict())
    copy.deepcopy((model, optimizer, handle))
    handle.finalize()
    assert global_generators() == before


@each_dynamic_name
def test_runs_do_not_depend_on_global_seeds_and_repeat_bit_for_bit(name: str) -> None:
    runs = []
    for seed in (1, 2):
        handle = start("csr", METHODS[name], ADAM)
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        runs.append(advance(handle, 3 * INTERVAL))
    assert_same_run(*runs)


@pytest.mark.parametrize("name", ["static", "set", "itop"])
def test_another_seed_draws_another_topology_in_both_storages(name: str) -> None:
    first, second = both(METHODS[name], seed=1), both(METHODS[name], seed=2)
    for handle in (*first, *second):
        advance(handle, INTERVAL + 1)
    assert_same_masks(*first)
    assert_same_masks(*second)
    assert differences(first[0].masks(), second[0].masks()) != []


def test_numbers_of_threads_do_not_change_a_run() -> None:
    before = torch.get_num_threads()
    runs = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            runs.append(advance(start("csr", RIGL, ADAM), 2 * INTERVAL))
    finally:
        torch.set_num_threads(before)
    assert_agree(runs[0], runs[1])


# Cost

HUGE = textwrap.dedent(
    """
    import resource, sys, torch
    from torch import nn
    from sparsewire.core import SET, RigL, SetEpsilon, SparseLinear, sparsify

    torch.set_num_threads(1)

    def reserved() -> int:
        lines = open("/proc/self/status").read().splitlines()
        return int(next(l for l in lines if l.startswith("VmSize")).split()[1]) * 1024

    def run(n: int, count: int, meta: bool, method: str) -> None:
        if meta:
            model = nn.Sequential(nn.Linear(n, n, device="meta"))
            options = {"density": count / n**2, "allocation": "uniform", "storage": "csr"}
        else:
            own = torch.Generator().manual_seed(0)
            model = nn.Sequential(SparseLinear(n, n, n_connections=count, generator=own))
            options = {"density": None}
        kind, interval = (SET, 2) if method == "set" else (RigL, 4)
        optimizer = torch.optim.Adam(model.parameters())
        handle = sparsify(model, optimizer, method=kind(update_interval=interval), **options)
        x = torch.ones(2, n)
        for _ in range(6):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
        handle.prune_neurons(0.01, ["0"])
        handle.summary()
        handle.state_dict()
        handle.verify()
        assert handle.updates == 6 // interval
        assert model[0].n_connections <= count

    meta, method = sys.argv[1] == "meta", sys.argv[2]
    run(100, 50, meta, method)  # compiles kernels and starts what has to be started
    limit = reserved() + int(sys.argv[4]) * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    run(int(sys.argv[3]), 1000, meta, method)
    """
)


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
@pytest.mark.parametrize("origin", ["own", pytest.param("meta", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("method", "n", "megabytes"),
    [
        ("set", 20000, 100),  # a mask would take 400 MB, dense weights 1.6 GB
        # Dense gradients would take 784 MB; a block takes 64 MiB, and ranking it several of these.
        pytest.param("rigl", 14000, 650, marks=pytest.mark.slow),
    ],
)
def test_layer_with_very_few_of_its_weights_needs_the_memory_of_these(
    origin: str, method: str, n: int, megabytes: int
) -> None:
    command = [sys.executable, "-c", HUGE, origin, method, str(n), str(megabytes)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stderr[-2000:]
