"""How does one update the topology at a moment, and by a gradient, of one's own choosing?

Methods update after given optimizer steps and grow by the gradient of that step's batch. Some
algorithms look at all data instead, or at another loss: they leave a method's own schedule empty
and call `update_topology` between two steps.
"""

from collections.abc import Callable

from torch import Tensor

from sparsewire.core.handle import SparsityHandle
from sparsewire.core.optimizer import check_optimizer


def update_topology(handle: SparsityHandle, loss: Callable[[], Tensor] | None = None) -> None:
    """Run one topology update of the handle's method now.

    Parameters
    ----------
    handle : SparsityHandle
        Of the network.
    loss : callable or None, default None
        Returns the scalar loss whose dense gradient growth is to see; called once and
        differentiated. None if growth needs no gradient.

    Raises
    ------
    NonFiniteError
        If the gradient is NaN or infinite; nothing has changed then.
    StateError
        After `SparsityHandle.finalize`.

    Notes
    -----
    Gradients in ``.grad`` are replaced, and gone afterwards.

    Examples
    --------
    >>> import torch, sparsewire
    >>> model = torch.nn.Linear(4, 4, bias=False)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> method = sparsewire.RigL(begin=10**9)  # never by itself
    >>> handle = sparsewire.sparsify(model, optimizer, density=0.5, method=method, seed=0)
    >>> update_topology(handle, lambda: model(torch.ones(1, 4)).square().sum())
    >>> handle.updates, round(handle.density(), 2)
    (1, 0.5)
    """
    handle._check_alive()
    optimizer, network = handle.optimizer, handle._network
    check_optimizer(optimizer, dynamic=True)
    if loss is not None:
        handle.model.zero_grad()
        for store in network.stores:
            store.watch(True)
        loss().backward()  # type: ignore[no-untyped-call]
        for store in network.stores:
            store.capture(1.0)
            store.check_captured(handle.step)
    network.update_topology_(optimizer, handle.step)
    for store in network.stores:
        store.forget()
    handle.model.zero_grad()
    handle._watch()
    handle._traces = network.traces(optimizer)
