"""Which parameters do the estimators take, and what network do they stand for?

They are stored as they are given and checked in `fit`, as scikit-learn wants it. The classifier and
the regressor document them.
"""

import math
import os
from abc import ABC
from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions

from sparsewire.core import Constant, InvalidArgumentError, Method, Schedule
from sparsewire.core.methods import METHODS, BaseDropAndGrow, resolve_method
from sparsewire.neural_network.network import ACTIVATIONS, Perceptron
from sparsewire.neural_network.training import Table, Trainer


class BaseParameters(BaseEstimator, ABC):
    """The parameters of a sparse multilayer perceptron."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "activation_slope": [Interval(Real, 0, None, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "method": [StrOptions(set(METHODS)), Method],
        "drop_fraction": [Interval(Real, 0, 1, closed="both")],
        "importance_pruning": [None, Interval(Real, 0, 1, closed="neither")],
        "importance_pruning_begin": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "solver": [StrOptions({"sgd", "adam"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "weight_decay": [Interval(Real, 0, 1, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "storage": [StrOptions({"csr", "masked", "auto"})],
        "warm_start": ["boolean"],
        "checkpoint": [None, str, os.PathLike],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    _loss: ClassVar[Any]

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (1000, 1000, 1000),
        *,
        activation: Literal["all-relu", "relu", "tanh", "logistic"] = "all-relu",
        activation_slope: float = 0.6,
        epsilon: float = 20,
        method: str | Method = "set",
        drop_fraction: float = 0.3,
        importance_pruning: float | None = None,
        importance_pruning_begin: int = 200,
        dropout: float = 0.0,
        solver: Literal["sgd", "adam"] = "sgd",
        learning_rate_init: float = 0.01,
        momentum: float = 0.9,
        weight_decay: float = 2e-4,
        batch_size: int = 128,
        max_iter: int = 100,
        shuffle: bool = True,
        tol: float = 1e-4,
        n_iter_no_change: float = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        storage: Literal["csr", "masked", "auto"] = "csr",
        warm_start: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.activation_slope = activation_slope
        self.epsilon = epsilon
        self.method = method
        self.drop_fraction = drop_fraction
        self.importance_pruning = importance_pruning
        self.importance_pruning_begin = importance_pruning_begin
        self.dropout = dropout
        self.solver = solver
        self.learning_rate_init = learning_rate_init
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.storage = storage
        self.warm_start = warm_start
        self.checkpoint = checkpoint
        self.random_state = random_state
        self.verbose = verbose

    def _check_parameters(self) -> None:
        self._check_numbers()
        pruned, begin = self.importance_pruning, self.importance_pruning_begin
        if pruned is not None and begin >= self.max_iter and not self.warm_start:
            raise InvalidArgumentError(
                f"importance_pruning={pruned} would never happen: importance_pruning_begin={begin} "
                f"must be less than max_iter={self.max_iter}."
            )
        if self.checkpoint is None:
            return
        if self.warm_start:
            raise InvalidArgumentError("warm_start and a checkpoint exclude each other.")
        if not isinstance(self.random_state, Integral):
            raise InvalidArgumentError(
                f"a checkpoint needs an integer random_state, got {self.random_state!r}; else no "
                "other run could continue it."
            )

    def _check_numbers(self) -> None:
        """Refuse True and False, which scikit-learn's own validation takes for integers."""
        for name, value in self.get_params(deep=False).items():
            logical = {"boolean", "verbose"} & {str(c) for c in self._parameter_constraints[name]}
            if isinstance(value, (bool, np.bool_)) and not logical:
                raise InvalidArgumentError(
                    f"{name} must not be a bool, got {value!r}; use a number."
                )

    def _hidden_sizes(self) -> list[int]:
        given: Any = self.hidden_layer_sizes
        sizes = [given] if isinstance(given, Integral) else list(given)
        if not sizes or not all(isinstance(n, Integral) and int(n) >= 1 for n in sizes):
            raise InvalidArgumentError(
                f"hidden_layer_sizes must be at least one integer >= 1, got {given!r}."
            )
        return [int(size) for size in sizes]

    def _draw_seed(self) -> int:
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _build(self, table: Table, n_outputs: int, epochs: int | None, seed: int) -> Trainer:
        generator = torch.Generator(device="cpu").manual_seed(seed)
        network = Perceptron(
            [table.X.shape[1], *self._hidden_sizes(), n_outputs],
            activation=self.activation,
            slope=float(self.activation_slope),
            dropout=float(self.dropout),
            epsilon=float(self.epsilon),
            storage=self.storage,
            generator=generator,
        )
        steps = math.ceil(len(table.train) / self.batch_size)
        return Trainer(
            network,
            method=once_per_epoch(self.method, float(self.drop_fraction), steps, epochs),
            epsilon=float(self.epsilon),
            solver=self.solver,
            learning_rate=float(self.learning_rate_init),
            momentum=float(self.momentum),
            weight_decay=float(self.weight_decay),
            loss=self._loss,
            storage=self.storage,
            generator=generator,
            seed=seed,
        )


def once_per_epoch(
    method: str | Method, drop_fraction: float, steps: int, epochs: int | None
) -> Method:
    """Return the method of a name with one topology update per epoch; objects stay as they are.

    An update follows the first step of an epoch, beginning with the second. A network is thus
    judged and kept as its training left it, and importance pruning comes before the update.

    Parameters
    ----------
    method : str or Method
        A name known to the engine, or an object.
    drop_fraction : float
        Share of the connections replaced per update.
    steps : int
        Optimizer steps per epoch.
    epochs : int or None
        Length of the run, over which methods that anneal the fraction do so; None keeps it.

    Examples
    --------
    >>> method = once_per_epoch("set", 0.3, steps=10, epochs=4)
    >>> [step for step in range(1, 41) if method.when.due(step)]
    [11, 21, 31]
    """
    named = resolve_method(method)
    if isinstance(method, Method) or not isinstance(named, BaseDropAndGrow):
        return named
    fraction: float | Schedule = drop_fraction
    end = None
    if isinstance(named.drop_fraction, Constant) or epochs is None or epochs == 1:
        fraction = Constant(drop_fraction)
    else:
        end = epochs * steps + 1
    own: Any = named
    changed: Method = replace(
        own, update_interval=steps, drop_fraction=fraction, begin=steps + 1, end=end
    )
    return changed
