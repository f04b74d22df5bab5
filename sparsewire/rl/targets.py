"""How do target networks stay sparse while Polyak averaging mixes other weights into them?

In two ways. ``"mask"``: the target has the connections of the trained network. Averages of two
networks with the same connections have no others, so only topology events need attention:
`follow_` then drops and adds what the trained network has dropped and added. ``"magnitude"``, the
way of DS-TD3: the target has a topology of its own, and after every average `truncate_` keeps as
many of its largest weights as the trained network has connections.

References
----------
Sokar et al. (2022), Dynamic sparse training for deep reinforcement learning, IJCAI.
"""

import copy
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from sparsewire.core.csr.layer import SparseLinear
from sparsewire.core.masked import MASK_SUFFIX, apply_masks_, masked_parameters


def prepare(online: nn.Module, target: nn.Module) -> None:
    """Give a dense copy of a network the masks and truly sparse layers that the network has.

    Parameters
    ----------
    online : nn.Module
        The sparsified network.
    target : nn.Module
        A dense network of the same architecture; changed in place.
    """
    for name, layer in _sparse_layers(online).items():
        parent, _, local = name.rpartition(".")
        taken = copy.deepcopy(layer)
        taken.driven = False
        taken.train(target.training)
        setattr(target.get_submodule(parent), local, taken)
    for name, _, mask in masked_parameters(online):
        owner, _, local = name.rpartition(".")
        target.get_submodule(owner).register_buffer(local + MASK_SUFFIX, mask.clone())
    mirror_(online, target)
    _zero_inactive_(target)


def mirror_(online: nn.Module, target: nn.Module) -> None:
    """Copy the masks of a network into its target, whose weights stay as they are."""
    present = {name: mask for name, _, mask in masked_parameters(online)}
    for name, _, mask in masked_parameters(target):
        mask.copy_(present[name])


def follow_(online: nn.Module, target: nn.Module) -> None:
    """Give a target network the connections of the trained one, in place.

    Connections that both have keep the target's weight, new ones start at 0, all others go.

    Parameters
    ----------
    online, target : nn.Module
        The trained network and its target, made alike by `prepare`.
    """
    if any(True for _ in masked_parameters(target)):
        apply_masks_(target, online)
    layers = _sparse_layers(target)
    for name, layer in _sparse_layers(online).items():
        _follow_sparse_(layer, layers[name])


def _sparse_layers(network: nn.Module) -> dict[str, SparseLinear]:
    return {n: module for n, module in network.named_modules() if isinstance(module, SparseLinear)}


def _zero_inactive_(network: nn.Module) -> None:
    with torch.no_grad():
        for _, parameter, mask in masked_parameters(network):
            parameter.masked_fill_(~mask, 0)


@torch.no_grad()
def _follow_sparse_(online: SparseLinear, target: SparseLinear) -> None:
    before, now = target.positions(), online.positions()
    values = target.values()
    place = torch.searchsorted(before, now).clamp_(max=len(before) - 1)
    stayed = (before[place] == now).to(values.device)
    moved = torch.where(stayed, values[place.to(values.device)], 0)
    if len(now) != len(before):
        target.weight = nn.Parameter(torch.empty_like(moved))
    target.set_index(online.index.copy())
    target.set_values(moved)


@torch.no_grad()
def adopt_(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give a sparse network the weights of a dense one, where it has connections.

    Parameters
    ----------
    network : nn.Module
        Changed in place.
    weights : mapping from str to Tensor
        The ``state_dict`` of the dense network.
    """
    layers = _sparse_layers(network)
    for name, layer in layers.items():
        dense = weights[f"{name}.weight"].flatten()
        layer.set_values(dense[layer.positions().to(dense.device)])
    sparse = {f"{name}.weight" for name in layers}
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if name in weights and name not in sparse:
            tensor.copy_(weights[name])
    _zero_inactive_(network)


class Truncation:
    """Keeps the largest weights of a target network, as many as its masks have connections.

    Parameters
    ----------
    target : nn.Module
        A network made by `prepare`; its masks say how many weights each layer may have, not which.

    Attributes
    ----------
    due : bool
        Whether the weights have changed since they were truncated.
    """

    def __init__(self, target: nn.Module) -> None:
        self.target = target
        self.due = False
        self._bounds: dict[str, float] = {}
        self._limits: dict[str, int] = {}

    def recount(self) -> None:
        """Take note of masks that have changed."""
        self._limits = {n: int(mask.sum()) for n, _, mask in masked_parameters(self.target)}

    def __call__(self, *_: object) -> None:
        """Truncate if it is due; arguments, such as those of a forward hook, are ignored."""
        if not self.due:
            return
        if not self._limits:
            self.recount()
        for name, limit in self._limits.items():
            weight = self.target.get_parameter(name)
            self._bounds[name] = truncate_(weight, limit, self._bounds.get(name, 0.0))
        self.due = False


@torch.no_grad()
def truncate_(weight: Tensor, limit: int, bound: float = 0.0) -> float:
    """Zero the weights smallest in magnitude until at most `limit` are left, in place.

    Of equal magnitudes the first positions go first. Nothing happens if there are no more.

    Parameters
    ----------
    weight : Tensor
        Any shape.
    limit : int
        How many may differ from 0.
    bound : float, default 0
        A guess below which all that go lie. A good one saves a selection among all; the result does
        not depend on it.

    Returns
    -------
    float
        A guess for the next time.

    Examples
    --------
    >>> weight = torch.tensor([3.0, -1.0, 0.0, 2.0])
    >>> _ = truncate_(weight, 2)
    >>> weight.tolist()
    [3.0, 0.0, 0.0, 2.0]
    """
    flat = weight.detach().view(-1)
    values = flat.numpy(force=True)  # NumPy counts and searches a few times faster than torch
    present = values != 0
    surplus = int(np.count_nonzero(present)) - limit
    if surplus <= 0:
        return bound
    magnitudes = np.abs(values)
    near = np.flatnonzero(present & (magnitudes <= bound))
    if len(near) < surplus:
        near = np.flatnonzero(present)
    candidates = magnitudes[near]
    cut = np.partition(candidates, surplus - 1)[surplus - 1]
    below, tied = near[candidates < cut], near[candidates == cut]
    gone = np.concatenate([below, tied[: surplus - len(below)]])
    if flat.is_cpu:
        values[gone] = 0
    else:
        flat.index_fill_(0, torch.from_numpy(gone).to(flat.device), 0)
    return 2 * float(cut)
