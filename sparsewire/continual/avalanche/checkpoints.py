"""How is an Avalanche strategy saved between two experiences, and continued in another process?

Two ways. `save_checkpoint` and `load_checkpoint` make Avalanche's own functions work on current
torch: they keep the whole strategy, with all its plugins and metrics, by pickling it. **Unpickling
executes code from the file**: load only what you have saved yourself.

`save_state` and `load_state` keep tensors and numbers alone (model, optimizer, `SparsePlugin`,
counters, torch's random state). Reading such a file never executes code. State of other plugins,
such as a replay memory or the importances of EWC, is not in it.
"""

import contextlib
import io
import os
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import avalanche.checkpointing
import torch

from sparsewire.continual.avalanche.plugins import SparsePlugin, find_plugin
from sparsewire.core._files import replacing
from sparsewire.core.errors import CheckpointError
from sparsewire.core.optimizer import check_state

Strategy = TypeVar("Strategy")
PathLike = str | os.PathLike[str]

_FORMAT = "sparsewire.continual.avalanche"
_VERSION = 1
_KEYS = {"format", "version", "model", "optimizer", "plugin", "clock", "random_state"}


def save_checkpoint(strategy: Any, path: PathLike) -> None:
    """Save a whole strategy, between two experiences.

    Avalanche's function of this name fails for every optimizer on current torch, because torch
    hides the modules in which its optimizers are defined; here they are shown, and the file is
    written beside its place and moved there.

    Parameters
    ----------
    strategy : avalanche strategy
        Not within ``train`` or ``eval``.
    path : str or path-like
        The file to create or replace.

    Raises
    ------
    CheckpointError
        If something in the strategy cannot be pickled.

    Examples
    --------
    >>> import tempfile, torch
    >>> from avalanche.training.supervised import Naive
    >>> model = torch.nn.Linear(2, 2)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> strategy = Naive(model=model, optimizer=optimizer)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_checkpoint(strategy, f"{folder}/run.pkl")
    ...     strategy, start = load_checkpoint(strategy, f"{folder}/run.pkl")
    >>> start
    0
    """
    _show_optimizer_modules()
    with replacing(path) as temporary:
        try:
            avalanche.checkpointing.save_checkpoint(strategy, temporary)
        except Exception as error:  # pickling runs the code of whatever is pickled
            raise CheckpointError(
                f"the strategy cannot be saved: {type(error).__name__}: {error}. Leave out what "
                "cannot be pickled, or save tensors alone with save_state."
            ) from error


def load_checkpoint(
    strategy: Strategy, path: PathLike, *, map_location: str | torch.device | None = None
) -> tuple[Strategy, int]:
    """Continue from a file of `save_checkpoint`, if there is one.

    **This executes code from the file.** Random states are restored as well. The strategy's
    plugins are then other objects than those it was built with: see
    `sparsewire.continual.avalanche.find_plugin`.

    Parameters
    ----------
    strategy : avalanche strategy
        A new one, built as in the saved run.
    path : str or path-like
        The file; if it does not exist, nothing happens.
    map_location : str or torch.device, optional
        Where tensors saved on a GPU are put.

    Returns
    -------
    strategy, int
        The strategy, and how many experiences it has finished: continue with
        ``train_stream[start:]``.

    Raises
    ------
    CheckpointError
        If the file cannot be read.
    """
    path = Path(path)
    if not path.exists():
        return strategy, 0
    _show_optimizer_modules()
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # Avalanche prints a line per tensor
            loaded, start = avalanche.checkpointing.maybe_load_checkpoint(
                strategy, path, map_location=map_location
            )
    except Exception as error:  # unpickling runs the code of whatever was pickled
        raise CheckpointError(
            f"{path} is not a readable checkpoint: {type(error).__name__}: {error}"
        ) from error
    return loaded, start


def _show_optimizer_modules() -> None:
    """Put back the attributes by which picklers find optimizer classes; torch deletes them."""
    for name, module in list(sys.modules.items()):
        parent, _, child = name.rpartition(".")
        if parent == "torch.optim" and not hasattr(torch.optim, child):
            setattr(torch.optim, child, module)


def save_state(strategy: Any, path: PathLike) -> None:
    """Save what a strategy with a `SparsePlugin` has learnt, as tensors and numbers.

    Parameters
    ----------
    strategy : avalanche strategy
        Not within ``train`` or ``eval``.
    path : str or path-like
        The file to create or replace.

    Raises
    ------
    InvalidArgumentError
        If it has not exactly one `SparsePlugin`.
    StateError
        If it has not been trained yet.
    """
    state = {
        "format": _FORMAT,
        "version": _VERSION,
        "model": strategy.model.state_dict(),
        "optimizer": strategy.optimizer.state_dict(),
        "plugin": find_plugin(strategy, SparsePlugin).state_dict(),
        "clock": {name: value for name, value in vars(strategy.clock).items() if _is_count(value)},
        "random_state": torch.get_rng_state(),
    }
    with replacing(path) as temporary:
        torch.save(state, temporary)


def load_state(strategy: Strategy, path: PathLike) -> tuple[Strategy, int]:
    """Continue from a file of `save_state`; nothing from it is executed.

    The global random state of torch, which shuffles the data, becomes that of the saved run.

    Parameters
    ----------
    strategy : avalanche strategy
        A new one, built as in the saved run and not trained yet.
    path : str or path-like
        The file.

    Returns
    -------
    strategy, int
        The strategy itself, and how many experiences it has finished: continue with
        ``train_stream[start:]``.

    Raises
    ------
    CheckpointError
        If the file cannot be read, or does not fit the strategy.
    InvalidArgumentError
        If it has not exactly one `SparsePlugin`.

    Examples
    --------
    >>> import tempfile, numpy as np, torch
    >>> from sparsewire.continual.avalanche.benchmarks import class_incremental
    >>> from sparsewire.continual.avalanche.strategies import SpaceNetStrategy
    >>> def build():
    ...     model = torch.nn.Sequential(
    ...         torch.nn.Linear(8, 20), torch.nn.ReLU(), torch.nn.Linear(20, 4)
    ...     )
    ...     optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ...     strategy = SpaceNetStrategy(model=model, optimizer=optimizer, train_mb_size=10)
    ...     strategy.evaluator.loggers = []
    ...     return strategy
    >>> X, y = np.random.rand(40, 8), np.arange(40) % 4
    >>> benchmark = class_incremental((X, y), (X, y), n_tasks=2)
    >>> strategy = build()
    >>> _ = strategy.train(benchmark.train_stream[0])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_state(strategy, f"{folder}/run.pt")
    ...     strategy, start = load_state(build(), f"{folder}/run.pt")
    >>> for experience in benchmark.train_stream[start:]:
    ...     _ = strategy.train(experience)
    >>> strategy.plugins[0].method.tasks
    [(0, 1), (2, 3)]
    """
    _load(strategy, _read(Path(path)), Path(path))
    return strategy, int(strategy.clock.train_exp_counter)  # type: ignore[attr-defined]


def _load(strategy: Any, state: Mapping[str, Any], path: Path) -> None:
    plugin = find_plugin(strategy, SparsePlugin)
    # What the first experience would do: from then on the optimizer keeps its state.
    strategy.make_optimizer(reset_optimizer_state=True)
    plugin.build(strategy.model, strategy.optimizer)
    _check_tensors(strategy.model.state_dict(), state["model"], path)
    check_state(state["optimizer"], strategy.optimizer)
    strategy.model.load_state_dict(state["model"])
    strategy.optimizer.load_state_dict(state["optimizer"])
    plugin.load_state_dict(state["plugin"])
    vars(strategy.clock).update(state["clock"])
    torch.set_rng_state(state["random_state"])


def _read(path: Path) -> Mapping[str, Any]:
    try:
        # torch does not look at the checksums in its own files.
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # parsing foreign bytes can raise anything; the cause is kept
        raise CheckpointError(
            f"{path} is not a readable state: {type(error).__name__}: {error}"
        ) from error
    if damaged is not None:
        raise CheckpointError(f"{path} is not a readable state: {damaged} is damaged.")
    own = isinstance(state, Mapping) and state.get("format") == _FORMAT and state.keys() == _KEYS
    if not own or state["version"] != _VERSION:
        raise CheckpointError(
            f"{path} was not written by save_state of this version; files of save_checkpoint are "
            "read by load_checkpoint."
        )
    found: Mapping[str, Any] = state
    return found


def _check_tensors(own: Mapping[str, Any], saved: Mapping[str, Any], path: Path) -> None:
    """Raise unless two states of a model have the same tensors."""
    for name in sorted(own.keys() | saved.keys()):
        there, here = (tuple(s[name].shape) if name in s else "none" for s in (saved, own))
        if there != here:
            raise CheckpointError(
                f"{path} has {name} of shape {there}, the model {here}; build the model as in the "
                "saved run, with a classifier that has grown since at the size it had."
            )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
