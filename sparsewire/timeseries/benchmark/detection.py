"""How well, and how fast, does ALACPD find the change points that people marked?

Series of the Turing Change Point Dataset, default parameters for everyone: no detector sees the
annotations. F1 with a margin of 5 samples, and covering. ``none`` reports no change at all, which
is hard to beat where people saw few changes. PELT and binary segmentation of the package ruptures
see the whole series at once and choose the number of changes by a penalty, here the usual one,
``2 m log(T)`` on standardised channels with a Gaussian cost ("l2").
"""

from __future__ import annotations

import importlib
import importlib.util
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from sparsewire import datasets
from sparsewire.timeseries.benchmark.cells import Cell, Result
from sparsewire.timeseries.benchmark.choosing import (
    check_parameters,
    check_seeds,
    find_data,
    find_methods,
)
from sparsewire.timeseries.benchmark.running import BaseBench, Outcomes, finished
from sparsewire.timeseries.benchmark.table import NOTHING, Table, mean
from sparsewire.timeseries.change_points import ALACPD
from sparsewire.timeseries.metrics import covering, f1_score_with_margin, from_ruptures

SEARCHES = {"pelt": "Pelt", "binseg": "Binseg"}
METHODS = ("alacpd", "alacpd-reference", "none", *SEARCHES)
REFERENCE_MODE: dict[str, Any] = {
    "location": "reference",
    "afresh": False,
    "causal": False,
    "prequential": False,
    "aligned_ar": False,
    "threshold_low": 1.4,
}
"""Parameters of `ALACPD` that follow the published code."""

_FIXED = {"random_state": "use --seeds", "verbose": "finished runs are shown"}
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class DetectBench(BaseBench):
    """Detectors on annotated series.

    Parameters
    ----------
    data : sequence of str, default ("all",)
        Names of annotated series.
    methods : sequence of str or None, default None
        Of `METHODS`; None means all that can be run here, which for those of ruptures depends on
        whether it is installed.
    seeds : sequence of int, default (0,)
        Seeds; only ALACPD has some.
    parameters : mapping, default {}
        Of `ALACPD`, for the method ``alacpd``.

    Raises
    ------
    InvalidArgumentError
        If a name is unknown, a value out of range, or data are not on this machine.
    ImportError
        If a method of ruptures is named and ruptures is not installed.

    Examples
    --------
    >>> DetectBench(methods=["pelts"])
    Traceback (most recent call last):
        ...
    sparsewire.core.errors.InvalidArgumentError: unknown method 'pelts'. Did you mean 'pelt'? ...
    """

    data: Sequence[str] = ("all",)
    methods: Sequence[str] | None = None
    seeds: Sequence[int] = (0,)
    parameters: Mapping[str, Any] = field(default_factory=dict)

    task: ClassVar[str] = "detect"

    def __post_init__(self) -> None:
        if self.methods is not None:
            chosen = find_methods(self.methods, METHODS)
            missing = [name for name in chosen if name in SEARCHES and not has_ruptures()]
            if missing:
                raise ImportError(f"{', '.join(missing)} needs ruptures: pip install ruptures")
            object.__setattr__(self, "methods", chosen)
        check_parameters(ALACPD(), self.parameters, _FIXED)
        object.__setattr__(self, "seeds", check_seeds(self.seeds))
        everything = datasets.names("change_points")
        object.__setattr__(self, "data", find_data(self.data, "change_points", everything))

    @property
    def chosen(self) -> list[str]:
        """The methods that are run."""
        if self.methods is not None:
            return list(self.methods)
        return [name for name in METHODS if name not in SEARCHES or has_ruptures()]

    def plan(self, outcomes: Outcomes) -> list[Cell]:
        """Return all cells by data set and method."""
        return [
            cell
            for data in self.data
            for method in self.chosen
            for cell in self._cells(data, method)
        ]

    def _cells(self, data: str, method: str) -> list[Cell]:
        if not method.startswith("alacpd"):
            return [Cell(task=self.task, data=data, method=method)]
        settings = self.parameters if method == "alacpd" else REFERENCE_MODE
        return [
            Cell(task=self.task, data=data, method=method, seed=seed, settings=settings)
            for seed in self.seeds
        ]

    def measure(self, cell: Cell) -> Result:
        """Detect twice, because the first time compiles, and time the second one.

        Parameters
        ----------
        cell : Cell
            What to run.

        Returns
        -------
        dict
            ``change_points``, ``f1``, ``covering``, and ``samples_per_second`` of CPU time.
        """
        series = datasets.load_change_points(cell.data)
        _detect(cell, series.values)
        started = time.process_time()
        found = _detect(cell, series.values)
        seconds = time.process_time() - started
        return {
            "change_points": found,
            "f1": f1_score_with_margin(series.annotations, found),
            "covering": covering(series.annotations, found, len(series.values)),
            "samples_per_second": len(series.values) / max(seconds, 1e-9),
        }

    def headline(self, cell: Cell, result: Result) -> str:
        """Return both scores and the number of change points."""
        return _scores([result])

    def table(self, outcomes: Outcomes) -> Table:
        """Return one row for each series, and the mean over series."""
        found = {
            (data, method): finished(self._cells(data, method), outcomes)
            for data in self.data
            for method in self.chosen
        }
        rows = [
            [data, *(_scores(found[data, method]) for method in self.chosen)] for data in self.data
        ]
        rows.append([f"mean of {len(self.data)}", *(self._mean(m, found) for m in self.chosen)])
        return Table("Change points", ["series", *self.chosen], rows, self._notes(found))

    def _mean(self, method: str, found: Mapping[tuple[str, str], list[Result]]) -> str:
        """Average over series; a method that lacks one of them has no mean."""
        of_series = [found[data, method] for data in self.data]
        if not all(of_series):
            return NOTHING
        f1, cover = (
            mean([mean([result[name] for result in results]) for results in of_series])
            for name in ("f1", "covering")
        )
        return f"{f1:.3f} / {cover:.3f}"

    def _notes(self, found: Mapping[tuple[str, str], list[Result]]) -> list[str]:
        spread = f"; mean over {len(self.seeds)} seeds" if len(self.seeds) > 1 else ""
        notes = [f"F1 (margin 5) / covering (number of change points){spread}."]
        for method in self.chosen:
            rates = [r["samples_per_second"] for d in self.data for r in found[d, method]]
            if method.startswith("alacpd") and rates:
                notes.append(
                    f"{method}: {statistics.median(rates):,.0f} samples per second of CPU time, "
                    "median over series and seeds."
                )
        if self.methods is None and not has_ruptures():
            left_out = ", ".join(SEARCHES)
            notes.append(f"Left out, because ruptures is not installed: {left_out}.")
        return notes


def has_ruptures() -> bool:
    """Tell whether the package ruptures can be imported."""
    try:
        return importlib.util.find_spec("ruptures") is not None
    except ValueError:  # what is in sys.modules in its place says that it is not there
        return False


def _scores(results: list[Result]) -> str:
    if not results:
        return NOTHING
    f1, cover = (mean([result[name] for result in results]) for name in ("f1", "covering"))
    count = mean([len(result["change_points"]) for result in results])
    return f"{f1:.3f} / {cover:.3f} ({count:.0f})"


def _detect(cell: Cell, X: Floats) -> list[int]:
    if cell.method == "none":
        return []
    if cell.method in SEARCHES:
        return _search(SEARCHES[cell.method], X)
    return _detector(cell.settings, cell.seed).predict(X)


def _detector(settings: Mapping[str, Any], seed: int) -> ALACPD:
    return ALACPD(**{"missing": "hold", **settings}, random_state=seed)


def _search(name: str, X: Floats) -> list[int]:
    ruptures = importlib.import_module("ruptures")
    X = (X - X.mean(axis=0)) / np.maximum(X.std(axis=0), 1e-12)
    penalty = 2 * X.shape[1] * np.log(len(X))
    algorithm = getattr(ruptures, name)(model="l2", min_size=2, jump=1)
    return from_ruptures(int(k) for k in algorithm.fit(X).predict(pen=penalty))


def draw(bench: DetectBench, folder: Path) -> list[Path]:
    """Draw each series with what ALACPD finds with the first seed, and what people marked.

    Parameters
    ----------
    bench : DetectBench
        Which series, parameters and seed.
    folder : pathlib.Path
        Where to write ``<series>.png``; made if needed.

    Returns
    -------
    list of pathlib.Path
        The files.
    """
    from sparsewire.reporting.figures import save
    from sparsewire.timeseries.change_points.plots import change_points_figure

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in bench.data:
        series = datasets.load_change_points(name)
        detector = _detector(bench.parameters, bench.seeds[0])
        found = detector.detect(series.values)
        figure = change_points_figure(
            series.values,
            found,
            threshold=detector.threshold_low_,
            annotations=series.annotations,
            columns=series.columns,
        )
        written.append(folder / f"{name}.png")
        save(figure, written[-1])
    return written
