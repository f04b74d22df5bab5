"""Does torch.compile see an ordinary model?"""

import copy

import pytest
import torch
from torch import nn

from sparsewire.core import SET, Method, RigL, SparsityHandle, sparsify
from sparsewire.core.sparsify import unwrap
from tests.core.helpers import (
    INTERVAL,
    MLP,
    OPTIMIZERS,
    TASKS,
    Task,
    assert_same_run,
    assert_sparse,
    build,
    differences,
    layer_counts,
    snapshot,
)

ADAM = next(case for case in OPTIMIZERS if case.name == "adam")
CONV = next(task for task in TASKS if task.name == "conv")
METHODS: list[Method] = [SET(update_interval=INTERVAL), RigL(update_interval=INTERVAL)]
pytestmark = pytest.mark.filterwarnings(
    # Deprecations inside torch's compiler are not ours.
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
)


@pytest.fixture(autouse=True)
def _fresh_compiler() -> None:
    torch.compiler.reset()


def run(handle: SparsityHandle, model: nn.Module, steps: int, task: Task) -> None:
    for step in range(steps):
        handle.optimizer.zero_grad()
        task.loss(model, step).backward()  # type: ignore[no-untyped-call]
        handle.optimizer.step()


def both(task: Task, method: Method, backend: str, *, before: bool) -> list[SparsityHandle]:
    """Train plainly and compiled (before or after sparsify); return both handles."""
    plain = build(method, ADAM, task)
    if before:
        torch.manual_seed(7)
        inner = task.model()
        compiled = torch.compile(inner, backend=backend)
        handle = sparsify(
            compiled,  # type: ignore[arg-type]
            ADAM(inner.parameters()),
            density=0.3,
            method=method,
        )
    else:
        handle = build(method, ADAM, task)
        compiled = torch.compile(handle.model, backend=backend)
    run(handle, compiled, 12, task)  # type: ignore[arg-type]
    run(plain, plain.model, 12, task)
    return [handle, plain]


@pytest.mark.parametrize("before", [True, False], ids=["compiled first", "sparsified first"])
@pytest.mark.parametrize("method", METHODS, ids=["set", "rigl"])
@pytest.mark.parametrize("task", [MLP, CONV], ids=["mlp", "conv"])
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_training_equals_uncompiled_training(
    backend: str, task: Task, method: Method, before: bool
) -> None:
    handle, plain = both(task, method, backend, before=before)
    assert handle.updates == plain.updates == 2
    assert_sparse(handle)
    if backend == "eager":
        assert_same_run(handle, plain)
    assert differences(handle.masks(), plain.masks()) == []
    for name, weight in plain.model.named_parameters():
        torch.testing.assert_close(handle.model.get_parameter(name), weight, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS, ids=["set", "rigl"])
def test_training_compiled_by_inductor_keeps_counts_and_zeros(method: Method) -> None:
    handle, plain = both(MLP, method, "inductor", before=False)
    assert handle.updates == plain.updates
    assert layer_counts(handle) == layer_counts(plain)
    assert_sparse(handle)
    if isinstance(method, SET):
        for name, weight in plain.model.named_parameters():
            ours = handle.model.get_parameter(name)
            torch.testing.assert_close(ours, weight, rtol=1e-3, atol=1e-5)


def test_topology_updates_do_not_recompile_the_model() -> None:
    handle = build(METHODS[0], ADAM)
    compilations = 0

    def count(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> object:
        nonlocal compilations
        compilations += 1
        return graph.forward

    compiled = torch.compile(handle.model, backend=count)
    run(handle, compiled, 2, MLP)  # type: ignore[arg-type]
    first = compilations
    run(handle, compiled, 4 * INTERVAL, MLP)  # type: ignore[arg-type]
    assert handle.updates == 4
    assert compilations == first == 1


def test_compiled_model_has_the_names_of_the_model_inside() -> None:
    torch.manual_seed(7)
    model = MLP.model()
    compiled = torch.compile(model, backend="eager")
    handle = sparsify(
        compiled,  # type: ignore[arg-type]
        ADAM(model.parameters()),
        density=0.3,
        method="set",
    )
    plain = build("set", ADAM)
    assert handle.model is model
    assert differences(handle.masks(), plain.masks()) == []
    assert [s.name for s in handle.summary().layers] == [s.name for s in plain.summary().layers]
    assert differences(snapshot(handle)["model"], snapshot(plain)["model"]) == []


def test_model_compiled_in_place_is_sparsified_like_any_other() -> None:
    handle = build(METHODS[1], ADAM)
    reference = copy.deepcopy(handle)
    handle.model.compile(backend="eager")
    run(handle, handle.model, 6, MLP)
    run(reference, reference.model, 6, MLP)
    assert_same_run(handle, reference)


def test_unwrap_returns_a_plain_model_itself() -> None:
    model = MLP.model()
    assert unwrap(model) is model
    assert unwrap(torch.compile(model, backend="eager")) is model  # type: ignore[arg-type]
