"""How does a tensor stay bit for bit the same while an optimizer steps over it?

By restoring it after the step. Masking gradients alone freezes nothing: weight decay, momentum,
Adam's moments and other plugins move weights whose gradient is zero.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sparsewire.continual.tensors import with_rows


class Frozen:
    """A tensor of which only some entries may change.

    Parameters
    ----------
    tensor : Tensor
        The tensor as it is now; its frozen entries are remembered.
    free : Tensor, int64
        Flat positions of the entries that may change, in row-major order.

    Examples
    --------
    >>> weight = torch.tensor([1.0, 2.0, 3.0])
    >>> frozen = Frozen(weight, free=torch.tensor([1]))
    >>> frozen.restore_(weight.mul_(10))
    >>> weight
    tensor([ 1., 20.,  3.])
    """

    def __init__(self, tensor: Tensor, free: Tensor) -> None:
        self._anchor = tensor.detach().clone()
        self.free = free.to(tensor.device)

    def values(self, tensor: Tensor) -> Tensor:
        """Return the entries of a tensor of the same shape that may change."""
        if self.free.device != tensor.device:
            self.free = self.free.to(tensor.device)
        return tensor.detach().reshape(-1).index_select(0, self.free)

    def restore_(self, tensor: Tensor) -> None:
        """Put the remembered entries back; rows gained since are remembered as they are now."""
        values = self.values(tensor)
        if self._anchor.device != tensor.device:
            self._anchor = self._anchor.to(tensor.device)
        if self._anchor.shape != tensor.shape:
            self._anchor = with_rows(self._anchor, tensor, "a frozen tensor").clone()
        tensor.detach().copy_(self._anchor)
        self._put_(tensor, values)

    def mask_(self, gradient: Tensor) -> None:
        """Zero all other entries of a gradient, whatever they are."""
        values = self.values(gradient)
        gradient.detach().zero_()
        self._put_(gradient, values)

    def _put_(self, tensor: Tensor, values: Tensor) -> None:
        # Unlike `put_`, `index_copy_` is allowed where torch has to be deterministic.
        whole = tensor.detach()
        flat = whole.reshape(-1).index_copy_(0, self.free, values)
        if flat.data_ptr() != whole.data_ptr():  # not contiguous, so reshaping has copied it
            whole.copy_(flat.view(whole.shape))


class Guard:
    """Lets each task change its own entries of a model's tensors and nothing else.

    Tensors that are given no entries may change in the first task that sends them a gradient other
    than zero (buffers: in the first task) and never again.

    Parameters
    ----------
    model : nn.Module
        The model; its tensors are looked up by name at every use.

    Attributes
    ----------
    trained_in : dict from str to int
        By tensor without entries of its own, the task that trained it.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._entries: dict[str, Frozen] = {}
        self._others: dict[str, Frozen] = {}
        self._task = 0
        self.trained_in: dict[str, int] = {}

    def _tensors(self) -> dict[str, Tensor]:
        """Return parameters and floating buffers by name."""
        named = {n: b for n, b in self._model.named_buffers() if b.is_floating_point()}
        return dict(self._model.named_parameters()) | named

    def begin(self, task: int, free: Mapping[str, Tensor]) -> None:
        """Begin a task.

        Parameters
        ----------
        task : int
            Its number.
        free : mapping from str to Tensor, int64
            By tensor the flat positions that may change.
        """
        self._task = task
        tensors = self._tensors()
        self._entries = {name: Frozen(tensors[name], places) for name, places in free.items()}
        none = torch.empty(0, dtype=torch.int64)
        self._others = {n: Frozen(t, none) for n, t in tensors.items() if n not in free}

    def renew(self, name: str, free: Tensor) -> None:
        """Let other entries of a tensor change from now on."""
        self._entries[name] = Frozen(self._tensors()[name], free)

    def confine_(self, name: str, free: Tensor) -> None:
        """Zero all entries but these of a tensor that the task has begun to train, for good."""
        tensor = self._tensors()[name]
        frozen = self._entries[name] = Frozen(torch.zeros_like(tensor), free)
        frozen.restore_(tensor)
        if tensor.grad is not None:
            frozen.mask_(tensor.grad)

    def values(self, name: str, tensor: Tensor) -> Tensor:
        """Return the entries that may change of a tensor or its gradient."""
        return self._entries[name].values(tensor)

    def mask_gradients_(self) -> list[str]:
        """Zero the gradients of all entries that may not change.

        Returns
        -------
        list of str
            Tensors without entries of their own that the task trains from now on.
        """
        claimed = []
        for name, parameter in self._model.named_parameters():
            gradient = parameter.grad
            if gradient is None:
                continue
            if name in self._entries:
                self._entries[name].mask_(gradient)
            elif name not in self.trained_in:
                # Penalties of other plugins send zeros to what no task has used yet.
                if bool(gradient.any()):
                    self.trained_in[name] = self._task
                    claimed.append(name)
            elif self.trained_in[name] != self._task:
                gradient.zero_()
        return claimed

    def restore_(self) -> None:
        """Put all entries back that may not change."""
        for name, tensor in self._tensors().items():
            if name in self._entries:
                self._entries[name].restore_(tensor)
            elif name in self._others and not self._is_open(name, tensor):
                self._others[name].restore_(tensor)

    def _is_open(self, name: str, tensor: Tensor) -> bool:
        is_buffer = not isinstance(tensor, nn.Parameter)
        return self.trained_in.get(name) == self._task or (is_buffer and self._task == 0)
