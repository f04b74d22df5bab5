"""What does every selector say to bad or unusual input? One kind of input per test."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.exceptions import DataConversionWarning, NotFittedError

from sparsewire.core import InvalidArgumentError
from tests.featsel.fast_selectors import NETWORKS, SELECTORS, SUPERVISED, Make, maker

Floats = npt.NDArray[np.float64]
N_SAMPLES, N_FEATURES = 40, 8


@pytest.fixture(name="X")
def _table() -> Floats:
    rng = np.random.default_rng(3)
    low_rank = rng.normal(size=(N_SAMPLES, 2)) @ rng.normal(size=(2, N_FEATURES))
    return low_rank + 0.2 * rng.normal(size=low_rank.shape)


@pytest.fixture(name="y")
def _labels(X: Floats) -> npt.NDArray[np.int64]:
    return (X[:, 0] > np.median(X[:, 0])).astype(np.int64)


@pytest.fixture(name="small", params=list(SELECTORS))
def _small(request: pytest.FixtureRequest) -> Make:
    return maker(request.param)


@pytest.fixture(name="network", params=NETWORKS)
def _network(request: pytest.FixtureRequest) -> Make:
    return maker(request.param)


@pytest.fixture(name="supervised", params=SUPERVISED)
def _supervised(request: pytest.FixtureRequest) -> Make:
    return maker(request.param)


@pytest.fixture(name="unsupervised", params=[n for n in SELECTORS if n not in SUPERVISED])
def _unsupervised(request: pytest.FixtureRequest) -> Make:
    return maker(request.param)


# ------------------------------------------------------------------ the table


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinity")])
@pytest.mark.parametrize("as_sparse", [False, True])
def test_nan_and_infinity_are_refused_by_fit_and_transform(
    as_sparse: bool, value: float, word: str, X: Floats, y: Any, small: Make
) -> None:
    convert = sparse.csr_array if as_sparse else np.asarray
    selector = small().fit(convert(X), y)
    X[3, 2] = value
    with pytest.raises(ValueError, match=f"contains.*{word}"):
        small().fit(convert(X), y)
    with pytest.raises(ValueError, match=f"contains.*{word}"):
        selector.transform(convert(X))


def test_constant_columns_get_importance_0_the_last_ranks_and_one_warning(
    X: Floats, y: Any, small: Make
) -> None:
    X[:, [1, 5]] = 4.0
    with pytest.warns(UserWarning, match="2 of 8 features are constant") as caught:
        selector = small(6).fit(X, y)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert selector.feature_importances_[[1, 5]].tolist() == [0, 0]
    assert set(selector.order_[-2:].tolist()) == {1, 5}
    assert not selector.support_[[1, 5]].any()


def test_nothing_but_constant_columns_is_an_error(y: Any, small: Make) -> None:
    X = np.tile([0.0, 1.0, -2.5], (N_SAMPLES, 1))
    with pytest.raises(InvalidArgumentError, match=r"all 3 feature\(s\) of X are constant"):
        small(2).fit(X, y)


def test_a_single_row_is_refused(X: Floats, y: Any, small: Make) -> None:
    with pytest.raises(ValueError, match=r"1 sample.*minimum of 2"):
        small().fit(X[:1], y[:1])


def test_fewer_rows_than_a_batch_are_one_batch_per_epoch(X: Floats, y: Any, network: Make) -> None:
    selector = network(batch_size=1000).fit(X, y)
    expected = network(batch_size=N_SAMPLES).fit(X, y)
    np.testing.assert_array_equal(selector.feature_importances_, expected.feature_importances_)


@pytest.mark.parametrize("wanted", [N_FEATURES + 1, np.int64(1000)])
def test_more_features_than_there_are_is_a_typed_error(
    wanted: int, X: Floats, y: Any, small: Make
) -> None:
    with pytest.raises(
        InvalidArgumentError,
        match=rf"n_features_to_select={wanted} is more than the 8 features.*choose.*\[1, 8\]",
    ):
        small(wanted).fit(X, y)


@pytest.mark.parametrize("wanted", [0, -3, 0.0, 1.5, np.nan, np.inf, "a", "all", [3], True])
def test_a_meaningless_number_of_features_is_refused(
    wanted: object, X: Floats, y: Any, small: Make
) -> None:
    with pytest.raises(ValueError, match="n_features_to_select"):
        small(wanted).fit(X, y)


def test_all_features_can_be_kept(X: Floats, y: Any, small: Make) -> None:
    selector = small(N_FEATURES).fit(X, y)
    assert selector.support_.all()
    assert selector.ranking_.tolist() == [1] * N_FEATURES
    np.testing.assert_array_equal(selector.transform(X), X)


def test_one_feature_is_enough(X: Floats, y: Any, small: Make) -> None:
    assert small(None).fit(X[:, :1], y).support_.tolist() == [True]


def test_string_labels_give_what_their_numbers_give(X: Floats, y: Any, supervised: Make) -> None:
    texts = np.array(["cold", "warm"])[y]
    for labels in (texts, texts.astype(object)):
        selector = supervised().fit(X, labels)
        assert selector.classes_.tolist() == ["cold", "warm"]
        np.testing.assert_array_equal(
            selector.feature_importances_, supervised().fit(X, y).feature_importances_
        )


def test_labels_may_be_whole_numbers_written_as_floats(X: Floats, y: Any, supervised: Make) -> None:
    selector = supervised().fit(X, y.astype(np.float64))
    np.testing.assert_array_equal(
        selector.feature_importances_, supervised().fit(X, y).feature_importances_
    )


def test_a_continuous_target_of_a_classifier_is_refused(X: Floats, supervised: Make) -> None:
    with pytest.raises(ValueError, match="Unknown label type"):
        supervised().fit(X, X[:, 0])


def test_a_column_vector_of_labels_is_flattened_with_a_warning(
    X: Floats, y: Any, supervised: Make
) -> None:
    with pytest.warns(DataConversionWarning):
        selector = supervised().fit(X, y[:, None])
    np.testing.assert_array_equal(selector.order_, supervised().fit(X, y).order_)


def test_several_labels_per_row_are_refused(X: Floats, y: Any, supervised: Make) -> None:
    with pytest.raises(ValueError, match="1d array"):
        supervised().fit(X, np.stack([y, y], axis=1))


def test_one_class_is_refused(X: Floats, supervised: Make) -> None:
    with pytest.raises(ValueError, match="1 class"):
        supervised().fit(X, np.zeros(N_SAMPLES, dtype=int))


def test_missing_labels_are_refused(X: Floats, y: Any, supervised: Make) -> None:
    with pytest.raises(ValueError, match="requires y to be passed, but the target y is None"):
        supervised().fit(X)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        supervised().fit(X, y[:-1])
    with pytest.raises(ValueError, match="contains NaN"):
        supervised().fit(X, np.where(y == 0, np.nan, 1.0))


@pytest.mark.filterwarnings("ignore:.*one member:UserWarning")
@pytest.mark.filterwarnings("ignore:The least populated class:UserWarning")
def test_a_class_with_one_member_is_no_obstacle(X: Floats, y: Any, supervised: Make) -> None:
    y[0] = 7
    selector = supervised().fit(X, y)
    assert selector.classes_.tolist() == [0, 1, 7]


@pytest.mark.parametrize(
    "labels",
    [np.arange(N_SAMPLES), ["a", "b"] * 20, np.full(N_SAMPLES, np.nan), np.zeros((3, 2)), "what"],
    ids=["numbers", "text", "NaN", "wrong shape", "no array"],
)
def test_unsupervised_selectors_ignore_labels_whatever_they_are(
    labels: Any, X: Floats, unsupervised: Make
) -> None:
    expected = unsupervised().fit(X)
    np.testing.assert_array_equal(unsupervised().fit(X, labels).order_, expected.order_)


@pytest.mark.parametrize(
    "container", [sparse.csr_array, sparse.csc_matrix, sparse.coo_array], ids=lambda c: c.__name__
)
def test_sparse_tables_give_what_dense_ones_give_and_stay_sparse(
    container: Any, X: Floats, y: Any, small: Make
) -> None:
    X[np.abs(X) < 0.5] = 0
    selector, dense = small().fit(container(X), y), small().fit(X, y)
    np.testing.assert_allclose(
        selector.feature_importances_, dense.feature_importances_, rtol=1e-4, atol=1e-6
    )
    result = selector.transform(container(X))
    assert sparse.issparse(result)
    np.testing.assert_array_equal(result.toarray(), X[:, selector.support_])


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool])
def test_integers_and_booleans_are_used_as_they_are_and_come_back_as_such(
    dtype: type[Any], y: Any, small: Make
) -> None:
    X = np.random.default_rng(0).integers(0, 2, size=(N_SAMPLES, N_FEATURES))
    X = (X * (1 if dtype is bool else 200)).astype(dtype)
    selector, expected = small().fit(X, y), small().fit(X.astype(np.float64), y)
    np.testing.assert_array_equal(selector.feature_importances_, expected.feature_importances_)
    result = selector.transform(X)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, X[:, selector.support_])


def test_half_precision_is_computed_in_higher_precision(X: Floats, y: Any, small: Make) -> None:
    half = (X * 1000).astype(np.float16)
    np.testing.assert_array_equal(
        small().fit(half, y).feature_importances_,
        small().fit(half.astype(np.float64), y).feature_importances_,
    )
    assert small().fit(half, y).transform(half).dtype == np.float16


def test_huge_values_are_scaled_before_they_lose_precision(
    X: Floats, y: Any, network: Make
) -> None:
    plain = X.astype(np.float32).astype(np.float64)
    # 2**100 is 1.3e30; a power of two changes no digit.
    np.testing.assert_array_equal(
        network().fit(plain * 2.0**100, y).feature_importances_,
        network().fit(plain, y).feature_importances_,
    )


def test_a_column_of_text_is_refused(X: Floats, y: Any, small: Make) -> None:
    frame = pd.DataFrame(X).assign(name=["red", "blue"] * (N_SAMPLES // 2))
    frame.columns = frame.columns.astype(str)
    with pytest.raises(ValueError, match="could not convert string to float"):
        small().fit(frame, y)


def test_other_columns_at_transform_are_refused(X: Floats, y: Any, small: Make) -> None:
    frame = pd.DataFrame(X, columns=list("abcdefgh"))
    selector = small().fit(frame, y)
    with pytest.raises(ValueError, match="feature names should match"):
        selector.transform(frame.rename(columns={"a": "z"}))
    with pytest.raises(ValueError, match=r"X has 7 features.*expecting 8 features"):
        small().fit(X, y).transform(X[:, :-1])


UNMOVED: dict[str, list[dict[str, Any]]] = {
    "QuickSelection": [{"epochs": 1}, {"drop_fraction": 0}, {"drop_fraction": 1}, {"epsilon": 99}],
    "WAST": [{"epochs": 1}, {"drop_fraction": 0}, {"drop_fraction": 1}, {"density": 1}],
    "NeuroFS": [
        {"epochs": 1},
        {"epochs": 2},
        {"drop_fraction": 0, "drop_fraction_input": 0},
        {"drop_fraction": 0.99, "drop_fraction_input": 0.99},
        {"epsilon": 99},
    ],
    "AttributionSelector": [{"epochs": 1}, {"drop_fraction": 0}, {"density": 1}],
}


@pytest.mark.parametrize(
    ("name", "parameters"),
    [(name, parameters) for name, all_ in UNMOVED.items() for parameters in all_],
    ids=str,
)
def test_no_topology_update_a_static_net_and_no_empty_place_are_legal(
    name: str, parameters: dict[str, Any], X: Floats, y: Any
) -> None:
    assert maker(name)(3, **parameters).fit(X, y).support_.sum() == 3


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("QuickSelection", {"epsilon": 1e-9}),
        ("WAST", {"density": 0.011}),
        ("NeuroFS", {"epsilon": 1e-9}),
    ],
)
def test_a_layer_without_negative_or_positive_weights_is_legal(
    name: str, parameters: dict[str, Any], X: Floats, y: Any
) -> None:
    # One connection per layer, so one sign is always missing.
    selector = maker(name)(3, epochs=6, **parameters).fit(X, y)
    assert selector.connections_[0].nnz == 1


@pytest.mark.parametrize("learning_rate", [1e30, 1e36])
def test_divergence_is_a_runtime_error_that_names_epoch_and_learning_rate(
    learning_rate: float, X: Floats, y: Any, network: Make
) -> None:
    message = rf"diverged in epoch \d\b.*learning_rate={learning_rate}".replace("+", r"\+")
    selector = network(learning_rate=learning_rate, epochs=9, scale=None)
    with pytest.raises(RuntimeError, match=message):
        selector.fit(X * 1e3, y)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_is_looked_for_in_fit_and_not_in_the_constructor(
    X: Floats, y: Any, network: Make
) -> None:
    selector = network(device="cuda")
    with pytest.raises(InvalidArgumentError, match="torch finds no GPU; use 'cpu' or 'auto'"):
        selector.fit(X, y)


# ------------------------------------------------------------------ before fit, and parameters


def test_nothing_can_be_asked_before_fit(X: Floats, small: Make) -> None:
    calls: list[Callable[[], object]] = [
        lambda: small().transform(X),
        lambda: small().get_support(),
        lambda: small().get_feature_names_out(),
        lambda: small().inverse_transform(X[:, :3]),
    ]
    for call in calls:
        with pytest.raises(NotFittedError):
            call()


@pytest.mark.parametrize(
    "parameters",
    [
        {"redundancy": -0.1},
        {"redundancy": np.nan},
        {"scale": "robust"},
        {"epochs": 0},
        {"epochs": 2.5},
        {"batch_size": 0},
        {"batch_size": None},
        {"learning_rate": 0},
        {"learning_rate": np.inf},
        {"device": "gpu"},
        {"storage": "dense"},
        {"dtype": "float16"},
        {"random_state": -1},
        {"verbose": -1},
    ],
    ids=str,
)
def test_a_common_parameter_out_of_range_is_refused_by_name_with_its_value(
    parameters: dict[str, Any], X: Floats, y: Any, network: Make
) -> None:
    [(name, value)] = parameters.items()
    with pytest.raises(ValueError, match=rf"'{name}' parameter .* must be") as caught:
        network(**parameters).fit(X, y)
    assert f"Got {value!r} instead" in str(caught.value)


@pytest.mark.parametrize("name", ["epochs", "batch_size"])
def test_true_is_not_taken_for_the_number_one(name: str, X: Floats, y: Any, network: Make) -> None:
    with pytest.raises(ValueError, match=name):
        network(**{name: True}).fit(X, y)


def test_the_constructor_checks_nothing(small: Make) -> None:
    assert small("many", redundancy=-1).get_params()["redundancy"] == -1
