"""Why are optimizers slow where weights are zero, and what helps?

Adam and RMSprop take the square root of second moments. Where a connection is missing these are
exactly 0, and on a CPU torch leaves roots to a library of Intel's that is five to nine times slower
on an array with zeros at random places than on one without (measured: 153 instead of 33
microseconds for 256×256). So while the optimizer steps, and only then, the second moments of
missing connections are 1. Their gradient and first moment are 0, so nothing else changes. Fused
optimizers have roots of their own, which are fast.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from sparsewire.core.optimizer import second_moments
from sparsewire.core.storage import Store

_WORTH_IT = 2**13
"""Weights from which the detour is faster."""


class FastRoots:
    """Second moments without zeros, for the time of an optimizer's step.

    Only for optimizers that leave weights of value, gradient and first moment 0 as they are
    (`sparsewire.core.optimizer.maps_zero_to_zero`).

    Parameters
    ----------
    stores : sequence of Store
        Masked ones are looked after.
    """

    def __init__(self, stores: Sequence[Store]) -> None:
        masked = (store for store in stores if store.kind == "masked")
        self._stores = [store for store in masked if store.weight.numel() >= _WORTH_IT]
        self._missing: dict[str, tuple[Tensor, int, Tensor]] = {}
        self._changed: list[tuple[Store, Tensor]] = []

    def __getstate__(self) -> dict[str, Any]:
        """Leave caches out of copies and pickles."""
        return self.__dict__ | {"_missing": {}, "_changed": []}

    def before(self, optimizer: Optimizer) -> None:
        """Set the second moments of missing connections to 1."""
        if any(group.get("fused") for group in optimizer.param_groups):
            return
        self._changed = [
            (store, moment)
            for store in self._stores
            if store.weight.is_cpu
            for moment in second_moments(optimizer, store.weight)
        ]
        for store, moment in self._changed:
            moment.add_(self._where_missing(store))

    def after(self) -> None:
        """Set them to 0 again."""
        for store, moment in self._changed:
            store.zero_inactive_(moment)
        self._changed = []

    def _where_missing(self, store: Store) -> Tensor:
        """Return 1 where there is no connection and 0 elsewhere."""
        mask = store.mask
        kept = self._missing.get(store.name)
        if kept is None or kept[0] is not mask or kept[1] != mask._version:
            kept = self._missing[store.name] = mask, mask._version, (~mask).to(store.weight.dtype)
        return kept[2]
