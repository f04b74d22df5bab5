"""How do the gates of a recurrent layer share one budget of connections?

The engine treats every gate of an LSTM or GRU as a layer of its own, whose number of connections
stays. Selfish-RNN ranks the weights of all gates of a stacked matrix together and grows anywhere in
it, so that connections move to the gates whose weights become large.

References
----------
Liu, Mocanu, Pei & Pechenizkiy (2021). Selfish sparse RNN training. ICML 2021; arXiv:2101.09048.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from sparsewire.core.criteria import MAGNITUDE, RANDOM, DropRule, GrowRule, LayerView
from sparsewire.core.handle import SparsityHandle
from sparsewire.core.masked import MASK_SUFFIX
from sparsewire.core.methods.base import BaseDropAndGrow
from sparsewire.core.schedule import Schedule
from sparsewire.core.selection import packed_parts
from sparsewire.core.sparsify import unwrap
from sparsewire.core.topology import LayerPlan


@dataclass
class SelfishRNN(BaseDropAndGrow):
    """Drop the smallest weights of all gates together, and grow at random among all gates.

    Parameters
    ----------
    model : nn.Module
        The model that is made sparse.
    update_interval : int
        Optimizer steps between updates; the paper makes one per epoch.
    drop_fraction : float or Schedule, default 0.8
        Share of the connections of each stacked matrix replaced in an update (paper, stacked LSTM;
        0.5 for recurrent highway networks). A plain number together with `end` is annealed to
        0.005 by a cosine (paper).
    begin, end : int, int or None, default 0 and None
        Updates follow optimizer steps in ``begin <= step < end``.

    Raises
    ------
    InvalidArgumentError
        If a value is out of range.

    Notes
    -----
    Parameters without gates, such as a linear head, keep their own number of connections. Growth is
    at random only, as in the paper: a rule sees the gradient of one gate at a time. For gates with
    fixed numbers of connections use `sparsewire.SET` or `sparsewire.RigL`.

    Examples
    --------
    >>> import torch, sparsewire
    >>> model = torch.nn.LSTM(4, 8)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> handle = sparsewire.sparsify(
    ...     model, optimizer, density=0.25, method=SelfishRNN(model, update_interval=1)
    ... )
    >>> _ = model.weight_hh_l0.data[:8].mul_(100)  # the input gate
    >>> model(torch.ones(5, 1, 4))[0].sum().backward()
    >>> optimizer.step()
    >>> shares = gate_densities(handle)["weight_hh_l0"]
    >>> max(shares, key=shares.get), round(handle.density(), 2)
    ('i', 0.25)
    """

    model: nn.Module = field(repr=False, compare=False)
    update_interval: int
    drop_fraction: float | Schedule = 0.8
    begin: int = 0
    end: int | None = None
    # Plans of the gates that are still to be asked for in this update, by layer, and how many
    # connections the last plan given leaves.
    _waiting: dict[str, LayerPlan] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _left: int = field(default=0, init=False, repr=False, compare=False)

    _annealed_to = 0.005

    @property
    def _drop(self) -> DropRule:
        return MAGNITUDE

    @property
    def _grow(self) -> GrowRule:
        return RANDOM

    @property
    def _keep_regrown(self) -> bool:
        return False

    def count_after(self, present: int, target: int, numel: int, step: int) -> int:
        """Return the connections that the plan just made leaves to a layer, maybe to one gate."""
        return self._left

    def plan(
        self, layer: LayerView, target: int, step: int, generator: torch.Generator
    ) -> LayerPlan:
        """Plan a layer; with the first gate of a matrix those of all its gates."""
        module, parameter, gates = _owner(self.model, layer.name)
        if not gates:
            plan = super().plan(layer, target, step, generator)
        else:
            if layer.name.endswith(f"[{gates[0]}]"):
                whole = super().plan(_stacked(layer, module, parameter), target, step, generator)
                self._waiting = {part.name: part for part in _cut(whole, layer.numel, gates)}
            plan = self._waiting.pop(layer.name)
        self._left = layer.active.numel() - plan.dropped.numel() + plan.grown.numel()
        return plan


def _parameter_of(layer: str) -> str:
    """Return the name of the parameter that a layer is, or is a part of."""
    return layer.rpartition("[")[0] if layer.endswith("]") else layer


def _owner(model: nn.Module, layer: str) -> tuple[nn.Module, str, tuple[str, ...]]:
    """Return module and name of a layer's parameter, and the gates stacked in it."""
    path, _, parameter = _parameter_of(layer).rpartition(".")
    module = unwrap(model).get_submodule(path)
    recurrent = isinstance(module, (nn.RNNBase, nn.RNNCellBase))  # attention stacks no gates
    return module, parameter, (packed_parts(module, parameter) or ()) if recurrent else ()


def _stacked(layer: LayerView, module: nn.Module, parameter: str) -> LayerView:
    """Return the view of all gates that are stacked in a parameter."""
    weight, mask = getattr(module, parameter), getattr(module, parameter + MASK_SUFFIX)
    active = mask.flatten().nonzero().squeeze(1)
    values = weight.detach().flatten()[active]
    return LayerView(_parameter_of(layer.name), tuple(weight.shape), active, values)


def _cut(whole: LayerPlan, numel: int, gates: Sequence[str]) -> list[LayerPlan]:
    """Return the parts of a plan that concern each gate, of `numel` weights."""

    def inside(positions: Tensor, k: int) -> Tensor:
        return positions[positions.div(numel, rounding_mode="floor") == k] - k * numel

    return [
        LayerPlan(f"{whole.name}[{gate}]", inside(whole.dropped, k), inside(whole.grown, k))
        for k, gate in enumerate(gates)
    ]


def gate_densities(handle: SparsityHandle) -> dict[str, dict[str, float]]:
    """Return how the connections of recurrent layers are spread over their gates.

    Parameters
    ----------
    handle : SparsityHandle
        Of a model with recurrent layers.

    Returns
    -------
    dict of str to dict of str to float
        By parameter and gate, the share of active connections; parameters without gates are left
        out. The gates of an LSTM are "i", "f", "g" and "o", those of a GRU "r", "z" and "n".

    Raises
    ------
    StateError
        After ``handle.finalize()``.

    Examples
    --------
    >>> import torch, sparsewire
    >>> model = torch.nn.GRU(4, 8)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> handle = sparsewire.sparsify(model, optimizer, density=0.5, method="static")
    >>> sorted(gate_densities(handle)["weight_hh_l0"])
    ['n', 'r', 'z']
    """
    found: dict[str, dict[str, float]] = {}
    for layer in handle.summary().layers:
        if _owner(handle.model, layer.name)[2]:
            parameter = _parameter_of(layer.name)
            gate = layer.name[len(parameter) + 1 : -1]
            found.setdefault(parameter, {})[gate] = layer.density
    return found
