"""The benchmark's methods: their names, the papers' exceptions, and scores against slow twins."""

from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.datasets import load_breast_cancer
from sklearn.feature_selection import f_classif
from sklearn.metrics import mutual_info_score
from sklearn.preprocessing import MinMaxScaler

from sparsewire.core import InvalidArgumentError
from sparsewire.featsel.benchmark import references
from sparsewire.featsel.benchmark.methods import (
    METHODS,
    Factory,
    build,
    describe,
    find_method,
    known_methods,
)
from tests.featsel.benchmark.helpers import broken

CANCER, CLASSES = load_breast_cancer(return_X_y=True)


def made(name: str, dataset: str = "digits", **parameters: Any) -> Any:
    factory = METHODS[name].factory
    return build(name, factory, k=7, seed=3, dataset=dataset, parameters=parameters)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_an_unfitted_selector_with_all_its_parameters_known(name: str) -> None:
    selector = made(name)
    assert isinstance(selector, BaseEstimator)
    assert hasattr(selector, "get_support")
    described = describe(selector)
    assert not {"random_state", "n_features_to_select", "verbose"} & described.keys()
    if name in ("quickselection", "wast", "neurofs", "attribution", "laplacian", "random"):
        assert (selector.n_features_to_select, selector.random_state) == (7, 3)


@pytest.mark.parametrize(
    ("name", "dataset", "parameter", "there", "elsewhere"),
    [
        ("wast", "coil20", "sensitivity", 0.4, 0.9),
        ("wast", "usps", "sensitivity", 0.4, 0.9),
        ("wast", "mnist", "sensitivity", 0.4, 0.9),
        ("wast", "fashion_mnist", "sensitivity", 0.4, 0.9),
        ("quickselection", "madelon", "output_activation", "tanh", "linear"),
        ("quickselection", "pcmac", "scale", "minmax", "standard"),
        ("neurofs", "arcene", "batch_size", 20, 100),
        ("neurofs", "isolet1560", "activation", "relu", "tanh"),
        ("attribution", "pcmac", "batch_size", 32, 100),
        ("attribution", "arcene", "batch_size", 32, 100),
    ],
)
def test_the_papers_exceptions_hold_on_their_data_sets_only(
    name: str, dataset: str, parameter: str, there: object, elsewhere: object
) -> None:
    assert getattr(made(name, dataset), parameter) == there
    assert getattr(made(name, "breast_cancer"), parameter) == elsewhere


def test_a_given_parameter_wins_over_an_exception() -> None:
    assert made("wast", "coil20", sensitivity=0.7).sensitivity == 0.7
    assert made("neurofs", hidden_layer_sizes=[5, 4, 3]).hidden_layer_sizes == (5, 4, 3)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("quickselection", {"epoch": 3}, "no parameter 'epoch'. Did you mean 'epochs'"),
        ("quickselection", {"epochs": 0}, "quickselection: The 'epochs' parameter"),
        ("quickselection", {"random_state": 3}, "no parameter 'random_state'"),
        ("f_classif", {"alpha": 1}, "It takes none"),
        ("extra_trees", {"n_estimator": 3}, "Did you mean 'n_estimators'"),
    ],
)
def test_wrong_parameters_are_refused(name: str, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        made(name, **parameters)


def test_unknown_names_are_answered_with_suggestions() -> None:
    with pytest.raises(InvalidArgumentError, match=r"unknown method 'wats'\. Did you mean 'wast'"):
        find_method("wats", METHODS)


@pytest.mark.parametrize("name", ["random", "a/b", "", "a b"])
def test_extra_methods_have_names_of_their_own_that_fit_into_a_file_name(name: str) -> None:
    extra: dict[str, Factory] = {name: broken}
    with pytest.raises(InvalidArgumentError, match="extra method"):
        known_methods(extra)


def test_descriptions_are_plain_and_hold_no_address_of_memory() -> None:
    for name in ("all", "variance", "extra_trees", "mutual_info"):
        text = str(describe(made(name)))
        assert " at 0x" not in text
        assert text == str(describe(made(name)))
    assert describe(object()) == {}


def test_variance_is_that_of_columns_between_0_and_1() -> None:
    data = np.hstack([CANCER, np.full((len(CANCER), 1), 3.0)])
    expected = MinMaxScaler().fit_transform(data).var(axis=0)
    np.testing.assert_allclose(references.scaled_variance(data, CLASSES), expected, atol=1e-15)


def test_small_integers_do_not_overflow() -> None:
    data = np.array([[0, 200], [255, 10], [3, 100], [200, 90]], dtype=np.uint8)
    classes = np.array([0, 1, 0, 1])
    for score in (references.scaled_variance, references.binned_mutual_information):
        np.testing.assert_array_equal(score(data, classes), score(data.astype(float), classes))


def test_f_is_that_of_scikit_learn_and_0_for_constant_columns() -> None:
    data = np.hstack([np.ones((len(CANCER), 1)), CANCER])
    found = references.anova_f(data, CLASSES)
    np.testing.assert_allclose(found, [0.0, *f_classif(CANCER, CLASSES)[0]])
    assert (references.anova_f(data[:, :1], CLASSES) == 0).all()


def test_mutual_information_is_that_of_ten_bins_of_equal_width() -> None:
    def slow(column: np.ndarray[Any, Any]) -> float:
        edges = np.linspace(column.min(), column.max(), 11)[1:-1]
        return float(mutual_info_score(CLASSES, np.digitize(column, edges)))

    found = references.binned_mutual_information(CANCER, CLASSES)
    np.testing.assert_allclose(found, [slow(column) for column in CANCER.T], atol=1e-2)
    assert np.argmax(found) == np.argmax([slow(column) for column in CANCER.T])


@pytest.mark.parametrize("name", ["variance", "f_classif", "mutual_info", "extra_trees"])
def test_filters_keep_as_many_columns_as_asked(name: str) -> None:
    parameters: dict[str, Any] = {"n_estimators": 5} if name == "extra_trees" else {}
    selector = made(name, **parameters).fit(CANCER, CLASSES)
    assert selector.get_support().sum() == 7
    assert made("all").fit(CANCER, CLASSES).get_support().all()
