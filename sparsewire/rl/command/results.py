"""What does a set of runs show? The rows of its tables, and the page of a bench.

Texts and numbers for terminal and HTML come from the same rows, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sparsewire.core._validation import suggest
from sparsewire.core.errors import InvalidArgumentError
from sparsewire.reporting.page import Page
from sparsewire.rl.command import plots, sizes, statistics
from sparsewire.rl.command.benching import Outcome
from sparsewire.rl.command.curves import FINAL_EVALUATIONS, Table
from sparsewire.rl.command.focus import Record
from sparsewire.rl.command.runs import Run
from sparsewire.rl.sparsity_report import SparsityReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCORES = (
    "algorithm", "runs", "final return: mean", "IQM", "median", "mean over all evaluations",
    "LCA", "density",
)  # fmt: skip
COMPARISONS = ("environment", "algorithm", "probability of being better", "paired difference")


def score_rows(table: Table, env: str, *, confidence: float = 0.95) -> list[list[str]]:
    """Return the scores of all algorithms in one environment, with intervals.

    Parameters
    ----------
    table : dict
        Curves by environment and algorithm.
    env : str
        The environment.
    confidence : float, default=0.95
        Level of the intervals.

    Returns
    -------
    list of list of str
        One row per algorithm, with the columns `SCORES`.
    """
    rows = []
    for algo, curve in table[env].items():
        final = [
            statistics.aggregate([curve.final], kind, confidence=confidence)
            for kind in ("mean", "iqm", "median")
        ]
        means = curve.returns.mean(axis=1)
        area = statistics.learning_curve_area(curve.returns)
        rows.append(
            [
                algo,
                str(len(curve.runs)),
                *map(str, final),
                str(statistics.aggregate([means], "mean", confidence=confidence)),
                str(statistics.aggregate([area], "mean", confidence=confidence)),
                f"{100 * size_of_run(curve.runs[0]).density:.3g} %",
            ]
        )
    return rows


def comparison_rows(table: Table, *, confidence: float = 0.95) -> tuple[str, list[list[str]]]:
    """Compare every algorithm with the first one, in each environment and over all of them.

    Parameters
    ----------
    table : dict
        Curves by environment and algorithm.
    confidence : float, default=0.95
        Level of the intervals.

    Returns
    -------
    baseline : str
        Name of the first algorithm.
    rows : list of list of str
        Rows with the columns `COMPARISONS`. Differences pair the runs with equal seeds.
    """
    baseline = next(iter(next(iter(table.values()))))
    others = list(dict.fromkeys(a for curves in table.values() for a in curves if a != baseline))
    rows = []
    for algo in others:
        shared = [env for env, curves in table.items() if {algo, baseline} <= curves.keys()]
        rows += [[env, *_comparison(table, [env], algo, baseline, confidence)] for env in shared]
        if len(shared) > 1:
            cells = _comparison(table, shared, algo, baseline, confidence)
            rows.append(["all", *cells[:2], "-"])  # returns of two environments do not add up
    return baseline, rows


def _comparison(
    table: Table, envs: Sequence[str], algo: str, baseline: str, confidence: float
) -> list[str]:
    ours = [table[env][algo] for env in envs]
    theirs = [table[env][baseline] for env in envs]
    better = statistics.probability_of_improvement(
        [curve.final for curve in ours], [curve.final for curve in theirs], confidence=confidence
    )
    pairs = [sorted(set(a.seeds) & set(b.seeds)) for a, b in zip(ours, theirs, strict=True)]
    if not all(pairs):
        return [algo, str(better), "-"]
    difference = statistics.paired_difference(
        [c.final[[c.seeds.index(s) for s in p]] for c, p in zip(ours, pairs, strict=True)],
        [c.final[[c.seeds.index(s) for s in p]] for c, p in zip(theirs, pairs, strict=True)],
        confidence=confidence,
    )
    return [algo, str(better), str(difference)]


def aggregate_rows(table: Table, *, confidence: float = 0.95) -> list[list[str]]:
    """Return the interquartile mean of normalised scores over all environments.

    Parameters
    ----------
    table : dict
        Curves by environment and algorithm.
    confidence : float, default=0.95
        Level of the intervals.

    Returns
    -------
    list of list of str
        Algorithm and interval; only algorithms that ran in every environment.
    """
    scores: dict[str, list[Any]] = {}
    for curves in table.values():
        scaled = statistics.normalized([curve.final for curve in curves.values()])
        for algo, values in zip(curves, scaled, strict=True):
            scores.setdefault(algo, []).append(values)
    return [
        [algo, str(statistics.aggregate(values, "iqm", confidence=confidence))]
        for algo, values in scores.items()
        if len(values) == len(table)
    ]


def size_of_run(run: Run) -> SparsityReport:
    """Return the size of a complete run's agent."""
    return sizes.from_plain(run.result["size"])


def focus_rows(record: Record) -> list[list[str]]:
    """Return connections to a real and to a noise input, first and last, by network."""
    rows = []
    for network, pairs in record.networks.items():
        (real0, noise0), (real, noise) = pairs[0], pairs[-1]
        ratio = f"{real / noise:.2f}" if noise else "-"
        rows.append(
            [network, f"{real0:.1f}", f"{noise0:.1f}", f"{real:.1f}", f"{noise:.1f}", ratio]
        )
    return rows


FOCUS = ("network", "real, at first", "noise, at first", "real", "noise", "real / noise")


def records_of(table: Table) -> dict[str, dict[str, list[Record]]]:
    """Read the connections over time of all runs that have recorded them; dense ones have none."""
    found: dict[str, dict[str, list[Record]]] = {}
    for env, curves in table.items():
        for algo, curve in curves.items():
            records = [Record.read(r.focus_file) for r in curve.runs if r.focus_file.exists()]
            if any(record.is_sparse for record in records):
                found.setdefault(env, {})[algo] = records
    return found


def sizes_of(table: Table) -> dict[str, dict[str, SparsityReport]]:
    """Return the size of each algorithm's agents by environment."""
    return {
        env: {algo: size_of_run(curve.runs[0]) for algo, curve in curves.items()}
        for env, curves in table.items()
    }


METRICS = ("return", "lca", "focus", "size")


def figure_of(
    metric: str, table: Table, kind: statistics.Aggregate, *, confidence: float = 0.95
) -> Figure:
    """Draw one metric of a set of runs.

    Parameters
    ----------
    metric : {"return", "lca", "focus", "size"}
        What to draw.
    table : dict
        Curves by environment and algorithm.
    kind : {"iqm", "mean", "median"}
        How runs are aggregated.
    confidence : float, default=0.95
        Level of the intervals.

    Returns
    -------
    matplotlib.figure.Figure
        The figure.

    Raises
    ------
    InvalidArgumentError
        If there is no such metric, or no run has recorded it.
    """
    if metric == "return":
        return plots.learning_curves(table, kind, confidence=confidence)
    if metric == "lca":
        return plots.learning_areas(table, kind, confidence=confidence)
    if metric == "size":
        return plots.size_bars(sizes_of(table))
    if metric != "focus":
        raise InvalidArgumentError(
            f"unknown metric {metric!r}; available: {', '.join(METRICS)}.{suggest(metric, METRICS)}"
        )
    records = records_of(table)
    if not records:
        raise InvalidArgumentError(
            "no run of a sparse agent has noise features, so there is no focus to draw."
        )
    return plots.focus_curves(records)


def bench_page(
    table: Table, outcomes: Sequence[Outcome], *, command: str, confidence: float = 0.95
) -> Page:
    """Make the page of a bench.

    Parameters
    ----------
    table : dict
        Curves of the complete runs.
    outcomes : sequence of Outcome
        All jobs.
    command : str
        Command line of the bench.
    confidence : float, default=0.95
        Level of the intervals.

    Returns
    -------
    Page
        To be written.
    """
    page = Page("sparsewire rl bench")
    page.code(command)
    page.paragraph(
        f"Final return: mean of a run's last {FINAL_EVALUATIONS} evaluations, but at most a tenth "
        "of them, with a deterministic policy in an environment of its own. "
        f"Brackets: {100 * confidence:g} % percentile "
        "bootstrap intervals over runs; with fewer than about ten runs they are too narrow. LCA: "
        "sum of all evaluations × 1e-6."
    )
    for env in table:
        page.heading(env)
        page.table(SCORES, score_rows(table, env, confidence=confidence))
        page.figure(
            plots.learning_curves({env: table[env]}, confidence=confidence), f"curves in {env}"
        )
    _compare(page, table, confidence)
    _inside(page, table)
    _protocol(page, outcomes)
    return page


def _compare(page: Page, table: Table, confidence: float) -> None:
    baseline, rows = comparison_rows(table, confidence=confidence)
    if rows:
        page.heading(f"Against {baseline}")
        page.paragraph(
            "Probability that a run is better than one of the baseline, and the difference of "
            "final returns between runs with the same seed."
        )
        page.table(COMPARISONS, rows)
    if len(table) > 1:
        page.heading("Over all environments")
        page.paragraph(
            "Interquartile mean of final returns, scaled in each environment so that the worst run "
            "of this bench is 0 and the best is 1."
        )
        page.table(("algorithm", "IQM"), aggregate_rows(table, confidence=confidence))


def _inside(page: Page, table: Table) -> None:
    records = records_of(table)
    if records:
        page.heading("Focus: connections to real and to noise inputs")
        page.figure(plots.focus_curves(records), "connections over time")
    page.heading("Size against dense")
    page.figure(plots.size_bars(sizes_of(table)), "connections")
    page.paragraph(
        "Counts of what is needed, not times: masked storage computes with the zeros as well."
    )


def _protocol(page: Page, outcomes: Sequence[Outcome]) -> None:
    page.heading("Settings")
    shared = outcomes[0].settings.as_plain()
    for name in ("algo", "env", "seed", "params"):
        del shared[name]
    own = {f"params of {o.settings.algo}": o.settings.params for o in outcomes}
    page.table(("setting", "value"), _settings_rows(shared | own))
    page.heading("Runs")
    page.table(
        ("run", "environment", "seed", "steps / s", "state"),
        [_outcome_row(outcome) for outcome in outcomes],
    )
    commands = dict.fromkeys(o.run.command for o in outcomes if o.run is not None)
    page.heading("Command lines of the runs")
    page.code("\n".join(commands))


def _outcome_row(outcome: Outcome) -> list[str]:
    settings = outcome.settings
    if outcome.run is None:
        return [settings.algo, settings.env, str(settings.seed), "-", f"failed: {outcome.error}"]
    state = "was there" if outcome.reused else "trained"
    speed = str(outcome.run.result["steps_per_second"])
    return [outcome.run.name, settings.env, str(settings.seed), speed, state]


def _settings_rows(settings: Mapping[str, object]) -> list[list[str]]:
    return [[name, str(value)] for name, value in settings.items()]
