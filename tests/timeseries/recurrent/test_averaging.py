"""Does the averaging begin, run and start anew as it should? Closed forms and a slow twin."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import sparsewire
from sparsewire.core import InvalidArgumentError, StateError
from sparsewire.timeseries.recurrent import SNTASGD

STEPS = [1.0, 2.0, 4.0, 8.0, 16.0]


def walk(weight: nn.Parameter, optimizer: SNTASGD, gradients: list[float]) -> None:
    for gradient in gradients:
        weight.grad = torch.full_like(weight, gradient)
        optimizer.step()


def average(optimizer: SNTASGD, weight: nn.Parameter) -> float:
    with optimizer.averaged():
        return float(weight.detach().flatten()[0])


def started(weight: nn.Parameter, **options: Any) -> SNTASGD:
    optimizer = SNTASGD([weight], **{"lr": 1.0, "n_checks": 1, **options})
    assert optimizer.check(1.0) is False
    assert optimizer.check(2.0) is False  # there is none but the latest one to compare with
    assert optimizer.check(3.0) is True
    return optimizer


def test_averaging_begins_when_all_but_the_latest_checks_were_better() -> None:
    losses = [5.0, 4.0, 3.0, 3.5, 3.6, 3.7, 3.8, 2.9, 3.9, 3.2, 9.0, 1.0]
    optimizer = SNTASGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    said = [optimizer.check(loss) for loss in losses]
    expected, began = [], False
    for i, loss in enumerate(losses):
        began = began or (i > 5 and loss > min(losses[: i - 5]))
        expected.append(began)
    assert said == expected
    assert said.index(True) == 8  # 3.9 against 5, 4, 3


def test_the_average_is_the_mean_of_the_weights_from_the_second_step_on() -> None:
    weight = nn.Parameter(torch.zeros(2))
    optimizer = started(weight)
    path = -np.cumsum(STEPS)
    for n in range(1, 6):
        walk(weight, optimizer, STEPS[n - 1 : n])
        expected = path[0] if n == 1 else path[1:n].mean()
        assert average(optimizer, weight) == pytest.approx(expected, rel=1e-6)
        assert float(weight[0].detach()) == path[n - 1]


def test_before_averaging_it_is_plain_descent_with_weight_decay() -> None:
    ours, theirs = (nn.Parameter(torch.tensor([3.0, -2.0])) for _ in range(2))
    optimizer = SNTASGD([ours], lr=0.1, weight_decay=0.2)
    plain = torch.optim.SGD([theirs], lr=0.1, weight_decay=0.2)
    for gradient in STEPS:
        ours.grad = theirs.grad = torch.full((2,), gradient)
        optimizer.step()
        plain.step()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    assert average(optimizer, ours) == float(ours[0].detach())
    assert not optimizer.state


def test_the_average_of_a_connection_starts_anew_when_it_is_reborn() -> None:
    """A slow twin keeps a list of values for every weight, emptied at its birth and death."""
    model = nn.Linear(8, 6)
    optimizer = SNTASGD(model.parameters(), lr=0.05, n_checks=1)
    for loss in (1.0, 2.0, 3.0):
        optimizer.check(loss)
    method = sparsewire.SET(update_interval=4, drop="magnitude")
    handle = sparsewire.sparsify(model, optimizer, density=0.4, method=method)
    values: dict[int, list[float]] = {k: [] for k in range(48)}
    for step in range(30):
        before, updates = handle.masks()["weight"].flatten(), handle.updates
        model.zero_grad()
        model(torch.sin(torch.arange(80.0).view(10, 8) * (step + 1))).square().sum().backward()
        optimizer.step()
        mask, weight = handle.masks()["weight"].flatten(), model.weight.detach().flatten()
        for k in range(48):
            # A connection that was dropped and grown in one update has weight 0.
            reborn = handle.updates > updates and float(weight[k]) == 0.0
            if not mask[k] or not before[k] or reborn:
                values[k] = []
            else:
                values[k].append(float(weight[k]))
        with optimizer.averaged():
            found = model.weight.detach().flatten().tolist()
        for k, seen in values.items():
            expected = 0.0 if not seen else float(np.mean(seen[1:] or seen))
            assert found[k] == pytest.approx(expected, rel=1e-4, abs=1e-7)
    assert handle.updates == 7
    counts = {len(seen) for seen in values.values()}
    assert {0, 30} < counts  # some never died, and some were reborn in between
    assert len(counts) > 3


def test_evaluation_leaves_weights_and_training_alone() -> None:
    one, two = (nn.Parameter(torch.tensor([0.3])) for _ in range(2))
    looking, blind = started(one, lr=0.1), started(two, lr=0.1)
    for gradient in STEPS:
        walk(one, looking, [gradient])
        walk(two, blind, [gradient])
        before = one.detach().clone()
        with pytest.raises(RuntimeError, match="evaluation"), looking.averaged():
            raise RuntimeError("evaluation failed")
        assert torch.equal(one.detach(), before)
    assert torch.equal(one, two)
    assert average(looking, one) == average(blind, two)


def test_the_weights_cannot_be_trained_or_averaged_while_they_are_averages() -> None:
    weight = nn.Parameter(torch.zeros(1))
    optimizer = started(weight)
    walk(weight, optimizer, STEPS)
    with optimizer.averaged():
        with pytest.raises(StateError, match="after `averaged`"):
            optimizer.step()
        with pytest.raises(StateError, match="already"), optimizer.averaged():
            pass
    optimizer.step()


def test_a_closure_is_called_and_parameters_without_gradient_stay() -> None:
    used, unused = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    optimizer = SNTASGD([used, unused], lr=0.5)

    def closure() -> float:
        optimizer.zero_grad()
        loss = used.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    assert optimizer.step(closure) == 1.0
    assert (float(used.detach()), float(unused.detach())) == (0.0, 1.0)


@pytest.mark.parametrize("moment", [1, 2, 4])
def test_a_run_continues_bit_for_bit_from_its_state(moment: int) -> None:
    weight = nn.Parameter(torch.tensor([0.1]))
    whole = started(weight, lr=0.3)
    walk(weight, whole, STEPS[:moment])
    resumed_weight = nn.Parameter(weight.detach().clone())
    resumed = SNTASGD([resumed_weight], lr=1.0)
    resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
    assert resumed.averaging
    for w, optimizer in ((weight, whole), (resumed_weight, resumed)):
        walk(w, optimizer, STEPS[moment:])
    assert torch.equal(weight, resumed_weight)
    assert average(whole, weight) == average(resumed, resumed_weight)


def test_the_trigger_continues_from_its_state() -> None:
    losses = [5.0, 4.0, 3.0, 3.5, 3.6, 3.7, 3.8, 2.9, 3.9]
    weight = nn.Parameter(torch.zeros(1))
    optimizer = SNTASGD([weight], lr=1.0)
    for loss in losses[:-1]:
        assert not optimizer.check(loss)
    resumed = SNTASGD([weight], lr=1.0)
    resumed.load_state_dict(optimizer.state_dict())
    assert resumed.check(losses[-1])


@pytest.mark.parametrize(("name", "value"), [("lr", 0.0), ("weight_decay", -1.0), ("n_checks", 0)])
def test_wrong_options_are_named(name: str, value: Any) -> None:
    options = {"lr": 1.0} | {name: value}
    with pytest.raises(InvalidArgumentError, match=name):
        SNTASGD([nn.Parameter(torch.zeros(1))], **options)


def test_a_loss_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="NaN"):
        SNTASGD([nn.Parameter(torch.zeros(1))], lr=1.0).check(float("nan"))
