"""How is one network trained sparsely, whatever the selector?

Epochs with a progress bar and a history, optimizer steps that notice divergence, the weights of
the trained layers as SciPy arrays, and where and how all that is stored. Which network, which loss
and which topology updates is up to the selector.
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from tqdm import tqdm

from sparsewire.core import NonFiniteError, SparseLinear, SparsityHandle, TrainingDivergedError
from sparsewire.core.budget import LayerShape

Storage = Literal["csr", "masked", "auto"]


class LayeredNetwork(Protocol):
    """A network whose linear layers can be listed from the inputs on."""

    @property
    def layers(self) -> Sequence[nn.Module] | nn.ModuleList:
        """The layers, masked, truly sparse or dense."""
        ...

    def __call__(self, *inputs: Any) -> Any:
        """Return the output."""
        ...


class Training:
    """One network, its optimizer and its handle while they are trained.

    Parameters
    ----------
    network : nn.Module
        Its ``layers`` lead from the inputs to the outputs.
    optimizer : torch.optim.Optimizer
        Of the network.
    handle : SparsityHandle or None
        What keeps it sparse; None for a dense network.
    learning_rate : float
        Named in the error if training diverges.

    Attributes
    ----------
    history : dict of str to list of float
        Per epoch "loss", "seconds", "n_connections" and "n_active_inputs".
    """

    def __init__(
        self,
        network: LayeredNetwork,
        optimizer: torch.optim.Optimizer,
        handle: SparsityHandle | None,
        *,
        learning_rate: float,
    ) -> None:
        self.network = network
        self.optimizer = optimizer
        self.handle = handle
        self.learning_rate = learning_rate
        self.epoch = 0
        self.history: dict[str, list[float]] = {
            key: [] for key in ("loss", "seconds", "n_connections", "n_active_inputs")
        }

    def run(
        self, epochs: int, one_epoch: Callable[[int], float | None], *, title: str, verbose: int
    ) -> None:
        """Train for some epochs and record each.

        Parameters
        ----------
        epochs : int
            How many at most.
        one_epoch : callable
            From the number of the epoch, counted from 0, to its mean loss, or None to stop before
            the epoch.
        title : str
            Of the progress bar.
        verbose : int
            0 shows no progress bar.
        """
        for epoch in tqdm(range(epochs), title, disable=not verbose):
            self.epoch = epoch
            started = time.perf_counter()
            if (loss := one_epoch(epoch)) is None:
                break
            self._record(loss, time.perf_counter() - started)
        self.check_weights()

    def step(self, loss: Tensor, *, decay: float = 0.0) -> float:
        """Make one optimizer step and return the loss.

        Parameters
        ----------
        loss : Tensor
            Scalar.
        decay : float, default 0
            Share by which every parameter shrinks before the step, whatever the learning rate.

        Raises
        ------
        TrainingDivergedError
            If the loss or what ranks connections is not finite.
        """
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if decay:
            with torch.no_grad():
                for group in self.optimizer.param_groups:
                    for parameter in group["params"]:
                        parameter.mul_(1 - decay)
        value = float(loss.detach())
        try:
            self.optimizer.step()
        except NonFiniteError:
            value = math.nan
        if not math.isfinite(value):
            raise self.diverged()
        return value

    def diverged(self) -> TrainingDivergedError:
        """Return the error to raise when training has diverged in the present epoch."""
        return TrainingDivergedError(
            f"training diverged in epoch {self.epoch + 1}: weights or loss are not finite. Lower "
            f"learning_rate={self.learning_rate}, or scale the features (scale='standard')."
        )

    def check_weights(self) -> None:
        """Raise `TrainingDivergedError` if a weight is not finite."""
        held = (p for group in self.optimizer.param_groups for p in group["params"])
        if not all(bool(torch.isfinite(parameter).all()) for parameter in held):
            raise self.diverged()

    def _record(self, loss: float, seconds: float) -> None:
        self.history["loss"].append(loss)
        self.history["seconds"].append(seconds)
        self.history["n_connections"].append(sum(map(count_connections, self.network.layers)))
        self.history["n_active_inputs"].append(count_active_inputs(self.network.layers[0]))

    def connections(self) -> tuple[sparse.csr_array, ...]:
        """Return the weights of every layer, shape (inputs, outputs)."""
        return tuple(to_csr(layer) for layer in self.network.layers)


def count_connections(layer: nn.Module) -> int:
    """Count the connections of a masked, truly sparse or dense layer.

    Examples
    --------
    >>> count_connections(nn.Linear(3, 2))
    6
    """
    if isinstance(layer, SparseLinear):
        return layer.n_connections
    return int(_mask(layer).sum())


def count_active_inputs(layer: nn.Module) -> int:
    """Count the inputs of a layer that have a connection.

    Examples
    --------
    >>> count_active_inputs(nn.Linear(3, 2))
    3
    """
    if isinstance(layer, SparseLinear):
        index = layer.index
        if index.layout == "csc":
            return int(np.count_nonzero(np.diff(index.indptr)))
        return len(np.unique(index.indices))
    return int(_mask(layer).any(0).sum())


def _mask(layer: nn.Module) -> Tensor:
    mask = dict(layer.named_buffers(recurse=False)).get("weight_mask")
    assert isinstance(layer, nn.Linear)
    return torch.ones_like(layer.weight, dtype=torch.bool) if mask is None else mask


def to_csr(layer: nn.Module) -> sparse.csr_array:
    """Return a layer's connections as a CSR array of shape (inputs, outputs).

    Active connections of weight 0 are stored too; a layer without a mask is stored whole.

    Parameters
    ----------
    layer : nn.Linear or SparseLinear
        A masked, truly sparse or dense layer on any device.
    """
    if isinstance(layer, SparseLinear):
        return layer.to_scipy().T.tocsr()
    assert isinstance(layer, nn.Linear)
    active = _mask(layer).cpu().T.numpy()
    weight = layer.weight.detach().cpu().T.numpy()
    indptr = np.concatenate([[0], np.cumsum(active.sum(axis=1))])
    return sparse.csr_array((weight[active], active.nonzero()[1], indptr), shape=weight.shape)


def empty_linear(n_in: int, n_out: int, device: str, dtype: torch.dtype) -> nn.Linear:
    """Build a layer of zeros, without the usual draw from the global generator.

    Parameters
    ----------
    n_in, n_out : int
        Its shape.
    device : str
        "meta" if it is about to become truly sparse.
    dtype : torch.dtype
        Of its parameters.

    Examples
    --------
    >>> empty_linear(3, 2, "cpu", torch.float32).weight.detach().sum()
    tensor(0.)
    """
    linear = nn.Linear(n_in, n_out, device="meta", dtype=dtype)
    if device == "meta":
        return linear
    linear = linear.to_empty(device=device)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def uniform(
    bound: Callable[[int, int], float], generator: np.random.Generator
) -> Callable[[LayerShape, int], Tensor]:
    """Return what `SparsityHandle.initialize` wants: a uniform draw for each connection.

    Parameters
    ----------
    bound : callable
        From a layer's numbers of inputs and outputs to the largest magnitude.
    generator : numpy.random.Generator
        Source of the draw.

    Examples
    --------
    >>> draw = uniform(lambda n_in, n_out: n_in**-0.5, np.random.default_rng(0))
    >>> bool(draw(LayerShape("0.weight", (2, 4)), 3).abs().max() <= 0.5)
    True
    """

    def draw(layer: LayerShape, count: int) -> Tensor:
        n_out, n_in = layer.shape
        edge = bound(n_in, n_out)
        return torch.from_numpy(generator.uniform(-edge, edge, count))

    return draw


def resolve_storage(storage: Storage, device: torch.device) -> Storage:
    """Return how to store connections: "auto" is for CPUs, elsewhere masks are faster.

    Examples
    --------
    >>> resolve_storage("auto", torch.device("cuda"))
    'masked'
    """
    return "masked" if storage == "auto" and device.type != "cpu" else storage
