"""What do the classifier and the regressor have in common?

Everything but the meaning of the target: validation as scikit-learn wants it, the network, training
until it is enough, and what was learned. How an epoch goes is the business of
`sparsewire.neural_network.training`, when to stop that of `sparsewire.neural_network.progress`.
"""

import time
from abc import abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from sklearn.base import _fit_context
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor
from tqdm import tqdm

from sparsewire.core import InvalidArgumentError
from sparsewire.neural_network.network import connections
from sparsewire.neural_network.parameters import BaseParameters
from sparsewire.neural_network.progress import Progress, resume, run_file, save
from sparsewire.neural_network.training import Table, Trainer, split

Array = npt.NDArray[Any]


class BaseSparseMLP(BaseParameters):
    """Base class of estimators that train a sparse multilayer perceptron.

    A concrete estimator encodes the target and knows loss and score of a network's outputs.
    """

    # What a concrete estimator adds

    _classifies: ClassVar[bool]

    @abstractmethod
    def _encode(self, y: Any, *, known: bool) -> tuple[Tensor, int]:
        """Return the target as a tensor, and the number of outputs it needs.

        If `known`, it must be one of those that the estimator has been made for.
        """

    @abstractmethod
    def _decode(self, outputs: Array) -> Array:
        """Return the target that outputs stand for."""

    @abstractmethod
    def _score_outputs(self, outputs: Array, target: Array) -> float:
        """Return the score of a network's outputs; larger is better."""

    # Fitting

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any) -> Self:
        """Train a network.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_samples, n_features)
            Training data, finite. It is not scaled.
        y : array-like, shape (n_samples,) or, for a regressor, (n_samples, n_outputs)
            The target.

        Returns
        -------
        self
            The fitted estimator.

        Raises
        ------
        ValueError
            If the data or a parameter is unusable, or the checkpoint belongs to another run.
        RuntimeError
            If training diverges.
        """
        warm = self.warm_start and hasattr(self, "_trainer")
        self._check_parameters()
        if not warm and hasattr(self, "_trainer"):
            del self._trainer  # should training fail, nothing is fitted
        X, y = self._validate(X, y, reset=not warm)
        target, n_outputs = self._encode(y, known=warm)
        seed = self._trainer.seed if warm else self._draw_seed()
        share = float(self.validation_fraction) if self.early_stopping else 0.0
        table = split(X, target, share, seed)
        with torch.inference_mode(False), torch.enable_grad():
            if warm:
                trainer, progress = self._trainer, self._progress
                progress.stale = 0
            else:
                trainer = self._build(table, n_outputs, self.max_iter, seed)
                progress = Progress()
            self._train(trainer, progress, table)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any) -> Self:
        """Train for one epoch on the given rows, going on where the last call ended.

        Topologies are updated every so many steps as the first call takes.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_samples, n_features)
            Rows, finite.
        y : array-like, shape (n_samples,) or (n_samples, n_outputs)
            The target.

        Returns
        -------
        self
            The estimator.

        Raises
        ------
        ValueError
            If the data or a parameter is unusable, or ``early_stopping=True``.
        RuntimeError
            If training diverges.
        """
        return self._train_for_an_epoch(X, y, known=hasattr(self, "_trainer"))

    def _train_for_an_epoch(self, X: Any, y: Any, *, known: bool) -> Self:
        """Do what `partial_fit` promises; `known` tells if all kinds of targets are known."""
        if self.early_stopping:
            raise InvalidArgumentError(
                "partial_fit does not support early_stopping=True; use fit, or turn it off."
            )
        self._check_numbers()
        first = not hasattr(self, "_trainer")
        X, y = self._validate(X, y, reset=first)
        target, n_outputs = self._encode(y, known=known)
        with torch.inference_mode(False), torch.enable_grad():
            table = split(X, target, 0.0, seed=0)
            if first:
                trainer = self._build(table, n_outputs, None, self._draw_seed())
                progress = Progress()
            else:
                trainer, progress = self._trainer, self._progress
            self._run_epoch(trainer, progress, table)
        self._keep(trainer, progress)
        return self

    def _validate(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, Any]:
        checked: tuple[Any, Any] = validate_data(
            self,
            X,
            y,
            reset=reset,
            accept_sparse="csr",
            dtype=[np.float64, np.float32],
            multi_output=True,
            y_numeric=not self._classifies,
        )
        return checked

    def _train(self, trainer: Trainer, progress: Progress, table: Table) -> None:
        """Train until it is enough, from where the checkpoint is if there is one."""
        goal = len(progress.losses) + self.max_iter
        file = None
        if self.checkpoint is not None:
            parameters = {**self.get_params(deep=False), "checkpoint": None, "verbose": None}
            file = run_file(self.checkpoint, parameters, table)
            progress = resume(file, trainer)
        name, done = type(self).__name__, len(progress.losses)
        with tqdm(total=goal, initial=done, desc=name, disable=not self.verbose) as bar:
            while len(progress.losses) < goal and progress.stale <= self.n_iter_no_change:
                self._run_epoch(trainer, progress, table)
                if file is not None:
                    save(file, trainer, progress)
                bar.set_postfix(loss=f"{progress.losses[-1]:.4g}", refresh=False)
                bar.update()
        if self.early_stopping and progress.best is not None:
            trainer.restore(progress.best)
        self._keep(trainer, progress)

    def _run_epoch(self, trainer: Trainer, progress: Progress, table: Table) -> None:
        started = time.perf_counter()
        if self.importance_pruning is not None:
            trainer.prune_neurons(float(self.importance_pruning), self.importance_pruning_begin)
        loss = trainer.run_epoch(table, self.batch_size, self.shuffle)
        score = None
        if table.held_out is not None:
            outputs = trainer.network.predict(table.X, table.held_out)
            score = self._score_outputs(outputs, table.target.numpy()[table.held_out])
        progress.add(trainer, loss, score, time.perf_counter() - started, self.tol)

    # What was learned

    def _keep(self, trainer: Trainer, progress: Progress) -> None:
        self._trainer, self._progress = trainer, progress
        self.n_iter_ = len(progress.losses)
        self.loss_curve_ = list(progress.losses)
        stopping = bool(progress.scores)
        self.best_loss_ = None if stopping else progress.best_loss
        self.validation_scores_ = list(progress.scores) if stopping else None
        self.best_validation_score_ = progress.best_score if stopping else None
        self.history_ = {
            "loss": self.loss_curve_,
            "seconds": list(progress.seconds),
            "n_connections": list(progress.n_connections),
        }
        self.n_outputs_ = trainer.network.sizes[-1]
        self.n_connections_ = trainer.n_connections()
        self.density_ = self.n_connections_ / trainer.network.n_weights

    @property
    def coefs_(self) -> list[sparse.csr_array]:
        """Weights by layer, CSR arrays of shape (inputs, outputs), made anew at every access."""
        return [connections(layer) for layer in self._trainer.network.layers]

    @property
    def intercepts_(self) -> list[Array]:
        """Biases by layer, float32 arrays of shape (outputs,)."""
        return [
            layer.bias.detach().numpy().copy()
            for layer in self._trainer.network.layers
            if layer.bias is not None
        ]

    def predict(self, X: Any) -> Array:
        """Return the most probable label, or the predicted value, of each row.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples,) or, if that was the shape of `y`, (n_samples, n_outputs)
            Values are float64.
        """
        return self._decode(self._outputs(X))

    def _outputs(self, X: Any) -> Array:
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, accept_sparse="csr", dtype=[np.float64, np.float32])
        return self._trainer.network.predict(X)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_trainer")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
