"""How is a masked parameter stored?

A bool mask lives in a buffer beside an ordinary parameter (``weight_mask`` beside ``weight``), and
the weight is exactly 0 where the mask is False. The forward pass uses the weight directly, so
``state_dict``, ``deepcopy``, pickle, DDP, ``torch.compile`` and export need no special care. A
packed parameter, such as the four stacked gates of an LSTM, is cut into several *layers*, each with
a topology of its own.

References
----------
The layout follows RigL's masks (Evci et al., 2020, arXiv:1911.11134), kept as module buffers.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from sparsewire.core.budget import LayerShape
from sparsewire.core.criteria import DenseGradient, LayerView
from sparsewire.core.errors import InvalidArgumentError
from sparsewire.core.optimizer import state_tensors
from sparsewire.core.ranking import check_finite
from sparsewire.core.storage import Store
from sparsewire.core.topology import LayerPlan, commit

MASK_SUFFIX = "_mask"
_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class MaskedParameter(Store):
    """One parameter, its mask buffer, and the layers it is cut into.

    Weight and mask are looked up in the module at every use, so they follow ``module.to(...)`` and
    ``load_state_dict``.

    Parameters
    ----------
    module : nn.Module
        Owner of the parameter; gains the buffer ``<parameter_name>_mask``, all True.
    parameter_name : str
        Name of the parameter in `module`.
    name : str
        Full name in the model, such as ``0.weight``.
    parts : tuple of str
        Names of the equal parts stacked along the first dimension; empty for one undivided layer.

    Examples
    --------
    >>> from torch import nn
    >>> lstm = nn.LSTM(3, 5)
    >>> MaskedParameter(lstm, "weight_ih_l0", "weight_ih_l0", tuple("ifgo")).layers[1]
    LayerShape(name='weight_ih_l0[f]', shape=(5, 3))
    """

    kind = "masked"

    def __init__(
        self, module: nn.Module, parameter_name: str, name: str, parts: tuple[str, ...] = ()
    ) -> None:
        self.module = module
        self.parameter_name = parameter_name
        self.name = name
        self.mask_name = parameter_name + MASK_SUFFIX
        shape = tuple(self.weight.shape)
        rows = shape[0] // max(1, len(parts))
        names = tuple(f"{name}[{part}]" for part in parts) or (name,)
        self.layers = tuple(LayerShape(n, (rows, *shape[1:])) for n in names)
        # The gradient tensor, and its dense values from before masking.
        self._captured: tuple[Tensor, Tensor] | None = None
        self._bits: dict[int, Tensor] = {}
        self._bits_of: tuple[Tensor, int] | None = None
        mask = torch.ones_like(self.weight, dtype=torch.bool, requires_grad=False)
        module.register_buffer(self.mask_name, mask)

    def __getstate__(self) -> dict[str, object]:
        """Leave the cache and captured gradients out of copies and pickles."""
        return self.__dict__ | {"_bits": {}, "_bits_of": None, "_captured": None}

    @property
    def weight(self) -> nn.Parameter:
        """The parameter."""
        weight = self.module._parameters[self.parameter_name]
        assert weight is not None
        return weight

    @property
    def mask(self) -> Tensor:
        """The mask buffer, True where a connection is active."""
        mask = self.module._buffers[self.mask_name]
        assert mask is not None
        return mask

    def _offsets(self) -> list[int]:
        """Return the flat position at which each layer begins."""
        return [i * layer.numel for i, layer in enumerate(self.layers)]

    def _split(self, tensor: Tensor) -> list[Tensor]:
        """Return a tensor of the parameter's shape as one flat tensor per layer."""
        return list(tensor.detach().reshape(len(self.layers), -1).unbind(0))

    @torch.no_grad()
    def draw_(self, positions: Sequence[Tensor]) -> None:
        """Make these connections, and no others, active."""
        flat = torch.zeros(self.weight.numel(), dtype=torch.bool, device="cpu")
        for chosen, offset in zip(positions, self._offsets(), strict=True):
            flat[offset + chosen.cpu()] = True
        self.mask.copy_(flat.view(self.weight.shape))
        self.zero_inactive_(self.weight)

    def views(self) -> list[LayerView]:
        """Return what rules may look at."""
        dense = None if self._captured is None else self._captured[1]
        if self.reduce is not None and self.weight.grad is None:
            dense = None  # no process has used the parameter
        gradients: list[DenseGradient | None] = [None] * len(self.layers)
        if dense is not None:
            parts = self._split(dense)
            if self.reduce is not None:
                for part in parts:
                    self.reduce(part)
            gradients = [DenseGradient(part) for part in parts]
        pairs = zip(self._split(self.weight), self._split(self.mask), strict=True)
        views = []
        for layer, (weight, mask), gradient in zip(self.layers, pairs, gradients, strict=True):
            active = mask.nonzero().squeeze(1)
            views.append(LayerView(layer.name, layer.shape, active, weight[active], gradient))
        return views

    @torch.no_grad()
    def set_values(self, values: Sequence[Tensor]) -> None:
        """Set the active weights of each layer, in ascending order of position."""
        self.weight[self.mask] = torch.cat(list(values)).to(self.weight)

    def watch(self, wanted: bool) -> None:
        """Do nothing: torch computes dense gradients anyway."""

    def capture(self, scale: float) -> None:
        """Keep the dense gradient; add to what was kept of the same, still accumulating tensor."""
        gradient = self.weight.grad
        if gradient is None:
            return
        wide = torch.promote_types(gradient.dtype, torch.float32)
        dense = gradient.detach().to(wide) / scale
        source, before = self._captured or (None, dense)
        if source is gradient and all(map(math.isfinite, before.aminmax())):
            fresh = dense.masked_fill(self.mask, 0)
            if not bool(fresh.any()):
                return
            dense = torch.where(self.mask, dense, before + fresh)
        self._captured = gradient, dense

    def check_captured(self, step: int) -> None:
        """Raise `NonFiniteError` if the captured gradient is not finite."""
        if self._captured is not None:
            what = f"entries of the gradient of {self.name} captured at step {step}"
            check_finite(self._captured[1], what)

    def forget(self) -> None:
        """Drop the captured gradient."""
        self._captured = None

    def remember(self) -> None:
        """Return nothing: a dense gradient has a place for every connection."""

    def retain_valid(self, gradient: Tensor, memory: None) -> Tensor:
        """Return the gradient, zeroed in place where there is no connection any more."""
        self.zero_inactive_(gradient)
        return gradient

    def commit_(self, plans: Sequence[LayerPlan], optimizer: Optimizer) -> None:
        """Carry out one checked plan per layer."""
        states = state_tensors(optimizer, self.weight)
        commit(plans, self._offsets(), self.weight, self.mask, states)

    def counts(self) -> list[int]:
        """Count the True entries of each layer's mask."""
        return [int(mask.count_nonzero()) for mask in self._split(self.mask)]

    def fingerprint(self) -> str:
        """Return a short digest of the mask."""
        return fingerprint(self.mask)

    def saved_fingerprint(self, state: Mapping[str, Any]) -> str:
        """Return the digest of the mask in a model's ``state_dict``."""
        return fingerprint(state[self.name + MASK_SUFFIX])

    def saved_tensors(self) -> set[str]:
        """Return nothing: masks are as long as weights."""
        return set()

    def has_stray_weights(self) -> bool:
        """Tell whether a weight outside the mask differs from 0."""
        return bool((self.weight.detach()[~self.mask] != 0).any())

    def explored(self) -> Tensor:
        """Return a bool tensor of the parameter's shape, True where active now."""
        return self.mask.clone()

    def explore(self, seen: Tensor) -> Tensor:
        """Return what was active before or is now."""
        return seen.to(self.mask.device) | self.mask

    def explored_counts(self, seen: Tensor) -> list[int | None]:
        """Count how many weights of each layer have ever been active."""
        return [int(part.count_nonzero()) for part in self._split(seen)]

    @torch.no_grad()
    def zero_inactive_(self, tensor: Tensor) -> None:
        """Set a tensor of the parameter's shape to exactly +0 where inactive, even if NaN there.

        Active values keep every bit. The mask is applied as a bit pattern, because a bool product
        is several times slower and turns NaN into NaN.
        """
        integer = _INTEGERS[tensor.element_size()]
        tensor.detach().view(integer).bitwise_and_(self._pattern(integer))

    def _pattern(self, integer: torch.dtype) -> Tensor:
        mask = self.mask
        current = self._bits_of
        if current is None or current[0] is not mask or current[1] != mask._version:
            self._bits, self._bits_of = {}, (mask, mask._version)
        size = integer.itemsize
        if size not in self._bits:
            self._bits[size] = mask.to(integer).neg_()
        return self._bits[size]

    def remove(self) -> None:
        """Delete the mask buffer; the weight stays as it is."""
        delattr(self.module, self.mask_name)


def fingerprint(mask: Tensor) -> str:
    """Return a short digest of a mask, the same on every device and for every memory format.

    Examples
    --------
    >>> import torch
    >>> fingerprint(torch.tensor([True, False]))
    '3ae820785f7a2994'
    """
    data = mask.detach().cpu().contiguous().numpy().tobytes()
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def masked_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, Tensor]]:
    """Yield (parameter name, parameter, mask) for every mask buffer found in a model.

    Works on any copy of a sparsified model, such as an exponential moving average, without the
    handle.
    """
    for prefix, module in model.named_modules():
        for buffer_name, mask in module.named_buffers(recurse=False):
            parameter = module._parameters.get(buffer_name.removesuffix(MASK_SUFFIX))
            if buffer_name.endswith(MASK_SUFFIX) and parameter is not None:
                name = buffer_name.removesuffix(MASK_SUFFIX)
                yield (f"{prefix}.{name}" if prefix else name), parameter, mask


@torch.no_grad()
def apply_masks_(model: nn.Module, source: nn.Module | None = None) -> None:
    """Zero every weight of a copy of a sparsified model that its masks call inactive.

    Use it on averaged copies (EMA, SWA) after topology updates: an average remembers connections
    dropped since. ``AveragedModel(model)`` copies the mask buffers with every update; a copy kept
    by hand, and one made with ``use_buffers=True``, needs the present masks from `source`.

    Parameters
    ----------
    model : nn.Module
        A sparsified model or a copy of one; changed in place. An ``AveragedModel`` is unwrapped.
    source : nn.Module or None, default None
        Sparsified model whose masks are taken over first; None uses the copy's own.

    Raises
    ------
    InvalidArgumentError
        If `model` carries no masks, or not those of `source`.

    Examples
    --------
    >>> import torch, sparsewire
    >>> model = torch.nn.Linear(10, 10)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> handle = sparsewire.sparsify(model, optimizer, density=0.2, method="static")
    >>> average = torch.optim.swa_utils.AveragedModel(model)
    >>> apply_masks_(average)
    >>> int(average.module.weight.count_nonzero())
    20
    """
    if isinstance(model, AveragedModel):
        model = model.module
    found = {name: (parameter, mask) for name, parameter, mask in masked_parameters(model)}
    if not found:
        raise InvalidArgumentError("the model carries no masks; pass a copy made after sparsify.")
    if source is not None:
        present = {name: mask for name, _, mask in masked_parameters(source)}
        if present.keys() != found.keys():
            raise InvalidArgumentError(
                f"the model has masks of {', '.join(found)}, the source of {', '.join(present)}."
            )
        for name, (_, mask) in found.items():
            mask.copy_(present[name])
    for parameter, mask in found.values():
        parameter.masked_fill_(~mask, 0)
