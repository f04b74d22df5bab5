"""Runs on the embedded digits that take a second: few epochs, a small network."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from sparsewire.continual.command.runs import Results, Run
from sparsewire.continual.command.settings import Settings, resolve
from sparsewire.continual.command.training import run_once

SMALL: dict[str, Any] = {"epochs": 2, "hidden": [40, 40]}
SPARSE = ("spacenet", "spacenet-reference", "afaf", "dst-masks", "concept-cells")
DENSE = ("naive", "ewc", "si", "lwf", "replay")
TIMES = ("cpu_seconds", "wall_seconds")


def small(method: str = "spacenet", **changes: Any) -> Settings:
    replay = changes.pop("replay", 0)
    if method == "ewc":  # gradients of a network that has hardly learnt are large, and so is EWC's
        changes = {"ewc_lambda": 10.0} | changes
    return resolve("split-digits", method, seed=0, replay=replay, changes=SMALL | changes)


def train(settings: Settings, logs: Path) -> tuple[Run, Results]:
    run = run_once(settings, logs)
    return run, finished(run)


def finished(run: Run) -> Results:
    results = run.read_results()
    assert results is not None
    assert results.finished
    return results


def without_times(results: Results) -> dict[str, Any]:
    return {key: value for key, value in vars(results).items() if key not in TIMES}


def leaves(content: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """All tensors and numbers inside dictionaries and lists, by their path."""
    if isinstance(content, dict | list | tuple):
        items = content.items() if isinstance(content, dict) else enumerate(content)
        for key, value in items:
            yield from leaves(value, f"{name}/{key}")
    else:
        yield name, content


def assert_same_state(ours: Any, theirs: Any) -> None:
    first, second = dict(leaves(ours)), dict(leaves(theirs))
    assert first.keys() == second.keys()
    for name, value in first.items():
        same = torch.equal(value, second[name]) if torch.is_tensor(value) else value == second[name]
        assert same, name
