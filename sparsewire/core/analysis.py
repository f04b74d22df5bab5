"""What does a sparsified model consist of, and what would it cost?

Counts come from the masks, never from counting non-zero weights, because an active weight may be 0.
FLOPs are the theoretical cost of the connections (one multiplication and one addition each); masks
on dense tensors do not save that time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sparsewire.core.masked import MaskedParameter
from sparsewire.core.methods import Method
from sparsewire.core.network import SparseNetwork
from sparsewire.core.selection import Decision, packed_parts


@dataclass(frozen=True)
class LayerSummary:
    """Numbers of one sparsified layer.

    Attributes
    ----------
    name : str
        Layer name.
    shape : tuple of int
        Weight shape.
    weights, active : int
        All weights, and active connections.
    dropped, grown : int
        Connections dropped and grown by all topology updates so far.
    explored : float
        Share of the weights that have been active at some time (in-time over-parameterisation rate;
        Liu et al., 2021).
    flops, dense_flops : float or None
        Inference FLOPs with the present connections and of the dense layer; None if unknown.
    """

    name: str
    shape: tuple[int, ...]
    weights: int
    active: int
    dropped: int
    grown: int
    explored: float
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
    left_dense : tuple of (str, tuple of int, str)
        Name, shape and reason of every weight matrix without a mask.
    n_small : int
        Parameters that never take a mask: biases, normalisation.
    parameters, dense_parameters : int
        Parameters of the model counting only active connections, and counting all.
    flops, dense_flops : float or None
        Inference FLOPs; None if unknown.
    training_flops, dense_training_flops : float or None
        FLOPs of one training step: forward, gradient of the input, and gradient of the active
        weights, plus the share of the dense gradients that growth looks at.
    """

    method: str
    step: int
    updates: int
    layers: tuple[LayerSummary, ...]
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
        head = ("layer", "shape", "active", "density", "dropped", "grown", "explored", "FLOPs")
        rows = [head, *(_row(layer) for layer in self.layers)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        lines = [f"{self.method}, step {self.step}, {self.updates} topology updates", ""]
        lines += [
            "  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in rows
        ]
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
        return [*lines, "FLOPs are theoretical: masks on dense tensors save no time."]


def _dims(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _ratio(sparse: float | None, dense: float | None) -> str:
    if sparse is None or dense is None:
        return "unknown"
    return f"{sparse:,.0f} of {dense:,.0f} dense ({sparse / dense if dense else 1.0:.1%})"


def _row(layer: LayerSummary) -> tuple[str, ...]:
    return (
        layer.name,
        _dims(layer.shape),
        f"{layer.active:,}",
        f"{layer.density:.4f}",
        f"{layer.dropped:,}",
        f"{layer.grown:,}",
        f"{layer.explored:.1%}",
        "unknown" if layer.flops is None else f"{layer.flops:,.0f}",
    )


def count_uses(model: nn.Module, example_input: Any = None) -> dict[str, float | None]:
    """Return how often each weight of every layer is used in one forward pass.

    Parameters
    ----------
    model : nn.Module
        The model; run once in eval mode if an example is given.
    example_input : Tensor, tuple of Tensor, or None
        Input of the forward pass, with its batch dimension. None means one row through every linear
        layer, and leaves the other kinds unknown.

    Returns
    -------
    dict from str to float or None
        Parameter name to uses; a weight used n times costs 2 n FLOPs. Embeddings cost none.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 4))
    >>> count_uses(model, torch.zeros(1, 1, 4, 4))
    {'0.weight': 4.0, '2.weight': 1.0}
    """
    names: dict[nn.Module, list[tuple[str, str]]] = {}
    uses: dict[str, float | None] = {}
    for prefix, module in model.named_modules():
        for local, _ in module.named_parameters(recurse=False):
            if packed_parts(module, local) is not None:
                name = f"{prefix}.{local}" if prefix else local
                names.setdefault(module, []).append((name, local))
                known = isinstance(module, (nn.Linear, nn.Embedding, nn.EmbeddingBag))
                uses[name] = float(isinstance(module, nn.Linear)) if known else None
    if example_input is None:
        return uses
    counted = _trace(model, names, example_input)
    return {name: counted.get(name, 0.0) for name in uses}


def _trace(
    model: nn.Module, names: dict[nn.Module, list[tuple[str, str]]], example_input: Any
) -> dict[str, float]:
    counted: dict[str, float] = {}

    def record(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        for name, local in names[module]:
            counted[name] = counted.get(name, 0.0) + _uses(module, local, args, kwargs, output)
        if isinstance(module, nn.MultiheadAttention):
            projection = names[module.out_proj][0][0]
            query = args[0] if args else kwargs["query"]
            counted[projection] = counted.get(projection, 0.0) + query.numel() / module.embed_dim

    modes = {module: module.training for module in model.modules()}
    hooks = [m.register_forward_hook(record, with_kwargs=True) for m in names]
    model.eval()
    try:
        # Gradients stay enabled: without them attention takes a fused path that skips its modules.
        with torch.enable_grad():
            model(*example_input) if isinstance(example_input, tuple) else model(example_input)
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes.items():
            module.training = training
    return counted


def _uses(module: nn.Module, local: str, args: Any, kwargs: dict[str, Any], output: Any) -> float:
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return 0.0
    if isinstance(module, nn.MultiheadAttention):
        inputs = [*args, *(kwargs[k] for k in ("query", "key", "value") if k in kwargs)][:3]
        index = {"q": 0, "k": 1, "v": 2}.get(local[0])
        tokens = [tensor.numel() / tensor.shape[-1] for tensor in inputs]
        return float(sum(tokens) / 3 if index is None else tokens[index])
    first: Tensor = args[0] if args else next(iter(kwargs.values()))
    if isinstance(module, nn.Linear):
        return float(output.numel() / module.out_features)
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        return first.numel() / module.in_channels
    if isinstance(module, nn.modules.conv._ConvNd):
        return float(output.numel() / module.out_channels)
    data = first.data if isinstance(first, nn.utils.rnn.PackedSequence) else first
    return data.numel() / data.shape[-1]


def total_flops(
    decisions: Sequence[Decision],
    uses: dict[str, float | None],
    active: dict[str, int] | None = None,
) -> float | None:
    """Return inference FLOPs of all layers, or None if the uses of one are unknown.

    Parameters
    ----------
    decisions : sequence of Decision
        All parameters of the model.
    uses : dict
        From `count_uses`.
    active : dict or None
        Active connections by parameter name; parameters it does not name count in full.
    """
    total = 0.0
    for decision in decisions:
        if decision.name not in uses:
            continue
        times = uses[decision.name]
        if times is None:
            return None
        count = (active or {}).get(decision.name, decision.parameter.numel())
        total += 2 * count * times
    return total


def summarize(
    network: SparseNetwork,
    decisions: Sequence[Decision],
    uses: dict[str, float | None],
    step: int,
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
    active = {p.name: sum(network.active[s.name] for s in p.layers) for p in network.parameters}
    sizes = {d.name: d.parameter.numel() for d in decisions}
    sparse, dense = total_flops(decisions, uses, active), total_flops(decisions, uses)
    return Summary(
        method=repr(network.method),
        step=step,
        updates=network.updates,
        layers=tuple(row for p in network.parameters for row in _rows(network, p, uses[p.name])),
        left_dense=tuple(
            (d.name, tuple(d.parameter.shape), d.reason)
            for d in decisions
            if not d.included and d.name in uses
        ),
        n_small=sum(n for name, n in sizes.items() if name not in uses),
        parameters=sum((sizes | active).values()),
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
    network: SparseNetwork, parameter: MaskedParameter, times: float | None
) -> list[LayerSummary]:
    explored = parameter.split(network.explored[parameter.name])
    return [
        LayerSummary(
            name=layer.name,
            shape=layer.shape,
            weights=layer.numel,
            active=network.active[layer.name],
            dropped=network.dropped[layer.name],
            grown=network.grown[layer.name],
            explored=int(seen.sum()) / layer.numel,
            flops=None if times is None else 2 * network.active[layer.name] * times,
            dense_flops=None if times is None else 2 * layer.numel * times,
        )
        for layer, seen in zip(parameter.layers, explored, strict=True)
    ]
