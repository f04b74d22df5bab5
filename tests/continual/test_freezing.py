"""What belongs to a finished task keeps every bit, whatever moves weights afterwards."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_

from sparsewire.continual.freezing import Frozen, Guard
from tests.continual.isolation_helpers import (
    METHODS,
    NETS,
    OPTIMIZERS,
    OUTPUTS,
    TASKS,
    Disturb,
    answers,
    backward,
    batch,
    begin,
    learn,
    make,
    mlp,
    shake,
    stray,
    train_step,
    weights_of,
)

every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS)
every_net = pytest.mark.parametrize("net", NETS)


# Whole methods


@every_optimizer
@pytest.mark.parametrize("kind", METHODS)
def test_owned_weights_keep_every_bit_through_later_tasks(kind: str, optimizer: str) -> None:
    cases: list[tuple[str, Disturb | None]] = [
        ("mlp", None),
        ("cnn, flatten, batch norm", shake),
    ]
    for net, disturb in cases:
        method = make(kind, net, optimizer)
        kept: list[dict[str, Tensor]] = []
        for task, classes in enumerate(TASKS):
            learn(method, classes, disturb)
            kept.append(weights_of(method, task))
            assert sum(weights.count_nonzero() for weights in kept[-1].values()) > 0
            for old, weights in enumerate(kept):
                now = weights_of(method, old)
                assert all(torch.equal(now[name], weights[name]) for name in weights)


@every_optimizer
@every_net
def test_strict_logits_of_old_classes_keep_every_bit(net: str, optimizer: str) -> None:
    for disturb in (None, shake):
        method = make("strict", net, optimizer)
        learnt: list[Tensor] = []
        for classes in TASKS:
            learn(method, classes, disturb)
            now = answers(method.model)
            learnt.append(now[:, list(classes)])
            assert learnt[-1].std() > 0  # the task's logits depend on its inputs
            for old, logits in zip(TASKS, learnt, strict=False):
                assert torch.equal(now[:, list(old)], logits)


@pytest.mark.parametrize("net", ["mlp", "batch norm 1d", "cnn, flatten, batch norm"])
def test_biases_and_statistics_of_units_of_no_task_stay_as_they_were(net: str) -> None:
    method = make("strict", net)
    before = {k: v.clone() for k, v in method.model.state_dict().items()}
    learn(method, TASKS[0])
    for layer, used in zip(method.chain.links, [*method.used, None], strict=True):
        mine = torch.zeros(OUTPUTS, dtype=torch.bool) if used is None else used
        if used is None:
            mine[list(TASKS[0])] = True
        for module, key in layer.vectors:
            now, was = method.model.state_dict()[f"{module}.{key}"], before[f"{module}.{key}"]
            assert torch.equal(now[~mine], was[~mine])
            assert not torch.equal(now[mine], was[mine])


@every_optimizer
@pytest.mark.parametrize("kind", METHODS)
def test_weights_and_moments_are_zero_where_nobody_owns_them(kind: str, optimizer: str) -> None:
    method = make(kind, "cnn and flatten", optimizer)
    for classes in TASKS[:2]:
        begin(method, classes)
        assert stray(method) == []
        for step in range(6):
            if step % 2:
                method.rewire()
                assert stray(method) == []
            train_step(method, *batch(classes, step))
            assert stray(method) == []
        method.end_task()
        assert stray(method) == []


def test_gradients_reach_clipping_and_the_optimizer_without_frozen_parts() -> None:
    method = make("strict", optimizer="SGD")
    learn(method, TASKS[0])
    begin(method, TASKS[1])
    seen: list[Tensor] = []
    hook = method.optimizer.register_step_pre_hook(
        lambda optimizer, args, kwargs: seen.append(method.layers[1].weight.grad.clone())  # type: ignore[union-attr]
    )
    train_step(method, *batch(TASKS[1], 0))
    hook.remove()
    mine = method.owners()["2"] == 2
    assert seen[0][~mine].count_nonzero() == 0
    assert seen[0][mine].count_nonzero() > 0


def test_restoring_at_any_time_in_a_task_undoes_a_plugin_and_nothing_else() -> None:
    method = make("strict", "batch norm 1d")
    learn(method, TASKS[0])
    logits = answers(method.model)[:, list(TASKS[0])]
    begin(method, TASKS[1])
    train_step(method, *batch(TASKS[1], 0))
    mine = weights_of(method, 1)
    with torch.no_grad():
        for layer in method.layers:
            layer.weight[layer.store.mask.logical_not()] = math.nan
            layer.weight.view(-1)[layer.owned(1)] += 1
    method.restore()
    assert torch.equal(answers(method.model)[:, list(TASKS[0])], logits)
    assert all(torch.equal(now, mine[name]) for name, now in weights_of(method, 1).items())


def test_a_plugin_that_clips_gradients_or_projects_them_changes_nothing_frozen() -> None:
    method = make("strict", optimizer="SGD, momentum, weight decay")
    learn(method, TASKS[0])
    kept = weights_of(method, 0)
    begin(method, TASKS[1])
    for step in range(4):
        x, y = batch(TASKS[1], step)
        method.optimizer.zero_grad()
        backward(F.cross_entropy(method.logits(method.model(x), y), y))
        for parameter in method.model.parameters():
            assert parameter.grad is not None
            parameter.grad.add_(torch.randn_like(parameter))
        clip_grad_norm_(method.model.parameters(), 1.0)
        method.optimizer.step()
    method.end_task()
    assert all(torch.equal(now, kept[name]) for name, now in weights_of(method, 0).items())


def test_a_not_finite_gradient_of_frozen_weights_does_not_reach_them() -> None:
    method = make("strict", optimizer="Adam, weight decay")
    learn(method, TASKS[0])
    begin(method, TASKS[1])
    x, y = batch(TASKS[1], 0)
    backward(F.cross_entropy(method.logits(method.model(x), y), y))
    for layer in method.layers:
        assert layer.weight.grad is not None
        layer.weight.grad.view(-1)[layer.owned(1)] = math.nan
    method.optimizer.step()
    assert all(bool(p.isfinite().all()) for p in method.model.parameters())


# One tensor


@given(st.data())
def test_all_but_the_free_entries_come_back_bit_for_bit(data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from([(7,), (3, 4), (2, 3, 2, 2)]))
    dtype = data.draw(st.sampled_from([torch.float32, torch.float64, torch.bfloat16]))
    count = math.prod(shape)
    free = torch.tensor(sorted(data.draw(st.sets(st.integers(0, count - 1)))), dtype=torch.int64)
    tensor = torch.randn(shape).to(dtype)
    tensor.view(-1)[0] = -0.0
    before = tensor.clone()
    frozen = Frozen(tensor, free)
    tensor.fill_(data.draw(st.sampled_from([3.0, math.nan, math.inf])))
    changed = tensor.clone()
    frozen.restore_(tensor)
    expected = before.view(-1).clone()
    expected[free] = changed.view(-1)[free]
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize]
    assert torch.equal(tensor.view(-1).view(bits), expected.view(bits))

    gradient = torch.full(shape, math.nan, dtype=dtype)
    gradient.view(-1)[free] = 2
    frozen.mask_(gradient)
    assert gradient.view(-1)[free].eq(2).all()
    assert gradient.float().abs().sum() == 2 * len(free)


def test_a_tensor_that_gains_rows_keeps_its_frozen_ones() -> None:
    tensor = torch.arange(6.0).view(3, 2)
    frozen = Frozen(tensor, torch.tensor([0]))
    wider = torch.full((4, 2), 9.0)
    gradient = torch.full((4, 2), 5.0)
    frozen.mask_(gradient)
    assert gradient.flatten().tolist() == [5, 0, 0, 0, 0, 0, 0, 0]
    frozen.restore_(wider)
    assert wider.flatten().tolist() == [9, 1, 2, 3, 4, 5, 9, 9]
    wider.fill_(1.0)
    frozen.restore_(wider)
    assert wider.flatten().tolist() == [1, 1, 2, 3, 4, 5, 9, 9]


def test_a_weight_in_another_memory_format_is_frozen_by_its_logical_positions() -> None:
    weight = torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last)
    before = weight.clone()
    frozen = Frozen(weight, torch.tensor([4, 5, 6, 7]))  # the kernel from channel 1 to 0
    weight.zero_()
    frozen.restore_(weight)
    assert weight[0, 1].eq(0).all()
    before[0, 1] = 0
    assert torch.equal(weight, before)


# Tensors without entries of their own


def test_other_tensors_belong_to_the_first_task_that_trains_them() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = mlp()
            self.scale = nn.Parameter(torch.ones(1))
            self.unused = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> Any:
            return self.body(x) * self.scale

    model = Scaled()
    method = METHODS["strict"](model, OPTIMIZERS["Adam, weight decay"](model.parameters()))
    learn(method, TASKS[0])
    scale = model.scale.detach().clone()
    assert scale != 1
    assert model.unused == 1
    learn(method, TASKS[1])
    assert torch.equal(model.scale.detach(), scale)


def test_a_gradient_of_zeros_gives_a_tensor_to_no_task() -> None:
    """EWC and its like send zeros to heads that no task has used yet."""
    model = nn.Module()
    model.first, model.second = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    guard = Guard(model)
    guard.begin(0, {})
    model.first.grad, model.second.grad = torch.ones(2), torch.zeros(2)
    assert guard.mask_gradients_() == ["first"]
    with torch.no_grad():
        model.first.mul_(2)
        model.second.mul_(2)
    guard.restore_()
    assert (model.first.tolist(), model.second.tolist()) == ([2, 2], [1, 1])
    guard.begin(1, {})
    model.first.grad, model.second.grad = torch.ones(2), torch.ones(2)
    assert guard.mask_gradients_() == ["second"]
    assert model.first.grad.tolist() == [0, 0]
    with torch.no_grad():
        model.first.mul_(2)
        model.second.mul_(2)
    guard.restore_()
    assert (model.first.tolist(), model.second.tolist()) == ([2, 2], [2, 2])
    assert guard.trained_in == {"first": 0, "second": 1}
