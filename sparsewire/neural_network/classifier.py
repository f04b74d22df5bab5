"""How does one classify with a truly sparse multilayer perceptron, in scikit-learn's terms?

The meaning of labels is decided here: softmax outputs, cross-entropy, accuracy. Training is the
business of `sparsewire.neural_network.base`.
"""

from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import log_softmax, softmax
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import _check_partial_fit_first_call, check_classification_targets
from torch import Tensor
from torch.nn import functional

from sparsewire.core import InvalidArgumentError
from sparsewire.neural_network.base import Array, BaseSparseMLP


class SparseMLPClassifier(ClassifierMixin, BaseSparseMLP):
    """Multilayer perceptron that is sparse from the first step on, as a classifier.

    Softmax outputs and cross-entropy. Time and memory are proportional to the number of
    connections. Training is deterministic given `random_state` and the number of threads, and
    leaves the global random number generators alone.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int, default (1000, 1000, 1000)
        Neurons of each hidden layer, at least one layer (paper's network for MNIST).
    activation : {"all-relu", "relu", "tanh", "logistic"}, default "all-relu"
        Activation of the hidden layers. All-ReLU, x for positive x, has slope
        ``-activation_slope`` for negative x in the first, third, ... hidden layer and
        ``activation_slope`` in the others (paper).
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
    learning_rate_init : float, default 0.01
        Learning rate, constant (paper). Adam usually wants 0.001.
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
        Whether to hold out rows, stratified by class, stop when their score, accuracy,
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
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
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
        Accuracy of the held-out rows after every epoch; None without early stopping.
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
    Nothing is scaled: put a ``StandardScaler`` in front.
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
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> X, y = load_digits(return_X_y=True)
    >>> network = SparseMLPClassifier((200, 200), epsilon=10, max_iter=20, random_state=0)
    >>> model = make_pipeline(StandardScaler(), network).fit(X[:1000], y[:1000])
    >>> model.score(X[1000:], y[1000:]) > 0.85
    True
    >>> network.n_connections_, round(network.density_, 3)
    (8640, 0.158)
    """

    _loss = staticmethod(functional.cross_entropy)
    _classifies: ClassVar[bool] = True

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Self:
        """Train for one epoch on the given rows, going on where the last call ended.

        Topologies are updated every so many steps as the first call takes.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_samples, n_features)
            Rows, finite.
        y : array-like, shape (n_samples,)
            Labels.
        classes : array-like, shape (n_classes,), optional
            All labels that will ever occur; needed in the first call.

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
        _check_partial_fit_first_call(self, classes)
        return self._train_for_an_epoch(X, y, known=True)

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:
        """Return the probability of each class, in the order of ``classes_``.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float64
        """
        probabilities: npt.NDArray[np.float64] = softmax(self._outputs(X), axis=1)
        return probabilities

    def predict_log_proba(self, X: Any) -> npt.NDArray[np.float64]:
        """Return the logarithm of `predict_proba`, finite even where that is 0.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float64
        """
        logarithms: npt.NDArray[np.float64] = log_softmax(self._outputs(X), axis=1)
        return logarithms

    def _encode(self, y: Any, *, known: bool) -> tuple[Tensor, int]:
        check_classification_targets(y)
        if np.ndim(y) == 2 and np.shape(y)[1] > 1:
            raise InvalidArgumentError(
                f"y has {np.shape(y)[1]} columns, which is not supported; give one label per row, "
                "or wrap the estimator in sklearn.multioutput.MultiOutputClassifier."
            )
        y = column_or_1d(y, warn=True)
        if not known:
            self.classes_ = np.unique(y)
        elif not (seen := np.isin(y, self.classes_)).all():
            raise InvalidArgumentError(
                f"y contains {y[~seen][0]!r}, which is none of the classes {self.classes_}."
            )
        return torch.from_numpy(np.searchsorted(self.classes_, y)), len(self.classes_)

    def _decode(self, outputs: Array) -> Array:
        labels: Array = self.classes_[outputs.argmax(axis=1)]
        return labels

    def _score_outputs(self, outputs: Array, target: Array) -> float:
        return float((outputs.argmax(axis=1) == target).mean())
