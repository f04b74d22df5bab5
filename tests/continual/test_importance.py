"""Importance of connections and units, against sums over dense matrices."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparsewire.continual.grid import Grid
from sparsewire.continual.importance import ConnectionImportance


@given(st.data())
def test_units_add_up_running_sums_of_their_connections(data: st.DataObject) -> None:
    grid = Grid(data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4)), 4)
    count = grid.rows * grid.columns
    places = sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1)))
    connections = torch.tensor(places)
    importance = ConnectionImportance(grid, connections, torch.float64)
    targets, sources = torch.zeros(grid.rows), torch.zeros(grid.columns)
    omega = torch.zeros(grid.shape, dtype=torch.float64)
    rows, columns = torch.zeros(grid.rows), torch.zeros(grid.columns)
    for _ in range(data.draw(st.integers(1, 4))):
        change = torch.randn(len(places) * 4, dtype=torch.float64)
        gradient = torch.randn(len(places) * 4, dtype=torch.float64)
        importance.add(change, gradient)
        for i, place in enumerate(places):
            pairs = zip(change[4 * i : 4 * i + 4], gradient[4 * i : 4 * i + 4], strict=True)
            omega.view(-1)[place] += sum(abs(float(c * g)) for c, g in pairs)
        rows += omega.sum(1)
        columns += omega.sum(0)
        if data.draw(st.booleans()):
            importance.credit(targets, sources)
    importance.credit(targets, sources)
    importance.credit(targets, sources)  # nothing has run since
    torch.testing.assert_close(importance.total, omega.view(-1)[connections])
    torch.testing.assert_close(targets, rows)
    torch.testing.assert_close(sources, columns)


def test_only_the_wanted_side_is_credited() -> None:
    importance = ConnectionImportance(Grid(2, 2), torch.tensor([1, 2]), torch.float32)
    importance.add(torch.tensor([1.0, 2.0]), torch.tensor([-3.0, 1.0]))
    sources = torch.zeros(2)
    importance.credit(None, sources)
    assert sources.tolist() == [2, 3]


def test_connections_that_stay_keep_their_importance_and_new_ones_start_at_zero() -> None:
    importance = ConnectionImportance(Grid(3, 3), torch.tensor([1, 4, 6]), torch.float32)
    importance.add(torch.ones(3), torch.tensor([1.0, 2.0, 3.0]))
    after = importance.rewired(torch.tensor([4]), torch.tensor([0, 8]))
    assert after.connections.tolist() == [0, 1, 6, 8]
    assert after.total.tolist() == [0, 1, 3, 0]
    again = importance.rewired(torch.tensor([4]), torch.tensor([4]))  # dropped and grown at once
    assert again.connections.tolist() == [1, 4, 6]
    assert again.total.tolist() == [1, 0, 3]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_neither_stops_growing_nor_vanishes(dtype: torch.dtype) -> None:
    importance = ConnectionImportance(Grid(1, 1), torch.tensor([0]), dtype)
    small = torch.full((1,), 2.0**-13, dtype=dtype)
    for _ in range(600):
        importance.add(small, small)
    assert float(importance.total) == 600 * 2.0**-26
