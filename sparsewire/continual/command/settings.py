"""What does a run consist of? Benchmark, method, seed, and every number that decides its outcome.

Defaults come from the benchmark and the method; ``--set`` changes any of them by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sparsewire.continual.command.benchmarks import find_benchmark
from sparsewire.continual.command.methods import find_method
from sparsewire.continual.routing import check_routing
from sparsewire.core._validation import check_fraction, check_integer, check_positive, suggest
from sparsewire.core.errors import InvalidArgumentError
from sparsewire.reporting.arguments import plain

N_CLASSES = 10
"""Classes of every data set of a benchmark."""

OPTIMIZERS = ("sgd", "nesterov", "adam")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One run.

    Attributes
    ----------
    benchmark, method : str
        Names.
    seed : int
        Of everything random: initial weights, order of the examples, allocation.
    replay : int
        Examples stored and replayed beside the method; 0 for none.
    training : dict
        ``n_tasks``, ``class_order``, ``hidden``, ``epochs``, ``batch_size``, ``optimizer``,
        ``learning_rate``, ``momentum`` and ``weight_decay``.
    options : dict
        Settings of the method.

    Raises
    ------
    InvalidArgumentError
        If a name is unknown or a value of the training out of range.

    Examples
    --------
    >>> settings = resolve("split-digits", "ewc", seed=0, changes={"epochs": 3})
    >>> settings.training["epochs"], settings.options
    (3, {'ewc_lambda': 10000.0})
    """

    benchmark: str
    method: str
    seed: int
    replay: int = 0
    training: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        find_benchmark(self.benchmark)
        find_method(self.method)
        check_integer("seed", self.seed, minimum=0)
        check_integer("replay", self.replay, minimum=0)
        for key, check in _CHECKS.items():
            check(key, self.training[key])
        self._check_momentum()
        self._check_baseline()
        if find_benchmark(self.benchmark).permuted:
            self._check_permuted()
        elif N_CLASSES % self.training["n_tasks"]:
            raise InvalidArgumentError(
                f"n_tasks must divide the {N_CLASSES} classes, got {self.training['n_tasks']}."
            )

    def _check_momentum(self) -> None:
        optimizer, momentum = self.training["optimizer"], self.training["momentum"]
        if (optimizer == "adam" and momentum) or (optimizer == "nesterov" and not momentum):
            raise InvalidArgumentError(
                f"momentum must be {'0' if momentum else 'above 0'} with the optimizer {optimizer} "
                f"of {self.method}, got {momentum}."
            )

    def _check_baseline(self) -> None:
        """Check what Avalanche does not; the sparse methods check their own."""
        for key, default in find_method(self.method).defaults.items():
            if key == "routing":
                check_routing(self.options[key], 0 if self.options[key] == "oracle" else None)
            elif isinstance(default, int):
                check_integer(key, self.options[key], minimum=1)
            else:
                check_positive(key, self.options[key])

    def _check_permuted(self) -> None:
        if self.training["class_order"] != list(range(N_CLASSES)):
            raise InvalidArgumentError(
                f"class_order has no meaning for {self.benchmark}, where each task has all classes;"
                " leave it out."
            )

    @property
    def name(self) -> str:
        """The method with its replay, such as ``spacenet+replay500``; the name of its folder."""
        return f"{self.method}+replay{self.replay}" if self.replay else self.method

    def as_plain(self) -> dict[str, Any]:
        """Return all settings by name, one level deep, as JSON can hold them."""
        return {
            "benchmark": self.benchmark,
            "method": self.method,
            "seed": self.seed,
            "replay": self.replay,
            **self.training,
            **self.options,
        }

    def differences(self, other: Mapping[str, Any]) -> str:
        """Say what is different in other plain settings; empty if nothing is."""
        own = self.as_plain()
        return ", ".join(
            f"{key} {_shown(other, key)} there, {_shown(own, key)} here"
            for key in dict.fromkeys([*own, *other])
            if own.get(key) != other.get(key) or (key in own) != (key in other)
        )


def _shown(values: Mapping[str, Any], key: str) -> str:
    return repr(values[key]) if key in values else "is missing"


def resolve(
    benchmark: str,
    method: str,
    *,
    seed: int,
    replay: int = 0,
    changes: Mapping[str, Any] | None = None,
) -> Settings:
    """Return the settings of a run: the benchmark's and the method's, with changes.

    Parameters
    ----------
    benchmark, method : str
        Names.
    seed : int
        The run's.
    replay : int, default=0
        Examples to store and replay beside the method.
    changes : mapping, optional
        Values by name of a setting of the training or the method.

    Returns
    -------
    Settings
        Complete.

    Raises
    ------
    InvalidArgumentError
        If a name is unknown or a value wrong.

    Examples
    --------
    >>> resolve("split-mnist", "spacenet", seed=0).options["select"]
    0.2
    """
    found, kind = find_benchmark(benchmark), find_method(method)
    own = found.settings_for(method)
    training = {"class_order": list(range(N_CLASSES))} | {k: own.pop(k) for k in found.training}
    options = kind.settings() | own
    for key, value in (changes or {}).items():
        if key not in training and key not in options:
            raise InvalidArgumentError(_unknown(key, method, [*training, *options]))
        (training if key in training else options)[key] = value
    return Settings(
        benchmark=benchmark, method=method, seed=seed, replay=replay,
        training=plain(training), options=plain(options),
    )  # fmt: skip


def resolve_all(
    benchmark: str,
    methods: Iterable[str],
    seeds: Iterable[int],
    *,
    replay: int = 0,
    changes: Mapping[str, Any] | None = None,
) -> list[Settings]:
    """Return the settings of several methods with several seeds.

    Parameters
    ----------
    benchmark : str
        Name.
    methods : iterable of str
        Names; one that ends in ``+replay`` and a number has its own replay.
    seeds : iterable of int
        Seeds.
    replay : int, default=0
        Examples to store and replay beside methods whose name does not say it.
    changes : mapping, optional
        Each goes to all methods that have a setting of its name.

    Returns
    -------
    list of Settings
        By method and seed.

    Raises
    ------
    InvalidArgumentError
        If a name is unknown, to all methods in the case of a change, or a value wrong.

    Examples
    --------
    >>> found = resolve_all("split-digits", ["naive", "ewc+replay100"], [0], changes={"epochs": 2})
    >>> [settings.name for settings in found]
    ['naive', 'ewc+replay100']
    """
    changes, seeds = dict(changes or {}), list(seeds)
    names = [_with_replay(name, replay) for name in dict.fromkeys(methods)]
    known: dict[str, set[str]] = {}
    for name, _ in names:
        found = resolve(benchmark, name, seed=0)
        known[name] = {*found.training, *found.options}
    everywhere = {key for keys in known.values() for key in keys}
    for key in changes:
        if key not in everywhere:
            raise InvalidArgumentError(_unknown(key, " and ".join(known), sorted(everywhere)))
    return [
        resolve(
            benchmark, name, seed=seed, replay=stored,
            changes={key: value for key, value in changes.items() if key in known[name]},
        )
        for name, stored in names
        for seed in seeds
    ]  # fmt: skip


def _with_replay(name: str, replay: int) -> tuple[str, int]:
    method, plus, stored = name.partition("+replay")
    if not plus:
        return name, replay
    if not stored.isdecimal() or int(stored) < 1:
        raise InvalidArgumentError(f"{name} must end in +replay and a number, as +replay500 does.")
    return method, int(stored)


def _unknown(key: str, method: str, known: Iterable[str]) -> str:
    names = list(known)
    return (
        f"--set {key} is no setting of {method}; there are {', '.join(names)}.{suggest(key, names)}"
    )


def _check_hidden(name: str, value: object) -> None:
    if not isinstance(value, list) or not value:
        raise InvalidArgumentError(f"{name} must be a list of units, as [400, 400], got {value!r}.")
    for units in value:
        check_integer(f"each of {name}", units, minimum=1)


def _check_order(name: str, value: object) -> None:
    wanted = f"{name} must hold every class from 0 to {N_CLASSES - 1} once"
    if not isinstance(value, list) or not all(type(c) is int for c in value):
        raise InvalidArgumentError(f"{wanted}, got {value!r}.")
    if repeated := sorted({c for c in value if value.count(c) > 1}):
        raise InvalidArgumentError(
            f"{wanted}, but {', '.join(map(str, repeated))} occurs more than once in {value}."
        )
    if set(value) != set(range(N_CLASSES)):
        raise InvalidArgumentError(f"{wanted}, got {value}.")


def _check_optimizer(name: str, value: object) -> None:
    if value not in OPTIMIZERS:
        raise InvalidArgumentError(
            f"{name} must be one of {', '.join(OPTIMIZERS)}, got {value!r}."
            f"{suggest(str(value), OPTIMIZERS)}"
        )


def _at_least(minimum: int) -> Callable[[str, object], object]:
    return lambda name, value: check_integer(name, value, minimum=minimum)


_CHECKS: dict[str, Callable[[str, object], object]] = {
    "n_tasks": _at_least(1),
    "class_order": _check_order,
    "hidden": _check_hidden,
    "epochs": _at_least(1),
    "batch_size": _at_least(1),
    "optimizer": _check_optimizer,
    "learning_rate": check_positive,
    "momentum": check_fraction,
    "weight_decay": lambda name, value: check_positive(name, value, or_zero=True),
}
