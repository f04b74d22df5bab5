"""How does ``sparsewire ts classify`` run? Check everything, train or load, predict, write.

Nothing is trained before options, output and all data are checked, and nothing but ``run.pt`` is
written before all is done.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import typer

from sparsewire.core.errors import InvalidArgumentError
from sparsewire.reporting.outputs import output_folder
from sparsewire.timeseries.classification.preparation import Preparation
from sparsewire.timeseries.command.arguments import make_estimator, refusals
from sparsewire.timeseries.command.output import (
    Common,
    Writer,
    check_output,
    csv_writer,
    describe_run,
    history_writer,
    json_writer,
    resumable,
    write_files,
)
from sparsewire.timeseries.command.panels import Cases, check_against, check_labels, read_cases
from sparsewire.timeseries.dsn import DSNClassifier

_OPTIONS = {"random_state": "--seed", "verbose": "--quiet", "checkpoint": "--resume"}


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options of one call.

    Attributes
    ----------
    common : Common
        Those that all commands have.
    train : str or None
        File or name of the training series.
    test, predict : str or None
        Series to judge the classifier by, and series without labels.
    target : str or None
        Column of the labels, in ``.csv`` files.
    model : pathlib.Path or None
        A fitted classifier, instead of training series.
    resume : bool
        Whether to keep the run, and to continue one.
    """

    common: Common
    train: str | None
    test: str | None = None
    predict: str | None = None
    target: str | None = None
    model: Path | None = None
    resume: bool = True

    def __post_init__(self) -> None:
        if (self.train is None) == (self.model is None):
            raise InvalidArgumentError(
                "name either training series, TRAIN, or a fitted classifier, --model FILE."
            )
        if self.model is not None and self.test is None and self.predict is None:
            raise InvalidArgumentError("--model needs series: --test FILE or --predict FILE.")
        if self.model is not None and self.common.parameters:
            raise InvalidArgumentError("--param sets up a training; leave it out with --model.")
        if self.model is not None and (self.common.seed or not self.resume):
            raise InvalidArgumentError(
                "--seed and --no-resume are for a training; leave them out with --model."
            )

    def files(self, *, tests: bool) -> list[str]:
        """Return the names of the files to write, given whether there are test cases."""
        trained = ["model.zip", "history.csv"] if self.model is None else []
        predicted = ["predictions.csv"] if tests or self.predict else []
        pictures = ["kernels.png", "class_activation.png"] if self.common.plots else []
        return [*trained, *predicted, *pictures, "metrics.json"]


@dataclass(frozen=True)
class _Data:
    """Everything that is read, by what it is for; None where nothing was asked for."""

    train: Cases | None
    test: Cases | None
    predict: Cases | None

    def parts(self) -> dict[str, Cases]:
        return {name: cases for name, cases in vars(self).items() if cases is not None}


def run(request: Request) -> None:
    """Do what was asked for.

    Parameters
    ----------
    request : Request
        What was asked for.

    Raises
    ------
    SparsewireError
        If an option, a file or the output is unusable, or training diverges.
    OSError
        If a file cannot be read or written.
    ImportError
        If a picture was asked for and matplotlib is missing.
    """
    common = request.common
    if request.model is None:
        verbose = 0 if common.quiet else 1
        classifier = make_estimator(
            DSNClassifier, common.parameters, _OPTIONS, random_state=common.seed, verbose=verbose
        )
    else:
        classifier = DSNClassifier.load(request.model)
    check_output(common, request.files(tests=request.test is not None), _inputs(request))
    data = _read(request)
    check_output(common, request.files(tests=data.test is not None), _inputs(request))
    _check(request, classifier, data)
    keep = request.resume and data.train is not None
    with output_folder(common.folder), resumable(common, keep=keep) as checkpoint:
        start = time.perf_counter()
        if data.train is not None:
            classifier.set_params(checkpoint=checkpoint)
            with refusals(data.train.source):
                classifier.fit(data.train.X, data.train.y)
            classifier.set_params(checkpoint=None)  # the model must not ask for the run's file
        seconds = {"fit": time.perf_counter() - start} if request.model is None else {}
        _finish(request, classifier, data, seconds)


def _inputs(request: Request) -> list[Path]:
    named = (request.train, request.test, request.predict)
    paths = [Path(name) for name in named if name] + ([request.model] if request.model else [])
    return [path for path in paths if path.is_file()]


def _read(request: Request) -> _Data:
    train = test = None
    if request.train is not None:
        train, *rest = read_cases(request.train, request.target)
        test = rest[0] if rest else None
    if request.test is not None:
        test = read_cases(request.test, request.target)[-1]
    predict = read_cases(request.predict, request.target)[-1] if request.predict else None
    data = _Data(train, test, predict)
    named = request.target is not None
    if named and not any(cases.columns for cases in data.parts().values()):
        raise InvalidArgumentError("--target names the column of labels in a .csv file; none is.")
    return data


def _check(request: Request, classifier: DSNClassifier, data: _Data) -> None:
    """Refuse whatever would fail after the training."""
    columns: tuple[str, ...] = ()
    if data.train is None:
        treatment, classes = classifier._treatment, _labels(classifier)
    else:
        if data.train.y is None:
            raise InvalidArgumentError(
                f"{data.train.source} has no labels to learn; for a .csv file, name their column "
                "with --target."
            )
        classes, columns = np.unique(data.train.y), data.train.columns
        treatment = Preparation.fit(
            data.train.panel,
            normalise=classifier.normalise,
            unequal=classifier.unequal,
            missing=classifier.missing,
        )
        if len(classes) < 2:
            raise InvalidArgumentError(
                f"{data.train.source} has one class, {classes[0]}; a classifier needs at least two."
            )
    for name, cases in data.parts().items():
        check_against(cases, columns=columns, treatment=treatment)
        with refusals(cases.source), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they come again, when it is done in earnest
            treatment.apply(cases.panel)
        if name == "test":
            check_labels(cases, classes)


def _labels(classifier: DSNClassifier) -> npt.NDArray[np.str_]:
    """Return the classes as files have them, as text; in Python a model may have learnt numbers."""
    labels: npt.NDArray[np.str_] = classifier.classes_.astype(np.str_)
    return labels


def _finish(
    request: Request, classifier: DSNClassifier, data: _Data, seconds: dict[str, float]
) -> None:
    start = time.perf_counter()
    todo = {name: cases for name, cases in data.parts().items() if name != "train"}
    found = {name: classifier.predict_proba(cases.X) for name, cases in todo.items()}
    seconds["predict"] = time.perf_counter() - start
    common = request.common
    content = describe_run(
        classifier, common, {name: cases.describe() for name, cases in data.parts().items()}
    )
    content |= {"model": None if request.model is None else str(request.model)}
    content |= _network(classifier) | {"seconds": {k: round(v, 3) for k, v in seconds.items()}}
    if data.test is not None:
        content["test"] = scores(data.test.y, _labels(classifier), found["test"])
    writers: dict[str, Writer] = {}
    if request.model is None:
        writers["model.zip"] = classifier.save
        writers["history.csv"] = history_writer(classifier.history_, "epoch")
    if found:
        writers["predictions.csv"] = _predictions(_labels(classifier), todo, found)
    if common.plots:
        writers |= _pictures(classifier, next(iter((todo or data.parts()).values())))
    write_files(common, writers | {"metrics.json": json_writer(content)})
    if not common.quiet:
        typer.echo(_summary(content))


def scores(
    truth: Any, classes: npt.NDArray[Any], probabilities: npt.NDArray[np.float64]
) -> dict[str, Any]:
    """Judge predictions.

    Parameters
    ----------
    truth : ndarray of shape (n,)
        Labels, all of them in `classes`.
    classes : ndarray of shape (n_classes,)
        All labels.
    probabilities : ndarray of shape (n, n_classes)
        Of each class.

    Returns
    -------
    dict
        Accuracy, precision, recall and F1 by class, and the confusion matrix: a row for each true
        label.

    Examples
    --------
    >>> found = scores(["a", "b"], np.array(["a", "b"]), np.array([[0.9, 0.1], [0.6, 0.4]]))
    >>> found["accuracy"], found["confusion"]["matrix"]
    (0.5, [[1, 0], [1, 0]])
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    predicted = classes[probabilities.argmax(axis=1)]
    table = precision_recall_fscore_support(truth, predicted, labels=classes, zero_division=0.0)
    names = ("precision", "recall", "f1", "n_series")
    labels = [str(label) for label in classes]
    return {
        "n_series": len(predicted),
        "accuracy": float(np.mean(predicted == np.asarray(truth))),
        "per_class": {
            label: {name: values[k].item() for name, values in zip(names, table, strict=True)}
            for k, label in enumerate(labels)
        },
        "confusion": {
            "labels": labels,
            "matrix": confusion_matrix(truth, predicted, labels=classes).tolist(),
        },
    }


def _network(classifier: DSNClassifier) -> dict[str, Any]:
    groups = classifier.receptive_field()
    active = sum(float(group.active.sum()) * len(group.spans) for group in groups)
    taps = sum(len(group.offsets) * len(group.spans) for group in groups)
    return {
        "classes": [str(label) for label in classifier.classes_],
        "epochs_run": int(classifier.n_epochs_),
        "best_epoch": int(classifier.best_epoch_),
        "n_active_taps": round(active),
        "density": round(active) / taps,
        "flops": asdict(classifier.flops_) | {"macs_per_step": classifier.flops_.macs_per_step},
    }


def _predictions(
    classes: npt.NDArray[Any], todo: dict[str, Cases], found: dict[str, npt.NDArray[np.float64]]
) -> Writer:
    """Return what writes one row for each series: set, place, label if known, prediction."""
    header = ["set", "series", "label", "predicted", *(f"probability_{c}" for c in classes)]
    rows: list[list[object]] = []
    for name, cases in todo.items():
        labels: Any = [None] * len(found[name]) if name == "predict" else cases.y
        for place, (label, row) in enumerate(zip(labels, found[name], strict=True)):
            rows.append([name, place, label, classes[row.argmax()], *(f"{p:.9g}" for p in row)])
    return csv_writer(header, rows)


def _pictures(classifier: DSNClassifier, cases: Cases) -> dict[str, Writer]:
    """Return what draws the kernels, and the series that the classifier is surest of."""
    from sparsewire.reporting.figures import save
    from sparsewire.timeseries.dsn.plots import class_activation_figure, receptive_field_figure

    probabilities = classifier.predict_proba(cases.X)
    place, best = np.unravel_index(probabilities.argmax(), probabilities.shape)
    panel = cases.panel
    series = panel.values[place, :, : int(panel.lengths[place])]
    steps = series.shape[1]
    contribution = classifier.class_activation([series]).contributions[0, int(best), :steps]
    label = str(classifier.classes_[best])
    activation = class_activation_figure(series, contribution, label=label)
    kernels = receptive_field_figure(classifier.receptive_field())
    return {
        "kernels.png": lambda path: save(kernels, path),
        "class_activation.png": lambda path: save(activation, path),
    }


def _summary(content: dict[str, Any]) -> str:
    seconds = content["seconds"]
    text = f"{content['epochs_run']} epochs in {seconds['fit']:.1f} s" if "fit" in seconds else (
        f"predicted in {seconds['predict']:.1f} s"
    )  # fmt: skip
    if "test" in content:
        test = content["test"]
        text += f"; accuracy {test['accuracy']:.4f} on {test['n_series']} test series"
    return text
