"""Does a saved state fit what is to continue from it? Checked before anything is changed."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sparsewire.core.errors import CheckpointError


def check_state(state: object, own: Mapping[str, Any], same: tuple[str, ...], what: str) -> None:
    """Raise `CheckpointError` unless `state` has all entries of `own`, and some alike.

    Parameters
    ----------
    state : object
        What should be a saved state.
    own : mapping
        The present state of what is to continue; its ``format`` and ``version`` must be equal.
    same : tuple of str
        Entries that must be equal too.
    what : str
        Name of what is saved, for the message.

    Examples
    --------
    >>> own = {"format": "x", "version": 1, "seed": 0}
    >>> check_state({**own, "seed": 1}, own, ("seed",), "model")
    Traceback (most recent call last):
        ...
    sparsewire.core.errors.CheckpointError: the saved model has seed 1, this one 0; make it with the
    same arguments.
    """
    if not isinstance(state, Mapping) or state.get("format") != own["format"]:
        raise CheckpointError(f"this is not the state of a {what}.")
    if state.get("version") != own["version"]:
        raise CheckpointError(
            f"the saved {what} has format version {state.get('version')!r}, this sparsewire reads "
            f"{own['version']}."
        )
    if missing := sorted(own.keys() - state.keys()):
        raise CheckpointError(f"the saved {what} lacks {', '.join(missing)}.")
    for key in same:
        if state[key] != own[key]:
            raise CheckpointError(
                f"the saved {what} has {key} {state[key]}, this one {own[key]}; make it with the "
                "same arguments."
            )


def check_counts(state: Mapping[str, Any], names: tuple[str, ...], what: str) -> None:
    """Raise `CheckpointError` unless some entries are counts.

    Examples
    --------
    >>> check_counts({"steps": 3}, ("steps",), "model")
    """
    for name in names:
        if type(state[name]) is not int or state[name] < 0:
            raise CheckpointError(f"the saved {what} has {name} {state[name]!r}, expected a count.")


def check_tensors(found: object, expected: Mapping[str, Any], what: str) -> None:
    """Raise `CheckpointError` unless a mapping has certain names and tensors of their dtypes."""
    if (
        not isinstance(found, Mapping)
        or found.keys() != expected.keys()
        or not all(
            isinstance(found[name], Tensor) and found[name].dtype == value.dtype
            for name, value in expected.items()
        )
    ):
        raise CheckpointError(f"the saved {what} has other tensors than this one.")
