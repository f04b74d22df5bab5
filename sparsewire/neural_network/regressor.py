"""How does one predict numbers with a truly sparse multilayer perceptron, in scikit-learn's terms?

The meaning of the target is decided here: linear outputs, squared error, R². Training is the
business of `sparsewire.neural_network.base`.
"""

import os
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils import column_or_1d
from torch import Tensor

from sparsewire.core import InvalidArgumentError, Method
from sparsewire.neural_network.base import Array, BaseSparseMLP


def _half_squared_error(outputs: Tensor, target: Tensor) -> Tensor:
    """Sum over outputs, average over rows."""
    return 0.5 * (outputs - target).square().sum(dim=1).mean()


class SparseMLPRegressor(RegressorMixin, BaseSparseMLP):
    """Multilayer perceptron that is sparse from the first step on, as a regressor.

    Linear outputs and squared error, for one target or several. Time and memory are proportional to
    the number of connections. Training is deterministic given `random_state` and the number of
    threads, and leaves the global random number generators alone.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int, default (1000, 1000, 1000)
        Neurons of each hidden layer, at least one layer (paper's network for MNIST).
    activation : {"all-relu", "relu", "tanh", "logistic"}, default "relu"
        Activation of the hidden layers. All-ReLU, x for positive x, has slope
        ``-activation_slope`` for negative x in the first, third, ... hidden layer and
        ``activation_slope`` in the others. The paper uses it for
        classification; on regression problems we measured "relu" to be better.
    activation_slope : float, default 0.6
        Slope of All-ReLU (released code for MNIST and Fashion-MNIST; 0.75 for CIFAR-10).
    epsilon : float, default 20
        Sparsity: every layer has ``epsilon * (n_in + n_out)`` connections (paper), or all if there
        are fewer, as in most output layers.
    method : str or sparsewire.Method, default "set"
        How the topology of the hidden layers changes: a name such as "set", "rigl" or "static",
        with one update between two epochs (paper); or an object such as
        ``sparsewire.RigL(update_interval=50)``, which is used as it is. The output layer keeps its
        topology (released code).
    drop_fraction : float, default 0.3
        Share of the connections replaced per update (paper), if `method` is a name. "rigl" and the
        "itop" family anneal it over the epochs.
    importance_pruning : float or None, default None
        If given, every 10 epochs the weakest neurons of each hidden layer lose all connections into
        them: those whose strength, the sum of their absolute incoming weights, is at or below this
        quantile. The number of connections falls for good. The released code uses 0.1 or 0.2.
    importance_pruning_begin : int, default 200
        Epochs before the first removal (released code).
    dropout : float, default 0.0
        Share of hidden neurons silenced per row and step, the others being scaled up. The released
        code uses 0.3.
    solver : {"sgd", "adam"}, default "sgd"
        Optimizer: stochastic gradient descent with momentum (paper), or Adam.
    learning_rate_init : float, default 0.001
        Learning rate, constant. The 0.01 of the classifier makes the squared error of wide layers
        diverge.
    momentum : float, default 0.9
        Momentum of "sgd" (paper).
    weight_decay : float, default 2e-4
        Decoupled decay: each step multiplies weights and biases by ``1 - weight_decay``, whatever
        the learning rate (released code). The `alpha` of scikit-learn is another thing, a penalty
        in the loss.
    batch_size : int, default 128
        Rows per step (paper); a last smaller batch is kept.
    max_iter : int, default 100
        Epochs at most. Reaching them is the normal end of a run and raises no warning.
    shuffle : bool, default True
        Whether to shuffle the rows before each epoch.
    tol : float, default 1e-4
        What counts as an improvement, of the training loss or, with early stopping, of the score of
        the held-out rows.
    n_iter_no_change : int or inf, default 10
        Training stops after more than this many epochs in a row without improvement.
    early_stopping : bool, default False
        Whether to hold out rows, stop when their score, R²,
        no longer improves, and keep the network that had the best.
    validation_fraction : float, default 0.1
        Share of the rows held out with early stopping.
    storage : {"csr", "masked", "auto"}, default "csr"
        How connections are stored: as index and value, at the cost of these alone; as dense
        matrices with masks; or whichever was measured to be faster for a layer.
    warm_start : bool, default False
        Whether `fit` continues with the network of the last call. Parameters that shape the
        network, its optimizer or its method keep the values they had then.
    checkpoint : path or None, default None
        If given, `fit` writes the whole run to this file after every epoch, and continues the run
        of the file if there is one, with the result of an uninterrupted run. Parameters and data
        must be those of that run, and `random_state` an integer.
    random_state : int, RandomState or None, default None
        Seed of all randomness.
    verbose : int, default 0
        1 shows a progress bar over epochs on standard error.

    Attributes
    ----------
    coefs_ : list of scipy.sparse.csr_array, float32
        Weights by layer, shapes (inputs, outputs); made anew at every access.
    intercepts_ : list of ndarray, float32
        Biases by layer.
    n_connections_ : int
        Connections of all layers together.
    density_ : float
        Connections over weights of the dense network.
    loss_curve_ : list of float
        Mean training loss of every epoch.
    best_loss_ : float or None
        Smallest training loss; None with early stopping.
    validation_scores_ : list of float, or None
        R² of the held-out rows after every epoch; None without early stopping.
    best_validation_score_ : float or None
        The best of them.
    history_ : dict of str to list
        Per epoch: "loss", "seconds", "n_connections".
    n_iter_ : int
        Epochs run, those before a warm start and of earlier calls of `partial_fit` included.
    n_features_in_, n_outputs_ : int
        Features seen in `fit`, and outputs of the network.
    feature_names_in_ : ndarray of str
        Names of the features, if `X` has string column names.

    Raises
    ------
    ValueError
        From `fit`, on unusable data or parameters, or a checkpoint of another run.
    RuntimeError
        From `fit`, if training diverges (`TrainingDivergedError`).

    Notes
    -----
    Nothing is scaled: put a ``StandardScaler`` in front, and wrap the estimator in a
    ``TransformedTargetRegressor`` unless the target has a variance near 1. With a target of large
    variance training diverges.
    A sparse `X` is made dense one batch at a time. Computations are in float32, on
    ``torch.get_num_threads()`` threads. Initial weights are He-uniform for the mean number of
    connections that the neurons of a layer really have; biases start at 0.

    References
    ----------
    Mocanu et al. (2018). Scalable training of artificial neural networks with adaptive sparse
    connectivity inspired by network science. Nature Communications 9:2383.

    Curci, Mocanu & Pechenizkiy (2021). Truly sparse neural networks at scale; arXiv:2102.01732.

    Examples
    --------
    >>> from sklearn.compose import TransformedTargetRegressor
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> X, y = load_diabetes(return_X_y=True)
    >>> network = SparseMLPRegressor((100, 100), epsilon=5, batch_size=32, random_state=0)
    >>> scaled = TransformedTargetRegressor(network, transformer=StandardScaler())
    >>> model = make_pipeline(StandardScaler(), scaled).fit(X[:300], y[:300])
    >>> model.score(X[300:], y[300:]) > 0.3
    True
    """

    _loss = staticmethod(_half_squared_error)
    _classifies: ClassVar[bool] = False

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (1000, 1000, 1000),
        *,
        activation: Literal["all-relu", "relu", "tanh", "logistic"] = "relu",
        activation_slope: float = 0.6,
        epsilon: float = 20,
        method: str | Method = "set",
        drop_fraction: float = 0.3,
        importance_pruning: float | None = None,
        importance_pruning_begin: int = 200,
        dropout: float = 0.0,
        solver: Literal["sgd", "adam"] = "sgd",
        learning_rate_init: float = 0.001,
        momentum: float = 0.9,
        weight_decay: float = 2e-4,
        batch_size: int = 128,
        max_iter: int = 100,
        shuffle: bool = True,
        tol: float = 1e-4,
        n_iter_no_change: float = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        storage: Literal["csr", "masked", "auto"] = "csr",
        warm_start: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            hidden_layer_sizes,
            activation=activation,
            activation_slope=activation_slope,
            epsilon=epsilon,
            method=method,
            drop_fraction=drop_fraction,
            importance_pruning=importance_pruning,
            importance_pruning_begin=importance_pruning_begin,
            dropout=dropout,
            solver=solver,
            learning_rate_init=learning_rate_init,
            momentum=momentum,
            weight_decay=weight_decay,
            batch_size=batch_size,
            max_iter=max_iter,
            shuffle=shuffle,
            tol=tol,
            n_iter_no_change=n_iter_no_change,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            storage=storage,
            warm_start=warm_start,
            checkpoint=checkpoint,
            random_state=random_state,
            verbose=verbose,
        )

    def _encode(self, y: Any, *, known: bool) -> tuple[Tensor, int]:
        if np.ndim(y) == 2 and np.shape(y)[1] == 1:
            y = column_or_1d(y, warn=True)
        with np.errstate(over="ignore"):
            target = torch.from_numpy(np.asarray(y, dtype=np.float32).reshape(len(y), -1))
        n_outputs = target.shape[1]
        if known and n_outputs != self.n_outputs_:
            raise InvalidArgumentError(
                f"y has {n_outputs} outputs, the network has {self.n_outputs_}."
            )
        return target, n_outputs

    def _decode(self, outputs: Array) -> Array:
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    def _score_outputs(self, outputs: Array, target: Array) -> float:
        return float(r2_score(target, outputs))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
