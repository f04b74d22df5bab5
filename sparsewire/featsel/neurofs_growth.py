"""What does NeuroFS let connections and inputs grow by, and which are the best of all candidates?

By the gradient of the loss over many rows, by a product of two averages that is also a gradient of
a kind, or by chance. A layer may have a hundred million weights, so the gradient exists only block
by block and is formed as rarely as possible.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from sparsewire.core.criteria import GrowRule, LayerView, grow_largest_gradient
from sparsewire.core.csr.gradient import OuterGradient
from sparsewire.core.positions import contains
from sparsewire.core.ranking import check_finite, highest

Regrow = Literal["loss", "activation", "random"]

_SAMPLE = 2**14


def observe(
    layers: Iterable[nn.Module], loss: Callable[[], Tensor]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return what some layers of a network see while a loss is computed and differentiated.

    Parameters
    ----------
    layers : iterable of nn.Module
        The first layers, in the order in which they are applied.
    loss : callable
        Applies the network and returns a scalar.

    Returns
    -------
    dict from str to (Tensor, Tensor)
        By ``layers.0.weight`` and so on the layer's inputs, shape (n, n_in), and the gradients with
        respect to its outputs, shape (n, n_out).

    Examples
    --------
    >>> layer, x = nn.Linear(2, 3), torch.ones(4, 2)
    >>> inputs, deltas = observe([layer], lambda: layer(x).sum())["layers.0.weight"]
    >>> inputs.shape, deltas.shape
    (torch.Size([4, 2]), torch.Size([4, 3]))
    """
    seen: list[tuple[Tensor, Tensor]] = []
    hooks = [
        layer.register_forward_hook(lambda _, x, output: seen.append((x[0], output)))
        for layer in layers
    ]
    value = loss()
    for hook in hooks:
        hook.remove()
    # Without the gradients of weights, of which only part is needed, if any.
    deltas = torch.autograd.grad(value, [output for _, output in seen])
    return {
        f"layers.{place}.weight": (inputs.detach(), delta)
        for place, ((inputs, _), delta) in enumerate(zip(seen, deltas, strict=True))
    }


def gradients(
    evidence: Mapping[str, tuple[Tensor, Tensor]], regrow: Regrow
) -> dict[str, OuterGradient]:
    """Return for each layer the scores by which connections grow.

    Parameters
    ----------
    evidence : mapping from str to (Tensor, Tensor)
        For each layer the inputs, shape (n, n_in), and the gradients of the loss with respect to
        the outputs, shape (n, n_out), of the same rows.
    regrow : {"loss", "activation", "random"}
        The gradient of the loss with respect to each weight; or the mean absolute input times the
        mean absolute output gradient; or nothing.

    Raises
    ------
    NonFiniteError
        If the evidence is not finite.

    Examples
    --------
    >>> rows = torch.tensor([[1.0, 0.0], [-1.0, 2.0]]), torch.tensor([[1.0], [1.0]])
    >>> for regrow in ("loss", "activation"):
    ...     next(gradients({"demo": rows}, regrow)["demo"].blocks())
    (0, tensor([0., 2.]))
    (0, tensor([1., 1.]))
    """
    if regrow == "random":
        return {}
    scores = {}
    for name, (inputs, deltas) in evidence.items():
        check_finite(inputs, f"inputs of {name}")
        check_finite(deltas, f"output gradients of {name}")
        pair = inputs.t(), deltas.t()
        if regrow == "activation":
            pair = inputs.abs().mean(0)[:, None], deltas.abs().mean(0)[:, None]
        scores[name] = OuterGradient([pair], deltas, (deltas.shape[1], inputs.shape[1]))
    return scores


def restricted(gradient: OuterGradient, columns: Tensor) -> OuterGradient:
    """Return the gradient of a layer that has only some of the inputs.

    Examples
    --------
    >>> whole = OuterGradient([(torch.eye(3), torch.ones(1, 3))], torch.ones(1), (1, 3))
    >>> restricted(whole, torch.tensor([0, 2])).shape
    (1, 2)
    """
    pairs = [(inputs[columns], deltas) for inputs, deltas in gradient.pairs]
    return replace(gradient, pairs=pairs, shape=(gradient.shape[0], len(columns)))


def input_scores(
    gradient: OuterGradient | None, n_inputs: int, generator: torch.Generator
) -> Tensor:
    """Return the largest gradient magnitude of each input's connections, or random scores.

    Examples
    --------
    >>> X, deltas = torch.tensor([[1.0], [-3.0]]), torch.tensor([[0.5], [2.0]])
    >>> input_scores(OuterGradient([(X, deltas)], X, (2, 2)), 2, torch.Generator())
    tensor([2., 6.])
    """
    if gradient is None:
        return torch.rand(n_inputs, generator=generator, device="cpu", dtype=torch.float64)
    scores = gradient.like.new_zeros(n_inputs)
    for block in _rows(gradient):
        torch.maximum(scores, block.abs().amax(0), out=scores)
    return scores


def best_outputs(
    gradient: OuterGradient | None, n_inputs: int, n_outputs: int, generator: torch.Generator
) -> Tensor:
    """Return for each input the output with the largest gradient magnitude, or a random one.

    Examples
    --------
    >>> X, deltas = torch.tensor([[1.0], [-3.0]]), torch.tensor([[0.5], [2.0]])
    >>> best_outputs(OuterGradient([(X, deltas)], X, (2, 2)), 2, 2, torch.Generator())
    tensor([1, 1])
    """
    if gradient is None:
        return torch.randint(n_outputs, (n_inputs,), generator=generator, device="cpu")
    best = gradient.like.new_full((n_inputs,), -1)
    output = torch.zeros(n_inputs, dtype=torch.int64, device=best.device)
    first = 0
    for block in _rows(gradient):
        peak, row = block.abs().max(0)
        output = torch.where(peak > best, row + first, output)
        best = torch.maximum(best, peak)
        first += len(block)
    return output


def _rows(gradient: OuterGradient) -> Iterable[Tensor]:
    """Yield the gradient by blocks of outputs, shape (some outputs, inputs)."""
    if gradient.shape[1]:
        for _, block in gradient.blocks():
            yield block.view(-1, gradient.shape[1])


def grow_highest(layer: LayerView, kept: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Pick what `grow_largest_gradient` would, usually in one pass over the gradient.

    A sample of cells tells above which bound the highest magnitudes should lie, so that only few
    have to be kept and compared. Where it misleads, the general way is taken.

    Parameters
    ----------
    layer : LayerView
        Its `gradient` must be an `OuterGradient`.
    kept : Tensor, int64
        Flat positions that stay active, ascending; all others are candidates.
    count : int
        How many to pick, at most the number of candidates.
    generator : torch.Generator
        Breaks ties.

    Returns
    -------
    Tensor, shape (count,), int64
        The chosen positions, ascending.

    Examples
    --------
    >>> X, deltas = torch.tensor([[1.0], [-3.0]]), torch.tensor([[0.5], [2.0]])
    >>> gradient = OuterGradient([(X, deltas)], X, (2, 2))
    >>> layer = LayerView("demo", (2, 2), torch.tensor([3]), torch.ones(1), gradient)
    >>> grow_highest(layer, torch.tensor([3]), 2, torch.Generator())
    tensor([1, 2])
    """
    gradient = layer.gradient
    assert isinstance(gradient, OuterGradient)
    if count <= 0 or layer.numel <= gradient.block:
        return grow_largest_gradient(layer, kept, count, generator)
    bound = _lower_bound(gradient, kept, count)
    if bound <= 0:
        return grow_largest_gradient(layer, kept, count, generator)
    places, scores = [], []
    for first, block in gradient.blocks():
        magnitudes = block.abs_()
        near = (magnitudes >= bound).nonzero().squeeze(1)
        free = near[~contains(kept, near + first)]
        places.append(free + first)
        scores.append(magnitudes[free])
    found = torch.cat(places)
    if len(found) < count:
        return grow_largest_gradient(layer, kept, count, generator)
    return found[highest(torch.cat(scores), count, generator)]


HIGHEST_GRADIENT = GrowRule("gradient", grow_highest, needs_gradient=True)


def _lower_bound(gradient: OuterGradient, kept: Tensor, count: int) -> float:
    """Return a magnitude that `count` candidates very likely reach, and not many more; or 0."""
    n_out, n_in = gradient.shape
    # The result does not depend on the draw, so the update's own generator is left alone.
    draw = torch.Generator("cpu").manual_seed(0)
    cells = torch.randint(n_out * n_in, (_SAMPLE,), generator=draw, device="cpu").to(kept.device)
    cells = cells[~contains(kept, cells)]
    sampled = sum(
        torch.einsum("ij,ij->i", X[cells % n_in], dY[cells // n_in]) for X, dY in gradient.pairs
    )
    rank = count * len(cells) / (n_out * n_in - len(kept))
    rank = math.ceil(rank + 5 * math.sqrt(rank) + 5)
    if rank > len(cells) or not isinstance(sampled, Tensor):
        return 0.0
    return float(sampled.abs().kthvalue(len(cells) - rank + 1).values)
