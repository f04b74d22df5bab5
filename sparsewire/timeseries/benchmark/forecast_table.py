"""How is the forecasting benchmark shown? Errors of all methods side by side, and what is saved."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sparsewire.timeseries.benchmark.cells import Result
from sparsewire.timeseries.benchmark.references import (
    DLINEAR_ERRORS,
    DLINEAR_LOOK_BACK,
    LTSF_SOURCE,
    REPEAT_LAST_ERRORS,
)
from sparsewire.timeseries.benchmark.table import NOTHING, Table, mean, mean_text, number_text
from sparsewire.timeseries.benchmark.tuning import SPARSE_ENOUGH, Choice

Published = Mapping[str, Mapping[int, tuple[float, float]]]


@dataclass(frozen=True, kw_only=True)
class Group:
    """All runs of one model on one data set and horizon.

    Attributes
    ----------
    model, data : str
        Names.
    look_back, horizon : int
        Known and forecast steps.
    results : mapping of str to list of dict
        Of each method, one for each seed.
    choice : Choice or None
        The pair that was chosen for PALS.
    """

    model: str
    data: str
    look_back: int
    horizon: int
    results: Mapping[str, list[Result]]
    choice: Choice | None = None

    def mean(self, method: str, name: str) -> float:
        """Return a mean over seeds, NaN if there is none."""
        return mean([result[name] for result in self.results.get(method, [])])

    def ratio(self, method: str) -> float:
        """Return the MSE of a method, divided by that of the dense network; NaN if unknown."""
        return self.mean(method, "mse") / self.mean("dense", "mse")

    def published(self, method: str) -> tuple[float, float] | None:
        """Return published MSE and MAE of dense DLinear or of repeating the last value, if any."""
        if method == "repeat-last":
            return REPEAT_LAST_ERRORS.get(self.data, {}).get(self.horizon)
        if (self.model, self.look_back) != ("dlinear", DLINEAR_LOOK_BACK[self.data]):
            return None
        return DLINEAR_ERRORS[self.data].get(self.horizon)

    def as_published(self, method: str) -> tuple[float, float] | None:
        """Return MSE and MAE over the windows that the published ones are over, if any are."""
        results = self.results.get(method)
        if not results or self.published(method) is None:
            return None
        squared, absolute = (
            mean([result["as_published"][name] for result in results]) for name in ("mse", "mae")
        )
        return squared, absolute


def forecast_table(
    groups: Sequence[Group], methods: Sequence[str], seeds: Sequence[int], *, tuned: bool
) -> Table:
    """Lay out the runs.

    Parameters
    ----------
    groups : sequence of Group
        One for each row.
    methods : sequence of str
        One column of errors for each.
    seeds : sequence of int
        Which there should be.
    tuned : bool
        Whether PALS' factors were chosen for each row.

    Returns
    -------
    Table
        With means over rows as notes.

    Examples
    --------
    >>> errors = {"mse": 0.4, "mae": 0.5}
    >>> runs = {"dense": [{**errors, "as_published": errors, "cpu_seconds": 7.0}]}
    >>> one = Group(model="dlinear", data="etth1", look_back=336, horizon=96, results=runs)
    >>> forecast_table([one], ["dense"], [0], tuned=False).rows[0][4:]
    ['0.375 / 0.399', '0.400 / 0.500', '0.4000 / 0.5000', '7.0']
    """
    sparse = [name for name in methods if name not in ("dense", "repeat-last")]
    shown = sparse[:1]  # the others have its density
    trained = [name for name in methods if name != "repeat-last"]
    compared = sparse if "dense" in methods else []
    header = [
        *("model", "data", "look-back", "horizon", "published DLinear"),
        *(["dense, as published"] if "dense" in methods else []),
        *methods,
        *(f"{name} : dense" for name in compared),
        *(f"{what} of {name}" for name in shown for what in ("sparsity", "parameters", "FLOPs")),
        *(["factors (sparse runs)"] if tuned else []),
        *([f"CPU s, {' / '.join(trained)}"] if trained else []),
    ]
    rows = [
        [
            *(group.model, group.data, str(group.look_back), str(group.horizon)),
            _pair(group.published("dense")),
            *([_pair(group.as_published("dense"))] if "dense" in methods else []),
            *(_errors(group.results.get(name, [])) for name in methods),
            *(number_text(group.ratio(name), 3) for name in compared),
            *(text for name in shown for text in _savings(group, name)),
            *([group.choice.text if group.choice else NOTHING] if tuned else []),
            *([_seconds(group, trained)] if trained else []),
        ]
        for group in groups
    ]
    notes = [
        *(_mean_ratio(groups, name) for name in compared),
        *(_beside_published(groups, "dense", "dense DLinear") if "dense" in methods else []),
        *(_repeated(groups) if "repeat-last" in methods else []),
        *_explanations(seeds, tuned=tuned),
    ]
    return Table("Long-term forecasting", header, rows, notes)


def _pair(errors: tuple[float, float] | None) -> str:
    return NOTHING if errors is None else f"{errors[0]:.3f} / {errors[1]:.3f}"


def _errors(results: list[Result]) -> str:
    if not results:
        return NOTHING
    absolute = mean([result["mae"] for result in results])
    return f"{mean_text([result['mse'] for result in results], 4)} / {absolute:.4f}"


def _savings(group: Group, method: str) -> list[str]:
    texts = [number_text(group.mean(method, "sparsity"), 3)]
    for name in ("parameters", "flops"):
        kept, all_ = group.mean(method, name), group.mean(method, f"dense_{name}")
        texts.append(NOTHING if math.isnan(kept) else f"{kept:,.0f} of {all_:,.0f}")
    return texts


def _seconds(group: Group, trained: Sequence[str]) -> str:
    seconds = [group.mean(name, "cpu_seconds") for name in trained]
    return " / ".join(number_text(value, 1 if value < 10 else 0) for value in seconds)


def _mean_ratio(groups: Sequence[Group], method: str) -> str:
    known = [group for group in groups if not math.isnan(group.ratio(method))]
    sparse = [group for group in known if group.mean(method, "sparsity") >= SPARSE_ENOUGH]
    everywhere, there = (
        number_text(mean([group.ratio(method) for group in some]), 3) for some in (known, sparse)
    )
    return (
        f"{method} : dense, the ratio of MSE: mean over {len(known)} rows {everywhere}; over the "
        f"{len(sparse)} with a sparsity of at least {SPARSE_ENOUGH} {there}."
    )


def _beside_published(groups: Sequence[Group], method: str, name: str) -> list[str]:
    ratios = [
        ours[0] / theirs[0]
        for group in groups
        if (ours := group.as_published(method)) and (theirs := group.published(method))
    ]
    if not ratios:
        return []
    return [
        f"{name} as published : published, the ratio of MSE: mean over {len(ratios)} rows "
        f"{mean(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}."
    ]


def _repeated(groups: Sequence[Group]) -> list[str]:
    unique = {(group.data, group.horizon): group for group in groups}.values()
    texts = [
        f"{group.data} {group.horizon} {_pair(theirs)} (here {_pair(ours)})"
        for group in unique
        if (theirs := group.published("repeat-last"))
        and (ours := group.as_published("repeat-last"))
    ]
    return [f"Published for repeating the last value: {'; '.join(texts)}."] if texts else []


def _explanations(seeds: Sequence[int], *, tuned: bool) -> list[str]:
    spread = f", mean ± deviation of MSE over {len(seeds)} seeds" if len(seeds) > 1 else ""
    notes = [
        f"MSE / MAE of all test windows on the scale of the training block{spread}. Published: "
        f"{LTSF_SOURCE}, whose code leaves the last, incomplete batch of test windows out, as do "
        "the numbers here that are compared with it. Masks save no time."
    ]
    if tuned:
        notes.append(
            "The factors of PALS, prune_factor and loss_freedom, are the pair of nine with the "
            f"lowest validation loss with seed {seeds[0]}, among the runs with a sparsity of at "
            f"least {SPARSE_ENOUGH} if there are such (their number in brackets; 0: all competed). "
            "The CPU time is that of one run with that pair."
        )
    return notes
