"""Water-filling, exact rounding and budgets, against exact fractions and by properties."""

import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsewire.core.budget import LayerShape, check_budget, connections, round_counts, water_fill
from sparsewire.core.errors import InfeasibleDensityError, InvalidArgumentError

Problem = tuple[list[int], list[Fraction], int]


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Sizes, ratios and a feasible budget."""
    sizes = draw(st.lists(st.integers(1, 5000), min_size=1, max_size=8))
    ratios = [Fraction(draw(st.integers(1, 1000)), draw(st.integers(1, 1000))) for _ in sizes]
    return sizes, ratios, draw(st.integers(len(sizes), sum(sizes)))


def fill_one_by_one(sizes: list[int], ratios: list[Fraction], total: int) -> list[Fraction]:
    """Make the layer that overflows most dense, one at a time, in exact arithmetic."""
    dense: set[int] = set()
    while len(dense) < len(sizes):
        free = [i for i in range(len(sizes)) if i not in dense]
        scale = Fraction(total - sum(sizes[i] for i in dense)) / sum(
            ratios[i] * sizes[i] for i in free
        )
        largest = max(free, key=lambda i: ratios[i])
        if scale * ratios[largest] <= 1:
            return [Fraction(1) if i in dense else scale * r for i, r in enumerate(ratios)]
        dense.add(largest)
    return [Fraction(1)] * len(sizes)


@given(problems())
def test_water_fill_agrees_with_exact_one_by_one_clamping(problem: Problem) -> None:
    sizes, ratios, total = problem
    found = water_fill(sizes, [float(r) for r in ratios], total)
    expected = [float(d) for d in fill_one_by_one(sizes, ratios, total)]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@given(problems())
def test_water_fill_spends_the_budget_with_no_density_above_one(problem: Problem) -> None:
    sizes, ratios, total = problem
    densities = water_fill(sizes, [float(r) for r in ratios], total)
    assert all(0 < d <= 1 for d in densities)
    assert sum(d * n for d, n in zip(densities, sizes, strict=True)) == pytest.approx(total)


@given(problems())
def test_water_fill_keeps_the_ratios_of_the_layers_below_one(problem: Problem) -> None:
    sizes, ratios, total = problem
    densities = water_fill(sizes, [float(r) for r in ratios], total)
    scales = [d / float(r) for d, r in zip(densities, ratios, strict=True) if d < 1]
    if scales:
        assert max(scales) == pytest.approx(min(scales))
        # A layer is dense only because the common scale would lift it to 1 or more.
        for density, ratio in zip(densities, ratios, strict=True):
            assert density == pytest.approx(min(1.0, scales[0] * float(ratio)))


@given(problems())
def test_water_fill_does_not_depend_on_the_order_of_layers(problem: Problem) -> None:
    sizes, ratios, total = problem
    forward = water_fill(sizes, [float(r) for r in ratios], total)
    backward = water_fill(sizes[::-1], [float(r) for r in ratios[::-1]], total)
    np.testing.assert_allclose(backward[::-1], forward, rtol=1e-12)


@given(problems())
def test_water_fill_is_invariant_to_the_scale_of_the_ratios(problem: Problem) -> None:
    sizes, ratios, total = problem
    plain = water_fill(sizes, [float(r) for r in ratios], total)
    scaled = water_fill(sizes, [float(r) * 1e6 for r in ratios], total)
    np.testing.assert_allclose(scaled, plain, rtol=1e-9)


@given(problems())
def test_round_counts_is_exact_and_within_one_of_every_target(problem: Problem) -> None:
    sizes, ratios, total = problem
    exact = fill_one_by_one(sizes, ratios, total)
    targets = [d * n for d, n in zip(exact, sizes, strict=True)]
    counts = round_counts([float(t) for t in targets], sizes, total)
    assert sum(counts) == total
    assert all(1 <= c <= n for c, n in zip(counts, sizes, strict=True))
    if min(targets) >= 1:
        assert all(abs(c - t) < 1 + 1e-6 for c, t in zip(counts, targets, strict=True))


@given(problems(), st.lists(st.floats(0, 1e6), min_size=8, max_size=8))
def test_round_counts_is_exact_whatever_the_targets(problem: Problem, wishes: list[float]) -> None:
    sizes, _, total = problem
    sizes = [min(size, 50) for size in sizes]
    total = min(total, sum(sizes))
    counts = round_counts(wishes[: len(sizes)], sizes, total)
    assert sum(counts) == total
    assert all(1 <= c <= n for c, n in zip(counts, sizes, strict=True))


def test_round_counts_gives_the_units_left_to_the_largest_remainders() -> None:
    assert round_counts([10.2, 10.7, 10.6, 10.5], [99] * 4, 42) == [10, 11, 11, 10]


def test_round_counts_breaks_ties_towards_the_earlier_layer() -> None:
    assert round_counts([2.5, 2.5, 2.5, 2.5], [9] * 4, 10) == [3, 3, 2, 2]


def test_round_counts_lifts_empty_layers_at_the_cost_of_the_others() -> None:
    assert round_counts([0.01, 0.02, 9.97], [9, 9, 99], 10) == [1, 1, 8]


def test_round_counts_never_overfills_a_layer() -> None:
    assert round_counts([3.0, 5.9], [3, 20], 10) == [3, 7]


def test_a_tensor_above_two_to_the_24_is_counted_to_the_unit() -> None:
    # 2**24 + 1 is the first integer float32 cannot hold.
    sizes = [2**24 + 1, 2**31 + 3, 2**24 + 1]
    for total in (2**24 + 3, 2**30 + 1, sum(sizes) - 1, sum(sizes)):
        densities = water_fill(sizes, [1.0, 1.0, 1.0], total)
        counts = round_counts([d * n for d, n in zip(densities, sizes, strict=True)], sizes, total)
        assert sum(counts) == total
        assert abs(counts[0] - counts[2]) <= 1


@pytest.mark.parametrize("density", [0.0, -0.1, 1.0001, float("nan"), float("inf"), "0.5", True])
def test_connections_refuses_a_density_outside_its_range(density: float) -> None:
    with pytest.raises(InvalidArgumentError, match=r"density must be a number in \(0, 1\]"):
        connections([LayerShape("a", (10, 10))], density)


@given(st.integers(1, 10**6), st.floats(1e-3, 1.0))
def test_connections_is_the_rounded_share_of_the_weights(numel: int, density: float) -> None:
    layer = LayerShape("a", (numel, 1))
    if round(density * numel) < 1:
        with pytest.raises(InfeasibleDensityError):
            connections([layer], density)
    else:
        assert connections([layer], density) == round(density * numel)


def test_connections_charges_dense_parameters_to_the_budget() -> None:
    layers = [LayerShape("a", (100, 100))]
    assert connections(layers, 0.3, dense=1000) == 3300 - 1000


def test_connections_of_density_one_are_all_weights_with_or_without_dense_ones() -> None:
    layers = [LayerShape("a", (7, 11)), LayerShape("b", (2**13, 2**13))]
    assert connections(layers, 1.0) == connections(layers, 1.0, dense=12345) == 77 + 2**26


@pytest.mark.parametrize(("n_layers", "size", "dense"), [(1, 10_000, 26_122), (1000, 38, 0)])
def test_the_density_an_infeasibility_error_recommends_is_feasible(
    n_layers: int, size: int, dense: int
) -> None:
    layers = [LayerShape(str(i), (size, 1)) for i in range(n_layers)]
    with pytest.raises(InfeasibleDensityError) as refusal:
        connections(layers, 0.0001, dense=dense)
    recommended = re.search(r"density in \[([^,]+), 1\]", str(refusal.value))
    assert recommended is not None
    assert connections(layers, float(recommended[1]), dense=dense) >= n_layers


def test_check_budget_accepts_exactly_the_attainable_range() -> None:
    layers = [LayerShape("a", (3, 2)), LayerShape("b", (2, 2))]
    for total in range(2, 11):
        check_budget(layers, total)
    for total in (-1, 0, 1, 11):
        with pytest.raises(InfeasibleDensityError, match=f"{total} connections cannot be spread"):
            check_budget(layers, total)
