"""What to try the engine on: one more entry in a list is one more case of every test that uses it.

Also the hand-written loop that the engine has to agree with, and the invariants of sparse training.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from sparsewire.core import GMP, ITOP, SET, GraNet, Method, RigL, SparsityHandle, Static, sparsify
from sparsewire.core.criteria import DenseGradient, LayerView

INTERVAL = 5


@dataclass(frozen=True)
class OptimizerCase:
    """An optimizer class with its arguments."""

    name: str
    kind: Callable[..., Optimizer]
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, parameters: Iterable[Any], **more: Any) -> Optimizer:
        return self.kind(parameters, **{**self.options, **more})

    def __str__(self) -> str:
        return self.name


def _case(name: str, kind: Callable[..., Optimizer], **options: Any) -> OptimizerCase:
    return OptimizerCase(name, kind, options)


OPTIMIZERS = [
    _case("sgd", torch.optim.SGD, lr=0.05),
    _case("sgd-decay", torch.optim.SGD, lr=0.05, weight_decay=0.1),
    _case("sgd-momentum", torch.optim.SGD, lr=0.02, momentum=0.9, weight_decay=0.01),
    _case("sgd-nesterov", torch.optim.SGD, lr=0.02, momentum=0.9, nesterov=True),
    _case("sgd-loop", torch.optim.SGD, lr=0.02, momentum=0.9, foreach=False),
    _case("sgd-fused", torch.optim.SGD, lr=0.02, momentum=0.9, fused=True),
    _case("adam", torch.optim.Adam, lr=0.01),
    _case("adam-decay", torch.optim.Adam, lr=0.01, weight_decay=0.1),
    _case("adam-amsgrad", torch.optim.Adam, lr=0.01, amsgrad=True),
    _case("adam-loop", torch.optim.Adam, lr=0.01, foreach=False),
    _case("adam-foreach", torch.optim.Adam, lr=0.01, foreach=True),
    _case("adam-fused", torch.optim.Adam, lr=0.01, fused=True),
    _case("adamw", torch.optim.AdamW, lr=0.01, weight_decay=0.1),
    _case("adamw-amsgrad-foreach", torch.optim.AdamW, lr=0.01, amsgrad=True, foreach=True),
    _case("adamw-fused", torch.optim.AdamW, lr=0.01, amsgrad=True, fused=True),
    _case("rmsprop", torch.optim.RMSprop, lr=0.01),
    _case("rmsprop-centered", torch.optim.RMSprop, lr=0.01, centered=True, momentum=0.9),
    _case("adagrad", torch.optim.Adagrad, lr=0.05),
    _case("adagrad-initial", torch.optim.Adagrad, lr=0.05, initial_accumulator_value=0.1),
    _case("adagrad-fused", torch.optim.Adagrad, lr=0.05, fused=True),
    _case("nadam", torch.optim.NAdam, lr=0.01),
    _case("nadam-decoupled", torch.optim.NAdam, lr=0.01, decoupled_weight_decay=True),
    _case("radam", torch.optim.RAdam, lr=0.01),
    _case("adadelta", torch.optim.Adadelta, lr=1.0),
    _case("adamax", torch.optim.Adamax, lr=0.01),
    _case("asgd", torch.optim.ASGD, lr=0.05, t0=3),
    _case("rprop", torch.optim.Rprop, lr=0.01),
]
DYNAMIC_METHODS: dict[str, Method] = {
    "set": SET(update_interval=INTERVAL),
    "set-magnitude": SET(update_interval=INTERVAL, drop="magnitude", drop_fraction=0.5),
    "set-normal": SET(update_interval=INTERVAL, grown_std=0.1),
    "rigl": RigL(update_interval=INTERVAL),
    "rigl-annealed": RigL(update_interval=INTERVAL, begin=3, end=28),
    "itop": ITOP(update_interval=INTERVAL),
    "itop-gradient": ITOP(growth="gradient", update_interval=INTERVAL, end=31),
    "gmp": GMP(update_interval=INTERVAL, end=26),
    "granet": GraNet(update_interval=INTERVAL, end=26),
}
METHODS: dict[str, Method] = {"static": Static(), **DYNAMIC_METHODS}

each_optimizer = pytest.mark.parametrize("optimizer_case", OPTIMIZERS, ids=str)
each_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
each_dynamic_method = pytest.mark.parametrize(
    "method", DYNAMIC_METHODS.values(), ids=DYNAMIC_METHODS
)


@dataclass(frozen=True)
class Task:
    """A model and the batches to train it on."""

    name: str
    model: Callable[[], nn.Module]
    batch: Callable[[torch.Generator], Tensor]
    include: Any = None

    def loss(self, model: nn.Module, step: int) -> Tensor:
        """Return the loss of batch number `step`, the same at every call."""
        generator = torch.Generator().manual_seed(1000 + step)
        output = model(self.batch(generator))
        target = torch.randn(output.shape, generator=generator).to(output)
        return F.mse_loss(output, target)


def gaussian(*shape: int) -> Callable[[torch.Generator], Tensor]:
    return lambda generator: torch.randn(*shape, generator=generator)


def tokens(*shape: int) -> Callable[[torch.Generator], Tensor]:
    return lambda generator: torch.randint(0, 12, shape, generator=generator)


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 4)
    )


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=4),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 4, 2, stride=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )


def channels_last() -> nn.Module:
    return convolutional().to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


class Recurrent(nn.Module):
    """A recurrent layer and a linear one."""

    def __init__(self, kind: Callable[..., nn.Module], **options: Any) -> None:
        super().__init__()
        self.recurrent = kind(5, 6, batch_first=True, **options)
        width = options.get("proj_size", 6) * (1 + options.get("bidirectional", False))
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.head(self.recurrent(x)[0][:, -1])
        return output


class TiedLanguageModel(nn.Module):
    """An embedding and a decoder that share one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(12, 8, padding_idx=0)
        self.mixer = nn.Linear(8, 8)
        self.decoder = nn.Linear(8, 12, bias=False)
        self.decoder.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.decoder(self.mixer(self.embedding(x)).tanh())
        return output


def attention() -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, dropout=0.0, batch_first=True)
    return nn.Sequential(nn.Linear(5, 8), layer, nn.Linear(8, 3))


def embedding() -> nn.Module:
    return nn.Sequential(nn.Embedding(12, 8, padding_idx=0), nn.Flatten(), nn.Linear(32, 3))


MLP = Task("mlp", mlp, gaussian(8, 12))
TASKS = [
    MLP,
    Task("conv", convolutional, gaussian(4, 3, 6, 6)),
    Task("channels-last", channels_last, gaussian(4, 3, 6, 6)),
    Task("rnn", lambda: Recurrent(nn.RNN), gaussian(4, 3, 5)),
    Task("gru", lambda: Recurrent(nn.GRU, bidirectional=True), gaussian(4, 3, 5)),
    Task("lstm", lambda: Recurrent(nn.LSTM, num_layers=2, proj_size=4), gaussian(4, 3, 5)),
    Task("attention", attention, gaussian(4, 3, 5)),
    Task("embedding", embedding, tokens(4, 4), (nn.Embedding, nn.Linear)),
    Task("tied", TiedLanguageModel, tokens(4, 5), (nn.Embedding, nn.Linear)),
]
each_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


def build(
    method: Method | str = "static",
    optimizer_case: OptimizerCase = OPTIMIZERS[0],
    task: Task = MLP,
    *,
    density: float = 0.3,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> SparsityHandle:
    """Return the handle of a new sparsified model; the same arguments give the same weights."""
    torch.manual_seed(7)
    model = task.model().to(dtype)
    optimizer = optimizer_case(model.parameters())
    return sparsify(
        model, optimizer, density=density, method=method, include=task.include, seed=seed
    )


def train(
    handle: SparsityHandle, steps: int, *, task: Task = MLP, first: int | None = None
) -> SparsityHandle:
    """Train in the plainest loop there is, from batch `first` on (default: the handle's step)."""
    start = handle.step if first is None else first
    for step in range(start, start + steps):
        handle.optimizer.zero_grad()
        task.loss(handle.model, step).backward()  # type: ignore[no-untyped-call]
        handle.optimizer.step()
    return handle


def train_plain(model: nn.Module, optimizer: Optimizer, steps: int, task: Task = MLP) -> None:
    """Train without sparsewire."""
    for step in range(steps):
        optimizer.zero_grad()
        task.loss(model, step).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def train_masked(
    model: nn.Module,
    optimizer: Optimizer,
    masks: Mapping[str, Tensor],
    steps: int,
    task: Task = MLP,
) -> None:
    """Train the way a user without sparsewire would keep a mask, by hand."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, mask in masks.items():
            parameters[name].mul_(mask)
    for step in range(steps):
        optimizer.zero_grad()
        task.loss(model, step).backward()  # type: ignore[no-untyped-call]
        for name, mask in masks.items():
            gradient = parameters[name].grad
            assert gradient is not None
            gradient.mul_(mask)
        optimizer.step()
        with torch.no_grad():
            for name, mask in masks.items():
                parameters[name].mul_(mask)


def view_of(
    weight: Tensor, mask: Tensor, gradient: Tensor | None = None, name: str = "demo"
) -> LayerView:
    """Return what rules see of a masked layer."""
    active = mask.reshape(-1).nonzero().squeeze(1)
    dense = None if gradient is None else DenseGradient(gradient.reshape(-1))
    return LayerView(name, tuple(mask.shape), active, weight.reshape(-1)[active], dense)


def mask_of(layer: LayerView) -> Tensor:
    """Return the mask of a layer, flat."""
    mask = torch.zeros(layer.numel, dtype=torch.bool)
    mask[layer.active] = True
    return mask


def weight_of(layer: LayerView) -> Tensor:
    """Return the dense weight of a layer, flat."""
    return layer.values.new_zeros(layer.numel).index_put_((layer.active,), layer.values)


def state_of(optimizer: Optimizer, parameter: Tensor) -> dict[str, Tensor]:
    """Return the tensors an optimizer keeps for a parameter."""
    state = optimizer.state.get(parameter, {})
    return {key: value for key, value in state.items() if isinstance(value, Tensor)}


def masked_tensors(handle: SparsityHandle) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield (name, tensor, mask) of every weight with a mask and its same-shape state."""
    parameters = dict(handle.model.named_parameters())
    for name, mask in handle.masks().items():
        weight = parameters[name]
        yield name, weight.detach(), mask
        for key, value in state_of(handle.optimizer, weight).items():
            if value.shape == weight.shape:
                yield f"{name}/{key}", value, mask


def layer_counts(handle: SparsityHandle) -> dict[str, int]:
    """Count active connections layer by layer, from the masks alone."""
    counts = {}
    shapes = {layer.name: layer.weights for layer in handle.summary().layers}
    for name, mask in handle.masks().items():
        layers = [layer for layer in shapes if layer.split("[")[0] == name]
        for layer, part in zip(layers, mask.reshape(len(layers), -1), strict=True):
            assert part.numel() == shapes[layer]
            counts[layer] = int(part.sum())
    return counts


def assert_sparse(handle: SparsityHandle) -> None:
    """Assert exact zeros off the masks and honest books."""
    for name, tensor, mask in masked_tensors(handle):
        assert int(torch.count_nonzero(tensor[~mask])) == 0, name
        assert bool(torch.isfinite(tensor).all()), name
    booked = {layer.name: layer.active for layer in handle.summary().layers}
    assert booked == layer_counts(handle)


def snapshot(handle: SparsityHandle) -> dict[str, Any]:
    """Return a copy of everything that determines how the run goes on."""
    return copy.deepcopy(
        {
            "model": handle.model.state_dict(),
            "optimizer": handle.optimizer.state_dict(),
            "handle": handle.state_dict(),
        }
    )


def differences(left: object, right: object, path: str = "") -> list[str]:
    """Return where two nested containers differ; tensors must agree in every bit."""
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        same = left.dtype == right.dtype and torch.equal(left, right)
        return [] if same else [path]
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        if left.keys() != right.keys():
            return [f"{path}: {sorted(map(str, left.keys() ^ right.keys()))}"]
        return [d for key in left for d in differences(left[key], right[key], f"{path}/{key}")]
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        if len(left) != len(right):
            return [f"{path}: lengths"]
        pairs = enumerate(zip(left, right, strict=True))
        return [d for i, (a, b) in pairs for d in differences(a, b, f"{path}/{i}")]
    return [] if left == right else [f"{path}: {left!r} != {right!r}"]


def assert_same_run(left: SparsityHandle, right: SparsityHandle) -> None:
    """Assert that two runs agree bit for bit."""
    assert differences(snapshot(left), snapshot(right)) == []
