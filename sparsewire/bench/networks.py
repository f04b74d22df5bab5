"""Which networks are timed as a whole, on what data, and how large are they?

Perceptrons with ReLU, of which only the storage of the connections differs.
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sparsewire.core.csr import SparseLinear

_POOL = 64
_POOL_NUMBERS = 2**26


def random_batches(n_in: int, n_classes: int, batch: int) -> list[tuple[Tensor, Tensor]]:
    """Return the pool: 64 batches, fewer where these would fill more than 256 MB."""
    own = torch.Generator().manual_seed(0)
    count = max(4, min(_POOL, _POOL_NUMBERS // (n_in * batch)))
    return [
        (
            torch.randn(batch, n_in, generator=own),
            torch.randint(0, n_classes, (batch,), generator=own),
        )
        for _ in range(count)
    ]


def perceptron(layers: Sequence[int], epsilon: float, storage: str) -> nn.Sequential:
    """Return a network of `SparseLinear` for the storage "csr", else of ``nn.Linear``."""
    modules: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for ends in itertools.pairwise(layers):
            sparse = storage == "csr"
            modules += [SparseLinear(*ends, epsilon=epsilon) if sparse else nn.Linear(*ends)]
            modules += [nn.ReLU()]
    return nn.Sequential(*modules[:-1])


def connections(layer: nn.Module) -> int:
    """Count the connections of a sparse, masked or dense layer.

    Examples
    --------
    >>> connections(nn.Linear(3, 2)), connections(SparseLinear(3, 2, n_connections=4))
    (6, 4)
    """
    mask = dict(layer.named_buffers()).get("weight_mask")
    weight = layer.get_parameter("weight")
    return weight.numel() if mask is None else int(mask.sum())


def state_bytes(model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Return the bytes of weights, gradients, indices, masks and optimizer state."""
    parameters = list(model.parameters())
    tensors = [*parameters, *model.buffers()]
    tensors += [p.grad for p in parameters if p.grad is not None]
    for state in optimizer.state.values():
        tensors += [value for value in state.values() if isinstance(value, Tensor)]
    # Where an index holds its other side, that is in no buffer.
    indices = [layer.index for layer in model.modules() if isinstance(layer, SparseLinear)]
    arrays = [array for index in indices for array in vars(index).get("other_side", ())]
    return sum(held.nbytes for held in (*tensors, *arrays))
