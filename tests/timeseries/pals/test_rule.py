"""The decision rule of PALS: its table, its memory, and exact counts."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsewire.core import InvalidArgumentError, NonFiniteError
from sparsewire.timeseries.pals.rule import Memory, Rule, State, changes, decide

REFERENCE = Rule.reference()
SEEN = Memory(best_loss=1.0, best_sparsity=0.5, loss=1.0)

# sparsity, loss (best 1.0 at sparsity 0.5, loss freedom 1.1), decision
TABLE: list[tuple[float, float, State]] = [
    (0.0, 0.5, "shrink"),
    (0.0, 9.0, "shrink"),  # below the minimum whatever the loss
    (0.199, 9.0, "shrink"),
    (0.2, 9.0, "stable"),  # bad, but no sparser than the best
    (0.3, 1.1, "shrink"),  # equality is tolerable
    (0.3, 1.2, "stable"),
    (0.5, 1.2, "stable"),  # not sparser than the best
    (0.501, 1.2, "expand"),
    (0.501, 1.1, "shrink"),
    (0.899, 1.0, "shrink"),
    (0.9, 1.0, "stable"),  # sparse enough
    (0.95, 0.1, "stable"),
    (0.95, 1.2, "expand"),
]


@pytest.mark.parametrize(("sparsity", "loss", "expected"), TABLE)
def test_decision_table(sparsity: float, loss: float, expected: State) -> None:
    assert decide(REFERENCE, SEEN, loss, sparsity)[0] == expected


def test_the_first_decision_shrinks_whatever_the_loss() -> None:
    state, memory = decide(REFERENCE, Memory(), 1e30, 0.25)
    assert (state, memory.best_loss, memory.best_sparsity) == ("shrink", 1e30, 0.25)


def test_the_best_loss_is_updated_after_the_decision() -> None:
    # Updated before, sparsity would equal that of the best and the loss would be tolerable.
    state, memory = decide(REFERENCE, SEEN, 0.5, 0.95)
    assert state == "stable"
    assert (memory.best_loss, memory.best_sparsity) == (0.5, 0.95)
    assert decide(REFERENCE, memory, 0.551, 0.96)[0] == "expand"


def test_an_equal_loss_does_not_replace_the_best() -> None:
    assert decide(REFERENCE, SEEN, 1.0, 0.7)[1].best_sparsity == 0.5


def reference_states(losses: list[float], sparsities: list[float]) -> list[str]:
    """Write down the published rule in its own words."""
    best, best_sparsity, states = float("inf"), 0.0, []
    for v, s in zip(losses, sparsities, strict=True):
        if s < 0.2 or (v <= 1.1 * best and s < 0.9):
            states.append("shrink")
        elif v > 1.1 * best and s > best_sparsity:
            states.append("expand")
        else:
            states.append("stable")
        if v < best:
            best, best_sparsity = v, s
    return states


@given(st.lists(st.tuples(st.floats(0, 2), st.floats(0, 0.99)), min_size=1, max_size=60))
def test_reference_mode_decides_as_the_published_rule(rows: list[tuple[float, float]]) -> None:
    losses, sparsities = [row[0] for row in rows], [row[1] for row in rows]
    memory, states = Memory(), []
    for loss, sparsity in rows:
        state, memory = decide(REFERENCE, memory, loss, sparsity)
        states.append(state)
    assert states == reference_states(losses, sparsities)


def test_the_smoothed_loss_is_an_exponential_average_from_the_first_loss_on() -> None:
    rule, memory = Rule(smoothing=0.7), Memory()
    smoothed = []
    for loss in (1.0, 2.0, 0.0):
        _, memory = decide(rule, memory, loss, 0.5)
        smoothed.append(memory.loss)
    assert smoothed == pytest.approx([1.0, 0.7 + 0.6, 0.7 * 1.3])
    assert memory.best_loss == pytest.approx(0.91)


def test_the_latch_closes_at_the_minimum_sparsity_and_stays() -> None:
    memory = Memory()
    for sparsity, latched in ((0.1, False), (0.2, True), (0.1, True)):
        _, memory = decide(Rule(), memory, 1.0, sparsity)
        assert memory.latched is latched
    assert not decide(REFERENCE, Memory(), 1.0, 0.5)[1].latched


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_refused(loss: float) -> None:
    with pytest.raises(NonFiniteError, match="validation loss"):
        decide(REFERENCE, Memory(), loss, 0.5)


def test_a_negative_loss_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="must not be negative"):
        decide(REFERENCE, Memory(), -0.1, 0.5)


BAD: dict[str, Callable[[], Rule]] = {
    "freedom below one": lambda: Rule(loss_freedom=0.9),
    "freedom nan": lambda: Rule(loss_freedom=math.nan),
    "minimum above maximum": lambda: Rule(min_sparsity=0.9, max_sparsity=0.5),
    "nothing left": lambda: Rule(max_sparsity=1.0),
    "negative minimum": lambda: Rule(min_sparsity=-0.1),
    "nothing but the past": lambda: Rule(smoothing=1.0),
}


@pytest.mark.parametrize("case", list(BAD))
def test_a_constant_out_of_range_is_refused(case: str) -> None:
    with pytest.raises(InvalidArgumentError):
        BAD[case]()


# Counts


@pytest.mark.parametrize(
    ("state", "factor", "expected"),
    [
        ("shrink", 1.05, (525, 500)),
        ("shrink", 1.2, (600, 500)),
        ("stable", 1.2, (500, 500)),
        ("expand", 1.2, (500, 600)),
        ("expand", 1.05, (500, 525)),
    ],
)
def test_net_changes_of_the_paper(state: State, factor: float, expected: tuple[int, int]) -> None:
    assert changes(state, 1000, 2000, 0.5, factor) == expected


@pytest.mark.parametrize(("factor", "percent"), [(1.05, 2.5), (1.1, 5), (1.2, 10)])
def test_the_first_shrinking_of_a_dense_layer_changes_sparsity_as_published(
    factor: float, percent: float
) -> None:
    pruned, grown = changes("shrink", 10_000, 10_000, 0.5, factor)
    assert (pruned - grown) / 100 == pytest.approx(percent, abs=0.02)


layers = st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(1, n), st.just(n)))


@given(
    st.sampled_from(["shrink", "stable", "expand"]),
    layers,
    st.floats(0.001, 0.6),
    st.floats(1, 1.5),
    st.floats(0, 1),
)
def test_counts_stay_within_the_layer_and_its_bounds(
    state: State, layer: tuple[int, int], fraction: float, factor: float, bound: float
) -> None:
    present, numel = layer
    limit = max(1, round(bound * numel))
    pruned, grown = changes(state, present, numel, fraction, factor, least=limit, most=limit)
    after = present - pruned + grown
    assert 0 <= pruned <= present
    assert 0 <= grown <= numel - (present - pruned)
    if state == "stable":
        assert after == present
    if state == "shrink":
        assert min(limit, present) <= after <= present
    if state == "expand":
        assert present <= after <= max(limit, present)


@given(layers, st.floats(0.001, 0.6), st.floats(1, 1.5))
def test_without_bounds_counts_are_the_published_ones(
    layer: tuple[int, int], fraction: float, factor: float
) -> None:
    present, numel = layer
    pruned, grown = changes("shrink", present, numel, fraction, factor, least=0)
    assert pruned == min(present, math.ceil(factor * fraction * present))
    assert grown == math.floor(pruned / factor)
    pruned, grown = changes("expand", present, numel, fraction, factor)
    assert pruned == math.ceil(fraction * present)
    assert grown == min(math.floor(factor * pruned), numel - present + pruned)


def test_a_layer_of_one_connection_is_never_emptied() -> None:
    pruned, grown = changes("shrink", 1, 50, 0.5, 1.2)
    assert 1 - pruned + grown == 1


def test_rules_and_memories_are_plain_values() -> None:
    assert Rule() == Rule(1.1, 0.2, 0.9, True, 0.7)
    assert replace(Memory(), loss=1.0) != Memory()
