"""What does the file of a fitted classifier hold?

Parameters, what was learned, labels, the treatment of series, and the network as arrays; how it is
written is decided in `sparsewire.timeseries.model_files`.
"""

import dataclasses
import os
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from sparsewire.core import CheckpointError, InvalidArgumentError
from sparsewire.timeseries.classification.preparation import Preparation
from sparsewire.timeseries.model_files import (
    Arrays,
    check_array,
    fields,
    from_arrays,
    made,
    plain,
    read,
    restoring,
    to_arrays,
    write,
)

if TYPE_CHECKING:
    from sparsewire.timeseries.classification.base import BaseSeriesClassifier

Classifier = TypeVar("Classifier", bound="BaseSeriesClassifier")
VERSION = 1
_FITTED = {"history_": dict, "best_epoch_": int, "n_epochs_": int, "n_channels_in_": int}
_OF_TABLES = {"n_features_in_": int, "feature_names_in_": list}
_TREATMENT = {"normalise": str, "unequal": str, "missing": str, "n_channels": int, "length": int}


def save(path: str | os.PathLike[str], classifier: "BaseSeriesClassifier") -> None:
    """Write a fitted classifier, atomically.

    Parameters
    ----------
    path : path
        File, replaced if it exists.
    classifier : BaseSeriesClassifier
        The classifier.

    Raises
    ------
    InvalidArgumentError
        If the labels are neither numbers nor strings.
    """
    classes, network = classifier.classes_, classifier.network_
    treatment, learned = classifier._treatment, vars(classifier)
    names = [name for name in (*_FITTED, *_OF_TABLES) if name in learned]
    text = {
        "parameters": {k: plain(v) for k, v in classifier.get_params(deep=False).items()},
        "fitted": {name: plain(learned[name]) for name in names},
        "classes": classes.dtype.kind,
        "shape": dataclasses.asdict(network.shape),
        "preparation": {name: getattr(treatment, name) for name in _TREATMENT},
    }
    arrays = {f"network/{name}": value for name, value in to_arrays(network).items()}
    arrays["centre"], arrays["scale"] = treatment.centre, treatment.scale
    arrays["classes"] = _storable(classes)
    write(path, text, arrays, format_=_format(type(classifier)), version=VERSION)


def _format(kind: type[Any]) -> str:
    return f"sparsewire.timeseries.{kind.__name__}"


def _storable(classes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if classes.dtype.kind != "O":
        return classes
    if not all(isinstance(label, str) for label in classes):
        raise InvalidArgumentError(
            f"labels of type {type(classes[0]).__name__} cannot be saved; use numbers or strings."
        )
    return classes.astype(str)


def load(path: str | os.PathLike[str], kind: type[Classifier]) -> Classifier:
    """Read what `save` wrote; no code in the file is executed.

    Parameters
    ----------
    path : path
        The file.
    kind : type
        Class of the classifier.

    Returns
    -------
    BaseSeriesClassifier
        The classifier.

    Raises
    ------
    CheckpointError
        If the file is damaged or something else.
    OSError
        If it cannot be opened.
    """
    text, arrays = read(path, format_=_format(kind), version=VERSION)
    with restoring(path):
        parameters = dict.fromkeys(kind._get_param_names(), object)
        classifier = kind(**fields(text["parameters"], parameters, "parameters"))
        classifier._validate_params()
        shape = made(kind._shape_type, text["shape"])
        classifier.classes_ = _classes(arrays.pop("classes"), text["classes"], shape.n_classes)
        treatment = _treatment(text["preparation"], arrays)
        classifier._treatment = treatment
        fitted = _fitted(text["fitted"])
        if not fitted["n_channels_in_"] == treatment.n_channels == shape.n_channels:
            raise CheckpointError("its parts differ in the number of channels.")
        classifier.__dict__.update(fitted)
        states = {name.removeprefix("network/"): value for name, value in arrays.items()}
        classifier.network_ = from_arrays(kind._new_network(shape), states)
        return classifier


def _fitted(text: Any) -> dict[str, Any]:
    fitted = fields(text, _FITTED, "fitted", optional=_OF_TABLES)
    names = fitted.get("feature_names_in_")
    if names is None:
        return fitted
    if len(names) != fitted["n_features_in_"] or not all(isinstance(name, str) for name in names):
        raise CheckpointError("feature_names_in_ must be one string per column.")
    return fitted | {"feature_names_in_": np.array(names, dtype=object)}


def _classes(classes: npt.NDArray[Any], kind: str, n_classes: int) -> npt.NDArray[Any]:
    if classes.ndim != 1 or len(np.unique(classes)) != n_classes or len(classes) != n_classes:
        raise CheckpointError(f"classes must be {n_classes} different labels, got {classes}.")
    if classes.dtype.kind != ("U" if kind == "O" else kind):
        raise CheckpointError(f"classes must be of kind {kind!r}, got {classes.dtype}.")
    return classes.astype(object) if kind == "O" else classes


def _treatment(text: Any, arrays: Arrays) -> Preparation:
    values = fields(text, _TREATMENT, "preparation")
    statistics = {name: arrays.pop(name) for name in ("centre", "scale")}
    for name, array in statistics.items():
        check_array(array, (values["n_channels"], 1), name)
    return made(Preparation, values | statistics)
