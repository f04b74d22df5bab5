"""DSTMasks: dynamic sparse training inside a mask per task (CL-with-DST).

Every task draws a random mask over all weights and moves its connections while it trains, by one
of three drop and four grow rules. Weights that earlier tasks own may be in the mask; they are used
as they are. Tasks are told apart by a task id, or by routing (`DSTMasks.scores`).

References
----------
"Continual Learning with Dynamic Sparse Training" (2024), CPAL, PMLR 234, arXiv:2308.14831.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sparsewire.continual.dst_rules import DROPS, GROWTHS, Rules, plan_update
from sparsewire.continual.method import IMPOSSIBLE, Batches
from sparsewire.continual.subnetwork_method import SubnetworkMethod
from sparsewire.continual.tensors import check_like, copied, like, with_rows
from sparsewire.core._validation import check_integer, suggest
from sparsewire.core.allocation import Allocation
from sparsewire.core.budget import LayerShape
from sparsewire.core.criteria import DenseGradient
from sparsewire.core.errors import CheckpointError, InvalidArgumentError, UnknownMethodError
from sparsewire.core.optimizer import gradient_scale
from sparsewire.core.ranking import random_subset
from sparsewire.core.schedule import Cosine, Every
from sparsewire.core.topology import LayerPlan, check

_MOMENTUM = 0.9


class DSTMasks(SubnetworkMethod):
    """Learns every task in a sub-network whose connections move while it trains.

    Parameters
    ----------
    model : nn.Module
        Any model of linear and convolutional layers, with or without branches.
    optimizer : torch.optim.Optimizer
        Its state of the model's parameters is cleared when a task begins. The paper uses Adam with
        learning rate 1e-3.
    n_classes : int
        Classes of all tasks together.
    density : float, default 0.2
        Share of the weights in each task's mask; the released code's.
    allocation : str or Allocation, default "uniform"
        How it is spread over layers; the paper compares "uniform" and "erk".
    drop : {"magnitude", "set", "taylor"}, default "magnitude"
        Connections that go: the smallest weights, the smallest of each sign, or those with the
        smallest product of weight and gradient.
    grow : {"random", "unfired", "gradient", "momentum"}, default "random"
        Connections that come: any, those that were in no mask of this task yet, or those with the
        largest gradient, of the last batch or averaged over batches (by 0.9).
    update_interval : int, default 400
        Optimizer steps between updates; the released code's.
    drop_fraction, final_drop_fraction : float, default 0.5 and 0.005
        Share of each layer's connections that an update replaces, at the first step of a task and
        at its last, with half a cosine between; the released code's.
    seed : int, default 0
        Seed of masks and updates.

    Raises
    ------
    InvalidArgumentError
        If a value is out of range or a name unknown.
    UnsupportedError
        If model or optimizer cannot be driven.

    Notes
    -----
    A connection grown where an earlier task owns the weight takes its value, and is frozen at once:
    what is trained is what is tested. In the last layer, if it has a row per class, only rows of
    the task's classes have connections, at the same density: others would never see a gradient, and
    would be frozen untrained for the tasks that need them.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 4))
    >>> method = DSTMasks(
    ...     model, torch.optim.SGD(model.parameters(), lr=0.5), n_classes=4, update_interval=10
    ... )
    >>> x, y = torch.eye(4), torch.arange(4)
    >>> for task in ([0, 1], [2, 3]):
    ...     method.begin_task(task, steps=50)
    ...     for _ in range(50):
    ...         method.optimizer.zero_grad()
    ...         logits = method.logits(model(x[task]), y[task])
    ...         nn.functional.cross_entropy(logits, y[task]).backward()
    ...         method.optimizer.step()
    ...     method.end_task()
    >>> method.use_task(0)
    >>> method.class_scores(model(x[:2]), classes=[0, 1]).argmax(1)
    tensor([0, 1])
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        *,
        n_classes: int,
        density: float = 0.2,
        allocation: str | Allocation = "uniform",
        drop: str = "magnitude",
        grow: str = "random",
        update_interval: int = 400,
        drop_fraction: float = 0.5,
        final_drop_fraction: float = 0.005,
        seed: int = 0,
    ) -> None:
        self.drop = _check_name("drop", drop, DROPS)
        self.grow = _check_name("grow", grow, GROWTHS)
        self._when = Every(update_interval)
        Cosine(drop_fraction, final_drop_fraction, end=1)  # checks both
        self._fractions = drop_fraction, final_drop_fraction
        # Of the current task: optimizer steps done and announced; what has been in its mask; the
        # mean gradient.
        self._step, self._steps = 0, 1
        self._seen: dict[str, Tensor] = {}
        self._mean: dict[str, Tensor] = {}
        settings = {
            "drop": drop,
            "grow": grow,
            "update_interval": update_interval,
            "drop_fraction": drop_fraction,
            "final_drop_fraction": final_drop_fraction,
        }
        super().__init__(
            model,
            optimizer,
            settings,
            n_classes=n_classes,
            density=density,
            allocation=allocation,
            seed=seed,
        )

    # Tasks

    def begin_task(
        self, classes: Iterable[int], *, data: Batches | None = None, steps: int | None = None
    ) -> None:
        """Begin to learn a task.

        Parameters
        ----------
        classes : iterable of int
            Its classes, as numbered by the outputs of the model.
        data : optional
            Not looked at.
        steps : int
            Optimizer steps the task will take, batches times epochs: the drop fraction falls over
            them, and no update follows the last one.

        Raises
        ------
        StateError
            Inside a task.
        InvalidArgumentError
            If `steps` is missing, or classes repeat or are no outputs of the model.
        """
        if steps is None:
            raise InvalidArgumentError(
                "begin_task needs steps=, the optimizer steps of the task (batches times epochs), "
                "because the drop fraction falls over them."
            )
        steps = check_integer("steps", steps, minimum=1)
        super().begin_task(classes, data=data)
        self._step, self._steps = 0, steps
        self._seen = {layer: self.shared.store(layer).explored() for layer in self.shared.weights}
        self._mean = {}

    def _draw(self, shape: LayerShape, count: int, classes: Sequence[int]) -> Tensor:
        allowed = self._allowed(shape, classes)
        if allowed is None:
            return super()._draw(shape, count, classes)
        count = max(1, round(count * allowed.numel() / shape.numel))
        chosen = random_subset(allowed.numel(), count, self._generator(shape.name, "mask"))
        mask = torch.zeros(shape.numel, dtype=torch.bool, device="cpu")
        mask[allowed[chosen]] = True
        return mask.view(shape.shape)

    def _allowed(self, shape: LayerShape, classes: Sequence[int]) -> Tensor | None:
        """Return where a layer may have connections, ascending; None means everywhere."""
        rows = shape.shape[0]
        is_head = shape.name == list(self.shared.weights)[-1] and rows <= self.n_classes
        if not is_head or max(classes) >= rows:
            return None
        columns = shape.numel // rows
        own = torch.tensor(sorted(classes), device="cpu")
        return (own[:, None] * columns + torch.arange(columns, device="cpu")).flatten()

    # Around the optimizer step

    def before_step(self) -> None:
        """Capture what updates look at, and zero the gradients of what the task may not change."""
        wants = self.grow == "momentum" or (
            self._due(self._step + 1) and (self.grow == "gradient" or self.drop == "taylor")
        )
        for layer in self.shared.weights if wants else ():
            store = self.shared.store(layer)
            store.forget()
            store.capture(gradient_scale(self.optimizer))
            store.check_captured(self._step + 1)
        super().before_step()

    def after_step(self) -> None:
        """Put back weights that the task may not change, and carry out a due update."""
        super().after_step()
        self._step += 1
        if self.grow == "momentum":
            self._average()
        if self._due(self._step):
            self._update()
        for layer in self.shared.weights:
            self.shared.store(layer).forget()

    def _due(self, step: int) -> bool:
        return self._when.due(step) and step < self._steps

    def _average(self) -> None:
        for layer in self.shared.weights:
            gradient = self.shared.view(layer).gradient
            if isinstance(gradient, DenseGradient):
                weight = self.shared.store(layer).weight.detach()
                mean = self._widened(self._mean.get(layer, weight[:0]), layer)
                new = gradient.values.view(weight.shape)
                self._mean[layer] = torch.lerp(mean.to(new), new, 1 - _MOMENTUM)

    def _widened(self, record: Tensor, layer: str) -> Tensor:
        """Return a record of a layer with zeros for rows that the layer has gained since."""
        return with_rows(record, torch.zeros_like(self.shared.store(layer).mask), layer)

    # Updates

    def _update(self) -> None:
        """Plan and check an update of every layer, then carry them out."""
        plans = [self._plan(shape) for shape in self.shared.shapes()]
        for plan in plans:
            view = self.shared.view(plan.name)
            check(plan, view, view.active.numel())
        for plan in plans:
            self.shared.change_(plan, self.optimizer)
            store = self.shared.store(plan.name)
            self._seen[plan.name] = store.explore(self._seen[plan.name])

    def _plan(self, shape: LayerShape) -> LayerPlan:
        layer = shape.name
        allowed = self._allowed(shape, self.current or ())
        seen = self._seen[layer] = self._widened(self._seen[layer], layer)
        rules = Rules(self.drop, self.grow, seen, self._mean.get(layer))
        fraction = Cosine(*self._fractions, end=self._steps)(self._step)
        generator = self._generator(layer, f"update {self._step // self._when.interval}")
        return plan_update(self.shared.view(layer), rules, fraction, generator, allowed)

    # Logits

    def logits(self, output: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return the task's own slice of the logits, others at -1e4.

        So ``cross_entropy`` over all classes is that over the task's classes, with labels as they
        are.

        Parameters
        ----------
        output : Tensor, shape (n, classes)
            Output of the model.
        targets : Tensor, shape (n,), int64, optional
            Labels of the batch; with replayed ones among them, all classes seen so far count as the
            task's.

        Returns
        -------
        Tensor, shape (n, classes)
            A copy.

        Raises
        ------
        StateError
            Outside a task.
        InvalidArgumentError
            If a label belongs to no task announced so far.
        """
        return output.masked_fill(~self.active_classes(output, targets), IMPOSSIBLE)

    def _answer(self, x: Tensor, task: int) -> Tensor:
        return self.class_scores(super()._answer(x, task), classes=self.tasks[task])

    # Checkpoints

    def _content(self) -> dict[str, Any]:
        return super()._content() | {
            "progress": [self._step, self._steps],
            "seen": copied(self._seen),
            "mean": copied(self._mean),
        }

    def _check_content(self, content: Mapping[str, Any]) -> None:
        if not isinstance(content, Mapping) or not {"progress", "seen", "mean"} <= content.keys():
            raise CheckpointError("the state of DSTMasks is damaged or foreign.")
        progress = content["progress"]
        if not isinstance(progress, list) or [type(count) for count in progress] != [int, int]:
            raise CheckpointError(f"the checkpoint's counts of steps are damaged: {progress!r}.")
        super()._check_content(content)
        check_like("seen", content["seen"], self.shared.masks(), partly=True)
        check_like("mean", content["mean"], self.shared.weights, partly=True)

    def _load_content(self, content: Mapping[str, Any]) -> None:
        super()._load_content(content)
        self._step, self._steps = content["progress"]
        self._seen = like(content["seen"], self.shared.masks())
        self._mean = like(content["mean"], self.shared.weights)


def _check_name(role: str, name: object, known: Sequence[str]) -> str:
    if not isinstance(name, str) or name not in known:
        raise UnknownMethodError(
            f"{role} must be one of {', '.join(known)}, got {name!r}.{suggest(str(name), known)}"
        )
    return name
