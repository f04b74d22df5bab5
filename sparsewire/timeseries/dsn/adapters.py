"""How does the classifier join the pipelines and benchmarks of aeon and sktime?

Through a thin classifier of their own kind around ours, a `DSNClassifier` if none is given: series
come in their containers, everything else is handed on. Neither library is a dependency; each is
imported when its adapter is first used.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Self

from sklearn.base import clone

from sparsewire.timeseries.classification.base import BaseSeriesClassifier
from sparsewire.timeseries.dsn.classifier import DSNClassifier

_SMALL: dict[str, Any] = {"n_filters": 2, "depth": 1, "kernel_size": 6, "random_state": 0}


def to_aeon(classifier: BaseSeriesClassifier | None = None) -> Any:
    """Return an aeon classifier that trains a clone of the given one.

    Parameters
    ----------
    classifier : DSNClassifier, SparseRNNClassifier or None, default None
        Its parameters are those of the adapter, with the prefix ``classifier__``; None means a
        `DSNClassifier`.

    Returns
    -------
    aeon.classification.base.BaseClassifier
        Not fitted. It takes panels of unequal length and with missing values.

    Raises
    ------
    ImportError
        If aeon is not installed.

    Examples
    --------
    >>> adapter = to_aeon(DSNClassifier(n_filters=16))  # doctest: +SKIP
    """
    return _aeon_class()(classifier)


def to_sktime(classifier: BaseSeriesClassifier | None = None) -> Any:
    """Return an sktime classifier that trains a clone of the given one.

    Parameters
    ----------
    classifier : DSNClassifier, SparseRNNClassifier or None, default None
        Its parameters are those of the adapter, with the prefix ``classifier__``; None means a
        `DSNClassifier`.

    Returns
    -------
    sktime.classification.base.BaseClassifier
        Not fitted. It takes panels of unequal length and with missing values.

    Raises
    ------
    ImportError
        If sktime is not installed.

    Examples
    --------
    >>> adapter = to_sktime(DSNClassifier(n_filters=16))  # doctest: +SKIP
    """
    return _sktime_class()(classifier)


@cache
def _aeon_class() -> Any:
    try:
        from aeon.classification.base import BaseClassifier
    except ImportError as error:
        raise _missing("aeon", error) from error

    class AeonDSNClassifier(_Around, BaseClassifier):
        """One of our classifiers as a classifier of aeon.

        Parameters
        ----------
        classifier : DSNClassifier, SparseRNNClassifier or None, default None
            What is cloned and trained; None means a `DSNClassifier`.
        """

        _tags = {  # noqa: RUF012 - as aeon has it
            "X_inner_type": ["np-list", "numpy3D"],
            "capability:multivariate": True,
            "capability:unequal_length": True,
            "capability:missing_values": True,
            "algorithm_type": "deeplearning",
        }

        def __init__(self, classifier: BaseSeriesClassifier | None = None) -> None:
            self.classifier = classifier
            super().__init__()

        @classmethod
        def _get_test_params(cls, parameter_set: str = "default") -> Any:
            return {"classifier": DSNClassifier(n_epochs=3, **_SMALL)}

    return _named(AeonDSNClassifier)


@cache
def _sktime_class() -> Any:
    try:
        from sktime.classification.base import BaseClassifier
    except ImportError as error:
        raise _missing("sktime", error) from error

    class SktimeDSNClassifier(_Around, BaseClassifier):
        """One of our classifiers as a classifier of sktime.

        Parameters
        ----------
        classifier : DSNClassifier, SparseRNNClassifier or None, default None
            What is cloned and trained; None means a `DSNClassifier`.

        Examples
        --------
        >>> from sparsewire.timeseries.dsn import DSNClassifier, to_sktime
        >>> adapter = to_sktime(DSNClassifier(n_filters=16))
        """

        _tags = {  # noqa: RUF012 - as sktime has it
            "X_inner_mtype": "df-list",
            "capability:multivariate": True,
            "capability:unequal_length": True,
            "capability:missing_values": True,
            "capability:predict_proba": True,
            "python_dependencies": ["torch"],
        }

        def __init__(self, classifier: BaseSeriesClassifier | None = None) -> None:
            self.classifier = classifier
            super().__init__()

        @classmethod
        def get_test_params(cls, parameter_set: str = "default") -> Any:
            """Return two small classifiers."""
            return [
                {"classifier": DSNClassifier(n_epochs=3, **_SMALL)},
                {"classifier": DSNClassifier(n_epochs=2, topology="static", **_SMALL)},
            ]

    return _named(SktimeDSNClassifier)


def _named(made: Any) -> Any:
    """Give a class made in a function the name under which pickles find it in this module."""
    made.__module__, made.__qualname__ = __name__, made.__name__
    return made


class _Around:
    """What both adapters do with the classifier they are made around."""

    classifier: BaseSeriesClassifier | None

    def _fit(self, X: Any, y: Any) -> Self:
        self.classifier_ = clone(self.classifier or DSNClassifier()).fit(list(X), y)
        return self

    def _predict(self, X: Any) -> Any:
        return self.classifier_.predict(list(X))

    def _predict_proba(self, X: Any) -> Any:
        return self.classifier_.predict_proba(list(X))


def _missing(library: str, error: ImportError) -> ImportError:
    return ImportError(
        f"this adapter needs {library}, which is not installed: pip install {library}"
    )


def __getattr__(name: str) -> Any:
    """Find the classes again that pickles of adapters name."""
    makers = {"AeonDSNClassifier": _aeon_class, "SktimeDSNClassifier": _sktime_class}
    if name in makers:
        return makers[name]()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
