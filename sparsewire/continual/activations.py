"""How strongly does each class of new data excite the units that a model has already?"""

import torch
from torch import Tensor, nn

from sparsewire.continual.chain import Chain
from sparsewire.continual.method import Batches
from sparsewire.core.errors import InvalidArgumentError


def mean_activations(
    model: nn.Module, chain: Chain, data: Batches, classes: tuple[int, ...]
) -> dict[int, list[Tensor]]:
    """Return the mean activation of every hidden unit by class.

    Parameters
    ----------
    model : nn.Module
        Run in evaluation mode without gradients; nothing of it changes.
    chain : Chain
        Its layers.
    data : iterable of (inputs, targets, ...) batches
        Data of the classes.
    classes : tuple of int
        Classes to tell apart.

    Returns
    -------
    dict from int to list of Tensor, shape (units,)
        By class, for every hidden layer that a layer of the chain follows: activations as that
        layer receives them, summed over the positions of a map, averaged over examples.

    Raises
    ------
    InvalidArgumentError
        If a class has no example in the data.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2))
    >>> _ = nn.init.eye_(model[0].weight)
    >>> batch = torch.tensor([[1.0, -1.0], [3.0, 1.0]]), torch.tensor([0, 0])
    >>> mean_activations(model, Chain.discover(model), [batch], (0,))
    {0: [tensor([2.0000, 0.5000])]}
    """
    levels = len(chain.links) - 1
    received: list[Tensor] = [torch.empty(0)] * levels

    def note(level: int, inputs: Tensor) -> None:
        units = chain.links[level].grid(model).rows
        received[level] = inputs.reshape(len(inputs), units, -1).sum(2)

    hooks = [
        link.module(model).register_forward_pre_hook(lambda _, args, level=i: note(level, args[0]))
        for i, link in enumerate(chain.links[1:])
    ]
    sums = {label: [torch.zeros(())] * levels for label in classes}
    counts = dict.fromkeys(classes, 0)
    modes = {module: module.training for module in model.modules()}
    device = next(model.parameters()).device
    try:
        model.eval()
        with torch.no_grad():
            for inputs, targets, *_ in data:
                model(inputs.to(device))
                for label in classes:
                    mine = (targets == label).to(device)
                    counts[label] += int(mine.sum())
                    sums[label] = [
                        s + r[mine].sum(0) for s, r in zip(sums[label], received, strict=True)
                    ]
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes.items():
            module.training = training
    if missing := [label for label, count in counts.items() if not count]:
        raise InvalidArgumentError(f"data holds no example of the classes {missing}.")
    return {label: [s.cpu() / counts[label] for s in sums[label]] for label in classes}
