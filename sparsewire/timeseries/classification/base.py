"""How does one classify time series with a sparse network, in scikit-learn's terms?

Validation, labels, the run, predictions, files. Which network it is, and how it is made sparse, a
classifier says itself.
"""

import os
from abc import ABC, abstractmethod
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from scipy.special import softmax
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from sparsewire.core import InvalidArgumentError, SparsityHandle
from sparsewire.core.devices import resolve_device
from sparsewire.core.run_file import RunFile
from sparsewire.timeseries import model_files
from sparsewire.timeseries.classification import storage
from sparsewire.timeseries.classification.parameters import BaseParameters
from sparsewire.timeseries.classification.preparation import Preparation, Series
from sparsewire.timeseries.classification.training import (
    BaseSeriesNetwork,
    Labelled,
    Trainer,
    default_batch_size,
    logits,
    run_file,
    steps_per_epoch,
    train,
)
from sparsewire.timeseries.panel import Panel, is_table, to_panel

Array = npt.NDArray[Any]
_ALIKE = ("checkpoint", "device", "verbose")  # do not make another run


class BaseSeriesClassifier(ClassifierMixin, BaseParameters, ABC):
    """A classifier of time series by a sparse network."""

    _shape_type: ClassVar[type[Any]]

    network_: BaseSeriesNetwork

    @abstractmethod
    def _architecture(self, n_channels: int, n_classes: int, longest: int) -> Any:
        """Return the sizes of the network, of `_shape_type`."""

    @staticmethod
    @abstractmethod
    def _new_network(shape: Any) -> BaseSeriesNetwork:
        """Return a network whose weights do not matter."""

    @abstractmethod
    def _sparsified(self, shape: Any, steps: int, seed: int) -> SparsityHandle:
        """Return a network with initial weights and topology, and an Adam optimizer.

        Parameters
        ----------
        shape : object
            Sizes of the network.
        steps : int
            Optimizer steps of an epoch.
        seed : int
            Of everything drawn.
        """

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any) -> Self:
        """Train a network.

        Parameters
        ----------
        X : array-like, list of arrays, or DataFrame
            Series: an array (n_series, length) or (n_series, n_channels, length), or anything else
            that `sparsewire.timeseries.panel.to_panel` takes.
        y : array-like, shape (n_series,)
            Labels of at least two classes.

        Returns
        -------
        self
            The fitted classifier.

        Raises
        ------
        ValueError
            If the data or a parameter is unusable, or the checkpoint belongs to another run.
        RuntimeError
            If training diverges.
        """
        self._check_parameters()
        panel, labels = self._validate(X, y)
        classes, target = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise InvalidArgumentError(
                f"y has one class, {classes[0]}; a classifier needs at least two."
            )
        seed = self._draw_seed()
        treatment, data = self._prepared(panel, target.astype(np.int64), seed)
        shape = self._architecture(panel.n_channels, len(classes), treatment.length)
        trainer = self._trainer(shape, data, seed)
        progress = train(
            trainer,
            patience=self.patience,
            file=None if self.checkpoint is None else self._run_file(self.checkpoint, data),
            title=type(self).__name__,
            verbose=int(self.verbose),
        )
        self.classes_ = classes
        self.history_ = progress.history
        self.best_epoch_, self.n_epochs_ = progress.best_epoch, trainer.epoch
        self.network_ = trainer.network.cpu().eval()
        self._treatment = treatment
        self.n_channels_in_ = treatment.n_channels
        return self

    def _prepared(self, panel: Panel, target: Array, seed: int) -> tuple[Preparation, Labelled]:
        learn = partial(
            Preparation.fit,
            panel,
            normalise=self.normalise,
            unequal=self.unequal,
            missing=self.missing,
        )
        treatment = learn()
        data = self._labelled(treatment.apply(panel), target, seed)
        if self.normalise == "train" and len(data.held_out):
            treatment = learn(rows=data.train)  # what judges the network must not scale it
            data = replace(data, series=treatment.apply(panel))
        return treatment, data

    def _trainer(self, shape: Any, data: Labelled, seed: int) -> Trainer:
        n_series = len(data.train)
        automatic = self.batch_size == "auto"
        size = default_batch_size(n_series) if automatic else int(self.batch_size)
        return Trainer(
            self._sparsified(shape, steps_per_epoch(n_series, size), seed),
            data,
            batch_size=size,
            n_epochs=int(self.n_epochs),
            learning_rate=float(self.learning_rate),
            seed=seed,
        )

    def _run_file(self, path: str | os.PathLike[str], data: Labelled) -> RunFile:
        parameters = {k: v for k, v in self.get_params(deep=False).items() if k not in _ALIKE}
        return run_file(path, parameters, data)

    def _validate(self, X: Any, y: Any) -> tuple[Panel, Array]:
        for name in ("n_features_in_", "feature_names_in_"):
            self.__dict__.pop(name, None)
        if is_table(X):
            X, y = validate_data(self, X, y, dtype=np.float64, ensure_all_finite="allow-nan")
            check_classification_targets(y)
            return to_panel(X), y
        panel = to_panel(X)
        y = column_or_1d(y, warn=True)
        check_consistent_length(panel.lengths, y)
        check_classification_targets(y)
        return panel, y

    # Prediction

    def _series(self, X: Any) -> Series:
        check_is_fitted(self)
        if is_table(X):
            X = validate_data(self, X, reset=False, dtype=np.float64, ensure_all_finite="allow-nan")
        return self._treatment.apply(to_panel(X))

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:
        """Return the probability of each class, in the order of ``classes_``.

        Parameters
        ----------
        X : array-like, list of arrays, or DataFrame
            Series with the channels of the training series.

        Returns
        -------
        ndarray of shape (n_series, n_classes), float64
        """
        series = self._series(X)
        device = resolve_device(self.device)
        outputs = logits(self.network_.to(device), series, device)
        self.network_.cpu()
        probabilities: npt.NDArray[np.float64] = softmax(outputs.astype(np.float64), axis=1)
        return probabilities

    def predict(self, X: Any) -> Array:
        """Return the most probable label of each series.

        Parameters
        ----------
        X : array-like, list of arrays, or DataFrame
            Series with the channels of the training series.

        Returns
        -------
        ndarray of shape (n_series,)
        """
        best = self.predict_proba(X).argmax(axis=1)
        labels: Array = self.classes_[best]
        return labels

    # Storage

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted classifier to a file that holds no code; see `load`.

        Parameters
        ----------
        path : path
            File, replaced if it exists, atomically.

        Raises
        ------
        ValueError
            If the labels are neither numbers nor strings.
        """
        check_is_fitted(self)
        storage.save(path, self)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a classifier that `save` wrote; no code in the file is executed.

        Parameters
        ----------
        path : path
            The file.

        Returns
        -------
        BaseSeriesClassifier
            Of this class, with the same predictions. A ``RandomState`` object as `random_state`
            becomes None.

        Raises
        ------
        CheckpointError
            If the file is damaged or something else.
        """
        return storage.load(path, cls)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state with the network as arrays."""
        state: dict[str, Any] = dict(super().__getstate__())
        if isinstance(network := state.get("network_"), BaseSeriesNetwork):
            state["network_"] = (network.shape, model_files.to_arrays(network))
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Rebuild the network."""
        if "network_" in state:
            shape, arrays = state["network_"]
            network = model_files.from_arrays(self._new_network(shape), arrays)
            state = state | {"network_": network}
        super().__setstate__(state)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.missing != "raise"
        tags.input_tags.three_d_array = True
        return tags
