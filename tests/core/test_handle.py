"""Does the handle follow somebody else's training loop correctly, whatever that loop does?"""

import copy
import pickle
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sparsewire.core import (
    SET,
    Method,
    NonFiniteError,
    RigL,
    SparsityHandle,
    StateError,
    TopologyError,
    UnsupportedError,
    sparsify,
)
from sparsewire.core.schedule import Constant
from tests.core.helpers import (
    INTERVAL,
    METHODS,
    MLP,
    OPTIMIZERS,
    OptimizerCase,
    Task,
    assert_same_run,
    assert_sparse,
    build,
    differences,
    each_method,
    each_task,
    layer_counts,
    mlp,
    snapshot,
    train,
)

CASES = {case.name: case for case in OPTIMIZERS}
ADAM, MOMENTUM, FUSED = CASES["adam"], CASES["sgd-momentum"], CASES["adam-fused"]
RIGL = RigL(update_interval=INTERVAL)
each_amp_optimizer = pytest.mark.parametrize("case", [MOMENTUM, ADAM, FUSED], ids=str)


def backward(loss: Tensor) -> None:
    loss.backward()  # type: ignore[no-untyped-call]


def expected_growth(
    handle: SparsityHandle, gradients: dict[str, Tensor], before: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Return RigL's masks after an update, by plain sorting, from the weights just before it."""
    after = {}
    for name, mask in before.items():
        weight = handle.model.get_parameter(name).detach()
        active = mask.flatten().nonzero().squeeze(1)
        order = active[weight.flatten()[active].abs().argsort()]
        drop = order[: int(0.3 * len(active) + 1e-9)]
        new = mask.flatten().clone()
        new[drop] = False
        score = gradients[name].abs().flatten().masked_fill(new, -1.0)
        new[score.argsort(descending=True)[: len(drop)]] = True
        after[name] = new.view(mask.shape)
    return after


def no_learning(parameters: object) -> torch.optim.Optimizer:
    """Return SGD that changes no weight, so that an update ranks the weights the loss saw."""
    return torch.optim.SGD(parameters, lr=0.0)  # type: ignore[arg-type]


def still(update_interval: int = 1) -> SparsityHandle:
    return build(RigL(update_interval), OptimizerCase("still", no_learning))


def dense_gradients(model: nn.Module, loss: Tensor, names: dict[str, Tensor]) -> dict[str, Tensor]:
    weights = [model.get_parameter(name) for name in names]
    return dict(zip(names, torch.autograd.grad(loss, weights), strict=True))


def test_rigl_grows_by_the_dense_gradient_of_autograd() -> None:
    handle = still()
    before = handle.masks()
    for step in range(6):
        gradients = dense_gradients(handle.model, MLP.loss(handle.model, step), before)
        expected = expected_growth(handle, gradients, before)
        train(handle, 1)
        assert differences(handle.masks(), expected) == []
        before = expected
    assert handle.updates == 6


@pytest.mark.parametrize("set_to_none", [False, True])
def test_rigl_grows_by_the_gradient_accumulated_over_micro_batches(set_to_none: bool) -> None:
    handle = still(update_interval=2)
    for step in range(0, 8, 2):
        before = handle.masks()
        total = (MLP.loss(handle.model, step) + MLP.loss(handle.model, step + 1)) / 2
        gradients = dense_gradients(handle.model, total, before)
        expected = expected_growth(handle, gradients, before)
        for _ in range(2):  # the second of the two steps is due
            handle.optimizer.zero_grad(set_to_none=set_to_none)
            for micro in (step, step + 1):
                backward(MLP.loss(handle.model, micro) / 2)
            handle.optimizer.step()
        assert differences(handle.masks(), expected) == []


@each_method
def test_both_ways_of_zeroing_gradients_give_the_same_run(method: Method) -> None:
    kept, none = build(method, MOMENTUM), build(method, MOMENTUM)
    for step in range(12):
        for handle, set_to_none in ((kept, False), (none, True)):
            handle.optimizer.zero_grad(set_to_none=set_to_none)
            backward(MLP.loss(handle.model, step))
            handle.optimizer.step()
    assert_same_run(kept, none)


def test_optimizer_sees_no_gradient_of_inactive_connections() -> None:
    handle = build(RIGL, MOMENTUM)
    masks = handle.masks()
    train(handle, 1)
    for name, mask in masks.items():
        gradient = handle.model.get_parameter(name).grad
        assert gradient is not None
        assert int(torch.count_nonzero(gradient[~mask])) == 0
        assert int(torch.count_nonzero(gradient[mask])) > 0


def test_layer_without_a_gradient_is_left_alone_by_rigl() -> None:
    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = mlp(), nn.Linear(12, 12)

        def forward(self, x: Tensor) -> Tensor:
            output: Tensor = self.used(x)
            return output

    torch.manual_seed(7)
    model = Unused()
    handle = sparsify(model, ADAM(model.parameters()), density=0.3, method=RIGL)
    before = copy.deepcopy(model.unused.state_dict())
    masks = handle.masks()
    train(handle, 12)
    assert differences(model.unused.state_dict(), before) == []
    assert not torch.equal(handle.masks()["used.0.weight"], masks["used.0.weight"])
    assert_sparse(handle)


# Clipping


def clipped(handle: SparsityHandle, steps: int, *, masked: bool, times: int = 1) -> list[float]:
    norms = []
    for step in range(handle.step, handle.step + steps):
        handle.optimizer.zero_grad()
        backward(MLP.loss(handle.model, step))
        for _ in range(times if masked else 0):
            handle.mask_gradients()
        norm = nn.utils.clip_grad_norm_(handle.model.parameters(), 0.01)
        norms.append(float(norm))
        handle.optimizer.step()
    return norms


@pytest.mark.parametrize("masked", [False, True])
def test_clipping_sees_the_dense_norm_unless_gradients_are_masked_first(masked: bool) -> None:
    handle = build("static", CASES["sgd"])
    gradients = [
        g * handle.masks().get(name, torch.tensor(True)) if masked else g
        for (name, _), g in zip(
            handle.model.named_parameters(),
            torch.autograd.grad(MLP.loss(handle.model, 0), list(handle.model.parameters())),
            strict=True,
        )
    ]
    expected = torch.stack([g.norm() for g in gradients]).norm().item()
    assert clipped(handle, 1, masked=masked)[0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("masked", [False, True])
@each_method
def test_clipped_training_stays_sparse_and_exact(method: Method, masked: bool) -> None:
    handle = build(method, ADAM)
    for _ in range(12):
        clipped(handle, 1, masked=masked)
        assert_sparse(handle)
    twin = build(method, ADAM)
    clipped(twin, 12, masked=masked)
    assert_same_run(handle, twin)


def test_masking_gradients_oneself_changes_nothing_without_clipping() -> None:
    handle, plain = build(RIGL, ADAM), build(RIGL, ADAM)
    for step in range(12):
        handle.optimizer.zero_grad()
        backward(MLP.loss(handle.model, step))
        handle.mask_gradients()
        handle.optimizer.step()
    assert_same_run(handle, train(plain, 12))


def test_masking_gradients_twice_is_masking_them_once() -> None:
    once, twice = build(RIGL, ADAM), build(RIGL, ADAM)
    clipped(once, 12, masked=True)
    clipped(twice, 12, masked=True, times=2)
    assert_same_run(once, twice)


def test_clipping_inside_a_closure_grows_the_same_connections() -> None:
    handle, plain = build(RIGL, ADAM), build(RIGL, ADAM)
    clipped(plain, 12, masked=True)
    for step in range(12):

        def closure(step: int = step) -> float:
            handle.optimizer.zero_grad()
            loss = MLP.loss(handle.model, step)
            backward(loss)
            handle.mask_gradients()
            nn.utils.clip_grad_norm_(handle.model.parameters(), 0.01)
            return loss.item()

        handle.optimizer.step(closure)
    assert_same_run(handle, plain)


def test_masking_after_every_micro_batch_still_grows_by_the_accumulated_gradient() -> None:
    handle = still()
    masks = handle.masks()
    total = MLP.loss(handle.model, 0) + MLP.loss(handle.model, 1)
    gradients = dense_gradients(handle.model, total, masks)
    expected = expected_growth(handle, gradients, masks)
    handle.optimizer.zero_grad()
    for step in (0, 1):
        backward(MLP.loss(handle.model, step))
        handle.mask_gradients()
    handle.optimizer.step()
    assert differences(handle.masks(), expected) == []


def test_a_batch_abandoned_after_masking_leaves_no_trace() -> None:
    handle, plain = build(RIGL, ADAM), build(RIGL, ADAM)
    train(plain, 6)
    train(handle, INTERVAL - 1)
    backward(MLP.loss(handle.model, 77))
    handle.mask_gradients()  # ... and then the loop decides to skip this batch
    train(handle, 2)
    assert_same_run(handle, plain)


# Mixed precision


def amp_steps(
    handle: SparsityHandle,
    scaler: torch.amp.GradScaler,
    steps: int,
    *,
    first: int,
    poisoned: tuple[int, ...] = (),
    clip: bool = False,
    set_to_none: bool = True,
) -> None:
    for step in range(first, first + steps):
        handle.optimizer.zero_grad(set_to_none=set_to_none)
        loss = MLP.loss(handle.model, step)
        if step in poisoned:
            loss = loss * float("inf")
        backward(scaler.scale(loss))
        if clip:
            scaler.unscale_(handle.optimizer)
            handle.mask_gradients()
            nn.utils.clip_grad_norm_(handle.model.parameters(), 0.01)
        scaler.step(handle.optimizer)
        scaler.update()


@each_amp_optimizer
@pytest.mark.parametrize("name", ["rigl", "set", "gmp"])
def test_gradient_scaling_by_powers_of_two_changes_nothing(case: OptimizerCase, name: str) -> None:
    handle, plain = build(METHODS[name], case), build(METHODS[name], case)
    amp_steps(handle, torch.amp.GradScaler("cpu", init_scale=1024.0), 16, first=0)
    train(plain, 16)
    assert handle.updates == plain.updates == 3
    assert differences(handle.masks(), plain.masks()) == []
    for name_, weight in plain.model.named_parameters():
        torch.testing.assert_close(handle.model.get_parameter(name_), weight, rtol=1e-5, atol=1e-6)


@each_amp_optimizer
@pytest.mark.parametrize("name", ["rigl", "set", "gmp", "static"])
@pytest.mark.parametrize("clip", [False, True], ids=["plain", "clipped"])
@pytest.mark.parametrize("due", [True, False])
def test_step_skipped_for_infinite_gradients_changes_nothing(
    case: OptimizerCase, name: str, clip: bool, due: bool
) -> None:
    handle = build(METHODS[name], case)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    skipped = INTERVAL - 1 if due else 2  # the step after `skipped` steps fails
    amp_steps(handle, scaler, skipped, first=0, clip=clip)
    before, steps, updates = snapshot(handle), handle.step, handle.updates
    amp_steps(handle, scaler, 1, first=skipped, poisoned=(skipped,), clip=clip)
    assert scaler.get_scale() == 512.0, "the scaler did not see the infinity"
    assert (handle.step, handle.updates) == (steps, updates)
    assert differences(snapshot(handle)["model"], before["model"]) == []
    assert differences(snapshot(handle)["handle"], before["handle"]) == []
    assert_sparse(handle)
    amp_steps(handle, scaler, INTERVAL, first=skipped + 1, clip=clip)
    assert handle.step == steps + INTERVAL
    assert handle.updates == (METHODS[name].when is not None)
    assert_sparse(handle)


@each_amp_optimizer
@pytest.mark.parametrize("clip", [False, True], ids=["plain", "clipped"])
@pytest.mark.parametrize("name", ["rigl", "set"])
def test_training_recovers_from_a_skipped_step_when_gradients_are_zeroed_in_place(
    case: OptimizerCase, name: str, clip: bool
) -> None:
    handle, other = build(METHODS[name], case), build(METHODS[name], case)
    for run, set_to_none in ((handle, False), (other, True)):
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        for step in range(2 * INTERVAL):
            amp_steps(
                run,
                scaler,
                1,
                first=step,
                poisoned=(INTERVAL - 1,),
                clip=clip,
                set_to_none=set_to_none,
            )
    assert handle.step == other.step == 2 * INTERVAL - 1
    assert_same_run(handle, other)


@pytest.mark.parametrize("case", [MOMENTUM, FUSED], ids=str)
def test_run_with_a_skipped_step_equals_the_run_without_that_batch(case: OptimizerCase) -> None:
    handle, plain = build(RIGL, case), build(RIGL, case)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=1000)
    amp_steps(handle, scaler, INTERVAL - 1, first=0)
    amp_steps(handle, scaler, 1, first=99, poisoned=(99,))
    amp_steps(handle, scaler, INTERVAL + 2, first=INTERVAL - 1)
    other = torch.amp.GradScaler("cpu", init_scale=1024.0)
    amp_steps(plain, other, 2 * INTERVAL + 1, first=0)
    assert handle.updates == plain.updates == 2
    assert differences(handle.masks(), plain.masks()) == []


def test_scaled_half_precision_gradients_do_not_vanish_when_growth_ranks_them() -> None:
    torch.manual_seed(7)
    model = nn.Linear(8, 8, bias=False).half()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, fused=True)
    handle = sparsify(model, optimizer, density=0.25, method=RigL(update_interval=1))
    before = handle.masks()["weight"]
    slope = torch.linspace(1.0, 2.0, 64).view(8, 8)
    kept = before & (model.weight.abs() > model.weight[before].abs().sort().values[3])
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**15)
    loss = (model.weight.float() * slope * 2.0**-25).sum()  # below half precision without scaling
    backward(scaler.scale(loss))
    scaler.step(optimizer)
    grown = handle.masks()["weight"] & ~kept
    best = slope.masked_fill(kept, 0).flatten().topk(4).indices
    assert sorted(grown.flatten().nonzero().squeeze(1).tolist()) == sorted(best.tolist())


# Errors in the middle of training


@pytest.mark.parametrize("set_to_none", [False, True])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")], ids=str)
def test_non_finite_gradient_at_an_update_is_an_error_that_changes_nothing(
    bad: float, set_to_none: bool
) -> None:
    handle = train(build(RIGL, ADAM), INTERVAL - 1)
    before = snapshot(handle)
    handle.optimizer.zero_grad()
    backward(MLP.loss(handle.model, 50) * bad)
    with pytest.raises(NonFiniteError, match=r"gradient of 0\.weight .* at step 5.*clip gradients"):
        handle.optimizer.step()
    assert differences(snapshot(handle), before) == []
    handle.optimizer.zero_grad(set_to_none=set_to_none)
    backward(MLP.loss(handle.model, INTERVAL - 1))
    handle.optimizer.step()
    plain = train(build(RIGL, ADAM), INTERVAL)
    assert_same_run(train(handle, 7), train(plain, 7))


@pytest.mark.parametrize("name", ["set", "set-magnitude", "rigl", "itop", "gmp"])
def test_non_finite_weight_at_an_update_is_an_error_that_changes_no_mask(name: str) -> None:
    handle = train(build(METHODS[name], MOMENTUM), INTERVAL - 1)
    masks = handle.masks()
    handle.optimizer.zero_grad()
    backward(MLP.loss(handle.model, 0))
    with torch.no_grad():
        handle.model.get_parameter("4.weight")[masks["4.weight"]] = float("nan")
    with pytest.raises(NonFiniteError, match=r"NaN or infinite.*lower the learning rate"):
        handle.optimizer.step()
    assert differences(handle.masks(), masks) == []
    assert handle.updates == 0


def test_non_finite_gradient_between_updates_never_leaves_the_active_positions() -> None:
    handle = build("static", MOMENTUM)
    handle.optimizer.zero_grad()
    backward(MLP.loss(handle.model, 0) * float("nan"))
    handle.optimizer.step()
    for name, mask in handle.masks().items():
        assert int(torch.count_nonzero(handle.model.get_parameter(name)[~mask])) == 0


def test_error_in_a_closure_leaves_no_trace() -> None:
    handle, plain = build(RIGL, ADAM), build(RIGL, ADAM)
    train(handle, INTERVAL - 1)

    def closure() -> float:
        raise KeyError("from the user's loop")

    with pytest.raises(KeyError, match="from the user's loop"):
        handle.optimizer.step(closure)
    assert_same_run(train(handle, 3), train(plain, INTERVAL + 2))


def test_mask_changed_from_outside_is_noticed_at_the_next_update() -> None:
    handle = train(build(RIGL, ADAM), 1)
    handle.model.get_buffer("0.weight_mask").fill_(True)
    with pytest.raises(TopologyError, match=r"0\.weight has 192 active .* changed from outside"):
        train(handle, INTERVAL)


# Loops that reach into weights, state and gradients


def add_noise(tensor: Tensor) -> None:
    tensor.add_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(0)), alpha=0.01)


def in_place(handle: SparsityHandle) -> None:
    with torch.no_grad():
        add_noise(handle.model.get_parameter("2.weight"))


def through_data(handle: SparsityHandle) -> None:
    add_noise(handle.model.get_parameter("2.weight").data)


def new_data(handle: SparsityHandle) -> None:
    weight = handle.model.get_parameter("2.weight")
    weight.data = torch.full_like(weight.data, 0.01)


def loaded(handle: SparsityHandle) -> None:
    state = copy.deepcopy(handle.model.state_dict())
    add_noise(state["2.weight"])
    handle.model.load_state_dict(state)


def optimizer_state(handle: SparsityHandle) -> None:
    weight = handle.model.get_parameter("2.weight")
    for value in handle.optimizer.state[weight].values():
        if value.shape == weight.shape:
            add_noise(value)
            value.abs_()


def loaded_optimizer_state(handle: SparsityHandle) -> None:
    state = copy.deepcopy(handle.optimizer.state_dict())
    for value in state["state"].get(2, {}).values():
        if value.ndim == 2:
            value.fill_(0.01)
    handle.optimizer.load_state_dict(state)


REACHES = [in_place, new_data, loaded, optimizer_state, loaded_optimizer_state]


@pytest.mark.parametrize("reach", REACHES, ids=lambda reach: reach.__name__)
@pytest.mark.parametrize("case", [CASES["sgd"], MOMENTUM, ADAM], ids=str)
@pytest.mark.parametrize("name", ["static", "set", "rigl"])
def test_weights_and_state_written_from_outside_are_sparse_again_after_the_next_step(
    name: str, case: OptimizerCase, reach: Callable[[SparsityHandle], None]
) -> None:
    handle = train(build(METHODS[name], case), 3)
    reach(handle)
    train(handle, 1)
    assert_sparse(handle)


@pytest.mark.parametrize("case", [CASES["sgd"], MOMENTUM, ADAM], ids=str)
@pytest.mark.parametrize("name", ["static", "set", "rigl"])
@pytest.mark.parametrize("steps", range(1, 21))
def test_weights_written_to_through_data_are_sparse_again_within_twenty_steps(
    steps: int, name: str, case: OptimizerCase
) -> None:
    handle = train(build(METHODS[name], case), steps)
    through_data(handle)
    train(handle, 20)
    assert_sparse(handle)


@pytest.mark.parametrize("case", [CASES["sgd"], MOMENTUM, ADAM, FUSED], ids=str)
@pytest.mark.parametrize("name", ["static", "set", "rigl"])
def test_hook_that_changes_gradients_after_ours_makes_no_inactive_weight_move(
    name: str, case: OptimizerCase
) -> None:
    handle = build(METHODS[name], case)

    def centralize(*_: object) -> None:
        for parameter in handle.model.parameters():
            if parameter.grad is not None and parameter.ndim == 2:
                parameter.grad.sub_(parameter.grad.mean(1, keepdim=True))

    handle.optimizer.register_step_pre_hook(centralize)
    for _ in range(7):
        train(handle, 1)
        assert_sparse(handle)


# Copies


@each_method
@pytest.mark.parametrize("case", [MOMENTUM, ADAM, FUSED], ids=str)
@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_copy_of_the_handle_goes_on_exactly_like_the_original(
    method: Method, case: OptimizerCase, how: str
) -> None:
    handle = train(build(method, case), 7)
    other: SparsityHandle = (
        copy.deepcopy(handle) if how == "deepcopy" else pickle.loads(pickle.dumps(handle))
    )
    assert other.model is not handle.model
    assert other.optimizer is not handle.optimizer
    assert_same_run(handle, other)
    train(other, 9)
    assert handle.step == 7, "the copy's steps reached the original"
    assert_same_run(other, train(handle, 9))
    assert_sparse(other)


@pytest.mark.parametrize("restore", ["copy.copy", "state_dict"])
@each_method
def test_optimizer_that_lost_its_hooks_is_followed_again_after_attach(
    method: Method, restore: str
) -> None:
    handle, plain = build(method, ADAM), build(method, ADAM)
    train(handle, 7)
    optimizer = copy.copy(handle.optimizer)  # goes through the same code as pickling
    if restore == "state_dict":
        optimizer = ADAM(handle.model.parameters())
        optimizer.load_state_dict(handle.optimizer.state_dict())
    old = handle.optimizer
    handle.attach(optimizer)
    assert handle.optimizer is optimizer
    assert_same_run(train(handle, 9), train(plain, 16))
    step = handle.step
    old.step()
    assert handle.step == step, "the old optimizer is still followed"


def test_attach_refuses_an_optimizer_of_a_copied_model_and_keeps_the_old_one() -> None:
    handle, plain = build(RIGL, ADAM), build(RIGL, ADAM)
    other = copy.deepcopy(handle.model)
    with pytest.raises(UnsupportedError, match=r"does not hold 0\.weight, .*this very model"):
        handle.attach(ADAM(other.parameters()))
    assert_same_run(train(handle, 6), train(plain, 6))


def test_attaching_the_same_optimizer_again_changes_nothing() -> None:
    handle, plain = build(RIGL, ADAM), build(RIGL, ADAM)
    for _ in range(3):
        handle.attach(handle.optimizer)
    assert_same_run(train(handle, 6), train(plain, 6))


# Randomness


@each_method
def test_global_random_numbers_are_not_touched(method: Method) -> None:
    torch.manual_seed(7)
    model = MLP.model()
    optimizer = ADAM(model.parameters())

    def states() -> tuple[object, ...]:
        legacy = np.random.get_state()  # noqa: NPY002
        return random.getstate(), repr(legacy), torch.get_rng_state().tolist()

    before = states()
    handle = sparsify(model, optimizer, density=0.3, method=method)
    train(handle, 12)
    handle.summary(torch.zeros(2, 12))
    copy.deepcopy(handle).finalize()
    handle.load_state_dict(handle.state_dict())
    assert states() == before


@each_method
def test_masks_do_not_depend_on_global_seeds(method: Method) -> None:
    masks = []
    for global_seed in (0, 1):
        handle = build(method, ADAM)
        torch.manual_seed(global_seed)
        random.seed(global_seed)
        np.random.seed(global_seed)  # noqa: NPY002
        masks.append(train(handle, 12).masks())
    assert differences(masks[0], masks[1]) == []


@pytest.mark.parametrize("name", ["static", "set", "itop"])
def test_masks_depend_on_seed_and_layer_name_but_not_on_the_order_of_layers(name: str) -> None:
    values = {key: torch.randn(20, 20) for key in "abc"}

    def masks(seed: int, order: str) -> dict[str, Tensor]:
        model = nn.ModuleDict({key: nn.Linear(20, 20) for key in order})
        model.load_state_dict({f"{key}.weight": values[key] for key in order}, strict=False)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        handle = sparsify(model, optimizer, density=0.2, method=METHODS[name], seed=seed)
        for _ in range(11):
            optimizer.step()
        return handle.masks()

    first = masks(0, "abc")
    assert differences(first, masks(0, "cab")) == []
    other = masks(1, "abc")
    assert not any(torch.equal(first[key], other[key]) for key in first)
    assert not torch.equal(first["a.weight"], first["b.weight"])


def test_two_identical_runs_agree_bit_for_bit() -> None:
    for name, method in METHODS.items():
        left, right = build(method, ADAM, seed=3), build(method, ADAM, seed=3)
        assert differences(snapshot(train(left, 13)), snapshot(train(right, 13))) == [], name


def test_consecutive_updates_draw_different_connections() -> None:
    handle = build(SET(update_interval=1, drop_fraction=Constant(1.0)), CASES["sgd"])
    seen = [handle.masks()["0.weight"]]
    for _ in range(4):
        train(handle, 1)
        seen.append(handle.masks()["0.weight"])
    assert len({tuple(mask.flatten().tolist()) for mask in seen}) == 5


@pytest.mark.parametrize("name", ["set", "set-normal", "rigl", "gmp", "static"])
def test_engine_names_the_device_of_everything_it_creates(name: str) -> None:
    """A default device other than the model's must not matter; "meta" stands in for a GPU."""
    model, plain = mlp(), build(METHODS[name], CASES["sgd"])
    model.load_state_dict({k: v for k, v in plain.model.state_dict().items() if "mask" not in k})
    with torch.device("meta"):
        handle = sparsify(
            model, CASES["sgd"](model.parameters()), density=0.3, method=METHODS[name]
        )
    assert differences(handle.masks(), plain.masks()) == []
    for step in range(6):
        for run in (handle, plain):
            run.optimizer.zero_grad()
            backward(MLP.loss(run.model, step))
        with torch.device("meta"):
            handle.optimizer.step()
        plain.optimizer.step()
    assert_same_run(handle, plain)


def test_default_dtype_makes_no_difference() -> None:
    method = SET(update_interval=INTERVAL, grown_std=0.1)
    handle, plain = build(method, CASES["sgd"]), build(method, CASES["sgd"])
    train(plain, INTERVAL)
    train(handle, INTERVAL - 1)
    backward_loss = MLP.loss(handle.model, INTERVAL - 1)
    handle.optimizer.zero_grad()
    backward(backward_loss)
    torch.set_default_dtype(torch.float64)
    try:
        handle.optimizer.step()
    finally:
        torch.set_default_dtype(torch.float32)
    assert_same_run(handle, plain)


# The end


@each_method
def test_finalized_model_is_the_plain_architecture_with_the_zeros_baked_in(method: Method) -> None:
    handle = train(build(method, ADAM), 7)
    masks = handle.masks()
    inputs = torch.randn(3, 12)
    expected = handle.model(inputs)
    model = handle.finalize()
    assert model is handle.model
    dense = mlp()
    dense.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(dense(inputs), expected)
    for name, mask in masks.items():
        assert int(torch.count_nonzero(dense.get_parameter(name)[~mask])) == 0


def test_training_after_finalize_is_dense_and_not_followed() -> None:
    handle = train(build(RIGL, ADAM), 4)
    handle.finalize()
    for step in range(4):
        handle.optimizer.zero_grad()
        backward(MLP.loss(handle.model, step))
        handle.optimizer.step()
    assert handle.step == 4
    assert handle.updates == 0
    assert int((handle.model.get_parameter("0.weight") == 0).sum()) == 0


FINALIZED_CALLS: dict[str, Callable[[SparsityHandle], object]] = {
    "finalize": lambda handle: handle.finalize(),
    "masks": lambda handle: handle.masks(),
    "summary": lambda handle: handle.summary(),
    "state_dict": lambda handle: handle.state_dict(),
    "load_state_dict": lambda handle: handle.load_state_dict({}),
    "verify": lambda handle: handle.verify(),
    "mask_gradients": lambda handle: handle.mask_gradients(),
    "attach": lambda handle: handle.attach(handle.optimizer),
}


@pytest.mark.parametrize("call", FINALIZED_CALLS.values(), ids=FINALIZED_CALLS)
def test_finalized_handle_refuses_to_be_used(call: Callable[[SparsityHandle], object]) -> None:
    handle = build(RIGL, ADAM)
    handle.finalize()
    with pytest.raises(StateError, match="finalized; call sparsify again"):
        call(handle)


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_copy_of_a_finalized_handle_is_finalized(how: str) -> None:
    handle = build(RIGL, ADAM)
    handle.finalize()
    other = copy.deepcopy(handle) if how == "deepcopy" else pickle.loads(pickle.dumps(handle))
    with pytest.raises(StateError, match="finalized"):
        other.masks()


def test_finalized_model_can_be_sparsified_again() -> None:
    handle = train(build(RIGL, ADAM), 7)
    model = handle.finalize()
    again = sparsify(model, handle.optimizer, density=0.1, method="set", seed=1)
    assert sum(layer_counts(again).values()) == round(0.1 * 512)
    train(again, 3)
    assert_sparse(again)
    assert again.step == 3


def test_sparsify_twice_is_refused_and_leaves_the_first_handle_working() -> None:
    handle, plain = build(RIGL, ADAM), build(RIGL, ADAM)
    with pytest.raises(StateError, match=r"sparsified already.*weight_mask.*finalize"):
        sparsify(handle.model, handle.optimizer, density=0.5)
    assert_same_run(train(handle, 6), train(plain, 6))


# Reports


def test_masks_are_copies() -> None:
    handle = build("static")
    handle.masks()["0.weight"].fill_(True)
    assert sum(layer_counts(handle).values()) == round(0.3 * 512)


@each_method
def test_density_and_exploration_follow_the_masks(method: Method) -> None:
    handle = build(method, CASES["sgd"])
    union = handle.masks()
    previous = handle.exploration_rate()
    assert previous == handle.density()
    for _ in range(21):
        train(handle, 1)
        masks = handle.masks()
        union = {name: union[name] | mask for name, mask in masks.items()}
        assert handle.density() == sum(int(m.sum()) for m in masks.values()) / 512
        assert handle.exploration_rate() == sum(int(m.sum()) for m in union.values()) / 512
        assert previous <= handle.exploration_rate() <= 1
        previous = handle.exploration_rate()
    moved = type(method).__name__ in {"SET", "RigL", "ITOP", "GMP", "GraNet"}
    assert (handle.exploration_rate() > handle.density()) == moved


@each_task
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_summary_with_an_example_disturbs_nothing(task: Task) -> None:
    handle = train(build(RIGL, ADAM, task), 3, task=task)
    before, modes = snapshot(handle), [m.training for m in handle.model.modules()]
    gradients = [copy.deepcopy(p.grad) for p in handle.model.parameters()]
    summary = handle.summary(task.batch(torch.Generator().manual_seed(0)))
    assert "FLOPs" in str(summary)
    assert differences(snapshot(handle), before) == []
    assert [m.training for m in handle.model.modules()] == modes
    assert differences([p.grad for p in handle.model.parameters()], gradients) == []


def test_expanded_gradients_are_masked_like_any_other() -> None:
    torch.manual_seed(7)
    model = nn.Linear(6, 5, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    handle = sparsify(model, optimizer, density=0.4, method="static")
    for _ in range(3):
        optimizer.zero_grad()
        backward(model.weight.sum())
        optimizer.step()
        assert_sparse(handle)


def test_gradients_with_a_graph_of_their_own_are_masked_like_any_other() -> None:
    handle = build("static", CASES["sgd"])
    loss = MLP.loss(handle.model, 0)
    weights = list(handle.model.parameters())
    gradients = torch.autograd.grad(loss, weights, create_graph=True)
    penalised = loss + sum((g.square().sum() for g in gradients), torch.zeros(()))
    penalised.backward()  # type: ignore[no-untyped-call]
    handle.optimizer.step()
    assert_sparse(handle)
