"""Small networks, optimizers and tasks for methods that give every task a sub-network."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adam, AdamW, Optimizer

from sparsewire.continual.concept_cells import ConceptCells
from sparsewire.continual.dst_masks import DSTMasks

Method = DSTMasks | ConceptCells
TASKS = ((0, 1), (4, 2), (3, 5))
STEPS = 12


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(9, 24), nn.ReLU(), nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 6)
    )


def normalised() -> nn.Module:
    return nn.Sequential(nn.Linear(9, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 6))


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 3, 3)),
        nn.Conv2d(1, 8, 2, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32, 6),
    )


class Branching(nn.Module):
    """A residual block, which is no chain of layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(9, 16), nn.Linear(16, 16), nn.Linear(16, 6)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x).relu()
        out: Tensor = self.last(hidden + self.second(hidden).relu())
        return out


NETS: dict[str, Callable[[], nn.Module]] = {
    "mlp": mlp,
    "batch norm": normalised,
    "convolutional": convolutional,
    "residual": Branching,
}
OPTIMIZERS: dict[str, Callable[[nn.Module], Optimizer]] = {
    "SGD": lambda model: SGD(model.parameters(), lr=0.1),
    "SGD, momentum, weight decay": lambda model: SGD(
        model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.1
    ),
    "Adam, weight decay": lambda model: Adam(model.parameters(), lr=0.01, weight_decay=0.1),
    "AdamW": lambda model: AdamW(model.parameters(), lr=0.01, weight_decay=0.5),
}
METHODS: dict[str, Callable[[nn.Module, Optimizer], Method]] = {
    "DSTMasks": lambda model, optimizer: DSTMasks(
        model, optimizer, n_classes=6, density=0.4, update_interval=3, seed=1
    ),
    "ConceptCells": lambda model, optimizer: ConceptCells(
        model, optimizer, n_classes=6, density=0.4, seed=1
    ),
}


def make(
    method: str = "DSTMasks", optimizer: str = "Adam, weight decay", net: str = "mlp"
) -> Method:
    torch.manual_seed(3)
    model = NETS[net]()
    return METHODS[method](model, OPTIMIZERS[optimizer](model))


def batch(task: int, step: int, size: int = 16) -> tuple[Tensor, Tensor]:
    """A batch of a task: inputs that are shifted by their class."""
    generator = torch.Generator().manual_seed(100 * task + step)
    classes = torch.tensor(TASKS[task])
    y = classes[torch.randint(len(classes), (size,), generator=generator)]
    return torch.randn(size, 9, generator=generator) + y[:, None] / 3, y


def begin(method: Method, task: int, steps: int = STEPS) -> None:
    if isinstance(method, DSTMasks):
        method.begin_task(TASKS[task], steps=steps)
    else:
        method.begin_task(TASKS[task])


def backward(loss: Tensor) -> None:
    loss.backward()  # type: ignore[no-untyped-call]


def train_step(method: Method, task: int, step: int) -> None:
    x, y = batch(task, step)
    method.optimizer.zero_grad()
    backward(F.cross_entropy(method.logits(method.model(x), y), y))
    method.optimizer.step()


def learn(method: Method, task: int, steps: int = STEPS) -> None:
    begin(method, task, steps)
    for step in range(steps):
        train_step(method, task, step)
    method.end_task()


def outputs(method: Method, task: int | None) -> Tensor:
    """Outputs in evaluation mode, with a finished sub-network or what is in the model."""
    x = torch.cat([batch(t, 999)[0] for t in range(len(TASKS))])
    if task is not None:
        method.use_task(task)
    method.model.eval()
    with torch.no_grad():
        out: Tensor = method.model(x)
    method.model.train()
    if task is not None:
        method.use_task(None)
    return out


def replace_head(method: Method, rows: int) -> nn.Linear:
    """Give the MLP a classifier with more rows, as a growing classifier does."""
    assert isinstance(method.model, nn.Sequential)
    narrow, wide = method.model[4], nn.Linear(16, rows)
    assert isinstance(narrow, nn.Linear)
    with torch.no_grad():
        wide.weight[: narrow.out_features] = narrow.weight[:rows]
        wide.bias[: narrow.out_features] = narrow.bias[:rows]
    method.model[4] = wide
    method.optimizer.param_groups[0]["params"][-2:] = list(wide.parameters())
    return wide


def everything(method: Method) -> dict[str, Tensor]:
    """All there is of the model, the optimizer's moments and the store, by name."""
    found = {f"model {k}": v.clone() for k, v in method.model.state_dict().items()}
    for i, entry in method.optimizer.state_dict()["state"].items():
        found |= {
            f"optimizer {i} {k}": v.clone() for k, v in entry.items() if isinstance(v, Tensor)
        }
    content = method.shared
    for kind in ("weights", "owner", "initial"):
        found |= {f"{kind} {k}": v.clone() for k, v in getattr(content, kind).items()}
    for number, part in enumerate(content.finished):
        found |= {f"mask {number} {k}": v.clone() for k, v in part.masks.items()}
        found |= {f"private {number} {k}": v.clone() for k, v in part.private.items()}
    return found


def differing(first: dict[str, Tensor], second: dict[str, Tensor]) -> list[str]:
    """Names of tensors that differ in a bit."""
    assert first.keys() == second.keys()
    return [name for name in first if not torch.equal(first[name], second[name])]
