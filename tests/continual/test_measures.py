"""Measures on accuracy matrices, against the sums of their papers written out."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsewire.continual.measures import (
    average_accuracy,
    backward_transfer,
    forward_transfer,
    learning_curve_area,
)
from sparsewire.core.errors import InvalidArgumentError

accuracy = st.floats(0, 1)
matrices = st.integers(1, 6).flatmap(
    lambda n: st.lists(st.lists(accuracy, min_size=n, max_size=n), min_size=n, max_size=n)
)


@given(matrices)
def test_accuracy_and_backward_transfer_are_the_published_sums(rows: list[list[float]]) -> None:
    tasks = len(rows)
    assert average_accuracy(rows) == pytest.approx(sum(rows[-1]) / tasks)
    changes = [rows[-1][j] - rows[j][j] for j in range(tasks - 1)]
    assert backward_transfer(rows) == pytest.approx(sum(changes) / max(1, tasks - 1), abs=1e-12)


@given(matrices, st.lists(accuracy, min_size=6, max_size=6))
def test_forward_transfer_compares_with_random_weights(
    rows: list[list[float]], start: list[float]
) -> None:
    tasks = len(rows)
    gains = [rows[j - 1][j] - start[j] for j in range(1, tasks)]
    found = forward_transfer(rows, start[:tasks])
    assert found == pytest.approx(sum(gains) / max(1, tasks - 1), abs=1e-9)


@given(st.integers(1, 5), st.integers(0, 4), st.data())
def test_the_learning_curve_area_averages_the_first_batches(
    tasks: int, batches: int, data: st.DataObject
) -> None:
    one = st.lists(accuracy, min_size=batches + 1, max_size=batches + 4)
    curves = data.draw(st.lists(one, min_size=tasks, max_size=tasks))
    expected = sum(sum(c[: batches + 1]) / (batches + 1) for c in curves) / tasks
    assert learning_curve_area(curves, batches) == pytest.approx(expected)


def test_nothing_forgotten_is_exactly_zero() -> None:
    rows = np.tril(np.full((5, 5), 0.1) * np.array([1, 3, 7, 9, 2]))
    assert backward_transfer(rows) == 0.0


def test_what_was_never_measured_may_be_missing_only_above_the_diagonal() -> None:
    missing = [[0.9, None], [0.5, 0.7]]
    assert average_accuracy(np.array(missing, dtype=float)) == pytest.approx(0.6)
    with pytest.raises(InvalidArgumentError, match="above the diagonal"):
        forward_transfer(np.array(missing, dtype=float), [0.5, 0.5])
    with pytest.raises(InvalidArgumentError, match="below the diagonal"):
        average_accuracy([[0.9, 0.1], [math.nan, 0.7]])


@pytest.mark.parametrize("wrong", [[], [[]], [0.5], [[0.5, 0.5]], np.zeros((2, 2, 2))])
def test_other_shapes_than_square_are_refused(wrong: list[float]) -> None:
    with pytest.raises(InvalidArgumentError, match="square"):
        average_accuracy(wrong)


def test_baselines_and_curves_must_fit() -> None:
    with pytest.raises(InvalidArgumentError, match="baseline"):
        forward_transfer(np.ones((3, 3)), [0.1, 0.1])
    for curves, batches in (([], 0), ([[0.5]], 1), ([[0.5]], -1)):
        with pytest.raises(InvalidArgumentError, match="batches"):
            learning_curve_area(curves, batches)
