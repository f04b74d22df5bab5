"""Finished sub-networks stay as they are, bit for bit, whatever is learnt later."""

import copy
import io
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from sparsewire.continual.concept_cells import ConceptCells
from sparsewire.continual.dst_masks import DSTMasks
from sparsewire.continual.dst_rules import GROWTHS
from sparsewire.continual.subnetworks import Subnetworks
from sparsewire.core.errors import (
    CheckpointError,
    InfeasibleDensityError,
    InvalidArgumentError,
    StateError,
    UnsupportedError,
)
from tests.continual.subnetwork_helpers import (
    METHODS,
    NETS,
    OPTIMIZERS,
    STEPS,
    TASKS,
    Method,
    backward,
    batch,
    begin,
    differing,
    everything,
    learn,
    make,
    outputs,
    replace_head,
    train_step,
)

both = pytest.mark.parametrize("name", METHODS)
every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS)


# Isolation


@both
@every_optimizer
@pytest.mark.parametrize("net", NETS)
def test_old_sub_networks_answer_the_same_bits_for_ever(
    name: str, optimizer: str, net: str
) -> None:
    method = make(name, optimizer, net)
    answers: list[Tensor] = []
    for task in range(len(TASKS)):
        begin(method, task)
        for step in range(STEPS):
            train_step(method, task, step)
        trained = outputs(method, None)
        method.end_task()
        assert torch.equal(outputs(method, task), trained)
        answers.append(trained)
        for old, answer in enumerate(answers):
            assert torch.equal(outputs(method, old), answer)


@both
@every_optimizer
def test_owned_weights_are_in_use_at_their_value_after_every_step(
    name: str, optimizer: str
) -> None:
    method = make(name, optimizer)
    learn(method, 0)
    learn(method, 1)
    shared = method.shared
    values = {layer: weight.clone() for layer, weight in shared.weights.items()}
    begin(method, 2)
    reused = 0
    for step in range(STEPS):
        train_step(method, 2, step)
        for layer, value in values.items():
            store = shared.store(layer)
            frozen = store.mask & (shared.owner[layer] > 0)
            reused += int(frozen.sum())
            assert torch.equal(store.weight[frozen], value[frozen])
            assert not store.has_stray_weights()
    method.end_task()
    assert reused > 0
    for layer, value in values.items():
        old = (shared.owner[layer] > 0) & (shared.owner[layer] < 3)
        assert torch.equal(shared.weights[layer][old], value[old])


@both
def test_the_owner_is_the_first_task_whose_mask_holds_the_weight(name: str) -> None:
    method = make(name)
    for task in range(len(TASKS)):
        learn(method, task)
    for layer, owner in method.shared.owner.items():
        expected = torch.zeros_like(owner)
        for number in (2, 1, 0):
            expected[method.shared.finished[number].masks[layer]] = number + 1
        assert torch.equal(owner, expected)


@both
def test_weights_that_nobody_owns_keep_their_initial_value_in_the_store(name: str) -> None:
    method = make(name)
    initial = {layer: weight.clone() for layer, weight in method.shared.weights.items()}
    learn(method, 0)
    for layer, weight in method.shared.weights.items():
        free = method.shared.owner[layer] == 0
        assert bool(free.any())
        assert torch.equal(weight[free], initial[layer][free])


@both
@pytest.mark.parametrize("net", ["batch norm", "convolutional"])
def test_biases_and_normalisation_are_private_and_begin_afresh(name: str, net: str) -> None:
    method = make(name, net=net)
    fresh = {k: v.clone() for k, v in method.model.state_dict().items()}
    private = set(method.shared.initial)
    assert {k.rpartition(".")[2] for k in private} >= {"bias", "running_mean", "running_var"}
    learn(method, 0)
    begin(method, 1)
    present = method.model.state_dict()
    assert all(torch.equal(present[k], fresh[k]) for k in private)
    method.use_task(0)
    assert not any(torch.equal(present[k], fresh[k]) for k in private)


@both
@every_optimizer
def test_a_task_begins_with_the_optimizer_as_new(name: str, optimizer: str) -> None:
    kept, renewed = make(name, optimizer), make(name, optimizer)
    for method in (kept, renewed):
        learn(method, 0)
    renewed.attach(OPTIMIZERS[optimizer](renewed.model))
    for method in (kept, renewed):
        learn(method, 1)
    assert not differing(everything(kept), everything(renewed))


def test_static_cells_equal_a_loop_written_by_hand() -> None:
    method = make("ConceptCells", "SGD, momentum, weight decay")
    twin = copy.deepcopy(method.model)
    layers = [module for module in twin.children() if isinstance(module, nn.Linear)]
    weights = [layer.weight.detach().clone() for layer in layers]
    biases = [layer.bias.detach().clone() for layer in layers]
    owned = [torch.zeros_like(weight, dtype=torch.bool) for weight in weights]
    for task in range(2):
        begin(method, task)
        masks = [mask.clone() for mask in method.shared.masks().values()]
        frozen = [mask & old for mask, old in zip(masks, owned, strict=True)]
        with torch.no_grad():
            for layer, weight, bias, mask in zip(layers, weights, biases, masks, strict=True):
                layer.weight.copy_(weight * mask)
                layer.bias.copy_(bias)
        optimizer = OPTIMIZERS["SGD, momentum, weight decay"](twin)
        for step in range(STEPS):
            train_step(method, task, step)
            x, y = batch(task, step)
            optimizer.zero_grad()
            backward(F.cross_entropy(twin(x), y))
            before = [layer.weight.detach().clone() for layer in layers]
            for layer, mask, still in zip(layers, masks, frozen, strict=True):
                assert layer.weight.grad is not None
                layer.weight.grad *= mask & ~still
            optimizer.step()
            with torch.no_grad():
                for layer, old, mask, still in zip(layers, before, masks, frozen, strict=True):
                    layer.weight.copy_(torch.where(mask & ~still, layer.weight, old))
        method.end_task()
        for i, (layer, mask) in enumerate(zip(layers, masks, strict=True)):
            weights[i] = torch.where(mask & ~owned[i], layer.weight.detach(), weights[i])
            owned[i] |= mask
        for name, value in twin.named_parameters():
            assert torch.equal(method.model.state_dict()[name], value), (task, name)


# Looking at old tasks


@both
@pytest.mark.parametrize("net", ["mlp", "batch norm"])
def test_looking_at_old_tasks_does_not_disturb_the_one_being_learnt(name: str, net: str) -> None:
    straight, interrupted = make(name, net=net), make(name, net=net)
    for method in (straight, interrupted):
        learn(method, 0)
        begin(method, 1)
        for step in range(STEPS):
            if method is interrupted:
                outputs(method, 0)
                method.use_task(0)
                method.restore()
                method.use_task(None)
                method.scores(batch(0, 0)[0], "entropy")
            train_step(method, 1, step)
        method.end_task()
    assert not differing(everything(straight), everything(interrupted))


@both
def test_whatever_writes_into_weights_is_undone(name: str) -> None:
    method = make(name, net="batch norm")
    learn(method, 0)
    begin(method, 1)
    train_step(method, 1, 0)
    before = {k: v.clone() for k, v in method.model.state_dict().items()}
    trainable = {
        layer: method.shared.store(layer).mask & (owner == 0)
        for layer, owner in method.shared.owner.items()
    }
    with torch.no_grad():
        for layer, free in trainable.items():
            weight = method.shared.store(layer).weight
            weight[~free] += 1
    method.restore()
    after = method.model.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)
    method.use_task(0)
    answer = outputs(method, None)
    with torch.no_grad():
        for parameter in method.model.parameters():
            parameter.add_(1)
    method.restore()
    assert torch.equal(outputs(method, None), answer)


@both
def test_scores_leave_model_and_modes_as_they_were(name: str) -> None:
    method = make(name, net="batch norm")
    learn(method, 0)
    learn(method, 1)
    method.use_task(0)
    method.model.train()
    next(iter(method.model.children())).eval()
    modes = [module.training for module in method.model.modules()]
    before = everything(method)
    method.scores(batch(0, 0)[0], "max_softmax")
    assert not differing(before, everything(method))
    assert [module.training for module in method.model.modules()] == modes
    assert method.shared.loaded == 0


@both
def test_scores_of_an_oracle_are_the_logits_of_that_sub_network(name: str) -> None:
    method = make(name)
    for task in range(len(TASKS)):
        learn(method, task)
    x = torch.cat([batch(t, 999)[0] for t in range(len(TASKS))])
    for task, classes in enumerate(TASKS):
        expected = outputs(method, task)
        scores = method.scores(x, "oracle", task=task)
        own = list(classes) if name == "DSTMasks" else list(range(6))
        assert torch.equal(scores[:, own], expected[:, own])
        others = [c for c in range(6) if c not in own]
        assert bool((scores[:, others] == -1e4).all())


@both
def test_routing_must_be_named(name: str) -> None:
    method = make(name)
    learn(method, 0)
    x = batch(0, 0)[0]
    with pytest.raises(TypeError, match="routing"):
        method.scores(x)  # type: ignore[call-arg]
    with pytest.raises(InvalidArgumentError, match="must be told the task"):
        method.scores(x, routing="oracle")
    with pytest.raises(InvalidArgumentError, match="finds the cell by itself"):
        method.scores(x, routing="entropy", task=0)


# Models that change


@both
def test_a_classifier_that_gains_rows_keeps_what_was_learnt(name: str) -> None:
    method = make(name)
    learn(method, 0)
    old, part = outputs(method, 0), method.shared.finished[0]
    masks = {layer: mask.clone() for layer, mask in part.masks.items()}
    replace_head(method, 9)
    torch.testing.assert_close(outputs(method, 0)[:, :6], old)
    assert torch.equal(part.masks["4"][:6], masks["4"])
    assert not bool(part.masks["4"][6:].any())
    assert [s.shape for s in method.shared.shapes()][-1] == (9, 16)
    learn(method, 1)
    torch.testing.assert_close(outputs(method, 0)[:, :6], old)
    assert not method.shared.store("4").has_stray_weights()


@pytest.mark.parametrize("name", ["ConceptCells", *GROWTHS])
def test_a_classifier_may_gain_rows_in_the_middle_of_a_task(name: str) -> None:
    method = make("ConceptCells")
    if name != "ConceptCells":
        model = NETS["mlp"]()
        method = DSTMasks(
            model, OPTIMIZERS["AdamW"](model), n_classes=9, update_interval=2, grow=name
        )
    learn(method, 0)
    begin(method, 1)
    for step in range(3):
        train_step(method, 1, step)
    now = outputs(method, None)
    for loaded, rows in ((0, 8), (None, 9)):
        method.use_task(loaded)
        wide = replace_head(method, rows)
        method.use_task(None)
        method.restore()
        torch.testing.assert_close(outputs(method, None)[:, :6], now)
        assert not bool(wide.weight[6:].any())
    for step in range(3, STEPS):
        train_step(method, 1, step)
    method.end_task()
    assert not bool(wide.weight[6:].any())


def test_a_layer_may_not_lose_rows() -> None:
    method = make()
    learn(method, 0)
    replace_head(method, 3)
    with pytest.raises(UnsupportedError, match=r"had shape \(6, 16\) and has \(3, 16\)"):
        method.use_task(0)


class Heads(nn.Module):
    """A head per task, made when the task comes."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(9, 16)
        self.heads = nn.ModuleDict({"0": nn.Linear(16, 6)})
        self.active = "0"

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.heads[self.active](self.body(x).relu())
        return out


def test_a_head_that_comes_later_is_taken_up() -> None:
    model = Heads()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    cells = ConceptCells(model, optimizer, n_classes=6, density=0.4)
    learn(cells, 0)
    old = outputs(cells, 0)
    model.heads["1"] = nn.Linear(16, 6)
    optimizer.add_param_group({"params": list(model.heads["1"].parameters())})
    model.active = "1"
    learn(cells, 1)
    assert set(cells.connections()) == {"body", "heads.0", "heads.1"}
    model.active = "0"
    assert torch.equal(outputs(cells, 0), old)
    cells.use_task(0)
    assert not bool(cells.shared.store("heads.1").weight.any())
    assert not bool(cells.shared.masks()["heads.1"].any())


# Reports


def test_counts_costs_and_owners_of_a_small_case() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten(), nn.Linear(8, 3))
    cells = ConceptCells(model, torch.optim.SGD(model.parameters(), lr=0.1), n_classes=3)
    conv, head = (torch.zeros(8, dtype=torch.bool), torch.zeros(24, dtype=torch.bool))
    conv[:4], head[:6] = True, True
    shared = cells.shared
    shared.begin({"0": conv.view(2, 1, 2, 2), "2": head.view(3, 8)})
    shared.finish()
    cells.tasks.append((0, 1))
    conv[2:6] = True
    shared.begin({"0": conv.view(2, 1, 2, 2), "2": head.view(3, 8)})
    cells.current = (2,)
    assert cells.connections() == {"0": 6, "2": 6}
    owners = cells.owners()
    assert owners["0"].tolist() == [[1, 1, 1, 1], [2, 2, 0, 0]]
    assert owners["2"].shape == (3, 8)
    assert owners["2"].dtype == torch.int16
    memory = cells.memory()
    assert (memory.weights, memory.dense_weights, memory.biases) == (12, 32, 2 * (2 + 3))
    assert (memory.value_bytes, memory.index_bytes) == (4 * 22, 4 * (4 + 6 + 6 + 6))
    assert memory.bitmap_bytes == 2 * 4
    x = torch.zeros(5, 1, 3, 3)
    # A kernel is used at 4 positions.
    assert cells.dense_flops(x) == 2 * (8 * 4 + 24)
    assert cells.flops(x) == 2 * (6 * 4 + 6)
    assert cells.flops(x, task=0) == 2 * (4 * 4 + 6)
    assert cells.flops(x, task=1) == 2 * (6 * 4 + 6)


# Checkpoints


def reread(state: dict[str, Any]) -> dict[str, Any]:
    """What a file written by torch.save gives back without executing code."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    content: dict[str, Any] = torch.load(file, weights_only=True)
    return content


def moved(method: Method, name: str, optimizer: str, net: str) -> Method:
    """A new method, model and optimizer with the state of an old one, by way of a file."""
    saved = reread(
        {
            "model": method.model.state_dict(),
            "optimizer": method.optimizer.state_dict(),
            "method": method.state_dict(),
        }
    )
    torch.manual_seed(77)
    model = NETS[net]()
    fresh = METHODS[name](model, OPTIMIZERS[optimizer](model))
    model.load_state_dict(saved["model"])
    fresh.optimizer.load_state_dict(saved["optimizer"])
    fresh.load_state_dict(saved["method"])
    return fresh


@both
@every_optimizer
@pytest.mark.parametrize("net", ["mlp", "convolutional"])
def test_two_tasks_a_checkpoint_and_a_third_equal_three_tasks(
    name: str, optimizer: str, net: str
) -> None:
    straight, resumed = make(name, optimizer, net), make(name, optimizer, net)
    for task in range(2):
        learn(straight, task)
        learn(resumed, task)
    resumed = moved(resumed, name, optimizer, net)
    assert (resumed.tasks, resumed.current) == (straight.tasks, None)
    assert torch.equal(outputs(resumed, 0), outputs(straight, 0))
    learn(straight, 2)
    learn(resumed, 2)
    assert not differing(everything(straight), everything(resumed))
    assert not differing(straight.owners(), resumed.owners())


@both
@every_optimizer
def test_a_checkpoint_in_the_middle_of_a_task_continues_bit_for_bit(
    name: str, optimizer: str
) -> None:
    straight, resumed = (make(name, optimizer, "batch norm") for _ in range(2))
    for method in (straight, resumed):
        learn(method, 0)
        begin(method, 1)
    for step in range(STEPS):
        if step in (1, 3, 7):
            resumed = moved(resumed, name, optimizer, "batch norm")
        train_step(straight, 1, step)
        train_step(resumed, 1, step)
    straight.end_task()
    resumed.end_task()
    assert not differing(everything(straight), everything(resumed))


@both
def test_copies_go_separate_ways(name: str) -> None:
    method = make(name)
    learn(method, 0)
    twin, before = copy.deepcopy(method), everything(method)
    learn(twin, 1)
    assert not differing(before, everything(method))
    learn(method, 1)
    assert not differing(everything(twin), everything(method))


@both
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(name: str) -> None:
    method, other = make(name), make(name, net="residual")
    learn(method, 0)
    begin(method, 1)
    train_step(method, 1, 0)
    before, state = everything(method), method.state_dict()
    damaged = reread(state)
    damaged["content"]["weights"]["0"] = torch.zeros(2, 2)
    halved = reread(state)
    del halved["content"]["finished"]
    for wrong, message in (
        (damaged, r"weights of 0 do not have shape \(24, 9\)"),
        (halved, "damaged or foreign"),
        (reread(state) | {"content": state["content"] | {"finished": [3]}}, "damaged"),
        (other.state_dict(), "this model has 0, 2, 4"),
        (state | {"content": None}, "damaged or foreign"),
        (state | {"settings": state["settings"] | {"seed": 2}}, "seed=2 there and 1 here"),
    ):
        with pytest.raises(CheckpointError, match=message):
            method.load_state_dict(wrong)
        assert not differing(before, everything(method))
        assert (method.tasks, method.current) == ([TASKS[0]], TASKS[1])


def test_the_state_of_another_method_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"of ConceptCells, this is DSTMasks"):
        make("DSTMasks").load_state_dict(make("ConceptCells").state_dict())


@both
def test_a_running_task_needs_the_model_of_its_checkpoint(name: str) -> None:
    method = make(name)
    learn(method, 0)
    begin(method, 1)
    state = method.state_dict()
    with pytest.raises(CheckpointError, match=r"load model.state_dict\(\) of the same moment"):
        make(name).load_state_dict(state)
    method.use_task(0)
    with pytest.raises(StateError, match=r"use_task\(None\)"):
        method.state_dict()


# Errors


@both
def test_calls_at_the_wrong_time_are_refused(name: str) -> None:
    method = make(name)
    x, y = batch(0, 0)
    with pytest.raises(StateError, match="no task"):
        method.logits(method.model(x), y)
    with pytest.raises(StateError, match="begin_task"):
        method.end_task()
    with pytest.raises(StateError, match="no task is finished"):
        method.scores(x, "entropy")
    backward(F.cross_entropy(method.model(x), y))
    with pytest.raises(StateError, match="begin_task"):
        method.optimizer.step()
    learn(method, 0)
    begin(method, 1)
    with pytest.raises(StateError, match="end_task"):
        begin(method, 2)
    method.use_task(0)
    backward(F.cross_entropy(method.model(x), y))
    for call in (method.optimizer.step, method.end_task):
        with pytest.raises(StateError, match=r"holds the sub-network of task 0"):
            call()


@both
def test_unknown_tasks_and_classes_are_refused(name: str) -> None:
    method = make(name)
    learn(method, 0)
    for task in (1, -1, True):
        with pytest.raises(InvalidArgumentError, match="1 finished tasks"):
            method.use_task(task)
    before = everything(method)
    keywords: dict[str, Any] = {"steps": 5} if name == "DSTMasks" else {}
    for classes in ([6], [3, 3], [], [-1]):
        with pytest.raises(InvalidArgumentError, match="classes must be"):
            method.begin_task(classes, **keywords)
        assert not differing(before, everything(method))
    begin(method, 1)
    x, _ = batch(1, 0)
    with pytest.raises(InvalidArgumentError, match=r"labels \[3\]"):
        method.logits(method.model(x), torch.full((16,), 3))


def test_models_that_cannot_be_masked_are_refused() -> None:
    recurrent = nn.LSTM(3, 4)
    with pytest.raises(UnsupportedError, match="weight_ih_l0 of LSTM"):
        Subnetworks(recurrent, torch.optim.SGD(recurrent.parameters(), lr=0.1))
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    cells = ConceptCells(
        model, torch.optim.SGD(model.parameters(), lr=0.1), n_classes=2, density=0.5
    )
    with pytest.raises(UnsupportedError, match="does not hold the weight of 0"):
        cells.attach(torch.optim.SGD(model[1].parameters(), lr=0.1))
    with pytest.raises(UnsupportedError, match="LBFGS"):
        make().attach(torch.optim.LBFGS(mlp_parameters()))


def mlp_parameters() -> list[nn.Parameter]:
    return list(NETS["mlp"]().parameters())


@pytest.mark.parametrize(
    ("settings_", "error", "message"),
    [
        ({"density": 0.0}, InvalidArgumentError, r"density must be a number in \(0, 1\]"),
        ({"density": 1e-4}, InfeasibleDensityError, "choose a density in"),
        ({"n_classes": 0}, InvalidArgumentError, "n_classes must be an integer >= 1"),
        ({"seed": -1}, InvalidArgumentError, "seed must be an integer >= 0"),
        ({"allocation": "even"}, InvalidArgumentError, "unknown allocation 'even'"),
    ],
)
@both
def test_settings_out_of_range_are_refused(
    name: str, settings_: dict[str, Any], error: type[Exception], message: str
) -> None:
    model = NETS["mlp"]()
    optimizer = OPTIMIZERS["SGD"](model)
    kind = type(make(name))
    with pytest.raises(error, match=message):
        kind(model, optimizer, **({"n_classes": 6} | settings_))
    assert not list(model.buffers())
    METHODS[name](model, optimizer)


# Randomness


@both
def test_the_global_generators_are_not_touched(name: str) -> None:
    method = make(name)
    before = torch.random.get_rng_state()
    learn(method, 0)
    method.scores(batch(0, 0)[0], "entropy")
    assert torch.equal(torch.random.get_rng_state(), before)


@settings(max_examples=10)
@given(st.integers(0, 10**6))
def test_masks_depend_on_the_seed_and_the_task_alone(seed: int) -> None:
    drawn = []
    for start in (1, 2):
        torch.manual_seed(start)
        model = NETS["mlp"]()
        cells = ConceptCells(model, OPTIMIZERS["SGD"](model), n_classes=6, density=0.4, seed=seed)
        masks = []
        for task in range(2):
            begin(cells, task)
            masks.append(cells.shared.masks())
            cells.end_task()
        assert differing(*masks)
        drawn.append(masks)
    assert not differing(drawn[0][0], drawn[1][0])
    assert not differing(drawn[0][1], drawn[1][1])
