"""Is unusable input refused before anything is lost, and are missing values treated as asked?"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from sparsewire.core import InvalidArgumentError
from sparsewire.timeseries.change_points import ALACPD
from tests.timeseries.change_points.helpers import shifted, small


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("window", 0),
        ("gap", 0),
        ("ar_order", 1.5),
        ("n_units", 0),
        ("skips", ()),
        ("skips", (3, 0)),
        ("skips", 3),
        ("threshold_high", 0),
        ("threshold_low", -1.0),
        ("threshold_low", "high"),
        ("settle", -1),
        ("patience", 0),
        ("adapt_samples", 0),
        ("adapt_epochs", -1),
        ("init_epochs", 0),
        ("step_epochs", -1),
        ("learning_rate", np.inf),
        ("location", "middle"),
        ("causal", "yes"),
        ("aligned_ar", 1),
        ("prequential", None),
        ("afresh", "yes"),
        ("loss_floor", 0.0),
        ("missing", "zero"),
        ("missing", None),
        ("density", 0.0),
        ("density", 1.5),
        ("density", True),
        ("density", "0.2"),
        ("random_state", "seed"),
        ("random_state", -1),
    ],
)
def test_a_wrong_parameter_is_named_by_fit(name: str, value: Any) -> None:
    detector = small(**{name: value})
    with pytest.raises(InvalidArgumentError, match=name):
        detector.fit(shifted())


@pytest.mark.parametrize("n_init", [0, -3, 1.5, 0.0, True, 160, 0.05])
def test_a_wrong_warm_up_block_is_refused(n_init: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"n_init|warm-up"):
        small(n_init=n_init).predict(shifted())


@pytest.mark.parametrize(("n_init", "length"), [(None, 30), (0.5, 80), (40, 40), (0.3, 48)])
def test_the_warm_up_block_has_the_asked_length(n_init: Any, length: int) -> None:
    assert small(n_init=n_init).detect(shifted()).n_init == length


def test_a_tenth_of_a_long_series_is_its_warm_up_block() -> None:
    assert small(step_epochs=0).detect(np.sin(np.arange(1000.0))).n_init == 100


@pytest.mark.parametrize("n", [0, 1, 16])
def test_a_warm_up_block_that_is_too_short_is_refused(n: int) -> None:
    with pytest.raises(InvalidArgumentError, match="at least 17"):
        small().fit(shifted()[:n])


@pytest.mark.parametrize("options", [{"adapt_samples": 40}, {"patience": 40}])
def test_the_warm_up_block_fills_a_long_memory(options: dict[str, Any]) -> None:
    detector = small(**options)
    with pytest.raises(InvalidArgumentError, match=r"at least (54|44)"):
        detector.fit(shifted()[:40])
    assert detector.detect(shifted()).n_init >= 44


def test_a_series_that_is_too_short_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="30 are needed"):
        small().predict(shifted()[:30])


@pytest.mark.parametrize(
    "X",
    [
        np.zeros((4, 40, 2)),
        np.float64(3),
        np.zeros((40, 0)),
        [[1.0], [1.0, 2.0]],
        ["a"] * 40,
        np.full(40, 1j),
        ["1.5"] * 40,
        np.arange(40).astype("datetime64[s]"),
        pd.date_range("2020", periods=40),
        pd.DataFrame({"time": pd.date_range("2020", periods=40), "value": 1.0}),
        torch.zeros(40, requires_grad=True),
        {"value": [1.0] * 40},
        None,
    ],
)
def test_what_is_no_series_of_numbers_is_refused(X: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="samples must"):
        small().fit(X)


@pytest.mark.parametrize("X", [np.zeros(3), np.zeros((5, 1)), np.zeros((5, 3)), np.float64(1)])
def test_samples_of_another_dimension_are_refused(X: Any) -> None:
    detector = small().fit(shifted()[:60])
    with pytest.raises(InvalidArgumentError, match=r"\(2,\) for one sample"):
        detector.update(X)


@pytest.mark.parametrize(
    ("bad", "message"), [(np.nan, "missing='hold'"), (np.inf, "infinite"), (-1e101, "beyond")]
)
def test_nothing_is_taken_in_of_a_chunk_with_a_bad_sample(bad: float, message: str) -> None:
    X = shifted()
    detector, other = (small().fit(X[:60]) for _ in range(2))
    chunk = X[60:].copy()
    chunk[50, 1] = bad
    with pytest.raises(InvalidArgumentError, match=message):
        detector.update(chunk)
    assert detector.n_seen_ == 60
    assert detector.update(X[60:]) == other.update(X[60:])


@pytest.mark.parametrize(
    "same",
    [
        lambda X: X.tolist(),
        lambda X: X.astype(np.int16),
        lambda X: X.astype(object),
        lambda X: np.asfortranarray(X),
        lambda X: pd.DataFrame(X, columns=["a", "b"]),
        lambda X: pd.DataFrame(X, columns=["a", "b"]).convert_dtypes(),
        lambda X: np.ma.array(X),
        torch.from_numpy,
    ],
)
def test_numbers_may_come_in_any_container(same: Callable[[Any], Any]) -> None:
    X = np.round(100 * shifted())
    X.flags.writeable = False
    expected = small().fit(X[:60]).update(X[60:])
    assert len(expected) == 1
    assert small().fit(same(X[:60].copy())).update(same(X[60:].copy())) == expected


@pytest.mark.parametrize(
    "marked",
    [
        lambda X, holes: np.ma.array(np.where(holes, 1e9, X), mask=holes),
        lambda X, holes: pd.DataFrame(X).convert_dtypes().mask(holes),
        lambda X, holes: pd.DataFrame(X).mask(holes),
        lambda X, holes: np.where(holes, None, X),
    ],
)
def test_missing_values_count_as_such_however_they_are_marked(marked: Callable[..., Any]) -> None:
    X = shifted()
    holes = np.random.default_rng(1).random(X.shape) < 0.05
    given, expected = marked(X, holes), np.where(holes, np.nan, X)
    with pytest.raises(InvalidArgumentError, match="have missing values"):
        small().predict(given)
    found, wanted = (small(missing="hold").score_samples(x) for x in (given, expected))
    np.testing.assert_array_equal(found, wanted)


def test_a_series_with_late_nan_is_refused_before_the_stream_is_forgotten() -> None:
    X = shifted()
    detector = small().fit(X[:60])
    broken = X.copy()
    broken[110] = np.nan
    with pytest.raises(InvalidArgumentError, match="the first is sample 110"):
        detector.predict(broken)
    assert detector.n_seen_ == 60


def test_a_fit_that_fails_leaves_the_stream_as_it_was() -> None:
    X = shifted()
    detector, other = (small().fit(X[:60]) for _ in range(2))
    for bad in (X[:10], X * np.nan, X[:, 0][np.newaxis]):
        with pytest.raises(InvalidArgumentError):
            detector.fit(bad)
    assert detector.update(X[60:]) == other.update(X[60:])


def test_an_unknown_way_with_missing_values_is_refused_in_the_stream_too() -> None:
    detector = small().fit(shifted()).set_params(missing="zero")
    with pytest.raises(InvalidArgumentError, match="missing must be one of"):
        detector.update([1.0, 2.0])
    assert detector.n_seen_ == 160


def test_reset_forgets_the_stream_but_not_the_parameters() -> None:
    X = shifted()
    detector = small(density=0.3)
    first = detector.detect(X)
    assert detector.reset() is detector
    assert not hasattr(detector, "n_features_in_")
    assert detector.get_params() == small(density=0.3).get_params()
    with pytest.raises(NotFittedError):
        detector.update(X)
    with pytest.raises(NotFittedError):
        detector.save("nowhere.npz")
    assert detector.reset().fit(X[:60, 0]).n_features_in_ == 1  # other channels than before
    assert detector.reset().detect(X).events == first.events


def test_nan_in_the_warm_up_block_is_refused_by_default() -> None:
    X = shifted()
    X[3, 0] = np.nan
    with pytest.raises(InvalidArgumentError, match="the first is sample 3"):
        small().fit(X)


def test_an_unfitted_detector_says_so() -> None:
    with pytest.raises(NotFittedError):
        small().update([1.0, 2.0])
    with pytest.raises(NotFittedError):
        _ = small().n_seen_


def test_one_channel_may_come_as_numbers() -> None:
    X = shifted(channels=1)[:, 0]
    singly, columns = small().fit(X[:60]), small().fit(X[:60, np.newaxis])
    events = [event for x in X[60:] for event in singly.update(float(x))]
    assert events == columns.update(X[60:, np.newaxis])
    assert len(events) == 1


def test_holding_repeats_the_last_value_across_calls() -> None:
    X = shifted()
    holes = np.random.default_rng(1).random(X.shape) < 0.1
    holes[[0, 60], 1] = True  # at the very beginning, and at the beginning of a chunk
    filled = X.copy()
    for k in range(2):
        for t in range(len(X)):
            if holes[t, k]:
                filled[t, k] = filled[t - 1, k] if t else X[~holes[:, k], k][0]
    held, complete = small(missing="hold"), small()
    held.fit(np.where(holes, np.nan, X)[:60])
    complete.fit(filled[:60])
    events = [e for x in np.where(holes, np.nan, X)[60:] for e in held.update(x)]
    assert events == complete.update(filled[60:])
    assert events


def test_skipping_leaves_samples_out_but_counts_them() -> None:
    X = shifted(200, 100)
    holes = np.zeros(200, dtype=bool)
    holes[[5, 61, 90, 99, 101, 102]] = True
    broken = X.copy()
    broken[holes, 0] = np.nan
    skipping, without = small(missing="skip", n_init=60), small(n_init=59)
    found, expected = skipping.detect(broken), without.detect(X[~holes])
    places = np.flatnonzero(~holes)
    assert found.change_points == places[expected.change_points].tolist()
    assert [e.detected_at for e in found.events] == [places[e.detected_at] for e in expected.events]
    np.testing.assert_array_equal(found.scores[~holes], expected.scores)
    assert np.isnan(found.scores[holes]).all()
    assert skipping.n_seen_ == 200


def test_a_channel_without_any_value_cannot_be_held() -> None:
    X = shifted()
    X[:, 1] = np.nan
    with pytest.raises(InvalidArgumentError, match="channel 1 has no value"):
        small(missing="hold").fit(X)


def test_the_input_is_not_changed() -> None:
    X = shifted()
    X[20, 0] = np.nan
    before = X.copy()
    small(missing="hold").predict(X)
    np.testing.assert_array_equal(X, before)


def test_parameters_are_stored_as_given_and_cloned() -> None:
    detector = ALACPD(window=8, skips=(2, 4), random_state=3)
    assert clone(detector).get_params() == detector.get_params()
    assert not hasattr(clone(detector), "n_features_in_")


def test_a_progress_bar_appears_only_if_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    small().predict(shifted())
    assert capsys.readouterr() == ("", "")
    small(verbose=1).predict(shifted())
    assert "samples" in capsys.readouterr().err
