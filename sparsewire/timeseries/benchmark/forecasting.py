"""What does adaptive sparsity cost in accuracy, and what does it save? The table of PALS.

Every model is trained dense and sparse by the same code, under the long-term protocol: standard
borders, all windows of the test block, errors on the scale of the training block. Linear models
have the look-back, rate and batch size of DLinear's published results (336 steps; 104 for illness),
transformers the protocol's look-back (96; 36). ``static``, ``dynamic`` and ``granet`` get the
density at which PALS ended on the same data with the same seed, unless one is given.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import pandas as pd

from sparsewire import datasets
from sparsewire.core._validation import check_integer
from sparsewire.core.errors import InvalidArgumentError
from sparsewire.timeseries.benchmark.cells import Cell, Result
from sparsewire.timeseries.benchmark.choosing import (
    check_parameters,
    check_seeds,
    find_data,
    find_methods,
)
from sparsewire.timeseries.benchmark.forecast_table import Group, forecast_table
from sparsewire.timeseries.benchmark.references import (
    DLINEAR_ERRORS,
    DLINEAR_LEARNING_RATE,
    DLINEAR_LOOK_BACK,
    counted_windows,
    dlinear_batch_size,
)
from sparsewire.timeseries.benchmark.running import BaseBench, Outcomes, finished
from sparsewire.timeseries.benchmark.table import Table
from sparsewire.timeseries.benchmark.tuning import GRID, Choice, Pair, choose
from sparsewire.timeseries.forecasting import SparseForecaster
from sparsewire.timeseries.forecasting.parameters import MODELS
from sparsewire.timeseries.metrics import ErrorSums
from sparsewire.timeseries.protocols import (
    LTSFBorders,
    ltsf_borders,
    ltsf_protocol,
    repeat_last,
    standardise,
)

LINEAR = ("dlinear", "nlinear")
AT_A_DENSITY = ("static", "dynamic", "granet")
SPARSITIES: dict[str, Literal["pals", "static", "dynamic", "granet"] | None] = {
    "pals": "pals",
    "dense": None,
    "static": "static",
    "dynamic": "dynamic",
    "granet": "granet",
}
METHODS = (*SPARSITIES, "repeat-last")
PARAMETERS = {"max_epochs": 10, "prune_factor": 1.1, "loss_freedom": 1.1}
"""Of `SparseForecaster`, unless others are given (the paper's)."""

_OWN = {
    "prune_factor": ("pals",),
    "loss_freedom": ("pals",),
    "pals_options": ("pals",),
    "decision_windows": ("pals",),
    "density": AT_A_DENSITY,
}
"""Parameters that mean something to some methods only."""

_FIXED = {
    "model": "use --models",
    "input_size": "use --look-back",
    "horizon": "use --n-horizons",
    "sparsity": "use --methods",
    "validation_size": "the protocol decides",
    "random_state": "use --seeds",
    "checkpoint": "a stopped run is repeated",
    "verbose": "finished runs are shown",
}


@dataclass(frozen=True, kw_only=True)
class ForecastBench(BaseBench):
    """Forecasters, dense and sparse, on the long-term benchmarks.

    Parameters
    ----------
    data : sequence of str, default ("illness", "etth1")
        Names of series; ``"all"`` means etth1, etth2, exchange and illness.
    models : sequence of str, default ("dlinear",)
        Of `SparseForecaster`.
    methods : sequence of str, default ("pals", "dense", "static", "granet", "repeat-last")
        Of `METHODS`.
    seeds : sequence of int, default (0,)
        Seeds; ``repeat-last`` has none.
    n_horizons : int, default 1
        How many horizons of the protocol, from the shortest on.
    look_back : int or None, default None
        Known steps of a window; None is explained above.
    tune : bool, default False
        Choose PALS' factors by `sparsewire.timeseries.benchmark.tuning`, with the first seed.
    parameters : mapping, default {}
        Of `SparseForecaster`, in place of `PARAMETERS` and of the published rate and batch size.

    Raises
    ------
    InvalidArgumentError
        If a name is unknown, a value out of range, or data are not on this machine.

    Examples
    --------
    >>> ForecastBench(methods=["static"])
    Traceback (most recent call last):
        ...
    sparsewire.core.errors.InvalidArgumentError: static takes the density that PALS found; add ...
    """

    data: Sequence[str] = ("illness", "etth1")
    models: Sequence[str] = ("dlinear",)
    methods: Sequence[str] = ("pals", "dense", "static", "granet", "repeat-last")
    seeds: Sequence[int] = (0,)
    n_horizons: int = 1
    look_back: int | None = None
    tune: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)

    task: ClassVar[str] = "forecast"

    def __post_init__(self) -> None:
        object.__setattr__(self, "methods", find_methods(self.methods, METHODS))
        object.__setattr__(self, "models", find_methods(self.models, list(MODELS), what="model"))
        self._check_methods()
        check_parameters(SparseForecaster(), self._parameters, _FIXED)
        object.__setattr__(self, "seeds", check_seeds(self.seeds))
        check_integer("n_horizons", self.n_horizons, minimum=1)
        if self.look_back is not None:
            check_integer("look_back", self.look_back, minimum=1)
        object.__setattr__(self, "data", find_data(self.data, "series", list(DLINEAR_ERRORS)))

    @property
    def _parameters(self) -> dict[str, Any]:
        return {**PARAMETERS, **self.parameters}

    def _check_methods(self) -> None:
        waiting = [name for name in self.methods if name in AT_A_DENSITY]
        if waiting and "pals" not in self.methods and "density" not in self.parameters:
            raise InvalidArgumentError(
                f"{', '.join(waiting)} takes the density that PALS found; add pals to the methods, "
                "or give a density by --param density:0.2."
            )
        if self.tune and "pals" not in self.methods:
            raise InvalidArgumentError("--tune is for pals, which is not among the methods.")
        given = [name for name in ("prune_factor", "loss_freedom") if name in self.parameters]
        if self.tune and given:
            raise InvalidArgumentError(
                f"--tune chooses prune_factor and loss_freedom; leave {' and '.join(given)} out."
            )

    # Cells

    def _places(self) -> list[tuple[str, str, int]]:
        """List model, data set and horizon of all rows of the table."""
        return [
            (model, data, horizon)
            for model, data in itertools.product(self.models, self.data)
            for horizon in ltsf_protocol(data).horizons[: self.n_horizons]
        ]

    def _window(self, model: str, data: str) -> int:
        published = DLINEAR_LOOK_BACK[data] if model in LINEAR else ltsf_protocol(data).look_back
        return self.look_back or published

    def _cell(self, place: tuple[str, str, int], method: str, seed: int, **changes: float) -> Cell:
        model, data, horizon = place
        own = {
            name: value
            for name, value in self._parameters.items()
            if method in _OWN.get(name, METHODS)
        }
        published: dict[str, Any] = {"batch_size": 32}
        if model in LINEAR:
            published["learning_rate"] = DLINEAR_LEARNING_RATE[data]
            published["batch_size"] = dlinear_batch_size(data, horizon)
        sizes = {"model": model, "input_size": self._window(model, data), "horizon": horizon}
        return Cell(
            task=self.task,
            data=data,
            method=method,
            seed=seed,
            settings={**sizes, **published, **own, **changes},
        )

    def _pals(self, place: tuple[str, str, int], seed: int, pair: Pair | None = None) -> Cell:
        if pair is None:
            return self._cell(place, "pals", seed)
        return self._cell(place, "pals", seed, prune_factor=pair[0], loss_freedom=pair[1])

    def _choice(self, place: tuple[str, str, int], outcomes: Outcomes) -> Choice | None:
        """Return the pair for a row of the table, None before its grid is finished."""
        grid = {pair: self._pals(place, self.seeds[0], pair).key for pair in GRID}
        if not all(key in outcomes for key in grid.values()):
            return None
        runs = {pair: run for pair, key in grid.items() if (run := outcomes[key]) is not None}
        return choose(runs) if runs else None

    def _cells(self, place: tuple[str, str, int], method: str, outcomes: Outcomes) -> list[Cell]:
        """Return one cell for each seed, as far as they are known."""
        if method == "repeat-last":
            settings = {"horizon": place[2]}
            return [Cell(task=self.task, data=place[1], method=method, settings=settings)]
        if method == "pals":
            if not self.tune:
                return [self._pals(place, seed) for seed in self.seeds]
            choice = self._choice(place, outcomes)
            pairs = [] if choice is None else [choice.pair]
            return [self._pals(place, seed, pair) for seed in self.seeds for pair in pairs]
        if method not in AT_A_DENSITY or "density" in self.parameters:
            return [self._cell(place, method, seed) for seed in self.seeds]
        models = {cell.seed: cell for cell in self._cells(place, "pals", outcomes)}
        return [
            self._cell(place, method, seed, density=round(1 - run["sparsity"], 6))
            for seed, cell in models.items()
            if (run := outcomes.get(cell.key)) is not None
        ]

    def plan(self, outcomes: Outcomes) -> list[Cell]:
        """Return the cells that can be named: those of a grid, then what follows from its result.

        Parameters
        ----------
        outcomes : mapping
            Results so far.

        Returns
        -------
        list of Cell
            By row of the table and method.
        """
        found = []
        for place in self._places():
            if self.tune:
                found += [self._pals(place, self.seeds[0], pair) for pair in GRID]
            for method in self.methods:
                found += self._cells(place, method, outcomes)
        return found

    # Runs

    def measure(self, cell: Cell) -> Result:
        """Train and test.

        Parameters
        ----------
        cell : Cell
            What to run.

        Returns
        -------
        dict
            ``mse`` and ``mae`` over all test windows, and ``as_published`` both over those that
            published errors are over, where there are such; of a network also ``validation_loss``,
            ``sparsity``, ``parameters``, ``flops``, both also dense, ``cpu_seconds`` of the fit and
            ``epochs``.
        """
        series = datasets.load_series(cell.data)
        if cell.method == "repeat-last":
            # Windows differ by their context only, of which one row is enough.
            borders = ltsf_borders(cell.data, 1)
            horizon = int(cell.settings["horizon"])
            return _errors(lambda rows: _repeat_last(series.values, rows, horizon), borders, cell)
        borders = ltsf_borders(cell.data, int(cell.settings["input_size"]))
        frame = pd.DataFrame(series.values, pd.DatetimeIndex(series.times), list(series.columns))
        started = time.process_time()
        forecaster = SparseForecaster(
            sparsity=SPARSITIES[cell.method],
            validation_size=borders.validation[1] - borders.train[1],
            random_state=cell.seed,
            **cell.settings,
        ).fit(frame.iloc[: borders.validation[1]])
        seconds = time.process_time() - started
        return {
            **_errors(
                lambda rows: forecaster.evaluate(frame.iloc[slice(*rows.test)]), borders, cell
            ),
            "validation_loss": forecaster.best_validation_loss_,
            "sparsity": forecaster.sparsity_,
            "parameters": forecaster.n_parameters_,
            "dense_parameters": forecaster.n_dense_parameters_,
            "flops": forecaster.flops_,
            "dense_flops": forecaster.dense_flops_,
            "cpu_seconds": seconds,
            "epochs": forecaster.n_epochs_,
        }

    def headline(self, cell: Cell, result: Result) -> str:
        """Return what was forecast, the error and, of a network, sparsity and time."""
        settings = cell.settings
        text = f"horizon {settings['horizon']}, MSE {result['mse']:.4f}"
        if cell.method == "repeat-last":
            return text
        if cell.method == "pals":
            text = f"{settings['prune_factor']:g}/{settings['loss_freedom']:g}, {text}"
        sparsity, seconds = result["sparsity"], result["cpu_seconds"]
        return f"{settings['model']}, {text}, sparsity {sparsity:.3f}, {seconds:.0f} s"

    def table(self, outcomes: Outcomes) -> Table:
        """Return one row for each model, data set and horizon."""
        groups = [
            Group(
                model=place[0],
                data=place[1],
                horizon=place[2],
                look_back=self._window(place[0], place[1]),
                results={
                    method: finished(self._cells(place, method, outcomes), outcomes)
                    for method in self.methods
                },
                choice=self._choice(place, outcomes) if self.tune else None,
            )
            for place in self._places()
        ]
        return forecast_table(groups, self.methods, self.seeds, tuned=self.tune)


def _errors(
    evaluate: Callable[[LTSFBorders], ErrorSums], borders: LTSFBorders, cell: Cell
) -> Result:
    found = evaluate(borders)
    result: Result = {"mse": found.mse, "mae": found.mae}
    horizon = int(cell.settings["horizon"])
    if cell.method == "repeat-last":
        batch_size = 32
    elif cell.method == "dense" and cell.settings["model"] == "dlinear":
        batch_size = dlinear_batch_size(cell.data, horizon)
    else:
        return result
    n_test = borders.window_counts(horizon)[2]
    left_out = n_test - counted_windows(n_test, batch_size)
    first, stop = borders.test
    found = evaluate(replace(borders, test=(first, stop - left_out)))
    return {**result, "as_published": {"mse": found.mse, "mae": found.mae}}


def _repeat_last(values: Any, borders: LTSFBorders, horizon: int) -> ErrorSums:
    scaled, _ = standardise(values, borders.train[1])
    return repeat_last(scaled[slice(*borders.test)], borders.look_back, horizon)
