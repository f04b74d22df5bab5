"""Tasks, logits, optimizers and replaced layers: the life of a learner around its topology."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import LBFGS, SGD, Adam, Optimizer

from sparsewire.continual.heads import entering_weights
from sparsewire.continual.method import ContinualMethod
from sparsewire.continual.spacenet import SpaceNet
from sparsewire.core.errors import InvalidArgumentError, StateError, UnsupportedError
from tests.continual.isolation_helpers import (
    METHODS,
    NETS,
    OPTIMIZERS,
    OUTPUTS,
    TASKS,
    answers,
    assert_same,
    backward,
    batch,
    begin,
    everything,
    learn,
    make,
    mlp,
    stray,
    train_step,
    weights_of,
)

every_method = pytest.mark.parametrize("kind", METHODS)


# Tasks


def test_tasks_and_classes_are_counted() -> None:
    method = make()
    assert (method.tasks, method.current, method.seen) == ([], None, [])
    begin(method, (4, 2))
    assert (method.tasks, method.current, method.seen) == ([], (4, 2), [])
    method.end_task()
    assert (method.tasks, method.current, method.seen) == ([(4, 2)], None, [2, 4])


def test_calls_at_the_wrong_time_are_refused_without_a_trace() -> None:
    method = make()
    x, y = batch(TASKS[0], 0)
    calls: list[Callable[[], object]] = [
        method.end_task,
        method.rewire,
        method.before_step,
        method.after_step,
        method.restore,
        lambda: method.logits(method.model(x), y),
        method.optimizer.step,
    ]
    for finished in (False, True):
        before = everything(method)
        for call in calls:
            with pytest.raises(StateError, match="begin_task"):
                call()
        assert_same(before, everything(method))
        if not finished:
            learn(method, TASKS[0])
    begin(method, TASKS[1])
    before = everything(method)
    with pytest.raises(StateError, match="end_task"):
        begin(method, TASKS[2])
    assert_same(before, everything(method))
    assert method.current == TASKS[1]


@pytest.mark.parametrize("wrong", [[], [1, 1], [0, -1], [0.0], [True, 2], ["0"], [8], [0, 99]])
def test_classes_that_cannot_be_learnt_are_refused_without_a_trace(wrong: list[Any]) -> None:
    method = make()
    before = everything(method)
    with pytest.raises(InvalidArgumentError, match="class"):
        method.begin_task(wrong)
    assert_same(before, everything(method))
    assert method.current is None
    learn(method, TASKS[0])


def test_classes_may_come_as_numpy_integers_and_are_kept_as_plain_ones() -> None:
    method = make()
    method.begin_task(np.unique(np.array([3, 1, 3])))
    assert method.current == (1, 3)
    assert {type(label) for label in method.current} == {int}


@every_method
def test_the_global_generators_are_never_touched(kind: str) -> None:
    method = make(kind, "cnn, flatten, batch norm")
    for module in method.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    torch.manual_seed(123)
    before, numbers = torch.get_rng_state(), str(np.random.get_state())  # noqa: NPY002
    for classes in TASKS:
        learn(method, classes)
    method.class_scores(method.model(batch(TASKS[0], 0)[0]))
    method.flops(torch.zeros(1, 16))
    assert torch.equal(before, torch.get_rng_state())
    assert numbers == str(np.random.get_state())  # noqa: NPY002


# Logits


def test_zeroed_heads_see_a_model_whose_other_rows_are_zero() -> None:
    method = make("strict", head="zero")
    for classes in TASKS:
        begin(method, classes)
        for step in range(3):
            x, y = batch(classes, step)
            zeroed = copy.deepcopy(method.model)
            head = zeroed.get_submodule("4")
            others = [c for c in range(OUTPUTS) if c not in classes]
            with torch.no_grad():
                head.get_parameter("weight")[others] = 0
            assert torch.equal(method.logits(method.model(x), y), zeroed(x))
            train_step(method, x, y)
        method.end_task()


def test_masked_and_live_heads_do_as_they_say() -> None:
    x, y = batch(TASKS[1], 0)
    for head in ("mask", "live"):
        method = make("strict", head=head)
        learn(method, TASKS[0])
        begin(method, TASKS[1])
        output = method.model(x)
        found = method.logits(output, y)
        if head == "live":
            assert found is output
        else:
            assert torch.equal(found[:, [2, 4]], output[:, [2, 4]])
            assert found[:, [0, 1, 3, 5, 6, 7]].eq(-1e4).all()


def test_a_head_without_biases_gives_other_classes_exactly_zero() -> None:
    method = make("strict", "no biases")
    learn(method, TASKS[0])
    begin(method, TASKS[1])
    found = method.logits(method.model(batch(TASKS[1], 0)[0]))
    assert found[:, [0, 1, 3, 5, 6, 7]].eq(0).all()


def test_replayed_labels_bring_all_classes_seen_into_the_competition() -> None:
    for head, absent in (("zero", None), ("mask", -1e4)):
        method = make("strict", "no biases", head=head)
        for classes in TASKS[:2]:
            learn(method, classes)
        begin(method, TASKS[2])
        x, y = batch(TASKS[2], 0)
        old_x, old_y = batch(TASKS[0], 0, size=2)
        output = method.model(torch.cat([x, old_x]))
        found = method.logits(output, torch.cat([y, old_y]))
        assert torch.equal(found[:, :6], output[:, :6])
        assert found[:, 6:].eq(0.0 if absent is None else absent).all()
        alone = method.logits(output[: len(x)], y)
        assert not torch.equal(alone[:, [0, 1, 2, 4]], output[: len(x), [0, 1, 2, 4]])
        assert torch.equal(alone[:, [3, 5]], output[: len(x), [3, 5]])


@every_method
def test_replay_moves_no_row_of_an_old_class(kind: str) -> None:
    method = make(kind, optimizer="SGD, momentum, weight decay", select=0.2)
    learn(method, TASKS[0])
    head = method.layers[-1].store.module
    rows = list(TASKS[0])
    kept = [head.get_parameter(n).detach()[rows].clone() for n in ("weight", "bias")]
    begin(method, TASKS[1])
    for step in range(4):
        x, y = batch(TASKS[1], step)
        old_x, old_y = batch(TASKS[0], step)
        train_step(method, torch.cat([x, old_x]), torch.cat([y, old_y]))
    method.end_task()
    for name, value in zip(("weight", "bias"), kept, strict=True):
        assert torch.equal(head.get_parameter(name).detach()[rows], value)


@pytest.mark.parametrize("label", [6, -1, -100, 8, 99])
@pytest.mark.parametrize("head", ["zero", "mask", "live"])
def test_labels_that_no_task_has_announced_are_named(label: int, head: str) -> None:
    method = make("strict", head=head)
    begin(method, TASKS[0])
    y = torch.tensor([0, 1, label])
    with pytest.raises(InvalidArgumentError, match=rf"{label}.*announced"):
        method.logits(torch.zeros(3, OUTPUTS), y)


def test_an_empty_batch_is_about_the_current_task() -> None:
    method = make("strict", "no biases")
    begin(method, TASKS[0])
    assert method.logits(torch.ones(0, OUTPUTS), torch.empty(0, dtype=torch.int64)).shape == (0, 8)


def test_scores_never_let_a_class_win_that_was_not_learnt() -> None:
    method = make()
    output = torch.arange(16.0).view(2, 8)
    before = output.clone()
    assert method.class_scores(output).eq(-1e4).all()
    learn(method, TASKS[0])
    begin(method, TASKS[1])
    scores = method.class_scores(output)
    assert torch.equal(output, before)
    assert scores[:, [3, 5, 6, 7]].eq(-1e4).all()
    assert torch.equal(scores[:, [0, 1, 2, 4]], output[:, [0, 1, 2, 4]])
    assert method.class_scores(output).argmax(1).tolist() == [4, 4]
    assert method.class_scores(output, classes=(0, 1)).argmax(1).tolist() == [1, 1]
    own = method.class_scores(-output, classes=(2, 4))  # right even where all own logits are low
    assert own.argmax(1).tolist() == [2, 2]


# Optimizers


def test_an_optimizer_must_hold_every_weight_of_the_chain() -> None:
    model = mlp()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(UnsupportedError, match="does not hold the weight of 4"):
        SpaceNet(model, SGD(list(model.parameters())[:4], lr=0.1))
    with pytest.raises(UnsupportedError, match="LBFGS"):
        SpaceNet(model, LBFGS(model.parameters()))
    with pytest.raises(UnsupportedError, match="Optimizer"):
        SpaceNet(model, object())  # type: ignore[arg-type]
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(before[n], now) for n, now in model.state_dict().items())
    method = SpaceNet(model, SGD(model.parameters(), lr=0.1))
    with pytest.raises(UnsupportedError, match="does not hold"):
        method.attach(SGD(mlp().parameters(), lr=0.1))
    learn(method, TASKS[0])  # still follows the first


def test_another_optimizer_takes_over_and_the_earlier_one_is_let_go() -> None:
    method = make("strict", optimizer="SGD")
    first = method.optimizer
    learn(method, TASKS[0])
    kept = weights_of(method, 0)
    method.attach(Adam(method.model.parameters(), lr=0.1, weight_decay=0.1))
    method.attach(method.optimizer)
    assert len(method.optimizer._optimizer_step_pre_hooks) == 1
    assert not first._optimizer_step_pre_hooks
    assert not first._optimizer_step_post_hooks
    learn(method, TASKS[1])
    assert all(torch.equal(now, kept[name]) for name, now in weights_of(method, 0).items())
    method.detach()
    method.optimizer.step()  # outside a task, but nobody listens


def test_the_calls_of_a_loop_by_hand_beside_the_hooks_change_nothing() -> None:
    methods = [make("strict"), make("strict")]
    for by_hand, method in enumerate(methods):
        begin(method, TASKS[0])
        for step in range(4):
            x, y = batch(TASKS[0], step)
            method.optimizer.zero_grad()
            backward(F.cross_entropy(method.logits(method.model(x), y), y))
            if by_hand:
                method.before_step()
            method.optimizer.step()
            if by_hand:
                method.after_step()
                method.restore()
        method.rewire()
        method.end_task()
    assert_same(everything(methods[0]), everything(methods[1]))


@pytest.mark.parametrize("optimizer", ["SGD, nesterov, weight decay", "Adam, weight decay"])
def test_closures_train_as_plain_steps_do(optimizer: str) -> None:
    methods = [make("strict", "batch norm 1d", optimizer) for _ in range(2)]
    for number, method in enumerate(methods):
        for classes in TASKS[:2]:
            begin(method, classes)
            for step in range(4):
                x, y = batch(classes, step)
                if number:
                    train_with_closure(method, x, y)
                else:
                    train_step(method, x, y)
            method.end_task()
    assert_same(everything(methods[0]), everything(methods[1]))


def train_with_closure(method: SpaceNet, x: Tensor, y: Tensor) -> None:
    def closure() -> float:
        method.optimizer.zero_grad()
        loss = F.cross_entropy(method.logits(method.model(x), y), y)
        backward(loss)
        return float(loss.detach())

    assert method.optimizer.step(closure) > 0


@pytest.mark.parametrize("fused", [False, True])
def test_a_scaler_that_skips_a_step_changes_nothing_of_the_task(fused: bool) -> None:
    model = NETS["batch norm 1d"]()
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9, fused=fused)
    method = METHODS["strict"](model, optimizer)
    learn(method, TASKS[0])
    logits = answers(model)[:, list(TASKS[0])]
    begin(method, TASKS[1])
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    for step in range(4):
        x, y = batch(TASKS[1], step)
        optimizer.zero_grad()
        backward(scaler.scale(F.cross_entropy(method.logits(model(x), y), y)))
        before = weights_of(method, 1)
        total = [importance.total.clone() for importance in method.importance]
        if step == 2:
            assert method.layers[1].weight.grad is not None
            method.layers[1].weight.grad.view(-1)[method.layers[1].owned(2)] = torch.inf
        scaler.step(optimizer)
        scaler.update()
        same = all(torch.equal(now, before[name]) for name, now in weights_of(method, 1).items())
        assert same == (step == 2)
        pairs = zip(method.importance, total, strict=True)
        assert all(torch.equal(now.total, was) for now, was in pairs) == (step == 2)
        if fused or step != 2:
            assert torch.equal(answers(model)[:, list(TASKS[0])], logits)
    method.end_task()
    assert torch.equal(answers(model)[:, list(TASKS[0])], logits)


def test_the_scale_of_a_fused_step_does_not_count_as_importance() -> None:
    totals = []
    for scale in (1.0, 2.0**6):
        torch.manual_seed(0)
        model = mlp()
        optimizer = SGD(model.parameters(), lr=0.1, fused=True)
        method = METHODS["strict"](model, optimizer)
        begin(method, TASKS[0])
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        for step in range(3):
            x, y = batch(TASKS[0], step)
            optimizer.zero_grad()
            backward(scaler.scale(F.cross_entropy(method.logits(model(x), y), y)))
            scaler.step(optimizer)
            scaler.update()
        totals.append([importance.total for importance in method.importance])
    for first, second in zip(*totals, strict=True):
        torch.testing.assert_close(first, second)


def test_layers_whose_training_is_switched_off_stay_as_they_are() -> None:
    method = make("strict")
    method.model.get_submodule("0").requires_grad_(False)
    begin(method, TASKS[0])
    before = weights_of(method, 0)
    train_step(method, *batch(TASKS[0], 0))
    method.rewire()
    method.end_task()
    assert before["0"].numel() == weights_of(method, 0)["0"].numel()


# Precision


@every_method
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_keep_all_promises(kind: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = mlp().to(dtype)
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    method = METHODS[kind](model, optimizer)
    kept: list[dict[str, Tensor]] = []
    for task, classes in enumerate(TASKS):
        method.begin_task(classes, data=[(batch(classes, 0)[0].to(dtype), batch(classes, 0)[1])])
        for step in range(4):
            if step == 2:
                method.rewire()
            x, y = batch(classes, step)
            train_step(method, x.to(dtype), y)
        method.end_task()
        assert stray(method) == []
        kept.append(weights_of(method, task))
        for old, weights in enumerate(kept):
            now = weights_of(method, old)
            assert all(torch.equal(now[name], weights[name]) for name in weights)
        assert all(layer.weight.dtype == dtype for layer in method.layers)
    assert method.memory().value_bytes == dtype.itemsize * (
        method.memory().weights + method.memory().biases
    )


# Copies


@every_method
@pytest.mark.parametrize("way", ["deepcopy", "pickle"])
@pytest.mark.parametrize("inside", [False, True], ids=["between tasks", "inside a task"])
def test_copies_of_learner_model_and_optimizer_continue_identically(
    kind: str, way: str, inside: bool
) -> None:
    method = make(kind, "batch norm 1d")
    learn(method, TASKS[0])
    if inside:
        begin(method, TASKS[1])
        for step in range(3):
            train_step(method, *batch(TASKS[1], step))
    together = (method, method.model, method.optimizer)
    if way == "deepcopy":
        twin, model, optimizer = copy.deepcopy(together)
    else:
        twin, model, optimizer = pickle.loads(pickle.dumps(together))
    assert twin.model is model
    assert twin.optimizer is optimizer
    assert len(optimizer._optimizer_step_post_hooks) == 1
    before = everything(method)
    learn(twin, TASKS[1], first=int(inside))
    assert_same(before, everything(method))  # the copy shares nothing
    learn(method, TASKS[1], first=int(inside))
    assert_same(everything(method), everything(twin))
    for each in (method, twin):
        learn(each, TASKS[2])
    assert_same(everything(method), everything(twin))


# Layers that are replaced


class Growing(nn.Module):
    """A classifier that is replaced by a wider one, as Avalanche's IncrementalClassifier does."""

    def __init__(self, body: nn.Module, features: int) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(features, 2)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.body(x))

    def grow(self, classes: int, optimizer: Optimizer, copying: bool = True) -> None:
        old = self.head
        self.head = nn.Linear(old.in_features, classes)
        if copying:
            with torch.no_grad():
                self.head.weight[: old.out_features] = old.weight
                self.head.bias[: old.out_features] = old.bias
        group = optimizer.param_groups[0]["params"]
        for before, after in ((old.weight, self.head.weight), (old.bias, self.head.bias)):
            group[next(i for i, p in enumerate(group) if p is before)] = after
            optimizer.state.pop(before, None)


def growing(net: str = "mlp") -> tuple[Growing, SpaceNet]:
    torch.manual_seed(3)
    body = NETS[net]()
    assert isinstance(body, nn.Sequential)
    model = Growing(body[:-1], 30)
    optimizer = OPTIMIZERS["SGD, momentum, weight decay"](model.parameters())
    return model, METHODS["strict"](model, optimizer)


@pytest.mark.parametrize("net", ["mlp", "batch norm 1d", "cnn, flatten, batch norm"])
def test_a_classifier_that_grows_keeps_old_logits_and_learns_new_classes(net: str) -> None:
    model, method = growing(net)
    learn(method, (0, 1))
    for classes in ((2, 3), (4, 5)):
        model.grow(classes[-1] + 1, method.optimizer)
        logits = answers(model)[:, : classes[0]]
        learn(method, classes)
        assert stray(method) == []
        assert set(method.owners()["head"][list(classes)].flatten().tolist()) == {
            0,
            len(method.tasks),
        }
        assert torch.equal(answers(model)[:, : classes[0]], logits)


@pytest.mark.parametrize("copying", [True, False], ids=["rows copied", "rows forgotten"])
def test_a_classifier_replaced_inside_a_task_gives_no_frozen_bit_away(copying: bool) -> None:
    model, method = growing("batch norm 1d")
    learn(method, (0, 1))
    model.grow(4, method.optimizer)
    begin(method, (2, 3))
    logits = answers(model)[:, :2]
    kept = weights_of(method, 0)
    train_step(method, *batch((2, 3), 0))
    x, y = batch((2, 3), 1)
    method.optimizer.zero_grad()
    model(x + 5)  # moves running statistics
    with torch.no_grad():
        method.layers[0].weight.add_(1)
        model.body.get_submodule("0").get_parameter("bias").add_(1)
    model.grow(8, method.optimizer, copying=copying)
    before = method.logits(model(x), y)[:, 4:]
    assert torch.equal(before, model.head.bias.detach()[4:].expand_as(before))
    backward(F.cross_entropy(method.logits(model(x), y), y))
    method.optimizer.step()
    assert all(torch.equal(now, kept[name]) for name, now in weights_of(method, 0).items())
    assert torch.equal(answers(model)[:, :2], logits)
    assert model.head.weight[4:].count_nonzero() == 0
    assert method.owners()["head"].shape == (8, 30)
    method.rewire()
    method.end_task()
    assert torch.equal(answers(model)[:, :2], logits)


def test_a_grown_classifier_must_be_in_the_optimizer_when_a_task_begins() -> None:
    model, method = growing()
    learn(method, (0, 1))
    head = nn.Linear(30, 4)
    with torch.no_grad():
        head.weight[:2] = model.head.weight
    model.head = head
    with pytest.raises(UnsupportedError, match="does not hold the weight of head"):
        method.begin_task((2, 3))
    assert method.current is None
    method.attach(SGD(model.parameters(), lr=0.1))
    learn(method, (2, 3))


# A head per task


class Heads(nn.Module):
    def __init__(self, body: nn.Module, features: int, tasks: int) -> None:
        super().__init__()
        self.body = body
        self.heads = nn.ModuleDict(
            {
                str(task): nn.Sequential(nn.Linear(features, 4), nn.ReLU(), nn.Linear(4, 2))
                for task in range(tasks)
            }
        )

    def forward(self, x: Tensor, task: int = 0) -> Any:
        return self.heads[str(task)](self.body(x))


@pytest.mark.parametrize("flattened", [False, True])
@pytest.mark.parametrize("optimizer", ["SGD", "Adam, weight decay"])
def test_each_of_several_heads_answers_the_same_bits_for_ever(
    flattened: bool, optimizer: str
) -> None:
    torch.manual_seed(0)
    if flattened:
        convolution = nn.Conv2d(1, 30, 3, padding=1)
        body: nn.Module = nn.Sequential(
            nn.Unflatten(1, (1, 4, 4)), convolution, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
        )
        model = Heads(body, 120, 3)
    else:
        model = Heads(
            nn.Sequential(nn.Linear(16, 40), nn.ReLU(), nn.Linear(40, 30), nn.ReLU()), 30, 3
        )
    method = METHODS["strict"](model, OPTIMIZERS[optimizer](model.parameters()), density=0.6)
    assert not method.chain.has_head
    inputs = torch.cat([batch(classes, 999)[0] for classes in TASKS])
    kept: list[Tensor] = []
    for task, classes in enumerate(TASKS):
        method.begin_task([0, 1])
        before = method.owners()
        for step in range(6):
            if step % 2:
                method.rewire()
            x, y = batch(classes, step)
            y = (y == classes[1]).long()
            method.optimizer.zero_grad(set_to_none=step % 2 == 0)
            loss = F.cross_entropy(method.logits(model(x, task), y), y)
            penalty = sum((p * 0).sum() for p in model.parameters())  # as EWC's before it knows
            backward(loss + penalty)
            method.optimizer.step()
        changed = [name for name, now in method.owners().items() if not now.equal(before[name])]
        assert changed == list(before)  # the last hidden layer is rewired as all others
        method.end_task()
        kept.append(model(inputs, task).detach())
        assert kept[-1].std(0).min() > 0
        for old, logits in enumerate(kept):
            assert torch.equal(model(inputs, old).detach(), logits)


def test_a_head_sees_the_units_of_its_task_alone() -> None:
    torch.manual_seed(0)
    model = Heads(nn.Sequential(nn.Linear(16, 40), nn.ReLU()), 40, 2)
    method = METHODS["strict"](model, OPTIMIZERS["AdamW"](model.parameters()))
    for task in range(2):
        method.begin_task([0, 1])
        for step in range(3):
            x, y = batch((0, 1), step)
            method.optimizer.zero_grad()
            backward(F.cross_entropy(method.logits(model(x, task), y), y))
            method.optimizer.step()
        first = model.heads[str(task)].get_submodule("0").get_parameter("weight")
        seen = first.count_nonzero(0) > 0
        assert torch.equal(seen, method.chosen[0])
        method.end_task()


def test_a_head_stays_confined_when_its_task_is_continued_from_a_checkpoint() -> None:
    def make_heads() -> tuple[Heads, SpaceNet]:
        torch.manual_seed(0)
        model = Heads(nn.Sequential(nn.Linear(16, 40), nn.ReLU()), 40, 2)
        return model, METHODS["strict"](model, OPTIMIZERS["SGD"](model.parameters()))

    def step(model: Heads, method: SpaceNet, task: int, number: int) -> None:
        x, y = batch((0, 1), number)
        method.optimizer.zero_grad()
        backward(F.cross_entropy(method.logits(model(x, task), y), y))
        method.optimizer.step()

    model, method = make_heads()
    method.begin_task([0, 1])
    step(model, method, 0, 0)
    method.end_task()
    method.begin_task([0, 1])
    step(model, method, 1, 1)
    resumed_model, resumed = make_heads()
    resumed_model.load_state_dict(model.state_dict())
    resumed.load_state_dict(method.state_dict())
    for number in range(2, 5):
        step(model, method, 1, number)
        step(resumed_model, resumed, 1, number)
    weight = resumed_model.heads["1"].get_submodule("0").get_parameter("weight")
    assert torch.equal(weight.count_nonzero(0) > 0, resumed.chosen[0])
    assert_same(everything(method), everything(resumed))


def test_heads_that_do_not_fit_the_chain_are_named() -> None:
    heads = nn.ModuleDict({"a": nn.Linear(12, 2), "b": nn.ReLU()})
    model = nn.Sequential(nn.Linear(3, 6), heads)
    assert list(entering_weights(model, 6)) == ["1.a.weight"]
    with pytest.raises(UnsupportedError, match=r"1\.a\.weight has 12 inputs.*7 units"):
        entering_weights(model, 7)


def test_every_method_follows_one_interface() -> None:
    assert issubclass(SpaceNet, ContinualMethod)
    with pytest.raises(TypeError, match="abstract"):
        ContinualMethod(mlp(), SGD(mlp().parameters(), lr=0.1), {})  # type: ignore[abstract]
