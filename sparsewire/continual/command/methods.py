"""Which methods can be run, and what may be set of each?

Those of this package, whose settings are the arguments of their classes, and baselines of
Avalanche, dense networks with a plugin or with none (``naive``).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from sparsewire.core._validation import suggest
from sparsewire.core.errors import InvalidArgumentError

_OF_THE_RUN = ("seed", "n_classes")
"""Arguments of methods that follow from the run."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """A method by its name.

    Attributes
    ----------
    name : str
        Name on the command line.
    about : str
        What it is, in a few words.
    home : str
        ``module:class`` of a sparse method; empty for a baseline.
    plugin : str
        Class in `sparsewire.continual.avalanche`; empty for a baseline.
    fixed : mapping
        Arguments that make the method what its name says.
    defaults : mapping
        Settings of a baseline, or settings that the class has not.
    """

    name: str
    about: str
    home: str = ""
    plugin: str = ""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_sparse(self) -> bool:
        """Whether it is one of this package's methods rather than a baseline."""
        return bool(self.home)

    def settings(self) -> dict[str, Any]:
        """Return what may be set with its defaults: arguments that the run does not decide."""
        if not self.is_sparse:
            return dict(self.defaults)
        module, _, name = self.home.partition(":")
        parameters = inspect.signature(getattr(import_module(module), name)).parameters
        return {
            **{
                key: parameter.default
                for key, parameter in parameters.items()
                if parameter.kind is parameter.KEYWORD_ONLY
                and key not in (*_OF_THE_RUN, *self.fixed)
            },
            **self.defaults,
        }


_SPACENET = "sparsewire.continual.spacenet:SpaceNet"
_ROUTED = {"routing": "max_softmax"}
"""How the sub-network that answers is found where nobody names the task."""

METHODS = {
    method.name: method
    for method in (
        Method(
            name="spacenet", about="SpaceNet, old outputs kept bit for bit",
            home=_SPACENET, plugin="SpaceNetPlugin", fixed={"strict": True},
        ),
        Method(
            name="spacenet-reference", about="SpaceNet as released",
            home=_SPACENET, plugin="SpaceNetPlugin", fixed={"strict": False},
        ),
        Method(
            name="afaf", about="AFAF: reuses units of earlier tasks",
            home="sparsewire.continual.afaf:AFAF", plugin="AFAFPlugin",
        ),
        Method(
            name="dst-masks", about="a mask per task, trained dynamically",
            home="sparsewire.continual.dst_masks:DSTMasks", plugin="DSTMasksPlugin",
            defaults=_ROUTED,
        ),
        Method(
            name="concept-cells", about="SERENA: a static sub-network per concept",
            home="sparsewire.continual.concept_cells:ConceptCells", plugin="ConceptCellsPlugin",
            defaults=_ROUTED,
        ),
        Method(name="naive", about="dense, no protection against forgetting"),
        Method(
            name="ewc", about="dense, elastic weight consolidation", defaults={"ewc_lambda": 100.0}
        ),
        Method(
            name="si", about="dense, synaptic intelligence", defaults={"si_lambda": 100.0}
        ),
        Method(
            name="lwf", about="dense, learning without forgetting",
            defaults={"alpha": 1.0, "temperature": 2.0},
        ),
        Method(
            name="replay", about="dense, trained on stored examples too",
            defaults={"mem_size": 500},
        ),
    )
}  # fmt: skip


def find_method(name: str) -> Method:
    """Return the method of a name.

    Parameters
    ----------
    name : str
        One of `METHODS`.

    Returns
    -------
    Method
        The method.

    Raises
    ------
    InvalidArgumentError
        If there is none of that name; the message lists all.

    Examples
    --------
    >>> find_method("spacenet-reference").fixed
    {'strict': False}
    """
    if name not in METHODS:
        raise InvalidArgumentError(
            f"unknown method {name!r}; available: {', '.join(METHODS)}.{suggest(name, METHODS)}"
        )
    return METHODS[name]
