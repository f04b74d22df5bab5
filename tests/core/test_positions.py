"""Sets of positions against Python's sets."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sparsewire.core.positions import contains, free_at, without

# Small numbers, so that overlaps are common, and some beyond 32 bits.
position = st.one_of(st.integers(0, 20), st.integers(2**40, 2**40 + 5))
positions = st.sets(position, max_size=25)


def ascending(members: set[int]) -> Tensor:
    return torch.tensor(sorted(members), dtype=torch.int64)


@given(positions, st.lists(position, max_size=25))
def test_contains_agrees_with_membership(members: set[int], asked: list[int]) -> None:
    found = contains(ascending(members), torch.tensor(asked, dtype=torch.int64))
    assert found.dtype == torch.bool
    assert found.tolist() == [p in members for p in asked]


@given(positions, st.lists(position, max_size=25))
def test_without_agrees_with_the_difference_of_sets(members: set[int], removed: list[int]) -> None:
    left = without(ascending(members), torch.tensor(removed, dtype=torch.int64))
    assert left.dtype == torch.int64
    assert left.tolist() == sorted(members - set(removed))


@given(st.sets(st.integers(0, 20)), st.lists(st.integers(0, 30), max_size=25))
def test_free_at_counts_the_free_positions(taken: set[int], ranks: list[int]) -> None:
    free = [p for p in range(60) if p not in taken]
    found = free_at(torch.tensor(ranks, dtype=torch.int64), ascending(taken))
    assert found.dtype == torch.int64
    assert found.tolist() == [free[r] for r in ranks]


@given(positions, st.lists(st.integers(0, 2**41), max_size=10))
def test_free_at_gives_positions_with_as_many_free_ones_before_them(
    taken: set[int], ranks: list[int]
) -> None:
    found = free_at(torch.tensor(ranks, dtype=torch.int64), ascending(taken)).tolist()
    for rank, place in zip(ranks, found, strict=True):
        assert place not in taken
        assert place - sum(p < place for p in taken) == rank


def test_nothing_is_written_to_the_arguments() -> None:
    members, other = torch.tensor([1, 4, 6]), torch.tensor([4, 9])
    contains(members, other), without(members, other), free_at(other, members)
    assert members.tolist() == [1, 4, 6]
    assert other.tolist() == [4, 9]
