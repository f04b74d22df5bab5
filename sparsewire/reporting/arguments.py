"""How does text on the command line become values? ``key:value`` pairs and lists of seeds.

Values are Python literals as in the RL Zoo, read with `ast.literal_eval`: nothing is executed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from typing import Any

from sparsewire.core.errors import InvalidArgumentError

_WORD = re.compile(r"[A-Za-z][\w./-]*")
_SEEDS = re.compile(r"(\d+)(?:-(\d+))?")


def parse_pairs(option: str, texts: Iterable[str]) -> dict[str, Any]:
    """Read ``key:value`` pairs such as ``batch_size:100``.

    Parameters
    ----------
    option : str
        Name of the option, for messages.
    texts : iterable of str
        One pair each. A value is a Python literal, or one plain word, which stands for itself.

    Returns
    -------
    dict
        Values by key; tuples have become lists, so that YAML gives back what it was given.

    Raises
    ------
    InvalidArgumentError
        If a text is not such a pair, or a key occurs twice.

    Examples
    --------
    >>> parse_pairs("-params", ["batch_size:100", "policy_kwargs:{'net_arch': [64, 64]}"])
    {'batch_size': 100, 'policy_kwargs': {'net_arch': [64, 64]}}
    >>> parse_pairs("--env-kwargs", ["distribution:uniform"])
    {'distribution': 'uniform'}
    """
    values: dict[str, Any] = {}
    for text in texts:
        key, colon, value = text.partition(":")
        if not colon or not key.isidentifier():
            raise InvalidArgumentError(
                f"{option} {text} must look like key:value, such as batch_size:100."
            )
        if key in values:
            raise InvalidArgumentError(f"{option} names {key} twice; give it once.")
        values[key] = _literal(f"{option} {text}", value)
    return values


def _literal(where: str, text: str) -> Any:
    try:
        return plain(ast.literal_eval(text))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        if text.lower() in ("true", "false", "none"):
            raise InvalidArgumentError(
                f"{where}: write {text.capitalize()}, or \"'{text}'\" if the word is meant."
            ) from None
        if _WORD.fullmatch(text):
            return text
    raise InvalidArgumentError(
        f"{where}: the value must be a Python literal made of numbers, strings, True, False, None, "
        "lists and dictionaries, such as 0.001, True or {'net_arch': [64, 64]}."
    )


def plain(value: Any) -> Any:
    """Return `value` with tuples as lists, or raise if YAML could not hold it safely.

    Parameters
    ----------
    value : object
        What a literal stands for.

    Returns
    -------
    object
        None, a bool, a number, a string, or lists and dictionaries of them.

    Raises
    ------
    ValueError
        If there is anything else inside.

    Examples
    --------
    >>> plain({"train_freq": (1, "episode")})
    {'train_freq': [1, 'episode']}
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: plain(item) for key, item in value.items()}
    raise ValueError(f"{value!r} is not a plain value")


def parse_seeds(text: str) -> list[int]:
    """Read seeds such as ``0-4`` or ``0,3,7-9``.

    Parameters
    ----------
    text : str
        Whole numbers and ranges, both ends included, separated by commas.

    Returns
    -------
    list of int
        The seeds in the given order.

    Raises
    ------
    InvalidArgumentError
        If the text has another form, or a seed occurs twice.

    Examples
    --------
    >>> parse_seeds("0,3,7-9")
    [0, 3, 7, 8, 9]
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = _SEEDS.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
        if not first <= last < 2**32 - 10_000:
            raise InvalidArgumentError(f"--seeds {text} must look like 0-4 or 0,3,7-9.")
        seeds += range(first, last + 1)
    if len(set(seeds)) < len(seeds):
        raise InvalidArgumentError(f"--seeds {text} names a seed twice.")
    return seeds
