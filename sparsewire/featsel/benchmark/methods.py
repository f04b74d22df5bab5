"""Which selectors does the benchmark know, and how are they set on which data set?

A method is a factory: from the number of features, a seed and the name of a data set to an
unfitted selector. A selector has ``fit(X, y)`` and after it ``get_support()``, as scikit-learn's
have; it is given unscaled rows and scales by itself. Where the papers set something differently on
single data sets, so does the factory; parameters given by name come last and win.

References
----------
QuickSelection: Atashgahi et al., Machine Learning, 2021, arXiv:2012.00560.
WAST: Sokar et al., NeurIPS 2022.
NeuroFS: Atashgahi et al., Transactions on Machine Learning Research, 2023.
Neuron attribution: Atashgahi et al., ECAI 2024.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any

from sparsewire.core._validation import suggest
from sparsewire.core.errors import InvalidArgumentError, UnknownMethodError
from sparsewire.featsel.benchmark import references

Parameters = Mapping[str, Any]

_IMAGES = ("coil20", "usps", "mnist", "fashion_mnist")
_NOT_SETTABLE = {"k", "seed", "dataset", "n_features_to_select", "random_state"}


Factory = Callable[..., Any]
"""Called with ``k``, ``seed`` and ``dataset``, and with parameters by name; returns a selector.

It can be pickled, because a cell runs in a process of its own.
"""


@dataclass(frozen=True, kw_only=True)
class Method:
    """A row of the benchmark's tables.

    Attributes
    ----------
    factory : Factory
        Makes its selectors.
    is_random : bool
        Whether seeds matter; what does not depend on them is run once, with seed 0.
    keeps_all : bool
        Whether it keeps every feature, whatever number is asked for.
    """

    factory: Factory
    is_random: bool = True
    keeps_all: bool = False


@dataclass(frozen=True)
class Named:
    """A factory for a selector of this package, imported when it is first needed.

    Parameters
    ----------
    home : str
        ``module:class``.
    exceptions : mapping
        Parameters by data set, where they differ from the defaults of the class.

    Examples
    --------
    >>> make = Named("sparsewire.featsel.quickselection:QuickSelection", {"madelon": {"epochs": 9}})
    >>> make(k=20, seed=1, dataset="madelon", hidden_size=30)
    QuickSelection(epochs=9, hidden_size=30, n_features_to_select=20,
                   random_state=1)
    """

    home: str
    exceptions: Mapping[str, Parameters] = field(default_factory=dict)

    def __call__(self, *, k: int, seed: int, dataset: str, **parameters: Any) -> Any:
        """Return an unfitted selector."""
        changes = {**self.exceptions.get(dataset, {}), **parameters}
        return self.selector_class(k, random_state=seed, **changes)

    @property
    def selector_class(self) -> Any:
        """The class."""
        module, _, name = self.home.partition(":")
        return getattr(import_module(module), name)


def _ours(home: str, exceptions: Mapping[str, Parameters] | None = None) -> Method:
    return Method(factory=Named(f"sparsewire.featsel.{home}", exceptions or {}))


def _filter(score: references.Score) -> Method:
    return Method(factory=partial(references.best_by_score, score), is_random=False)


METHODS: dict[str, Method] = {
    "quickselection": _ours(
        "quickselection:QuickSelection",
        {"madelon": {"output_activation": "tanh"}, "pcmac": {"scale": "minmax"}},
    ),
    "wast": _ours("wast:WAST", {name: {"sensitivity": 0.4} for name in _IMAGES}),
    "neurofs": _ours(
        "neurofs:NeuroFS", {"arcene": {"batch_size": 20}, "isolet1560": {"activation": "relu"}}
    ),
    "attribution": _ours(
        "attribution:AttributionSelector",
        {"pcmac": {"batch_size": 32}, "arcene": {"batch_size": 32}},
    ),
    "laplacian": Method(
        factory=Named("sparsewire.featsel.filters:LaplacianScore"), is_random=False
    ),
    "random": _ours("filters:RandomSelector"),
    "all": Method(factory=references.every_feature, is_random=False, keeps_all=True),
    "variance": _filter(references.scaled_variance),
    "f_classif": _filter(references.anova_f),
    "mutual_info": _filter(references.binned_mutual_information),
    "extra_trees": Method(factory=references.extra_trees),
}
"""All methods by name: sparse networks, filters, and references."""


def known_methods(extra: Mapping[str, Factory] | None = None) -> dict[str, Method]:
    """Return all methods, with those a caller brings along.

    Parameters
    ----------
    extra : mapping or None, default=None
        Factories by name; they are taken to depend on seeds.

    Returns
    -------
    dict of str to Method
        By name.

    Raises
    ------
    InvalidArgumentError
        If a name is taken, or cannot be part of a file's name.

    Examples
    --------
    >>> list(known_methods({"first": references.every_feature}))[-1]
    'first'
    """
    for name in extra or ():
        if name in METHODS or not name.replace("-", "_").isidentifier():
            raise InvalidArgumentError(
                f"extra method {name!r} must have a name of letters, digits, - and _ that is not "
                f"one of {', '.join(METHODS)}."
            )
    return METHODS | {name: Method(factory=made) for name, made in (extra or {}).items()}


def find_method(name: str, methods: Mapping[str, Method]) -> Method:
    """Return a method by its name.

    Parameters
    ----------
    name : str
        For example ``"wast"``.
    methods : mapping
        From `known_methods`.

    Returns
    -------
    Method
        The method.

    Raises
    ------
    UnknownMethodError
        If there is none; the message suggests what was meant.

    Examples
    --------
    >>> find_method("variance", METHODS).is_random
    False
    """
    if name not in methods:
        raise UnknownMethodError(
            f"unknown method {name!r}.{suggest(name, methods)} Available: {', '.join(methods)}."
        )
    return methods[name]


def build(
    name: str, factory: Factory, *, k: int, seed: int, dataset: str, parameters: Parameters
) -> Any:
    """Make a selector, and refuse parameters that it does not have or that are out of range.

    Parameters
    ----------
    name : str
        Method, for messages.
    factory : Factory
        Its factory.
    k, seed, dataset
        What the factory is told.
    parameters : mapping
        Changes by name; a list stands for a tuple.

    Returns
    -------
    object
        An unfitted selector.

    Raises
    ------
    InvalidArgumentError
        If a parameter is unknown or, for scikit-learn's estimators, has a wrong value.

    Examples
    --------
    >>> find = METHODS["extra_trees"].factory
    >>> build("extra_trees", find, k=3, seed=0, dataset="digits", parameters={"n_estimator": 9})
    Traceback (most recent call last):
        ...
    sparsewire.core.errors.InvalidArgumentError: extra_trees has no parameter 'n_estimator'. Did you
    mean 'n_estimators'? It takes n_estimators.
    """
    known = _parameter_names(factory)
    if known is None and parameters:
        known = _parameter_names(type(factory(k=k, seed=seed, dataset=dataset)))
    for given in parameters:
        if known is not None and given not in known:
            takes = f"It takes {', '.join(sorted(known))}." if known else "It takes none."
            raise InvalidArgumentError(
                f"{name} has no parameter {given!r}.{suggest(given, known)} {takes}"
            )
    values = {
        key: tuple(value) if isinstance(value, list) else value for key, value in parameters.items()
    }
    selector = factory(k=k, seed=seed, dataset=dataset, **values)
    if hasattr(selector, "_parameter_constraints"):
        try:
            selector._validate_params()
        except ValueError as error:
            raise InvalidArgumentError(f"{name}: {error}") from error
    return selector


def _parameter_names(factory: Factory) -> set[str] | None:
    """Return what can be set, or None if the factory does not say."""
    maker = factory.selector_class if isinstance(factory, Named) else factory
    found = inspect.signature(maker).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in found):
        return None
    keywords = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return {parameter.name for parameter in found if parameter.kind in keywords} - _NOT_SETTABLE


def describe(selector: Any) -> dict[str, Any]:
    """Return all parameters of a selector as JSON holds them, without the number and the seed.

    Parameters
    ----------
    selector : object
        What a factory made.

    Returns
    -------
    dict
        Its ``get_params`` in alphabetical order; tuples as lists, functions by their names,
        anything else as text. Empty if it has no ``get_params``.

    Examples
    --------
    >>> describe(references.best_by_score(references.anova_f, k=3, seed=0, dataset="digits"))
    {'score_func': 'anova_f'}
    >>> describe(references.extra_trees(k=3, seed=0, dataset="digits"))["threshold"]
    '-inf'
    """
    if not hasattr(selector, "get_params"):
        return {}
    given = selector.get_params(deep=False)
    aside = {"k", "max_features", "n_features_to_select", "random_state", "seed", "verbose"}
    return {name: _plain(given[name]) for name in sorted(given.keys() - aside)}


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no infinity
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return getattr(value, "__name__", None) or " ".join(repr(value).split())
