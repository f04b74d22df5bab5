"""How is the size of an agent kept with its run? `SparsityReport` as plain values for YAML."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from sparsewire.core.errors import CheckpointError
from sparsewire.rl.sparsity_report import Focus, LayerReport, SparsityReport


def as_plain(report: SparsityReport) -> dict[str, Any]:
    """Return a report as numbers, strings, lists and dictionaries.

    Parameters
    ----------
    report : SparsityReport
        The report.

    Returns
    -------
    dict
        To be given to `from_plain`.
    """
    content = dataclasses.asdict(report)
    return content | {"layers": list(content["layers"]), "focus": list(content["focus"])}


def from_plain(content: Mapping[str, Any]) -> SparsityReport:
    """Make a report from what `as_plain` returned.

    Parameters
    ----------
    content : mapping
        Plain values.

    Returns
    -------
    SparsityReport
        The report.

    Raises
    ------
    CheckpointError
        If a value is missing or unknown.

    Examples
    --------
    >>> report = SparsityReport((), (Focus("actor", 2.0, 1.0),), {}, 1, 2, 2, 4)
    >>> from_plain(as_plain(report)) == report
    True
    """
    try:
        layers = tuple(LayerReport(**layer) for layer in content["layers"])
        focus = tuple(Focus(**network) for network in content["focus"])
        return SparsityReport(**{**content, "layers": layers, "focus": focus})
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"the size of the agent is damaged: {error}") from error
