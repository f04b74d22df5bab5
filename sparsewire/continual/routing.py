"""Which sub-network answers for an input when nobody tells? By confidence; an oracle has a name.

Pure functions of the logits of every sub-network, a tensor of shape (cells, n, classes). They say
which cell answers for each of the n inputs and nothing about how the logits were computed.

The released evaluation of SERENA (Gurbuz et al., 2025, CoLLAs, PMLR 330, arXiv:2403.14684) lets
only the cells learnt so far vote and gives the newest the largest vote, so that the cell trained
on the very data under test always wins: a task oracle without the name. Here an oracle has to be
asked for, and be given the task.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from sparsewire.core._validation import suggest
from sparsewire.core.errors import InvalidArgumentError


def max_softmax(logits: Tensor) -> Tensor:
    """Choose for each input the cell that gives some class the largest probability.

    Parameters
    ----------
    logits : Tensor, shape (cells, n, classes)
        Logits of every cell; classes that a cell must not answer at ``-1e4`` or below.

    Returns
    -------
    Tensor, shape (n,), int64
        Number of the cell; the earliest among equals.

    Notes
    -----
    Compared are log-probabilities in double precision, since probabilities in single precision
    round to 1 for several cells at once.

    Examples
    --------
    >>> import torch
    >>> max_softmax(torch.tensor([[[9.0, 8.0]], [[2.0, 0.0]]]))  # 0.73 against 0.88
    tensor([1])
    """
    wide = logits.double()
    # Of the largest class: log of the others' share, relative to its own.
    largest = wide.max(dim=2, keepdim=True)
    others = wide.scatter(2, largest.indices, -torch.inf)
    doubt = torch.logsumexp(others, dim=2) - largest.values.squeeze(2)
    return doubt.argmin(dim=0)


def min_entropy(logits: Tensor) -> Tensor:
    """Choose for each input the cell whose probabilities have the smallest entropy.

    Parameters
    ----------
    logits : Tensor, shape (cells, n, classes)
        Logits of every cell; classes that a cell must not answer at ``-1e4`` or below.

    Returns
    -------
    Tensor, shape (n,), int64
        Number of the cell; the earliest among equals.

    Examples
    --------
    >>> import torch
    >>> min_entropy(torch.tensor([[[2.0, 2.0, -9.0]], [[1.0, 0.0, -9.0]]]))  # 0.69 against 0.58
    tensor([1])
    """
    entropy: Tensor = torch.special.entr(logits.double().softmax(dim=2)).sum(dim=2)
    return entropy.argmin(dim=0)


BLIND: dict[str, Callable[[Tensor], Tensor]] = {
    "max_softmax": max_softmax,
    "entropy": min_entropy,
}
ROUTINGS = ("oracle", *BLIND)


def route(logits: Tensor, routing: str, task: int | Tensor | None = None) -> Tensor:
    """Choose a cell for each input.

    Parameters
    ----------
    logits : Tensor, shape (cells, n, classes)
        Logits of every cell.
    routing : {"oracle", "max_softmax", "entropy"}
        By `max_softmax`, by `min_entropy`, or the cell that `task` names.
    task : int, Tensor of shape (n,), or None, default None
        Number of the cell that an oracle reveals, for all inputs or for each; None for a routing
        that has to find it by itself.

    Returns
    -------
    Tensor, shape (n,), int64
        Number of the cell.

    Raises
    ------
    InvalidArgumentError
        If `routing` is unknown, an oracle is given no task or another routing is given one, or
        there is no such cell.

    Examples
    --------
    >>> import torch
    >>> logits = torch.tensor([[[9.0, 8.0]], [[2.0, 0.0]]])
    >>> route(logits, "entropy"), route(logits, "oracle", task=0)
    (tensor([1]), tensor([0]))
    """
    check_routing(routing, task)
    if routing != "oracle":
        return BLIND[routing](logits)
    cells, n, _ = logits.shape
    chosen = torch.as_tensor(task, device=logits.device)
    if chosen.is_floating_point() or chosen.dtype == torch.bool or chosen.shape not in ((), (n,)):
        raise InvalidArgumentError(
            f"task must be an integer or a tensor of {n} integers, one per input, got {task!r}."
        )
    if bool(((chosen < 0) | (chosen >= cells)).any()):
        raise InvalidArgumentError(f"task must name one of the cells 0 to {cells - 1}, got {task}.")
    return chosen.long().expand(n)


def check_routing(routing: str, task: object) -> None:
    """Raise `InvalidArgumentError` unless a routing is known and has the task it needs, or none.

    Examples
    --------
    >>> check_routing("max_softmax", None)
    """
    if routing not in ROUTINGS:
        raise InvalidArgumentError(
            f"routing must be one of {', '.join(ROUTINGS)}, got {routing!r}."
            f"{suggest(str(routing), ROUTINGS)}"
        )
    if routing == "oracle" and task is None:
        raise InvalidArgumentError(
            "routing='oracle' must be told the task of the inputs; pass task=, or route by "
            f"{' or '.join(BLIND)}."
        )
    if routing != "oracle" and task is not None:
        raise InvalidArgumentError(
            f"routing={routing!r} finds the cell by itself, got task={task!r}; leave task out, or "
            "pass routing='oracle'."
        )


def routed(logits: Tensor, chosen: Tensor) -> Tensor:
    """Return each input's logits from the cell chosen for it.

    Parameters
    ----------
    logits : Tensor, shape (cells, n, classes)
        Logits of every cell.
    chosen : Tensor, shape (n,), int64
        What `route` returned.

    Returns
    -------
    Tensor, shape (n, classes)
        A copy.

    Examples
    --------
    >>> import torch
    >>> logits = torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]])
    >>> routed(logits, torch.tensor([1, 0]))
    tensor([[3.],
            [2.]])
    """
    return logits[chosen, torch.arange(chosen.numel(), device=logits.device)]
