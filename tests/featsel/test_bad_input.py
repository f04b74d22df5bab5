"""What does QuickSelection say to bad or unusual input? One kind of input per test."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.exceptions import NotFittedError

from sparsewire.core import InvalidArgumentError
from sparsewire.featsel import QuickSelection

Floats = npt.NDArray[np.float64]
N_SAMPLES, N_FEATURES = 40, 8


def small(n_features_to_select: Any = 3, **parameters: Any) -> QuickSelection:
    """Return a selector that fits in milliseconds."""
    fast = {"hidden_size": 10, "epochs": 3, "batch_size": 10, "random_state": 0}
    return QuickSelection(n_features_to_select, **{**fast, **parameters})


@pytest.fixture(name="X")
def _table() -> Floats:
    rng = np.random.default_rng(3)
    low_rank = rng.normal(size=(N_SAMPLES, 2)) @ rng.normal(size=(2, N_FEATURES))
    return low_rank + 0.2 * rng.normal(size=low_rank.shape)


# ------------------------------------------------------------------ values that are no numbers


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "")])
@pytest.mark.parametrize("as_sparse", [False, True])
def test_nan_and_infinity_are_refused_by_fit_and_transform(
    as_sparse: bool, value: float, word: str, X: Floats
) -> None:
    convert = sparse.csr_array if as_sparse else np.asarray
    selector = small().fit(convert(X))
    X[3, 2] = value
    with pytest.raises(ValueError, match=f"contains.*{word}"):
        small().fit(convert(X))
    with pytest.raises(ValueError, match=f"contains.*{word}"):
        selector.transform(convert(X))


def test_a_column_of_text_is_refused(X: Floats) -> None:
    frame = pd.DataFrame(X).assign(name=["red", "blue"] * (N_SAMPLES // 2))
    frame.columns = frame.columns.astype(str)
    with pytest.raises(ValueError, match="could not convert string to float"):
        small().fit(frame)


def test_complex_numbers_are_refused(X: Floats) -> None:
    with pytest.raises(ValueError, match="Complex data not supported"):
        small().fit(X + 1j)


# ------------------------------------------------------------------ constant columns


def test_one_warning_counts_the_constant_features_and_blames_the_caller(X: Floats) -> None:
    X[:, [1, 5]] = 4.0
    with pytest.warns(UserWarning, match="2 of 8 features are constant") as caught:
        small().fit(X)
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_without_a_constant_feature_there_is_no_warning(
    X: Floats, recwarn: pytest.WarningsRecorder
) -> None:
    small().fit(X)
    assert not recwarn.list


@pytest.mark.parametrize("scale", ["standard", "minmax", None])
@pytest.mark.parametrize("as_sparse", [False, True])
def test_nothing_but_constant_features_is_an_error(as_sparse: bool, scale: str | None) -> None:
    X = np.tile([0.0, 1.0, -2.5], (20, 1))
    with pytest.raises(InvalidArgumentError, match=r"all 3 feature\(s\) of X are constant"):
        small(2, scale=scale).fit(sparse.csr_matrix(X) if as_sparse else X)


# ------------------------------------------------------------------ shape of the table


def test_a_single_row_is_refused(X: Floats) -> None:
    with pytest.raises(ValueError, match=r"1 sample.*minimum of 2"):
        small().fit(X[:1])


@pytest.mark.parametrize("shape", [(0, 5), (5, 0)])
def test_an_empty_table_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"0 (sample|feature)\(s\)"):
        small().fit(np.empty(shape))


@pytest.mark.parametrize("shape", [(6,), (6, 2, 2)])
def test_a_table_has_two_dimensions(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"Expected 2D array|dim 3|<= 2"):
        small().fit(np.random.default_rng(0).normal(size=shape))


def test_fewer_rows_than_a_batch_are_one_batch_per_epoch(X: Floats) -> None:
    selector = small(batch_size=1000).fit(X)
    expected = small(batch_size=N_SAMPLES).fit(X)
    np.testing.assert_array_equal(selector.feature_importances_, expected.feature_importances_)


def test_transform_refuses_another_number_of_columns(X: Floats) -> None:
    selector = small().fit(X)
    with pytest.raises(ValueError, match=r"X has 7 features.*expecting 8 features"):
        selector.transform(X[:, :-1])


def test_transform_refuses_other_column_names(X: Floats) -> None:
    frame = pd.DataFrame(X, columns=list("abcdefgh"))
    selector = small().fit(frame)
    with pytest.raises(ValueError, match="feature names should match"):
        selector.transform(frame.rename(columns={"a": "z"}))
    with pytest.raises(ValueError, match="feature names should match"):
        selector.transform(frame[list("hgfedcba")])


def test_nothing_can_be_asked_before_fit(X: Floats) -> None:
    calls: list[Callable[[], object]] = [
        lambda: small().transform(X),
        lambda: small().get_support(),
        lambda: small().get_feature_names_out(),
        lambda: small().inverse_transform(X[:, :3]),
    ]
    for call in calls:
        with pytest.raises(NotFittedError):
            call()


# ------------------------------------------------------------------ the number of features


@pytest.mark.parametrize("wanted", [N_FEATURES + 1, np.int64(1000)])
def test_more_features_than_there_are_is_a_typed_error_and_no_warning(
    wanted: int, X: Floats
) -> None:
    with pytest.raises(
        InvalidArgumentError,
        match=rf"n_features_to_select={wanted} is more than the 8 features.*choose.*\[1, 8\]",
    ):
        small(wanted).fit(X)


@pytest.mark.parametrize("wanted", [0, -3, 0.0, -0.5, 1.5, np.nan, np.inf, "a", "all", [3], True])
def test_a_meaningless_number_of_features_is_refused(wanted: object, X: Floats) -> None:
    with pytest.raises(ValueError, match="n_features_to_select"):
        small(wanted).fit(X)


def test_all_features_can_be_kept(X: Floats) -> None:
    selector = small(N_FEATURES).fit(X)
    assert selector.support_.all()
    assert selector.ranking_.tolist() == [1] * N_FEATURES
    np.testing.assert_array_equal(selector.transform(X), X)


# ------------------------------------------------------------------ other parameters


@pytest.mark.parametrize(
    "parameters",
    [
        {"hidden_size": 0},
        {"hidden_size": 10.0},
        {"epsilon": 0},
        {"epsilon": -1},
        {"epsilon": np.inf},
        {"epsilon": np.nan},
        {"drop_fraction": -0.1},
        {"drop_fraction": 1.1},
        {"noise": -0.1},
        {"noise": np.inf},
        {"dropout": 1},
        {"dropout": -0.1},
        {"output_activation": "relu"},
        {"scale": "robust"},
        {"scale": True},
        {"epochs": 0},
        {"epochs": 2.5},
        {"batch_size": 0},
        {"batch_size": None},
        {"learning_rate": 0},
        {"learning_rate": np.inf},
        {"momentum": 1},
        {"weight_decay": 1},
        {"weight_decay": -1e-5},
        {"device": "gpu"},
        {"device": torch.device("cpu")},
        {"storage": "dense"},
        {"random_state": -1},
        {"random_state": "zero"},
        {"verbose": -1},
    ],
    ids=str,
)
def test_a_parameter_out_of_range_is_refused_by_name_with_its_value(
    parameters: dict[str, Any], X: Floats
) -> None:
    [(name, value)] = parameters.items()
    with pytest.raises(ValueError, match=rf"'{name}' parameter .* must be") as caught:
        small(**parameters).fit(X)
    assert f"Got {value!r} instead" in str(caught.value)


@pytest.mark.parametrize("name", ["hidden_size", "epochs", "batch_size"])
def test_true_is_not_taken_for_the_number_one(name: str, X: Floats) -> None:
    with pytest.raises(ValueError, match=name):
        small(**{name: True}).fit(X)


def test_the_constructor_checks_nothing() -> None:
    selector = QuickSelection("many", epsilon=-1, device="gpu")  # type: ignore[arg-type]
    assert selector.get_params()["epsilon"] == -1


@pytest.mark.parametrize(
    "parameters",
    [{"epochs": 1}, {"drop_fraction": 0}, {"drop_fraction": 1}, {"epsilon": 1000}],
    ids=str,
)
def test_no_topology_update_or_no_empty_place_is_legal(
    parameters: dict[str, Any], X: Floats
) -> None:
    assert small(**parameters).fit(X).support_.sum() == 3


def test_a_layer_without_negative_or_positive_weights_is_legal(X: Floats) -> None:
    # One connection per layer, so one sign is always missing.
    selector = small(epsilon=1e-9, drop_fraction=0.5, epochs=10).fit(X)
    assert selector.history_["n_connections"] == [2] * 10


# ------------------------------------------------------------------ labels


@pytest.mark.parametrize(
    "y",
    [np.arange(N_SAMPLES), ["a", "b"] * 20, np.full(N_SAMPLES, np.nan), np.zeros((3, 2)), "what"],
    ids=["numbers", "text", "NaN", "wrong shape", "no array"],
)
def test_labels_are_ignored_whatever_they_are(y: Any, X: Floats) -> None:
    expected = small().fit(X)
    np.testing.assert_array_equal(small().fit(X, y).order_, expected.order_)


# ------------------------------------------------------------------ kinds of numbers


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64, np.uint16, bool])
def test_integers_and_booleans_are_used_as_they_are_and_come_back_as_such(
    dtype: type[Any],
) -> None:
    X = np.random.default_rng(0).integers(0, 100, size=(N_SAMPLES, N_FEATURES)).astype(dtype)
    if dtype is bool:
        X = np.random.default_rng(0).random((N_SAMPLES, N_FEATURES)) < 0.5
    selector = small(scale=None).fit(X)
    expected = small(scale=None).fit(X.astype(np.float64))
    np.testing.assert_array_equal(selector.feature_importances_, expected.feature_importances_)
    result = selector.transform(X)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, X[:, selector.support_])


def test_half_precision_is_computed_in_higher_precision(X: Floats) -> None:
    half = (X * 1000).astype(np.float16)
    np.testing.assert_array_equal(
        small().fit(half).feature_importances_,
        small().fit(half.astype(np.float64)).feature_importances_,
    )
    assert small().fit(half).transform(half).dtype == np.float16


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("scale", ["standard", "minmax"])
@pytest.mark.parametrize("as_sparse", [False, True])
def test_huge_values_are_scaled_before_they_lose_precision(
    as_sparse: bool, scale: str, dtype: type[Any], X: Floats
) -> None:
    convert = sparse.csr_array if as_sparse else np.asarray
    plain = X.astype(np.float32).astype(dtype)
    # 2**100 is 1.3e30; a power of two changes no digit.
    huge = plain * dtype(2.0**100)
    np.testing.assert_array_equal(
        small(scale=scale).fit(convert(huge)).feature_importances_,
        small(scale=scale).fit(convert(plain)).feature_importances_,
    )


@pytest.mark.parametrize("power", [-600, 600])
def test_values_at_the_ends_of_float64_are_ranked_or_refused_but_never_garbled(
    power: int, X: Floats
) -> None:
    expected = small().fit(X).feature_importances_
    try:
        found = small().fit(X * 2.0**power).feature_importances_
    except ValueError:
        return
    np.testing.assert_allclose(found, expected, rtol=1e-5)


# ------------------------------------------------------------------ training that fails


@pytest.mark.parametrize("epsilon", [2, 1000])
@pytest.mark.parametrize("learning_rate", [1e3, 1e4, 1e6])
def test_divergence_is_a_runtime_error_that_names_epoch_and_learning_rate(
    learning_rate: float, epsilon: float, X: Floats
) -> None:
    # Whether the loss or a topology update comes upon the first infinite number is a matter of
    # chance; the caller gets the same error.
    message = rf"diverged in epoch [1-5]\b.*learning_rate={learning_rate}"
    with pytest.raises(RuntimeError, match=message):
        small(learning_rate=learning_rate, epochs=5, epsilon=epsilon).fit(X)


@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
def test_divergence_for_want_of_scaling_says_so(X: Floats) -> None:
    with pytest.raises(RuntimeError, match="scale the features"):
        small(scale=None).fit(X * 1e30)


@pytest.mark.parametrize("epochs", [1, 2])
def test_weights_made_infinite_by_the_very_last_step_do_not_pass_for_a_result(
    epochs: int, X: Floats
) -> None:
    # The loss of a step is that of the weights before it: with one full batch it is still finite.
    selector = small(scale=None, learning_rate=1e30, batch_size=N_SAMPLES, epochs=epochs)
    with pytest.raises(RuntimeError, match="learning_rate"):
        selector.fit(X * 1e10)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_is_looked_for_in_fit_and_not_in_the_constructor(X: Floats) -> None:
    selector = small(device="cuda")
    with pytest.raises(InvalidArgumentError, match="torch finds no GPU; use 'cpu' or 'auto'"):
        selector.fit(X)


def test_the_automatic_device_works_everywhere(X: Floats) -> None:
    assert small(device="auto").fit(X).support_.sum() == 3
