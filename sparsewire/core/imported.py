"""How does a sparse network take over weights or masks that come from outside?

From a dense network that is to be made sparse, or from a ``state_dict`` that was loaded without the
state of its handle.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from sparsewire.core.handle import SparsityHandle
from sparsewire.core.network import seeded_generator
from sparsewire.core.positions import without
from sparsewire.core.ranking import highest
from sparsewire.core.topology import LayerPlan, check


def accept_masks(handle: SparsityHandle) -> None:
    """Take note of masks that were changed by something other than a topology update.

    Parameters
    ----------
    handle : SparsityHandle
        Of the network with these masks; its counts become theirs.
    """
    handle._network.resettle()


@torch.no_grad()
def keep_largest_(handle: SparsityHandle, weights: Mapping[str, Tensor]) -> None:
    """Begin with the largest of given dense weights instead of random connections.

    Every layer keeps its number of connections. Optimizer state starts afresh where it changes.

    Parameters
    ----------
    handle : SparsityHandle
        Of a network that has not been trained since it was sparsified.
    weights : mapping from str to Tensor
        By name of each sparse weight the dense one.

    Examples
    --------
    >>> import sparsewire
    >>> model = torch.nn.Linear(4, 1, bias=False)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> handle = sparsewire.sparsify(model, optimizer, density=0.5, method="static")
    >>> keep_largest_(handle, {"weight": torch.tensor([[1.0, -4.0, 3.0, 2.0]])})
    >>> model.weight.tolist()
    [[0.0, -4.0, 3.0, 0.0]]
    """
    network = handle._network
    for store in network.stores:
        (view,) = store.views()
        values = weights[store.name].flatten()
        generator = seeded_generator(network.seed, store.name, "largest")
        kept = highest(values.abs(), view.active.numel(), generator)
        plan = LayerPlan(view.name, without(view.active, kept), without(kept, view.active))
        check(plan, view, kept.numel())
        store.commit_([plan], handle.optimizer)
        store.set_values([values[kept]])
    network.explored = {store.name: store.explored() for store in network.stores}
