"""How does the engine talk to a parameter without knowing how its connections are stored?

Through a `Store`, one per sparsified parameter. It shows each layer as a `LayerView`, carries out
plans, counts, captures gradients for growth, and keeps the record of what has ever been active in
a form of its own. Plans are made and checked elsewhere; `sparsewire.core.masked` has the
implementation by masks, `sparsewire.core.csr.store` the one by connections alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.optim import Optimizer

from sparsewire.core.budget import LayerShape
from sparsewire.core.criteria import LayerView
from sparsewire.core.topology import LayerPlan


class Store(ABC):
    """One parameter, the layers it is cut into, and the connections of each.

    Attributes
    ----------
    name : str
        Name of the parameter in the model, such as ``0.weight``.
    layers : tuple of LayerShape
        Name and dense shape of the layers, in the order in which they are stacked.
    kind : str
        ``"masked"`` or ``"csr"``.
    reduce : callable or None
        Applied in place to what growth sees of the gradient, such as a sum over processes. While it
        is set, growth sees a gradient if and only if the weight has one, whether or not anything
        was captured here, so that all processes take part or none.
    """

    kind: ClassVar[str]
    name: str
    layers: tuple[LayerShape, ...]
    reduce: Callable[[Tensor], object] | None = None

    @property
    @abstractmethod
    def weight(self) -> nn.Parameter:
        """The parameter the optimizer holds."""

    @property
    @abstractmethod
    def mask(self) -> Tensor:
        """Bool tensor of the dense weight's shape, True where a connection is active."""

    @abstractmethod
    def views(self) -> list[LayerView]:
        """Return what rules may look at, layer by layer, with captured gradients."""

    @abstractmethod
    def set_values(self, values: Sequence[Tensor]) -> None:
        """Set the weights of each layer, given in the order of its view's `active`."""

    @abstractmethod
    def commit_(self, plans: Sequence[LayerPlan], optimizer: Optimizer) -> None:
        """Carry out one checked plan per layer in topology, weight and the optimizer's state."""

    @abstractmethod
    def watch(self, wanted: bool) -> None:
        """Begin to keep, from the next forward pass on, what growth by gradient needs, or stop."""

    @abstractmethod
    def capture(self, scale: float) -> None:
        """Keep the dense gradient that a backward pass has left, which is about to be masked.

        Parameters
        ----------
        scale : float
            By which the gradient still has to be divided.
        """

    @abstractmethod
    def check_captured(self, step: int) -> None:
        """Raise `NonFiniteError` if what was captured for a step contains NaN or infinity."""

    @abstractmethod
    def forget(self) -> None:
        """Drop what was captured."""

    @abstractmethod
    def remember(self) -> object:
        """Return what `retain_valid` needs to know of the present topology."""

    @abstractmethod
    def retain_valid(self, gradient: Tensor, memory: Any) -> Tensor:
        """Return a gradient formed on a remembered topology as one of the present topology.

        It is 0 where a connection is new; what has no connection any more is left out.
        """

    @abstractmethod
    def zero_inactive_(self, tensor: Tensor) -> None:
        """Set a tensor of the parameter's shape to exactly +0 where inactive, even if NaN there."""

    @abstractmethod
    def counts(self) -> list[int]:
        """Count the connections of each layer anew."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a short digest of the topology, the same on every device."""

    @abstractmethod
    def saved_fingerprint(self, state: Mapping[str, Any]) -> str:
        """Return the fingerprint of this parameter's topology in a model's ``state_dict``."""

    @abstractmethod
    def saved_tensors(self) -> set[str]:
        """Return the entries of a model's ``state_dict`` whose length follows the topology."""

    @abstractmethod
    def has_stray_weights(self) -> bool:
        """Tell whether a weight that is no connection differs from 0."""

    @abstractmethod
    def explored(self) -> Tensor:
        """Return a new record of exploration that holds what is active now."""

    @abstractmethod
    def explore(self, seen: Tensor) -> Tensor:
        """Return a record of exploration with what is active now added to it."""

    @abstractmethod
    def explored_counts(self, seen: Tensor) -> list[int | None]:
        """Count how many weights of each layer have ever been active; None if unknown."""

    @abstractmethod
    def remove(self) -> None:
        """Leave the module as its dense architecture has it; weights keep their values."""
