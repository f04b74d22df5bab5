"""Noise columns: what they look like, that they are reproducible, and what is refused."""

from typing import Any

import numpy as np
import pytest

from sparsewire.datasets import load, with_noise_features


def test_original_columns_come_first_and_the_mask_marks_the_others() -> None:
    X = load("digits").X
    before = X.copy()
    noisy, is_noise = with_noise_features(X, 7, seed=0)
    assert noisy.shape == (1797, 71)
    np.testing.assert_array_equal(noisy[:, ~is_noise], before)
    np.testing.assert_array_equal(np.flatnonzero(is_noise), np.arange(64, 71))
    np.testing.assert_array_equal(X, before)


def test_noise_has_the_mean_of_the_data_and_the_average_variance_of_their_columns() -> None:
    X = load("digits").X
    noisy, is_noise = with_noise_features(X, 500, seed=1)
    noise = noisy[:, is_noise]
    scale = np.sqrt(X.var(axis=0).mean())
    standard_error = scale / np.sqrt(noise.size)
    assert abs(noise.mean() - X.mean()) < 4 * standard_error
    # The standard deviation of n normal draws has a standard error of scale / sqrt(2 n).
    assert abs(noise.std() - scale) < 4 * standard_error / np.sqrt(2)


def test_noise_is_normal_and_independent_between_columns() -> None:
    noisy, is_noise = with_noise_features(load("digits").X, 50, seed=2)
    z = noisy[:, is_noise]
    z = (z - z.mean()) / z.std()
    assert abs(np.mean(z**3)) < 0.05
    assert abs(np.mean(z**4) - 3.0) < 0.1
    off_diagonal = np.corrcoef(z, rowvar=False) - np.eye(50)
    assert np.abs(off_diagonal).max() < 5 / np.sqrt(len(z))


def test_the_seed_alone_decides_and_the_global_generator_is_untouched() -> None:
    X = load("breast_cancer").X
    np.random.seed(0)  # noqa: NPY002 - the legacy global generator is what must not be touched
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    first = with_noise_features(X, 3, seed=5)[0]
    assert np.random.random() == expected  # noqa: NPY002
    np.testing.assert_array_equal(first, with_noise_features(X, 3, seed=5)[0])
    assert not np.array_equal(first, with_noise_features(X, 3, seed=6)[0])


@pytest.mark.parametrize(
    ("given", "returned"),
    [
        ("uint8", "float32"),
        ("bool", "float32"),
        ("float32", "float32"),
        ("int64", "float64"),
        ("float64", "float64"),
    ],
)
def test_the_result_is_floating_and_wide_enough_for_the_input(given: str, returned: str) -> None:
    X = np.array([[0, 1], [1, 1], [1, 0]], dtype=given)
    noisy, _ = with_noise_features(X, 2, seed=0)
    assert noisy.dtype == returned
    np.testing.assert_array_equal(noisy[:, :2], X)


@pytest.mark.parametrize(
    ("X", "n_noise", "message"),
    [
        ([1.0, 2.0], 1, "shape"),
        (np.empty((0, 3)), 1, "shape"),
        ([["a"], ["b"]], 1, "dtype"),
        ([[1.0], [np.nan]], 1, "NaN"),
        ([[3.0, 5.0], [3.0, 5.0]], 1, "constant"),
        ([[1.0], [2.0]], 0, "n_noise=0"),
    ],
)
def test_unusable_input_is_refused_with_the_reason(X: Any, n_noise: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        with_noise_features(X, n_noise, seed=0)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="non-negative"):
        with_noise_features([[1.0], [2.0]], 1, seed=-1)
