"""How does an estimator continue a run that was stopped, and only a run of its own kind?

`sparsewire.core.checkpoint` writes and reads the state; here a file also knows what its run was, by
parameters and data, and refuses to be continued by another.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sparsewire.core import checkpoint
from sparsewire.core.errors import CheckpointError
from sparsewire.core.handle import SparsityHandle

T = TypeVar("T")


@dataclass(frozen=True)
class RunFile:
    """The file of a run, and what the run is.

    Attributes
    ----------
    path : Path
        The file.
    identity : dict of str to str
        What must be equal for a run to be continued.

    Examples
    --------
    >>> RunFile.of("run.pt", {"epochs": 3}, data="5f1d").identity
    {'epochs': '3', 'data': '5f1d'}
    """

    path: Path
    identity: dict[str, str]

    @classmethod
    def of(
        cls, path: str | os.PathLike[str], parameters: Mapping[str, Any], **digests: str
    ) -> "RunFile":
        """Describe a run.

        Parameters
        ----------
        path : path
            The file.
        parameters : mapping
            The estimator's, as far as they decide about the run.
        **digests
            Of the contents of its data: the folds of a cross-validation have one shape.
        """
        identity = {name: repr(value) for name, value in sorted(parameters.items())}
        return cls(Path(path), identity | digests)

    def load(self, handle: SparsityHandle, restore: Callable[[dict[str, Any]], T]) -> T | None:
        """Continue the run of the file, if there is one.

        Parameters
        ----------
        handle : SparsityHandle
            Of the run; its model and optimizer are loaded, too.
        restore : callable
            Takes over what `save` was given, and returns what is to be returned.

        Raises
        ------
        CheckpointError
            If the file is damaged or belongs to another run.
        """
        if not self.path.exists():
            return None
        try:
            content = checkpoint.load(self.path, handle)
            handle.verify()
            self._check(content.get("identity"))
            return restore(content)
        except CheckpointError as error:
            raise CheckpointError(
                f"{self.path} cannot be continued: {error} Delete the file to start afresh, or "
                "name another one."
            ) from error

    def _check(self, found: object) -> None:
        if not isinstance(found, dict) or found.keys() != self.identity.keys():
            raise CheckpointError("it was not written by this estimator.")
        for name, value in self.identity.items():
            if found[name] != value:
                raise CheckpointError(f"its run has {name} = {found[name]}, this one {value}.")

    def save(self, handle: SparsityHandle, **content: Any) -> None:
        """Write the run as it is, atomically; `content` is what `checkpoint.save` can hold."""
        checkpoint.save(self.path, handle, identity=self.identity, **content)
