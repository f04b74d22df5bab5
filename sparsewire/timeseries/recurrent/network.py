"""What does a sparse recurrent classifier compute, and how is it made sparse?

Recurrent layers and a head on the hidden state at the end of each series. The matrices of the
layers are sparse, with connections that move between gates; the small head is dense.

References
----------
Liu, Mocanu, Pei & Pechenizkiy (2021). Selfish sparse RNN training. ICML 2021; arXiv:2101.09048.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sparsewire.core import Method, SparsityHandle, Static, sparsify
from sparsewire.core.masked import MASK_SUFFIX
from sparsewire.core.selection import packed_parts
from sparsewire.timeseries.classification.training import BaseSeriesNetwork
from sparsewire.timeseries.recurrent.backbones import CELLS
from sparsewire.timeseries.recurrent.gates import SelfishRNN

Cell = Literal["lstm", "gru"]
Topology = Literal["dynamic", "static", "dense"]


@dataclass(frozen=True)
class RecurrentShape:
    """Sizes of a network.

    Attributes
    ----------
    n_channels, n_classes : int
        Channels of the series, and classes.
    cell : {"lstm", "gru"}
        Kind of the layers.
    n_units, n_layers : int
        Hidden units of a layer, and layers.
    dropout : float
        Share of hidden values dropped in training.
    """

    n_channels: int
    n_classes: int
    cell: Cell
    n_units: int
    n_layers: int
    dropout: float


class RecurrentNetwork(BaseSeriesNetwork):
    """A recurrent classifier of series.

    Parameters
    ----------
    shape : RecurrentShape
        Its sizes.
    seed : int, default 0
        Of the initial weights, which are torch's usual ones.

    Examples
    --------
    >>> network = RecurrentNetwork(RecurrentShape(2, 3, "gru", 8, 1, 0.0))
    >>> network(torch.zeros(5, 2, 30), torch.arange(1, 6)).shape
    torch.Size([5, 3])
    """

    def __init__(self, shape: RecurrentShape, seed: int = 0) -> None:
        super().__init__()
        self.shape = shape
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.backbone = CELLS[shape.cell](
                shape.n_channels,
                shape.n_units,
                shape.n_classes,
                n_layers=shape.n_layers,
                dropout=shape.dropout,
            )

    def forward(self, x: Tensor, ends: Tensor | None = None) -> Tensor:
        """Return the logits, shape (batch, n_classes); for the arguments see the base."""
        outputs: Tensor = self.backbone(x.transpose(1, 2), ends)
        return outputs


def make_sparse(
    network: RecurrentNetwork,
    optimizer: torch.optim.Optimizer,
    *,
    density: float,
    topology: Topology,
    drop_fraction: float,
    steps_per_epoch: int,
    n_epochs: int,
    seed: int,
) -> SparsityHandle:
    """Give the layers of a network their connections.

    Parameters
    ----------
    network : RecurrentNetwork
        With initial weights.
    optimizer : torch.optim.Optimizer
        Of the network.
    density : float
        Share of the weights of the layers that are connections, in (0, 1]; allocated by
        Erdős-Rényi-kernel, which spares narrow inputs.
    topology : {"dynamic", "static", "dense"}
        "dynamic" moves connections, "static" keeps the initial ones, "dense" has all.
    drop_fraction : float
        Share of the connections of each matrix replaced by the first update, annealed to 0.005.
    steps_per_epoch, n_epochs : int
        Length of the run. An update follows the first step of every epoch but the first (paper: one
        per epoch), so that a network is judged and kept as its training left it.
    seed : int
        Of the topology.
    """
    method: Method = Static()
    if topology == "dynamic":
        method = SelfishRNN(
            network,
            update_interval=steps_per_epoch,
            drop_fraction=drop_fraction,
            begin=steps_per_epoch + 1,
            end=steps_per_epoch * max(2, n_epochs) + 1,  # a single epoch has no update
        )
    return sparsify(
        network,
        optimizer,
        density=1.0 if topology == "dense" else density,
        method=method,
        exclude="backbone.head",
        seed=seed,
    )


@dataclass(frozen=True)
class Costs:
    """What a network costs, in theory; masks save no time.

    Attributes
    ----------
    sparsity : float
        Share of the weights of the recurrent layers that are no connections.
    sparse, dense : int
        FLOPs of one series, two to a multiply-accumulate, of connections and of all weights.
    """

    sparsity: float
    sparse: int
    dense: int


def costs(network: RecurrentNetwork, length: int) -> Costs:
    """Count the cost of a sparse network for a series of some length."""
    masks = _masks(network).values()
    active, weights = sum(int(mask.sum()) for mask in masks), sum(mask.numel() for mask in masks)
    head = network.backbone.head.weight.numel()
    return Costs(1 - active / weights, 2 * (length * active + head), 2 * (length * weights + head))


def mask_densities(network: RecurrentNetwork) -> dict[str, dict[str, float]]:
    """Return the share of connections by parameter and gate, as `gate_densities` does."""
    found = {}
    for name, mask in _masks(network).items():
        gates = packed_parts(network.backbone.rnn, name) or ()
        shares = [float(part.float().mean()) for part in mask.chunk(len(gates))]
        found[f"backbone.rnn.{name}"] = dict(zip(gates, shares, strict=True))
    return found


def _masks(network: RecurrentNetwork) -> dict[str, Tensor]:
    """Return the masks of the recurrent layers by parameter."""
    buffers = network.backbone.rnn.named_buffers(recurse=False)
    return {name.removesuffix(MASK_SUFFIX): mask for name, mask in buffers}
