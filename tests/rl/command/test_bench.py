"""Benches: nothing is done twice, a failure stops nothing, any backend of joblib will do."""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

from sparsewire.core import InvalidArgumentError
from sparsewire.reporting.page import Page
from sparsewire.rl.command import run_bench
from sparsewire.rl.command.benching import Outcome
from sparsewire.rl.command.curves import collect
from sparsewire.rl.command.results import (
    aggregate_rows,
    bench_page,
    comparison_rows,
    figure_of,
    records_of,
    score_rows,
)
from sparsewire.rl.command.runs import find_runs
from tests.rl.command.helpers import PARAMS, assert_same_model

SHORT: dict[str, Any] = {"n_timesteps": 60, "eval_freq": 20, "eval_episodes": 1, "params": PARAMS}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    logs = tmp_path_factory.mktemp("logs")
    algos, envs = ["td3", "static-td3"], ["NoisyPendulum-v1", "Corridor-v0"]
    found = run_bench(algos, envs[:1], [0, 1], logs=logs, command="<b>bench</b>", **SHORT)
    return found + run_bench(algos, envs[1:], [0, 1], logs=logs, command="<b>bench</b>", **SHORT)


def test_all_combinations_are_trained(bench: list[Outcome]) -> None:
    found = [(o.settings.env[:5], o.settings.algo, o.settings.seed) for o in bench]
    assert found == [
        (env, algo, seed)
        for env in ("Noisy", "Corri") for algo in ("td3", "static-td3") for seed in (0, 1)
    ]  # fmt: skip
    assert all(o.run is not None and o.run.is_complete and not o.reused for o in bench)


def test_what_is_complete_is_not_repeated(bench: list[Outcome]) -> None:
    run = bench[0].run
    assert run is not None
    before = {path: path.stat().st_mtime_ns for path in run.path.parent.rglob("*")}
    again = run_bench(
        ["td3"], ["NoisyPendulum-v1"], [1, 0], logs=run.path.parents[1], num_threads=2, **SHORT
    )
    assert [outcome.reused for outcome in again] == [True, True]
    assert [outcome.run for outcome in again] == [bench[1].run, bench[0].run]
    assert {path: path.stat().st_mtime_ns for path in run.path.parent.rglob("*")} == before


def test_other_settings_and_incomplete_runs_are_trained(tmp_path: Path) -> None:
    arguments: Any = (["td3"], ["Corridor-v0"], [0])
    first = run_bench(*arguments, logs=tmp_path, **SHORT)[0].run
    longer = run_bench(*arguments, logs=tmp_path, **(SHORT | {"n_timesteps": 70}))[0]
    assert first is not None
    assert not longer.reused
    (first.path / "result.yml").unlink()
    assert not run_bench(*arguments, logs=tmp_path, **SHORT)[0].reused
    assert len(find_runs(tmp_path)) == 3


def test_a_failed_run_is_reported_and_the_others_go_on(tmp_path: Path) -> None:
    kwargs = SHORT | {"env_kwargs": {"fail": True}}
    outcomes = run_bench(["td3"], ["Corridor-v0"], [0, 1], logs=tmp_path, **kwargs)
    assert [outcome.run for outcome in outcomes] == [None, None]
    assert all("RuntimeError: the corridor has caved in" in o.error for o in outcomes)
    fine = run_bench(["td3"], ["Corridor-v0"], [0], logs=tmp_path, **SHORT)
    page = bench_page(collect([fine[0].run]), [*outcomes, *fine], command="")  # type: ignore[list-item]
    assert page.html().count("failed: RuntimeError: the corridor has caved in") == 2


@pytest.mark.parametrize("backend", ["threading", "multiprocessing"])
def test_another_backend_of_joblib_can_be_plugged_in(
    backend: str, tmp_path: Path, bench: list[Outcome]
) -> None:
    """As Ray's or Dask's would be; processes also give the same runs as one after the other."""
    with joblib.parallel_config(backend=backend):
        outcomes = run_bench(["td3"], ["NoisyPendulum-v1"], [0, 1], logs=tmp_path, jobs=2, **SHORT)
    runs = [outcome.run for outcome in outcomes]
    assert sorted(run.path.name[-2:] for run in runs if run) == ["_1", "_2"]
    if backend == "multiprocessing":
        for run, outcome in zip(runs, bench, strict=False):
            assert run is not None
            assert outcome.run is not None
            assert_same_model(run, outcome.run)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"algos": ["td3", "tdd3"]}, "unknown algorithm 'tdd3'"),
        ({"envs": ["Corridor-v0", "Corridoor-v0"]}, "Did you mean 'Corridor-v0'"),
        ({"seeds": []}, "at least one"),
        ({"jobs": 0}, "jobs must be"),
        ({"n_timesteps": 0}, "n_timesteps"),
    ],
)
def test_bad_input_is_refused_before_the_first_run(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    given = {"algos": ["td3"], "envs": ["Corridor-v0"], "seeds": [0], **SHORT, **changes}
    with pytest.raises(InvalidArgumentError, match=message):
        run_bench(logs=tmp_path / "logs", **given)
    assert not (tmp_path / "logs").exists()


def test_sparse_settings_go_where_they_mean_something(tmp_path: Path) -> None:
    """One command line serves the dense, the static and the dynamic arm of a comparison."""
    params = PARAMS | {"sparse_kwargs": {"update_interval": 10, "density": 0.5}}
    algos, envs = ["td3", "static-td3", "anf-td3"], ["Corridor-v0"]
    outcomes = run_bench(algos, envs, [0], logs=tmp_path, **(SHORT | {"params": params}))
    assert [outcome.settings.params.get("sparse_kwargs") for outcome in outcomes] == [
        None, {"density": 0.5}, {"update_interval": 10, "density": 0.5},
    ]  # fmt: skip
    assert [outcome.error for outcome in outcomes] == ["", "", ""]


def test_curves_hold_what_was_evaluated(bench: list[Outcome]) -> None:
    table = collect([outcome.run for outcome in bench if outcome.run])
    assert {env: list(curves) for env, curves in table.items()} == {
        "NoisyPendulum-v1": ["td3", "static-td3"], "Corridor-v0": ["td3", "static-td3"],
    }  # fmt: skip
    curve = table["NoisyPendulum-v1"]["td3"]
    assert (curve.seeds, curve.steps.tolist()) == ([0, 1], [0, 20, 40, 60])
    run = curve.runs[1]
    with np.load(run.evaluations_file) as content:
        assert (curve.returns[1] == content["results"][:, 0]).all()
    assert curve.final[1] == curve.returns[1, -1] == run.result["final_return"]


def test_runs_that_differ_in_a_hyperparameter_are_told_apart(tmp_path: Path) -> None:
    for rate in (0.001, 0.1):
        run_bench(
            ["td3"], ["Corridor-v0"], [0], logs=tmp_path,
            **(SHORT | {"params": PARAMS | {"learning_rate": rate}}),
        )  # fmt: skip
    table = collect(find_runs(tmp_path))
    expected = ["td3 (learning_rate=0.001)", "td3 (learning_rate=0.1)"]
    assert list(table["Corridor-v0"]) == expected


def test_scores_are_compared_with_the_first_algorithm(bench: list[Outcome]) -> None:
    table = collect([outcome.run for outcome in bench if outcome.run])
    for env in table:
        rows = score_rows(table, env)
        assert [row[:2] for row in rows] == [["td3", "2"], ["static-td3", "2"]]
        assert rows[0][-1] == "100 %"
        assert float(rows[1][-1].rstrip(" %")) < 100
    baseline, rows = comparison_rows(table)
    assert (baseline, [row[0] for row in rows]) == ("td3", [*table, "all"])
    assert [row[0] for row in aggregate_rows(table)] == ["td3", "static-td3"]


def test_records_of_the_focus_are_of_sparse_agents_only(bench: list[Outcome]) -> None:
    table = collect([outcome.run for outcome in bench if outcome.run])
    assert {env: list(found) for env, found in records_of(table).items()} == {
        "NoisyPendulum-v1": ["static-td3"]
    }
    record = records_of(table)["NoisyPendulum-v1"]["static-td3"][0]
    assert record.steps == [0, 20, 40, 60]
    (real, noise), n_real, n_noise = record.networks["actor"][0], 3, 27
    assert n_real * real + n_noise * noise == int(0.2 * 30 * 8)


@pytest.mark.parametrize("metric", ["return", "lca", "focus", "size"])
def test_every_metric_has_a_figure_with_its_axes_named(metric: str, bench: list[Outcome]) -> None:
    table = collect([outcome.run for outcome in bench if outcome.run])
    figure = figure_of(metric, table, "iqm")
    assert len(figure.axes) == (1 if metric == "focus" else 2)
    for axes in figure.axes:
        assert axes.get_title()
        assert axes.get_xlabel()
    with pytest.raises(InvalidArgumentError, match="Did you mean 'return'"):
        figure_of("retrun", table, "mean")


def test_a_curve_is_drawn_through_the_means_of_its_runs(bench: list[Outcome]) -> None:
    table = collect([outcome.run for outcome in bench if outcome.run])
    line = figure_of("return", table, "mean").axes[0].lines[0]
    curve = table["NoisyPendulum-v1"]["td3"]
    np.testing.assert_array_equal(line.get_xdata(), curve.steps)
    assert line.get_ydata() == pytest.approx(curve.returns.mean(axis=0))
    assert line.get_label() == "td3, 2 runs"


class Checker(HTMLParser):
    """Collects tags and checks that they are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_one_file_with_everything_escaped(bench: list[Outcome], tmp_path: Path) -> None:
    table = collect([outcome.run for outcome in bench if outcome.run])
    page = bench_page(table, bench, command="sparsewire '<script>alert(1)</script>'")
    page.write(tmp_path / "bench.html")
    text = (tmp_path / "bench.html").read_text(encoding="utf-8")
    checker = Checker()
    checker.feed(text)
    assert not checker.open
    tags = [tag for tag, _ in checker.seen]
    assert not {"script", "link", "b", "iframe"} & set(tags)
    pictures = [attrs["src"] or "" for tag, attrs in checker.seen if tag == "img"]
    assert len(pictures) == 4
    assert all(source.startswith("data:image/png;base64,iVBOR") for source in pictures)
    assert "&lt;script&gt;" in text
    assert "&lt;b&gt;bench&lt;/b&gt;" in text
    for outcome in bench:
        assert outcome.run is not None
        assert outcome.run.name in text


def test_every_text_of_a_page_is_escaped() -> None:
    page = Page("<&\"'>")
    page.heading("<&\"'>")
    page.paragraph("<&\"'>")
    page.code("<&\"'>")
    page.table(["<&\"'>"], [["<&\"'>"]])
    assert page.html().count("&lt;&amp;&quot;&#x27;&gt;") == 7
