"""Are missing values, unequal lengths and scales treated as asked, and as nothing else?"""

import numpy as np
import pytest

from sparsewire.timeseries.classification.preparation import (
    Missing,
    Normalise,
    Preparation,
    Unequal,
)
from sparsewire.timeseries.panel import to_panel
from tests.timeseries.dsn.helpers import small, waves

NAN = float("nan")


def fit(
    X: object,
    normalise: Normalise = "none",
    unequal: Unequal = "mask",
    missing: Missing = "linear",
) -> Preparation:
    return Preparation.fit(to_panel(X), normalise=normalise, unequal=unequal, missing=missing)


def test_missing_values_are_interpolated_in_time_and_held_at_the_ends() -> None:
    X = np.array([[[NAN, 1.0, NAN, 3.0, NAN], [0.0, 0.0, 0.0, 0.0, 0.0]]])
    assert fit(X).apply(to_panel(X)).values[0, 0].tolist() == [1, 1, 2, 3, 3]


def test_zero_means_the_mean_once_normalised() -> None:
    X = np.array([[[2.0, NAN, 4.0]]])
    treated = fit(X, "instance", missing="zero").apply(to_panel(X)).values[0, 0]
    np.testing.assert_allclose(treated, [-1, 0, 1])


def test_a_channel_never_observed_is_zero_with_a_warning() -> None:
    X = np.array([[[NAN, NAN], [1.0, 2.0]]])
    with pytest.warns(UserWarning, match="1 channels of series have no observed value"):
        treated = fit(X).apply(to_panel(X))
    assert treated.values[0, 0].tolist() == [0, 0]


def test_instances_are_normalised_over_their_own_steps_and_constants_only_centred() -> None:
    series = [np.array([1.0, 3.0]), np.array([5.0, 5.0, 5.0, 5.0])]
    treated = fit(series, "instance").apply(to_panel(series))
    assert treated.values[0, 0].tolist() == [-1, 1, 0, 0]
    assert treated.values[1, 0].tolist() == [0, 0, 0, 0]


def test_training_statistics_are_used_for_other_series() -> None:
    train = np.array([[[0.0, 4.0]], [[2.0, 2.0]]])
    treatment = fit(train, "train")
    scale = np.sqrt(2)
    treated = treatment.apply(to_panel(np.array([[[2.0, 2.0 + scale]]])))
    np.testing.assert_allclose(treated.values, [[[0, 1]]], atol=1e-6)


def test_padding_fills_up_to_the_longest_training_series() -> None:
    treatment = fit([np.ones(3), np.ones(5)], unequal="pad")
    treated = treatment.apply(to_panel([np.ones(2), np.ones(7)]))
    assert treated.lengths.tolist() == [5, 7]
    assert treated.values[0, 0].tolist() == [1, 1, 0, 0, 0, 0, 0]


def test_a_series_and_its_padded_self_are_classified_alike() -> None:
    X, y = waves(length=40)
    series = [x[:, : 30 + i % 11] for i, x in enumerate(X)]
    fitted = small().fit(series, y)
    padded = np.full((20, 1, 60), np.nan)
    for row, one in zip(padded, series, strict=True):
        row[:, : one.shape[1]] = one
    np.testing.assert_array_equal(fitted.predict_proba(padded), fitted.predict_proba(series))
    alone = np.concatenate([fitted.predict_proba([one]) for one in series])
    np.testing.assert_allclose(fitted.predict_proba(series), alone, atol=1e-6)
