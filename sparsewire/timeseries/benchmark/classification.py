"""Is a dynamic sparse network as accurate as a residual network, at a quarter of its cost?

Default splits of the UCR and UEA sets, against the published accuracy of ResNet. The network of
`DSNClassifier` is run as the paper has it, with taps that stay (``dsn-static``) and with all taps
(``dsn-dense``); ``1nn`` is the nearest neighbour by Euclidean distance, which everything should
beat. A run has a number of epochs, or of steps if there are many series.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from sklearn.neighbors import KNeighborsClassifier

from sparsewire import datasets
from sparsewire.core._validation import check_integer
from sparsewire.timeseries.benchmark.cells import Cell, Result
from sparsewire.timeseries.benchmark.choosing import (
    check_parameters,
    check_seeds,
    find_data,
    find_methods,
)
from sparsewire.timeseries.benchmark.references import (
    RESNET_ACCURACY,
    RESNET_SOURCE,
    resnet_macs,
)
from sparsewire.timeseries.benchmark.running import BaseBench, Outcomes, finished
from sparsewire.timeseries.benchmark.table import NOTHING, Table, mean, mean_text, number_text
from sparsewire.timeseries.classification.training import default_batch_size, steps_per_epoch
from sparsewire.timeseries.dsn import DSNClassifier
from sparsewire.timeseries.panel import to_panel

TOPOLOGIES: dict[str, Literal["dynamic", "static", "dense"]] = {
    "dsn": "dynamic",
    "dsn-static": "static",
    "dsn-dense": "dense",
}
METHODS = (*TOPOLOGIES, "1nn")
PARAMETERS = {"n_filters": 32, "n_epochs": 200, "learning_rate": 3e-4, "density": 0.2}
"""Of `DSNClassifier`, unless others are given: narrower than the paper's, a fifth of its epochs."""

_FIXED = {
    "topology": "choose --methods dsn, dsn-static or dsn-dense",
    "random_state": "use --seeds",
    "checkpoint": "a stopped run is repeated",
    "verbose": "finished runs are shown",
}


@dataclass(frozen=True, kw_only=True)
class ClassifyBench(BaseBench):
    """Classifiers on labelled series.

    Parameters
    ----------
    data : sequence of str, default ("gunpoint", "italypowerdemand", "basicmotions")
        Names of panels; ``"all"`` means every one with a row in the archives' tables.
    methods : sequence of str, default ("dsn", "1nn")
        Of `METHODS`.
    seeds : sequence of int, default (0,)
        Seeds; ``1nn`` has none.
    steps : int, default 10000
        Steps of a run at most, about; fewer epochs are made of many series.
    parameters : mapping, default {}
        Of `DSNClassifier`, in place of `PARAMETERS`; ``n_epochs`` is the largest number.

    Raises
    ------
    InvalidArgumentError
        If a name is unknown, a value out of range, or data are not on this machine.

    Examples
    --------
    >>> bench = ClassifyBench(data=[], methods=["dsn"])
    Traceback (most recent call last):
        ...
    sparsewire.core.errors.InvalidArgumentError: name at least one data set, or all: ...
    """

    data: Sequence[str] = ("gunpoint", "italypowerdemand", "basicmotions")
    methods: Sequence[str] = ("dsn", "1nn")
    seeds: Sequence[int] = (0,)
    steps: int = 10_000
    parameters: Mapping[str, Any] = field(default_factory=dict)

    task: ClassVar[str] = "classify"

    def __post_init__(self) -> None:
        check_integer("steps", self.steps, minimum=1)
        check_parameters(DSNClassifier(), self._parameters, _FIXED)
        object.__setattr__(self, "methods", find_methods(self.methods, METHODS))
        object.__setattr__(self, "seeds", check_seeds(self.seeds))
        object.__setattr__(self, "data", find_data(self.data, "panel", list(RESNET_ACCURACY)))

    @property
    def _parameters(self) -> dict[str, Any]:
        return {**PARAMETERS, **self.parameters}

    def plan(self, outcomes: Outcomes) -> list[Cell]:
        """Return all cells, those of the first seed before those of the next one."""
        return [
            cell
            for place in range(len(self.seeds))
            for data in self.data
            for method in self.methods
            for cell in self._cells(data, method)[place : place + 1]
        ]

    def _cells(self, data: str, method: str) -> list[Cell]:
        if method not in TOPOLOGIES:
            return [Cell(task=self.task, data=data, method=method)]
        settings = {**self._parameters, "n_epochs": self._n_epochs(data)}
        if method == "dsn-dense":
            del settings["density"]
        return [
            Cell(task=self.task, data=data, method=method, seed=seed, settings=settings)
            for seed in self.seeds
        ]

    def _n_epochs(self, data: str) -> int:
        n_series = datasets.info(data, kind="panel").n_train or 1
        size = self._parameters.get("batch_size", "auto")
        size = default_batch_size(n_series) if size == "auto" else size
        most = math.ceil(self.steps / steps_per_epoch(n_series, size))
        return int(min(self._parameters["n_epochs"], most))

    def measure(self, cell: Cell) -> Result:
        """Train on the training cases and count the test cases that are classified rightly.

        Parameters
        ----------
        cell : Cell
            What to run.

        Returns
        -------
        dict
            ``accuracy`` as a fraction and ``cpu_seconds`` of the fit, for ``1nn`` of everything; of
            a network also ``epochs``, ``macs_per_step`` and ``training_loss``.
        """
        panel = datasets.load_panel(cell.data)
        if cell.method == "1nn":
            return _nearest_neighbour(panel)
        clf = DSNClassifier(
            topology=TOPOLOGIES[cell.method], random_state=cell.seed, **cell.settings
        )
        started = time.process_time()
        with warnings.catch_warnings():
            # Said once per data set and seed, that kernels end where the series do.
            warnings.filterwarnings("ignore", "kernel_size", UserWarning)
            clf.fit(panel.X_train, panel.y_train)
        seconds = time.process_time() - started
        return {
            "accuracy": float(clf.score(panel.X_test, panel.y_test)),
            "cpu_seconds": seconds,
            "epochs": clf.n_epochs_,
            "macs_per_step": clf.flops_.macs_per_step,
            "training_loss": min(clf.history_["loss"]),
        }

    def headline(self, cell: Cell, result: Result) -> str:
        """Return accuracy and time."""
        return f"{100 * result['accuracy']:.1f} %, {result['cpu_seconds']:.0f} s"

    def table(self, outcomes: Outcomes) -> Table:
        """Return one row for each data set, and the mean over those with a published accuracy."""
        networks = [name for name in self.methods if name in TOPOLOGIES]
        found = {
            (data, method): finished(self._cells(data, method), outcomes)
            for data in self.data
            for method in self.methods
        }
        costs = [
            *(f"MACs of {name} / ResNet" for name in networks),
            *(["epochs"] if networks else []),
            *(f"CPU s of {name}" for name in self.methods),
        ]
        header = ["data set", *(f"{name}, %" for name in self.methods), "ResNet, %", *costs]
        rows = [self._row(data, networks, found) for data in self.data]
        judged = [data for data in self.data if RESNET_ACCURACY[data] is not None]
        if judged:
            rows.append(self._mean_row(judged, networks, found))
        notes = [
            f"Accuracy on the test cases of the default split{self._spread()}. ResNet: published, "
            f"{RESNET_SOURCE}. Multiply-accumulates are per time step, of active taps only; masks "
            "save no time.",
        ]
        return Table("Classification", header, rows, notes)

    def _spread(self) -> str:
        several = f", mean ± deviation over {len(self.seeds)} seeds"
        return several if len(self.seeds) > 1 else ""

    def _row(
        self, data: str, networks: list[str], found: Mapping[tuple[str, str], list[Result]]
    ) -> list[str]:
        published = RESNET_ACCURACY[data]
        epochs = [_mean_of(found[data, name], "epochs") for name in networks][:1]
        return [
            data,
            *(mean_text(_all(found[data, m], "accuracy"), 1, scale=100) for m in self.methods),
            NOTHING if published is None else f"{100 * published:.1f}",
            *(number_text(_share(data, found[data, name]), 3) for name in networks),
            *(number_text(value, 0) for value in epochs),
            *(number_text(_mean_of(found[data, m], "cpu_seconds"), 0) for m in self.methods),
        ]

    def _mean_row(
        self,
        judged: list[str],
        networks: list[str],
        found: Mapping[tuple[str, str], list[Result]],
    ) -> list[str]:
        """Average over data sets; a method that lacks one of them has no mean."""

        def over_sets(values: list[float], digits: int) -> str:
            return number_text(sum(values) / len(values), digits)

        published = [100 * (RESNET_ACCURACY[data] or 0.0) for data in judged]
        accuracies = {
            m: [100 * _mean_of(found[data, m], "accuracy") for data in judged] for m in self.methods
        }
        shares = {m: [_share(data, found[data, m]) for data in judged] for m in networks}
        seconds = {
            m: [_mean_of(found[data, m], "cpu_seconds") for data in judged] for m in self.methods
        }
        return [
            f"mean of {len(judged)} with a published accuracy",
            *(over_sets(values, 2) for values in accuracies.values()),
            over_sets(published, 2),
            *(over_sets(values, 3) for values in shares.values()),
            *([NOTHING] if networks else []),
            *(over_sets(values, 0) for values in seconds.values()),
        ]


def _all(results: list[Result], name: str) -> list[float]:
    return [result[name] for result in results]


def _mean_of(results: list[Result], name: str) -> float:
    return mean(_all(results, name))


def _share(data: str, results: list[Result]) -> float:
    n_channels = datasets.info(data, kind="panel").n_channels
    return _mean_of(results, "macs_per_step") / resnet_macs(n_channels)


def _nearest_neighbour(panel: datasets.PanelDataset) -> Result:
    started = time.process_time()
    length = int(to_panel(panel.X_train).lengths.max())
    judge = KNeighborsClassifier(n_neighbors=1)
    judge.fit(resample(panel.X_train, length), panel.y_train)
    accuracy = float(judge.score(resample(panel.X_test, length), panel.y_test))
    return {"accuracy": accuracy, "cpu_seconds": time.process_time() - started}


def resample(X: Any, length: int) -> npt.NDArray[np.float64]:
    """Bring series to one length by linear interpolation, and put their channels side by side.

    Parameters
    ----------
    X : array-like
        Series as `sparsewire.timeseries.panel.to_panel` takes them; gaps are interpolated too.
    length : int
        Time steps of the result.

    Returns
    -------
    ndarray of shape (n_series, n_channels * length)
        Series that have this length already and no gaps are unchanged.

    Examples
    --------
    >>> resample([np.array([0.0, 2.0]), np.array([1.0, np.nan, 3.0])], 3)
    array([[0., 1., 2.],
           [1., 2., 3.]])
    """
    panel = to_panel(X)
    rows = np.zeros((len(panel), panel.n_channels, length))
    for series, end, row in zip(panel.values, panel.lengths, rows, strict=True):
        wanted = np.linspace(0, end - 1, length)
        for channel, out in zip(series[:, :end], row, strict=True):
            known = np.flatnonzero(~np.isnan(channel))
            if len(known):
                out[:] = np.interp(wanted, known, channel[known])
    return rows.reshape(len(panel), -1)
