"""What is the sparse state of a model, and how does a topology update run over all of it?

`SparseNetwork` holds the masked parameters of one model and the integers that must stay true of
them: connections allocated, active, dropped and grown. It plans all layers before it changes any.
It knows nothing of training loops and hooks; that is `sparsewire.core.handle`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from sparsewire.core.criteria import LayerView, random_subset
from sparsewire.core.errors import CheckpointError, TopologyError
from sparsewire.core.masked import MaskedParameter, fingerprint
from sparsewire.core.methods import Method
from sparsewire.core.optimizer import state_tensors
from sparsewire.core.selection import Decision
from sparsewire.core.topology import LayerPlan, Plan, check, commit

Trace = tuple[int, int, int]


def trace(tensor: Tensor) -> Trace:
    """Return identity, address and version of a tensor, which change when it is written to."""
    return id(tensor), tensor.data_ptr(), tensor._version


class SparseNetwork:
    """The masked parameters of a model and their bookkeeping.

    Attributes
    ----------
    parameters : list of MaskedParameter
        In the order of the model.
    targets, active, dropped, grown : dict from str to int
        By layer: connections allocated, active now, and dropped and grown so far.
    explored : dict from str to Tensor
        By parameter: bool, True where a connection has ever been active.
    updates : int
        Topology updates so far.
    """

    def __init__(
        self, decisions: Sequence[Decision], targets: dict[str, int], method: Method, seed: int
    ) -> None:
        self.method = method
        self.seed = seed
        self.targets = targets
        self.updates = 0
        self.parameters = [
            MaskedParameter(d.module, d.parameter_name, d.name, d.parts)
            for d in decisions
            if d.included
        ]
        for parameter in self.parameters:
            self._draw_topology(parameter)
        self.dropped = dict.fromkeys(targets, 0)
        self.grown = dict.fromkeys(targets, 0)
        self.active = self.count_active()
        self.explored = {p.name: p.mask.clone() for p in self.parameters}
        self._loaded: Mapping[str, str] = {}

    def _generator(self, layer: str, purpose: int | str) -> torch.Generator:
        """Return a generator that depends on seed, layer name and purpose alone."""
        key = f"{self.seed}/{layer}/{purpose}".encode()
        digest = hashlib.blake2b(key, digest_size=8).digest()
        return torch.Generator(device="cpu").manual_seed(int.from_bytes(digest, "little") >> 1)

    def _draw_topology(self, parameter: MaskedParameter) -> None:
        flat = torch.zeros(parameter.weight.numel(), dtype=torch.bool, device="cpu")
        for layer, offset in zip(parameter.layers, parameter.offsets, strict=True):
            count = self.method.count(self.targets[layer.name], layer.numel, 0)
            generator = self._generator(layer.name, "initial")
            flat[offset + random_subset(layer.numel, count, generator)] = True
        parameter.mask.copy_(flat.view(parameter.weight.shape))
        parameter.zero_inactive_(parameter.weight)

    def count_active(self) -> dict[str, int]:
        """Count the True entries of every layer's mask."""
        return {
            layer.name: int(mask.count_nonzero())
            for parameter in self.parameters
            for layer, mask in zip(parameter.layers, parameter.split(parameter.mask), strict=True)
        }

    def zero_inactive_(self, optimizer: Optimizer) -> None:
        """Zero weights and same-shape optimizer state of all inactive connections."""
        for parameter in self.parameters:
            parameter.zero_inactive_(parameter.weight)
            for tensor in state_tensors(optimizer, parameter.weight):
                parameter.zero_inactive_(tensor)

    def traces(self, optimizer: Optimizer) -> list[Trace]:
        """Return what tells whether weights and optimizer state are written to or replaced.

        Writes through ``.data`` to the same memory leave no trace.
        """
        return [
            trace(tensor)
            for parameter in self.parameters
            for tensor in (parameter.weight, *state_tensors(optimizer, parameter.weight))
        ]

    def gradient_traces(self) -> list[Trace]:
        """Return the same of the gradients."""
        gradients = (parameter.weight.grad for parameter in self.parameters)
        return [trace(gradient) for gradient in gradients if gradient is not None]

    def update_topology_(
        self, optimizer: Optimizer, step: int, gradients: Mapping[str, Tensor]
    ) -> Plan:
        """Run one update: plan and check every layer, then commit all of them.

        Parameters
        ----------
        optimizer : Optimizer
            Whose state follows the connections.
        step : int
            Optimizer steps completed.
        gradients : mapping from str to Tensor
            Captured dense gradients by parameter name, where the method needs them.

        Returns
        -------
        Plan
            What was done.

        Raises
        ------
        TopologyError
            If a mask was changed from outside or a plan is unsound; nothing has changed then.
        """
        plan = self._plan(step, gradients)
        by_name = {layer.name: layer for layer in plan.layers}
        for parameter in self.parameters:
            plans = [by_name[layer.name] for layer in parameter.layers]
            states = state_tensors(optimizer, parameter.weight)
            commit(plans, parameter.offsets, parameter.weight, parameter.mask, states)
            explored = self.explored[parameter.name].to(parameter.mask.device)
            self.explored[parameter.name] = explored | parameter.mask
        for layer in plan.layers:
            self.dropped[layer.name] += layer.dropped.numel()
            self.grown[layer.name] += layer.grown.numel()
            self.active[layer.name] += layer.grown.numel() - layer.dropped.numel()
        self.updates += 1
        return plan

    def _plan(self, step: int, gradients: Mapping[str, Tensor]) -> Plan:
        plans: list[LayerPlan] = []
        for parameter in self.parameters:
            for view in self._views(parameter, gradients.get(parameter.name)):
                if (found := int(view.mask.count_nonzero())) != self.active[view.name]:
                    raise TopologyError(
                        f"{view.name} has {found} active connections instead of "
                        f"{self.active[view.name]}: its mask was changed from outside."
                    )
                target = self.targets[view.name]
                generator = self._generator(view.name, self.updates)
                plan = self.method.plan(view, target, step, generator)
                check(plan, view, self.method.count(target, view.mask.numel(), step))
                plans.append(plan)
        return Plan(step, self.updates, tuple(plans))

    @staticmethod
    def _views(parameter: MaskedParameter, gradient: Tensor | None) -> list[LayerView]:
        weights = parameter.split(parameter.weight)
        masks = parameter.split(parameter.mask)
        gradients = [None] * len(weights) if gradient is None else parameter.split(gradient)
        names = [layer.name for layer in parameter.layers]
        return [LayerView(*row) for row in zip(names, weights, masks, gradients, strict=True)]

    def topology(self) -> dict[str, str]:
        """Return a fingerprint of every parameter's mask."""
        return {parameter.name: fingerprint(parameter.mask) for parameter in self.parameters}

    def verify(self) -> None:
        """Raise `CheckpointError` unless masks and weights of the model fit the bookkeeping."""
        counts, prints = self.count_active(), self.topology()
        for parameter in self.parameters:
            counted = {layer.name: counts[layer.name] for layer in parameter.layers}
            expected = {name: self.active[name] for name in counted}
            loaded = self._loaded.get(parameter.name, prints[parameter.name])
            if counted != expected or loaded != prints[parameter.name]:
                raise CheckpointError(
                    f"the mask of {parameter.name} is not the one the handle expects (active "
                    f"{counted}, expected {expected}); load model.state_dict() from the same "
                    "checkpoint."
                )
            if bool((parameter.weight.detach()[~parameter.mask] != 0).any()):
                raise CheckpointError(
                    f"{parameter.name} has weights outside its mask; load model.state_dict() from "
                    "the same checkpoint, or call apply_masks_(model) after changing weights."
                )
        self._loaded = {}

    def state(self) -> dict[str, Any]:
        """Return counts and exploration masks as plain data."""
        return {
            "method": repr(self.method),
            "seed": self.seed,
            "updates": self.updates,
            "layers": {
                name: [target, self.active[name], self.dropped[name], self.grown[name]]
                for name, target in self.targets.items()
            },
            "explored": {name: mask.clone() for name, mask in self.explored.items()},
            "topology": self.topology(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take over a checked `state`."""
        self.updates = state["updates"]
        self._loaded = dict(state["topology"])
        for name, (_, active, dropped, grown) in state["layers"].items():
            self.active[name], self.dropped[name], self.grown[name] = active, dropped, grown
        self.explored = {
            name: seen.to(self.explored[name].device, copy=True)
            for name, seen in state["explored"].items()
        }
