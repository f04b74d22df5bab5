"""Forecast errors and change-point scores against published vectors and slow definitions."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsewire import datasets
from sparsewire.core.errors import InvalidArgumentError
from sparsewire.timeseries.metrics import (
    ErrorSums,
    covering,
    detection_delay,
    f1_score_with_margin,
    from_ruptures,
    mae,
    mse,
    to_ruptures,
)

N = 60
points = st.lists(st.integers(0, N - 1), max_size=8)
annotated = st.dictionaries(st.text(max_size=2), points, min_size=1, max_size=4)
floats = st.floats(-1e6, 1e6)


def slow_segments(change_points: list[int], n_samples: int) -> list[set[int]]:
    """Go through the samples one by one and open a new segment at every change point."""
    segments: list[set[int]] = [set()]
    for sample in range(n_samples):
        if sample in change_points and segments[-1]:
            segments.append(set())
        segments[-1].add(sample)
    return segments


def slow_covering(annotations: dict[str, list[int]], found: list[int], n_samples: int) -> float:
    detected = slow_segments(found, n_samples)
    total = 0.0
    for truth in annotations.values():
        for segment in slow_segments(truth, n_samples):
            best = max(len(segment & other) / len(segment | other) for other in detected)
            total += len(segment) * best
    return total / n_samples / len(annotations)


# Forecast errors


def test_errors_of_known_numbers_are_their_means() -> None:
    truth, forecast = [[1.0, 2.0], [3.0, 4.0]], [[1.0, 4.0], [0.0, 4.0]]
    assert mse(truth, forecast) == (4 + 9) / 4
    assert mae(truth, forecast) == (2 + 3) / 4
    assert ErrorSums.of(truth, forecast).rmse == math.sqrt(13 / 4)


@pytest.mark.parametrize("batch_size", [1, 7, 32, 1000])
def test_the_error_does_not_depend_on_the_batch_size(batch_size: int) -> None:
    rng = np.random.default_rng(0)
    truth, forecast = rng.normal(size=(2, 100, 5, 3))
    total = ErrorSums()
    for start in range(0, len(truth), batch_size):
        batch = slice(start, start + batch_size)
        total += ErrorSums.of(truth[batch], forecast[batch])
    assert total.count == truth.size
    assert math.isclose(total.mse, mse(truth, forecast), rel_tol=1e-13)
    assert math.isclose(total.mae, mae(truth, forecast), rel_tol=1e-13)


def test_sums_are_taken_in_float64() -> None:
    ones = np.full(2**18, 1 + 2**-12, dtype=np.float16)
    assert mse(np.zeros_like(ones), ones) == float(ones[0]) ** 2


@given(st.lists(st.tuples(floats, floats), min_size=1))
def test_the_absolute_error_is_at_most_the_root_of_the_squared_one(
    pairs: list[tuple[float, float]],
) -> None:
    truth, forecast = np.array(pairs).T
    sums = ErrorSums.of(truth, forecast)
    # The square of a number below 1e-154 is 0.
    assert 0 <= sums.mae <= sums.rmse * (1 + 1e-9) + 1e-150
    assert mse(truth, truth) == mae(truth, truth) == 0


@pytest.mark.parametrize("metric", [mse, mae])
def test_errors_of_wrong_input_say_what_is_wrong(metric: Callable[..., float]) -> None:
    with pytest.raises(InvalidArgumentError, match=r"shape \(2, 1\) and y_pred \(2,\)"):
        metric([[1.0], [2.0]], [1.0, 2.0])
    with pytest.raises(InvalidArgumentError, match="y_pred holds 2 values that are NaN"):
        metric([1.0, 2.0, 3.0], [math.nan, math.inf, 0.0])
    with pytest.raises(InvalidArgumentError, match="y_true holds 1 values"):
        metric([math.nan], [0.0])
    with pytest.raises(InvalidArgumentError, match="no mean error of no values"):
        metric([], [])


# F1 with a margin


def test_f1_and_covering_give_the_values_of_tcpd() -> None:
    assert f1_score_with_margin({1: [10, 20], 2: [11, 20], 3: [10], 4: [0, 5]}, [10, 20]) == 1.0
    found = covering({1: [10, 20], 2: [10], 3: [0, 5]}, [10, 20], 45)
    assert math.isclose(found, 0.7962962963, abs_tol=1e-10)


def test_zero_detector_scores_on_run_log_as_published(data_dir: Path) -> None:
    series = datasets.load_change_points("run_log")
    assert round(f1_score_with_margin(series.annotations, []), 4) == 0.4456
    assert round(covering(series.annotations, [], len(series.values)), 4) == 0.3035


def test_zero_detector_scores_on_apple_as_published(data_dir: Path) -> None:
    # The series may not be redistributed; its annotations and its length are known.
    path = data_dir / "timeseries" / "changepoint" / "annotations.json"
    annotations = datasets.read_annotations(path)["apple"]
    assert round(f1_score_with_margin(annotations, []), 3) == 0.594
    assert round(covering(annotations, [], 623), 3) == 0.425


def test_zero_detector_is_perfect_where_nobody_sees_a_change(data_dir: Path) -> None:
    bank = datasets.load_change_points("bank")
    assert f1_score_with_margin(bank.annotations, []) == 1.0
    assert covering(bank.annotations, [], len(bank.values)) == 1.0


@pytest.mark.parametrize(
    ("truth", "found", "margin", "expected"),
    [
        # 0 always matches 0, so one right and one missed: P = 1, R = 1/2.
        ([20], [], 5, 2 / 3),
        ([20], [25], 5, 1.0),
        ([20], [26], 5, 1 / 2),
        ([20], [20, 21], 5, 2 * (2 / 3) / (2 / 3 + 1)),
        ([20, 22], [21], 5, 2 * (2 / 3) / (1 + 2 / 3)),
        ([20], [21], 0, 1 / 2),
        # 20 takes 18, the earlier of two equally near ones, and 23 still finds 22.
        ([20, 23], [18, 22], 2, 1.0),
        # Close to 0 a detected point is matched by its own truth, for 0 has taken 0.
        ([3], [3], 5, 1.0),
    ],
)
def test_f1_of_one_annotator(
    truth: list[int], found: list[int], margin: int, expected: float
) -> None:
    score = f1_score_with_margin({"a": truth}, found, margin=margin)
    assert math.isclose(score, expected, rel_tol=1e-12)


@given(annotated, points, st.integers(0, 10))
def test_f1_lies_above_0_and_at_most_at_1(
    annotations: dict[str, list[int]], found: list[int], margin: int
) -> None:
    assert 0 < f1_score_with_margin(annotations, found, margin=margin) <= 1


@given(points, st.integers(0, 10), st.integers(1, 3))
def test_f1_and_covering_of_what_all_annotators_say_are_1(
    truth: list[int], margin: int, n_annotators: int
) -> None:
    annotations = dict.fromkeys(range(n_annotators), truth)
    assert f1_score_with_margin(annotations, truth, margin=margin) == 1
    assert math.isclose(covering(annotations, truth, N), 1, rel_tol=1e-12)


@given(annotated, points, st.randoms(use_true_random=False))
def test_scores_do_not_depend_on_order_repetition_or_a_leading_0(
    annotations: dict[str, list[int]], found: list[int], random: object
) -> None:
    changed = [0, *reversed(found), *found]
    reordered = {who: [*reversed(truth), 0] for who, truth in reversed(annotations.items())}
    f1 = f1_score_with_margin(annotations, found)
    assert math.isclose(f1_score_with_margin(reordered, changed), f1, rel_tol=1e-12)
    cover = covering(annotations, found, N)
    assert math.isclose(covering(reordered, changed, N), cover, rel_tol=1e-12)


# Covering


@given(annotated, points)
def test_covering_is_that_of_its_definition_over_sets_of_samples(
    annotations: dict[str, list[int]], found: list[int]
) -> None:
    fast = covering(annotations, found, N)
    assert math.isclose(fast, slow_covering(annotations, found, N), rel_tol=1e-12)
    assert 0 < fast <= 1 + 1e-12


# Delays and ruptures


def test_delay_is_to_the_first_alarm_before_the_next_change() -> None:
    delays = detection_delay([200, 100, 300], [301, 104, 150, 99])
    np.testing.assert_array_equal(delays, [4, math.nan, 1])
    np.testing.assert_array_equal(detection_delay([5, 8], [8]), [math.nan, 0])
    assert detection_delay([], [3]).shape == (0,)
    np.testing.assert_array_equal(detection_delay([5], []), [math.nan])


@given(points, points)
def test_delay_is_that_of_a_search_through_all_alarms(
    changes: list[int], alarms: list[int]
) -> None:
    ordered = sorted(set(changes))
    expected = []
    for change, following in zip(ordered, [*ordered[1:], math.inf], strict=False):
        inside = [alarm - change for alarm in alarms if change <= alarm < following]
        expected.append(min(inside, default=math.nan))
    np.testing.assert_array_equal(detection_delay(changes, alarms), expected)


@given(points)
def test_ruptures_ends_of_segments_lead_back_to_the_change_points(found: list[int]) -> None:
    breakpoints = to_ruptures(found, N)
    assert breakpoints[-1] == N
    assert breakpoints == sorted(set(breakpoints))
    assert from_ruptures(breakpoints) == sorted(set(found) - {0})


def test_numpy_integers_are_change_points() -> None:
    assert to_ruptures(np.array([20, 10]), 45) == [10, 20, 45]
    assert all(type(point) is int for point in from_ruptures(np.array([10, 45])))


@pytest.mark.parametrize("wrong", [-1, 2.0, True, "3", math.nan])
def test_what_is_no_index_is_refused(wrong: object) -> None:
    for call in (
        lambda: f1_score_with_margin({"a": [wrong]}, []),  # type: ignore[list-item]
        lambda: f1_score_with_margin({"a": []}, [wrong]),  # type: ignore[list-item]
        lambda: covering({"a": []}, [wrong], 10),  # type: ignore[list-item]
        lambda: detection_delay([wrong], []),  # type: ignore[list-item]
        lambda: to_ruptures([wrong], 10),  # type: ignore[list-item]
    ):
        with pytest.raises(InvalidArgumentError, match="must be an integer >= 0"):
            call()


def test_wrong_arguments_say_what_is_wrong() -> None:
    with pytest.raises(InvalidArgumentError, match=r"change_points holds 10.*\[0, 10\)"):
        covering({"a": [3]}, [10], 10)
    with pytest.raises(InvalidArgumentError, match=r"annotations\['a'\] holds 12"):
        covering({"a": [12]}, [3], 10)
    with pytest.raises(InvalidArgumentError, match="n_samples must be an integer >= 1"):
        covering({"a": []}, [], 0)
    with pytest.raises(InvalidArgumentError, match="margin must be an integer >= 0"):
        f1_score_with_margin({"a": []}, [], margin=-1)
    with pytest.raises(InvalidArgumentError, match="at least one annotator"):
        f1_score_with_margin({}, [])
    with pytest.raises(InvalidArgumentError, match="at least one annotator"):
        f1_score_with_margin([[1, 2]], [])  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match="must end with the length"):
        from_ruptures([])
