"""Sizes and orders: the published numbers of features, and permutations that never repeat."""

import math
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsewire.core.errors import InvalidArgumentError
from sparsewire.rl.envs.layout import NoiseLayout, n_noisy_features, permutation
from sparsewire.rl.envs.noise import Noise

FRACTIONS = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99)
SIZES = {
    17: (34, 85, 170, 340, 850, 1700),
    11: (22, 55, 110, 220, 550, 1100),
    348: (696, 1740, 3480, 6960, 17400, 34800),
    105: (210, 525, 1050, 2100, 5250, 10500),
    3: (6, 15, 30, 60, 150, 300),
}


@pytest.mark.parametrize("n_real", SIZES)
def test_sizes_are_exact_where_floating_point_is_off_by_one(n_real: int) -> None:
    assert tuple(n_noisy_features(n_real, f) for f in FRACTIONS) == SIZES[n_real]


def test_the_naive_formula_would_be_off_by_one() -> None:
    assert math.ceil(17 / (1 - 0.9)) == 171


@given(st.integers(1, 500), st.integers(0, 999))
def test_the_size_is_the_least_with_that_share_of_noise(n_real: int, thousandths: int) -> None:
    size = n_noisy_features(n_real, thousandths / 1000)
    share = Fraction(thousandths, 1000)
    assert size - n_real >= share * size
    assert (size - 1 - n_real) < share * (size - 1) or size == n_real


@pytest.mark.parametrize("fraction", [np.float32(0.9), np.float64(0.9), Fraction(9, 10)])
def test_any_real_number_is_a_fraction(fraction: Any) -> None:
    assert n_noisy_features(17, fraction) == 170


@pytest.mark.parametrize(
    "fraction", [1, 1.0, -0.1, 2, float("nan"), float("inf"), "0.9", None, True]
)
def test_fractions_outside_zero_to_one_are_refused(fraction: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"noise_fraction must be a number in \[0, 1\)"):
        n_noisy_features(17, fraction)


@given(st.integers(0, 2**40), st.integers(1, 6), st.integers(4, 40))
def test_a_permutation_depends_on_its_arguments_alone(seed: int, phase: int, size: int) -> None:
    first = permutation(seed, phase, size).copy()
    permutation.cache_clear()
    assert np.array_equal(permutation(seed, phase, size), first)
    assert sorted(first.tolist()) == list(range(size))


def test_phase_zero_is_the_identity_and_no_later_phase_repeats_an_earlier_one() -> None:
    for seed in range(5):
        orders = [tuple(permutation(seed, phase, 3)) for phase in range(6)]
        assert orders[0] == (0, 1, 2)
        assert len(set(orders)) == 6


def test_asking_for_more_orders_than_exist_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="3 features have only 6 orders"):
        permutation(0, 6, 3)


def test_different_seeds_and_phases_give_different_orders() -> None:
    orders = [permutation(seed, phase, 30) for seed in range(3) for phase in range(1, 4)]
    assert all(not np.array_equal(a, b) for a, b in pairwise(orders))


def test_permutations_are_uniform() -> None:
    firsts = [int(permutation(seed, 1, 10)[0]) for seed in range(2000)]
    counts = np.bincount(firsts, minlength=10)
    assert ((counts - 200) ** 2 / 200).sum() < 33  # chi-squared with 9 degrees, p = 1e-4


@given(st.integers(1, 8), st.integers(0, 8), st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_places_find_the_real_features_again_whatever_the_phase(
    n_real: int, n_noise: int, phases: list[int]
) -> None:
    size = n_real + n_noise
    phases = [phase % math.factorial(min(size, 4)) for phase in phases]
    layout = NoiseLayout(n_real, size, Noise("normal", 1.0), False, 7)
    features = np.random.default_rng(0).normal(size=(len(phases), size)).astype(np.float32)
    arranged = layout.arrange(features.copy(), np.array(phases))
    for before, after, phase in zip(features, arranged, phases, strict=True):
        assert after.tolist() == [before[i] for i in layout.permutation(phase)]
        assert np.array_equal(after[layout.places(phase)], before[:n_real])
        assert np.flatnonzero(layout.relevant_mask(phase)).tolist() == sorted(layout.places(phase))


def test_orders_are_shared_and_therefore_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        permutation(0, 1, 5)[0] = 0
