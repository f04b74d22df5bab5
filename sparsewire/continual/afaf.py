"""How does AFAF learn a new task with what earlier tasks have learnt already?

As SpaceNet, but from some task on the connections of a task start from the units that its data
excite most, whoever uses them; they are allocated backwards, class by class, and the lowest layers
are shared as they are.

References
----------
Sokar, Mocanu & Pechenizkiy (2022). Avoiding forgetting and allowing forward transfer in continual
learning via sparse networks. ECML-PKDD. arXiv:2110.05329.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sparsewire.continual.activations import mean_activations
from sparsewire.continual.chain import Chain
from sparsewire.continual.method import Batches
from sparsewire.continual.reuse import BackwardAllocation
from sparsewire.continual.sizes import Size
from sparsewire.continual.spacenet import SpaceNet
from sparsewire.core._validation import check_fraction, check_integer
from sparsewire.core.criteria import drop_count
from sparsewire.core.errors import InvalidArgumentError, UnsupportedError
from sparsewire.core.ranking import highest


class AFAF(SpaceNet):
    """SpaceNet with reuse of units that earlier tasks have trained.

    Parameters
    ----------
    model : nn.Module
        A chain of linear and convolutional layers, as in `SpaceNet`.
    optimizer : torch.optim.Optimizer
        Holds the parameters of the model. The paper's is plain SGD with learning rate 0.1.
    density : float or sequence of float or None, default None
        Share of the connections between chosen units that a task is given; None: 0.25, and 0.7 in
        the classifier.
    select : int, float, sequence or None, default None
        Units chosen for a task in each hidden layer; None: shares of 0.7 in convolutions, 0.2 in
        linear layers and 0.1 in the last one.
    reserve : int, float, sequence or None, default None
        Units reserved after a task; None: shares of the chosen ones of 0.1 in convolutions, 0.3 in
        linear layers and 1.0 in the last one.
    reuse_from : int, default 2
        Number of the first task that reuses units; earlier ones are allocated as in SpaceNet.
    reuse_share : float, default 0.3
        Share of a layer's chosen units that are taken for their activation.
    shared_layers : int or None, default None
        Lowest layers that get no new connections once units are reused; None: all convolutions,
        3 in the paper's network.
    rewire_fraction : float, default 0.2
        Share of a task's connections that `rewire` moves in each hidden layer.
    head : {"zero", "mask", "live"}, default "zero"
        What the loss sees of classes that a batch is not about; see `SpaceNet`.
    layers : sequence of str or None, default None
        Names of the chain's layers in order, for a model that branches.
    seed : int, default 0
        Decides allocation and ties.

    Notes
    -----
    Defaults are those of the released split-CIFAR10 script. Activations are taken as the next layer
    receives them, so behind pooling, where the release takes them in front of it. Connections of a
    layer are divided among classes without loss; the release drops the remainder. Free units of the
    highest shared layer are drawn among those that some connection reaches; the release also draws
    units that stay constant.

    On split MNIST reuse costs class-incremental accuracy (specs/continual.md, a.8): the method is
    made for convolutional networks.

    References
    ----------
    Sokar, Mocanu & Pechenizkiy (2022), arXiv:2110.05329.

    Examples
    --------
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(8, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU(),
    ...                       nn.Linear(20, 6))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> method = AFAF(model, optimizer, select=5, reserve=2, reuse_from=1)
    >>> method.begin_task([0, 1])
    >>> method.end_task()
    >>> method.begin_task([2, 3], data=[(torch.randn(9, 8), torch.arange(9) % 2 + 2)])
    >>> method.end_task()
    >>> method.connections()
    {'0': 20, '2': 12, '4': 14}
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        *,
        density: float | Sequence[float] | None = None,
        select: Size | Sequence[Size] | None = None,
        reserve: Size | Sequence[Size] | None = None,
        reuse_from: int = 2,
        reuse_share: float = 0.3,
        shared_layers: int | None = None,
        rewire_fraction: float = 0.2,
        head: str = "zero",
        layers: Sequence[str] | None = None,
        seed: int = 0,
    ) -> None:
        chain = Chain.discover(model, layers)
        if not chain.has_head:
            raise UnsupportedError(
                "AFAF allocates backwards from one classifier, but the model has a head per task; "
                "give it one layer with an output for every class."
            )
        weights = [link.module(model).get_parameter("weight") for link in chain.links]
        convolutions = [weight.ndim > 2 for weight in weights]
        hidden = convolutions[:-1]
        shared = sum(convolutions) if shared_layers is None else shared_layers
        reuse = {
            "reuse_from": check_integer("reuse_from", reuse_from, minimum=1),
            "reuse_share": check_fraction("reuse_share", reuse_share),
            "shared_layers": check_integer("shared_layers", shared, minimum=0),
        }
        if shared >= len(weights):
            raise InvalidArgumentError(
                f"shared_layers must be below {len(weights)}, the number of layers, got {shared}."
            )
        super().__init__(
            model,
            optimizer,
            density=[*[0.25] * (len(weights) - 1), 0.7] if density is None else density,
            select=_by_kind(hidden, 0.7, 0.2, 0.1) if select is None else select,
            reserve=_by_kind(hidden, 0.1, 0.3, 1.0) if reserve is None else reserve,
            rewire_fraction=rewire_fraction,
            strict=False,
            head=head,
            layers=layers,
            seed=seed,
        )
        self.settings |= reuse

    # Allocation

    def _begin(self, classes: tuple[int, ...], data: Batches | None) -> None:
        if len(self.tasks) < self.settings["reuse_from"]:
            super()._begin(classes, data)
            return
        if data is None:
            raise InvalidArgumentError(
                f"task {len(self.tasks)} reuses units that its data excite: pass data=, batches of "
                "(inputs, targets), to begin_task."
            )
        self.prepare(classes)
        activations = mean_activations(self.model, self.chain, data, classes)
        chosen, connections = BackwardAllocation(self, activations).plan(classes)
        self._start(chosen, connections, classes)

    def budget(self, index: int, positions: int) -> int:
        """Return how many connections a task gets in a layer, rounded down as released."""
        return drop_count(positions, self.density[index])

    # Importance and rewiring

    def _credit(self) -> None:
        """Bring the importance of units up to date: by outgoing connections."""
        for units, importance in zip(self.unit_importance, self.importance, strict=False):
            importance.credit(None, units)

    def _region(self, index: int) -> Tensor:
        """Return all connections between the units of the task into units that are not reserved."""
        region = super()._region(index)
        if not self.importance[index].connections.numel():
            return region[:0]
        targets, _ = self.layers[index].grid.ends(region)
        return region[~self.reserved[index].to(region.device)[targets]]

    def _candidates(self, index: int, region: Tensor, dropped: Tensor) -> Tensor:
        """Return the connections that may grow, also those dropped in the same round."""
        return torch.cat([super()._candidates(index, region, dropped), dropped]).sort().values

    def _most_important(self, index: int) -> Tensor:
        """Return the units to reserve; units reserved before count towards the quota."""
        chosen = self.chosen_units(index)
        scores = self.unit_importance[index + 1][chosen]
        count = min(self.reserve[index], chosen.numel())
        generator = self.generator(self.layers[index].name, "reserve")
        return chosen[highest(scores, count, generator)]


def _by_kind(
    convolutions: Sequence[bool], convolution: float, linear: float, last: float
) -> list[float]:
    """Return a share for each hidden layer; the last has its own if it is linear."""
    shares = [convolution if kind else linear for kind in convolutions]
    if shares and not convolutions[-1]:
        shares[-1] = last
    return shares
