"""How is a sparse training run written to a file and read back?

A checkpoint is a dictionary of tensors, numbers and strings. Files are written to a temporary
neighbour and renamed, so a crash leaves the old file; reading never executes code from the file.
Whether a checkpoint fits the running model is checked before anything is changed.
"""

import os
import pickle
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sparsewire.core.errors import CheckpointError

if TYPE_CHECKING:
    from sparsewire.core.handle import SparsityHandle

FORMAT = "sparsewire.handle"
VERSION = 1


def pack(step: int, network: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of a handle as the file format has it."""
    return {"format": FORMAT, "version": VERSION, "step": step, **network}


def check(state: object, *, like: Mapping[str, Any]) -> None:
    """Raise `CheckpointError` unless `state` has the structure and identity of `like`."""
    if not isinstance(state, Mapping) or state.get("format") != FORMAT:
        raise CheckpointError(
            "this is not the state of a sparsewire handle; pass what handle.state_dict() returned."
        )
    if state.get("version") != VERSION:
        raise CheckpointError(
            f"the checkpoint has format version {state.get('version')!r}, this sparsewire reads "
            f"{VERSION}."
        )
    if missing := sorted(like.keys() - state.keys()):
        raise CheckpointError(f"the checkpoint is incomplete: {', '.join(missing)} missing.")
    for key in ("method", "seed"):
        if state[key] != like[key]:
            raise CheckpointError(
                f"the checkpoint has {key} {state[key]}, this handle has {like[key]}; call "
                "sparsify with the same arguments as in the saved run."
            )
    for key in ("step", "updates"):
        if not isinstance(state[key], int) or state[key] < 0:
            raise CheckpointError(f"the checkpoint has {key} {state[key]!r}, expected a count.")
    _check_layers(state["layers"], like["layers"])
    _check_explored(state["explored"], like["explored"])


def _check_layers(layers: Any, expected: Mapping[str, list[int]]) -> None:
    if not isinstance(layers, Mapping) or layers.keys() != expected.keys():
        names = sorted(layers) if isinstance(layers, Mapping) else layers
        raise CheckpointError(
            f"the checkpoint has layers {names}, this model has {sorted(expected)}."
        )
    for name, numbers in layers.items():
        if len(numbers) != 4 or not all(isinstance(n, int) and n >= 0 for n in numbers):
            raise CheckpointError(f"the checkpoint's counts of {name} are damaged: {numbers!r}.")
        if numbers[0] != expected[name][0]:
            raise CheckpointError(
                f"the checkpoint allocates {numbers[0]} connections to {name}, this handle "
                f"{expected[name][0]}; use the same density and allocation."
            )


def _check_explored(explored: Any, expected: Mapping[str, Tensor]) -> None:
    if not isinstance(explored, Mapping) or explored.keys() != expected.keys():
        raise CheckpointError("the checkpoint's exploration masks belong to another model.")
    for name, mask in explored.items():
        if mask.dtype != torch.bool or mask.shape != expected[name].shape:
            raise CheckpointError(
                f"the checkpoint's exploration mask of {name} has dtype {mask.dtype} and shape "
                f"{tuple(mask.shape)}, expected bool {tuple(expected[name].shape)}."
            )


def save(path: str | os.PathLike[str], handle: "SparsityHandle", **extra: Any) -> None:
    """Write model, optimizer and handle to one file, atomically.

    Parameters
    ----------
    path : path
        File to write; an existing one is replaced only when the new one is complete.
    handle : SparsityHandle
        Handle of the run.
    **extra
        More entries, such as a learning-rate scheduler's ``state_dict()``; tensors, numbers,
        strings and containers of them.

    Examples
    --------
    >>> import tempfile, pathlib, torch, sparsewire
    >>> from sparsewire.core import checkpoint
    >>> model = torch.nn.Linear(8, 8)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> handle = sparsewire.sparsify(model, optimizer, density=0.5, method="set")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     checkpoint.save(pathlib.Path(folder) / "run.pt", handle, epoch=3)
    ...     checkpoint.load(pathlib.Path(folder) / "run.pt", handle)
    {'epoch': 3}
    """
    target = Path(path)
    content = extra | {
        "model": handle.model.state_dict(),
        "optimizer": handle.optimizer.state_dict(),
        "handle": handle.state_dict(),
    }
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=target.name, suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load(path: str | os.PathLike[str], handle: "SparsityHandle") -> dict[str, Any]:
    """Read a file written by `save` into the handle's model, optimizer and itself.

    Parameters
    ----------
    path : path
        File to read; no code in it is executed.
    handle : SparsityHandle
        Handle made by `sparsify` with the same arguments.

    Returns
    -------
    dict
        The extra entries given to `save`.

    Raises
    ------
    CheckpointError
        If the file is corrupted or does not fit; model, optimizer and handle are unchanged then.
    FileNotFoundError
        If there is no such file.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path} is not a readable checkpoint: {error}") from error
    if not isinstance(content, dict) or not {"model", "optimizer", "handle"} <= content.keys():
        raise CheckpointError(f"{path} is not a checkpoint written by sparsewire.")
    check(content["handle"], like=handle.state_dict())
    _check_model(content["model"], handle.model.state_dict())
    optimizer = content.pop("optimizer")
    try:
        handle.optimizer.load_state_dict(optimizer)
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: the optimizer state does not fit: {error}") from error
    handle.model.load_state_dict(content.pop("model"))
    handle.load_state_dict(content.pop("handle"))
    return content


def _check_model(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    if found.keys() != expected.keys():
        odd = sorted(found.keys() ^ expected.keys())
        raise CheckpointError(f"the checkpoint is of another model; names differ: {odd[:6]}.")
    for name, tensor in found.items():
        if isinstance(tensor, Tensor) and tensor.shape != expected[name].shape:
            raise CheckpointError(
                f"the checkpoint has {name} of shape {tuple(tensor.shape)}, the model has "
                f"{tuple(expected[name].shape)}."
            )
