"""Which selectors does ``sparsewire select`` know? Names, classes, and how one is set up.

A selector is imported when it is asked for, so that the command's help answers at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparsewire.featsel.command.request import Request

METHODS: dict[str, str] = {
    "quickselection": "sparsewire.featsel.quickselection:QuickSelection",
    "wast": "sparsewire.featsel.wast:WAST",
    "neurofs": "sparsewire.featsel.neurofs:NeuroFS",
    "attribution": "sparsewire.featsel.attribution:AttributionSelector",
    "laplacian": "sparsewire.featsel.filters:LaplacianScore",
    "random": "sparsewire.featsel.filters:RandomSelector",
}
"""Where each method's estimator is: name on the command line -> ``module:class``."""

_OPTIONS = {
    "n_features_to_select": "-k",
    "random_state": "--seed",
    "redundancy": "--redundancy",
    "verbose": "--quiet",
}
"""Parameters that have an option of their own."""


def make_selector(request: Request) -> Any:
    """Return the selector that was asked for, with its parameters checked.

    Parameters
    ----------
    request : Request
        What was asked for.

    Returns
    -------
    estimator
        Not fitted.

    Raises
    ------
    InvalidArgumentError
        If a parameter is unknown or has a wrong value, or the method needs a target, or cannot
        read in chunks. An unknown method is an `UnknownMethodError`.
    ImportError
        If a package is missing.
    """
    from sparsewire.core.errors import InvalidArgumentError

    kind = _find(request.method)
    known = kind().get_params(deep=False)
    given = {**_given(request, known), "redundancy": request.redundancy}
    if "verbose" in known and request.chunk_rows is None:
        given["verbose"] = 0 if request.quiet else 1
    selector = kind(n_features_to_select=request.k, random_state=request.seed, **given)
    try:
        selector._reject_booleans()
        selector._validate_params()
    except ValueError as error:
        raise InvalidArgumentError(f"--method {request.method}: {error}") from error
    _check_input(request, selector)
    return selector


def is_supervised(selector: Any) -> bool:
    """Tell whether a selector learns from a target."""
    from sklearn.utils import get_tags

    return bool(get_tags(selector).target_tags.required)


def _find(method: str) -> Any:
    from sparsewire.core._validation import suggest
    from sparsewire.core.errors import UnknownMethodError

    if method not in METHODS:
        raise UnknownMethodError(
            f"unknown method {method!r}; available: {', '.join(METHODS)}.{suggest(method, METHODS)}"
        )
    module, _, name = METHODS[method].partition(":")
    return getattr(importlib.import_module(module), name)


def _given(request: Request, known: dict[str, Any]) -> dict[str, Any]:
    """Return what ``--param`` and ``--epochs`` set, after checking the names."""
    from sparsewire.core._validation import suggest
    from sparsewire.core.errors import InvalidArgumentError

    free = sorted(set(known) - set(_OPTIONS))
    for name in request.parameters:
        if name in _OPTIONS:
            raise InvalidArgumentError(f"--param {name}: use {_OPTIONS[name]} instead.")
        if name not in free:
            raise InvalidArgumentError(
                f"--param {name}: {request.method} has no such parameter; it has "
                f"{', '.join(free)}.{suggest(name, free)}"
            )
    # A literal's tuple came back as a list, and scikit-learn's convention is a tuple.
    given = {n: tuple(v) if isinstance(v, list) else v for n, v in request.parameters.items()}
    if request.epochs is None:
        return given
    if "epochs" not in known:
        raise InvalidArgumentError(
            f"--epochs has no meaning for {request.method}, which does not train; leave it out."
        )
    if "epochs" in given:
        raise InvalidArgumentError("--epochs and --param epochs=... say the same; give one.")
    return {**given, "epochs": request.epochs}


def _check_input(request: Request, selector: Any) -> None:
    from sparsewire.core.errors import InvalidArgumentError

    # An NPZ file may bring its target as y.
    if is_supervised(selector) and not request.target and request.data.suffix.lower() != ".npz":
        raise InvalidArgumentError(
            f"--method {request.method} learns from a target; name its column with --target, or "
            "choose a method without, such as quickselection."
        )
    if request.chunk_rows is not None:
        _check_chunks(request, selector)


def _check_chunks(request: Request, selector: Any) -> None:
    from sparsewire.core.errors import InvalidArgumentError

    if not hasattr(selector, "partial_fit"):
        raise InvalidArgumentError(
            f"--chunk-rows needs a method that learns chunk by chunk, and {request.method} does "
            "not; choose --method wast, or leave it out."
        )
    whole = {
        "-k probe": request.k == "probe",
        "--redundancy": request.redundancy > 0,
        "--param scale=minmax": selector.scale == "minmax",
    }
    for option, given in whole.items():
        if given:
            raise InvalidArgumentError(
                f"{option} needs all rows at once, so it does not work together with --chunk-rows; "
                "leave one of them out."
            )
