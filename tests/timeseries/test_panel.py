"""Do series keep their values and lengths, whatever container they come in?"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsewire.core import InvalidArgumentError
from sparsewire.timeseries.panel import Panel, is_table, to_panel

Floats = npt.NDArray[np.float64]


def draw(n: int = 4, channels: int = 2, length: int = 6) -> Floats:
    return np.random.default_rng(0).normal(size=(n, channels, length))


def long_frame(X: Floats) -> pd.DataFrame:
    n, channels, length = X.shape
    index = pd.MultiIndex.from_product([[f"case {i}" for i in range(n)], range(length)])
    return pd.DataFrame(X.transpose(0, 2, 1).reshape(-1, channels), index=index)


def nested_frame(X: Floats, kind: type = pd.Series) -> pd.DataFrame:
    return pd.DataFrame({f"c{j}": [kind(x[j]) for x in X] for j in range(X.shape[1])})


def assert_same(panel: Panel, X: Floats) -> None:
    np.testing.assert_array_equal(panel.values, X)
    assert panel.lengths.tolist() == [X.shape[2]] * len(X)


@pytest.mark.parametrize(
    "container",
    [
        lambda X: X,
        list,
        lambda X: X.tolist(),
        lambda X: [pd.DataFrame(x.T) for x in X],
        long_frame,
        nested_frame,
        lambda X: nested_frame(X, list),
    ],
    ids=["array", "arrays", "lists", "frames", "long", "nested", "nested lists"],
)
def test_every_container_of_a_panel_gives_the_same_series(container: Any) -> None:
    X = draw()
    given = container(X)
    assert not is_table(given)
    assert_same(to_panel(given), X)


@pytest.mark.parametrize(
    "container",
    [
        lambda X: X[:, 0],
        lambda X: X[:, 0].tolist(),
        lambda X: pd.DataFrame(X[:, 0]),
        lambda X: X[:, 0].astype(object),
    ],
    ids=["array", "lists", "wide frame", "objects"],
)
def test_a_table_is_one_channel_per_series(container: Any) -> None:
    X = draw(channels=1)
    given = container(X)
    assert is_table(given)
    assert_same(to_panel(given), X)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 3))
def test_series_of_unequal_length_keep_their_lengths_and_values(
    lengths: list[int], channels: int
) -> None:
    rng = np.random.default_rng(0)
    series = [rng.normal(size=(channels, length)) for length in lengths]
    panel = to_panel(series)
    assert panel.lengths.tolist() == lengths
    assert panel.n_missing == 0
    for row, one in zip(panel.values, series, strict=True):
        np.testing.assert_array_equal(row[:, : one.shape[1]], one)
        assert np.isnan(row[:, one.shape[1] :]).all()


def test_what_is_missing_at_the_end_is_the_end_and_elsewhere_is_missing() -> None:
    X = draw(n=2, channels=2, length=5)
    X[0, :, 3:] = np.nan
    X[1, 0, 4] = X[1, 1, 0] = np.nan
    panel = to_panel(X)
    assert panel.lengths.tolist() == [3, 5]
    assert panel.n_missing == 2


def test_the_input_is_neither_changed_nor_shared() -> None:
    X = draw()
    before = X.copy()
    to_panel(X).values[:] = 0
    np.testing.assert_array_equal(X, before)


def repeated_time() -> pd.DataFrame:
    frame = long_frame(draw())
    frame.index = pd.MultiIndex.from_arrays([["a"] * 12 + ["b"] * 12, [0] * 24])
    return frame


def three_levels() -> pd.DataFrame:
    index = pd.MultiIndex.from_product([range(2), range(2), range(2)])
    return pd.DataFrame({"x": range(8)}, index=index)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros(3), "1 dimensions"),
        (np.zeros((1, 1, 1, 1)), "4 dimensions"),
        (np.zeros((0, 1, 5)), "0 series"),
        (np.zeros((2, 0, 5)), "0 channels"),
        (np.zeros((2, 1, 0)), "length 0"),
        ([], "no series"),
        ([np.zeros((1, 2, 3))], "series 0 has 3 dimensions"),
        ([np.zeros((1, 3)), np.zeros((2, 3))], "series 1 has 2"),
        (np.array([[[1.0, np.inf]]]), "series 0 contains infinity"),
        (np.array([[[1.0, 2.0]], [[np.nan, np.nan]]]), "series 1 has no observed"),
        ([np.array(["a", "b"])], "not numeric"),
        (pd.DataFrame({"a": [[1.0, 2.0]], "b": [[1.0]]}), "channels of series 0"),
        (long_frame(draw()).iloc[::-1], "not increasing"),
        (repeated_time(), "repeat"),
        (three_levels(), "3 levels"),
    ],
)
def test_what_is_no_panel_is_refused_with_the_reason(X: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        to_panel(X)
