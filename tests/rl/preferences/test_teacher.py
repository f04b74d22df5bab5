import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparsewire.core import InvalidArgumentError
from sparsewire.rl import ScriptedTeacher

ZEROS = np.zeros(20_000)
ONES = np.ones(20_000)


@given(st.floats(-20, 20), st.floats(-20, 20), st.floats(0, 5), st.floats(0, 1))
def test_probabilities_follow_the_formula(a: float, b: float, beta: float, mistake: float) -> None:
    teacher = ScriptedTeacher(beta, mistake)
    rational = 1 / (1 + math.exp(-beta * (b - a)))
    expected = (1 - mistake) * rational + mistake * (1 - rational)
    assert teacher.probabilities([a], [b])[0] == pytest.approx(expected)


def test_an_oracle_prefers_the_larger_return_and_calls_a_tie_a_tie() -> None:
    assert ScriptedTeacher().compare([0, 2, 1], [1, 1, 1]).tolist() == [1, 0, 0.5]


@pytest.mark.parametrize(
    ("teacher", "expected"),
    [
        (ScriptedTeacher(mistake_probability=0.2), 0.8),
        (ScriptedTeacher(beta=2.0), 1 / (1 + math.exp(-2))),
        (ScriptedTeacher(beta=0.0), 0.5),
        (ScriptedTeacher(beta=1.0, mistake_probability=1.0), 1 / (1 + math.e)),
    ],
)
def test_preferences_are_as_frequent_as_they_are_probable(
    teacher: ScriptedTeacher, expected: float
) -> None:
    assert teacher.compare(ZEROS, ONES).mean() == pytest.approx(expected, abs=0.015)


@pytest.mark.parametrize(("gap", "label"), [(0.999, 0.5), (1.0, 0.5), (1.001, 1.0)])
def test_returns_within_the_threshold_are_equal(gap: float, label: float) -> None:
    teacher = ScriptedTeacher(equal_threshold=1.0)
    assert teacher.compare([3.0], [3.0 + gap]).tolist() == [label]


def test_a_mistake_is_never_made_about_equal_segments() -> None:
    teacher = ScriptedTeacher(mistake_probability=1.0, equal_threshold=0.1)
    assert set(teacher.compare(ZEROS, ZEROS + 0.05)) == {0.5}


def test_answers_depend_on_seed_and_call_alone() -> None:
    def answers(seed: int, calls: int = 2) -> list[list[float]]:
        teacher = ScriptedTeacher(beta=0.0, seed=seed)
        return [teacher.compare(ZEROS[:50], ONES[:50]).tolist() for _ in range(calls)]

    assert answers(1) == answers(1)
    assert answers(1) != answers(2)
    assert answers(1)[0] != answers(1)[1]
    resumed = ScriptedTeacher(beta=0.0, seed=1)
    resumed.calls = 1
    assert resumed.compare(ZEROS[:50], ONES[:50]).tolist() == answers(1)[1]


def test_global_generators_are_left_alone() -> None:
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state(legacy=False), torch.get_rng_state()  # noqa: NPY002
    ScriptedTeacher(beta=1.0).compare(ZEROS, ONES)
    after = np.random.get_state(legacy=False), torch.get_rng_state()  # noqa: NPY002
    assert before[0]["state"]["pos"] == after[0]["state"]["pos"]
    assert torch.equal(before[1], after[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"beta": -1.0}, "beta must be a finite number >= 0, got -1.0"),
        ({"beta": float("nan")}, "beta must be"),
        ({"beta": -math.inf}, "beta must be"),
        ({"mistake_probability": 1.5}, "mistake_probability must be a number in"),
        ({"equal_threshold": -0.1}, "equal_threshold must be"),
        ({"seed": -1}, "seed must be an integer >= 0"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        ScriptedTeacher(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([1.0], [1.0, 2.0], "one length"),
        ([[1.0]], [[1.0]], "one length"),
        ([math.nan], [1.0], "finite"),
        ([1.0], [math.inf], "finite"),
    ],
)
def test_bad_returns_are_refused(first: list[float], second: list[float], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        ScriptedTeacher().compare(first, second)
