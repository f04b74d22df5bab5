"""How does a run continue after a crash? From one file, written after each finished task.

It holds the model, the optimizer, the state of the method or of Avalanche's plugins, and the
results so far, as tensors and plain values: it is read with ``weights_only=True``, so nothing in it
is executed. There is no generator in it: every task draws from generators that depend on the seed
and the number of the task, and the methods' own are part of their state.
"""

from __future__ import annotations

import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from sparsewire.continual.command.runs import Results, Run
from sparsewire.core._files import replacing
from sparsewire.core.errors import CheckpointError

FORMAT = {"format": "sparsewire.continual.checkpoint", "version": 1}


def save(run: Run, learner: Any, results: Results) -> None:
    """Write the state of a run between two tasks.

    Parameters
    ----------
    run : Run
        Where to.
    learner : Learner
        What is trained.
    results : Results
        So far.
    """
    content = FORMAT | {
        "settings": run.settings.as_plain(),
        "results": asdict(results),
        "learner": learner.state_dict(),
    }
    with replacing(run.checkpoint_file) as temporary:
        torch.save(content, temporary)


def load(run: Run, learner: Any) -> Results | None:
    """Bring a new learner to where its run was interrupted.

    Parameters
    ----------
    run : Run
        Where from.
    learner : Learner
        Newly made from the run's settings.

    Returns
    -------
    Results
        So far; None if there is no checkpoint, and nothing has changed.

    Raises
    ------
    CheckpointError
        If the file is damaged, or of another method or other settings.
    """
    path = run.checkpoint_file
    if not path.exists():
        return None
    content = _read(path)
    if differences := run.settings.differences(content["settings"]):
        raise CheckpointError(f"{path} belongs to a run with other settings: {differences}.")
    try:
        results = Results(**content["results"])
        learner.load_state_dict(content["learner"], len(results.cpu_seconds))
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(_damaged(path, error)) from error
    return results


def _read(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:  # whose text advises to load without this safety
        raise CheckpointError(_damaged(path, "it is no archive of tensors")) from error
    except (OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise CheckpointError(_damaged(path, error)) from error
    expected = {*FORMAT, "settings", "results", "learner"}
    if not isinstance(content, dict) or content.keys() != expected:
        raise CheckpointError(_damaged(path, "it is no checkpoint of a run"))
    if {key: content[key] for key in FORMAT} != FORMAT:
        raise CheckpointError(_damaged(path, f"it must be {FORMAT}"))
    return content


def _damaged(path: Path, reason: object) -> str:
    return f"{path} is damaged: {reason}. Remove the folder {path.parent} to begin the run anew."
