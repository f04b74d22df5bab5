"""Schedules are closed forms of the step: values at the edges, offsets, windows, bad input."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsewire.core.errors import InvalidArgumentError
from sparsewire.core.schedule import Constant, Cosine, CubicRamp, Every


def steps_due(every: Every, until: int) -> list[int]:
    return [step for step in range(until) if every.due(step)]


def test_updates_come_every_interval_and_stop_strictly_before_the_end() -> None:
    assert steps_due(Every(100, end=300), 1000) == [100, 200]
    assert steps_due(Every(100, end=301), 1000) == [100, 200, 300]


def test_no_update_comes_before_the_first_optimizer_step() -> None:
    assert not Every(1).due(0)
    assert steps_due(Every(1, end=4), 10) == [1, 2, 3]


def test_an_update_comes_at_the_begin_itself() -> None:
    assert steps_due(Every(100, begin=250, end=700), 1000) == [250, 350, 450, 550, 650]


def test_an_interval_need_not_divide_the_window() -> None:
    every = Every(7, begin=3, end=25)
    assert steps_due(every, 100) == [3, 10, 17, 24]
    assert every.last == 24


def test_updates_without_an_end_go_on_for_ever() -> None:
    every = Every(3)
    assert every.last is None
    assert every.due(3 * 10**12)
    assert not every.due(3 * 10**12 + 1)


@given(st.integers(1, 60), st.integers(0, 120), st.integers(1, 400))
def test_the_last_update_is_the_largest_due_step_before_the_end(
    interval: int, begin: int, end: int
) -> None:
    first = begin if begin > 0 else interval
    expected = list(range(first, end, interval))
    if not expected:
        with pytest.raises(InvalidArgumentError, match="no topology update falls into"):
            Every(interval, begin, end)
        return
    every = Every(interval, begin, end)
    assert steps_due(every, 1000) == expected
    assert every.last == expected[-1] < end


def test_an_empty_window_is_refused_with_the_smallest_end_that_works() -> None:
    with pytest.raises(InvalidArgumentError, match="raise end above 100"):
        Every(100, end=100)
    assert Every(100, end=101).last == 100


@pytest.mark.parametrize("interval", [0, -1, 1.0, 2.5, True, None, "10"])
def test_an_interval_that_is_no_positive_integer_is_refused(interval: int) -> None:
    with pytest.raises(InvalidArgumentError, match="update_interval must be an integer >= 1"):
        Every(interval)


@pytest.mark.parametrize("begin", [-1, 0.5, None, False])
def test_a_begin_that_is_no_natural_number_is_refused(begin: int) -> None:
    with pytest.raises(InvalidArgumentError, match="begin must be an integer >= 0"):
        Every(10, begin=begin)


@pytest.mark.parametrize("end", [0, -5, 10.0, True])
def test_an_end_that_is_no_positive_integer_is_refused(end: int) -> None:
    with pytest.raises(InvalidArgumentError, match="end must be an integer >= 1"):
        Every(10, end=end)


@pytest.mark.parametrize("step", [0, 1, 10**9])
def test_a_constant_is_the_same_at_every_step(step: int) -> None:
    assert Constant(0.3)(step) == 0.3


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan"), "0.3", None, True])
def test_a_constant_outside_zero_to_one_is_refused(value: float) -> None:
    with pytest.raises(InvalidArgumentError, match=r"drop_fraction must be a number in \[0, 1\]"):
        Constant(value)


@pytest.mark.parametrize("begin", [0, 1000])
def test_the_cosine_has_its_closed_form_values(begin: int) -> None:
    cosine = Cosine(0.3, 0.1, end=begin + 1000, begin=begin)
    assert cosine(begin) == 0.3
    assert cosine(begin + 250) == pytest.approx(0.2 + 0.1 * math.sqrt(0.5))
    assert cosine(begin + 500) == pytest.approx(0.2)
    assert cosine(begin + 750) == pytest.approx(0.2 - 0.1 * math.sqrt(0.5))
    assert cosine(begin + 999) == pytest.approx(0.1 + 0.1 * (1 - math.cos(math.pi / 1000)))
    assert cosine(begin + 1000) == 0.1


def test_the_cosine_is_constant_outside_its_window() -> None:
    cosine = Cosine(0.5, 0.005, begin=100, end=200)
    assert {cosine(0), cosine(99), cosine(100)} == {0.5}
    assert {cosine(200), cosine(201), cosine(10**9)} == {0.005}


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 50), st.integers(1, 50))
def test_the_cosine_goes_monotonically_from_start_to_stop(
    start: float, stop: float, begin: int, length: int
) -> None:
    cosine = Cosine(start, stop, end=begin + length, begin=begin)
    values = [cosine(step) for step in range(begin + length + 3)]
    assert all(0 <= value <= 1 for value in values)
    differences = [b - a for a, b in itertools.pairwise(values)]
    assert all(d <= 1e-12 for d in differences) or all(d >= -1e-12 for d in differences)


@pytest.mark.parametrize(
    ("start", "stop", "begin", "end"),
    [(1.1, 0, 0, 10), (0.3, -0.1, 0, 10), (0.3, 0, 10, 10), (0.3, 0, -1, 10), (0.3, 0, 0, 0)],
)
def test_a_cosine_out_of_range_is_refused(start: float, stop: float, begin: int, end: int) -> None:
    with pytest.raises(InvalidArgumentError):
        Cosine(start, stop, end=end, begin=begin)


@pytest.mark.parametrize("begin", [0, 30])
def test_the_cubic_ramp_has_its_closed_form_values(begin: int) -> None:
    ramp = CubicRamp(begin, begin + 100)
    expected = {0: 0.0, 10: 0.271, 50: 0.875, 99: 1 - 1e-6, 100: 1.0, 1000: 1.0}
    for offset, value in expected.items():
        assert ramp(begin + offset) == pytest.approx(value)
    assert ramp(0) == 0.0
    assert ramp(begin + 100) == 1.0


def test_the_cubic_ramp_of_a_single_update_is_a_jump() -> None:
    ramp = CubicRamp(begin=50, end=50)
    assert [ramp(step) for step in (0, 49, 50, 51)] == [0.0, 0.0, 1.0, 1.0]


def test_a_cubic_ramp_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="end must be an integer >= 10"):
        CubicRamp(begin=10, end=9)
