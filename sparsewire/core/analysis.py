"""What does a sparsified model consist of, and what would it cost?

Counts come from the masks, never from counting non-zero weights, because an active weight may be 0.
FLOPs are the theoretical cost of the connections (one multiplication and one addition each); masks
on dense tensors do not save that time.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sparsewire.core.csr.layer import SparseLinear
from sparsewire.core.methods import Method
from sparsewire.core.network import SparseNetwork
from sparsewire.core.selection import Decision, packed_parts
from sparsewire.core.storage import Store


@dataclass(frozen=True)
class LayerSummary:
    """Numbers of one sparsified layer.

    Attributes
    ----------
    name : str
        Layer name.
    storage : str
        How its connections are stored, ``"masked"`` or ``"csr"``.
    shape : tuple of int
        Weight shape.
    weights, active : int
        All weights, and active connections.
    dropped, grown : int
        Connections dropped and grown by all topology updates so far.
    explored : float or None
        Share of the weights that have been active at some time (in-time over-parameterisation rate;
        Liu et al., 2021); None if no record is kept.
    flops, dense_flops : float or None
        Inference FLOPs with the present connections and of the dense layer; None if unknown.
    """

    name: str
    storage: str
    shape: tuple[int, ...]
    weights: int
    active: int
    dropped: int
    grown: int
    explored: float | None
    flops: float | None
    dense_flops: float | None

    @property
    def density(self) -> float:
        """Active connections over all weights."""
        return self.active / self.weights


@dataclass(frozen=True)
class Summary:
    """Numbers of a whole sparsified model; ``print`` it for a table.

    Attributes
    ----------
    method : str
        The method and its parameters.
    step, updates : int
        Optimizer steps and topology updates so far.
    layers : tuple of LayerSummary
        Sparsified layers.
    left_masked : tuple of (str, str)
        Name of every weight that was to be truly sparse and is masked, and why.
    left_dense : tuple of (str, tuple of int, str)
        Name, shape and reason of every weight matrix without a mask.
    n_small : int
        Parameters that never take a mask: biases, normalisation.
    parameters, dense_parameters : int
        Parameters of the model counting only active connections, and counting all.
    flops, dense_flops : float or None
        Inference FLOPs of linear, convolutional, recurrent and attention layers; None if unknown.
    training_flops, dense_training_flops : float or None
        FLOPs of one training step: forward, gradient of the input, and gradient of the active
        weights, plus the share of the dense gradients that growth looks at.
    """

    method: str
    step: int
    updates: int
    layers: tuple[LayerSummary, ...]
    left_masked: tuple[tuple[str, str], ...]
    left_dense: tuple[tuple[str, tuple[int, ...], str], ...]
    n_small: int
    parameters: int
    dense_parameters: int
    flops: float | None
    dense_flops: float | None
    training_flops: float | None
    dense_training_flops: float | None

    @property
    def density(self) -> float:
        """Active connections over all weights of the sparsified layers."""
        return sum(s.active for s in self.layers) / sum(s.weights for s in self.layers)

    def __str__(self) -> str:
        """Return the table."""
        head = (
            "layer",
            "storage",
            "shape",
            "active",
            "density",
            "dropped",
            "grown",
            "explored",
            "FLOPs",
        )
        rows = [head, *(_row(layer) for layer in self.layers)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        lines = [f"{self.method}, step {self.step}, {self.updates} topology updates", ""]
        lines += [
            "  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in rows
        ]
        if self.left_masked:
            lines += ["", "masked, because they cannot be truly sparse:"]
            lines += [f"  {name}: {why}" for name, why in self.left_masked]
        if self.left_dense:
            lines += ["", "left dense:"]
            lines += [f"  {name} {_dims(shape)}: {why}" for name, shape, why in self.left_dense]
        lines += ["", *self._totals()]
        return "\n".join(lines)

    def _totals(self) -> list[str]:
        inference = _ratio(self.flops, self.dense_flops)
        training = _ratio(self.training_flops, self.dense_training_flops)
        lines = [
            f"density of the sparsified layers: {self.density:.4g}",
            f"parameters: {_ratio(self.parameters, self.dense_parameters)}, of which "
            f"{self.n_small} in biases and normalisation, always dense",
            f"inference FLOPs: {inference}",
            f"training FLOPs per step: {training}",
        ]
        if self.flops is None:
            lines.append("(FLOPs need the sizes of the inputs: pass summary(example_input=...))")
        if any(layer.storage == "masked" for layer in self.layers):
            lines.append("FLOPs are theoretical: masks on dense tensors save no time.")
        return lines


def _dims(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _ratio(sparse: float | None, dense: float | None) -> str:
    if sparse is None or dense is None:
        return "unknown"
    return f"{sparse:,.0f} of {dense:,.0f} dense ({sparse / dense if dense else 1.0:.1%})"


def _row(layer: LayerSummary) -> tuple[str, ...]:
    return (
        layer.name,
        layer.storage,
        _dims(layer.shape),
        f"{layer.active:,}",
        f"{layer.density:.4f}",
        f"{layer.dropped:,}",
        f"{layer.grown:,}",
        "unknown" if layer.explored is None else f"{layer.explored:.1%}",
        "unknown" if layer.flops is None else f"{layer.flops:,.0f}",
    )


Uses = dict[str, tuple[float, ...] | None]


def count_uses(model: nn.Module, decisions: Sequence[Decision], example_input: Any = None) -> Uses:
    """Return how often each weight of every layer is used in one forward pass.

    Parameters
    ----------
    model : nn.Module
        The model; run once in eval mode if an example is given.
    decisions : sequence of Decision
        All its parameters.
    example_input : Tensor, tuple of Tensor, or None
        Input of the forward pass, with its batch dimension. None means one row through every linear
        layer, and leaves the other kinds unknown.

    Returns
    -------
    dict from str to tuple of float or None
        By parameter name the uses of each of its parts, or None if unknown; a weight used n times
        costs 2 n FLOPs. Embeddings cost none. Parameters that belong to no layer are left out.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from sparsewire.core.selection import select
    >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 4))
    >>> decisions = select(model, list(model.parameters()))
    >>> count_uses(model, decisions, torch.zeros(1, 1, 4, 4))
    {'0.weight': (4.0,), '2.weight': (1.0,)}
    """
    uses: Uses = {}
    names: dict[nn.Module, list[tuple[str, str, int]]] = {}
    for decision in decisions:
        layers = [user for user in decision.users if packed_parts(*user) is not None]
        if layers:
            n_parts = max(1, len(decision.parts))
            known = all(isinstance(module, (*_LINEAR, *_LOOKUPS)) for module, _ in layers)
            rows = float(sum(isinstance(module, _LINEAR) for module, _ in layers))
            uses[decision.name] = (rows,) * n_parts if known else None
            for module, local in layers:
                names.setdefault(module, []).append((decision.name, local, n_parts))
    if example_input is None:
        return uses
    counted = _trace(model, names, example_input)
    parts = {decision.name: max(1, len(decision.parts)) for decision in decisions}
    return {name: tuple(counted.get(name, [0.0] * parts[name])) for name in uses}


_LOOKUPS = (nn.Embedding, nn.EmbeddingBag)
_LINEAR = (nn.Linear, SparseLinear)


def _trace(
    model: nn.Module, names: dict[nn.Module, list[tuple[str, str, int]]], example_input: Any
) -> dict[str, list[float]]:
    counted: dict[str, list[float]] = {}

    def add(name: str, times: Sequence[float]) -> None:
        before = counted.get(name, [0.0] * len(times))
        counted[name] = [a + b for a, b in zip(before, times, strict=True)]

    def record(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        for name, local, n_parts in names[module]:
            if isinstance(module, nn.MultiheadAttention):
                tokens = _attention_tokens(module, args, kwargs)
                add(name, tokens if n_parts == 3 else [tokens["qkv".index(local[0])]])
            else:
                add(name, [_uses(module, args, kwargs, output)] * n_parts)
        if isinstance(module, nn.MultiheadAttention):
            # Attention uses the weight of its output projection without calling that module.
            add(names[module.out_proj][0][0], _attention_tokens(module, args, kwargs)[:1])

    modes = {module: module.training for module in model.modules()}
    hooks = [m.register_forward_hook(record, with_kwargs=True) for m in names]
    model.eval()
    try:
        # Gradients stay enabled: without them attention takes a fused path that skips its modules.
        with torch.enable_grad():
            model(*example_input) if type(example_input) is tuple else model(example_input)
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes.items():
            module.training = training
    return counted


def _attention_tokens(
    module: nn.MultiheadAttention, args: Any, kwargs: dict[str, Any]
) -> list[float]:
    """Return the number of query, key and value tokens."""
    inputs = [*args, *(kwargs[k] for k in ("query", "key", "value") if k in kwargs)][:3]
    return [tensor.numel() / tensor.shape[-1] for tensor in inputs]


def _uses(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> float:
    first: Tensor = args[0] if args else next(iter(kwargs.values()))
    if isinstance(module, _LOOKUPS):
        return 0.0
    if isinstance(module, _LINEAR):
        return float(output.numel() / module.out_features)
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        return first.numel() / module.in_channels
    if isinstance(module, nn.modules.conv._ConvNd):
        return float(output.numel() / module.out_channels)
    data = first.data if isinstance(first, nn.utils.rnn.PackedSequence) else first
    return data.numel() / data.shape[-1]


def _flops(counts: Sequence[int], times: tuple[float, ...] | None) -> float | None:
    if times is None:
        return None
    return sum(2 * count * n for count, n in zip(counts, times, strict=True))


def _total(terms: Iterable[float | None]) -> float | None:
    total = 0.0
    for term in terms:
        if term is None:
            return None
        total += term
    return total


def summarize(
    network: SparseNetwork, decisions: Sequence[Decision], uses: Uses, step: int
) -> Summary:
    """Collect the numbers of a sparsified model.

    Parameters
    ----------
    network : SparseNetwork
        Its sparse state.
    decisions : sequence of Decision
        All parameters of the model.
    uses : dict
        From `count_uses`.
    step : int
        Optimizer steps so far.
    """
    active = {p.name: [network.active[s.name] for s in p.layers] for p in network.stores}
    sizes = {d.name: math.prod(d.shape) for d in decisions}
    stored = {d.name: [d.parameter.numel()] for d in decisions if not d.included}
    full = {d.name: [sizes[d.name] // n] * n for d in decisions if (n := max(1, len(d.parts)))}
    dense = _total(_flops(full[name], times) for name, times in uses.items())
    sparse = _total(_flops((full | active)[name], times) for name, times in uses.items())
    explored = network.count_explored()
    return Summary(
        method=repr(network.method),
        step=step,
        updates=network.updates,
        layers=tuple(
            row for p in network.stores for row in _rows(network, p, uses[p.name], explored)
        ),
        left_masked=tuple((d.name, d.obstacle) for d in decisions if d.included and d.obstacle),
        left_dense=tuple(
            (d.name, d.shape, d.reason) for d in decisions if not d.included and len(d.shape) > 1
        ),
        n_small=sum(sizes[d.name] for d in decisions if len(d.shape) < 2),
        parameters=sum(sum((full | stored | active)[name]) for name in sizes),
        dense_parameters=sum(sizes.values()),
        flops=sparse,
        dense_flops=dense,
        training_flops=_training_flops(network.method, sparse, dense),
        dense_training_flops=None if dense is None else 3 * dense,
    )


def _training_flops(method: Method, sparse: float | None, dense: float | None) -> float | None:
    if sparse is None or dense is None:
        return None
    when = method.when
    extra = (dense - sparse) / when.interval if when and method.needs_gradient else 0.0
    return 3 * sparse + extra


def _rows(
    network: SparseNetwork,
    store: Store,
    times: tuple[float, ...] | None,
    explored: Mapping[str, int | None],
) -> list[LayerSummary]:
    parts = [None] * len(store.layers) if times is None else [(n,) for n in times]
    return [
        LayerSummary(
            name=layer.name,
            storage=store.kind,
            shape=layer.shape,
            weights=layer.numel,
            active=network.active[layer.name],
            dropped=network.dropped[layer.name],
            grown=network.grown[layer.name],
            explored=None if seen is None else seen / layer.numel,
            flops=_flops([network.active[layer.name]], part),
            dense_flops=_flops([layer.numel], part),
        )
        for layer, part in zip(store.layers, parts, strict=True)
        for seen in (explored[layer.name],)
    ]
