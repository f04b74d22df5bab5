"""The detector sees accuracies alone; the sequences here are worked out by hand."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsewire.continual.drift import DriftDetector
from sparsewire.core.errors import CheckpointError, InvalidArgumentError

accuracies = st.lists(st.integers(0, 10).map(lambda n: n / 10), max_size=60)


def drifts(detector: DriftDetector, sequence: Sequence[float]) -> list[int]:
    return [i for i, accuracy in enumerate(sequence) if detector.observe(accuracy)]


def test_a_collapse_is_noticed_at_its_sixth_batch_and_only_once() -> None:
    # Five batches at 0: 0.5 is not below half of (0.6 + 0.7 + 0.8 + 0.9 + 6) / 10 = 0.9;
    # six: 0.4 is below half of (0.5 + 0.6 + 0.7 + 0.8 + 0.9 + 5) / 10 = 0.85.
    sequence = [1.0] * 30 + [0.0] * 6 + [0.2, 0.4, 0.6, 0.8] + [1.0] * 30
    assert drifts(DriftDetector(), sequence) == [35]


@given(st.floats(0.1, 1))
def test_when_a_collapse_is_noticed_does_not_depend_on_the_level(level: float) -> None:
    assert drifts(DriftDetector(), [level] * 20 + [0.0] * 6) == [25]


def test_a_single_bad_batch_is_no_drift() -> None:
    assert drifts(DriftDetector(), [0.9] * 30 + [0.0] + [0.9] * 30) == []


def test_exactly_the_ratio_of_the_mean_is_no_drift() -> None:
    assert drifts(DriftDetector(window=1), [1.0, 0.5]) == []
    assert drifts(DriftDetector(window=1), [1.0, 0.49]) == [1]


def test_nothing_is_noticed_within_two_windows() -> None:
    assert drifts(DriftDetector(window=2), [1.0, 1.0, 0.0]) == []
    assert drifts(DriftDetector(window=2), [1.0, 1.0, 1.0, 0.0, 0.0]) == [4]


def test_a_slow_decline_is_no_drift() -> None:
    assert drifts(DriftDetector(), [1 - i / 80 for i in range(80)][:60]) == []


def test_ratio_0_never_sees_a_drift() -> None:
    assert drifts(DriftDetector(ratio=0), [1.0] * 20 + [0.0] * 20) == []


@given(accuracies, st.integers(1, 5), st.sampled_from([0.3, 0.5, 0.9, 1.0]))
def test_the_detector_equals_its_definition(
    sequence: list[float], window: int, ratio: float
) -> None:
    found, concept = [], list[float]()
    for i, accuracy in enumerate(sequence):
        concept.append(accuracy)
        ends = range(window, len(concept) + 1)
        running = [sum(concept[end - window : end]) / window for end in ends]
        before = running[-window - 1 : -1]
        if len(before) == window and running[-1] < ratio * sum(before) / window:
            found.append(i)
            concept = []
    assert drifts(DriftDetector(window, ratio), sequence) == found


@given(accuracies, accuracies)
def test_a_resumed_detector_goes_on_as_if_nothing_had_happened(
    first: list[float], second: list[float]
) -> None:
    straight, saved, resumed = DriftDetector(4), DriftDetector(4), DriftDetector(4)
    drifts(saved, first)
    resumed.load_state_dict(saved.state_dict())
    drifts(straight, first)
    assert drifts(resumed, second) == drifts(straight, second)


@pytest.mark.parametrize("accuracy", [-0.1, 1.1, float("nan"), "0.5", None, True])
def test_what_is_no_accuracy_is_refused_and_not_remembered(accuracy: float) -> None:
    detector = DriftDetector()
    with pytest.raises(InvalidArgumentError, match=r"accuracy must be a number in \[0, 1\]"):
        detector.observe(accuracy)
    assert detector.state_dict() == DriftDetector().state_dict()


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"window": 0}, "window"),
        ({"window": 2.5}, "window"),
        ({"ratio": -0.1}, "ratio"),
        ({"ratio": 1.5}, "ratio"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], name: str) -> None:
    with pytest.raises(InvalidArgumentError, match=name):
        DriftDetector(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "not the state"),
        ({"window": 5}, "window 5, this detector 10"),
        ({"ratio": 0.4}, "ratio 0.4"),
        ({"batches": [0.1] * 11}, "damaged"),
        ({"running": [0.1, 2.0]}, "damaged"),
        ({"running": "0.1"}, "damaged"),
    ],
)
def test_a_foreign_state_is_refused_and_changes_nothing(
    state: dict[str, object], message: str
) -> None:
    detector = DriftDetector()
    drifts(detector, [random.Random(i).random() for i in range(5)])
    before = detector.state_dict()
    with pytest.raises(CheckpointError, match=message):
        detector.load_state_dict(before | state if state else {})
    assert detector.state_dict() == before
