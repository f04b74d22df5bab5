"""Which weights join the heads of a multi-head model to the units of the chain before them?

Heads are kept in an ``nn.ModuleDict``. A head is dense: unless it is cut from the units of other
tasks, its logits drift as soon as a later task trains one of them.
"""

from torch import nn

from sparsewire.continual.chain import LINKS
from sparsewire.continual.grid import Grid
from sparsewire.core.errors import UnsupportedError


def entering_weights(model: nn.Module, units: int) -> dict[str, Grid]:
    """Find the weights of the first layer of every head.

    Parameters
    ----------
    model : nn.Module
        A model with heads in an ``nn.ModuleDict``.
    units : int
        Output units of the chain's last layer.

    Returns
    -------
    dict from str to Grid
        Connections by name of the weight.

    Raises
    ------
    UnsupportedError
        If the inputs of a head are no units, each once or as a flattened map.

    Examples
    --------
    >>> heads = nn.ModuleDict({"task": nn.Sequential(nn.ReLU(), nn.Linear(8, 2))})
    >>> entering_weights(nn.Sequential(nn.Linear(3, 8), heads), units=8)
    {'1.task.1.weight': Grid(rows=2, columns=8, block=1)}
    """
    found = {}
    for name, heads in model.named_modules():
        for key, head in heads.items() if type(heads) is nn.ModuleDict else ():
            for inner, module in head.named_modules():
                if isinstance(module, LINKS):
                    path = ".".join(part for part in (name, key, inner, "weight") if part)
                    found[path] = _grid(path, module, units)
                    break
    return found


def _grid(name: str, module: nn.Module, units: int) -> Grid:
    weight = module.get_parameter("weight")
    rows = weight.shape[0]
    if weight.shape[1] % units:
        raise UnsupportedError(
            f"{name} has {weight.shape[1]} inputs, but the chain ends in {units} units; put heads, "
            "and nothing else, into the nn.ModuleDict."
        )
    return Grid(rows, units, weight.numel() // (rows * units))
