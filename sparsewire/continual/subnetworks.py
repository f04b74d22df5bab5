"""How do the sub-networks of many tasks share one network without touching each other's weights?

There is one dense store of weights. A task has a *mask* of single weights; masks may overlap. The
first task whose mask holds a weight when it ends owns that weight for good: later tasks may use
it, at exactly the value it has, but not change it. What is no weight of a masked layer (biases,
parameters and statistics of normalisation) cannot be shared, because it would drift: each task has
its own copy. So a finished sub-network can be put back into the model bit for bit at any time.

Which weights a mask holds is decided in `sparsewire.continual.dst_masks` and
`sparsewire.continual.concept_cells`.

References
----------
The store is that of CL-with-DST (2024, CPAL, PMLR 234, arXiv:2308.14831) and SERENA (2025, CoLLAs,
PMLR 330, arXiv:2403.14684). Their code masks gradients, which freezes nothing against weight decay
and momentum, and shares biases and batch normalisation.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sparsewire.continual.freezing import Frozen
from sparsewire.continual.tensors import Tensors, with_rows
from sparsewire.core.budget import LayerShape
from sparsewire.core.criteria import LayerView
from sparsewire.core.errors import StateError, UnsupportedError
from sparsewire.core.masked import MASK_SUFFIX, MaskedParameter
from sparsewire.core.optimizer import held_parameters
from sparsewire.core.selection import select
from sparsewire.core.topology import LayerPlan


@dataclass
class Subnetwork:
    """One task's part of a network.

    Attributes
    ----------
    masks : dict from str to Tensor, bool
        By layer, of the weight's shape: the weights in use.
    private : dict from str to Tensor
        By full name: parameters and buffers that no other task has.
    """

    masks: Tensors
    private: Tensors


class Subnetworks:
    """The store of weights, the owners, and the sub-networks of all tasks of one model.

    Parameters
    ----------
    model : nn.Module
        Its weights become the initial values of the store; its masked layers gain the mask buffer
        of `sparsewire.core.masked`. Layers are looked up by name, so a classifier may be replaced
        by one with more rows. Move it to its device before.
    optimizer : Optimizer
        Parameters that it does not hold are left alone.

    Attributes
    ----------
    weights : dict from str to Tensor
        By layer: learnt values where owned, initial ones elsewhere.
    owner : dict from str to Tensor, int16
        By layer, of the weight's shape: 0 where free, t + 1 where task t was the first to use it.
    initial : dict from str to Tensor
        Private values that every task begins with.
    finished : list of Subnetwork
        One per finished task.
    training : bool
        Whether a task has begun and not ended.
    loaded : int or None
        The finished sub-network that stands in the model, put there by `use`.

    Raises
    ------
    UnsupportedError
        If the model has recurrent, attention or truly sparse layers.
    InvalidArgumentError
        If it has no layer to mask.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 1, bias=False))
    >>> _ = model[0].weight.data.copy_(torch.tensor([[3.0, 4.0]]))
    >>> shared = Subnetworks(model, torch.optim.SGD(model.parameters(), lr=0.1))
    >>> shared.begin({"0": torch.tensor([[True, False]])})
    >>> model[0].weight.tolist()
    [[3.0, 0.0]]
    >>> shared.finish()
    >>> shared.owner["0"].tolist()
    [[1, 0]]
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        self.model = model
        self.weights: Tensors = {}
        self.owner: Tensors = {}
        self.initial: Tensors = {}
        self.finished: list[Subnetwork] = []
        self.training = False
        self.loaded: int | None = None
        self._stores: dict[str, MaskedParameter] = {}
        self._frozen: dict[str, Frozen] = {}
        # The sub-network in training, with its weights, while a finished one is loaded.
        self._aside: tuple[Subnetwork, Tensors] | None = None
        self.follow(optimizer)

    # The model as it is now

    def store(self, layer: str) -> MaskedParameter:
        """Return weight and mask of a layer as they are in the model."""
        if self._stores[layer].module is not self.model.get_submodule(layer):
            self._rebind()
        return self._stores[layer]

    def masks(self) -> Tensors:
        """Return a copy of the mask of every layer as it is in the model."""
        return {layer: self.store(layer).mask.clone() for layer in self.weights}

    def view(self, layer: str) -> LayerView:
        """Return what rules may look at of a layer."""
        (view,) = self.store(layer).views()
        return LayerView(layer, view.shape, view.active, view.values, view.gradient)

    def shapes(self) -> list[LayerShape]:
        """Return name and shape of every masked layer, in the order of the model."""
        return [LayerShape(layer, tuple(self.store(layer).weight.shape)) for layer in self.weights]

    def follow(self, optimizer: Optimizer) -> None:
        """Take up layers that are new in model and optimizer, such as one more head."""
        masks = {layer: store.mask for layer, store in self._stores.items()}
        self.remove()  # `select` takes a model with masks for one sparsified already
        try:
            decisions = [d for d in select(self.model, held_parameters(optimizer)) if d.included]
        finally:
            for layer, mask in masks.items():
                self._stores[layer].module.register_buffer("weight" + MASK_SUFFIX, mask)
        for decision in decisions:
            if decision.parameter_name != "weight" or decision.parameter.ndim < 2:
                raise UnsupportedError(
                    f"{decision.name} of {type(decision.module).__name__} cannot have a mask per "
                    "task; only linear and convolutional layers can."
                )
        for decision in decisions:
            layer = decision.name.rpartition(".")[0]
            if layer not in self.weights:
                self.weights[layer] = decision.parameter.detach().clone()
                self.owner[layer] = torch.zeros_like(self.weights[layer], dtype=torch.int16)
                self._stores[layer] = MaskedParameter(decision.module, "weight", decision.name)
        self._rebind()
        for name, tensor in self._trainable_privates(optimizer).items():
            self.initial.setdefault(name, tensor.detach().clone())

    def remove(self) -> None:
        """Take the mask buffers out of the model."""
        for store in self._stores.values():
            store.remove()

    def _trainable_privates(self, optimizer: Optimizer) -> Tensors:
        """Return what changes in training and is no masked weight, by name."""
        held = {id(p) for p in held_parameters(optimizer) if p.requires_grad}
        held -= {id(store.weight) for store in self._stores.values()}
        parameters = {n: p for n, p in self.model.named_parameters() if id(p) in held}
        buffers = {
            name: buffer
            for name, buffer in self.model.named_buffers()
            if buffer.is_floating_point() or name.endswith("num_batches_tracked")
        }
        return parameters | buffers

    @torch.no_grad()
    def _rebind(self) -> None:
        """Follow layers that were replaced by ones with more rows, which earlier tasks lack."""
        tensors = self._tensors()
        parts = [*self.finished, *([] if self._aside is None else [self._aside[0]])]
        for layer in self.weights:
            module = self.model.get_submodule(layer)
            if (old := self._stores[layer]).module is module:
                continue
            store = MaskedParameter(module, "weight", old.name)
            self._stores[layer] = store
            nothing = torch.zeros_like(store.mask)
            store.mask.copy_(with_rows(old.mask, nothing, layer))
            self.weights[layer] = with_rows(self.weights[layer], store.weight, layer)
            self.owner[layer] = with_rows(self.owner[layer], nothing, layer)
            for part in parts:
                if layer in part.masks:
                    part.masks[layer] = with_rows(part.masks[layer], nothing, layer)
            if self._aside is not None:
                self._aside[1][layer] = with_rows(self._aside[1][layer], nothing, layer)
            store.zero_inactive_(store.weight)
            if self.training and self.loaded is None:
                self._settle(layer)
        for name in self.initial:
            for values in (self.initial, *(part.private for part in parts)):
                if name in values:
                    values[name] = with_rows(values[name], tensors[name], name)

    def _tensors(self) -> Tensors:
        """Return all parameters and buffers of the model by name."""
        return {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}

    # The task being learnt

    @torch.no_grad()
    def begin(self, masks: Mapping[str, Tensor]) -> None:
        """Put a new sub-network into the model: stored weights where masked, initial privates.

        Parameters
        ----------
        masks : mapping from str to Tensor, bool
            One per layer, of the weight's shape.
        """
        self.loaded = None
        self._put(Subnetwork(dict(masks), self.initial))
        self.training = True
        for layer in self.weights:
            self._settle(layer)

    def _settle(self, layer: str) -> None:
        """Freeze a layer as it is, but for the weights of the current mask that nobody owns."""
        store = self._stores[layer]
        trainable = store.mask & (self.owner[layer] == 0)
        self._frozen[layer] = Frozen(store.weight, trainable.flatten().nonzero().squeeze(1))

    def resume(self, *, training: bool) -> None:
        """Go on with a store that was filled from outside, and with what is in the model."""
        self.training, self.loaded, self._aside = training, None, None
        if not training:
            self.use(None)
        for layer in self.weights if training else ():
            self._settle(layer)

    def check_training(self) -> None:
        """Raise `StateError` unless the sub-network of a running task is in the model."""
        if not self.training:
            raise StateError("no task is being learnt; call begin_task(classes) first.")
        if self.loaded is not None:
            raise StateError(
                f"the model holds the sub-network of task {self.loaded}; call use_task(None) "
                "before training goes on."
            )

    def mask_gradients_(self) -> None:
        """Zero the gradients of all weights that the current task must not change."""
        self.check_training()
        for layer in self.weights:
            if (gradient := self.store(layer).weight.grad) is not None:
                self._frozen[layer].mask_(gradient)

    def restore_(self) -> None:
        """Put back, bit for bit, everything in the model that is not being trained."""
        if not self.training or self.loaded is not None:
            self.use(self.loaded)
            return
        for layer in self.weights:
            weight = self.store(layer).weight
            self._frozen[layer].restore_(weight)

    def change_(self, plan: LayerPlan, optimizer: Optimizer) -> None:
        """Carry out a checked plan in one layer of the current task.

        Weights that a task owns come with their stored values, others with 0; the optimizer's state
        becomes 0 at all places that change.
        """
        self.check_training()
        store = self.store(plan.name)
        owned = self.owner[plan.name].flatten()[plan.grown] > 0
        values = self.weights[plan.name].flatten()[plan.grown].masked_fill(~owned, 0)
        store.commit_([LayerPlan(plan.name, plan.dropped, plan.grown, values)], optimizer)
        self._settle(plan.name)

    @torch.no_grad()
    def finish(self) -> None:
        """Record the current sub-network; weights that it is the first to use are now its own."""
        self.check_training()
        self.restore_()
        for layer in self.weights:
            store = self.store(layer)
            new = store.mask & (self.owner[layer] == 0)
            self.weights[layer] = torch.where(new, store.weight, self.weights[layer])
            self.owner[layer].masked_fill_(new, len(self.finished) + 1)
        self.finished.append(Subnetwork(self.masks(), self._private()))
        self.training = False
        self._frozen = {}

    # Finished tasks

    @torch.no_grad()
    def use(self, task: int | None) -> None:
        """Put a finished sub-network into the model, or back what is being trained.

        Parameters
        ----------
        task : int or None
            Number of a finished task; None for the task being learnt, and between tasks for the
            last finished one.
        """
        stores = {layer: self.store(layer) for layer in self.weights}
        if self.training and self.loaded is None and task is not None:
            weights = {layer: store.weight.detach().clone() for layer, store in stores.items()}
            self._aside = Subnetwork(self.masks(), self._private()), weights
        self.loaded = task
        if task is not None:
            self._put(self.finished[task])
        elif self._aside is not None:
            (part, weights), self._aside = self._aside, None
            self._put(part)
            for layer, store in stores.items():
                store.weight.copy_(weights[layer])
                self._settle(layer)
        elif not self.training and self.finished:
            self._put(self.finished[-1])

    def _put(self, part: Subnetwork) -> None:
        for layer, stored in self.weights.items():
            store = self.store(layer)
            mask = part.masks.get(layer)
            # A layer that is younger than the task has no mask.
            store.mask.zero_() if mask is None else store.mask.copy_(mask)
            store.weight.copy_(stored)
            store.zero_inactive_(store.weight)
        tensors = self._tensors()
        for name, value in (self.initial | part.private).items():
            tensors[name].copy_(value)

    def _private(self) -> Tensors:
        tensors = self._tensors()
        return {name: tensors[name].detach().clone() for name in self.initial}
