"""Interquartile means and bootstrap intervals against closed forms and slow references."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sparsewire.core import InvalidArgumentError
from sparsewire.rl.command import statistics
from sparsewire.rl.command.statistics import (
    aggregate,
    aggregate_curve,
    interquartile_mean,
    learning_curve_area,
    normalized,
    paired_difference,
    probability_of_improvement,
)
from tests.rl.command.helpers import global_keys

NUMBERS = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=12)


def slow_interquartile_mean(values: list[float]) -> float:
    cut = len(values) // 4
    middle = sorted(values)[cut : len(values) - cut]
    return sum(middle) / len(middle)


def slow_wins(ours: list[float], theirs: list[float]) -> float:
    pairs = list(itertools.product(ours, theirs))
    return sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs)


@given(NUMBERS)
def test_interquartile_mean_is_the_mean_of_the_middle_half(values: list[float]) -> None:
    assert interquartile_mean(values) == pytest.approx(slow_interquartile_mean(values), abs=1e-9)


@given(NUMBERS, NUMBERS)
def test_probability_of_improvement_counts_pairs(ours: list[float], theirs: list[float]) -> None:
    found = probability_of_improvement([ours], [theirs]).estimate
    assert found == pytest.approx(slow_wins(ours, theirs))
    back = probability_of_improvement([theirs], [ours]).estimate
    assert found + back == pytest.approx(1.0)
    u = stats.mannwhitneyu(ours, theirs, method="asymptotic").statistic if len(ours) > 1 else None
    if u is not None:
        assert found == pytest.approx(u / (len(ours) * len(theirs)))


@pytest.mark.parametrize("kind", ["iqm", "mean", "median"])
def test_interval_equals_resampling_runs_within_each_environment(kind: Any) -> None:
    """A slow stratified bootstrap with a generator of its own, many times more samples."""
    rng = np.random.default_rng(7)
    scores = [rng.normal(0.0, 1.0, 6), rng.normal(20.0, 0.1, 9)]
    function = statistics._AGGREGATES[kind]
    draws = [
        function(np.concatenate([s[rng.integers(0, len(s), len(s))] for s in scores]))
        for _ in range(4000)
    ]
    low, high = np.quantile(draws, [0.025, 0.975])
    found = aggregate(scores, kind)
    spread = np.std(draws)
    assert found.estimate == pytest.approx(function(np.concatenate(scores)))
    assert found.low == pytest.approx(low, abs=0.2 * spread)
    assert found.high == pytest.approx(high, abs=0.2 * spread)


def test_environments_are_strata_not_one_pool() -> None:
    """Constant scores within each environment leave nothing to resample; a pool would."""
    found = aggregate([[0.0, 0.0, 0.0], [10.0, 10.0, 10.0]], "mean")
    assert (found.low, found.estimate, found.high) == (5.0, 5.0, 5.0)


def test_mean_interval_agrees_with_the_normal_approximation() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    found = aggregate([values], "mean")
    half = stats.norm.ppf(0.975) * values.std() / np.sqrt(400)
    assert found.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_interval_of_a_probability_equals_a_slow_bootstrap() -> None:
    rng = np.random.default_rng(3)
    ours, theirs = rng.normal(0.5, 1, 7), rng.normal(0.0, 1, 8)
    draws = [slow_wins(list(rng.choice(ours, 7)), list(rng.choice(theirs, 8))) for _ in range(4000)]
    found = probability_of_improvement([ours], [theirs])
    assert found.low == pytest.approx(np.quantile(draws, 0.025), abs=0.05)
    assert found.high == pytest.approx(np.quantile(draws, 0.975), abs=0.05)


def test_pairing_removes_what_seeds_share() -> None:
    shared = np.random.default_rng(0).normal(0, 100, 8)
    found = paired_difference([shared + 1.0], [shared])
    assert found.low == pytest.approx(1.0)
    assert found.high == pytest.approx(1.0)
    unpaired = aggregate([shared + 1.0], "mean")
    assert unpaired.high - unpaired.low > 50


def test_curve_aggregates_each_point_like_a_score() -> None:
    returns = np.random.default_rng(1).normal(size=(6, 4)).cumsum(axis=1)
    middle, low, high = aggregate_curve(returns, "iqm", seed=5)
    for point in range(4):
        alone = aggregate([returns[:, point]], "iqm", seed=5)
        assert (middle[point], low[point], high[point]) == pytest.approx(
            (alone.estimate, alone.low, alone.high)
        )


def test_one_run_has_no_interval() -> None:
    alone = aggregate([[3.0]])
    assert alone.estimate == 3.0
    assert np.isnan([alone.low, alone.high]).all()
    assert str(alone) == "3"
    middle, low, high = aggregate_curve([[1.0, 2.0]])
    assert middle.tolist() == [1.0, 2.0]
    assert np.isnan([low, high]).all()


def test_the_same_seed_gives_the_same_interval_and_global_generators_stay() -> None:
    before = global_keys()
    scores = [np.arange(6.0)]
    assert aggregate(scores, seed=1) == aggregate(scores, seed=1)
    assert (global_keys() == before).all()


def test_learning_curve_area_is_that_of_the_paper() -> None:
    """201 evaluations of 10 000 are an area of 2.01, the unit of Sokar et al.'s tables."""
    assert learning_curve_area(np.full((2, 201), 10_000.0)) == pytest.approx([2.01, 2.01])


@given(st.lists(NUMBERS, min_size=1, max_size=4))
def test_normalized_scores_span_zero_to_one_and_keep_their_order(scores: list[list[float]]) -> None:
    flat, scaled = np.concatenate(scores), np.concatenate(normalized(scores))
    assert ((scaled >= 0) & (scaled <= 1)).all()
    assert (np.diff(scaled[np.argsort(flat)]) >= 0).all()
    if flat.max() > flat.min():
        assert (scaled.min(), scaled.max()) == (0.0, 1.0)


def test_wrong_shapes_and_levels_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="at least one score"):
        aggregate([])
    with pytest.raises(InvalidArgumentError, match="at least one score"):
        aggregate([[1.0], []])
    with pytest.raises(InvalidArgumentError, match="one by one"):
        paired_difference([[1.0, 2.0]], [[1.0]])
    with pytest.raises(InvalidArgumentError, match="one by one"):
        probability_of_improvement([[1.0]], [[1.0], [2.0]])
    with pytest.raises(InvalidArgumentError, match="confidence"):
        aggregate([[1.0, 2.0]], confidence=1.5)
