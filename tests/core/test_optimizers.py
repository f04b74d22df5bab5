"""Does every optimizer of PyTorch train a sparse network exactly as it should?"""

import copy
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from sparsewire.core import (
    ITOP,
    SET,
    Method,
    RigL,
    SparseLinear,
    SparsityHandle,
    UnsupportedError,
    sparsify,
)
from sparsewire.core.schedule import Constant
from tests.core.helpers import (
    INTERVAL,
    MLP,
    OPTIMIZERS,
    OptimizerCase,
    Task,
    assert_same_run,
    assert_sparse,
    build,
    differences,
    each_dynamic_method,
    each_method,
    each_optimizer,
    gaussian,
    layer_counts,
    state_of,
    train,
    train_masked,
    train_plain,
)

MOMENTUM = next(case for case in OPTIMIZERS if case.name == "sgd-momentum")
ADAM = next(case for case in OPTIMIZERS if case.name == "adam")
RANDOM_METHODS: dict[str, Method] = {
    "set": SET(update_interval=INTERVAL),
    "rigl": RigL(update_interval=INTERVAL),
    "itop": ITOP(update_interval=INTERVAL),
}


def expected_counts(handle: SparsityHandle) -> dict[str, int]:
    targets = {name: numbers[0] for name, numbers in handle.state_dict()["layers"].items()}
    sizes = {layer.name: layer.weights for layer in handle.summary().layers}
    when = handle.method.when
    updates = [s for s in range(1, handle.step + 1) if when is not None and when.due(s)]
    last = max(updates, default=0)
    return {name: handle.method.count(targets[name], sizes[name], last) for name in targets}


@each_optimizer
@each_dynamic_method
def test_counts_are_exact_and_everything_off_mask_is_zero_after_every_step(
    method: Method, optimizer_case: OptimizerCase
) -> None:
    handle = build(method, optimizer_case)
    for _ in range(30):
        train(handle, 1)
        assert_sparse(handle)
        assert layer_counts(handle) == expected_counts(handle)
    when = method.when
    assert when is not None
    assert handle.updates == sum(when.due(step) for step in range(1, 31)) >= 5
    targets = {name: numbers[0] for name, numbers in handle.state_dict()["layers"].items()}
    assert layer_counts(handle) == targets  # the density ramp, too, has ended by now
    assert sum(targets.values()) == round(0.3 * (12 * 16 + 16 * 16 + 16 * 4))


@each_optimizer
def test_static_mask_is_bit_identical_to_a_hand_written_masked_loop(
    optimizer_case: OptimizerCase,
) -> None:
    handle = build("static", optimizer_case)
    masks = handle.masks()
    torch.manual_seed(7)
    model = MLP.model()
    optimizer = optimizer_case(model.parameters())
    train_masked(model, optimizer, masks, 20)
    train(handle, 20)
    ours = dict(handle.model.named_parameters())
    for name, reference in model.named_parameters():
        assert torch.equal(ours[name], reference), name
        states = state_of(optimizer, reference)
        assert states.keys() == state_of(handle.optimizer, ours[name]).keys()
        for key, value in state_of(handle.optimizer, ours[name]).items():
            active = masks.get(name, torch.ones_like(reference, dtype=torch.bool))
            if value.shape == reference.shape:
                assert torch.equal(value[active], states[key][active]), f"{name}/{key}"
            else:
                assert torch.equal(value, states[key]), f"{name}/{key}"


@each_optimizer
@each_method
def test_density_one_is_bit_identical_to_not_using_sparsewire(
    method: Method, optimizer_case: OptimizerCase
) -> None:
    handle = build(method, optimizer_case, density=1.0)
    torch.manual_seed(7)
    model = MLP.model()
    optimizer = optimizer_case(model.parameters())
    train_plain(model, optimizer, 12)
    train(handle, 12)
    assert differences(handle.optimizer.state_dict(), optimizer.state_dict()) == []
    assert differences(handle.finalize().state_dict(), model.state_dict()) == []


@pytest.mark.parametrize("name", ["sgd-momentum", "adam", "adamw", "rmsprop-centered", "adagrad"])
def test_static_mask_equals_training_the_compacted_network(name: str) -> None:
    case = next(case for case in OPTIMIZERS if case.name == name)
    handle = build("static", case, dtype=torch.float64)
    positions = {name: mask.nonzero(as_tuple=True) for name, mask in handle.masks().items()}
    weights = {k: v.detach().clone() for k, v in handle.model.named_parameters()}
    vectors = {
        k: nn.Parameter(v[positions[k]] if k in positions else v) for k, v in weights.items()
    }
    model = copy.deepcopy(handle.model)
    optimizer = case(vectors.values())

    def compacted(x: Tensor) -> Tensor:
        full = {
            k: torch.zeros_like(weights[k]).index_put(positions[k], v) if k in positions else v
            for k, v in vectors.items()
        }
        output: Tensor = torch.func.functional_call(model, full, (x,))
        return output

    class Compacted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return compacted(x.double())

    handle.model.register_forward_pre_hook(lambda _, args: (args[0].double(),))
    train_plain(Compacted(), optimizer, 20)
    train(handle, 20)
    for key, weight in handle.model.named_parameters():
        ours = weight[positions[key]] if key in positions else weight
        torch.testing.assert_close(ours, vectors[key], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("name", ["adam-decay", "adamw", "sgd-decay", "sgd-momentum"])
@each_method
def test_parameter_groups_with_their_own_decay_resurrect_nothing(method: Method, name: str) -> None:
    case = next(case for case in OPTIMIZERS if case.name == name)
    torch.manual_seed(7)
    model = MLP.model()
    layers = [m for m in model if isinstance(m, nn.Linear)]  # type: ignore[attr-defined]
    groups: list[dict[str, Any]] = [
        {"params": [layers[0].weight], "lr": 0.03, "weight_decay": 0.5},
        {"params": [layers[1].weight, layers[2].weight], "lr": 0.001, "weight_decay": 0.0},
        {"params": [layer.bias for layer in layers], "weight_decay": 0.0},
    ]
    handle = sparsify(model, case(groups), density=0.3, method=method)
    for _ in range(17):
        train(handle, 1)
        assert_sparse(handle)
        assert layer_counts(handle) == expected_counts(handle)


EPSILON = ("adam", "adam-loop", "adam-fused", "adamw", "rmsprop", "adagrad", "nadam", "radam")


@pytest.mark.parametrize("name", [*EPSILON, "adadelta", "adamax"])
@pytest.mark.parametrize("method", RANDOM_METHODS.values(), ids=RANDOM_METHODS)
def test_division_of_zero_by_zero_moments_leaves_exact_zeros(method: Method, name: str) -> None:
    case = next(case for case in OPTIMIZERS if case.name == name)
    task = Task("one layer", lambda: nn.Linear(12, 8), gaussian(8, 12))  # no gradient is 0 in it
    torch.manual_seed(7)
    model = task.model()
    handle = sparsify(model, case(model.parameters(), eps=0.0), density=0.3, method=method)
    for _ in range(INTERVAL + 1):
        train(handle, 1, task=task)
        assert_sparse(handle)


class Jittery(torch.optim.SGD):
    """An optimizer that moves every weight at every step, whatever its gradient."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        super().step(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.add_(0.01)


@each_dynamic_method
def test_optimizer_that_moves_weights_without_gradient_is_held_to_the_mask(method: Method) -> None:
    handle = build(method, OptimizerCase("jittery", Jittery, {"lr": 0.01, "momentum": 0.9}))
    for _ in range(12):
        train(handle, 1)
        assert_sparse(handle)


@pytest.mark.parametrize("method", RANDOM_METHODS.values(), ids=RANDOM_METHODS)
@pytest.mark.parametrize(("slow", "quick"), [("adam-loop", "adam-foreach"), ("sgd-loop", None)])
def test_foreach_changes_no_mask(method: Method, slow: str, quick: str | None) -> None:
    cases = {case.name: case for case in OPTIMIZERS}
    left = train(build(method, cases[slow]), 21)
    other = cases[quick] if quick else OptimizerCase("", torch.optim.SGD, cases[slow].options)
    more = {} if quick else {"foreach": True}
    right = train(build(method, OptimizerCase("", other.kind, {**other.options, **more})), 21)
    assert differences(left.masks(), right.masks()) == []
    assert differences(left.model.state_dict(), right.model.state_dict()) == []


class Constantly(nn.Module):
    """A weight whose gradient is the same at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(20, 20, bias=False)
        self.register_buffer("slope", torch.linspace(-2.0, 3.0, 400).view(20, 20))

    def forward(self) -> Tensor:
        loss: Tensor = (self.layer.weight * self.get_buffer("slope")).sum()
        return loss


@pytest.mark.parametrize("fused", [False, True])
def test_first_adam_update_of_a_grown_weight_is_that_of_zeroed_moments_late_in_training(
    fused: bool,
) -> None:
    model = Constantly()
    lr = 1e-3
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, eps=1e-30, fused=fused)
    handle = sparsify(model, optimizer, density=0.3, method=SET(update_interval=INTERVAL))
    for step in range(INTERVAL):
        optimizer.zero_grad()
        model().backward()
        if step == 0:
            before = handle.masks()["layer.weight"]
        optimizer.step()
    grown = handle.masks()["layer.weight"] & ~before
    assert int(grown.sum()) > 0
    optimizer.state[model.layer.weight]["step"].fill_(1e6)
    start = model.layer.weight.detach().clone()
    assert int(torch.count_nonzero(start[grown])) == 0
    optimizer.zero_grad()
    model().backward()
    optimizer.step()
    update = (model.layer.weight.detach() - start)[grown].abs() / lr
    torch.testing.assert_close(update, torch.full_like(update, 0.1 / 0.001**0.5), rtol=1e-3, atol=0)


class WarmSET(SET):
    """Second moments of new connections begin at the mean of the others."""

    @property
    def warm_start(self) -> bool:
        return True


@pytest.mark.parametrize("storage", ["masked", "csr"])
@pytest.mark.parametrize("name", ["adam", "amsgrad", "rmsprop"])
def test_second_moments_of_new_connections_may_begin_at_the_mean_of_the_others(
    name: str, storage: Literal["masked", "csr"]
) -> None:
    model = nn.Sequential(nn.Linear(20, 30, bias=False))
    optimizer: torch.optim.Optimizer = {
        "adam": torch.optim.Adam(model.parameters()),
        "amsgrad": torch.optim.Adam(model.parameters(), amsgrad=True),
        "rmsprop": torch.optim.RMSprop(model.parameters(), momentum=0.9),
    }[name]
    method = WarmSET(drop_fraction=0.3, update_interval=2)
    handle = sparsify(model, optimizer, density=0.3, method=method, storage=storage)
    x = torch.randn(16, 20, generator=torch.Generator().manual_seed(0))
    moments = {"adam": 1, "amsgrad": 2, "rmsprop": 1}[name]
    for step in (1, 2):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        if step == 2:
            before = handle.masks()
        optimizer.step()
    (weight,) = model.parameters()
    (mask,), (old,) = handle.masks().values(), before.values()
    new = mask & ~old
    assert int(new.sum()) > 0
    state = optimizer.state[weight]
    dense = {key: densely(value, model) for key, value in state.items() if value.numel() > 1}
    seconds = [key for key in dense if key in ("exp_avg_sq", "max_exp_avg_sq", "square_avg")]
    assert len(seconds) == moments
    for key, value in dense.items():
        assert int(torch.count_nonzero(value[~mask])) == 0
        if key in seconds:
            mean = value[mask & old].mean()
            torch.testing.assert_close(value[new], mean.expand(int(new.sum())))
        else:
            assert int(torch.count_nonzero(value[new])) == 0


def densely(values: Tensor, model: nn.Module) -> Tensor:
    """Put what the optimizer keeps of the connections into the dense matrix."""
    twin = copy.deepcopy(model)
    (weight,) = twin.parameters()
    weight.data.copy_(values)
    layer = twin.get_submodule("0")
    dense = layer.to_dense().weight if isinstance(layer, SparseLinear) else weight
    return dense.detach()


def regrowing(method: Method) -> tuple[SparsityHandle, Tensor]:
    """Train a layer of ten active weights, the smallest of which has the largest gradient."""
    model = Constantly()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, betas=(0.9, 0.99))
    handle = sparsify(model, optimizer, density=0.5, method=method)
    mask = handle.masks()["layer.weight"]
    slope = model.get_buffer("slope")
    slope.zero_()
    slope[mask] = torch.linspace(1.0, 2.0, 200)
    with torch.no_grad():
        model.layer.weight[mask] = torch.linspace(0.5, 1.5, 200)
    for _ in range(INTERVAL):
        optimizer.zero_grad()
        model().backward()
        optimizer.step()
    return handle, mask


def test_rigl_leaves_a_connection_it_drops_and_grows_again_untouched() -> None:
    handle, mask = regrowing(RigL(update_interval=INTERVAL, drop_fraction=Constant(0.2)))
    static, _ = regrowing(RigL(update_interval=INTERVAL, drop_fraction=Constant(0.0)))
    assert handle.updates == 1
    # Only active connections have a gradient, so the forty dropped are the forty grown.
    assert torch.equal(handle.masks()["layer.weight"], mask)
    assert differences(handle.model.state_dict(), static.model.state_dict()) == []
    assert differences(handle.optimizer.state_dict(), static.optimizer.state_dict()) == []


def test_set_starts_a_connection_it_drops_and_grows_again_afresh() -> None:
    method = SET(update_interval=INTERVAL, drop="magnitude", drop_fraction=Constant(1.0))
    handle, mask = regrowing(method)
    after = handle.masks()["layer.weight"]
    again = mask & after
    assert 0 < int(again.sum()) < 200
    weight = dict(handle.model.named_parameters())["layer.weight"]
    for tensor in (weight, *state_of(handle.optimizer, weight).values()):
        if tensor.shape == weight.shape:
            assert int(torch.count_nonzero(tensor[again])) == 0


@each_optimizer
@pytest.mark.parametrize("method", RANDOM_METHODS.values(), ids=RANDOM_METHODS)
def test_closure_gives_the_same_run_as_a_plain_step(
    method: Method, optimizer_case: OptimizerCase
) -> None:
    plain = train(build(method, optimizer_case), 16)
    handle = build(method, optimizer_case)
    for step in range(16):

        def closure(step: int = step) -> float:
            handle.optimizer.zero_grad()
            loss = MLP.loss(handle.model, step)
            loss.backward()  # type: ignore[no-untyped-call]
            return loss.item()

        result: object = handle.optimizer.step(closure)
        assert isinstance(result, float)
    assert_same_run(handle, plain)


def test_closure_may_be_passed_by_name() -> None:
    handle = build(RigL(update_interval=INTERVAL), ADAM)
    for step in range(6):

        def closure(step: int = step) -> float:
            handle.optimizer.zero_grad()
            loss = MLP.loss(handle.model, step)
            loss.backward()  # type: ignore[no-untyped-call]
            return loss.item()

        handle.optimizer.step(closure=closure)
    assert_same_run(handle, train(build(RigL(update_interval=INTERVAL), ADAM), 6))


def lbfgs_step(model: nn.Module, optimizer: torch.optim.LBFGS, masks: dict[str, Tensor]) -> None:
    """Take one L-BFGS step; masks gradients in the closure by hand where masks are given."""
    parameters = dict(model.named_parameters())

    def closure() -> float:
        optimizer.zero_grad()
        loss = MLP.loss(model, 0)
        loss.backward()  # type: ignore[no-untyped-call]
        for name, mask in masks.items():
            gradient = parameters[name].grad
            assert gradient is not None
            gradient.mul_(mask)
        return loss.item()

    optimizer.step(closure)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("line_search", [None, "strong_wolfe"])
def test_lbfgs_with_a_static_mask_equals_lbfgs_with_gradients_masked_by_hand(
    line_search: str | None,
) -> None:
    torch.manual_seed(7)
    model = MLP.model()
    reference = copy.deepcopy(model)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, line_search_fn=line_search)
    handle = sparsify(model, optimizer, density=0.3, method="static")
    start = MLP.loss(model, 0).item()
    for _ in range(4):
        lbfgs_step(model, optimizer, {})
        assert_sparse(handle)
    assert MLP.loss(model, 0).item() < start
    by_hand = torch.optim.LBFGS(reference.parameters(), lr=0.5, line_search_fn=line_search)
    with torch.no_grad():
        for name, parameter in reference.named_parameters():
            parameter.mul_(handle.masks().get(name, torch.tensor(True)))
    for _ in range(4):
        lbfgs_step(reference, by_hand, handle.masks())
    assert differences(handle.finalize().state_dict(), reference.state_dict()) == []


@each_dynamic_method
def test_lbfgs_refuses_a_changing_topology(method: Method) -> None:
    model = MLP.model()
    with pytest.raises(UnsupportedError, match=r"LBFGS.*method='static'"):
        sparsify(model, torch.optim.LBFGS(model.parameters()), density=0.3, method=method)
    assert not any(name.endswith("_mask") for name, _ in model.named_buffers())


def test_optimizer_with_state_that_no_mask_fits_warns_once_and_stays_sparse() -> None:
    case = OptimizerCase("adafactor", torch.optim.Adafactor, {"lr": 0.01})
    handle = build(RigL(update_interval=INTERVAL), case)
    with pytest.warns(UserWarning, match=r"Adafactor keeps .* left as it is") as caught:
        train(handle, 12)
    assert len(caught) == 1
    assert_sparse(handle)


def test_one_optimizer_may_train_two_sparse_models() -> None:
    torch.manual_seed(7)
    first, second = MLP.model(), MLP.model()
    optimizer = torch.optim.Adam([*first.parameters(), *second.parameters()], lr=0.01)
    handles = [
        sparsify(first, optimizer, density=0.2, method=RigL(update_interval=INTERVAL)),
        sparsify(second, optimizer, density=0.5, method=SET(update_interval=3)),
    ]
    counts = [layer_counts(handle) for handle in handles]
    for step in range(13):
        optimizer.zero_grad()
        (MLP.loss(first, step) + MLP.loss(second, step)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert [handle.updates for handle in handles] == [2, 4]
    for handle, count in zip(handles, counts, strict=True):
        assert_sparse(handle)
        assert layer_counts(handle) == count


@pytest.mark.parametrize("scheduler_first", [False, True])
def test_learning_rate_scheduler_works_before_and_after_sparsify(scheduler_first: bool) -> None:
    torch.manual_seed(7)
    model = MLP.model()
    optimizer = MOMENTUM(model.parameters())
    if scheduler_first:
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    handle = sparsify(model, optimizer, density=0.3, method=RigL(update_interval=INTERVAL))
    if not scheduler_first:
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    for _ in range(7):
        train(handle, 1)
        scheduler.step()
        assert_sparse(handle)
    assert handle.step == 7
    assert handle.updates == 1
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.02 * 0.01)


def test_muon_keeps_a_static_mask_as_a_hand_written_loop_does() -> None:
    def square() -> nn.Module:
        torch.manual_seed(7)
        return nn.Sequential(nn.Linear(12, 16, bias=False), nn.Tanh(), nn.Linear(16, 4, bias=False))

    model, reference = square(), square()
    handle = sparsify(model, torch.optim.Muon(model.parameters(), lr=0.01), density=0.3)
    masks = handle.masks()
    train_masked(reference, torch.optim.Muon(reference.parameters(), lr=0.01), masks, 8)
    train(handle, 8)
    assert_sparse(handle)
    assert differences(handle.finalize().state_dict(), reference.state_dict()) == []
