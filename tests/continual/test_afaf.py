"""AFAF: the counts of its paper's network, and what its allocation may and may not touch."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sparsewire.continual.activations import mean_activations
from sparsewire.continual.afaf import AFAF
from sparsewire.continual.chain import Chain
from sparsewire.core.errors import InfeasibleDensityError, InvalidArgumentError, UnsupportedError
from tests.continual.isolation_helpers import (
    METHODS,
    OPTIMIZERS,
    OUTPUTS,
    TASKS,
    assert_same,
    batch,
    everything,
    learn,
    make,
    mlp,
    train_step,
)


def soft_mlp() -> nn.Sequential:
    """No unit is ever dead, so that no two mean activations tie."""
    return nn.Sequential(
        nn.Linear(16, 30),
        nn.Softplus(),
        nn.Linear(30, 25),
        nn.Softplus(),
        nn.Linear(25, 20),
        nn.Softplus(),
        nn.Linear(20, OUTPUTS),
    )


def learner(model: nn.Module | None = None, **more: Any) -> AFAF:
    torch.manual_seed(0)
    model = soft_mlp() if model is None else model
    settings_ = {"select": [8, 7, 3], "reserve": [2, 2, 3], "reuse_from": 1, "density": 0.4}
    optimizer = OPTIMIZERS["SGD"](model.parameters())
    return AFAF(model, optimizer, **({"shared_layers": 0} | settings_ | more))  # type: ignore[arg-type]


def data_of(classes: tuple[int, ...]) -> list[tuple[Tensor, Tensor]]:
    return [batch(classes, step) for step in range(3)]


def activations_of(method: AFAF, label: int, classes: tuple[int, ...]) -> list[Tensor]:
    """Mean activations of one class behind every nonlinearity, one example after the other."""
    totals: list[Tensor] = []
    examples = [x for xs, ys in data_of(classes) for x, y in zip(xs, ys, strict=True) if y == label]
    for example in examples:
        levels, hidden = [], example[None]
        assert isinstance(method.model, nn.Sequential)
        for module in method.model:
            hidden = module(hidden).detach()
            if isinstance(module, nn.Softplus):
                levels.append(hidden[0])
        totals = levels if not totals else [a + b for a, b in zip(totals, levels, strict=True)]
    return [total / len(examples) for total in totals]


# The paper's network


def paper_network() -> nn.Sequential:
    def layer(kind: type[nn.Module], *sizes: int) -> nn.Module:
        # Zeros are as good as random weights for counting, and much faster.
        made: nn.Module = nn.utils.skip_init(kind, *sizes)  # type: ignore[no-untyped-call]
        return made

    def convolution(inputs: int, outputs: int) -> nn.Module:
        return layer(nn.Conv2d, inputs, outputs, 3)

    def linear(inputs: int, outputs: int) -> nn.Module:
        return layer(nn.Linear, inputs, outputs)

    model = nn.Sequential(
        *(convolution(3, 64), nn.ReLU(), convolution(64, 128), nn.ReLU(), nn.MaxPool2d(2)),
        *(convolution(128, 256), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.2), nn.Flatten()),
        *(linear(36 * 256, 2048), nn.ReLU(), nn.Dropout(0.2)),
        *(linear(2048, 2048), nn.ReLU(), nn.Dropout(0.2), linear(2048, 10)),
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    return model


def test_the_counts_of_the_papers_network_are_exact() -> None:
    model = paper_network()
    method = AFAF(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert method.select == [44, 89, 179, 409, 204]
    assert method.reserve == [4, 8, 17, 122, 204]
    assert method.settings["shared_layers"] == 3
    method.begin_task([0, 1])
    assert list(method.connections().values()) == [33, 979, 3_982, 18_302, 20_859, 285]
    assert [layer.grid.block for layer in method.layers] == [9, 9, 9, 36, 1, 1]
    memory = method.memory()
    assert memory.weights == 724_962
    assert memory.dense_weights == 23_459_520
    example = torch.zeros(1, 3, 32, 32)
    assert method.dense_flops(example) / 2 == pytest.approx(124.9e6, rel=5e-4)
    assert method.flops(example) / 2 == pytest.approx(13.0e6, rel=5e-3)
    method.end_task()
    assert [int(units.sum()) for units in method.reserved] == [4, 8, 17, 122, 204]


# Reuse


@settings(max_examples=20)
@given(st.data())
def test_reuse_keeps_every_budget_and_touches_only_what_it_may(data: st.DataObject) -> None:
    share = data.draw(st.floats(0, 0.7))
    shared = data.draw(st.integers(0, 2))
    fraction = data.draw(st.floats(0, 1))
    method = learner(
        reuse_share=share,
        shared_layers=shared,
        rewire_fraction=fraction,
        seed=data.draw(st.integers(0, 9)),
        density=data.draw(st.floats(0.05, 0.5)),
    )
    for task, classes in enumerate(TASKS):
        reserved = [units.clone() for units in method.reserved]
        before = method.owners()
        try:
            method.begin_task(classes, data=data_of(classes))
        except InfeasibleDensityError:
            assert_untouched(method, before, task)
            return
        counts = {name: int((o == task + 1).sum()) for name, o in method.owners().items()}
        sizes = [16, *method.select, 2]
        for index, count in enumerate(counts.values()):
            budget = int(method.density[index] * sizes[index] * sizes[index + 1] + 1e-9)
            if task >= 1 and index < shared:
                assert count == 0
            else:
                assert count == max(budget, 1 if task < 1 else len(classes))
        for step in range(3):
            check_reuse(method, task, reserved, before, classes)
            assert counts == {n: int((o == task + 1).sum()) for n, o in method.owners().items()}
            train_step(method, *batch(classes, step))
            method.rewire()
        method.end_task()
        for old, new, quota in zip(reserved, method.reserved, method.reserve, strict=True):
            assert (new >= old).all()
            assert int(new.sum()) <= int(old.sum()) + quota


def assert_untouched(method: AFAF, before: dict[str, Tensor], task: int) -> None:
    assert all(torch.equal(before[name], owner) for name, owner in method.owners().items())
    assert method.current is None
    assert len(method.tasks) == task


def check_reuse(
    method: AFAF,
    task: int,
    reserved: list[Tensor],
    before: dict[str, Tensor],
    classes: tuple[int, ...],
) -> None:
    for index, (name, owner) in enumerate(method.owners().items()):
        mine = owner == task + 1
        assert torch.equal(owner.masked_fill(mine, 0), before[name])
        if index < len(reserved):
            assert not mine[reserved[index]].any()  # nothing new into a reserved unit
            assert not mine[~method.chosen[index]].any()
        else:
            rows = set(mine.nonzero()[:, 0].tolist())
            assert rows == set(classes) if task else rows <= set(classes)
        if index:
            assert not mine[:, ~method.chosen[index - 1]].any()
    last = method.chosen[-1]
    assert int(last.sum()) == method.select[-1]
    assert not (last & reserved[-1]).any()  # the last representation is the task's own


@pytest.mark.parametrize("seed", range(3))
def test_sources_are_the_units_that_the_class_excites_most_and_some_free_ones(seed: int) -> None:
    method = learner(select=[8, 7, 3], reuse_share=0.5, seed=seed)
    learn(method, TASKS[0])
    learn(method, TASKS[1])
    reserved = [units.clone() for units in method.reserved]
    used_one = 0
    excited = activations_of(method, 3, (3,))
    method.begin_task([3], data=data_of((3,)))
    for level, count in ((0, 4), (1, 3)):  # half of 8 and of 7, rounded down
        candidates = set(excited[level].topk(count).indices.tolist())
        chosen = set(method.chosen[level].nonzero().flatten().tolist())
        assert candidates <= chosen
        others = chosen - candidates
        assert len(others) == (4 if level == 0 else 3)
        assert not any(reserved[level][unit] for unit in others)
        used_one += sum(bool(reserved[level][unit]) for unit in candidates)
    assert used_one > 0  # reserved units are reused as sources
    # Targets of a layer are the sources of the one above that are free.
    for level in (0, 1, 2):
        into = (method.layers[level].owner == 3).any(1)
        assert not into[reserved[level] | ~method.chosen[level]].any()


def test_no_unit_that_stays_constant_is_drawn_from_a_shared_layer() -> None:
    for seed in range(5):
        method = learner(shared_layers=2, select=[8, 7, 3], seed=seed, reuse_share=0.3)
        learn(method, TASKS[0])
        excited = activations_of(method, 2, (2,))[1].topk(2).indices.tolist()
        method.begin_task([2], data=data_of((2,)))
        reached = (method.layers[1].owner > 0).any(1)
        drawn = [u for u in method.chosen[1].nonzero().flatten().tolist() if u not in excited]
        assert len(drawn) > 0
        assert reached[drawn].all()
        assert not method.chosen[0].any()


def test_every_class_gets_its_share_of_connections_and_its_own_sources() -> None:
    method = learner(density=0.3, select=[8, 7, 5], reserve=[2, 2, 2])
    learn(method, TASKS[0])
    method.begin_task((7, 5, 6), data=data_of((5, 6, 7)))
    head = method.owners()["6"] == 2
    budget = int(0.3 * 5 * 3)
    assert sorted(head.sum(1).tolist(), reverse=True)[:3] == [2, 1, 1]
    assert int(head.sum()) == budget
    assert head[5].sum() == 2  # the remainder goes to the first classes
    excited = {label: activations_of(method, label, (5, 6, 7)) for label in (5, 6, 7)}
    for label in (5, 6, 7):
        for level, count in ((0, 2), (1, 2)):
            best = excited[label][level].topk(count).indices
            assert method.chosen[level][best].all()


def test_units_count_by_their_outgoing_connections() -> None:
    method = learner(reuse_from=3)
    method.begin_task(TASKS[0])
    expected = [torch.zeros(layer.grid.columns) for layer in method.layers]
    for step in range(3):
        train_step(method, *batch(TASKS[0], step))
        for index, importance in enumerate(method.importance):
            dense = torch.zeros(method.layers[index].grid.shape).flatten()
            dense[importance.connections] = importance.total
            expected[index] += dense.view(method.layers[index].grid.shape).sum(0)
    method.rewire()
    for found, units in zip(method.unit_importance, expected, strict=True):
        torch.testing.assert_close(found, units)


def test_a_connection_dropped_may_grow_again_in_the_same_round() -> None:
    method = learner(density=1.0, reuse_from=5, rewire_fraction=0.5)
    method.begin_task(TASKS[0])
    train_step(method, *batch(TASKS[0], 0))
    region = method._region(1)
    candidates = method._candidates(1, region, region[:2])
    assert candidates.tolist() == region[:2].tolist()


def test_the_first_tasks_are_allocated_as_in_spacenet() -> None:
    method = learner(reuse_from=2)
    method.begin_task(TASKS[0])
    reserved = method.reserved
    method.end_task()
    method.begin_task(TASKS[1])  # needs no data
    for index, units in enumerate(method.chosen):
        assert int(units.sum()) == method.select[index]
        assert not (units & reserved[index] & ~method.chosen[index]).any()
    method.end_task()
    before = everything(method)
    with pytest.raises(InvalidArgumentError, match=r"task 2 reuses units.*data="):
        method.begin_task(TASKS[2])
    assert_same(before, everything(method))


def test_looking_at_the_data_changes_nothing_of_the_model() -> None:
    model = nn.Sequential(
        nn.Unflatten(1, (1, 4, 4)),
        nn.Conv2d(1, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(24, 10),
        nn.ReLU(),
        nn.Linear(10, 8),
    )
    model[5].eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = torch.get_rng_state()
    data = data_of((2, 4))
    found = mean_activations(model, Chain.discover(model), data, (4, 2))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], now) for name, now in model.state_dict().items())
    assert [m.training for m in model] == [True] * 5 + [False] + [True] * 4
    assert not any(module._forward_pre_hooks for module in model)
    model.eval()
    for label in (2, 4):
        x = torch.cat([xs[ys == label] for xs, ys in data])
        maps, hidden = model[:5](x), model[:9](x)
        torch.testing.assert_close(found[label][0], maps.sum((2, 3)).mean(0).detach())
        torch.testing.assert_close(found[label][1], hidden.mean(0).detach())


def test_hooks_and_modes_are_put_back_after_data_that_do_not_fit() -> None:
    method = learner()
    learn(method, TASKS[0])
    before = everything(method)
    with pytest.raises(RuntimeError):
        method.begin_task([2], data=[(torch.zeros(3, 5), torch.tensor([2, 2, 2]))])
    assert_same(before, everything(method))
    assert all(m.training and not m._forward_pre_hooks for m in method.model.modules())


def test_data_without_an_example_of_a_class_are_refused() -> None:
    method = learner()
    learn(method, TASKS[0])
    before = everything(method)
    with pytest.raises(InvalidArgumentError, match=r"no example of the classes \[3\]"):
        method.begin_task([2, 3], data=data_of((2, 4)))
    assert_same(before, everything(method))


@pytest.mark.parametrize("last", [[8, 7, 18], [25, 20, 3]])
def test_without_free_units_the_task_and_the_remedy_are_named(last: list[int]) -> None:
    method = learner(select=last, reserve=1.0)
    learn(method, TASKS[0])
    before = everything(method)
    with pytest.raises(InfeasibleDensityError, match=r"task 1 .*(wider|use wider)"):
        method.begin_task(TASKS[1], data=data_of(TASKS[1]))
    assert_same(before, everything(method))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"reuse_from": 0}, "reuse_from"),
        ({"reuse_share": 1.5}, "reuse_share"),
        ({"shared_layers": 4}, "below 4"),
        ({"shared_layers": -1}, "shared_layers"),
        ({"select": 99}, "select"),
        ({"density": [0.5]}, "density"),
    ],
)
def test_wrong_arguments_are_named_before_the_model_is_touched(
    wrong: dict[str, Any], message: str
) -> None:
    model = soft_mlp()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(InvalidArgumentError, match=message):
        learner(model, **wrong)
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(before[name], now) for name, now in model.state_dict().items())
    learn(learner(model), TASKS[0])


def test_heads_by_task_are_refused_before_the_model_is_touched() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.heads = nn.Linear(16, 8), nn.ModuleDict({"0": nn.Linear(8, 2)})

        def forward(self, x: Tensor, task: int = 0) -> Any:
            return self.heads[str(task)](self.body(x).relu())

    model = Heads()
    with pytest.raises(UnsupportedError, match="head per task"):
        AFAF(model, OPTIMIZERS["SGD"](model.parameters()))
    assert model.body.weight.count_nonzero() > 0


def test_defaults_of_an_mlp_are_shares_of_its_linear_layers() -> None:
    model = mlp()
    method = AFAF(model, OPTIMIZERS["SGD"](model.parameters()))
    assert (method.select, method.reserve) == ([8, 3], [2, 3])
    assert method.density == [0.25, 0.25, 0.7]
    assert method.settings["shared_layers"] == 0


def test_equal_seeds_give_equal_runs() -> None:
    runs = []
    for _ in range(2):
        method = make("AFAF", "cnn, flatten, batch norm", select=0.25)
        for module in method.model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        for classes in TASKS:
            learn(method, classes)
        runs.append(everything(method))
    assert_same(*runs)
    assert "AFAF" in METHODS
