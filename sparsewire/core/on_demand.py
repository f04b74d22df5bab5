"""How does one update the topology at a moment of one's own choosing?

Methods update after given optimizer steps. Some algorithms decide by themselves when to, and by
what: their methods have no schedule, and they call `update_topology` between two steps.
"""

from sparsewire.core.handle import SparsityHandle
from sparsewire.core.optimizer import check_optimizer


def update_topology(handle: SparsityHandle) -> None:
    """Run one topology update of the handle's method now.

    Parameters
    ----------
    handle : SparsityHandle
        Of the network. Growth by gradient is left out unless the method brings a gradient of its
        own, because none has been captured between two steps.

    Raises
    ------
    StateError
        After `SparsityHandle.finalize`.

    Examples
    --------
    >>> import torch, sparsewire
    >>> model = torch.nn.Linear(4, 4, bias=False)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> method = sparsewire.SET(begin=10**9)  # never by itself
    >>> handle = sparsewire.sparsify(model, optimizer, density=0.5, method=method, seed=0)
    >>> update_topology(handle)
    >>> handle.updates, round(handle.density(), 2)
    (1, 0.5)
    """
    handle._check_alive()
    optimizer, network = handle.optimizer, handle._network
    check_optimizer(optimizer, dynamic=True)
    network.update_topology_(optimizer, handle.step)
    for store in network.stores:
        store.forget()
    handle._watch()
    handle._traces = network.traces(optimizer)
