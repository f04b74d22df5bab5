"""How do processes tell each other what they have?

Gradients travel as one flat message per step that is summed on its way. It also says which
processes have a gradient of which parameter, and whether one of them is about to stop, so that all
can stop together instead of waiting for each other. When to send, and what to do with what arrives,
is decided in `sparsewire.core.parallel`.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from sparsewire.core.errors import NonFiniteError, StateError
from sparsewire.core.storage import Store


def gather(value: Any) -> list[Any]:
    """Return what every process passes, in the order of processes."""
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, value)
    return everyone


def digest(tensors: Iterable[Tensor]) -> str:
    """Return a short digest of all numbers.

    Examples
    --------
    >>> digest([torch.zeros(2)]) == digest([torch.zeros(1), torch.zeros(1)])
    True
    """
    code = hashlib.blake2b(digest_size=8)
    for tensor in tensors:
        code.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy().data)
    return code.hexdigest()


def check_equal(mine: Mapping[str, object]) -> None:
    """Raise `StateError` in every process unless all of them pass the same."""
    everyone = gather(dict(mine))
    names = dict.fromkeys(name for other in everyone for name in other)
    differ = [n for n in names if any(other.get(n) != mine.get(n) for other in everyone)]
    if differ:
        raise StateError(
            f"the processes differ in {', '.join(differ)}; build and sparsify the model with the "
            "same arguments and seeds, or load the same checkpoint, in all of them."
        )


class Message:
    """Gradients of all parameters of an optimizer, which become means over the processes.

    Parameters
    ----------
    parameters : sequence of Tensor
        All parameters of the optimizer.
    gradients : sequence of Tensor or None
        The gradient of each.
    delayed : sequence of Store, default ()
        Those whose topology may change before the message is used.
    finishing : bool, default False
        Whether this process shares no more gradients.
    unsound : bool, default False
        Whether this process has met NaN or infinity where growth has to rank gradients.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        gradients: Sequence[Tensor | None],
        delayed: Sequence[Store] = (),
        *,
        finishing: bool = False,
        unsound: bool = False,
    ) -> None:
        pairs = list(zip(parameters, gradients, strict=True))
        parts = [torch.zeros_like(p) if g is None else g.detach() for p, g in pairs]
        shares = [*(g is not None for g in gradients), finishing, unsound]
        flat = [part.flatten() for part in parts]
        self._numbers = torch.cat([*flat, torch.tensor(shares, device=flat[0].device)])
        self._shapes = [part.shape for part in parts]
        self._topology = [(store, store.remember()) for store in delayed]
        self._work: Any = None

    def send(self) -> None:
        """Start to form the mean over all processes, which all of them have to call."""
        self._numbers /= dist.get_world_size()
        self._work = dist.all_reduce(self._numbers, async_op=True)

    def wait(self) -> None:
        """Wait for the mean.

        Raises
        ------
        StateError
            If some processes are finishing and others are not.
        NonFiniteError
            If a process has unsound gradients.
        """
        if self._work is not None:
            self._work.wait()
            self._work = None
        finishing, unsound = self._numbers[-2:].tolist()
        if 0 < finishing < 1 - 0.5 / dist.get_world_size():
            raise StateError(
                "some processes called finish() while others still share gradients; let all of "
                "them make at least local_after steps, or equally many."
            )
        if unsound > 0:
            raise NonFiniteError(
                "in some process the gradients that a topology update has to rank are NaN or "
                "infinite; lower the learning rate, clip gradients, or skip such steps everywhere."
            )

    def gradients(self, parameters: Sequence[Tensor]) -> list[Tensor | None]:
        """Return the means as gradients of the present topology; None where no process has one.

        Parameters
        ----------
        parameters : sequence of Tensor
            The same as before; those of layers that changed their length may have been replaced,
            and others added at the end.
        """
        remembered = {id(store.weight): (store, memory) for store, memory in self._topology}
        sizes = [shape.numel() for shape in self._shapes]
        *parts, shares = torch.split(self._numbers, [*sizes, len(sizes) + 2])
        found: list[Tensor | None] = [None] * len(parameters)
        for i, (part, share) in enumerate(zip(parts, shares[:-2].tolist(), strict=True)):
            gradient = part.view(self._shapes[i])
            if id(parameters[i]) in remembered:
                store, memory = remembered[id(parameters[i])]
                gradient = store.retain_valid(gradient, memory)
            found[i] = gradient if share > 0 else None
        return found
