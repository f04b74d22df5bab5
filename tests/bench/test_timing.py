"""Timing: who takes a turn when, what a turn is worth, and what is left as it was found."""

import gc
import itertools
import random
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparsewire.bench.timing import (
    ROUNDS,
    Times,
    Turns,
    clock_for,
    clock_name,
    compare,
    geometric_mean,
    interleave,
    limited_to,
    per_call,
    plan,
)


def ticking() -> Callable[[], float]:
    """A clock that advances by one second whenever it is read."""
    seconds = itertools.count()
    return lambda: float(next(seconds))


def log_of(turns: dict[str, Turns]) -> str:
    log: list[str] = []
    steps = {name: (lambda name=name: log.append(name)) for name in turns}
    interleave(steps, turns, ticking())
    return "".join(log)


def test_every_round_has_a_turn_of_everybody() -> None:
    log = log_of({"a": Turns(2, 6), "b": Turns(1, 6), "c": Turns(1, 6)})
    rounds = [log[start : start + 4] for start in range(0, len(log), 4)]
    assert len(rounds) == 6
    assert all(sorted(calls) == ["a", "a", "b", "c"] and "aa" in calls for calls in rounds)


def test_the_order_differs_from_round_to_round_but_not_from_run_to_run() -> None:
    turns = {name: Turns(1, 10) for name in "abcd"}
    log = log_of(turns)
    rounds = {log[start : start + 4] for start in range(0, len(log), 4)}
    assert len(rounds) > 5
    assert log == log_of(turns)


def test_a_step_with_few_turns_takes_them_evenly_spread() -> None:
    log = log_of({"a": Turns(1, 9), "b": Turns(1, 3)})
    thirds = [log[start : start + 4] for start in (0, 4, 8)]
    assert [part.count("b") for part in thirds] == [1, 1, 1]


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 20)), min_size=1, max_size=4))
def test_every_step_is_called_as_often_as_planned(sizes: list[tuple[int, int]]) -> None:
    turns = {str(i): Turns(*size) for i, size in enumerate(sizes)}
    called = dict.fromkeys(turns, 0)

    def step(name: str) -> Callable[[], None]:
        def call() -> None:
            called[name] += 1

        return call

    times = interleave({name: step(name) for name in turns}, turns, ticking())
    assert called == {name: calls * number for name, (calls, number) in turns.items()}
    assert {name: len(own.seconds) for name, own in times.items()} == {
        name: own.number for name, own in turns.items()
    }
    # The clock ticks once within each turn, however many calls it has.
    for name, own in times.items():
        assert own.seconds == (1 / turns[name].calls,) * turns[name].number


def test_nothing_to_time_gives_nothing() -> None:
    assert interleave({}, {}, ticking()) == {}
    assert compare({}, 1.0, ticking()) == {}


def test_the_time_of_a_turn_is_shared_by_its_calls() -> None:
    now = 0.0

    def step() -> None:
        nonlocal now
        now += 2.0

    assert per_call(step, 5, lambda: now) == 2.0


def test_comparing_recovers_the_durations() -> None:
    now = 0.0

    def lasting(seconds: float) -> Callable[[], None]:
        def step() -> None:
            nonlocal now
            now += seconds

        return step

    times = compare({"short": lasting(0.25), "long": lasting(4.0)}, 8.0, lambda: now)
    assert (times["short"].median, times["long"].median) == (0.25, 4.0)
    assert (len(times["short"].seconds), len(times["long"].seconds)) == (15, 3)


@given(st.floats(1e-9, 100), st.floats(1e-3, 10), st.integers(3, 50))
def test_a_plan_keeps_to_its_budget_or_to_three_turns(
    seconds: float, budget: float, rounds: int
) -> None:
    calls, number = plan(seconds, budget, rounds)
    assert calls >= 1
    assert 3 <= number <= rounds
    if number > 3:
        assert calls * number * max(seconds, 1e-7) <= 1.6 * budget


def test_a_short_step_has_a_turn_in_every_round() -> None:
    assert plan(1e-6, 0.3).number == ROUNDS


def test_garbage_collection_and_global_randomness_are_left_alone() -> None:
    state = random.getstate()
    seen = []
    interleave({"a": lambda: seen.append(gc.isenabled())}, {"a": Turns(1, 3)}, ticking())
    assert seen == [False] * 3
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        interleave({"a": lambda: 1 / 0}, {"a": Turns(1, 1)}, ticking())
    assert gc.isenabled()
    assert random.getstate() == state


def test_the_number_of_threads_is_restored_even_after_an_error() -> None:
    before = torch.get_num_threads()
    with limited_to(before + 1):
        assert torch.get_num_threads() == before + 1
    with pytest.raises(ZeroDivisionError), limited_to(before + 1):
        1 / 0  # noqa: B018
    assert torch.get_num_threads() == before


def test_median_and_best_of_an_even_number_of_turns() -> None:
    times = Times((4.0, 1.0, 2.0, 10.0))
    assert (times.median, times.best) == (3.0, 1.0)


def test_one_thread_is_timed_by_cpu_time_and_more_by_wall_time() -> None:
    names = [(clock_for(threads).__name__, clock_name(threads)) for threads in (1, 2)]
    assert names == [("process_time", "process CPU time"), ("perf_counter", "wall time")]


def test_a_geometric_mean_treats_a_ratio_and_its_inverse_alike() -> None:
    assert geometric_mean([0.25, 4.0, 1.0]) == pytest.approx(1.0)
    assert geometric_mean([]) is None
