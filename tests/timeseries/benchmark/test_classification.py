"""Classifiers: what is run, how it is counted, and what the table says."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparsewire import datasets
from sparsewire.timeseries.benchmark.cells import Cell
from sparsewire.timeseries.benchmark.classification import ClassifyBench, resample
from sparsewire.timeseries.benchmark.references import RESNET_ACCURACY
from sparsewire.timeseries.dsn import DSNClassifier

TINY: dict[str, Any] = {"n_filters": 2, "n_epochs": 2, "kernel_size": 6, "depth": 2}


def bench(**changes: Any) -> ClassifyBench:
    return ClassifyBench(**{"data": ["italypowerdemand"], "parameters": TINY, **changes})


def test_a_result_is_that_of_the_estimator(data_dir: Path) -> None:
    (cell,) = bench(methods=["dsn"], seeds=[3]).plan({})
    result = bench().measure(cell)
    panel = datasets.load_panel("italypowerdemand")
    clf = DSNClassifier(**TINY, density=0.2, learning_rate=3e-4, random_state=3)
    clf.fit(panel.X_train, panel.y_train)
    assert result["accuracy"] == clf.score(panel.X_test, panel.y_test)
    assert result["macs_per_step"] == clf.flops_.macs_per_step
    assert (result["epochs"], result["training_loss"]) == (2, min(clf.history_["loss"]))


@pytest.mark.parametrize(
    ("method", "topology"), [("dsn", "dynamic"), ("dsn-static", "static"), ("dsn-dense", "dense")]
)
def test_the_twins_differ_in_their_taps_only(method: str, topology: str, data_dir: Path) -> None:
    one = bench(methods=[method])
    (cell,) = one.plan({})
    expected = {**TINY, "learning_rate": 3e-4, "density": 0.2}
    if topology == "dense":
        del expected["density"]
    assert cell.settings == expected
    macs = one.measure(cell)["macs_per_step"]
    # Two blocks of 2 filters in groups of 2, 4 and 6 taps, 1 and 2 inputs; 6 reduced to 2 channels.
    all_taps = [2 * n_in * taps for n_in in (1, 2) for taps in (2, 4, 6)]
    density = 1.0 if topology == "dense" else 0.2
    assert macs == sum(max(1, math.floor(taps * density)) for taps in all_taps) + 6 * 2


def test_runs_have_a_number_of_epochs_or_of_steps(data_dir: Path) -> None:
    one = ClassifyBench(data=["gunpoint", "pendigits"], methods=["dsn"])
    epochs = {cell.data: cell.settings["n_epochs"] for cell in one.plan({})}
    # PenDigits has 7494 series in batches of 16: 469 steps an epoch.
    assert epochs == {"gunpoint": 200, "pendigits": math.ceil(10_000 / 469)}


def test_all_sets_have_a_first_seed_before_any_has_a_second(data_dir: Path) -> None:
    one = ClassifyBench(data=["gunpoint", "coffee"], methods=["dsn", "1nn"], seeds=[5, 7])
    assert [(cell.data, cell.method, cell.seed) for cell in one.plan({})] == [
        *(("gunpoint", "dsn", 5), ("gunpoint", "1nn", 0)),
        *(("coffee", "dsn", 5), ("coffee", "1nn", 0)),
        *(("gunpoint", "dsn", 7), ("coffee", "dsn", 7)),
    ]


def test_the_nearest_neighbour_is_the_one_of_the_archive(data_dir: Path) -> None:
    cell = Cell(task="classify", data="gunpoint", method="1nn")
    # The archive's own table: an error of 0.0867.
    assert ClassifyBench().measure(cell)["accuracy"] == pytest.approx(1 - 0.0867, abs=5e-5)


def test_series_of_unequal_length_have_a_nearest_neighbour(data_dir: Path) -> None:
    cell = Cell(task="classify", data="japanesevowels", method="1nn")
    assert ClassifyBench().measure(cell)["accuracy"] > 0.9


def test_series_of_the_right_length_are_not_changed() -> None:
    X = np.random.default_rng(0).normal(size=(3, 2, 5))
    np.testing.assert_array_equal(resample(X, 5), X.reshape(3, 10))


def test_resampling_keeps_the_ends_and_straight_lines() -> None:
    line = np.linspace(-1.0, 3.0, 9)
    np.testing.assert_allclose(resample([line], 21)[0], np.linspace(-1.0, 3.0, 21))


def outcome(accuracy: float, seconds: float = 2.0) -> dict[str, float]:
    return {
        "accuracy": accuracy,
        "cpu_seconds": seconds,
        "epochs": 200,
        "macs_per_step": 50_028.8,
        "training_loss": 0.1,
    }


def test_the_table_averages_over_sets_with_a_published_accuracy(data_dir: Path) -> None:
    one = ClassifyBench(
        data=["gunpoint", "coffee", "pickupgesturewiimotez"], methods=["dsn"], seeds=[0, 1]
    )
    accuracies = {"gunpoint": (0.98, 1.0), "coffee": (1.0, 1.0), "pickupgesturewiimotez": (0.5,)}
    found = {
        cell.key: outcome(accuracies[cell.data][cell.seed])
        for cell in one.plan({})
        if cell.seed < len(accuracies[cell.data])
    }
    table = one.table(found)
    assert list(table.header) == [
        *("data set", "dsn, %", "ResNet, %", "MACs of dsn / ResNet", "epochs", "CPU s of dsn")
    ]
    assert [list(row) for row in table.rows] == [
        ["gunpoint", "99.0 ± 1.0", "99.3", "0.100", "200", "2"],
        ["coffee", "100.0 ± 0.0", "100.0", "0.100", "200", "2"],
        ["pickupgesturewiimotez", "50.0", "–", "0.100", "200", "2"],
        ["mean of 2 with a published accuracy", "99.50", "99.65", "0.100", "–", "2"],
    ]


def test_what_is_not_there_is_a_dash(data_dir: Path) -> None:
    table = ClassifyBench(data=["gunpoint"], methods=["dsn", "1nn"]).table({})
    assert list(table.rows[0]) == ["gunpoint", "–", "–", "99.3", "–", "–", "–", "–"]
    assert list(table.rows[1])[1:3] == ["–", "–"]


def test_all_means_every_set_of_the_archives(data_dir: Path) -> None:
    assert list(ClassifyBench(data=["all"]).data) == list(RESNET_ACCURACY)
