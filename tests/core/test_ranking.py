"""Exact selection: against sorting, with ties, in blocks, and uniform draws from huge sets."""

import math
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sparsewire.core import ranking
from sparsewire.core.errors import NonFiniteError
from sparsewire.core.ranking import highest, highest_in_blocks, lowest, random_subset


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Few distinct values, so that ties and both zeros are the rule rather than the exception.
coarse = st.lists(st.sampled_from([-2.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 2.0]), max_size=30)


def check_lowest(scores: list[float], chosen: list[int], count: int) -> None:
    assert len(chosen) == len(set(chosen)) == count
    assert chosen == sorted(chosen)
    taken = sorted(scores[i] for i in chosen)
    assert taken == sorted(scores)[:count]


@given(coarse.filter(bool), st.data())
def test_lowest_takes_the_smallest_scores_and_the_exact_number(
    scores: list[float], data: st.DataObject
) -> None:
    count = data.draw(st.integers(0, len(scores)))
    check_lowest(scores, lowest(torch.tensor(scores), count, generator()).tolist(), count)


@given(coarse.filter(bool), st.data())
def test_highest_takes_the_largest_scores_and_the_exact_number(
    scores: list[float], data: st.DataObject
) -> None:
    count = data.draw(st.integers(0, len(scores)))
    chosen = highest(torch.tensor(scores), count, generator()).tolist()
    check_lowest([-s for s in scores], chosen, count)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_lowest_ranks_every_floating_point_type(dtype: torch.dtype) -> None:
    values = torch.randn(500, generator=generator()).to(dtype)
    chosen = lowest(values, 123, generator())
    check_lowest(values.double().tolist(), chosen.tolist(), 123)


def test_lowest_tells_float64_scores_apart_that_float32_cannot() -> None:
    scores = torch.tensor([1 + 2e-12, 1 + 1e-12, 1 + 3e-12, 1.0], dtype=torch.float64)
    assert lowest(scores, 2, generator()).tolist() == [1, 3]


def test_lowest_ranks_denormals_and_huge_values_without_rounding() -> None:
    scores = torch.tensor([1e-45, 0.0, 3e38, 1e38, -3e38])
    assert lowest(scores, 3, generator()).tolist() == [0, 1, 4]


def test_ties_are_broken_evenly_over_the_positions() -> None:
    source, hits = generator(), torch.zeros(10)
    for _ in range(2000):
        hits[lowest(torch.ones(10), 3, source)] += 1
    # 600 expected each, standard deviation sqrt(2000 * .3 * .7) = 20.5.
    assert bool((hits - 600).abs().max() < 100)
    assert int(hits.sum()) == 6000


def test_only_the_scores_at_the_cut_are_drawn_by_lot() -> None:
    scores = torch.tensor([0.0, 5.0, 1.0, 1.0, 1.0, 9.0])
    seen = {tuple(lowest(scores, 2, generator(seed)).tolist()) for seed in range(50)}
    assert seen == {(0, 2), (0, 3), (0, 4)}


def test_ties_are_reproducible_from_the_generator() -> None:
    first = lowest(torch.zeros(1000), 400, generator(7))
    assert torch.equal(first, lowest(torch.zeros(1000), 400, generator(7)))
    assert not torch.equal(first, lowest(torch.zeros(1000), 400, generator(8)))


def test_the_generator_is_left_alone_when_nothing_ties() -> None:
    source = generator()
    before = source.get_state()
    lowest(torch.arange(50.0), 20, source)
    assert torch.equal(source.get_state(), before)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_scores_that_are_not_finite_are_refused_with_their_number(bad: float) -> None:
    scores = torch.arange(10.0)
    scores[[2, 7]] = bad
    with pytest.raises(NonFiniteError, match="2 of 10 scores are NaN or infinite"):
        lowest(scores, 3, generator())


@given(st.integers(0, 200), st.data())
def test_a_random_subset_is_distinct_sorted_and_in_range(n: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, n))
    chosen = random_subset(n, count, generator()).tolist()
    assert len(chosen) == len(set(chosen)) == count
    assert chosen == sorted(chosen)
    assert all(0 <= i < n for i in chosen)


def test_a_random_subset_is_uniform() -> None:
    source, hits = generator(), torch.zeros(8)
    for _ in range(4000):
        hits[random_subset(8, 2, source)] += 1
    # 1000 expected each, standard deviation sqrt(4000 * .25 * .75) = 27.4.
    assert bool((hits - 1000).abs().max() < 130)


@pytest.mark.parametrize("shape", ["normal", "sorted", "tied", "heavy"])
@pytest.mark.parametrize("share", [0.0001, 0.03, 0.5, 0.97, 1.0])
def test_lowest_is_exact_on_layers_large_enough_to_be_sampled(shape: str, share: float) -> None:
    n = 200_003
    source = torch.Generator().manual_seed(5)
    scores = torch.randn(n, generator=source)
    if shape == "sorted":
        scores = scores.sort(descending=True).values
    elif shape == "tied":
        scores = scores.round()
    elif shape == "heavy":
        scores = scores**9
    count = int(share * n)
    found = lowest(scores, count, source)
    assert len(set(found.tolist())) == count
    assert torch.equal(scores[found].sort().values, scores.sort().values[:count])


# In blocks


class Blocks:
    """Scores cut into blocks at the given positions; counts how often they are asked for."""

    def __init__(self, scores: Tensor, cuts: list[int]) -> None:
        self.scores = scores
        inner = sorted({c for c in cuts if 0 < c < scores.numel()})
        self.bounds = [0, *inner, scores.numel()]
        self.passes = 0

    def __call__(self) -> Iterator[tuple[int, Tensor]]:
        self.passes += 1
        for begin, end in zip(self.bounds, self.bounds[1:], strict=False):
            yield begin, self.scores[begin:end].clone()


def assert_blocks_agree(scores: Tensor, cuts: list[int], count: int, seed: int = 0) -> None:
    whole, in_blocks = generator(seed), generator(seed)
    blocks = Blocks(scores, cuts)
    expected = highest(scores, count, whole)
    assert torch.equal(highest_in_blocks(blocks, count, in_blocks), expected)
    assert torch.equal(in_blocks.get_state(), whole.get_state())
    assert blocks.passes == 2


@given(coarse.filter(bool), st.lists(st.integers(1, 29), max_size=8), st.integers(0, 99), st.data())
def test_blocks_change_nothing_of_the_highest_and_of_the_draw_among_ties(
    scores: list[float], cuts: list[int], seed: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, len(scores)))
    assert_blocks_agree(torch.tensor(scores), cuts, count, seed)


@given(st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=40), st.data())
def test_blocks_change_nothing_among_distinct_scores_either(
    scores: list[float], data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, len(scores)))
    assert_blocks_agree(torch.tensor(scores, dtype=torch.float64), [3, 4, 17], count)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1, 7, 64, 1000])
@pytest.mark.parametrize("count", [1, 100, 999, 1000])
def test_blocks_of_every_size_and_type_give_the_same(
    dtype: torch.dtype, size: int, count: int
) -> None:
    scores = torch.randn(1000, generator=generator()).mul(20).round().to(dtype)
    assert_blocks_agree(scores, list(range(0, 1000, size)), count)


@pytest.mark.parametrize("order", ["rising", "falling", "equal"])
def test_blocks_agree_when_the_cut_rises_with_every_block_or_never(order: str) -> None:
    scores = {
        "rising": torch.arange(300.0) // 7,
        "falling": torch.arange(300.0, 0.0, -1.0) // 7,
        "equal": torch.zeros(300),
    }[order]
    for count in (1, 6, 50, 299):
        assert_blocks_agree(scores, list(range(0, 300, 11)), count)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("place", [0, 9])
def test_blocks_that_are_not_finite_are_refused(bad: float, place: int) -> None:
    scores = torch.arange(10.0)
    scores[place] = bad
    with pytest.raises(NonFiniteError, match="1 of 5 scores are NaN or infinite"):
        highest_in_blocks(Blocks(scores, [5]), 3, generator())


# Subsets of sets too large to be shuffled


@pytest.mark.parametrize("n", [2**20 + 1, 9 * 10**10, 2**62, 2**63 - 1])
@pytest.mark.parametrize("count", [0, 1, 1000])
def test_a_subset_of_a_huge_set_is_distinct_sorted_and_in_range(n: int, count: int) -> None:
    chosen = random_subset(n, count, generator()).tolist()
    assert len(chosen) == count
    assert chosen == sorted(set(chosen))
    assert all(0 <= i < n for i in chosen)


def test_a_subset_of_just_under_a_quarter_has_the_exact_number() -> None:
    n = 2**20 + 5
    chosen = random_subset(n, n // 4, generator())
    assert chosen.dtype == torch.int64
    assert chosen.numel() == n // 4
    assert bool((chosen.diff() > 0).all())


@pytest.mark.parametrize(("n", "count"), [(2**14, 10), (2**16, 2**14)])
def test_a_small_set_and_a_quarter_of_a_large_one_are_drawn_by_shuffling(
    n: int, count: int
) -> None:
    expected = torch.randperm(n, generator=generator())[:count].sort().values
    assert torch.equal(random_subset(n, count, generator()), expected)


@pytest.mark.parametrize(("n", "count"), [(8, 1), (9, 2), (14, 3)])
def test_every_subset_is_as_likely_when_drawn_with_replacement(
    monkeypatch: pytest.MonkeyPatch, n: int, count: int
) -> None:
    monkeypatch.setattr(ranking, "_SHUFFLED", 0)  # small enough to count all subsets
    source, draws = generator(), 6000
    seen: dict[tuple[int, ...], int] = {}
    for _ in range(draws):
        chosen = tuple(random_subset(n, count, source).tolist())
        seen[chosen] = seen.get(chosen, 0) + 1
    subsets = math.comb(n, count)
    mean = draws / subsets
    assert len(seen) == subsets
    chi_square = sum((hits - mean) ** 2 for hits in seen.values()) / mean
    # Mean subsets - 1, standard deviation sqrt(2 * (subsets - 1)).
    assert chi_square < subsets - 1 + 5 * math.sqrt(2 * (subsets - 1))


def test_a_huge_set_is_covered_evenly() -> None:
    n = 3 * 2**61  # a remainder of 63 bits would favour the first third twofold
    chosen = random_subset(n, 6000, generator())
    thirds = torch.bincount(chosen // 2**61, minlength=3)
    # 2000 expected each, standard deviation sqrt(6000 * 1/3 * 2/3) = 36.5.
    assert bool((thirds - 2000).abs().max() < 180)
