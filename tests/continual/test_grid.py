"""A connection is a whole kernel, a flattened map or one weight: compared with index arithmetic."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from sparsewire.continual.grid import Grid

grids = st.builds(
    Grid, rows=st.integers(1, 6), columns=st.integers(1, 6), block=st.sampled_from([1, 2, 4, 9])
)


@given(grids, st.data())
def test_weights_of_connections_are_those_of_a_reshaped_weight(
    grid: Grid, data: st.DataObject
) -> None:
    places = data.draw(st.sets(st.integers(0, grid.rows * grid.columns - 1)))
    chosen = torch.tensor(sorted(places), dtype=torch.int64)
    everything = torch.arange(grid.rows * grid.columns * grid.block)
    blocks = everything.view(grid.rows * grid.columns, grid.block)
    assert grid.weights(chosen).tolist() == blocks[chosen].flatten().tolist()


@given(grids, st.data())
def test_connections_between_units_are_all_pairs_in_ascending_order(
    grid: Grid, data: st.DataObject
) -> None:
    targets = sorted(data.draw(st.sets(st.integers(0, grid.rows - 1))))
    sources = sorted(data.draw(st.sets(st.integers(0, grid.columns - 1))))
    found = grid.between(torch.tensor(targets).long(), torch.tensor(sources).long())
    assert found.tolist() == [t * grid.columns + s for t in targets for s in sources]
    rows, columns = grid.ends(found)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [
        (t, s) for t in targets for s in sources
    ]


@given(grids)
def test_values_are_summed_over_each_connection(grid: Grid) -> None:
    count = grid.rows * grid.columns
    values = torch.arange(count * grid.block, dtype=torch.float64)
    expected = [sum(values[i * grid.block : (i + 1) * grid.block].tolist()) for i in range(count)]
    assert grid.per_connection(values).tolist() == expected


def test_the_kernel_of_a_convolution_and_the_map_of_a_channel_are_one_connection() -> None:
    convolution = torch.nn.Conv2d(3, 2, 2)
    marked = torch.zeros_like(convolution.weight)
    marked.view(-1)[Grid(2, 3, 4).weights(torch.tensor([4]))] = 1
    assert marked[1, 1].eq(1).all()
    assert marked.sum() == 4

    maps = torch.zeros(1, 3, 2, 2)
    maps[0, 1] = 1  # what channel 1 sends through a flatten
    behind = torch.zeros(5, 12)
    behind.view(-1)[Grid(5, 3, 4).weights(torch.tensor([2 * 3 + 1]))] = 1
    assert (behind @ maps.flatten(1).T).flatten().tolist() == [0, 0, 4, 0, 0]
    assert behind.sum() == 4
