"""Layer-wise counts: published oracles, exact sums, extremes and typed errors."""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsewire.core.allocation import (
    ER,
    ERK,
    Allocation,
    Custom,
    SetEpsilon,
    Uniform,
    matches_layer,
    resolve_allocation,
)
from sparsewire.core.budget import LayerShape, water_fill
from sparsewire.core.errors import (
    InfeasibleDensityError,
    InvalidArgumentError,
    UnknownLayerError,
    UnknownMethodError,
)

Shape = tuple[int, ...]

MLP: list[Shape] = [(300, 784), (100, 300), (10, 100)]
CONV_STACK: list[Shape] = [
    (16, 3, 3, 3),
    (32, 16, 3, 3),
    (64, 32, 3, 3),
    (128, 64, 1, 1),
    (10, 128),
]
RULES: list[Allocation] = [Uniform(), ER(), ERK()]


def named(shapes: Sequence[Shape]) -> list[LayerShape]:
    return [LayerShape(f"{i}.weight", shape) for i, shape in enumerate(shapes)]


def resnet50() -> list[Shape]:
    """Shapes of the 54 weights of ResNet-50, ImageNet head included."""
    shapes: list[Shape] = [(64, 3, 7, 7)]
    incoming = 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            shapes += [(width, incoming, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1)]
            if block == 0:
                shapes.append((4 * width, incoming, 1, 1))
            incoming = 4 * width
    return [*shapes, (1000, 2048)]


def kernel_ratio(shape: Shape) -> float:
    return sum(shape) / math.prod(shape)


def plane_ratio(shape: Shape) -> float:
    return (shape[0] + shape[1]) / (shape[0] * shape[1])


def solved(shapes: Sequence[Shape], density: float, rule: Allocation) -> list[float]:
    """Densities before rounding."""
    ratio = plane_ratio if isinstance(rule, ER) else kernel_ratio
    sizes = [math.prod(shape) for shape in shapes]
    return water_fill(sizes, [ratio(shape) for shape in shapes], density * sum(sizes))


def check_oracle(
    shapes: Sequence[Shape], rule: Allocation, density: float, expected: list[float], digits: int
) -> None:
    densities = solved(shapes, density, rule)
    assert [round(d, digits) for d in densities] == expected
    total = round(density * sum(math.prod(shape) for shape in shapes))
    counts = rule.counts(named(shapes), total)
    assert sum(counts.values()) == total
    for count, exact, shape in zip(counts.values(), densities, shapes, strict=True):
        assert abs(count - exact * math.prod(shape)) < 1 + 1e-6


@pytest.mark.parametrize("rule", [ER(), ERK()], ids=["er", "erk"])
@pytest.mark.parametrize(
    ("density", "expected"),
    [
        (0.02, [0.0153937, 0.0445337, 0.3674028]),
        (0.05, [0.0384841, 0.1113342, 0.9185069]),
        (0.1, [0.0795678, 0.2301887, 1.0]),
        (0.2, [0.1622412, 0.4693621, 1.0]),
    ],
)
def test_lenet_300_100_gets_its_known_densities(
    density: float, expected: list[float], rule: Allocation
) -> None:
    check_oracle(MLP, rule, density, expected, digits=7)


@pytest.mark.parametrize(
    ("density", "expected"),
    [
        (0.1, [0.371634, 0.075256, 0.035537, 0.152080, 0.692354]),
        (0.2, [0.819259, 0.165900, 0.078342, 0.335256, 1.0]),
        (0.5, [1.0, 0.494196, 0.233371, 0.998689, 1.0]),
    ],
)
def test_erk_gives_a_convolution_stack_its_known_densities(
    density: float, expected: list[float]
) -> None:
    check_oracle(CONV_STACK, ERK(), density, expected, digits=6)


@pytest.mark.parametrize(
    ("density", "expected"),
    [
        (0.1, [0.725672, 0.171870, 0.085935, 0.042967, 0.197650]),
        (0.2, [1.0, 0.354982, 0.177491, 0.088745, 0.408229]),
    ],
)
def test_er_gives_a_convolution_stack_its_known_densities(
    density: float, expected: list[float]
) -> None:
    check_oracle(CONV_STACK, ER(), density, expected, digits=6)


def test_resnet50_has_54_weights_of_the_known_total_size() -> None:
    assert len(resnet50()) == 54
    assert sum(math.prod(shape) for shape in resnet50()) == 25_502_912


@pytest.mark.parametrize(("density", "n_dense"), [(0.2, 8), (0.1, 1), (0.05, 0)])
def test_erk_makes_the_known_number_of_resnet50_layers_dense(density: float, n_dense: int) -> None:
    shapes = resnet50()
    total = round(density * 25_502_912)
    counts = ERK().counts(named(shapes), total)
    full = [n for n, shape in zip(counts.values(), shapes, strict=True) if n == math.prod(shape)]
    assert len(full) == n_dense == sum(d == 1 for d in solved(shapes, density, ERK()))
    assert sum(counts.values()) == total


def test_erk_gives_resnet50_its_known_densities_at_a_fifth() -> None:
    densities = solved(resnet50(), 0.2, ERK())
    assert round(densities[-1], 3) == 0.148
    assert round(min(densities), 4) == 0.0435


def test_erk_gives_resnet50_its_known_densities_at_a_tenth() -> None:
    densities = solved(resnet50(), 0.1, ERK())
    assert densities[1] == 1.0  # the first 1 x 1 convolution of the first stage
    assert round(densities[0], 3) == 0.420
    assert round(densities[-1], 4) == 0.0726
    assert round(min(densities), 4) == 0.0213


shape_lists = st.lists(
    st.lists(st.integers(1, 12), min_size=2, max_size=4).map(tuple), min_size=1, max_size=7
)


@pytest.mark.parametrize("rule", RULES, ids=repr)
@given(shapes=shape_lists, data=st.data())
def test_counts_sum_exactly_and_every_layer_gets_one_to_all(
    rule: Allocation, shapes: list[Shape], data: st.DataObject
) -> None:
    layers = named(shapes)
    total = data.draw(st.integers(len(layers), sum(layer.numel for layer in layers)))
    counts = rule.counts(layers, total)
    assert list(counts) == [layer.name for layer in layers]
    assert sum(counts.values()) == total
    assert all(1 <= counts[layer.name] <= layer.numel for layer in layers)
    assert all(type(count) is int for count in counts.values())


@pytest.mark.parametrize("rule", RULES, ids=repr)
@given(shapes=shape_lists, data=st.data())
def test_a_budget_outside_the_attainable_range_is_refused(
    rule: Allocation, shapes: list[Shape], data: st.DataObject
) -> None:
    layers = named(shapes)
    weights = sum(layer.numel for layer in layers)
    bad = st.one_of(
        st.integers(max_value=len(layers) - 1), st.integers(weights + 1, 10 * weights + 1)
    )
    with pytest.raises(InfeasibleDensityError):
        rule.counts(layers, data.draw(bad))


@pytest.mark.parametrize("rule", RULES, ids=repr)
@given(shapes=shape_lists, data=st.data())
def test_the_order_of_layers_moves_a_count_by_one_at_most(
    rule: Allocation, shapes: list[Shape], data: st.DataObject
) -> None:
    # Only the last unit of a tie may go to another layer.
    layers = named(shapes)
    weights = sum(layer.numel for layer in layers)
    total = data.draw(st.integers(len(layers), weights))
    shuffled = data.draw(st.permutations(layers))
    first, second = rule.counts(layers, total), rule.counts(shuffled, total)
    assert all(abs(first[name] - second[name]) <= 1 for name in first)


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_equal_layers_get_equal_counts_up_to_one(rule: Allocation) -> None:
    layers = named([(20, 30), (64, 3, 3, 3), (20, 30), (20, 30)])
    for total in range(4, 3528, 101):
        counts = list(rule.counts(layers, total).values())
        assert max(counts[0], *counts[2:]) - min(counts[0], *counts[2:]) <= 1


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_density_one_makes_every_layer_dense(rule: Allocation) -> None:
    layers = named(resnet50())
    counts = rule.counts(layers, 25_502_912)
    assert [counts[layer.name] for layer in layers] == [layer.numel for layer in layers]


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_the_smallest_budget_gives_one_connection_to_each_layer(rule: Allocation) -> None:
    assert set(rule.counts(named(resnet50()), 54).values()) == {1}


def test_uniform_gives_every_layer_the_density_asked_for() -> None:
    counts = Uniform().counts(named(CONV_STACK), round(0.25 * 32944))
    sizes = [math.prod(shape) for shape in CONV_STACK]
    np.testing.assert_allclose(list(counts.values()), [0.25 * n for n in sizes], atol=1)


def test_er_and_erk_agree_on_linear_layers() -> None:
    for total in (3, 1000, 26620, 100_000):
        assert ER().counts(named(MLP), total) == ERK().counts(named(MLP), total)


def test_er_does_not_depend_on_the_kernel_size_but_erk_does() -> None:
    small, large = named([(8, 8, 1, 1), (40, 40)]), named([(8, 8, 5, 5), (40, 40)])
    ratios = []
    for rule in (ER(), ERK()):
        densities = []
        for layers in (small, large):
            counts = rule.counts(layers, 200)
            densities.append(counts["0.weight"] / layers[0].numel / (counts["1.weight"] / 1600))
        ratios.append(densities[1] / densities[0])
    assert ratios[0] == pytest.approx(1, rel=0.05)
    assert ratios[1] < 0.2


def test_a_depthwise_convolution_becomes_dense_before_anything_else() -> None:
    layers = named([(64, 1, 3, 3), (64, 64, 1, 1), (10, 64)])
    counts = ERK().counts(layers, 2250)
    assert counts["0.weight"] == 576
    assert counts["1.weight"] < 4096
    assert counts["2.weight"] < 640


def test_a_layer_with_a_single_output_is_allocated_like_any_other() -> None:
    # (1 + 50) / 50 against (100 + 50) / 5000: the single output is dense at once.
    assert ERK().counts(named([(100, 50), (1, 50)]), 500) == {"0.weight": 450, "1.weight": 50}


def test_a_transposed_weight_gets_the_same_count() -> None:
    forward = ERK().counts(named([(30, 20, 3, 3), (50, 60)]), 900)
    transposed = ERK().counts(named([(20, 30, 3, 3), (60, 50)]), 900)
    assert forward == transposed


@given(shapes=shape_lists)
def test_erk_agrees_with_exact_fractions_wherever_no_layer_would_be_empty(
    shapes: list[Shape],
) -> None:
    layers = named(shapes)
    total = max(len(layers), sum(layer.numel for layer in layers) // 3)
    counts = ERK().counts(layers, total)
    free = dict.fromkeys([layer.name for layer in layers])
    left = Fraction(total)
    exact: dict[str, Fraction] = {}
    while free:
        inside = [layer for layer in layers if layer.name in free]
        scale = left / sum(sum(layer.shape) for layer in inside)
        over = [layer for layer in inside if scale * sum(layer.shape) > layer.numel]
        if not over:
            exact |= {layer.name: scale * sum(layer.shape) for layer in inside}
            break
        for layer in over:
            exact[layer.name] = Fraction(layer.numel)
            left -= layer.numel
            del free[layer.name]
    if min(exact.values()) >= 1:
        assert all(abs(counts[name] - exact[name]) <= 1 for name in exact)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1000, 784), 13 * 1784),
        ((10, 8), 80),  # saturates
        ((32, 16, 3, 3), 13 * (32 + 144)),
        ((1, 500), 500),  # 13 * 501 saturates
    ],
)
def test_set_epsilon_gives_epsilon_times_the_sum_of_inputs_and_outputs(
    shape: Shape, expected: int
) -> None:
    assert SetEpsilon(13).counts([LayerShape("a", shape)], None) == {"a": expected}


def test_set_epsilon_leaves_at_least_one_connection() -> None:
    assert SetEpsilon(1e-6).counts([LayerShape("a", (10, 10))], None) == {"a": 1}


def test_set_epsilon_refuses_a_density_beside_it() -> None:
    with pytest.raises(InvalidArgumentError, match="density=None"):
        SetEpsilon(5).counts(named(MLP), 100)


@pytest.mark.parametrize("epsilon", [0, -1, float("nan"), float("inf"), "13", None])
def test_set_epsilon_refuses_what_is_not_positive_and_finite(epsilon: float) -> None:
    with pytest.raises(InvalidArgumentError, match="epsilon"):
        SetEpsilon(epsilon)


def test_set_epsilon_accepts_the_integers_of_numpy() -> None:
    epsilon = np.arange(14)[13]
    assert SetEpsilon(epsilon).counts([LayerShape("a", (1000, 784))], None) == {"a": 23192}


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_a_rule_without_a_density_says_that_it_needs_one(rule: Allocation) -> None:
    assert rule.needs_density
    with pytest.raises(InvalidArgumentError, match="density"):
        rule.counts(named(MLP), None)


def test_custom_pins_the_named_layers_and_shares_the_rest_exactly() -> None:
    rule = Custom({"0": 0.01, "2.weight": 1.0})
    counts = rule.counts(named(MLP), 10_000)
    assert counts == {"0.weight": 2352, "1.weight": 6648, "2.weight": 1000}


def test_custom_takes_the_first_pattern_that_matches() -> None:
    assert Custom({"0": 0.5, "*": 0.1}).counts(named([(10, 10), (10, 10)]), None) == {
        "0.weight": 50,
        "1.weight": 10,
    }


def test_custom_spreads_the_rest_by_the_rule_it_is_given() -> None:
    layers = named([(10, 10), (40, 5), (20, 20)])
    counts = Custom({"0": 1.0}, rest=Uniform()).counts(layers, 400)
    assert counts == {"0.weight": 100, "1.weight": 100, "2.weight": 200}


def test_custom_without_a_density_can_leave_the_rest_to_set_epsilon() -> None:
    counts = Custom({"0": 0.5}, rest=SetEpsilon(2)).counts(named([(10, 10), (40, 30)]), None)
    assert counts == {"0.weight": 50, "1.weight": 140}


def test_custom_without_a_density_refuses_to_guess_the_rest() -> None:
    with pytest.raises(InvalidArgumentError, match="density"):
        Custom({"0": 0.5}).counts(named(MLP), None)


@pytest.mark.parametrize("total", [100, 101, 350])
def test_custom_refuses_a_budget_that_leaves_too_little_or_too_much(total: int) -> None:
    layers = named([(10, 10), (10, 10), (10, 10)])
    with pytest.raises(InfeasibleDensityError, match="allowed is 2 to 200"):
        Custom({"0": 1.0}).counts(layers, total)


def test_custom_refuses_a_density_that_contradicts_the_named_ones() -> None:
    with pytest.raises(InfeasibleDensityError, match="use 30 connections but the budget is 31"):
        Custom({"*": 0.3}).counts(named([(10, 10)]), 31)
    assert Custom({"*": 0.3}).counts(named([(10, 10)]), 30) == {"0.weight": 30}


@pytest.mark.parametrize("density", [0.0, -0.5, 1.01, float("nan"), "1"])
def test_custom_refuses_a_density_outside_its_range(density: float) -> None:
    with pytest.raises(InvalidArgumentError, match="density of 'head'"):
        Custom({"head": density})


def test_custom_names_the_pattern_that_matches_nothing_and_suggests_one() -> None:
    with pytest.raises(UnknownLayerError, match=r"'0\.wieght'.*Did you mean '0\.weight'"):
        Custom({"0.wieght": 0.5}).counts(named(MLP), 1000)


@pytest.mark.parametrize(
    ("pattern", "layer", "expected"),
    [
        ("0", "0.weight", True),
        ("0.weight", "0.weight", True),
        ("0", "10.weight", False),
        ("0", "1.0.weight", False),
        ("*.0", "1.0.weight", True),
        ("encoder.*", "encoder.layers.3.weight", True),
        ("encoder", "encoder2.weight", False),
        ("*", "anything.weight", True),
        ("lstm", "lstm.weight_hh_l0[o]", True),
        ("lstm.weight_hh_l0[o]", "lstm.weight_hh_l0[o]", True),
        ("lstm.weight_hh_l0[o]", "lstm.weight_hh_l0[f]", False),
        ("WEIGHT", "weight", False),
    ],
)
def test_a_pattern_matches_a_layer_its_parameter_or_an_enclosing_module(
    pattern: str, layer: str, expected: bool
) -> None:
    assert matches_layer(pattern, layer) is expected


def test_resolve_allocation_takes_names_objects_and_mappings() -> None:
    assert resolve_allocation("ERK") == ERK()
    assert resolve_allocation("er") == ER()
    assert resolve_allocation("uniform") == Uniform()
    rule = SetEpsilon(11)
    assert resolve_allocation(rule) is rule
    assert resolve_allocation({"0": 0.5}) == Custom({"0": 0.5})


@pytest.mark.parametrize("wrong", ["ekr", "", 0.1, None])
def test_resolve_allocation_rejects_an_unknown_name(wrong: str) -> None:
    with pytest.raises(UnknownMethodError, match=r"unknown allocation.*uniform, er, erk"):
        resolve_allocation(wrong)
