"""Which parameters do all classifiers of series take, and what is checked about them?

They are stored as they are given and checked in `fit`, as scikit-learn wants it. Each classifier
documents them.
"""

import os
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from sparsewire.core import InvalidArgumentError
from sparsewire.timeseries.classification.preparation import Missing, Normalise, Series, Unequal
from sparsewire.timeseries.classification.training import Labelled

CONSTRAINTS: dict[str, list[Any]] = {
    "n_epochs": [Interval(Integral, 1, None, closed="left")],
    "batch_size": [Interval(Integral, 2, None, closed="left"), StrOptions({"auto"})],
    "learning_rate": [Interval(Real, 0, None, closed="neither")],
    "validation_fraction": [Interval(Real, 0, 1, closed="left")],
    "patience": [None, Interval(Integral, 1, None, closed="left")],
    "normalise": [StrOptions({"none", "instance", "train"})],
    "unequal": [StrOptions({"mask", "pad", "raise"})],
    "missing": [StrOptions({"linear", "zero", "raise"})],
    "checkpoint": [None, str, os.PathLike],
    "device": [StrOptions({"cpu", "cuda", "auto"})],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
}
"""Of the parameters that all classifiers have, in scikit-learn's terms."""


class BaseParameters(BaseEstimator):
    """What is done with the parameters that all classifiers of series have."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]]

    n_epochs: int
    batch_size: int | str
    learning_rate: float
    validation_fraction: float
    patience: int | None
    normalise: Normalise
    unequal: Unequal
    missing: Missing
    checkpoint: str | os.PathLike[str] | None
    device: str
    random_state: int | np.random.RandomState | None
    verbose: int

    def _check_parameters(self) -> None:
        if self.checkpoint is not None and not isinstance(self.random_state, Integral):
            raise InvalidArgumentError(
                f"a checkpoint needs an integer random_state, got {self.random_state!r}; else no "
                "other run could continue it."
            )
        for name, kinds in self._parameter_constraints.items():
            number = any(isinstance(kind, Interval) for kind in kinds)
            if number and isinstance(getattr(self, name), (bool, np.bool_)):
                raise InvalidArgumentError(f"{name} must be a number, got a bool.")

    def _draw_seed(self) -> int:
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _labelled(self, series: Series, target: Any, seed: int) -> Labelled:
        """Hold out the asked share of the series, stratified by class."""
        rows, held_out = np.arange(len(series)), np.arange(0)
        if self.validation_fraction:
            try:
                rows, held_out = train_test_split(
                    rows, test_size=self.validation_fraction, random_state=seed, stratify=target
                )
            except ValueError as error:
                raise InvalidArgumentError(
                    f"validation_fraction={self.validation_fraction} cannot be held out by class: "
                    f"{error} Give more series, or set it to 0."
                ) from error
        return Labelled(series, target, rows, held_out)
