"""Drop and grow rules against slow obvious twins, with ties, zeros, signs and bad values."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
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
)
from sparsewire.core.errors import NonFiniteError
from tests.core.helpers import view_of

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


@pytest.mark.parametrize("pick", DROPS)
def test_weights_that_are_not_finite_are_never_ranked(pick: Drop) -> None:
    values = torch.tensor([0.5, float("nan"), 1.0, -2.0, -1.0, 3.0])
    with pytest.raises(NonFiniteError):
        pick(values, 0.5, generator())


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


def others(candidates: list[int], n: int) -> Tensor:
    """The positions that stay, if these are the candidates."""
    return torch.tensor([i for i in range(n) if i not in candidates], dtype=torch.int64)


def view(gradient: list[float] | None, mask: list[bool]) -> LayerView:
    return view_of(
        torch.zeros(len(mask)),
        torch.tensor(mask),
        None if gradient is None else torch.tensor(gradient),
    )


@given(coarse.filter(bool), st.data())
def test_gradient_growth_takes_the_largest_magnitudes_among_the_candidates(
    gradient: list[float], data: st.DataObject
) -> None:
    positions = st.lists(st.integers(0, len(gradient) - 1), unique=True)
    candidates = sorted(data.draw(positions))
    count = data.draw(st.integers(0, len(candidates)))
    layer = view(gradient, [False] * len(gradient))
    kept = others(candidates, len(gradient))
    grown = grow_largest_gradient(layer, kept, count, generator()).tolist()
    assert set(grown) <= set(candidates)
    assert len(grown) == len(set(grown)) == count
    best = sorted((abs(gradient[i]) for i in candidates), reverse=True)[:count]
    assert sorted((abs(gradient[i]) for i in grown), reverse=True) == best


def test_gradient_growth_ignores_the_sign_of_the_gradient() -> None:
    layer = view([1.0, -9.0, 2.0, 8.0], [False] * 4)
    assert grow_largest_gradient(layer, others([0, 1, 2, 3], 4), 2, generator()).tolist() == [1, 3]


def test_gradient_growth_never_looks_beyond_the_candidates() -> None:
    layer = view([float("nan"), 1.0, 100.0, 2.0], [True, False, False, False])
    assert grow_largest_gradient(layer, others([1, 3], 4), 1, generator()).tolist() == [3]


def test_gradient_growth_among_zero_gradients_is_exact_and_even() -> None:
    layer = view([0.0, -0.0] * 10, [False] * 20)
    hits = np.zeros(20)
    for seed in range(200):
        grown = grow_largest_gradient(layer, torch.arange(0), 5, generator(seed))
        assert len(set(grown.tolist())) == 5
        hits[grown.numpy()] += 1
    assert hits.min() > 20  # 50 expected each, standard deviation 6.1
    assert hits.max() < 80


def test_gradient_growth_without_a_gradient_names_the_layer() -> None:
    with pytest.raises(ValueError, match="demo: gradient growth needs a captured gradient"):
        grow_largest_gradient(view(None, [False]), others([0], 1), 1, generator())


def test_gradient_growth_refuses_candidates_with_gradients_that_are_not_finite() -> None:
    layer = view([1.0, float("inf"), 2.0], [False] * 3)
    with pytest.raises(NonFiniteError):
        grow_largest_gradient(layer, others([0, 1, 2], 3), 2, generator())


class Cut:
    """A gradient that comes in blocks."""

    def __init__(self, values: Tensor, size: int) -> None:
        self.values, self.size = values, size

    def blocks(self) -> Iterator[tuple[int, Tensor]]:
        for first in range(0, self.values.numel(), self.size):
            yield first, self.values[first : first + self.size].clone()


@given(coarse.filter(bool), st.integers(1, 12), st.integers(0, 99), st.data())
def test_gradient_growth_does_not_depend_on_the_blocks_of_the_gradient(
    gradient: list[float], size: int, seed: int, data: st.DataObject
) -> None:
    n = len(gradient)
    candidates = sorted(data.draw(st.sets(st.integers(0, n - 1))))
    count = data.draw(st.integers(0, len(candidates)) | st.just(len(candidates)))
    kept = others(candidates, n)
    values = torch.tensor(gradient)
    whole = view(gradient, [False] * n)
    cut = replace(whole, gradient=Cut(values, size))
    sources = generator(seed), generator(seed)
    expected = grow_largest_gradient(whole, kept, count, sources[0])
    assert torch.equal(grow_largest_gradient(cut, kept, count, sources[1]), expected)
    assert torch.equal(sources[0].get_state(), sources[1].get_state())
    assert values.tolist() == gradient


def test_gradient_growth_in_blocks_looks_at_no_gradient_of_what_stays() -> None:
    layer = replace(
        view(None, [True, False, False, False, True]),
        gradient=Cut(torch.tensor([torch.nan, 1.0, 100.0, 2.0, torch.inf]), 2),
    )
    kept = others([1, 3], 5)
    assert grow_largest_gradient(layer, kept, 1, generator()).tolist() == [3]
    with pytest.raises(NonFiniteError):
        grow_largest_gradient(layer, kept[:-1], 1, generator())


def test_a_round_of_a_layer_too_large_for_a_mask_needs_only_its_connections() -> None:
    shape = (300_000, 300_000)
    kept = torch.arange(0, 9 * 10**10, 9 * 10**4)
    layer = LayerView("huge", shape, kept, torch.zeros(kept.numel()))
    grown = grow_random(layer, kept, 1000, generator())
    assert grown.numel() == 1000
    assert bool((grown.diff() > 0).all())
    assert int(grown[-1]) < layer.numel
    assert not set(grown.tolist()) & set(kept.tolist())


def test_random_growth_is_uniform_over_the_candidates() -> None:
    candidates, hits = torch.tensor([2, 3, 5, 7, 11]), torch.zeros(12)
    source = generator()
    for _ in range(2000):
        grown = grow_random(view(None, [False] * 12), others(candidates.tolist(), 12), 2, source)
        assert len(set(grown.tolist())) == 2
        hits[grown] += 1
    assert set(hits.nonzero().flatten().tolist()) == set(candidates.tolist())
    # 800 expected each, standard deviation sqrt(2000 * .4 * .6) = 21.9.
    assert bool((hits[candidates] - 800).abs().max() < 110)


@pytest.mark.parametrize("name", list(GROW_RULES))
def test_growth_by_nothing_or_by_all_candidates(name: str) -> None:
    layer = view([1.0, 1.0, 2.0, 3.0], [True, False, False, False])
    pick = GROW_RULES[name].pick
    assert pick(layer, others([1, 2, 3], 4), 0, generator()).tolist() == []
    assert pick(layer, others([1, 2, 3], 4), 3, generator()).tolist() == [1, 2, 3]


def test_the_rules_are_found_by_name() -> None:
    assert {name: rule.name for name, rule in DROP_RULES.items()} == {
        "magnitude": "magnitude",
        "sign": "sign",
    }
    assert {name: rule.needs_gradient for name, rule in GROW_RULES.items()} == {
        "random": False,
        "gradient": True,
    }
