"""One cell: what the selector sees, how it is judged, and what is counted."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from sparsewire import datasets
from sparsewire.featsel import QuickSelection, evaluate
from sparsewire.featsel.benchmark.cells import Cell
from sparsewire.featsel.benchmark.fitting import (
    PROTOCOLS,
    Task,
    run_cell,
    training_flops,
)
from sparsewire.featsel.benchmark.methods import METHODS
from sparsewire.featsel.evaluation import ProtocolName, split_and_scale, training_rows
from tests.featsel.benchmark.helpers import Witness, witness

DATA = datasets.load("breast_cancer")


def cell_of(protocol: str, method: str = "witness", **settings: Any) -> Cell:
    given: dict[str, Any] = {"k": 4, "seed": 1} | settings
    return Cell(dataset="breast_cancer", method=method, protocol=protocol, **given)


@pytest.mark.parametrize("n_train", [None, 400])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_training_rows_are_those_that_the_judges_train_on(
    protocol: str, n_train: int | None
) -> None:
    rows = training_rows(DATA.y, protocol, n_train)
    numbers = np.arange(len(DATA.y), dtype=float)[:, None]
    scaled = split_and_scale(
        numbers, DATA.y, protocol=cast(ProtocolName, protocol), n_train=n_train
    )
    both = np.concatenate([scaled.X_train, scaled.X_test])[:, 0]
    np.testing.assert_array_equal(rows, both.argsort().argsort()[: len(rows)])


@pytest.mark.parametrize("protocol", ["neurofs", "clean", "quickselection"])
def test_a_choice_is_judged_as_evaluate_does(protocol: ProtocolName) -> None:
    task = Task(cell=cell_of(protocol), factory=witness, changes={}, jobs=1)
    record = run_cell(task)
    assert record.selected == [0, 1, 2, 3]
    expected = evaluate(DATA.X, DATA.y, [0, 1, 2, 3], protocol=protocol, seed=1)
    assert {judge: record.scores[judge] for judge in expected} == expected
    assert record.scores.keys() == {"svc", "knn", "extra_trees", "kmeans"}


def test_the_selector_sees_the_unscaled_training_rows_and_nothing_else() -> None:
    """Even under the protocol that scales with all rows."""
    cell = cell_of("neurofs")
    record = run_cell(Task(cell=cell, factory=witness, changes={}, jobs=1))
    rows = training_rows(DATA.y, cell.protocol, cell.n_train)
    assert len(rows) == 455
    X, y = Witness.last.seen
    np.testing.assert_array_equal(X, DATA.X[rows])
    np.testing.assert_array_equal(y, DATA.y[rows])
    assert record.warnings == ["seen"]


def test_a_network_is_counted_and_fitted_as_outside_the_benchmark() -> None:
    changes = {"epochs": 2, "hidden_size": 30, "epsilon": 3}
    cell = cell_of("clean", "quickselection")
    task = Task(cell=cell, factory=METHODS["quickselection"].factory, changes=changes, jobs=1)
    record = run_cell(task)
    twin = QuickSelection(4, epochs=2, hidden_size=30, epsilon=3, random_state=1)
    twin.fit(DATA.X[training_rows(DATA.y, cell.protocol, cell.n_train)])
    assert record.selected == np.flatnonzero(twin.support_).tolist()
    assert record.connections == 2 * 3 * (30 + 30)
    assert record.flops == 6 * 2 * record.connections * 455
    assert record.cpu_seconds > 0
    assert record.seconds > 0


def test_flops_follow_the_number_of_connections_and_leave_validation_rows_out() -> None:
    history = {"n_connections": [10.0, 6.0], "loss": [1.0, 1.0]}
    shrinking = SimpleNamespace(history_=history)
    assert training_flops(shrinking, 100) == 6 * 16 * 100
    halved = SimpleNamespace(history_=history, validation_fraction=0.25)
    assert training_flops(halved, 100) == 6 * 16 * 75
    assert training_flops(SimpleNamespace(), 100) is None
    assert training_flops(SimpleNamespace(history_=[1, 2]), 100) is None


def test_a_method_that_keeps_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="selected no feature"):
        run_cell(Task(cell=cell_of("clean", k=0), factory=witness, changes={}, jobs=1))
