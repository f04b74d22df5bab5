"""Which taps are active at first, and how are better ones explored?

Every five epochs each group of each layer drops its smallest active taps and grows as many inside
its region, at random or where the gradient is largest. Because every group is a convolution of its
own, a region is simply a whole layer of the engine.

References
----------
Xiao et al. (2022). Dynamic sparse network for time series classification: learning what to "see".
NeurIPS 2022.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sparsewire.core import Cosine, Custom, Every, Method, SparsityHandle, Static, sparsify
from sparsewire.core.budget import LayerShape
from sparsewire.core.criteria import GRADIENT, MAGNITUDE, RANDOM, LayerView
from sparsewire.core.imported import keep_largest_
from sparsewire.core.network import seeded_generator
from sparsewire.core.schedule import every
from sparsewire.core.topology import LayerPlan, plan_drop_and_grow
from sparsewire.timeseries.dsn.network import DSNNetwork
from sparsewire.timeseries.dsn.regions import active_taps, can_be_sparse

Topology = Literal["dynamic", "static", "dense"]
Init = Literal["left", "random"]
Growth = Literal["random", "gradient"]

EPOCHS_BETWEEN_UPDATES = 5
_LAST_FRACTION = 0.001
_ANNEALED_BY = 0.8


@dataclass(frozen=True)
class Exploration(Method):
    """Exploration of taps inside regions.

    Parameters
    ----------
    steps_per_epoch, n_epochs : int
        Length of the run. An update follows the first step of every fifth epoch, so that a network
        is judged and kept as its training left it; the reference updates one step earlier, before
        it keeps the network of the epoch.
    drop_fraction : float, default 0.5
        Share of the active taps replaced by the first update, rounded up; annealed by a cosine to
        0.001 over the first 80 % of all steps and constant from then on (reference).
    growth : {"random", "gradient"}, default "random"
        Which taps grow (published: at random). Those just dropped may; they keep their weights.

    Examples
    --------
    >>> method = Exploration(steps_per_epoch=10, n_epochs=100)
    >>> [step for step in range(1, 130) if method.when.due(step)]
    [51, 101]
    >>> method.schedule(0), method.schedule(800), method.schedule(1000)
    (0.5, 0.001, 0.001)
    """

    steps_per_epoch: int
    n_epochs: int
    drop_fraction: float = 0.5
    growth: Growth = "random"

    @property
    def when(self) -> Every:
        """After the first step of every fifth epoch."""
        interval = EPOCHS_BETWEEN_UPDATES * self.steps_per_epoch
        return every(interval, interval + 1)

    @property
    def schedule(self) -> Cosine:
        """Drop fraction by step."""
        end = max(1, int(_ANNEALED_BY * self.n_epochs * self.steps_per_epoch))
        return Cosine(self.drop_fraction, min(_LAST_FRACTION, self.drop_fraction), end=end)

    @property
    def needs_gradient(self) -> bool:
        """Whether growth looks at the dense gradient."""
        return self.growth == "gradient"

    def plan(
        self, layer: LayerView, target: int, step: int, generator: torch.Generator
    ) -> LayerPlan:
        """Plan one round of drop and growth of a group."""
        active = layer.active.numel()
        moving = math.ceil(self.schedule(step) * active)
        grow = GRADIENT if self.growth == "gradient" else RANDOM
        return plan_drop_and_grow(
            layer, MAGNITUDE, grow, moving / active, generator, keep_regrown=True
        )


def make_sparse(
    network: DSNNetwork,
    optimizer: torch.optim.Optimizer,
    *,
    density: float,
    topology: Topology,
    init: Init,
    exploration: Exploration,
    seed: int,
) -> SparsityHandle:
    """Give every region its active taps and their initial weights.

    Parameters
    ----------
    network : DSNNetwork
        With initial weights.
    optimizer : torch.optim.Optimizer
        Of the network.
    density : float
        Share of the taps of every region that are active, in (0, 1].
    topology : {"dynamic", "static", "dense"}
        "dynamic" explores, "static" keeps the initial taps, "dense" has all taps of all regions.
    init : {"left", "random"}
        Whether the first taps of every region are active initially, or random ones.
    exploration : Exploration
        What "dynamic" does.
    seed : int
        Seed of topology and weights.

    Returns
    -------
    SparsityHandle
        Kernels too short to be sparse are whole layers too, of density 1.
    """
    shape = network.shape
    if topology == "dense" or not can_be_sparse(shape.kernel_size, shape.n_groups):
        density = 1.0
    shapes = {name: tuple(conv.weight.shape) for name, conv in network.region_convs}
    counts = {
        name: active_taps(n_out, n_in, length, density)
        for name, (n_out, n_in, _, length) in shapes.items()
    }
    handle = sparsify(
        network,
        optimizer,
        method=exploration if topology == "dynamic" and density < 1 else Static(),
        allocation=Custom({name: counts[name] / math.prod(shapes[name]) for name in shapes}),
        include=list(shapes),
        seed=seed,
    )
    if init == "left" and density < 1:
        keep_largest_(handle, {name: _leftmost_first(*shapes[name]) for name in shapes})

    def draw(layer: LayerShape, count: int) -> Tensor:
        bound = (layer.shape[1] * shape.kernel_size) ** -0.5
        generator = seeded_generator(seed, layer.name, "weights")
        return torch.empty(count).uniform_(-bound, bound, generator=generator)

    handle.initialize(draw)
    return handle


def _leftmost_first(n_out: int, n_in: int, height: int, length: int) -> Tensor:
    """Return weights of that shape that fall with tap, then output, then input."""
    falling = torch.arange(n_out * n_in * length, 0, -1, dtype=torch.float64)
    return falling.view(length, n_out, n_in, height).permute(1, 2, 3, 0).contiguous()
