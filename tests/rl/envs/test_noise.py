"""Noise distributions: their moments, their independence, and the histogram of real features."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from sparsewire.core.errors import InvalidArgumentError
from sparsewire.rl import FeatureHistogram
from sparsewire.rl.envs.noise import Noise
from tests.rl.envs.helpers import Array, laplace, not_a_number, one_vector


def draw(noise: Noise, rows: int, n_noise: int, seed: int = 0) -> Array:
    return noise.draw(np.random.default_rng(seed), rows, n_noise)


@pytest.mark.parametrize("std", [0.5, 1.0, 16.0])
@pytest.mark.parametrize(
    ("name", "law"),
    [("normal", stats.norm()), ("uniform", stats.uniform(-np.sqrt(3), 2 * np.sqrt(3)))],
)
def test_named_noise_has_mean_zero_and_the_standard_deviation_asked_for(
    name: str, law: Any, std: float
) -> None:
    values = draw(Noise(name, std), 200, 50) / std
    assert values.dtype == np.float32
    assert abs(values.mean()) < 4 / np.sqrt(values.size)
    assert values.std() == pytest.approx(1, abs=0.02)
    assert stats.kstest(values.ravel(), law.cdf).pvalue > 1e-3


def test_noise_of_standard_deviation_zero_is_zero() -> None:
    assert not draw(Noise("normal", 0.0), 3, 4).any()


def test_noise_features_are_independent_of_each_other_and_over_time() -> None:
    values = draw(Noise("normal", 1.0), 4000, 6)
    across = np.corrcoef(values.T) - np.eye(6)
    along = [np.corrcoef(column[:-1], column[1:])[0, 1] for column in values.T]
    assert np.abs(across).max() < 5 / np.sqrt(4000)
    assert np.abs(along).max() < 5 / np.sqrt(4000)


def test_a_callable_draws_whatever_it_likes() -> None:
    values = draw(Noise(laplace, 1.0), 400, 20)
    assert stats.kstest(values.ravel(), stats.laplace.cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("distribution", "std", "message"),
    [
        ("normall", 1.0, "Did you mean 'normal'"),
        ("histogram", 1.0, r"FeatureHistogram\.fit"),
        (3, 1.0, "got 3"),
        ("normal", -1.0, "noise_std must be a finite number >= 0, got -1.0"),
        ("normal", float("nan"), "noise_std"),
        ("normal", "1", "noise_std"),
        (laplace, 2.0, "leave noise_std at 1"),
        (one_vector, 1.0, r"returned shape \(3,\) for size \(2, 3\)"),
        (not_a_number, 1.0, "NaN or infinity"),
        (lambda generator, size: generator.normal(size=size), 1.0, "top level of a module"),
    ],
)
def test_a_wrong_distribution_is_refused_with_its_remedy(
    distribution: Any, std: Any, message: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        Noise(distribution, std)


def test_histogram_noise_follows_the_marginals_of_the_features_in_turn() -> None:
    rng = np.random.default_rng(1)
    real = np.stack([rng.exponential(size=5000), rng.normal(30, 4, size=5000)], axis=1)
    noise = FeatureHistogram.fit(real)(np.random.default_rng(2), (5000, 5))
    for i, column in enumerate(noise.T):
        assert stats.ks_2samp(column, real[:, i % 2]).pvalue > 1e-3
    assert np.abs(np.corrcoef(noise.T) - np.eye(5)).max() < 5 / np.sqrt(5000)


@given(
    arrays(np.float64, (7, 3), elements=st.floats(-1e6, 1e6, width=32)),
    st.integers(1, 20),
    st.integers(1, 8),
)
def test_histogram_noise_stays_inside_the_bins_that_have_counts(
    real: Array, bins: int, n_noise: int
) -> None:
    histogram = FeatureHistogram.fit(real, bins)
    assert histogram.counts.sum(axis=1).tolist() == [7, 7, 7]
    noise = histogram(np.random.default_rng(0), (20, n_noise))
    for i, column in enumerate(noise.T):
        edges, counts = histogram.edges[i % 3], histogram.counts[i % 3]
        inside = (edges[:-1] <= column[:, None]) & (column[:, None] <= edges[1:])
        assert (inside & (counts > 0)).any(axis=1).all()


def test_histogram_draws_bins_in_proportion_to_their_counts() -> None:
    histogram = FeatureHistogram([[0.0, 1.0, 3.0, 3.0]], [[1.0, 0.0, 3.0]])  # type: ignore[arg-type]
    noise = histogram(np.random.default_rng(0), (4000, 1))
    assert np.mean(noise == 3.0) == pytest.approx(0.75, abs=0.03)
    assert ((noise < 1) | (noise == 3)).all()


def test_histograms_are_equal_when_their_numbers_are() -> None:
    real = np.random.default_rng(0).normal(size=(50, 2))
    first, second = FeatureHistogram.fit(real), FeatureHistogram.fit(real)
    assert first == second
    assert hash(first) == hash(second)
    assert first != FeatureHistogram.fit(real, bins=10)
    assert first != "histogram"
    assert repr(first) == "FeatureHistogram(n_features=2, n_bins=100)"


@pytest.mark.parametrize(
    ("edges", "counts"),
    [
        ([0, 1], [1]),
        ([[0, 1]], [[1, 1]]),
        ([[0, 2, 1]], [[1, 1]]),
        ([[0, 1, np.inf]], [[1, 1]]),
        ([[0, 1, 2]], [[1, -1]]),
        ([[0, 1, 2]], [[0, 0]]),
        ([[0, 1, 2]], [[1, np.nan]]),
        (np.empty((0, 3)), np.empty((0, 2))),
    ],
)
def test_a_malformed_histogram_is_refused(edges: Any, counts: Any) -> None:
    with pytest.raises(InvalidArgumentError):
        FeatureHistogram(edges, counts)


@pytest.mark.parametrize("real", [[1.0, 2.0], [[np.nan, 1.0]], np.empty((0, 3))])
def test_histograms_are_fitted_to_finite_samples_only(real: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="observations"):
        FeatureHistogram.fit(real)


def test_histograms_need_at_least_one_bin() -> None:
    with pytest.raises(InvalidArgumentError, match="bins"):
        FeatureHistogram.fit([[1.0]], bins=0)
