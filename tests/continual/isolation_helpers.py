"""Small networks, optimizers and tasks for methods that give every connection one owner."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from sparsewire.continual.afaf import AFAF
from sparsewire.continual.spacenet import SpaceNet

TASKS = ((0, 1), (4, 2), (3, 5))
OUTPUTS = 8  # classes 6 and 7 belong to no task
FIVE = (*TASKS, (6,), (7,))
EPOCHS, STEPS = 2, 3
Disturb = Callable[[nn.Module], None]


def mlp(bias: bool = True) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(16, 40, bias=bias),
        nn.ReLU(),
        nn.Linear(40, 30, bias=bias),
        nn.ReLU(),
        nn.Linear(30, OUTPUTS, bias=bias),
    )


def biasless() -> nn.Sequential:
    return mlp(bias=False)


def normalised() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(16, 40),
        nn.BatchNorm1d(40),
        nn.ReLU(),
        nn.Linear(40, 30, bias=False),
        nn.BatchNorm1d(30),
        nn.PReLU(30),
        nn.Linear(30, OUTPUTS),
    )


def convolutional() -> nn.Sequential:
    return nn.Sequential(
        nn.Unflatten(1, (1, 4, 4)),
        nn.Conv2d(1, 20, 2),
        nn.ReLU(),
        nn.Conv2d(20, 20, 2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(20 * 4, 30),
        nn.ReLU(),
        nn.Linear(30, OUTPUTS),
    )


def normalised_convolutional() -> nn.Sequential:
    return nn.Sequential(
        nn.Unflatten(1, (1, 4, 4)),
        nn.Conv2d(1, 20, 3, padding=1, bias=False),
        nn.BatchNorm2d(20),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.BatchNorm1d(80),
        nn.Linear(80, 30),
        nn.BatchNorm1d(30, momentum=0.3),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(30, OUTPUTS),
    )


NETS: dict[str, Callable[[], nn.Module]] = {
    "mlp": mlp,
    "no biases": biasless,
    "batch norm 1d": normalised,
    "cnn and flatten": convolutional,
    "cnn, flatten, batch norm": normalised_convolutional,
}
OPTIMIZERS: dict[str, Callable[[Any], Optimizer]] = {
    "SGD": lambda p: SGD(p, lr=0.1),
    "SGD, momentum, weight decay": lambda p: SGD(p, lr=0.05, momentum=0.9, weight_decay=0.1),
    "SGD, nesterov, weight decay": lambda p: SGD(
        p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.1
    ),
    "Adam, weight decay": lambda p: Adam(p, lr=0.01, weight_decay=0.1),
    "AdamW": lambda p: AdamW(p, lr=0.01, weight_decay=0.5),
    "RMSprop": lambda p: RMSprop(p, lr=0.01, momentum=0.5, weight_decay=0.1),
}
METHODS: dict[str, Callable[..., SpaceNet]] = {
    "strict": lambda m, o, **more: SpaceNet(m, o, **{"select": 0.3, "seed": 1} | more),
    "reference": lambda m, o, **more: SpaceNet(
        m, o, **{"select": 0.3, "strict": False, "seed": 1} | more
    ),
    "AFAF": lambda m, o, **more: AFAF(
        m,
        o,
        **{"select": 0.3, "reserve": 0.5, "reuse_from": 1, "shared_layers": 0, "seed": 1} | more,
    ),
}


def make(
    kind: str = "strict",
    net: str = "mlp",
    optimizer: str = "Adam, weight decay",
    **more: Any,
) -> SpaceNet:
    torch.manual_seed(3)
    model = NETS[net]()
    return METHODS[kind](model, OPTIMIZERS[optimizer](model.parameters()), **more)


def batch(classes: tuple[int, ...], step: int, size: int = 24) -> tuple[Tensor, Tensor]:
    """A batch of a task: inputs that depend on their class, always the same for a step."""
    generator = torch.Generator().manual_seed(1000 * sum(classes) + step)
    y = torch.tensor(classes)[torch.randint(len(classes), (size,), generator=generator)]
    centres = torch.randn(OUTPUTS, 16, generator=torch.Generator().manual_seed(5))
    return centres[y] + torch.randn(size, 16, generator=generator), y


def backward(loss: Tensor) -> None:
    loss.backward()  # type: ignore[no-untyped-call]


def begin(method: SpaceNet, classes: tuple[int, ...]) -> None:
    method.begin_task(classes, data=[batch(classes, step) for step in range(3)])


def train_step(method: SpaceNet, x: Tensor, y: Tensor) -> None:
    method.optimizer.zero_grad()
    backward(F.cross_entropy(method.logits(method.model(x), y), y))
    method.optimizer.step()


def learn(
    method: SpaceNet, classes: tuple[int, ...], disturb: Disturb | None = None, first: int = 0
) -> None:
    """Learn one task, from a certain epoch on."""
    if first == 0:
        begin(method, classes)
    for epoch in range(first, EPOCHS):
        if epoch:
            method.rewire()
        for step in range(STEPS):
            train_step(method, *batch(classes, EPOCHS * epoch + step))
            if disturb is not None:
                disturb(method.model)
    method.end_task()


def shake(model: nn.Module) -> None:
    """Write noise into everything, as a careless plugin may."""
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.mul_(1 + 0.1 * torch.rand(tensor.shape, generator=generator).to(tensor))
                tensor.add_(0.01)


def fixed_inputs() -> Tensor:
    return torch.cat([batch(classes, 999)[0] for classes in TASKS])


def answers(model: nn.Module) -> Tensor:
    """Logits in evaluation mode."""
    model.eval()
    with torch.no_grad():
        output: Tensor = model(fixed_inputs())
    model.train()
    return output


def weights_of(method: SpaceNet, task: int) -> dict[str, Tensor]:
    """The weights of all connections of a task, by layer."""
    found = {}
    for name, owner in method.owners().items():
        weight = method.model.get_submodule(name).get_parameter("weight").detach()
        found[name] = weight.reshape(*owner.shape, -1)[owner == task + 1].clone()
    return found


def stray(method: SpaceNet) -> list[str]:
    """Layers whose weight or optimizer state is not 0 where nobody owns it."""
    found = []
    for name, owner in method.owners().items():
        weight = method.model.get_submodule(name).get_parameter("weight")
        state = [s for s in method.optimizer.state[weight].values() if torch.is_tensor(s)]
        tensors = [weight, *(s for s in state if s.shape == weight.shape)]
        found += [name for t in tensors if bool(t.reshape(*owner.shape, -1)[owner == 0].any())]
    return found


def everything(method: SpaceNet) -> dict[str, Tensor]:
    """All there is of model, optimizer and method, by name."""
    found = {f"model {k}": v.clone() for k, v in method.model.state_dict().items()}
    for i, entry in method.optimizer.state_dict()["state"].items():
        found |= {f"state {i} {k}": v.clone() for k, v in entry.items() if torch.is_tensor(v)}
    return found | flat("method", method.state_dict())


def flat(name: str, value: object) -> dict[str, Tensor]:
    """Tensors and numbers of nested containers by their path."""
    if isinstance(value, dict):
        pairs = list(value.items())
    elif isinstance(value, list | tuple):
        pairs = list(enumerate(value))
    elif torch.is_tensor(value):
        return {name: value.clone()}
    else:
        return {f"{name}={value!r}": torch.empty(0)}
    return {k: v for key, part in pairs for k, v in flat(f"{name}/{key}", part).items()}


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    """Equal in every bit."""
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def small(kind: str) -> SpaceNet:
    return make(kind, "batch norm 1d", select=0.15, reserve=0.5)


def save(method: SpaceNet, path: Path) -> None:
    parts = (method.model, method.optimizer, method)
    torch.save([part.state_dict() for part in parts], path)


def load(method: SpaceNet, path: Path) -> SpaceNet:
    parts: tuple[Any, ...] = (method.model, method.optimizer, method)
    for part, state in zip(parts, torch.load(path, weights_only=True), strict=True):
        part.load_state_dict(state)
    return method
