"""Masks move inside a task; what they do is compared with slow, obvious statements of it."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from sparsewire.continual.dst_masks import DSTMasks
from sparsewire.continual.dst_rules import DROPS, GROWTHS, Rules, grow_unfired, plan_update
from sparsewire.core.allocation import resolve_allocation
from sparsewire.core.budget import LayerShape
from sparsewire.core.criteria import DenseGradient, LayerView, drop_count
from sparsewire.core.errors import CheckpointError, InvalidArgumentError, NonFiniteError
from sparsewire.core.optimizer import state_tensors
from tests.continual.subnetwork_helpers import (
    NETS,
    OPTIMIZERS,
    STEPS,
    TASKS,
    backward,
    batch,
    differing,
    learn,
    outputs,
    train_step,
)

EVERY = 3


def make(net: str = "mlp", optimizer: str = "Adam, weight decay", **settings: Any) -> DSTMasks:
    torch.manual_seed(3)
    model = NETS[net]()
    chosen: dict[str, Any] = {"density": 0.4, "update_interval": EVERY} | settings
    return DSTMasks(model, OPTIMIZERS[optimizer](model), n_classes=6, **chosen)


# One update of a task


@pytest.mark.parametrize("drop", DROPS)
@pytest.mark.parametrize("grow", GROWTHS)
@pytest.mark.parametrize("net", ["mlp", "convolutional"])
def test_counts_stay_and_changed_places_begin_anew(drop: str, grow: str, net: str) -> None:
    method = make(net, drop=drop, grow=grow)
    learn(method, 0)
    method.begin_task(TASKS[1], steps=STEPS)
    shared = method.shared
    counts = {layer: int(mask.sum()) for layer, mask in shared.masks().items()}
    moved = reused = 0
    for step in range(STEPS):
        before = shared.masks()
        train_step(method, 1, step)
        for layer, mask in shared.masks().items():
            store = shared.store(layer)
            assert int(mask.sum()) == counts[layer]
            changed, grown = mask ^ before[layer], mask & ~before[layer]
            assert bool(changed.any()) <= (step + 1 in (3, 6, 9))
            owned = shared.owner[layer] > 0
            assert bool((store.weight[grown & ~owned] == 0).all())
            assert torch.equal(store.weight[grown & owned], shared.weights[layer][grown & owned])
            for tensor in state_tensors(method.optimizer, store.weight):
                assert bool((tensor[changed] == 0).all())
            moved += int(grown.sum())
            reused += int((grown & owned).sum())
    method.end_task()
    assert moved > reused > 0
    finished = shared.finished[1].masks
    assert {layer: int(mask.sum()) for layer, mask in finished.items()} == counts


@pytest.mark.parametrize("grow", GROWTHS)
def test_what_is_trained_is_what_is_tested(grow: str) -> None:
    # The last update may grow onto weights of old tasks just before the task ends.
    method = make(grow=grow, drop_fraction=0.9, final_drop_fraction=0.9)
    learn(method, 0)
    for task in (1, 2):
        method.begin_task(TASKS[task], steps=STEPS)
        for step in range(9):
            train_step(method, task, step)
        trained = outputs(method, None)
        method.end_task()
        assert torch.equal(outputs(method, task), trained)


def test_updates_follow_the_interval_and_none_follows_the_last_step() -> None:
    for steps, expected in ((STEPS, [3, 6, 9]), (10, [3, 6, 9]), (3, []), (1, [])):
        method = make(drop_fraction=0.5, final_drop_fraction=0.5)
        method.begin_task(TASKS[0], steps=steps)
        seen = []
        for step in range(steps + 4):  # the user may go on for longer than announced
            before = method.shared.masks()
            train_step(method, 0, step)
            if differing(before, method.shared.masks()):
                seen.append(step + 1)
        assert seen == expected


def test_the_drop_fraction_falls_along_half_a_cosine() -> None:
    method = make(
        density=0.5, grow="unfired", update_interval=10, drop_fraction=0.6, final_drop_fraction=0.1
    )
    method.begin_task(TASKS[0], steps=41)
    for step in range(41):
        before = method.shared.masks()["0"]
        train_step(method, 0, step)
        done = step + 1
        if done % 10 == 0:
            changed = int((before & ~method.shared.masks()["0"]).sum())
            fraction = 0.1 + 0.5 * (1 + math.cos(math.pi * done / 41)) / 2
            expected = drop_count(108, fraction)
            # Dropped ones may be grown again once every place has been tried.
            assert changed <= expected
            if done == 10:
                assert changed == expected
                assert int(method.shared.masks()["0"].sum()) == 108


@pytest.mark.parametrize("density", [0.2, 0.5])
@pytest.mark.parametrize("allocation", ["uniform", "erk"])
def test_counts_are_those_of_the_allocation(allocation: str, density: float) -> None:
    method = make(density=density, allocation=allocation)
    method.begin_task((1, 4), steps=5)
    shapes = [LayerShape("0", (24, 9)), LayerShape("2", (16, 24)), LayerShape("4", (6, 16))]
    total = round(density * (24 * 9 + 16 * 24 + 6 * 16))
    expected = resolve_allocation(allocation).counts(shapes, total)
    # Of the classifier, two rows of six.
    expected["4"] = round(expected["4"] * 2 / 6)
    assert method.connections() == expected


@pytest.mark.parametrize("grow", GROWTHS)
def test_only_rows_of_the_task_have_connections_in_the_classifier(grow: str) -> None:
    method = make(grow=grow, drop_fraction=0.8)
    for task, classes in enumerate(TASKS):
        learn(method, task)
        mask = method.shared.finished[task].masks["4"]
        rows = mask.any(dim=1).nonzero().squeeze(1).tolist()
        assert rows == sorted(classes)
        assert not bool(((method.shared.owner["4"] == task + 1) & ~mask).any())


def test_a_last_layer_without_a_row_per_class_is_masked_as_a_whole() -> None:
    model = nn.Sequential(nn.Linear(4, 20), nn.ReLU(), nn.Linear(20, 40))
    method = DSTMasks(model, OPTIMIZERS["SGD"](model), n_classes=6, density=0.3)
    method.begin_task((0, 1), steps=3)
    assert method.connections() == {"0": 24, "2": 240}


# The rules

LAYER = (5, 6)


def view_of(seed: int, *, gradient: bool = True) -> LayerView:
    generator = torch.Generator().manual_seed(seed)
    active = torch.randperm(30, generator=generator)[:12].sort().values
    values = torch.randn(12, generator=generator)
    dense = DenseGradient(torch.randn(30, generator=generator)) if gradient else None
    return LayerView("demo", LAYER, active, values, dense)


def planned(
    seed: int, drop: str, grow: str, fraction: float, **more: Any
) -> tuple[LayerView, set[int], set[int]]:
    view = view_of(seed)
    seen = torch.zeros(LAYER, dtype=torch.bool)
    seen.view(-1)[view.active] = True
    rules = Rules(drop, grow, more.pop("seen", seen), more.pop("mean", None))
    plan = plan_update(view, rules, fraction, torch.Generator().manual_seed(seed), **more)
    return view, set(plan.dropped.tolist()), set(plan.grown.tolist())


seeds = st.integers(0, 2**31)
fractions = st.sampled_from([0.0, 0.1, 0.3, 0.5])


@given(seeds, fractions)
def test_taylor_drops_the_smallest_products_of_weight_and_gradient(
    seed: int, fraction: float
) -> None:
    view, dropped, grown = planned(seed, "taylor", "unfired", fraction)
    assert isinstance(view.gradient, DenseGradient)
    merit = (view.values * view.gradient.values[view.active]).abs().tolist()
    order = sorted(range(12), key=lambda i: merit[i])
    expected = {int(view.active[i]) for i in order[: drop_count(12, fraction)]}
    assert dropped == expected
    assert len(grown) == len(dropped)


@given(seeds, fractions)
def test_magnitude_and_set_drop_the_smallest_weights(seed: int, fraction: float) -> None:
    view, dropped, _ = planned(seed, "magnitude", "unfired", fraction)
    order = sorted(range(12), key=lambda i: abs(float(view.values[i])))
    assert dropped == {int(view.active[i]) for i in order[: drop_count(12, fraction)]}
    _, dropped, _ = planned(seed, "set", "unfired", fraction)
    expected = set()
    for sign in (1, -1):
        side = [i for i in order if sign * float(view.values[i]) > 0]
        expected |= {int(view.active[i]) for i in side[: drop_count(len(side), fraction)]}
    assert dropped == expected


@given(seeds, fractions, st.booleans())
def test_growth_takes_the_largest_gradients_of_one_batch_or_of_the_mean(
    seed: int, fraction: float, momentum: bool
) -> None:
    mean = torch.randn(30, generator=torch.Generator().manual_seed(seed + 1))
    view, dropped, grown = planned(
        seed, "magnitude", "momentum" if momentum else "gradient", fraction, mean=mean
    )
    assert isinstance(view.gradient, DenseGradient)
    merit = (mean if momentum else view.gradient.values).abs().tolist()
    order = sorted(range(12), key=lambda i: abs(float(view.values[i])))
    count = drop_count(12, fraction)
    went = {int(view.active[i]) for i in order[:count]}
    candidates = (set(range(30)) - set(view.active.tolist())) | went
    best = set(sorted(candidates, key=lambda p: -merit[p])[:count])
    # Those that go and come again stay as they are.
    assert dropped == went - best
    assert grown == best - went


@given(seeds, st.integers(12, 30))
def test_unfired_growth_prefers_what_was_never_active(seed: int, tried: int) -> None:
    view = view_of(seed)
    others = [p for p in range(30) if p not in set(view.active.tolist())]
    seen = torch.zeros(30, dtype=torch.bool)
    seen[view.active] = True
    seen[torch.tensor(others[: tried - 12], dtype=torch.int64)] = True
    unfired = set((~seen).nonzero().squeeze(1).tolist())
    kept = view.active[:5]
    grown = grow_unfired(seen, view, kept, 7, torch.Generator().manual_seed(seed))
    found = grown.tolist()
    assert found == sorted(set(found))
    assert len(found) == 7
    assert not set(found) & set(kept.tolist())
    assert len(set(found) & unfired) == min(7, len(unfired))


@given(seeds, st.sampled_from(DROPS), st.sampled_from(GROWTHS), fractions)
def test_nothing_grows_where_nothing_may_be(
    seed: int, drop: str, grow: str, fraction: float
) -> None:
    view = view_of(seed)
    allowed = torch.tensor(sorted({*view.active.tolist(), 0, 1, 2, 28, 29}))
    mean = torch.randn(30, generator=torch.Generator().manual_seed(seed))
    _, dropped, grown = planned(seed, drop, grow, fraction, allowed=allowed, mean=mean)
    assert dropped <= set(view.active.tolist())
    assert grown <= set(allowed.tolist()) - set(view.active.tolist())
    assert len(grown) == len(dropped)


@pytest.mark.parametrize(("drop", "grow"), [("taylor", "random"), ("magnitude", "gradient")])
def test_rules_that_lack_a_gradient_change_nothing(drop: str, grow: str) -> None:
    view = view_of(0, gradient=False)
    rules = Rules(drop, grow, torch.zeros(LAYER, dtype=torch.bool))
    plan = plan_update(view, rules, 0.5, torch.Generator())
    assert plan.dropped.numel() == plan.grown.numel() == 0


def dense_gradients(method: DSTMasks, step: int) -> dict[str, Tensor]:
    """Gradients of the loss for all weights of the model as it is."""
    x, y = batch(0, step)
    method.optimizer.zero_grad()
    backward(F.cross_entropy(method.logits(method.model(x), y), y))
    found = {}
    for layer in method.shared.weights:
        gradient = method.shared.store(layer).weight.grad
        assert gradient is not None
        found[layer] = gradient.clone()
    return found


def test_gradient_growth_sees_the_dense_gradient_of_the_last_batch() -> None:
    method = make(grow="gradient", optimizer="SGD", drop_fraction=0.3)
    method.begin_task(TASKS[0], steps=STEPS)
    for step in range(EVERY):
        before = method.shared.masks()["0"]
        gradient = dense_gradients(method, step)["0"].abs()
        method.optimizer.step()
    after = method.shared.masks()["0"]
    grown, left_out = after & ~before, ~after & ~before
    assert int(grown.sum()) > 0
    assert float(gradient[grown].min()) >= float(gradient[left_out].max())


def test_momentum_growth_sees_the_mean_of_dense_gradients() -> None:
    method = make(grow="momentum", optimizer="SGD", drop_fraction=0.3)
    method.begin_task(TASKS[0], steps=STEPS)
    mean = torch.zeros(24, 9)
    for step in range(EVERY):
        before = method.shared.masks()["0"]
        mean = 0.9 * mean + 0.1 * dense_gradients(method, step)["0"]
        method.optimizer.step()
    after = method.shared.masks()["0"]
    grown, left_out = after & ~before, ~after & ~before
    assert int(grown.sum()) > 0
    assert float(mean.abs()[grown].min()) >= float(mean.abs()[left_out].max()) * (1 - 1e-5)


def test_gradients_that_are_not_finite_stop_an_update_before_the_step() -> None:
    method = make(grow="gradient", optimizer="SGD")
    method.begin_task(TASKS[0], steps=STEPS)
    for step in range(EVERY - 1):
        train_step(method, 0, step)
    before = {k: v.clone() for k, v in method.model.state_dict().items()}
    dense_gradients(method, EVERY)
    weight = method.shared.store("2").weight
    assert weight.grad is not None
    weight.grad[0, 0] = torch.nan
    with pytest.raises(NonFiniteError, match=r"2\.weight"):
        method.optimizer.step()
    assert not differing(before, dict(method.model.state_dict()))


def test_damaged_counts_of_steps_are_refused() -> None:
    method = make()
    state = method.state_dict()
    state["content"]["progress"] = [1.5, 2]
    with pytest.raises(CheckpointError, match=r"counts of steps are damaged: \[1.5, 2\]"):
        method.load_state_dict(state)


# The loss


def test_the_loss_is_that_of_the_tasks_own_slice() -> None:
    method = make()
    method.begin_task((4, 2), steps=1)
    output = torch.randn(8, 6, requires_grad=True)
    y = torch.tensor([4, 2, 2, 4, 4, 4, 2, 2])
    loss = F.cross_entropy(method.logits(output, y), y)
    backward(loss)
    own = output.detach()[:, [4, 2]].requires_grad_()
    reference = F.cross_entropy(own, (y == 2).long())
    backward(reference)
    torch.testing.assert_close(loss, reference)
    assert output.grad is not None
    assert own.grad is not None
    torch.testing.assert_close(output.grad[:, [4, 2]], own.grad)
    assert bool((output.grad[:, [0, 1, 3, 5]] == 0).all())


def test_replayed_labels_bring_their_classes_into_the_loss() -> None:
    method = make()
    learn(method, 0)
    method.begin_task((4, 2), steps=1)
    output = torch.randn(3, 6)
    logits = method.logits(output, torch.tensor([4, 2, 1]))
    assert (logits == -1e4).any(0).tolist() == [False, False, False, True, False, True]


# Settings


@pytest.mark.parametrize("steps", [None, 0, 2.5, "9", True])
def test_the_number_of_steps_must_be_given(steps: Any) -> None:
    method = make()
    with pytest.raises(InvalidArgumentError, match="steps"):
        method.begin_task((0, 1), steps=steps)
    assert method.current is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"drop": "smallest"}, "drop must be one of magnitude, set, taylor, got 'smallest'"),
        ({"grow": "randm"}, "Did you mean 'random'"),
        ({"update_interval": 0}, "update_interval must be an integer >= 1"),
        ({"drop_fraction": 1.5}, r"must be a number in \[0, 1\], got 1.5"),
        ({"final_drop_fraction": -1}, r"must be a number in \[0, 1\], got -1"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        make(**settings)


@pytest.mark.parametrize("grow", GROWTHS)
def test_equal_seeds_give_equal_runs_and_others_do_not(grow: str) -> None:
    runs = []
    for seed in (5, 5, 6):
        method = make(grow=grow, seed=seed)
        for task in range(2):
            learn(method, task)
        runs.append(method.shared.finished[1].masks)
    assert not differing(runs[0], runs[1])
    assert set(differing(runs[0], runs[2])) == {"0", "2", "4"}
