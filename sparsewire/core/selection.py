"""Which parameters can carry a mask, and which of them should?

Weights of linear, convolutional, recurrent and attention layers are sparsified by default,
embeddings when asked for; biases and normalisation never. Every weight gets a `Decision` with the
reason, which the summary prints. Names are those of ``model.named_parameters()``.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils import parametrize

from sparsewire.core._validation import suggest
from sparsewire.core.budget import LayerShape
from sparsewire.core.csr.layer import SparseLinear
from sparsewire.core.errors import (
    InvalidArgumentError,
    NoMaskableLayersError,
    StateError,
    UnknownLayerError,
)
from sparsewire.core.masked import MASK_SUFFIX

Selector = str | type[nn.Module] | Callable[[str, nn.Module], bool]
Selectors = Selector | Sequence[Selector]

_PLAIN = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
_GATES: dict[type[nn.Module], tuple[str, ...]] = {
    nn.LSTM: ("i", "f", "g", "o"),
    nn.LSTMCell: ("i", "f", "g", "o"),
    nn.GRU: ("r", "z", "n"),
    nn.GRUCell: ("r", "z", "n"),
    nn.RNN: (),
    nn.RNNCell: (),
}
_RECURRENT = re.compile(r"weight_(ih|hh|hr)(_l\d+(_reverse)?)?")
_ATTENTION = {
    "in_proj_weight": ("q", "k", "v"),
    "q_proj_weight": (),
    "k_proj_weight": (),
    "v_proj_weight": (),
}


@dataclass(frozen=True)
class Decision:
    """Whether one parameter is sparsified, and why.

    Attributes
    ----------
    name : str
        Parameter name.
    module : nn.Module
        Module that owns it.
    parameter_name : str
        Name within that module.
    parts : tuple of str
        Names of the parts a packed weight is cut into.
    included : bool
        True if it gets a mask.
    reason : str
        Why, in a few words.
    obstacle : str
        Why a layer that was to be truly sparse is masked, or empty.
    users : tuple of (nn.Module, str)
        All modules that hold the parameter, with its name in each; more than one if it is tied.
    """

    name: str
    module: nn.Module
    parameter_name: str
    parts: tuple[str, ...]
    included: bool
    reason: str
    users: tuple[tuple[nn.Module, str], ...] = ()
    obstacle: str = ""

    @property
    def parameter(self) -> nn.Parameter:
        """The parameter."""
        return self.module.get_parameter(self.parameter_name)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the parameter, dense if it is stored as a list of connections."""
        if isinstance(self.module, SparseLinear) and self.parameter_name == "weight":
            return self.module.shape
        return tuple(self.parameter.shape)

    @property
    def layers(self) -> tuple[LayerShape, ...]:
        """Name and shape of the layers the parameter is cut into."""
        rows = self.shape[0] // max(1, len(self.parts))
        names = [f"{self.name}[{part}]" for part in self.parts] or [self.name]
        return tuple(LayerShape(name, (rows, *self.shape[1:])) for name in names)


def packed_parts(module: nn.Module, parameter_name: str) -> tuple[str, ...] | None:
    """Return the parts of a maskable weight (empty if undivided), or None if it takes no mask.

    Examples
    --------
    >>> from torch import nn
    >>> packed_parts(nn.GRU(2, 3), "weight_hh_l0")
    ('r', 'z', 'n')
    >>> packed_parts(nn.Linear(2, 3), "bias") is None
    True
    """
    if isinstance(module, (*_PLAIN, *_EMBEDDINGS, SparseLinear)) and parameter_name == "weight":
        return ()
    if isinstance(module, nn.MultiheadAttention):
        return _ATTENTION.get(parameter_name)
    for kind, gates in _GATES.items():
        if isinstance(module, kind) and (match := _RECURRENT.fullmatch(parameter_name)):
            return () if match[1] == "hr" else gates
    return None


class _Matcher:
    """Decides whether selectors match a parameter.

    A name, glob or type that matches an enclosing module matches too; a callable sees the module
    that owns the parameter alone, so that it can be a negation.
    """

    def __init__(self, model: nn.Module, selectors: Selectors, role: str) -> None:
        self._modules = dict(model.named_modules(remove_duplicate=False))
        single = isinstance(selectors, str) or not isinstance(selectors, Iterable)
        self._selectors: list[Selector] = [selectors] if single else list(selectors)  # type: ignore[list-item, arg-type]
        parameters = [name for name, _ in model.named_parameters(remove_duplicate=False)]
        known = [*(name for name in self._modules if name), *parameters]
        for selector in self._selectors:
            if isinstance(selector, nn.Module) or not (
                isinstance(selector, str) or callable(selector)
            ):
                raise InvalidArgumentError(
                    f"{role} takes names, globs, module types or callables, got {selector!r}."
                )
            if isinstance(selector, str) and not any(fnmatchcase(n, selector) for n in known):
                raise UnknownLayerError(
                    f"{role} names {selector!r}, which matches no module or parameter of the "
                    f"model.{suggest(selector, known)}"
                )

    def __call__(self, parameter: str) -> bool:
        parts = parameter.split(".")
        prefixes = [".".join(parts[:i]) for i in range(len(parts))]
        return any(self._match(s, prefixes, parameter) for s in self._selectors)

    def _match(self, selector: Selector, prefixes: list[str], parameter: str) -> bool:
        if isinstance(selector, str):
            return any(fnmatchcase(name, selector) for name in (*prefixes[1:], parameter))
        if isinstance(selector, type):
            return any(isinstance(self._modules[name], selector) for name in prefixes)
        return bool(selector(prefixes[-1], self._modules[prefixes[-1]]))


def select(
    model: nn.Module,
    trainable: Sequence[Tensor],
    include: Selectors | None = None,
    exclude: Selectors = (),
    *,
    meta: bool = False,
) -> list[Decision]:
    """Decide for every parameter of a model whether it is sparsified.

    Parameters
    ----------
    model : nn.Module
        The model.
    trainable : sequence of Tensor
        Parameters held by the optimizer; others are left alone.
    include : selectors or None, default None
        Names, globs, module types or callables ``(module name, module) -> bool``; None means all
        layers but embeddings. A name, glob or type that matches an enclosing module matches what is
        inside; a callable is asked about the module that owns the weight.
    exclude : selectors, default ()
        What to leave dense; wins over `include`.
    meta : bool, default False
        Whether linear layers on the "meta" device are allowed.

    Returns
    -------
    list of Decision
        One per parameter in ``named_parameters()`` order; tied weights appear once.

    Raises
    ------
    UnknownLayerError
        If a name or glob matches nothing.
    NoMaskableLayersError
        If nothing is left to sparsify.
    StateError
        If the model carries masks already or has uninitialised lazy layers.

    Examples
    --------
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    >>> for d in select(model, list(model.parameters()), exclude="2"):
    ...     print(d.name, d.included, d.reason)
    0.weight True Linear
    0.bias False bias or not a layer's weight matrix
    1.weight False bias or not a layer's weight matrix
    1.bias False bias or not a layer's weight matrix
    2.weight False excluded by name
    2.bias False bias or not a layer's weight matrix
    """
    wanted = None if include is None else _Matcher(model, include, "include")
    unwanted = _Matcher(model, exclude, "exclude")
    held = {id(parameter) for parameter in trainable}
    decisions = []
    for aliases in _aliases(model):
        for _, module, parameter_name in aliases:
            _check_ready(module, parameter_name, meta and type(module) is nn.Linear)
        reasons = [_reason(alias, held, wanted, unwanted) for alias in aliases]
        chosen = next((i for i, (ok, _) in enumerate(reasons) if ok), 0)
        refused = next(
            (i for i, (_, why) in enumerate(reasons) if why.startswith("excluded")), None
        )
        included, reason = reasons[chosen if refused is None else refused]
        if included and len(aliases) > 1:
            reason += f", tied with {', '.join(name for name, _, _ in aliases[1:])}"
        parts = packed_parts(*aliases[chosen][1:]) or ()
        users = tuple(dict.fromkeys((module, local) for _, module, local in aliases))
        decisions.append(Decision(*aliases[0], parts, included, reason, users))
    if not any(decision.included for decision in decisions):
        raise NoMaskableLayersError(_nothing_left(decisions))
    return decisions


def _nothing_left(decisions: Sequence[Decision]) -> str:
    if not decisions:
        return "the model has no parameters, so there is nothing to sparsify."
    listed = "; ".join(f"{d.name}: {d.reason}" for d in decisions[:8])
    return f"no parameter of the model can be sparsified ({listed}); check include and exclude."


_Alias = tuple[str, nn.Module, str]


def _aliases(model: nn.Module) -> Iterator[list[_Alias]]:
    """Yield the names under which each distinct parameter is reachable."""
    found: dict[int, list[_Alias]] = {}
    for prefix, module in model.named_modules(remove_duplicate=False):
        for name, parameter in module.named_parameters(recurse=False):
            full = f"{prefix}.{name}" if prefix else name
            found.setdefault(id(parameter), []).append((full, module, name))
    yield from found.values()


def _check_ready(module: nn.Module, parameter_name: str, meta: bool) -> None:
    parameter = module.get_parameter(parameter_name)
    if isinstance(parameter, UninitializedParameter):
        raise StateError(
            "the model has lazy layers without weights; run one batch through it before sparsify."
        )
    if parameter.is_meta and not meta:
        raise StateError(
            f"{type(module).__name__} is on the meta device and has no weights; move it with "
            "to_empty() and initialise it before sparsify, or use storage='csr' for linear layers."
        )
    mask_name = parameter_name + MASK_SUFFIX
    if isinstance(module, SparseLinear) and module.driven:
        raise StateError("the model is sparsified already; call finalize() on its handle first.")
    if mask_name in dict(module.named_buffers(recurse=False)):
        raise StateError(
            f"the model is sparsified already ({type(module).__name__} has a buffer {mask_name}); "
            "call finalize() on its handle first."
        )
    if hasattr(module, mask_name):
        raise StateError(
            f"{type(module).__name__} has an attribute {mask_name}, the name of the mask that "
            "sparsify would add; rename it."
        )


def _reason(
    alias: _Alias, held: set[int], wanted: _Matcher | None, unwanted: _Matcher
) -> tuple[bool, str]:
    name, module, parameter_name = alias
    parameter = module.get_parameter(parameter_name)
    if isinstance(module, parametrize.ParametrizationList):
        return False, "behind a parametrization"
    if packed_parts(module, parameter_name) is None:
        return False, "bias or not a layer's weight matrix"
    if (obstacle := _obstacle(module, parameter, held)) is not None:
        return False, obstacle
    if unwanted(name):
        return False, "excluded by name"
    if wanted is None and isinstance(module, _EMBEDDINGS):
        return False, "embedding: name it in include to sparsify it"
    if wanted is not None and not wanted(name):
        return False, "not in include"
    return True, type(module).__name__


def _obstacle(module: nn.Module, parameter: nn.Parameter, held: set[int]) -> str | None:
    if not parameter.requires_grad:
        return "frozen (requires_grad=False)"
    if id(parameter) not in held:
        return "not in the optimizer"
    if parameter.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        return f"dtype {parameter.dtype}"
    if getattr(module, "sparse", False):
        return "sparse gradients (sparse=True)"
    if hasattr(parameter, "device_mesh"):
        return "sharded (DTensor)"
    if parameter.numel() == 0:
        return "empty"
    return None
