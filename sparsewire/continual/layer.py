"""Who owns the connections of one layer, and how do they change hands?

Weights are exactly 0 where nobody owns them. The mask buffer beside the weight, the check of a plan
and its commit are core's; this module turns connections, which may be whole kernels, into weights.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sparsewire.continual.chain import Link
from sparsewire.core.criteria import LayerView
from sparsewire.core.errors import CheckpointError, StateError, TopologyError, UnsupportedError
from sparsewire.core.masked import MASK_SUFFIX, MaskedParameter
from sparsewire.core.topology import LayerPlan, check

_MASK = "weight" + MASK_SUFFIX


def check_unowned(link: Link, model: nn.Module) -> None:
    """Raise `StateError` if a layer has a mask already."""
    if hasattr(link.module(model), _MASK):
        raise StateError(
            f"{link.name} is sparsified already; build the model anew for another learner."
        )


class OwnedLayer:
    """One layer of a chain.

    Parameters
    ----------
    link : Link
        Where it is.
    model : nn.Module
        The model; the weight becomes 0.

    Attributes
    ----------
    grid : Grid
        Its connections.
    owner : Tensor, shape (rows, columns), int16
        0 where free, t + 1 for task number t.
    initial : Tensor
        Weights that allocated connections start with.
    store : MaskedParameter
        Weight and mask.
    """

    def __init__(self, link: Link, model: nn.Module) -> None:
        self.link = link
        self.grid = link.grid(model)
        weight = link.module(model).get_parameter("weight")
        self.owner = torch.zeros(self.grid.shape, dtype=torch.int16, device=weight.device)
        self.initial = weight.detach().clone()
        self.bind(model)

    @property
    def name(self) -> str:
        """Name of the module."""
        return self.link.name

    @property
    def weight(self) -> nn.Parameter:
        """The weight."""
        return self.store.weight

    def is_bound(self, model: nn.Module) -> bool:
        """Tell whether the model still has this very module, where the owners are."""
        same = self.link.module(model) is self.store.module
        weight = self.weight
        return same and weight.device == self.owner.device and weight.shape == self.initial.shape

    def bind(self, model: nn.Module) -> None:
        """Find the layer in the model, perhaps replaced by one with more output units."""
        module = self.link.module(model)
        weight = module.get_parameter("weight")
        more = weight.shape[0] - self.owner.shape[0]
        if more < 0 or weight.shape[1:] != self.initial.shape[1:]:
            raise UnsupportedError(
                f"{self.name} had weights of shape {tuple(self.initial.shape)} and has "
                f"{tuple(weight.shape)} now; a layer may only gain output units."
            )
        self.owner, self.initial = self.owner.to(weight.device), self.initial.to(weight.device)
        if more:
            self.owner = torch.cat([self.owner, self.owner.new_zeros(more, self.grid.columns)])
            self.initial = torch.cat([self.initial, weight.detach()[-more:]])
            self.grid = self.link.grid(model)
        if hasattr(module, _MASK):
            delattr(module, _MASK)
        self.store = MaskedParameter(module, "weight", f"{self.name}.weight")
        self.store.draw_([self.grid.weights(self.owned())])

    def owned(self, number: int | None = None) -> Tensor:
        """Return the connections that have an owner, or a certain one, ascending."""
        flat = self.owner.view(-1)
        return (flat > 0 if number is None else flat == number).nonzero().squeeze(1)

    def free(self, connections: Tensor) -> Tensor:
        """Return those of some connections that nobody owns."""
        return connections[self.owner.view(-1)[connections] == 0]

    def check(self, plan: LayerPlan, number: int, count: int) -> None:
        """Raise `TopologyError` unless a plan of connections is sound.

        Parameters
        ----------
        plan : LayerPlan
            Dropped connections belong to the owner, grown ones to nobody or are dropped.
        number : int
            The owner.
        count : int
            Connections that the owner shall have afterwards.
        """
        mine = self.owned(number)
        values = torch.zeros(mine.numel(), device=mine.device)
        check(plan, LayerView(self.name, self.grid.shape, mine, values), count)
        before = self.owner.view(-1)[plan.grown]
        if bool(((before != 0) & (before != number)).any()):
            raise TopologyError(f"{self.name}: the plan grows connections that others own.")

    def commit(self, plan: LayerPlan, number: int, optimizer: Optimizer, *, fresh: bool) -> None:
        """Carry out a checked plan; grown weights start as initially (`fresh`) or at 0."""
        dropped, grown = self.grid.weights(plan.dropped), self.grid.weights(plan.grown)
        values = self.initial.take(grown) if fresh else None
        self.store.commit_([LayerPlan(self.store.name, dropped, grown, values)], optimizer)
        self.owner.view(-1)[plan.dropped] = 0
        self.owner.view(-1)[plan.grown] = number

    def state(self) -> dict[str, Any]:
        """Return owners and initial weights."""
        return {"owner": self.owner.clone(), "initial": self.initial.clone()}

    def check_state(self, state: Mapping[str, Any]) -> None:
        """Raise `CheckpointError` unless a saved state fits the layer and its present weight."""
        owner, initial = state.get("owner"), state.get("initial")
        fits = (
            isinstance(owner, Tensor)
            and isinstance(initial, Tensor)
            and owner.dtype == torch.int16
            and owner.shape == self.owner.shape
            and initial.shape == self.weight.shape
            and initial.dtype == self.weight.dtype
        )
        if not fits or owner is None:
            raise CheckpointError(
                f"the checkpoint's owners of {self.name} do not fit its weight of shape "
                f"{tuple(self.weight.shape)}; build the same model, grown to the same classes."
            )
        owned = (owner.flatten() > 0).to(self.weight.device)
        mask = self.store.mask.view(-1, self.grid.block)
        free = (~owned).nonzero().squeeze(1)
        stray = self.weight.detach().take(self.grid.weights(free))
        if bool((mask != owned[:, None]).any()) or bool(stray.any()):
            raise CheckpointError(
                f"{self.name} has not the connections that are owned in the checkpoint; load "
                "model.state_dict() of the same checkpoint first."
            )

    def load_state(self, state: Mapping[str, Any], model: nn.Module) -> None:
        """Take over a checked state."""
        self.owner, self.initial = state["owner"].clone(), state["initial"].clone()
        self.bind(model)
