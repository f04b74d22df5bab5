"""What do options say, and which estimator do they ask for? Texts become values and are checked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sparsewire.core._validation import suggest
from sparsewire.core.errors import CheckpointError, InvalidArgumentError, SparsewireError
from sparsewire.reporting.arguments import parse_pairs


def parse_parameters(texts: Iterable[str]) -> dict[str, Any]:
    """Read parameters such as ``n_filters:16``; ``n_filters=16`` says the same.

    Parameters
    ----------
    texts : iterable of str
        One parameter each. A value is a Python literal, or one plain word, which stands for itself.

    Returns
    -------
    dict
        Values by name.

    Raises
    ------
    InvalidArgumentError
        If a text is no such pair, or a name occurs twice.

    Examples
    --------
    >>> parse_parameters(["n_filters:16", "padding=right"])
    {'n_filters': 16, 'padding': 'right'}
    """
    # The other commands have --param with "=" and their settings with ":".
    return parse_pairs("--param", [re.sub(r"^(\w+)=", r"\1:", text) for text in texts])


def parse_names(option: str, text: str | None) -> list[str] | None:
    """Read names separated by commas.

    Raises
    ------
    InvalidArgumentError
        If a name is empty or occurs twice.

    Examples
    --------
    >>> parse_names("--columns", "HUFL, OT")
    ['HUFL', 'OT']
    """
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise InvalidArgumentError(f"{option} {text} must be different names, such as a,b.")
    return names


def parse_size(option: str, text: str | None) -> int | float | None:
    """Read a number of rows, or with a point a share of them.

    Raises
    ------
    InvalidArgumentError
        If it is neither a whole number of at least 1 nor a share between 0 and 1.

    Examples
    --------
    >>> parse_size("--test-size", "96"), parse_size("--test-size", "0.2")
    (96, 0.2)
    """
    if text is None:
        return None
    if re.fullmatch(r"[1-9]\d*", text):
        return int(text)
    if re.fullmatch(r"0?\.\d*[1-9]\d*", text):
        return float(text)
    raise InvalidArgumentError(
        f"{option} {text} must be a number of rows such as 96, or a share such as 0.2."
    )


def make_estimator(
    kind: Any, parameters: Mapping[str, Any], options: Mapping[str, str], **fixed: Any
) -> Any:
    """Return an estimator that is not fitted.

    Parameters
    ----------
    kind : type
        Its class.
    parameters : mapping
        What ``--param`` sets.
    options : mapping of str to str
        Parameters with an option of their own, and that option.
    **fixed
        The values of those.

    Raises
    ------
    InvalidArgumentError
        If a parameter is unknown, has an option of its own, or has a wrong value.

    Examples
    --------
    >>> from sparsewire.timeseries import ALACPD
    >>> make_estimator(ALACPD, {"window": 8}, {"verbose": "--quiet"}, verbose=1)
    ALACPD(verbose=1, window=8)
    """
    known = set(kind().get_params(deep=False)) - set(options)
    for name in parameters:
        if name in options:
            raise InvalidArgumentError(f"--param {name}: use {options[name]} instead.")
        if name not in known:
            raise InvalidArgumentError(
                f"--param {name}: {kind.__name__} has no such parameter; it has "
                f"{', '.join(sorted(known))}.{suggest(name, known)}"
            )
    # A literal's tuple came back as a list, and scikit-learn's convention is a tuple.
    given = {n: tuple(v) if isinstance(v, list) else v for n, v in parameters.items()}
    estimator = kind(**fixed, **given)
    if hasattr(estimator, "_parameter_constraints"):
        with refusals():
            estimator._validate_params()
    return estimator


@contextmanager
def refusals(where: str = "") -> Iterator[None]:
    """Turn a ``ValueError`` of the block into an `InvalidArgumentError`.

    Data sets and scikit-learn refuse with errors of their own. A `CheckpointError` passes: it is
    not about the data.

    Parameters
    ----------
    where : str, default ""
        What is wrong, to begin the message with.

    Raises
    ------
    InvalidArgumentError
        In place of the ``ValueError``.

    Examples
    --------
    >>> with refusals("a.csv"):
    ...     float("x")
    Traceback (most recent call last):
        ...
    sparsewire.core.errors.InvalidArgumentError: a.csv: could not convert string to float: 'x'
    """
    try:
        yield
    except ValueError as error:
        if isinstance(error, CheckpointError) or (isinstance(error, SparsewireError) and not where):
            raise
        prefix = f"{where}: " if where and not str(error).startswith(where) else ""
        raise InvalidArgumentError(f"{prefix}{error}") from error
