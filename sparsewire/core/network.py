"""What is the sparse state of a model, and how does a topology update run over all of it?

`SparseNetwork` holds the sparsified parameters of one model and the integers that must stay true of
them: connections allocated, active, dropped and grown. It plans all layers before it changes any.
It knows nothing of training loops and hooks; that is `sparsewire.core.handle`.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from sparsewire.core.budget import LayerShape
from sparsewire.core.criteria import weak_inputs
from sparsewire.core.errors import CheckpointError, TopologyError
from sparsewire.core.methods import Method
from sparsewire.core.optimizer import state_tensors, warm_second_moments_
from sparsewire.core.ranking import random_subset
from sparsewire.core.storage import Store
from sparsewire.core.topology import LayerPlan, Plan, check

Trace = tuple[int, int, int]


def trace(tensor: Tensor) -> Trace:
    """Return identity, address and version of a tensor, which change when it is written to."""
    return id(tensor), tensor.data_ptr(), tensor._version


def seeded_generator(seed: int, layer: str, purpose: int | str) -> torch.Generator:
    """Return a CPU generator that depends on seed, layer name and purpose alone."""
    digest = hashlib.blake2b(f"{seed}/{layer}/{purpose}".encode(), digest_size=8).digest()
    return torch.Generator(device="cpu").manual_seed(int.from_bytes(digest, "little") >> 1)


def draw_topology(layer: LayerShape, count: int, seed: int) -> Tensor:
    """Return the initial connections of a layer: ascending positions, uniformly at random."""
    return random_subset(layer.numel, count, seeded_generator(seed, layer.name, "initial"))


class SparseNetwork:
    """The sparsified parameters of a model and their bookkeeping.

    Attributes
    ----------
    stores : list of Store
        In the order of the model.
    targets, active, dropped, grown, pruned : dict from str to int
        By layer: connections allocated, active now, dropped and grown so far, and removed for good.
    worker : int or None
        Number of a process that draws its updates on its own, apart from others of equal seed.
    explored : dict from str to Tensor
        By parameter: record of what has ever been active, in the form its store gives it.
    updates : int
        Topology updates so far.
    """

    def __init__(
        self, stores: Sequence[Store], targets: dict[str, int], method: Method, seed: int
    ) -> None:
        self.method = method
        self.seed = seed
        self.targets = targets
        self.worker: int | None = None
        self.updates = 0
        self.stores = list(stores)
        # Only these have weights that could become non-zero where there is no connection.
        self._masked = [store for store in stores if store.kind == "masked"]
        self.dropped = dict.fromkeys(targets, 0)
        self.grown = dict.fromkeys(targets, 0)
        self.pruned = dict.fromkeys(targets, 0)
        self.active = self.count_active()
        self.explored = {store.name: store.explored() for store in self.stores}
        self._loaded: Mapping[str, str] = {}

    def _generator(self, layer: str, purpose: int | str) -> torch.Generator:
        if self.worker is not None:
            purpose = f"{purpose}/worker {self.worker}"
        return seeded_generator(self.seed, layer, purpose)

    def count_active(self) -> dict[str, int]:
        """Count the connections of every layer anew."""
        return {
            layer.name: count
            for store in self.stores
            for layer, count in zip(store.layers, store.counts(), strict=True)
        }

    def count_explored(self) -> dict[str, int | None]:
        """Count by layer the weights that have ever been active; None if unknown."""
        counts: dict[str, int | None] = {}
        for store in self.stores:
            seen = store.explored_counts(self.explored[store.name])
            counts |= zip((layer.name for layer in store.layers), seen, strict=True)
        return counts

    def zero_inactive_(self, optimizer: Optimizer) -> None:
        """Zero weights and same-shape optimizer state of all inactive connections."""
        for store in self._masked:
            store.zero_inactive_(store.weight)
            for tensor in state_tensors(optimizer, store.weight):
                store.zero_inactive_(tensor)

    def traces(self, optimizer: Optimizer) -> list[Trace]:
        """Return what tells whether weights and optimizer state are written to or replaced.

        Writes through ``.data`` to the same memory leave no trace.
        """
        return [
            trace(tensor)
            for store in self._masked
            for tensor in (store.weight, *state_tensors(optimizer, store.weight))
        ]

    def gradient_traces(self) -> list[Trace]:
        """Return the same of the gradients."""
        gradients = (store.weight.grad for store in self._masked)
        return [trace(gradient) for gradient in gradients if gradient is not None]

    def update_topology_(self, optimizer: Optimizer, step: int) -> Plan:
        """Run one update: plan and check every layer, then commit all of them.

        Parameters
        ----------
        optimizer : Optimizer
            Whose state follows the connections.
        step : int
            Optimizer steps completed.

        Returns
        -------
        Plan
            What was done.

        Raises
        ------
        TopologyError
            If a mask was changed from outside or a plan is unsound; nothing has changed then.
        """
        plan = self._plan(step)
        self._commit(plan.layers, optimizer)
        if self.method.warm_start:
            for store in self.stores:
                warm_second_moments_(store, optimizer)
        for layer in plan.layers:
            self.dropped[layer.name] += layer.dropped.numel()
            self.grown[layer.name] += layer.grown.numel()
            self.active[layer.name] += layer.grown.numel() - layer.dropped.numel()
        self.updates += 1
        return plan

    def _commit(self, layers: Sequence[LayerPlan], optimizer: Optimizer) -> None:
        by_name = {layer.name: layer for layer in layers}
        for store in self.stores:
            plans = [by_name[layer.name] for layer in store.layers]
            store.commit_(plans, optimizer)
            self.explored[store.name] = store.explore(self.explored[store.name])

    def prune_neurons_(self, optimizer: Optimizer, share: float, layers: Collection[str]) -> int:
        """Remove all connections into the weakest neurons of the named layers, for good.

        Returns
        -------
        int
            How many connections were removed.
        """
        plans = []
        for store in self.stores:
            for view in store.views():
                weak = weak_inputs(view, share) if view.name in layers else view.active[:0]
                plan = LayerPlan(view.name, weak, weak[:0])
                check(plan, view, view.active.numel() - weak.numel())
                plans.append(plan)
        self._commit(plans, optimizer)
        for plan in plans:
            self.pruned[plan.name] += plan.dropped.numel()
            self.active[plan.name] -= plan.dropped.numel()
        return sum(plan.dropped.numel() for plan in plans)

    def resettle(self) -> None:
        """Take note of a topology that was changed by something other than an update."""
        self.active = self.count_active()
        self.explored = {s.name: s.explore(self.explored[s.name]) for s in self.stores}

    def _plan(self, step: int) -> Plan:
        # Store by store in a function of its own, so that one layer's view is freed before the next
        # is made: they are as large as the layer.
        plans = [plan for store in self.stores for plan in self._plan_layers(store, step)]
        return Plan(step, self.updates, tuple(plans))

    def _plan_layers(self, store: Store, step: int) -> list[LayerPlan]:
        plans = []
        for view in store.views():
            if (found := view.active.numel()) != self.active[view.name]:
                raise TopologyError(
                    f"{view.name} has {found} active connections instead of "
                    f"{self.active[view.name]}: its mask was changed from outside."
                )
            target = max(1, self.targets[view.name] - self.pruned[view.name])
            generator = self._generator(view.name, self.updates)
            plan = self.method.plan(view, target, step, generator)
            check(plan, view, self.method.count_after(found, target, view.numel, step))
            plans.append(plan)
        return plans

    def topology(self) -> dict[str, str]:
        """Return a fingerprint of every parameter's topology."""
        return {store.name: store.fingerprint() for store in self.stores}

    def verify(self) -> None:
        """Raise `CheckpointError` unless masks and weights of the model fit the bookkeeping."""
        for store in self.stores:
            try:
                print_, numbers = store.fingerprint(), store.counts()
            except TopologyError as error:
                raise CheckpointError(
                    f"the topology of {store.name} is damaged: {error}"
                ) from error
            names = [layer.name for layer in store.layers]
            counted = dict(zip(names, numbers, strict=True))
            expected = {name: self.active[name] for name in names}
            loaded = self._loaded.get(store.name, print_)
            if counted != expected or loaded != print_:
                raise CheckpointError(
                    f"the mask of {store.name} is not the one the handle expects (active "
                    f"{counted}, expected {expected}); load model.state_dict() from the same "
                    "checkpoint."
                )
            if store.has_stray_weights():
                raise CheckpointError(
                    f"{store.name} has weights outside its mask; load model.state_dict() from "
                    "the same checkpoint, or call apply_masks_(model) after changing weights."
                )
        self._loaded = {}

    def state(self) -> dict[str, Any]:
        """Return counts and exploration records as plain data."""
        return {
            "method": repr(self.method),
            "seed": self.seed,
            "updates": self.updates,
            "layers": {
                name: [
                    target,
                    self.active[name],
                    self.dropped[name],
                    self.grown[name],
                    self.pruned[name],
                ]
                for name, target in self.targets.items()
            },
            "explored": {name: seen.clone() for name, seen in self.explored.items()},
            "topology": self.topology(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take over a checked `state`."""
        self.updates = state["updates"]
        self._loaded = dict(state["topology"])
        for name, (_, active, dropped, grown, pruned) in state["layers"].items():
            self.active[name], self.dropped[name], self.grown[name] = active, dropped, grown
            self.pruned[name] = pruned
        self.explored = {
            name: seen.to(self.explored[name].device, copy=True)
            for name, seen in state["explored"].items()
        }
