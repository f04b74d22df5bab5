"""Which layers become truly sparse, what is carried over, and is everything else left alone?"""

import copy
import math
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrizations
from torch.optim import Optimizer

from sparsewire.core import (
    GMP,
    SET,
    CheckpointError,
    InfeasibleDensityError,
    InvalidArgumentError,
    Method,
    NonFiniteError,
    SetEpsilon,
    SparseLinear,
    SparsewireError,
    SparsityHandle,
    StateError,
    UnknownLayerError,
    UnknownMethodError,
    UnsupportedError,
    sparsify,
)
from tests.core.csr.engine_helpers import (
    ADAM,
    CASES,
    MLP64,
    MOMENTUM,
    SGD,
    LargestTensor,
    Layout,
    Storage,
    advance,
    assert_agree,
    assert_close,
    assert_same_masks,
    assert_sound,
    backward,
    both,
    double,
    each_layout,
    each_method_name,
    each_storage,
    picture,
    sparse_layers,
    start,
    use_layout,
)
from tests.core.helpers import (
    INTERVAL,
    METHODS,
    MLP,
    TASKS,
    OptimizerCase,
    Task,
    convolutional,
    differences,
    each_optimizer,
    each_task,
    gaussian,
    mlp,
    state_of,
)

RIGL, RANDOM = METHODS["rigl"], METHODS["set"]


def storages(handle: SparsityHandle) -> dict[str, str]:
    return {row.name: row.storage for row in handle.summary().layers}


def attempt(model: nn.Module, storage: Storage = "csr", **options: Any) -> SparsityHandle:
    """Sparsify a model to density 0.3 and the given options."""
    optimizer = options.pop("optimizer", None) or MOMENTUM(model.parameters())
    return sparsify(
        model, optimizer, **{"density": 0.3, "method": RANDOM, "storage": storage, **options}
    )


def x64(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3)).double()


# All kinds of models


def kinds() -> list[Any]:
    """Return methods with tasks; in attention, signs of gradients that should be 0 decide SET."""
    pairs = [(name, task) for task in TASKS for name in ("rigl", "set", "gmp")]
    return [
        pytest.param(name, task, id=f"{name}-{task.name}")
        for name, task in pairs
        if (name, task.name) != ("set", "attention")
    ]


@pytest.mark.parametrize(("name", "task"), kinds())
def test_models_of_every_kind_agree_in_both_storages(name: str, task: Task) -> None:
    wide = Task(task.name, lambda: task.model().double(), lambda g: _double(task.batch(g)))
    masked, csr = both(METHODS[name], ADAM, wide.model, include=task.include)
    for _ in range(2):
        advance(masked, INTERVAL, wide)
        advance(csr, INTERVAL, wide)
        assert_same_masks(masked, csr)
    assert_agree(masked, csr, 1e-9)
    assert_sound(csr)
    assert len(storages(csr)) == len(storages(masked))


def _double(x: Tensor) -> Tensor:
    return x.double() if x.is_floating_point() else x


def test_linear_layers_beside_convolutions_become_sparse_and_the_others_masked() -> None:
    handle = attempt(convolutional())
    assert storages(handle) == {
        "0.weight": "masked",
        "3.weight": "masked",
        "6.weight": "masked",
        "9.weight": "csr",
    }
    assert {name for name, _ in handle.model.named_buffers() if name.endswith("_mask")} == {
        "0.weight_mask",
        "3.weight_mask",
        "6.weight_mask",
    }


@each_task
@pytest.mark.parametrize("method", [RIGL, GMP(update_interval=INTERVAL, end=26)], ids=str)
def test_summary_states_the_same_costs_in_both_storages(task: Task, method: Method) -> None:
    def build() -> nn.Module:
        return task.model().double()

    masked, csr = both(method, MOMENTUM, build, include=task.include)
    example = _double(task.batch(torch.Generator().manual_seed(0)))
    for inputs in (None, example):
        ours, theirs = masked.summary(inputs), csr.summary(inputs)
        for name in ("parameters", "dense_parameters", "n_small", "left_dense", "density"):
            assert getattr(ours, name) == getattr(theirs, name), name
        for name in ("flops", "dense_flops", "training_flops", "dense_training_flops"):
            assert getattr(ours, name) == getattr(theirs, name), name
        rows = [
            [(r.name, r.shape, r.active, r.explored, r.flops, r.dense_flops) for r in s.layers]
            for s in (ours, theirs)
        ]
        assert rows[0] == rows[1]
    assert masked.density() == csr.density()
    assert_same_masks(masked, csr)


def test_mask_is_a_new_dense_tensor() -> None:
    handle = attempt(mlp())
    mask = handle.masks()["0.weight"]
    assert (mask.dtype, mask.shape) == (torch.bool, (16, 12))
    mask.fill_(True)
    assert int(handle.masks()["0.weight"].sum()) < mask.numel()


@each_method_name
@each_storage
def test_initial_weights_are_those_of_the_dense_model(name: str, storage: Storage) -> None:
    torch.manual_seed(7)
    dense = mlp()
    handle = start(storage, METHODS[name], SGD, mlp)
    weights = picture(handle.model, handle.optimizer)
    for key, mask in handle.masks().items():
        assert torch.equal(weights[f"{key}/"], dense.get_parameter(key) * mask)
    assert torch.equal(weights["0.bias/"], dense.get_parameter("0.bias"))


# What is carried over


@each_layout
@each_optimizer
def test_optimizer_that_has_trained_the_dense_model_goes_on(
    optimizer_case: OptimizerCase, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_layout(monkeypatch, layout)
    runs = []
    for storage in ("masked", "csr"):
        torch.manual_seed(7)
        model = MLP64.model()
        optimizer = optimizer_case(model.parameters())
        for step in range(4):
            optimizer.zero_grad()
            backward(MLP64.loss(model, 100 + step))
            optimizer.step()
        before = picture(model, optimizer)
        handle = sparsify(model, optimizer, density=0.3, method=RIGL, storage=storage)
        masks = handle.masks()
        for key, tensor in picture(model, optimizer).items():
            mask = masks.get(key.rpartition("/")[0])
            whole = mask is not None and tensor.shape == mask.shape
            if storage == "csr" or key.endswith("/"):
                expected = torch.where(mask, before[key], 0.0) if whole else before[key]  # type: ignore[arg-type]
                assert torch.equal(tensor, expected), key
        runs.append(advance(handle, 3 * INTERVAL))
    assert_agree(runs[0], runs[1], 1e-8 if optimizer_case.options.get("centered") else 1e-11)


@pytest.mark.parametrize("case", [MOMENTUM, ADAM, CASES["adam-fused"]], ids=str)
@pytest.mark.parametrize("name", ["rigl", "gmp"])
def test_parameter_groups_keep_their_parameters_and_options(name: str, case: OptimizerCase) -> None:
    runs = []
    for storage in ("masked", "csr"):
        torch.manual_seed(7)
        model = MLP64.model()
        groups = [
            {"params": [model.get_parameter("4.weight")], "lr": 0.001, "weight_decay": 0.1},
            {"params": [model.get_parameter(f"{i}.bias") for i in (0, 2, 4)], "lr": 0.05},
            {"params": [model.get_parameter(f"{i}.weight") for i in (2, 0)]},
        ]
        optimizer = case(groups)
        handle = sparsify(model, optimizer, density=0.3, method=METHODS[name], storage=storage)
        advance(handle, 2 * INTERVAL)
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        found = [[names[id(p)] for p in group["params"]] for group in optimizer.param_groups]
        assert found == [["4.weight"], ["0.bias", "2.bias", "4.bias"], ["2.weight", "0.weight"]]
        assert [g["lr"] for g in optimizer.param_groups] == [0.001, 0.05, case.options["lr"]]
        assert set(optimizer.state) <= set(model.parameters()), "state of a parameter that is gone"
        runs.append(handle)
    assert_agree(runs[0], runs[1])


def test_biases_and_everything_else_stay_the_same_objects() -> None:
    model = convolutional()
    before = dict(model.named_parameters())
    attempt(model)
    after = dict(model.named_parameters())
    assert list(before) == list(after)
    assert {name for name in before if before[name] is not after[name]} == {"9.weight"}
    assert all(after[name].requires_grad for name in after)


def test_mode_dtype_and_missing_bias_are_taken_over() -> None:
    model = nn.Sequential(nn.Linear(8, 6, bias=False), nn.Linear(6, 4)).double().eval()
    handle = attempt(model)
    first, second = (cast(SparseLinear, layer) for layer in model)
    assert (first.bias, first.training, second.training) == (None, False, False)
    assert first.weight.dtype == torch.float64
    assert "0.bias" not in handle.model.state_dict()


def test_weight_that_lies_transposed_in_memory_is_converted() -> None:
    def build() -> nn.Module:
        layer = nn.Linear(6, 9).double()
        layer.weight = nn.Parameter(layer.weight.detach().t().contiguous().t())
        return nn.Sequential(layer)

    masked, csr = both(RIGL, ADAM, build)
    task = Task("t", build, double(Task("t", build, gaussian(4, 6))).batch)
    advance(masked, 7, task)
    advance(csr, 7, task)
    assert_agree(masked, csr)


def test_learning_rate_scheduler_made_before_is_obeyed() -> None:
    runs = []
    for storage in ("masked", "csr"):
        torch.manual_seed(7)
        model = MLP64.model()
        optimizer = MOMENTUM(model.parameters())
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.5)
        handle = sparsify(model, optimizer, density=0.3, method=RIGL, storage=storage)
        for _ in range(12):
            advance(handle, 1)
            scheduler.step()
        runs.append(handle)
    assert_agree(runs[0], runs[1])


class Alias(nn.Module):
    """One layer registered under two names, at two depths."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(12, 12)
        self.blocks = nn.ModuleList([nn.Linear(12, 12), self.first])
        self.last = self.blocks[0]

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.last(self.blocks[1](self.first(x).tanh()).tanh())
        return output


@pytest.mark.parametrize("name", ["set", "rigl", "gmp"])
def test_layer_with_two_names_is_replaced_under_both(name: str) -> None:
    task = Task("alias", lambda: Alias().double(), MLP64.batch)
    masked, csr = both(METHODS[name], MOMENTUM, task.model)
    advance(masked, 2 * INTERVAL, task)
    advance(csr, 2 * INTERVAL, task)
    assert_agree(masked, csr)
    model: Any = csr.model
    assert model.first is model.blocks[1]
    assert model.last is model.blocks[0]
    assert set(storages(csr).values()) == {"csr"}
    csr.finalize()
    assert model.first is model.blocks[1]
    assert model.last is model.blocks[0]
    assert type(model.first) is type(model.last) is nn.Linear


class Listed(nn.Module):
    """Layers registered by name and walked through by a plain list, as many people write it."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(12, 12), nn.Linear(12, 4)
        self.layers = [self.fc1, self.fc2]

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x).tanh()
        return x


def test_layer_that_its_parent_also_holds_in_a_plain_list_learns_or_stays_masked() -> None:
    task = Task("listed", lambda: Listed().double(), MLP64.batch)
    masked, csr = both(RANDOM, MOMENTUM, task.model)
    advance(masked, 7, task)
    advance(csr, 7, task)
    assert_agree(masked, csr)


def test_layer_compiled_by_itself_learns_or_stays_masked() -> None:
    def build() -> nn.Module:
        model: Any = MLP64.model()
        model[0] = torch.compile(model[0], backend="eager")
        return cast(nn.Module, model)

    masked, csr = both(RANDOM, MOMENTUM, build)
    advance(masked, 7)
    advance(csr, 7)
    assert_agree(masked, csr)


def test_compiled_model_is_unwrapped() -> None:
    torch.manual_seed(7)
    model = MLP64.model()
    compiled = cast(nn.Module, torch.compile(model, backend="eager"))
    optimizer = ADAM(compiled.parameters())
    handle = sparsify(compiled, optimizer, density=0.3, method=RIGL, storage="csr")
    assert handle.model is model
    assert_agree(advance(start("masked", RIGL, ADAM), 7), advance(handle, 7))


# What stays masked, what stays dense, and why


class Subclass(nn.Linear):
    """A linear layer with a forward pass of its own."""


def hooked(register: Callable[[nn.Linear], object]) -> nn.Module:
    model = MLP64.model()
    register(cast(nn.Linear, model.get_submodule("2")))
    return model


def replaced(layer: nn.Module) -> nn.Module:
    model = MLP64.model()
    model.get_submodule("")._modules["2"] = layer
    return model


def patched() -> nn.Module:
    model = MLP64.model()
    layer = cast(nn.Linear, model.get_submodule("2"))
    layer.forward = lambda x: 2 * F.linear(x, layer.weight, layer.bias)  # type: ignore[method-assign,assignment]
    return model


def _double_input(module: nn.Module, inputs: Any, outputs: Any) -> tuple[Tensor]:
    return (2 * inputs[0],)


def _double_output(module: nn.Module, outputs: Any) -> tuple[Tensor]:
    return (2 * outputs[0],)


def _double_weight(layer: Any) -> object:
    handle: object = layer.weight.register_hook(lambda gradient: 2 * gradient)
    return handle


def _double_weight_late(layer: Any) -> object:
    handle: object = layer.weight.register_post_accumulate_grad_hook(_double_gradient)
    return handle


def _double_gradient(parameter: Tensor) -> None:
    assert parameter.grad is not None
    parameter.grad.mul_(2)


KEPT: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "subclass": (lambda: replaced(Subclass(16, 16).double()), "Subclass"),
    "bf16": (lambda: replaced(nn.Linear(16, 16).bfloat16()), "bfloat16"),
    "forward hook": (
        lambda: hooked(lambda m: m.register_forward_hook(lambda m, x, y: 2 * y)),
        "hook",
    ),
    "forward pre-hook": (
        lambda: hooked(lambda m: m.register_forward_pre_hook(lambda m, x: (2 * x[0],))),
        "hook",
    ),
    "backward hook": (
        lambda: hooked(lambda m: m.register_full_backward_hook(_double_input)),
        "hook",
    ),
    "backward pre-hook": (
        lambda: hooked(lambda m: m.register_full_backward_pre_hook(_double_output)),
        "hook",
    ),
    "weight hook": (lambda: hooked(_double_weight), "hook"),
    "weight hook after accumulation": (
        lambda: hooked(_double_weight_late),
        "hook",
    ),
    "forward method of its own": (patched, ""),
}


@pytest.mark.parametrize(("build", "reason"), KEPT.values(), ids=KEPT)
def test_linear_layer_that_cannot_be_replaced_stays_masked(
    build: Callable[[], nn.Module], reason: str
) -> None:
    handle = start("csr", RANDOM, MOMENTUM, build)
    assert storages(handle) == {"0.weight": "csr", "2.weight": "masked", "4.weight": "csr"}
    assert handle.model.get_buffer("2.weight_mask").dtype == torch.bool


@pytest.mark.parametrize(("build", "reason"), KEPT.values(), ids=KEPT)
def test_linear_layer_that_cannot_be_replaced_trains_as_in_a_masked_run(
    build: Callable[[], nn.Module], reason: str
) -> None:
    if reason == "bfloat16":
        pytest.skip("does not fit beside double precision")
    masked, csr = both(RIGL, MOMENTUM, build)
    assert_agree(advance(masked, 7), advance(csr, 7))


@pytest.mark.parametrize(("build", "reason"), list(KEPT.values())[:-1], ids=list(KEPT)[:-1])
def test_summary_tells_why_a_linear_layer_stays_masked(
    build: Callable[[], nn.Module], reason: str
) -> None:
    assert reason in str(start("csr", RANDOM, MOMENTUM, build).summary())


def test_model_that_is_a_linear_layer_itself_stays_masked() -> None:
    handle = start("csr", RIGL, MOMENTUM, lambda: nn.Linear(12, 8).double())
    assert storages(handle) == {"weight": "masked"}
    advance(handle, 7, MLP64)


def test_summary_tells_why_the_model_itself_stays_masked() -> None:
    handle = start("csr", RIGL, MOMENTUM, lambda: nn.Linear(12, 8).double())
    assert "nn.Sequential" in str(handle.summary())


def test_layers_that_torch_looks_into_stay_masked() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, dropout=0.0, batch_first=True)
    model = nn.Sequential(nn.Linear(5, 8), nn.TransformerEncoder(layer, 2), nn.Linear(8, 3))
    handle = attempt(model)
    csr = {name for name, storage in storages(handle).items() if storage == "csr"}
    assert csr == {"0.weight", "2.weight"}
    x = torch.randn(2, 3, 5)
    training = model(x)
    model.eval()
    with torch.inference_mode():
        torch.testing.assert_close(model(x), training, rtol=1e-4, atol=1e-5)  # the fused path


def test_decoder_layers_become_sparse_and_work() -> None:
    layer = nn.TransformerDecoderLayer(8, 2, dim_feedforward=16, dropout=0.0, batch_first=True)
    handle = attempt(nn.Sequential(layer))
    assert storages(handle)["0.linear1.weight"] == "csr"
    assert storages(handle)["0.self_attn.out_proj.weight"] == "masked"
    x = torch.randn(2, 3, 8)
    backward(layer(x, x).square().sum())
    handle.optimizer.step()


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 4)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.c(self.b(self.a(x).tanh()))
        return output


def test_tied_weights_stay_tied_and_masked() -> None:
    task = Task("tied", lambda: Tied().double(), MLP64.batch)
    masked, csr = both(RIGL, ADAM, task.model)
    advance(masked, 7, task)
    advance(csr, 7, task)
    assert_agree(masked, csr)
    assert storages(csr) == {"a.weight": "masked", "c.weight": "csr"}
    model: Any = csr.model
    assert model.a.weight is model.b.weight


def test_shared_bias_stays_shared() -> None:
    def build() -> nn.Module:
        model: Any = Tied().double()
        model.b.weight = nn.Parameter(model.a.weight.detach().clone())
        model.b.bias = model.a.bias
        return cast(nn.Module, model)

    task = Task("bias", build, MLP64.batch)
    masked, csr = both(RIGL, ADAM, build)
    advance(masked, 7, task)
    advance(csr, 7, task)
    assert_agree(masked, csr)
    model: Any = csr.model
    assert model.a.bias is model.b.bias


DENSE: dict[str, tuple[Callable[[], nn.Module], dict[str, Any], str]] = {
    "excluded": (MLP64.model, {"exclude": "0"}, "excluded by name"),
    "not included": (MLP64.model, {"include": ["2", "4"]}, "not in include"),
    "frozen": (
        lambda: hooked(lambda m: m.requires_grad_(False)),
        {},
        "frozen (requires_grad=False)",
    ),
    "parametrized": (
        lambda: hooked(lambda m: parametrizations.orthogonal(m)),
        {},
        "behind a parametrization",
    ),
}


@pytest.mark.parametrize(("build", "options", "reason"), DENSE.values(), ids=DENSE)
def test_linear_layer_that_is_left_dense_is_listed_with_the_reason(
    build: Callable[[], nn.Module], options: dict[str, Any], reason: str
) -> None:
    handle = start("csr", RANDOM, MOMENTUM, build, **options)
    assert set(storages(handle).values()) == {"csr"}
    layer = "0" if "clude" in reason else "2"
    assert isinstance(handle.model.get_submodule(layer), nn.Linear)
    assert any(reason in why for _, _, why in handle.summary().left_dense)
    assert reason in str(handle.summary())
    advance(handle, 7)


def test_layer_the_optimizer_does_not_hold_stays_dense() -> None:
    model = MLP64.model()
    optimizer = SGD([p for name, p in model.named_parameters() if not name.startswith("2")])
    handle = sparsify(model, optimizer, density=0.3, storage="csr")
    assert set(storages(handle)) == {"0.weight", "4.weight"}
    assert ("2.weight", (16, 16), "not in the optimizer") in handle.summary().left_dense


def test_masked_storage_replaces_nothing() -> None:
    model = mlp()
    modules = list(model.modules())
    attempt(model, "masked")
    assert all(a is b for a, b in zip(model.modules(), modules, strict=True))


# A SparseLinear of the user's own


def own(n_connections: int = 40) -> nn.Sequential:
    generator = torch.Generator().manual_seed(0)
    layer = SparseLinear(12, 16, n_connections=n_connections, generator=generator)
    return nn.Sequential(layer, nn.Tanh(), nn.Linear(16, 4)).double()


def only_own() -> nn.Sequential:
    return nn.Sequential(own()[0], nn.Tanh())


@each_storage
@pytest.mark.parametrize("name", ["set", "rigl", "itop", "static"])
def test_own_layer_keeps_its_connections_and_is_trained(name: str, storage: Storage) -> None:
    model = own()
    layer = cast(SparseLinear, model[0])
    before = layer.positions(), layer.values(), layer.weight
    handle = attempt(model, storage, method=METHODS[name], density=0.25)
    assert model[0] is layer
    assert torch.equal(layer.positions(), before[0])
    assert torch.equal(layer.values(), before[1])
    assert storages(handle) == {"0.weight": "csr", "2.weight": storage}
    assert [row.active for row in handle.summary().layers] == [40, 16]
    assert handle.density() == 56 / (12 * 16 + 16 * 4)
    advance(handle, 2 * INTERVAL)
    assert layer.n_connections == 40
    assert layer.weight is before[2]
    assert torch.equal(layer.positions(), before[0]) == (name == "static")
    assert_sound(handle)
    assert handle.finalize()[0] is layer  # type: ignore[index]
    assert type(model[2]) is nn.Linear


def test_own_layers_alone_need_no_density() -> None:
    handle = attempt(only_own(), density=None)
    assert handle.density() == 40 / 192
    assert_sound(advance(handle, INTERVAL, Task("own", only_own, MLP64.batch)))


@each_storage
def test_density_that_could_have_no_effect_is_refused(storage: Storage) -> None:
    refused(InvalidArgumentError, "density=0.3 has no effect", only_own(), storage=storage)


@each_storage
def test_missing_density_beside_an_own_layer_is_refused(storage: Storage) -> None:
    refused(InvalidArgumentError, "density", own(), density=None, storage=storage)
    assert attempt(own(), storage, density=None, allocation=SetEpsilon(1)).density() > 0


def test_own_layer_excluded_or_frozen_is_left_alone() -> None:
    for options in ({"exclude": "0"}, {"exclude": SparseLinear}, {}):
        model = own()
        if not options:
            model[0].requires_grad_(False)
        handle = attempt(model, method=RIGL, **options)
        before = copy.deepcopy(model[0].state_dict())
        advance(handle, INTERVAL)
        index = {key: value for key, value in before.items() if "indices" in key}
        assert differences({k: model[0].state_dict()[k] for k in index}, index) == []
        assert storages(handle) == {"2.weight": "csr"}


def test_own_layer_left_out_counts_with_the_parameters_it_has() -> None:
    whole, part = attempt(own()), attempt(own(), exclude="0", density=0.25)
    assert part.summary().parameters == 40 + 16 + 16 + 4
    assert whole.summary().dense_parameters == part.summary().dense_parameters


def test_own_layer_left_out_is_charged_to_the_model_budget_with_the_parameters_it_has() -> None:
    handle = attempt(own(), exclude="0", budget="model", density=0.5)
    own_and_biases = handle.model[0].weight.numel() + 16 + 4  # type: ignore[index]
    assert handle.summary().parameters == round(0.5 * (own_and_biases + 16 * 4))


def test_gradual_pruning_of_an_own_layer_works_or_is_refused_at_once() -> None:
    model = own()
    try:
        handle = attempt(model, method=GMP(update_interval=INTERVAL, end=26))
    except SparsewireError as error:
        assert "GMP" in str(error)  # noqa: PT017
    else:
        assert_sound(advance(handle, 30))


def test_own_layer_without_connections_is_left_alone() -> None:
    handle = attempt(own(0), method=RIGL)
    assert storages(handle) == {"2.weight": "csr"}
    assert ("0.weight", (16, 12), "empty") in handle.summary().left_dense
    advance(handle, 7)


def test_full_own_layer_keeps_all_its_connections() -> None:
    handle = attempt(own(192), method=RIGL)
    assert_sound(advance(handle, 2 * INTERVAL))
    assert next(row.active for row in handle.summary().layers) == 192


# Layers without weights


def on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return build()


@each_optimizer
def test_model_on_the_meta_device_is_built_sparse_and_trains(optimizer_case: OptimizerCase) -> None:
    model = on_meta(MLP64.model)
    optimizer = optimizer_case(model.parameters())
    handle = sparsify(model, optimizer, density=0.3, method=RIGL, storage="csr")
    assert set(storages(handle).values()) == {"csr"}
    for parameter in model.parameters():
        assert parameter.device.type == "cpu"
        assert bool(parameter.isfinite().all())
        for value in state_of(optimizer, parameter).values():
            assert value.device.type == "cpu"
    before = MLP64.loss(model, 0).item()
    advance(handle, 2 * INTERVAL)
    assert_sound(handle)
    assert MLP64.loss(model, 0).item() != before
    for parameter in model.parameters():
        assert bool(parameter.isfinite().all())
        assert all(bool(v.isfinite().all()) for v in state_of(optimizer, parameter).values())


def test_state_that_adagrad_makes_on_the_meta_device_starts_at_its_initial_value() -> None:
    model = on_meta(mlp)
    optimizer = CASES["adagrad-initial"](model.parameters())
    sparsify(model, optimizer, density=0.3, method=RANDOM, storage="csr")
    for parameter in model.parameters():
        value = optimizer.state[parameter]["sum"]
        assert torch.equal(value, torch.full_like(parameter, 0.1))


@pytest.mark.parametrize("storage", ["csr", "auto"])
@each_method_name
def test_topology_of_a_meta_model_is_that_of_a_real_one(name: str, storage: Storage) -> None:
    real = attempt(mlp(), method=METHODS[name], seed=5)
    meta = attempt(on_meta(mlp), storage, method=METHODS[name], seed=5)
    assert_same_masks(real, meta)
    assert storages(real) == storages(meta)
    assert list(real.model.state_dict()) == list(meta.model.state_dict())


def test_initial_weights_of_a_meta_model_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = attempt(on_meta(mlp), seed=5).model.state_dict()
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again = attempt(on_meta(mlp), seed=5).model.state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert differences(first, again) == []
    other = attempt(on_meta(mlp), seed=6).model.state_dict()
    assert not torch.equal(first["0.bias"], other["0.bias"])
    assert not torch.equal(first["0.bias"], first["2.bias"])


def test_initial_weights_of_a_meta_model_are_scaled_by_the_connections_there_are() -> None:
    model = on_meta(lambda: nn.Sequential(nn.Linear(400, 300)))
    attempt(model, density=0.05)
    layer = cast(SparseLinear, model[0])  # type: ignore[index]
    bound = 1 / math.sqrt(layer.n_connections / 300)
    values = layer.values()
    assert 0.98 * bound < float(values.abs().max()) <= bound
    assert abs(float(values.mean())) < 0.05 * bound
    assert float(values.std()) == pytest.approx(bound / math.sqrt(3), rel=0.05)


def test_meta_model_is_initialised_alike_in_both_layouts(monkeypatch: pytest.MonkeyPatch) -> None:
    handles = []
    for layout in ("csr", "csc"):
        use_layout(monkeypatch, layout)
        handles.append(attempt(on_meta(mlp)))
    pictures = [picture(handle.model, handle.optimizer) for handle in handles]
    assert_close(pictures[0], pictures[1])


def test_no_dense_weight_is_ever_made_of_a_meta_layer() -> None:
    model = on_meta(lambda: nn.Sequential(nn.Linear(3000, 2000)))
    optimizer = ADAM(model.parameters())
    with LargestTensor() as mode:  # type: ignore[no-untyped-call]
        handle = sparsify(
            model, optimizer, density=0.0005, method=SET(1), storage="csr", allocation="uniform"
        )
        for _ in range(2):
            backward(model(torch.ones(1, 3000)).sum())
            optimizer.step()
    assert handle.updates == 2
    assert 3000 <= mode.largest <= 16 * 3000  # the padded batch
    handle.finalize()


def _halves() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 16), nn.Linear(16, 4))


META_REFUSED: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "convolution": (lambda: nn.Sequential(nn.Conv1d(3, 4, 2), nn.Linear(4, 4)), {}),
    "recurrent": (lambda: nn.Sequential(nn.Linear(4, 4), nn.LSTM(4, 4)), {}),
    "normalisation": (lambda: nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)), {}),
    "embedding": (lambda: nn.Sequential(nn.Embedding(4, 4), nn.Linear(4, 4)), {}),
    "subclass": (lambda: nn.Sequential(nn.Linear(4, 4), Subclass(4, 4)), {}),
    "linear excluded": (_halves, {"exclude": "1"}),
    "linear not included": (_halves, {"include": "0"}),
    "half precision": (lambda: nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4).half()), {}),
    "tied": (Tied, {}),
    "attention": (lambda: nn.Sequential(nn.Linear(8, 8), nn.MultiheadAttention(8, 2)), {}),
    "encoder": (lambda: nn.Sequential(nn.Linear(8, 8), nn.TransformerEncoderLayer(8, 2, 8)), {}),
    "model itself": (lambda: nn.Linear(4, 4), {}),
    "masked": (mlp, {"storage": "masked"}),
}


@pytest.mark.parametrize(("build", "options"), META_REFUSED.values(), ids=META_REFUSED)
def test_meta_layer_that_cannot_become_sparse_is_refused(
    build: Callable[[], nn.Module], options: dict[str, Any]
) -> None:
    refused(StateError, "meta", on_meta(build), **options)


@pytest.mark.parametrize("storage", ["csr", "auto"])
def test_frozen_meta_layer_is_refused(storage: Storage) -> None:
    model = on_meta(_halves)
    model.get_submodule("1").requires_grad_(False)
    refused(StateError, "meta", model, storage=storage)


def test_meta_layer_beside_real_ones_is_replaced() -> None:
    model = convolutional()
    model.get_submodule("")._modules["9"] = nn.Linear(4, 3, device="meta")
    handle = attempt(model)
    assert storages(handle)["9.weight"] == "csr"
    advance(handle, 2, TASKS[1])
    handle.finalize()
    assert all(p.device.type == "cpu" for p in model.parameters())


def test_meta_layers_that_share_a_bias_go_on_sharing_it() -> None:
    def build() -> nn.Module:
        model: Any = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        model[1].bias = model[0].bias
        return cast(nn.Module, model)

    model: Any = on_meta(build)
    handle = attempt(model)
    held = {id(p) for group in handle.optimizer.param_groups for p in group["params"]}
    assert model[0].bias is model[1].bias
    assert all(id(p) in held for p in model.parameters())


BIG_META = textwrap.dedent(
    """
    import resource, torch
    from torch import nn
    from sparsewire.core import SET, SetEpsilon, sparsify

    torch.set_num_threads(1)

    def reserved() -> int:
        lines = open("/proc/self/status").read().splitlines()
        return int(next(l for l in lines if l.startswith("VmSize")).split()[1]) * 1024

    def run(n: int) -> None:
        layers = [nn.Linear(n, n, device="meta") for _ in range(3)]
        model = nn.Sequential(*layers, nn.Linear(n, 5, device="meta"))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        allocation, method = SetEpsilon(2), SET(update_interval=1)
        sparsify(model, optimizer, allocation=allocation, method=method, storage="csr")
        model(torch.ones(1, n)).sum().backward()
        optimizer.step()

    run(100)
    limit = reserved() + 300 * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    run(50000)  # one dense weight would take 10 GB
    """
)


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_network_too_large_for_memory_is_built_from_the_meta_device() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BIG_META], capture_output=True, text=True, check=False, timeout=110
    )
    assert done.returncode == 0, done.stderr[-2000:]


# Errors change nothing


def everything(model: nn.Module, optimizer: Any) -> dict[str, Any]:
    """Return all that an error must not change."""
    found: dict[str, Any] = {
        "modules": [id(module) for module in model.modules()],
        "names": [name for name, _ in model.named_modules()],
        "parameters": [id(parameter) for parameter in model.parameters()],
        "model": {
            key: type(value) if is_lazy(value) or value.is_meta else value.clone()
            for key, value in model.state_dict().items()
        },
        "random": torch.get_rng_state(),
    }
    if isinstance(optimizer, Optimizer):
        state = copy.deepcopy(optimizer.state_dict()["state"])
        found["state"] = {} if any(p.is_meta for p in model.parameters()) else state
        found["held"] = [[id(p) for p in g["params"]] for g in optimizer.param_groups]
        found["hooks"] = [
            list(getattr(optimizer, f"_optimizer_{name}_hooks"))
            for name in ("step_pre", "step_post", "load_state_dict_post")
        ]
    return found


def refused(error: type[SparsewireError], part: str, model: nn.Module, **options: Any) -> None:
    """Assert that sparsify refuses, says `part`, and leaves model and optimizer as they were."""
    optimizer = options.pop("optimizer", None) or ADAM(model.parameters())
    before = everything(model, optimizer)
    with pytest.raises(error) as caught:
        attempt(model, optimizer=optimizer, **options)
    assert part in str(caught.value)
    assert differences(everything(model, optimizer), before) == []


def trained() -> tuple[nn.Module, Optimizer]:
    model = MLP64.model()
    optimizer = ADAM(model.parameters())
    for step in range(3):
        backward(MLP64.loss(model, step))
        optimizer.step()
    return model, optimizer


WRONG: dict[str, tuple[type[SparsewireError], str, dict[str, Any]]] = {
    "density": (InvalidArgumentError, "density must be a number in (0, 1]", {"density": 2}),
    "no density": (InvalidArgumentError, "got None", {"density": None}),
    "too little": (InfeasibleDensityError, "density 0.001", {"density": 0.001}),
    "method": (UnknownMethodError, "unknown method 'rigel'", {"method": "rigel"}),
    "allocation": (UnknownMethodError, "unknown allocation", {"allocation": "ekr"}),
    "allocation name": (UnknownLayerError, "'head'", {"allocation": {"head": 0.5}}),
    "include": (UnknownLayerError, "'head'", {"include": "head"}),
    "exclude": (UnknownLayerError, "'head'", {"exclude": "head"}),
    "budget": (InvalidArgumentError, "'maskable' or 'model'", {"budget": "all"}),
    "model budget": (
        InfeasibleDensityError,
        "dense parameters",
        {"budget": "model", "density": 0.05},
    ),
    "seed": (InvalidArgumentError, "seed must be an integer >= 0", {"seed": -1}),
}


@pytest.mark.parametrize("storage", ["csr", "auto"])
@pytest.mark.parametrize(("error", "part", "options"), WRONG.values(), ids=WRONG)
def test_wrong_argument_is_refused_and_changes_nothing(
    error: type[SparsewireError], part: str, options: dict[str, Any], storage: Storage
) -> None:
    model, optimizer = trained()
    refused(error, part, model, optimizer=optimizer, storage=storage, **options)


@pytest.mark.parametrize("storage", ["dense", "CSR", "", None, True, 3, ["csr"]], ids=repr)
def test_unknown_storage_is_refused_and_changes_nothing(storage: Any) -> None:
    model, optimizer = trained()
    part = f"storage must be 'masked', 'csr' or 'auto', got {storage!r}"
    refused(InvalidArgumentError, part, model, optimizer=optimizer, storage=storage)


def test_weights_that_are_not_finite_are_refused_and_change_nothing() -> None:
    model, optimizer = trained()
    with torch.no_grad():
        model.get_parameter("4.weight")[1, 2] = math.inf
    refused(NonFiniteError, "4.weight contains NaN", model, optimizer=optimizer)


def test_lazy_layers_are_refused_and_nothing_is_changed() -> None:
    refused(StateError, "run one batch", nn.Sequential(nn.Linear(4, 4), nn.LazyLinear(3)))


def test_lbfgs_with_a_changing_topology_is_refused_and_nothing_is_changed() -> None:
    model = mlp()
    refused(UnsupportedError, "LBFGS", model, optimizer=torch.optim.LBFGS(model.parameters()))


def _flat(parameters: Any) -> Optimizer:
    return torch.optim.LBFGS(parameters, lr=0.1, max_iter=3)


NOT_ELEMENTWISE: dict[str, Callable[[Any], Optimizer]] = {
    "muon": lambda parameters: torch.optim.Muon([p for p in parameters if p.ndim == 2], lr=0.01),
    "adafactor": lambda parameters: torch.optim.Adafactor(parameters, lr=0.01),
    "lbfgs": _flat,
}


@pytest.mark.parametrize("used", [False, True], ids=["new", "used"])
@pytest.mark.parametrize("kind", NOT_ELEMENTWISE.values(), ids=NOT_ELEMENTWISE)
@pytest.mark.filterwarnings("ignore:.* keeps .*:UserWarning")
def test_optimizer_that_is_not_elementwise_works_or_is_refused_by_name(
    kind: Callable[[Any], Optimizer], used: bool
) -> None:
    model = mlp()
    optimizer = kind(model.parameters())

    def closure() -> float:
        optimizer.zero_grad()
        loss = MLP.loss(model, 0)
        backward(loss)
        return loss.item()

    if used:
        optimizer.step(closure)
    try:
        handle = attempt(model, optimizer=optimizer, method="static")
    except UnsupportedError as error:
        assert type(optimizer).__name__ in str(error)  # noqa: PT017
    else:
        for _ in range(2):
            optimizer.step(closure)
        assert math.isfinite(closure())
        assert handle.step == 2


@contextmanager
def process_group() -> Iterator[None]:
    store = dist.HashStore()  # type: ignore[attr-defined]
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "ddp": nn.parallel.DistributedDataParallel,
    "compiled ddp": lambda m: cast(
        nn.Module, torch.compile(nn.parallel.DistributedDataParallel(m), backend="eager")
    ),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
@pytest.mark.parametrize("build", [mlp, own], ids=["converted", "own"])
def test_model_under_ddp_is_refused_and_nothing_is_changed(
    build: Callable[[], nn.Module], wrap: Callable[[nn.Module], nn.Module]
) -> None:
    with process_group():
        refused(UnsupportedError, "storage='masked'", wrap(build()))


def test_ddp_model_without_a_layer_to_convert_is_accepted() -> None:
    with process_group():
        wrapped = nn.parallel.DistributedDataParallel(nn.Sequential(nn.Conv1d(3, 4, 2)))
        assert storages(attempt(wrapped)) == {"0.weight": "masked"}


@pytest.mark.parametrize("first", ["masked", "csr", "auto"])
@pytest.mark.parametrize("second", ["masked", "csr", "auto"])
@pytest.mark.parametrize("density", [0.3, None])
def test_sparsified_model_is_refused_and_the_first_handle_goes_on(
    first: Storage, second: Storage, density: float | None
) -> None:
    handle, plain = (advance(start(first, RIGL, ADAM), 3) for _ in range(2))
    part = "sparsified already"
    refused(
        StateError, part, handle.model, optimizer=handle.optimizer, storage=second, density=density
    )
    advance(handle, INTERVAL)
    advance(plain, INTERVAL)
    assert_close(picture(handle.model, handle.optimizer), picture(plain.model, plain.optimizer))


# finalize


@each_layout
@each_method_name
def test_finalized_model_is_the_plain_architecture_with_the_zeros_baked_in(
    name: str, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_layout(monkeypatch, layout)
    handle = advance(start("csr", METHODS[name], ADAM), 7)
    masks, weights = handle.masks(), picture(handle.model, handle.optimizer)
    x = x64(5, 12)
    expected = handle.model(x)
    model = handle.finalize()
    assert model is handle.model
    plain = MLP64.model()
    assert list(model.state_dict()) == list(plain.state_dict())
    assert [type(m) for m in model.modules()] == [type(m) for m in plain.modules()]
    for key, mask in masks.items():
        weight = model.get_parameter(key)
        assert torch.equal(weight, weights[f"{key}/"])
        assert int(torch.count_nonzero(weight[~mask])) == 0
        assert weight.is_leaf
        assert weight.requires_grad
    plain.load_state_dict(model.state_dict(), strict=True)
    torch.testing.assert_close(plain(x), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(model(x), expected, rtol=1e-12, atol=1e-12)


def test_finalize_of_a_mixed_model_leaves_no_trace() -> None:
    handle = advance(attempt(convolutional(), method=RIGL), 7, TASKS[1])
    model = handle.finalize()
    assert list(model.state_dict()) == list(convolutional().state_dict())
    assert not any(name.endswith("_mask") for name, _ in model.named_buffers())
    optimizer = MOMENTUM(model.parameters())
    again = sparsify(model, optimizer, density=0.2, method=RANDOM, storage="csr")
    advance(again, 7, TASKS[1])


@pytest.mark.parametrize("training", [True, False])
def test_finalize_keeps_the_mode(training: bool) -> None:
    handle = advance(start("csr", RIGL, ADAM), 2)
    handle.model.train(training)
    model = handle.finalize()
    assert {module.training for module in model.modules()} == {training}


def test_finalize_keeps_what_is_frozen() -> None:
    handle = advance(start("csr", RANDOM, ADAM), 2)
    handle.model.get_parameter("2.weight").requires_grad_(False)
    handle.model.get_parameter("4.bias").requires_grad_(False)
    model = handle.finalize()
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {"2.weight", "4.bias"}


CALLS: dict[str, Callable[[SparsityHandle], object]] = {
    "finalize": lambda handle: handle.finalize(),
    "masks": lambda handle: handle.masks(),
    "summary": lambda handle: handle.summary(),
    "state": lambda handle: handle.state_dict(),
    "verify": lambda handle: handle.verify(),
    "attach": lambda handle: handle.attach(handle.optimizer),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_finalized_handle_refuses_to_be_used(call: Callable[[SparsityHandle], object]) -> None:
    handle = advance(start("csr", RIGL, ADAM), 2)
    handle.finalize()
    with pytest.raises(StateError, match="finalized"):
        call(handle)


def test_finalize_finds_layers_that_were_moved_inside_the_model() -> None:
    handle = attempt(mlp())
    layers = list(handle.model.children())
    handle.model.get_submodule("")._modules.clear()
    handle.model.get_submodule("").add_module("moved", nn.Sequential(*layers))
    assert not sparse_layers(handle.finalize())


# storage="auto"


def record_break_even(
    monkeypatch: pytest.MonkeyPatch, limit: Callable[[int, int], float]
) -> list[tuple[int, int, int]]:
    asked: list[tuple[int, int, int]] = []

    def break_even(n_out: int, n_in: int, threads: int) -> float:
        asked.append((n_out, n_in, threads))
        return limit(n_out, n_in)

    monkeypatch.setattr("sparsewire.core.placement.break_even", break_even)
    return asked


@pytest.mark.parametrize("threads", [1, 2])
def test_auto_asks_the_table_about_every_layer_and_obeys(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.get_num_threads()
    asked = record_break_even(monkeypatch, lambda n_out, n_in: 0.5 if n_in == 16 else 0.0)
    torch.set_num_threads(threads)
    try:
        handle = attempt(mlp(), "auto", allocation="uniform")
    finally:
        torch.set_num_threads(before)
    assert sorted(asked) == sorted([(16, 12, threads), (16, 16, threads), (4, 16, threads)])
    assert storages(handle) == {"0.weight": "masked", "2.weight": "csr", "4.weight": "csr"}


@pytest.mark.parametrize(
    ("limit", "expected"), [(0.25, "csr"), (0.2499, "masked"), (1.0, "csr"), (0.0, "masked")]
)
def test_auto_compares_the_density_of_each_layer_with_the_limit(
    limit: float, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_break_even(monkeypatch, lambda n_out, n_in: limit)
    model = nn.Sequential(nn.Linear(8, 8))
    assert storages(attempt(model, "auto", density=0.25)) == {"0.weight": expected}


def test_auto_asks_about_nothing_that_cannot_become_sparse(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = record_break_even(monkeypatch, lambda n_out, n_in: 1.0)
    model = nn.Sequential(convolutional(), Subclass(3, 3), nn.Linear(3, 5), nn.Linear(5, 4))
    handle = attempt(model, "auto", exclude="3", density=0.6)
    assert {shape[:2] for shape in asked} == {(3, 4), (5, 3)}
    csr = {name for name, storage in storages(handle).items() if storage == "csr"}
    assert csr == {"0.9.weight", "2.weight"}


@pytest.mark.parametrize("storage", ["masked", "csr"])
def test_other_storages_do_not_look_at_the_table(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> float:
        raise AssertionError

    monkeypatch.setattr("sparsewire.core.placement.break_even", fail)
    attempt(mlp(), storage)


def test_auto_makes_meta_layers_sparse_whatever_the_table_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record_break_even(monkeypatch, lambda n_out, n_in: 0.0)
    model = nn.Sequential(nn.Linear(12, 16), nn.Linear(16, 16, device="meta"), nn.Linear(16, 4))
    handle = attempt(model, "auto")
    assert storages(handle) == {"0.weight": "masked", "1.weight": "csr", "2.weight": "masked"}


@each_method_name
def test_auto_run_is_the_run_of_either_storage(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    record_break_even(monkeypatch, lambda n_out, n_in: float(n_in == 16))
    auto, masked = start("auto", METHODS[name], ADAM), start("masked", METHODS[name], ADAM)
    assert storages(auto) == {"0.weight": "masked", "2.weight": "csr", "4.weight": "csr"}
    advance(auto, 3 * INTERVAL)
    advance(masked, 3 * INTERVAL)
    assert auto.prune_neurons(0.3) == masked.prune_neurons(0.3)
    assert_agree(advance(masked, INTERVAL), advance(auto, INTERVAL))
    with pytest.raises(CheckpointError):
        auto.load_state_dict(masked.state_dict())


@pytest.mark.parametrize("density", [0.01, 0.05])
def test_auto_needs_no_patch(density: float) -> None:
    handle = attempt(nn.Sequential(nn.Linear(1000, 1000)), "auto", density=density)
    assert set(storages(handle).values()) <= {"masked", "csr"}
    assert handle.density() == pytest.approx(density)
