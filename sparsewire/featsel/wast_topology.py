"""Where does WAST pay attention? To the inputs and outputs that matter, in every topology update.

Visible neurons gather importance from step to step: how badly they are reconstructed, and how
strongly they are connected. Connections are dropped by weight times importance, and new ones go to
the most important neurons, which are filled up one after another. The network and its training are
in `sparsewire.featsel.wast`.

References
----------
Sokar et al. (2022). Where to pay attention in sparse training for feature selection? NeurIPS;
arXiv:2211.14627.
"""

import torch
from torch import Tensor

from sparsewire.core import Every, Method
from sparsewire.core.criteria import LayerView, drop_smallest_per_sign
from sparsewire.core.ranking import random_subset
from sparsewire.core.schedule import every
from sparsewire.core.topology import LayerPlan, no_change

ENCODER = "encoder.weight"


class AttentionTopology(Method):
    """Drop and growth guided by the importance of the visible neurons of an autoencoder.

    It is asked after every optimizer step, for each of the two layers, and first adds to the
    importance of the layer's visible neurons ``sensitivity * error + (1 - sensitivity) * strength``
    with the strength a sum of absolute weights.

    Parameters
    ----------
    n_features : int
        Inputs, and outputs, of the network.
    drop_fraction : float
        Share of the positive and, separately, of the negative connections replaced in an update.
    sensitivity : float
        Weight of the reconstruction error in [0, 1].
    device : torch.device
        Of the network.

    Attributes
    ----------
    inputs, outputs : Tensor, shape (n_features,), float64
        Importances so far; float64 because they grow with the number of steps.
    error : Tensor, shape (n_features,), float64
        Mean absolute reconstruction error of the present batch, to be set before each step.
    due : bool
        Whether the next step is followed by an update or only adds to the importances.
    """

    def __init__(
        self, n_features: int, *, drop_fraction: float, sensitivity: float, device: torch.device
    ) -> None:
        self.drop_fraction = drop_fraction
        self.sensitivity = sensitivity
        self.inputs = torch.zeros(n_features, dtype=torch.float64, device=device)
        self.outputs = torch.zeros_like(self.inputs)
        self.error = torch.zeros_like(self.inputs)
        self.due = True

    def __repr__(self) -> str:
        """Return the same whatever the state, which parameters may change in a stream."""
        return "AttentionTopology()"

    @property
    def when(self) -> Every:
        """After every step, because importances grow in every step."""
        return every(1, 0, None)

    def plan(
        self, layer: LayerView, target: int, step: int, generator: torch.Generator
    ) -> LayerPlan:
        """Add to the importances of one side and, if due, plan the update of its layer."""
        of_inputs = layer.name == ENCODER
        importance = self.inputs if of_inputs else self.outputs
        n_in = layer.shape[1]
        visible = layer.active % n_in if of_inputs else layer.active // n_in
        strength = torch.bincount(visible, layer.values.abs().double(), minlength=len(importance))
        importance += self.sensitivity * self.error + (1 - self.sensitivity) * strength
        if not self.due or self.drop_fraction == 0 or layer.active.numel() == layer.numel:
            return no_change(layer)
        picked = drop_smallest_per_sign(
            layer.values * importance.index_select(0, visible), self.drop_fraction, generator
        )
        staying = torch.ones_like(layer.active, dtype=torch.bool).index_fill_(0, picked, False)
        kept = staying.nonzero().squeeze(1)
        grown = fill_up(
            layer.shape,
            layer.active.index_select(0, kept),
            visible.index_select(0, kept),
            importance,
            len(picked),
            generator,
            of_inputs=of_inputs,
        )
        return LayerPlan(layer.name, layer.active[picked], grown)


def fill_up(
    shape: tuple[int, ...],
    kept: Tensor,
    visible: Tensor,
    importance: Tensor,
    count: int,
    generator: torch.Generator,
    *,
    of_inputs: bool,
) -> Tensor:
    """Pick empty positions of the most important neurons, one neuron after another.

    Parameters
    ----------
    shape : (int, int)
        Outputs and inputs of the layer.
    kept : Tensor, int64
        Flat positions that stay active, ascending.
    visible : Tensor, int64
        Visible neuron of each.
    importance : Tensor, shape (n_visible,)
        Of the visible neurons; among equal ones the first wins.
    count : int
        How many to pick, at most the number of empty positions.
    generator : torch.Generator
        Draws among the positions of the last neuron, which may be filled in part.
    of_inputs : bool
        Whether the visible neurons are inputs or outputs of the layer.

    Returns
    -------
    Tensor, shape (count,), int64
        Flat positions, ascending.

    Notes
    -----
    The neurons that are looked at have no more positions than there are in `kept` and `count`
    together, and those of the last one.

    Examples
    --------
    >>> kept = torch.tensor([0, 4])  # of two outputs and three inputs
    >>> generator = torch.Generator().manual_seed(0)
    >>> importance = torch.tensor([1.0, 0.0, 2.0])
    >>> fill_up((2, 3), kept, kept % 3, importance, 3, generator, of_inputs=True).tolist()
    [2, 3, 5]
    """
    if count == 0:
        return kept[:0]
    n_in, n_hidden = shape[1], shape[0] if of_inputs else shape[1]
    room = n_hidden - torch.bincount(visible, minlength=len(importance))
    order = importance.argsort(descending=True, stable=True)
    places = room[order].cumsum(0)
    last = int((places < count).sum())
    chosen = order[: last + 1]
    chosen = chosen[room[chosen] > 0].sort().values
    slots = torch.full_like(order, -1)
    slots[chosen] = torch.arange(len(chosen), device=slots.device)
    free = torch.ones(len(chosen), n_hidden, dtype=torch.bool, device=kept.device)
    slot = slots.index_select(0, visible)
    near = (slot >= 0).nonzero().squeeze(1)
    taken = kept.index_select(0, near)
    hidden = taken // n_in if of_inputs else taken % n_in
    free.view(-1)[slot.index_select(0, near) * n_hidden + hidden] = False
    row = int(slots[order[last]])
    cells = free[row].nonzero().squeeze(1)
    surplus = random_subset(len(cells), int(places[last]) - count, generator)
    free[row, cells[surplus.to(cells.device)]] = False
    if of_inputs:
        neuron, picked = free.t().nonzero(as_tuple=True)
        return neuron * n_in + chosen[picked]
    picked, neuron = free.nonzero(as_tuple=True)
    return chosen[picked] * n_in + neuron
