"""How are most weights of a layer put back, bit for bit, after every optimizer step?

With two passes of bit operations, which cost the same however many weights may change.
`sparsewire.continual.freezing` does it with lists of entries, which is faster for few of them.
"""

import torch
from torch import Tensor

_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


class Pinned:
    """A tensor of which only some entries may change.

    Parameters
    ----------
    tensor : Tensor
        A floating-point tensor as it is now; what may not change is remembered.
    free : Tensor, bool
        Of its shape, True where it may change.

    Examples
    --------
    >>> weight = torch.tensor([1.0, 2.0, 3.0])
    >>> pinned = Pinned(weight, free=torch.tensor([False, True, False]))
    >>> pinned.restore_(weight.mul_(10))
    >>> weight
    tensor([ 1., 20.,  3.])
    """

    def __init__(self, tensor: Tensor, free: Tensor) -> None:
        self._type = _INTEGERS[tensor.element_size()]
        self._pattern = free.to(self._type).neg_()  # all bits 1 where free
        self._bits = tensor.detach().view(self._type) & ~self._pattern

    def mask_(self, gradient: Tensor) -> None:
        """Set all entries of a gradient to exactly 0, even NaN, that may not change."""
        gradient.detach().view(self._type).bitwise_and_(self._pattern)

    def restore_(self, tensor: Tensor) -> None:
        """Put the remembered entries back."""
        tensor.detach().view(self._type).bitwise_and_(self._pattern).bitwise_or_(self._bits)
