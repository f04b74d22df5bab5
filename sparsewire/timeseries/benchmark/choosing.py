"""Which data sets, methods and parameters are meant? What is wrong with any is found before a run.

Names become canonical, data sets must be on this machine, and parameters must belong to the
estimator and be within its bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sparsewire import datasets
from sparsewire.core._validation import check_integer, suggest
from sparsewire.core.errors import InvalidArgumentError
from sparsewire.datasets.errors import DatasetError
from sparsewire.datasets.timeseries.spec import TimeSeriesKind

_LOADERS: dict[TimeSeriesKind, Callable[[str], object]] = {
    "panel": datasets.load_panel,
    "series": datasets.load_series,
    "change_points": datasets.load_change_points,
}


def find_data(
    names: Iterable[str], kind: TimeSeriesKind, everything: Sequence[str]
) -> tuple[str, ...]:
    """Return the canonical names of data sets that are on this machine.

    Parameters
    ----------
    names : iterable of str
        Names; case, ``-`` and ``_`` do not matter. ``"all"`` stands for `everything`.
    kind : str
        Kind of data set.
    everything : sequence of str
        Canonical names of all data sets of the benchmark.

    Returns
    -------
    tuple of str
        Each name once.

    Raises
    ------
    InvalidArgumentError
        If there is none, a name is unknown or not of the benchmark, or files are not found.

    Examples
    --------
    >>> find_data(["GunPoits"], "panel", ["gunpoint", "coffee"])
    Traceback (most recent call last):
        ...
    sparsewire.core.errors.InvalidArgumentError: Unknown data set 'GunPoits'. Did you mean ...
    """
    found: dict[str, None] = {}
    for name in names:
        for one in everything if name == "all" else [name]:
            found[_on_this_machine(one, kind, everything)] = None
    if not found:
        raise InvalidArgumentError(f"name at least one data set, or all: {', '.join(everything)}.")
    return tuple(found)


def _on_this_machine(name: str, kind: TimeSeriesKind, everything: Sequence[str]) -> str:
    try:
        info = datasets.info(name, kind=kind)
        if info.name not in everything:
            raise InvalidArgumentError(
                f"{info.name} is not of this benchmark; choose among {', '.join(everything)}."
            )
        if not info.available:
            _LOADERS[kind](name)  # its error says where the files should be
    except DatasetError as error:
        raise InvalidArgumentError(str(error)) from error
    return info.name


def find_methods(
    names: Iterable[str], known: Sequence[str], *, what: str = "method"
) -> tuple[str, ...]:
    """Return methods, each once.

    Parameters
    ----------
    names : iterable of str
        What was asked for.
    known : sequence of str
        What there is.
    what : str, default "method"
        What it is called in messages.

    Returns
    -------
    tuple of str
        In the order of `names`.

    Raises
    ------
    InvalidArgumentError
        If there is none, or one is unknown.

    Examples
    --------
    >>> find_methods(["pals", "dense", "pals"], ["dense", "pals"])
    ('pals', 'dense')
    """
    found = tuple(dict.fromkeys(names))
    for name in found:
        if name not in known:
            raise InvalidArgumentError(
                f"unknown {what} {name!r}.{suggest(name, known)} Available: {', '.join(known)}."
            )
    if not found:
        raise InvalidArgumentError(f"name at least one {what} of {', '.join(known)}.")
    return found


def check_seeds(seeds: Iterable[int]) -> tuple[int, ...]:
    """Return seeds, each once, or raise `InvalidArgumentError` if there is none or one is below 0.

    Examples
    --------
    >>> check_seeds([2, 0, 2])
    (2, 0)
    """
    found = tuple(check_integer("a seed", seed, minimum=0) for seed in dict.fromkeys(seeds))
    if not found:
        raise InvalidArgumentError("give at least one seed, such as 0.")
    return found


def check_parameters(
    estimator: Any, parameters: Mapping[str, Any], fixed: Mapping[str, str]
) -> None:
    """Refuse parameters that an estimator cannot be given.

    Parameters
    ----------
    estimator : BaseEstimator
        Unfitted; it is changed.
    parameters : mapping
        Changes by name.
    fixed : mapping of str to str
        Parameters that the benchmark sets itself, and what to use instead.

    Raises
    ------
    InvalidArgumentError
        If one is unknown, set by the benchmark, or out of its bounds as far as these are known
        before there are data.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> check_parameters(Ridge(), {"alpha": 2.0}, {})
    >>> check_parameters(Ridge(), {"alpha": -2.0}, {})
    Traceback (most recent call last):
        ...
    sparsewire.core.errors.InvalidArgumentError: The 'alpha' parameter of Ridge must be ...
    """
    known = [name for name in estimator.get_params(deep=False) if name not in fixed]
    for name in parameters:
        if name in fixed:
            raise InvalidArgumentError(f"{name} is set by the benchmark; {fixed[name]}.")
        if name not in known:
            kind = type(estimator).__name__
            raise InvalidArgumentError(
                f"{kind} has no parameter {name!r}.{suggest(name, known)} It takes "
                f"{', '.join(known)}."
            )
    estimator.set_params(**parameters)
    if hasattr(estimator, "_parameter_constraints"):
        try:
            estimator._validate_params()
        except ValueError as error:
            raise InvalidArgumentError(str(error)) from error
