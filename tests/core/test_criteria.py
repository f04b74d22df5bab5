"""Drop and grow rules against slow obvious twins, with ties, zeros, signs and bad values."""

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sparsewire.core.criteria import (
    DROP_RULES,
    GROW_RULES,
    LayerView,
    drop_count,
    drop_smallest,
    drop_smallest_per_sign,
    grow_largest_gradient,
    grow_random,
    highest,
    lowest,
    random_subset,
)
from sparsewire.core.errors import NonFiniteError

Array = npt.NDArray[np.float64]
Drop = Callable[[Tensor, float, torch.Generator], Tensor]
DROPS: list[Drop] = [drop_smallest, drop_smallest_per_sign]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Few distinct values, so that ties and both zeros are the rule rather than the exception.
coarse = st.lists(st.sampled_from([-2.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 2.0]), max_size=30)
fractions = st.one_of(st.just(0.0), st.just(1.0), st.floats(0, 1))


def set_oracle(values: Array, zeta: float) -> set[int]:
    """SET's rule, sign by sign: which positions go. Needs distinct non-zero values."""
    gone: set[int] = set()
    for sign in (1, -1):
        own = [i for i in range(len(values)) if np.sign(values[i]) == sign]
        own.sort(key=lambda i: abs(values[i]))  # nearest to zero first
        gone |= set(own[: math.floor(zeta * len(own))])
    return gone


def magnitude_oracle(values: Array, zeta: float) -> set[int]:
    """Remove the smallest magnitude again and again. Needs distinct magnitudes."""
    left = dict(enumerate(np.abs(values)))
    gone: set[int] = set()
    while len(gone) < math.floor(zeta * len(values)):
        smallest = min(left, key=lambda i: left[i])
        gone.add(smallest)
        del left[smallest]
    return gone


def check_lowest(scores: list[float], chosen: list[int], count: int) -> None:
    assert len(chosen) == len(set(chosen)) == count
    assert chosen == sorted(chosen)
    taken = sorted(scores[i] for i in chosen)
    assert taken == sorted(scores)[:count]


@pytest.mark.parametrize(
    ("active", "fraction", "expected"),
    [
        (0, 0.5, 0),
        (1, 0.3, 0),
        (1, 1.0, 1),
        (10, 0.3, 3),
        (100, 0.29, 29),  # 0.29 * 100 is 28.999999999999996
        (100, 0.57, 57),
        (10, 0.35, 3),
        (10, 0.39999, 3),
        (7, 1.0, 7),
        (7, 0.0, 0),
        (3, 1 / 3, 1),
    ],
)
def test_drop_count_is_the_floor_of_the_fraction(
    active: int, fraction: float, expected: int
) -> None:
    assert drop_count(active, fraction) == expected


@given(st.integers(0, 10**6), st.integers(0, 1000))
def test_drop_count_is_exact_for_decimal_fractions(active: int, thousandths: int) -> None:
    expected = math.floor(Fraction(thousandths, 1000) * active)
    assert drop_count(active, thousandths / 1000) == expected


@pytest.mark.parametrize("active", [2**24 + 4, 10**8, 10**9, 3 * 10**9])
def test_drop_count_is_exact_for_layers_above_two_to_the_24(active: int) -> None:
    for hundredths in range(101):
        expected = math.floor(Fraction(hundredths, 100) * active)
        assert drop_count(active, hundredths / 100) == expected, hundredths


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


@pytest.mark.parametrize("pick", DROPS)
def test_weights_that_are_not_finite_are_never_ranked(pick: Drop) -> None:
    values = torch.tensor([0.5, float("nan"), 1.0, -2.0, -1.0, 3.0])
    with pytest.raises(NonFiniteError):
        pick(values, 0.5, generator())


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


@pytest.mark.parametrize("seed", range(20))
def test_magnitude_drop_agrees_with_taking_the_minimum_again_and_again(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=rng.integers(1, 60))
    zeta = float(rng.uniform())
    found = drop_smallest(torch.from_numpy(values), zeta, generator()).tolist()
    assert set(found) == magnitude_oracle(values, zeta)


@pytest.mark.parametrize("seed", range(20))
def test_sign_wise_drop_agrees_with_the_oracle(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(loc=rng.normal(), size=rng.integers(1, 60))
    zeta = float(rng.uniform())
    found = drop_smallest_per_sign(torch.from_numpy(values), zeta, generator()).tolist()
    assert set(found) == set_oracle(values, zeta)


def test_sign_wise_drop_on_a_hand_made_vector_takes_the_values_nearest_to_zero() -> None:
    values = torch.tensor([-5.0, 0.1, -0.2, 3.0, -0.1, 0.3, -4.0, 8.0, 0.2, -3.0])
    # Positive .1 .2 .3 3 8, negative -.1 -.2 -3 -4 -5: two of five of each sign go.
    dropped = drop_smallest_per_sign(values, 0.4, generator())
    assert values[dropped].tolist() == pytest.approx([0.1, -0.2, -0.1, 0.2])


def test_sign_wise_drop_keeps_the_most_negative_and_the_most_positive() -> None:
    values = torch.tensor([-9.0, -8.0, -1.0, 1.0, 8.0, 9.0])
    assert drop_smallest_per_sign(values, 0.34, generator()).tolist() == [2, 3]


def test_sign_wise_drop_spares_a_sign_that_magnitude_would_wipe_out() -> None:
    values = torch.tensor([-0.1, -0.2, -0.3, -0.4, 10.0, 20.0, 30.0, 40.0])
    assert drop_smallest(values, 0.5, generator()).tolist() == [0, 1, 2, 3]
    assert drop_smallest_per_sign(values, 0.5, generator()).tolist() == [0, 1, 4, 5]


def test_sign_wise_drop_works_on_one_sign_alone() -> None:
    values = torch.tensor([3.0, 1.0, 2.0, 4.0])
    assert drop_smallest_per_sign(values, 0.5, generator()).tolist() == [1, 2]
    assert drop_smallest_per_sign(-values, 0.5, generator()).tolist() == [1, 2]


@given(coarse, fractions)
def test_sign_wise_drop_floors_each_sign_for_itself(values: list[float], zeta: float) -> None:
    dropped = drop_smallest_per_sign(torch.tensor(values), zeta, generator()).tolist()
    assert len(dropped) == len(set(dropped))
    negative = [i for i, v in enumerate(values) if v < 0]
    others = [i for i, v in enumerate(values) if not v < 0]
    for pool in (negative, others):
        gone = [i for i in dropped if i in pool]
        assert len(gone) == drop_count(len(pool), zeta)
        kept = [abs(values[i]) for i in pool if i not in gone]
        if kept and gone:
            assert max(abs(values[i]) for i in gone) <= min(kept)


@given(coarse, fractions)
def test_magnitude_drop_takes_the_exact_number_and_nothing_larger_than_what_stays(
    values: list[float], zeta: float
) -> None:
    dropped = drop_smallest(torch.tensor(values), zeta, generator()).tolist()
    assert len(dropped) == len(set(dropped)) == drop_count(len(values), zeta)
    kept = [abs(v) for i, v in enumerate(values) if i not in dropped]
    if kept and dropped:
        assert max(abs(values[i]) for i in dropped) <= min(kept)


@pytest.mark.parametrize("pick", DROPS)
def test_active_zeros_of_either_sign_go_first_and_are_counted(pick: Drop) -> None:
    values = torch.tensor([1.0, 0.0, 2.0, -0.0, 3.0, 0.0])
    assert pick(values, 0.5, generator()).tolist() == [1, 3, 5]


@pytest.mark.parametrize("pick", DROPS)
def test_positive_and_negative_zero_are_the_same_value(pick: Drop) -> None:
    values = torch.tensor([0.0, -0.0] * 10)
    picks = [pick(values, 0.25, generator(seed)).tolist() for seed in range(200)]
    assert {len(p) for p in picks} == {5}
    hits = np.bincount(np.concatenate([np.asarray(p) for p in picks]), minlength=20)
    # 50 expected each, standard deviation sqrt(200 * .25 * .75) = 6.1.
    assert hits.min() > 20
    assert hits.max() < 80


@pytest.mark.parametrize("pick", DROPS)
@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, -1.0])
def test_equal_weights_lose_exactly_the_fraction(pick: Drop, value: float) -> None:
    for zeta in (0.0, 0.1, 0.29, 0.5, 1.0):
        dropped = pick(torch.full((100,), value), zeta, generator())
        assert len(set(dropped.tolist())) == dropped.numel() == round(100 * zeta)


@pytest.mark.parametrize("pick", DROPS)
def test_nothing_or_everything_goes_at_the_extreme_fractions(pick: Drop) -> None:
    values = torch.randn(31, generator=generator())
    assert pick(values, 0.0, generator()).tolist() == []
    assert pick(values, 1.0, generator()).tolist() == list(range(31))


@pytest.mark.parametrize("pick", DROPS)
def test_a_layer_without_connections_loses_none(pick: Drop) -> None:
    assert pick(torch.empty(0), 0.7, generator()).tolist() == []


@pytest.mark.parametrize("pick", DROPS)
def test_a_single_connection_goes_only_at_fraction_one(pick: Drop) -> None:
    assert pick(torch.tensor([-2.0]), 0.99, generator()).tolist() == []
    assert pick(torch.tensor([-2.0]), 1.0, generator()).tolist() == [0]


@pytest.mark.parametrize("pick", DROPS)
@pytest.mark.parametrize("scale", [1e-20, 1e-6, 1e6, 1e20])
def test_the_scale_of_a_layer_does_not_change_what_it_drops(pick: Drop, scale: float) -> None:
    values = torch.randn(200, generator=generator(), dtype=torch.float64)
    plain = pick(values, 0.3, generator())
    assert torch.equal(pick(values * scale, 0.3, generator()), plain)


def among(positions: list[int], n: int) -> Tensor:
    mask = torch.zeros(n, dtype=torch.bool)
    mask[positions] = True
    return mask


def view(gradient: list[float] | None, mask: list[bool]) -> LayerView:
    return LayerView(
        "demo",
        weight=torch.zeros(len(mask)),
        mask=torch.tensor(mask),
        gradient=None if gradient is None else torch.tensor(gradient),
    )


@given(coarse.filter(bool), st.data())
def test_gradient_growth_takes_the_largest_magnitudes_among_the_candidates(
    gradient: list[float], data: st.DataObject
) -> None:
    positions = st.lists(st.integers(0, len(gradient) - 1), unique=True)
    candidates = sorted(data.draw(positions))
    count = data.draw(st.integers(0, len(candidates)))
    layer = view(gradient, [False] * len(gradient))
    mask = among(candidates, len(gradient))
    grown = grow_largest_gradient(layer, mask, count, generator()).tolist()
    assert set(grown) <= set(candidates)
    assert len(grown) == len(set(grown)) == count
    best = sorted((abs(gradient[i]) for i in candidates), reverse=True)[:count]
    assert sorted((abs(gradient[i]) for i in grown), reverse=True) == best


def test_gradient_growth_ignores_the_sign_of_the_gradient() -> None:
    layer = view([1.0, -9.0, 2.0, 8.0], [False] * 4)
    assert grow_largest_gradient(layer, among([0, 1, 2, 3], 4), 2, generator()).tolist() == [1, 3]


def test_gradient_growth_never_looks_beyond_the_candidates() -> None:
    layer = view([float("nan"), 1.0, 100.0, 2.0], [True, False, False, False])
    assert grow_largest_gradient(layer, among([1, 3], 4), 1, generator()).tolist() == [3]


def test_gradient_growth_among_zero_gradients_is_exact_and_even() -> None:
    layer = view([0.0, -0.0] * 10, [False] * 20)
    hits = np.zeros(20)
    for seed in range(200):
        grown = grow_largest_gradient(layer, torch.ones(20, dtype=torch.bool), 5, generator(seed))
        assert len(set(grown.tolist())) == 5
        hits[grown.numpy()] += 1
    assert hits.min() > 20  # 50 expected each, standard deviation 6.1
    assert hits.max() < 80


def test_gradient_growth_without_a_gradient_names_the_layer() -> None:
    with pytest.raises(ValueError, match="demo: gradient growth needs a captured gradient"):
        grow_largest_gradient(view(None, [False]), among([0], 1), 1, generator())


def test_gradient_growth_refuses_candidates_with_gradients_that_are_not_finite() -> None:
    layer = view([1.0, float("inf"), 2.0], [False] * 3)
    with pytest.raises(NonFiniteError):
        grow_largest_gradient(layer, among([0, 1, 2], 3), 2, generator())


def test_random_growth_is_uniform_over_the_candidates() -> None:
    candidates, hits = torch.tensor([2, 3, 5, 7, 11]), torch.zeros(12)
    source = generator()
    for _ in range(2000):
        grown = grow_random(view(None, [False] * 12), among(candidates.tolist(), 12), 2, source)
        assert len(set(grown.tolist())) == 2
        hits[grown] += 1
    assert set(hits.nonzero().flatten().tolist()) == set(candidates.tolist())
    # 800 expected each, standard deviation sqrt(2000 * .4 * .6) = 21.9.
    assert bool((hits[candidates] - 800).abs().max() < 110)


@pytest.mark.parametrize("name", list(GROW_RULES))
def test_growth_by_nothing_or_by_all_candidates(name: str) -> None:
    layer = view([1.0, 1.0, 2.0, 3.0], [True, False, False, False])
    pick = GROW_RULES[name].pick
    assert pick(layer, among([1, 2, 3], 4), 0, generator()).tolist() == []
    assert pick(layer, among([1, 2, 3], 4), 3, generator()).tolist() == [1, 2, 3]


def test_the_rules_are_found_by_name() -> None:
    assert {name: rule.name for name, rule in DROP_RULES.items()} == {
        "magnitude": "magnitude",
        "sign": "sign",
    }
    assert {name: rule.needs_gradient for name, rule in GROW_RULES.items()} == {
        "random": False,
        "gradient": True,
    }


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
