"""PALS on real models: what it does to them, how it is resumed, and what it refuses."""

import copy
import io
import math
import pickle
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import backward
from torch.nn import functional as F

from sparsewire.core import (
    CheckpointError,
    InvalidArgumentError,
    NonFiniteError,
    StateError,
    checkpoint,
)
from sparsewire.timeseries.pals import PALS
from sparsewire.timeseries.pals.controller import freeze_step
from sparsewire.timeseries.pals.rule import State

STEPS = 60


def model_of(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(12, 30), nn.ReLU(), nn.Linear(30, 7))


def batches(seed: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield torch.randn(16, 12, generator=generator), torch.randn(16, 7, generator=generator)


def losses(n: int = 100, seed: int = 2) -> list[float]:
    generator = torch.Generator().manual_seed(seed)
    return (0.6 + torch.rand(n, generator=generator)).tolist()


Make = Callable[..., torch.optim.Optimizer]


def build(make: Make = torch.optim.SGD, **arguments: Any) -> PALS:
    model = model_of()
    optimizer = make(model.parameters(), lr=0.05)
    return PALS(model, optimizer, **{"total_steps": STEPS, "update_interval": 4} | arguments)


def train(pals: PALS, steps: int, script: list[float] | None = None, skip: int = 0) -> None:
    """Train for so many steps, decided by a script of losses, after those of a run before."""
    script = losses() if script is None else script
    data = batches()
    for _ in range(skip):
        next(data)
    for _ in range(steps):
        x, y = next(data)
        pals.handle.optimizer.zero_grad()
        backward(F.mse_loss(pals.handle.model(x), y))
        pals.step(script[len(pals.history["loss"]) % len(script)])


def cosine(step: int) -> float:
    return 0.005 + (0.5 - 0.005) * (1 + math.cos(math.pi * step / STEPS)) / 2


def published_run(script: list[float], gamma: float, lam: float) -> tuple[list[Any], nn.Module]:
    """Train the same model by hand with the published rule; plain SGD has no stale moments."""
    model = model_of()
    weights = [p for p in model.parameters() if p.ndim > 1]
    masks = [torch.ones_like(w, dtype=torch.bool) for w in weights]
    total = sum(p.numel() for p in model.parameters())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    trace: list[Any] = []
    best, best_sparsity, data = math.inf, 0.0, batches()
    for t in range(1, STEPS + 1):
        x, y = next(data)
        optimizer.zero_grad()
        backward(F.mse_loss(model(x), y))
        dense = [w.grad.clone() for w in weights if w.grad is not None]
        due = t % 4 == 0 and t // 4 < int(0.7 * STEPS) // 4
        if due:
            v = script[len(trace) % len(script)]
            s = (total - sum(int(m.sum()) for m in masks)) / total
            state = "stable"
            if s < 0.2 or (v <= lam * best and s < 0.9):
                state = "shrink"
            elif v > lam * best and s > best_sparsity:
                state = "expand"
            if v < best:
                best, best_sparsity = v, s
            trace.append((t, v, state, s))
        with torch.no_grad():
            for w, m in zip(weights, masks, strict=True):
                assert w.grad is not None
                w.grad.mul_(m)
            optimizer.step()
            for w, m, g in zip(weights, masks, dense, strict=True):
                if due:
                    published_update(w, m, g, state, cosine(t), gamma)
                w.mul_(m)
    return trace, model


def published_update(
    w: Tensor, mask: Tensor, gradient: Tensor, state: str, z: float, gamma: float
) -> None:
    n = int(mask.sum())
    p = math.ceil((gamma if state == "shrink" else 1.0) * z * n)
    regrow = {"shrink": math.floor(p / gamma), "stable": p, "expand": math.floor(gamma * p)}[state]
    magnitudes = w.abs().masked_fill(~mask, math.inf).flatten()
    mask.view(-1)[magnitudes.argsort()[:p]] = False
    scores = gradient.abs().masked_fill(mask, -1).flatten()
    regrow = min(regrow, int((~mask).sum()))
    mask.view(-1)[scores.argsort(descending=True)[:regrow]] = True


@pytest.mark.parametrize("gamma", [1.05, 1.2])
@pytest.mark.parametrize("lam", [1.05, 1.2])
def test_reference_mode_repeats_the_published_run_bit_for_bit(gamma: float, lam: float) -> None:
    pals = build(mode="reference", prune_factor=gamma, loss_freedom=lam)
    train(pals, STEPS)
    trace, model = published_run(losses(), gamma, lam)
    assert list(zip(*pals.history.values(), strict=True)) == trace
    for ours, theirs in zip(pals.handle.model.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert {"shrink", "expand"} <= set(pals.history["state"])


def test_masked_weights_and_their_moments_are_zero_after_every_step() -> None:
    pals = build(torch.optim.Adam)
    data = batches()
    for _ in range(STEPS):
        x, y = next(data)
        pals.handle.optimizer.zero_grad()
        backward(F.mse_loss(pals.handle.model(x), y))
        pals.step(0.5)
        for name, mask in pals.handle.masks().items():
            weight = pals.handle.model.get_parameter(name)
            state = pals.handle.optimizer.state[weight]
            for tensor in (weight, state["exp_avg"], state["exp_avg_sq"]):
                assert not tensor[~mask].any()
    assert pals.sparsity > 0.2


@pytest.mark.parametrize("mode", ["robust", "reference"])
def test_a_connection_that_grows_starts_at_zero_and_robustly_with_the_mean_second_moment(
    mode: Literal["robust", "reference"],
) -> None:
    pals = build(torch.optim.Adam, loss_freedom=1.0, mode=mode)
    train(pals, 27, [1.0])
    before = pals.handle.masks()
    train(pals, 1, [9.0] * 100, skip=27)  # the update of step 28
    grown = {n: m & ~before[n] for n, m in pals.handle.masks().items()}
    assert sum(int(m.sum()) for m in grown.values()) > 0
    for name, new in grown.items():
        weight = pals.handle.model.get_parameter(name)
        state = pals.handle.optimizer.state[weight]
        for tensor in (weight, state["exp_avg"]):
            assert not tensor[new].any()
        second = state["exp_avg_sq"]
        mean = second[pals.handle.masks()[name] & ~new].mean() if mode == "robust" else 0.0
        torch.testing.assert_close(second[new], torch.full_like(second[new], float(mean)))


def test_a_growing_loss_expands_and_a_falling_one_shrinks() -> None:
    pals = build(min_sparsity=0.0, loss_freedom=1.0)
    train(pals, 16, [1.0 - 0.1 * i for i in range(10)])
    assert pals.history["state"][-1] == "shrink"
    sparse = pals.n_connections
    train(pals, 4, [50.0] * 10, skip=16)
    assert pals.history["state"][-1] == "expand"
    assert pals.n_connections > sparse


def test_all_layers_keep_nearly_equal_sparsity() -> None:
    pals = build()
    train(pals, STEPS, [1.0])
    densities = [layer.density for layer in pals.handle.summary().layers]
    assert max(densities) - min(densities) < 0.03


@pytest.mark.parametrize("denominator", ["maskable", "all"])
def test_robust_mode_never_exceeds_the_maximum(denominator: str) -> None:
    pals = build(prune_factor=1.5, max_sparsity=0.6, denominator=denominator)
    train(pals, STEPS, [1.0])
    assert max(pals.history["sparsity"]) <= 0.6
    assert 0.55 < pals.sparsity <= 0.6


def test_reference_mode_overshoots_the_maximum() -> None:
    pals = build(mode="reference", prune_factor=1.5, max_sparsity=0.6)
    train(pals, STEPS, [1.0])
    assert pals.sparsity > 0.6


def alternating() -> list[float]:
    return [1.0, *([9.0] * 99)]


def test_the_latch_keeps_the_minimum_sparsity_that_the_reference_oscillates_around() -> None:
    reference = build(mode="reference", denominator="maskable", prune_factor=1.2)
    train(reference, STEPS, alternating())
    states: list[State] = reference.history["state"]
    first = next(i for i, s in enumerate(reference.history["sparsity"]) if s >= 0.2)
    assert min(reference.history["sparsity"][first:]) < 0.2
    assert {"shrink", "expand"} <= set(states[first:])
    robust = build(prune_factor=1.2)
    train(robust, STEPS, alternating())
    first = next(i for i, s in enumerate(robust.history["sparsity"]) if s >= 0.2)
    assert min(robust.history["sparsity"][first:]) >= 0.2
    assert robust.sparsity >= 0.2


def test_the_topology_freezes_and_validation_ends() -> None:
    pals = build()
    calls = []

    def validate() -> float:
        calls.append(pals.handle.step)
        return 1.0

    data = batches()
    for _ in range(STEPS):
        x, y = next(data)
        pals.handle.optimizer.zero_grad()
        backward(F.mse_loss(pals.handle.model(x), y))
        pals.step(validate)
    assert calls == list(range(3, 39, 4))  # before steps 4, 8, ... 36; 40 is the end
    assert pals.state == "frozen"
    assert pals.handle.updates == 9
    assert all(len(values) == 9 for values in pals.history.values())


def test_the_freeze_point_is_that_of_seven_of_ten_epochs() -> None:
    for steps in range(1, 700, 13):
        for interval in (5, 20):
            published = (7 * steps // interval) * interval
            if published > interval:
                assert freeze_step(10 * steps, interval, 0.7) == published


def test_validation_sees_evaluation_mode_and_no_gradients() -> None:
    model = nn.Sequential(nn.Linear(12, 9), nn.Dropout(0.5), nn.BatchNorm1d(9))
    model[2].eval()  # a module of one's own choosing stays as it is
    pals = PALS(
        model, torch.optim.SGD(model.parameters(), lr=0.1), total_steps=9, update_interval=1
    )

    def validate() -> Tensor:
        assert not any(module.training for module in model.modules())
        assert not torch.is_grad_enabled()
        return torch.tensor(1.0)

    assert pals.decide(validate) == "shrink"
    assert [module.training for module in model] == [True, True, False]
    assert pals.decide(validate) is None  # once per update


def test_modes_are_restored_when_validation_fails() -> None:
    pals = build(update_interval=1)

    def fail() -> float:
        raise RuntimeError("no data")

    with pytest.raises(RuntimeError, match="no data"):
        pals.decide(fail)
    assert pals.handle.model.training
    assert pals.history["step"] == []


def test_an_update_that_nobody_decided_about_is_refused() -> None:
    pals = build(update_interval=1)
    x, y = next(batches())
    backward(F.mse_loss(pals.handle.model(x), y))
    with pytest.raises(StateError, match=r"pals\.step\(validate\)"):
        pals.handle.optimizer.step()


def test_deciding_apart_from_the_step_is_the_same() -> None:
    one, two = build(), build()
    train(one, STEPS)
    data, script = batches(), losses()
    for _ in range(STEPS):
        x, y = next(data)
        two.handle.optimizer.zero_grad()
        backward(F.mse_loss(two.handle.model(x), y))
        two.decide(script[len(two.history["loss"])])
        two.handle.optimizer.step()
    assert_same(one, two)


def assert_same(one: PALS, two: PALS) -> None:
    assert one.history == two.history
    for a, b in zip(
        one.handle.model.state_dict().values(),
        two.handle.model.state_dict().values(),
        strict=True,
    ):
        assert torch.equal(a, b)


def test_a_gradient_scaler_gives_the_same_run() -> None:
    one, two = build(), build()
    train(one, STEPS)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    data, script = batches(), losses()
    for _ in range(STEPS):
        x, y = next(data)
        two.handle.optimizer.zero_grad()
        backward(scaler.scale(F.mse_loss(two.handle.model(x), y)))
        two.decide(script[len(two.history["loss"])])
        scaler.step(two.handle.optimizer)
        scaler.update()
    assert_same(one, two)


def test_a_step_skipped_by_the_scaler_keeps_the_decision() -> None:
    pals = build(update_interval=1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    x, y = next(batches())
    backward(scaler.scale(F.mse_loss(pals.handle.model(x), y) * math.inf))
    assert pals.decide(1.0) == "shrink"
    scaler.step(pals.handle.optimizer)
    scaler.update()
    assert pals.handle.step == 0
    pals.handle.optimizer.zero_grad()
    backward(F.mse_loss(pals.handle.model(x), y))
    assert pals.step(1.0) is None
    assert pals.handle.updates == 1
    assert len(pals.history["step"]) == 1


@pytest.mark.parametrize("stop", [3, 4, 17, 40, 55])
def test_a_resumed_run_equals_an_uninterrupted_one(stop: int) -> None:
    whole = build(torch.optim.Adam)
    train(whole, STEPS)
    half = build(torch.optim.Adam)
    train(half, stop)
    buffer = io.BytesIO()
    parts = (half.handle.model, half.handle.optimizer, half)
    torch.save([part.state_dict() for part in parts], buffer)
    buffer.seek(0)
    model, optimizer, state = torch.load(buffer, weights_only=True)
    other = build(torch.optim.Adam)
    other.handle.model.load_state_dict(model)
    other.handle.optimizer.load_state_dict(optimizer)
    other.load_state_dict(state)
    train(other, STEPS - stop, skip=stop)
    assert_same(whole, other)


def test_the_file_of_core_takes_the_state_along(tmp_path: Any) -> None:
    pals = build()
    train(pals, 21)
    checkpoint.save(tmp_path / "run.pt", pals.handle, pals=pals.state_dict())
    other = build()
    other.load_state_dict(checkpoint.load(tmp_path / "run.pt", other.handle)["pals"])
    train(pals, STEPS - 21, skip=21)
    train(other, STEPS - 21, skip=21)
    assert_same(pals, other)


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_a_copy_continues_on_its_own(twin: Callable[[PALS], PALS]) -> None:
    pals = build(torch.optim.Adam)
    train(pals, 21)
    other = twin(pals)
    train(pals, STEPS - 21, skip=21)
    train(other, STEPS - 21, skip=21)
    assert_same(pals, other)


@pytest.mark.parametrize(
    "arguments",
    [
        {"loss_freedom": 1.2},
        {"prune_factor": 1.2},
        {"max_sparsity": 0.8},
        {"mode": "reference"},
        {"denominator": "all"},
        {"total_steps": 80},
        {"seed": 1},
    ],
)
def test_the_state_of_another_run_is_refused(arguments: dict[str, Any]) -> None:
    state = build(**arguments).state_dict()
    pals = build()
    with pytest.raises(CheckpointError):
        pals.load_state_dict(state)


@pytest.mark.parametrize("state", [None, {}, {"format": "x"}])
def test_something_else_is_refused_as_a_state(state: Any) -> None:
    with pytest.raises(CheckpointError, match="not the state of a PALS"):
        build().load_state_dict(state)


def test_a_damaged_state_is_refused() -> None:
    state = build().state_dict()
    del state["memory"]["best_loss"]
    state["history"] = {}
    with pytest.raises(CheckpointError, match="damaged"):
        build().load_state_dict(state)


def test_convolutions_gates_and_attention_are_pruned_and_embeddings_are_not() -> None:
    class Everything(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(10, 8)
            self.conv = nn.Conv1d(8, 8, 3, padding=1)
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.lstm = nn.LSTM(8, 4, batch_first=True)
            self.head = nn.Linear(4, 1)

        def forward(self, tokens: Tensor) -> Tensor:
            x = self.conv(self.embedding(tokens).transpose(1, 2)).transpose(1, 2)
            x, _ = self.attention(x, x, x)
            out: Tensor = self.head(self.lstm(x)[0])[:, -1]
            return out

    torch.manual_seed(0)
    model = Everything()
    pals = PALS(model, torch.optim.Adam(model.parameters()), total_steps=20, update_interval=2)
    tokens = torch.arange(10).repeat(3, 1)
    for _ in range(20):
        pals.handle.optimizer.zero_grad()
        backward(model(tokens).square().mean())
        pals.step(1.0)
    names = {layer.name for layer in pals.handle.summary().layers}
    assert {"conv.weight", "lstm.weight_hh_l0[f]", "head.weight"} <= names
    assert "embedding.weight" not in names
    assert pals.sparsity > 0.2


def test_a_layer_without_a_gradient_grows_at_random_by_the_exact_count() -> None:
    model = nn.ModuleDict({"used": nn.Linear(12, 7), "idle": nn.Linear(20, 20)})
    pals = PALS(
        model, torch.optim.SGD(model.parameters(), lr=0.1), total_steps=20, update_interval=2
    )
    data = batches()
    for _ in range(20):
        x, y = next(data)
        pals.handle.optimizer.zero_grad()
        backward(F.mse_loss(model["used"](x), y))
        pals.step(1.0)
    used, idle = (layer.density for layer in pals.handle.summary().layers)
    assert idle == pytest.approx(used, abs=0.05)  # ceil and floor, of 84 weights


def test_excluded_layers_stay_dense_and_do_not_count() -> None:
    pals = build(exclude="2")
    train(pals, STEPS, [1.0])
    assert list(pals.handle.masks()) == ["0.weight"]
    assert pals.n_connections == int(pals.handle.masks()["0.weight"].sum())
    assert pals.sparsity == (360 - pals.n_connections) / 360


def test_finalizing_leaves_the_plain_model() -> None:
    pals = build()
    train(pals, STEPS, [1.0])
    alive = pals.n_connections
    model = pals.finalize()
    assert [name for name, _ in model.named_buffers()] == []
    assert sum(int(p.count_nonzero()) for p in model.parameters() if p.ndim > 1) <= alive


BAD: dict[str, dict[str, Any]] = {
    "mode": {"mode": "fast"},
    "denominator": {"denominator": "weights"},
    "prune factor below one": {"prune_factor": 0.9},
    "loss freedom below one": {"loss_freedom": 0.9},
    "no steps": {"total_steps": 0},
    "interval too long": {"update_interval": 25},
    "interval zero": {"update_interval": 0},
    "freeze share": {"freeze_at": 1.5},
    "drop fraction": {"drop_fraction": 1.5},
}


@pytest.mark.parametrize("case", list(BAD))
def test_an_argument_out_of_range_is_refused_before_the_model_is_touched(case: str) -> None:
    model = model_of()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(InvalidArgumentError):
        PALS(model, optimizer, **{"total_steps": STEPS, "update_interval": 4} | BAD[case])
    assert [name for name, _ in model.named_buffers()] == []


def test_a_loss_that_is_not_finite_changes_nothing() -> None:
    pals = build(update_interval=1)
    before = copy.deepcopy(pals.handle.model.state_dict())
    with pytest.raises(NonFiniteError):
        pals.step(math.nan)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model_state(pals), strict=True))


def model_state(pals: PALS) -> list[Tensor]:
    return list(pals.handle.model.state_dict().values())
