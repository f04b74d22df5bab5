"""Do aeon and sktime accept the adapters, where they are installed?"""

import importlib.util
import pickle
from typing import Any

import numpy as np
import pytest

from sparsewire.timeseries.dsn import DSNClassifier, to_aeon, to_sktime
from sparsewire.timeseries.recurrent import SparseRNNClassifier
from tests.timeseries.dsn.helpers import small, waves

# Both libraries warn about dependencies and deprecations of their own.
pytestmark = pytest.mark.filterwarnings("default")
MAKERS = {"aeon": to_aeon, "sktime": to_sktime}


def failures(results: dict[str, Any]) -> dict[str, Any]:
    return {name: result for name, result in results.items() if result != "PASSED"}


def test_aeon_s_checks_pass() -> None:
    checking = pytest.importorskip("aeon.testing.estimator_checking")
    results = checking.check_estimator(type(to_aeon()), raise_exceptions=False, verbose=False)
    assert len(results) > 20
    assert failures(results) == {}


@pytest.mark.slow
def test_sktime_s_checks_pass() -> None:
    checks = pytest.importorskip("sktime.utils.estimator_checks")
    results = checks.check_estimator(type(to_sktime()), raise_exceptions=False, verbose=False)
    assert len(results) > 100
    assert failures(results) == {}


@pytest.mark.parametrize("library", list(MAKERS))
def test_an_adapter_predicts_what_its_classifier_does(library: str) -> None:
    pytest.importorskip(library)
    X, y = waves(channels=2)
    adapter = MAKERS[library](small()).fit(X, y)
    expected = small().fit(X, y).predict_proba(X)
    np.testing.assert_allclose(adapter.predict_proba(X), expected, atol=1e-7)
    again = pickle.loads(pickle.dumps(adapter))
    np.testing.assert_array_equal(again.predict(X), adapter.predict(X))
    assert isinstance(adapter.get_params()["classifier"], DSNClassifier)


@pytest.mark.parametrize("library", list(MAKERS))
def test_an_adapter_takes_a_recurrent_classifier_too(library: str) -> None:
    pytest.importorskip(library)
    X, y = waves(channels=2)
    classifier = SparseRNNClassifier(n_units=4, n_epochs=2, random_state=0)
    adapter = MAKERS[library](classifier).fit(X, y)
    expected = classifier.fit(X, y).predict_proba(X)
    np.testing.assert_allclose(adapter.predict_proba(X), expected, atol=1e-7)


@pytest.mark.parametrize("library", list(MAKERS))
def test_a_missing_library_is_named(library: str) -> None:
    if importlib.util.find_spec(library):
        pytest.skip(f"{library} is installed")
    with pytest.raises(ImportError, match=f"pip install {library}"):
        MAKERS[library]()
