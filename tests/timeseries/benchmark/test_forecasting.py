"""Forecasters: which runs a table needs, what each of them is, and what is computed of them."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sparsewire import datasets
from sparsewire.timeseries.benchmark.cells import Cell, Result
from sparsewire.timeseries.benchmark.forecasting import ForecastBench
from sparsewire.timeseries.benchmark.references import REPEAT_LAST_ERRORS
from sparsewire.timeseries.benchmark.tuning import GRID
from sparsewire.timeseries.forecasting import SparseForecaster
from sparsewire.timeseries.protocols import ltsf_borders

SHORT = {"max_epochs": 1}


def bench(**changes: Any) -> ForecastBench:
    return ForecastBench(**{"data": ["illness"], **changes})


def outcome(cell: Cell, mse: float = 0.4, **changes: float) -> Result:
    sparse = 0.0 if cell.method == "dense" else 0.8
    errors = {"mse": mse, "mae": 0.5}
    return {
        **errors,
        "as_published": errors,
        "validation_loss": 0.3,
        "sparsity": sparse,
        "parameters": 1000 * (1 - sparse),
        "dense_parameters": 1000,
        "flops": 9000 * (1 - sparse),
        "dense_flops": 9000,
        "cpu_seconds": 12.0,
        "epochs": 9,
        **changes,
    }


def finish(one: ForecastBench) -> dict[str, Result | None]:
    """Give every cell a result, stage by stage."""
    outcomes: dict[str, Result | None] = {}
    while new := [cell for cell in one.plan(outcomes) if cell.key not in outcomes]:
        outcomes |= {cell.key: outcome(cell) for cell in new}
    return outcomes


# Repeating the last value


@pytest.mark.parametrize("data", list(REPEAT_LAST_ERRORS))
def test_repeating_the_last_value_gives_the_published_errors(data: str, data_dir: Path) -> None:
    one = bench(data=[data], methods=["repeat-last"], n_horizons=4)
    for cell in one.plan({}):
        counted = one.measure(cell)["as_published"]
        published = REPEAT_LAST_ERRORS[data][cell.settings["horizon"]]
        assert (counted["mse"], counted["mae"]) == pytest.approx(published, abs=5.1e-4)


# Runs


@pytest.mark.parametrize("method", ["dense", "pals"])
def test_a_result_is_that_of_the_estimator(method: str, data_dir: Path) -> None:
    one = bench(methods=[method], seeds=[4], parameters=SHORT)
    (cell,) = one.plan({})
    result = one.measure(cell)
    series, borders = datasets.load_series("illness"), ltsf_borders("illness", 104)
    frame = pd.DataFrame(series.values, pd.DatetimeIndex(series.times), list(series.columns))
    forecaster = SparseForecaster(
        "dlinear",
        input_size=104,
        horizon=24,
        sparsity="pals" if method == "pals" else None,
        learning_rate=1e-2,
        max_epochs=1,
        validation_size=borders.validation[1] - borders.train[1],
        random_state=4,
    ).fit(frame[: borders.validation[1]])
    first, stop = borders.test
    errors = forecaster.evaluate(frame[first:stop])
    assert (result["mse"], result["mae"]) == (errors.mse, errors.mae)
    assert result["validation_loss"] == forecaster.best_validation_loss_
    assert (result["sparsity"], result["flops"]) == (forecaster.sparsity_, forecaster.flops_)
    if method == "dense":  # 170 test windows, of which five full batches of 32 are published
        counted = forecaster.evaluate(frame[first : stop - 10])
        assert result["as_published"] == {"mse": counted.mse, "mae": counted.mae}
    else:
        assert "as_published" not in result


def test_fixed_densities_are_the_one_that_pals_found(data_dir: Path) -> None:
    one = bench(methods=["pals", "static", "granet"], seeds=[0, 1])
    first = one.plan({})
    assert [cell.method for cell in first] == ["pals", "pals"]
    found = {cell.key: outcome(cell, sparsity=0.7 + cell.seed / 10) for cell in first}
    later = [cell for cell in one.plan(found) if cell.method != "pals"]
    assert [(cell.method, cell.seed, cell.settings["density"]) for cell in later] == [
        *(("static", 0, 0.3), ("static", 1, 0.2)),
        *(("granet", 0, 0.3), ("granet", 1, 0.2)),
    ]
    assert not {"prune_factor", "loss_freedom"} & later[0].settings.keys()


def test_a_fixed_density_runs_at_that_density(data_dir: Path) -> None:
    one = bench(methods=["static"], parameters={**SHORT, "density": 0.25})
    (cell,) = one.plan({})
    assert one.measure(cell)["sparsity"] == pytest.approx(0.75, abs=1e-3)


def test_a_failed_run_of_pals_leaves_nothing_to_match(data_dir: Path) -> None:
    one = bench(methods=["pals", "static"])
    (cell,) = one.plan({})
    assert one.plan({cell.key: None}) == [cell]


def test_parameters_reach_only_the_methods_that_have_them(data_dir: Path) -> None:
    one = bench(methods=["pals", "dense"], parameters={"prune_factor": 1.2, "batch_size": 16})
    pals, dense = one.plan({})
    assert pals.settings == {**dense.settings, "prune_factor": 1.2, "loss_freedom": 1.1}
    assert dense.settings == {
        "model": "dlinear",
        "input_size": 104,
        "horizon": 24,
        "batch_size": 16,
        "learning_rate": 1e-2,
        "max_epochs": 10,
    }


def test_linear_models_have_published_settings_and_transformers_the_protocols(
    data_dir: Path,
) -> None:
    one = ForecastBench(
        data=["all"], models=["dlinear", "nstransformer"], methods=["dense"], n_horizons=2
    )
    sizes = {
        (cell.settings["model"], cell.data, cell.settings["horizon"]): (
            cell.settings["input_size"],
            cell.settings["batch_size"],
            cell.settings.get("learning_rate"),
        )
        for cell in one.plan({})
    }
    assert len(sizes) == 16
    assert sizes["dlinear", "etth2", 192] == (336, 32, 5e-2)
    assert sizes["dlinear", "exchange", 192] == (336, 8, 5e-4)
    assert sizes["dlinear", "illness", 36] == (104, 32, 1e-2)
    assert sizes["nstransformer", "exchange", 192] == (96, 32, None)
    assert sizes["nstransformer", "illness", 36] == (36, 32, None)


# Tuning


def test_a_grid_is_run_with_the_first_seed_and_its_winner_with_the_others(data_dir: Path) -> None:
    one = bench(methods=["pals", "dense", "static"], seeds=[3, 5], tune=True)
    grid = [cell for cell in one.plan({}) if cell.method == "pals"]
    pairs = [(cell.settings["prune_factor"], cell.settings["loss_freedom"]) for cell in grid]
    assert (pairs, {cell.seed for cell in grid}) == (list(GRID), {3})

    losses = dict(zip(GRID, [0.5, 0.1, 0.3, *[0.4] * 6], strict=True))
    dense_one = GRID[1]  # the lowest loss, but hardly sparse
    found: dict[str, Result | None] = {
        cell.key: outcome(
            cell, validation_loss=losses[pair], sparsity=0.3 if pair == dense_one else 0.75
        )
        for cell, pair in zip(grid, pairs, strict=True)
    }
    partly = dict(list(found.items())[:8])
    assert [cell for cell in one.plan(partly) if cell.method == "pals"] == grid
    chosen = [cell for cell in one.plan(found) if cell.method == "pals" and cell not in grid]
    assert [(cell.seed, cell.settings["loss_freedom"]) for cell in chosen] == [(5, 1.2)]
    static = [cell for cell in one.plan(found) if cell.method == "static"]
    assert [(cell.seed, cell.settings["density"]) for cell in static] == [(3, 0.25)]

    found[grid[3].key] = None  # a run that failed does not keep the others from competing
    text = one.table(found).rows[0][-2]
    assert text == "1.05, 1.2 (7 of 8)"


def test_a_tuned_table_shows_the_chosen_runs_only(data_dir: Path) -> None:
    one = bench(methods=["pals", "dense"], seeds=[0, 1], tune=True)
    outcomes = finish(one)
    winner = one.plan(outcomes)[0]
    outcomes[winner.key] = outcome(winner, mse=0.2, validation_loss=0.1)
    row = one.table(outcomes).rows[0]
    header = list(one.table(outcomes).header)
    assert row[header.index("pals")] == "0.3000 ± 0.1000 / 0.5000"
    assert row[header.index("pals : dense")] == "0.750"


# Table


def test_every_row_fits_the_header(data_dir: Path) -> None:
    for changes in ({}, {"tune": True}, {"methods": ["repeat-last"]}, {"methods": ["dense"]}):
        one = bench(**changes)
        for outcomes in ({}, finish(one)):
            table = one.table(outcomes)
            assert {len(row) for row in table.rows} == {len(table.header)}


def test_the_table_compares_with_dense_and_with_published_numbers(data_dir: Path) -> None:
    one = bench(methods=["pals", "dense", "repeat-last"])
    found = {
        cell.key: outcome(cell, mse={"pals": 2.0, "dense": 2.5}.get(cell.method, 6.0))
        for cell in one.plan({})
    }
    table = one.table(found)
    row = dict(zip(table.header, table.rows[0], strict=True))
    assert row["published DLinear"] == "2.215 / 1.081"
    assert row["dense, as published"] == "2.500 / 0.500"
    assert (row["pals : dense"], row["sparsity of pals"]) == ("0.800", "0.800")
    assert row["parameters of pals"] == "200 of 1,000"
    notes = "\n".join(table.notes)
    assert "mean over 1 rows 0.800; over the 1 with a sparsity of at least 0.6 0.800" in notes
    assert "from 1.129 to 1.129" in notes
    assert "illness 24 6.587 / 1.701 (here 6.000 / 0.500)" in notes


def test_another_look_back_has_no_published_numbers(data_dir: Path) -> None:
    one = bench(methods=["dense"], look_back=36)
    (cell,) = one.plan({})
    assert cell.settings["input_size"] == 36
    assert list(one.table({cell.key: outcome(cell)}).rows[0])[4:6] == ["–", "–"]
