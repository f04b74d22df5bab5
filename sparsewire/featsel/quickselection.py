"""QuickSelection: unsupervised feature selection by a sparse denoising autoencoder.

The autoencoder is trained from scratch with sparse evolutionary training. Connections of
uninformative inputs keep being replaced, so the strength of an input neuron, the sum of its
absolute weights, ranks the features.

References
----------
Atashgahi et al. (2021). Quick and robust feature selection: the strength of energy-efficient
sparse training for autoencoders. Machine Learning; arXiv:2012.00560.
"""

import math
from numbers import Integral, Real
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor

from sparsewire.core import SET, Constant, Method, SetEpsilon, Static, sparsify
from sparsewire.core.devices import resolve_device
from sparsewire.featsel.autoencoder import INITIAL_STD, Autoencoder
from sparsewire.featsel.base import BaseSparseSelector
from sparsewire.featsel.rows import Floats, RowScaler, shuffled_batches
from sparsewire.featsel.training import Storage, Training, resolve_storage


class QuickSelection(BaseSparseSelector):
    """Select features by the strength of the inputs of a sparse denoising autoencoder.

    Unsupervised: `y` is ignored. Training is fully deterministic given `random_state` and leaves
    the global random number generators alone.

    Parameters
    ----------
    n_features_to_select : int, float, "probe" or None, default None
        How many features to keep: a number, a share in (0, 1], None for half of them, or "probe"
        for those more important than every shadow, a shuffled copy of a column that is trained on
        as well.
    redundancy : float, default 0
        Choose features one by one by importance, over its largest, minus `redundancy` times the
        mean absolute correlation with those chosen before.
    hidden_size : int, default 1000
        Hidden neurons (paper).
    epsilon : float, default 13
        Sparsity: each layer has ``epsilon * (n_features + hidden_size)`` connections (paper), or
        all if there are fewer.
    drop_fraction : float, default 0.2
        Share of positive and, separately, of negative weights replaced after each epoch (paper).
    noise : float, default 0.2
        Standard deviation of the Gaussian noise added to the scaled inputs (paper), drawn afresh
        for every batch.
    dropout : float, default 0.2
        Share of hidden neurons silenced per batch, in the forward pass only (released code).
    output_activation : {"linear", "tanh"}, default "linear"
        The paper's runs use "tanh" on Madelon and "linear" elsewhere.
    scale : {"standard", "minmax", "global"} or None, default "standard"
        Scaling of the columns for training only; `transform` returns the original values. With few
        rows "minmax" suits images better: "standard" gives a pixel that is hardly ever inked the
        weight of any other. "global" is a standard score by one mean and deviation of all columns.
    epochs : int, default 100
        Passes over the data; the paper also reports 10.
    batch_size : int, default 100
        Rows per step (paper), clipped to the number of rows; a last smaller batch is kept.
    learning_rate, momentum : float, default 0.01 and 0.9
        Stochastic gradient descent (paper).
    weight_decay : float, default 1e-5
        Decoupled decay per step (released code).
    device : str, default "cpu"
        "cpu", "cuda" or "auto".
    storage : {"csr", "masked", "auto"}, default "csr"
        How connections are stored: "csr" stores and computes them alone, "masked" keeps dense
        matrices with masks, "auto" takes what is faster on this device by measured break-even
        densities. The results are equal up to rounding.
    dtype : {"float32", "float64"}, default "float32"
        Precision of training.
    random_state : int, RandomState or None, default None
        Seed of all randomness.
    verbose : int, default 0
        1 shows a progress bar over epochs on standard error.

    Attributes
    ----------
    feature_importances_ : ndarray of shape (n_features,), float64
        Strength of each input after the last epoch; 0 for constant features.
    ranking_ : ndarray of shape (n_features,), int64
        1 for every selected feature, then 2, 3, ... by falling importance.
    order_ : ndarray of shape (n_features,), int64
        Feature indices, best first.
    support_ : ndarray of shape (n_features,), bool
        The selected features.
    n_features_to_select_ : int
        How many were selected.
    n_features_in_ : int
        Features seen in `fit`.
    feature_names_in_ : ndarray of str
        Their names, if `X` has string column names.
    n_iter_ : int
        Epochs run.
    history_ : dict of str to list
        Per epoch: "loss", "seconds", "n_connections", "n_active_inputs".
    connections_ : tuple of scipy.sparse.csr_array
        Weights of the two layers, shapes (n_features, hidden) and (hidden, n_features).
    density_ : float
        Connections over weights.
    device_ : str
        Where training took place.
    shadow_importance_ : float
        Importance of the best shadow, with "probe" only; `connections_` then has the inputs of
        the shadows behind those of the features.

    Raises
    ------
    ValueError
        From `fit`, on unusable data or parameters.
    RuntimeError
        From `fit`, if training diverges (`TrainingDivergedError`) or CUDA is asked for and absent.

    Notes
    -----
    Known slips of the released code are not repeated: the importance is that of the final weights,
    noise is fresh in every batch, and the tanh derivative is taken at the right place. One is kept
    on purpose: dropout does not enter the gradient. With it, or without any dropout, inputs that
    hardly ever vary overtake the others in long runs on standardised MNIST.

    Time and memory of ``storage="csr"`` are proportional to the number of connections;
    ``storage="masked"`` saves no time over a dense network.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, _ = load_digits(return_X_y=True)
    >>> import warnings; warnings.simplefilter("ignore")  # three pixels are always 0
    >>> selector = QuickSelection(20, hidden_size=100, epochs=3, random_state=0).fit(X)
    >>> selector.transform(X).shape
    (1797, 20)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseSparseSelector._parameter_constraints,
        "hidden_size": [Interval(Integral, 1, None, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "drop_fraction": [Interval(Real, 0, 1, closed="both")],
        "noise": [Interval(Real, 0, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "output_activation": [StrOptions({"linear", "tanh"})],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "weight_decay": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(
        self,
        n_features_to_select: int | float | Literal["probe"] | None = None,
        *,
        redundancy: float = 0.0,
        hidden_size: int = 1000,
        epsilon: float = 13,
        drop_fraction: float = 0.2,
        noise: float = 0.2,
        dropout: float = 0.2,
        output_activation: Literal["linear", "tanh"] = "linear",
        scale: Literal["standard", "minmax", "global"] | None = "standard",
        epochs: int = 100,
        batch_size: int = 100,
        learning_rate: float = 0.01,
        momentum: float = 0.9,
        weight_decay: float = 1e-5,
        device: Literal["cpu", "cuda", "auto"] = "cpu",
        storage: Storage = "csr",
        dtype: Literal["float32", "float64"] = "float32",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.n_features_to_select = n_features_to_select
        self.redundancy = redundancy
        self.hidden_size = hidden_size
        self.epsilon = epsilon
        self.drop_fraction = drop_fraction
        self.noise = noise
        self.dropout = dropout
        self.output_activation = output_activation
        self.scale = scale
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.device = device
        self.storage = storage
        self.dtype = dtype
        self.random_state = random_state
        self.verbose = verbose

    def _train(self, rows: RowScaler, y: npt.NDArray[Any] | None, seed: int) -> Floats:
        n_samples = rows.shape[0]
        device = resolve_device(self.device)
        # Two, because torch draws normal numbers faster, numpy uniform ones.
        generator, gaussian = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
        batch_size = min(self.batch_size, n_samples)
        training = self._prepare(rows, math.ceil(n_samples / batch_size), generator, device, seed)

        def one_epoch(epoch: int) -> float:
            loss = 0.0
            for index in shuffled_batches(n_samples, batch_size, generator):
                clean = rows.tensor(index).to(device)
                loss += len(index) * self._step(training, clean, generator, gaussian)
            return loss / n_samples

        training.run(self.epochs, one_epoch, title="QuickSelection", verbose=self.verbose)
        self._publish(training, device)
        strength: Floats = abs(self.connections_[0].astype(np.float64)).sum(axis=1)
        return strength

    def _prepare(
        self,
        rows: RowScaler,
        steps_per_epoch: int,
        generator: np.random.Generator,
        device: torch.device,
        seed: int,
    ) -> Training:
        storage = resolve_storage(self.storage, device)
        network = Autoencoder(
            rows.shape[1],
            int(self.hidden_size),
            dropout=self.dropout,
            output_activation=self.output_activation,
            device="cpu" if storage == "masked" else "meta",
            dtype=self._torch_dtype,
        )
        optimizer = torch.optim.SGD(
            network.parameters(), lr=self.learning_rate, momentum=self.momentum, fused=True
        )
        handle = sparsify(
            network,
            optimizer,
            method=self._method(steps_per_epoch),
            allocation=SetEpsilon(float(self.epsilon)),
            storage=storage,
            seed=seed,
        )
        handle.initialize(
            lambda _, count: torch.from_numpy(generator.normal(0.0, INITIAL_STD, count))
        )
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.zeros_(parameter)
        network.to(device)
        return Training(network, optimizer, handle, learning_rate=self.learning_rate)

    def _method(self, steps_per_epoch: int) -> Method:
        if self.epochs == 1 or self.drop_fraction == 0:
            return Static()
        return SET(
            update_interval=steps_per_epoch,
            drop_fraction=Constant(float(self.drop_fraction)),
            end=self.epochs * steps_per_epoch,
            grown_std=INITIAL_STD,
        )

    def _step(
        self,
        training: Training,
        clean: Tensor,
        generator: np.random.Generator,
        gaussian: torch.Generator,
    ) -> float:
        shape = clean.shape[1], clean.shape[0]
        noise = torch.randn(shape, generator=gaussian, device="cpu", dtype=torch.float32)
        noisy = torch.add(clean, noise.t().to(clean), alpha=self.noise)
        output = training.network(noisy, generator)
        loss = 0.5 * (output - clean).square().sum(1).mean()
        return training.step(loss, decay=self.weight_decay)
