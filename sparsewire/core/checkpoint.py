"""How is a sparse training run written to a file and read back?

A checkpoint is a dictionary of tensors, numbers and strings. Files are written beside their place
and moved there, so a crash leaves the old file; reading checks every byte and never executes code.
Whether a checkpoint fits the running model is checked before anything is changed.
"""

import io
import os
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sparsewire.core._files import replacing
from sparsewire.core.errors import CheckpointError, InvalidArgumentError
from sparsewire.core.optimizer import check_state

if TYPE_CHECKING:
    from sparsewire.core.handle import SparsityHandle

FORMAT = "sparsewire.handle"
VERSION = 2
_OWN = ("model", "optimizer", "handle")


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
        if type(state[key]) is not type(like[key]) or state[key] != like[key]:
            raise CheckpointError(
                f"the checkpoint has {key} {state[key]}, this handle has {like[key]}; call "
                "sparsify with the same arguments as in the saved run."
            )
    for key in ("step", "updates"):
        if not _is_count(state[key]):
            raise CheckpointError(f"the checkpoint has {key} {state[key]!r}, expected a count.")
    _check_names("layers", state["layers"], like["layers"])
    _check_names("explored", state["explored"], like["explored"])
    _check_names("topology", state["topology"], like["topology"])
    for name, numbers in state["layers"].items():
        _check_counts(name, numbers, like["layers"][name])
    for name, seen in state["explored"].items():
        _check_explored(name, seen, like["explored"][name])


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _check_names(key: str, found: object, expected: Mapping[str, Any]) -> None:
    if not isinstance(found, Mapping) or found.keys() != expected.keys():
        names = ", ".join(map(str, found)) if isinstance(found, Mapping) else repr(found)
        raise CheckpointError(
            f"the checkpoint has {key} of {names}; this model has {', '.join(expected)}."
        )


def _check_counts(name: str, numbers: object, expected: list[int]) -> None:
    if (
        not isinstance(numbers, list)
        or len(numbers) != len(expected)
        or not all(map(_is_count, numbers))
    ):
        raise CheckpointError(f"the checkpoint's counts of {name} are damaged: {numbers!r}.")
    if numbers[0] != expected[0]:
        raise CheckpointError(
            f"the checkpoint allocates {numbers[0]} connections to {name}, this handle "
            f"{expected[0]}; use the same density and allocation."
        )


def _check_explored(name: str, seen: object, expected: Tensor) -> None:
    if not isinstance(seen, Tensor) or seen.dtype != expected.dtype or seen.shape != expected.shape:
        found = f"{seen.dtype} {tuple(seen.shape)}" if isinstance(seen, Tensor) else repr(seen)
        raise CheckpointError(
            f"the checkpoint's exploration mask of {name} is {found}, expected {expected.dtype} "
            f"{tuple(expected.shape)}."
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
        More entries, such as a learning-rate scheduler's ``state_dict()``: tensors, numbers,
        strings and containers of them.

    Raises
    ------
    InvalidArgumentError
        If an extra entry has a reserved name or could not be read back without executing code.

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
    for key, value in extra.items():
        _check_extra(key, value)
    content = extra | {
        "model": handle.model.state_dict(),
        "optimizer": handle.optimizer.state_dict(),
        "handle": handle.state_dict(),
    }
    with replacing(path) as temporary:
        torch.save(content, temporary)


def _check_extra(key: str, value: object) -> None:
    if key in _OWN:
        raise InvalidArgumentError(f"{key!r} is an entry of the checkpoint itself; rename it.")
    buffer = io.BytesIO()
    try:
        torch.save(value, buffer)
        buffer.seek(0)
        torch.load(buffer, weights_only=True)
    except Exception as error:  # pickling can raise anything; the cause is kept
        raise InvalidArgumentError(
            f"{key}={value!r} cannot be stored safely; use tensors, numbers, strings and "
            "containers of them."
        ) from error


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
    OSError
        If the file cannot be opened.

    Examples
    --------
    See `save`.
    """
    content = _read(Path(path))
    if not isinstance(content, dict) or not set(_OWN) <= content.keys():
        raise CheckpointError(f"{path} is not a checkpoint written by sparsewire.")
    model, optimizer, state = (content.pop(key) for key in _OWN)
    check(state, like=handle.state_dict())
    resized = {name for store in handle._network.stores for name in store.saved_tensors()}
    _check_model(model, handle.model.state_dict(), resized)
    for store in handle._network.stores:
        if store.saved_fingerprint(model) != state["topology"][store.name]:
            raise CheckpointError(f"{path}: the mask of {store.name} is damaged.")
    lengths = {id(store.weight): model[store.name].shape for store in handle._network.stores}
    check_state(optimizer, handle.optimizer, lengths)
    handle.optimizer.load_state_dict(optimizer)
    handle.model.load_state_dict(model)
    handle.load_state_dict(state)
    return content


def _read(path: Path) -> object:
    with path.open("rb") as file:
        try:
            # torch does not look at the checksums in its own files.
            with zipfile.ZipFile(file) as archive:
                damaged = archive.testzip()
            file.seek(0)
            content: object = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # parsing foreign bytes can raise anything; the cause is kept
            raise CheckpointError(
                f"{path} is not a readable checkpoint: {type(error).__name__}: {error}"
            ) from error
    if damaged is not None:
        raise CheckpointError(f"{path} is not a readable checkpoint: {damaged} is damaged.")
    return content


def _check_model(found: object, expected: Mapping[str, Any], resized: Collection[str]) -> None:
    _check_names("model", found, expected)
    assert isinstance(found, Mapping)
    for name, value in expected.items():
        if not isinstance(value, Tensor):
            continue
        other = found[name]
        fits = isinstance(other, Tensor) and (
            other.ndim == value.ndim if name in resized else other.shape == value.shape
        )
        if not fits:
            shape = tuple(other.shape) if isinstance(other, Tensor) else repr(other)
            raise CheckpointError(
                f"the checkpoint has {name} of shape {shape}, the model has {tuple(value.shape)}."
            )
