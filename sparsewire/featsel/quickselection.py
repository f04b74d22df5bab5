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
import time
from numbers import Integral, Real
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor
from tqdm import tqdm

from sparsewire.core import (
    SET,
    Constant,
    Method,
    NonFiniteError,
    SetEpsilon,
    Static,
    TrainingDivergedError,
    sparsify,
)
from sparsewire.core.csr.break_even import break_even
from sparsewire.featsel.autoencoder import INITIAL_STD, Autoencoder, resolve_device, to_csr
from sparsewire.featsel.base import BaseSparseSelector
from sparsewire.featsel.rows import Floats, RowScaler, shuffled_batches


class QuickSelection(BaseSparseSelector):
    """Select features by the strength of the inputs of a sparse denoising autoencoder.

    Unsupervised: `y` is ignored. Training is fully deterministic given `random_state` and leaves
    the global random number generators alone.

    Parameters
    ----------
    n_features_to_select : int, float or None, default None
        How many features to keep: a number, a share in (0, 1], or None for half of them.
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
    scale : {"standard", "minmax"} or None, default "standard"
        Scaling of the columns for training only; `transform` returns the original values. With few
        rows "minmax" suits images better: "standard" gives a pixel that is hardly ever inked the
        weight of any other.
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
        "epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "weight_decay": [Interval(Real, 0, 1, closed="left")],
        "device": [StrOptions({"cpu", "cuda", "auto"})],
        "storage": [StrOptions({"csr", "masked", "auto"})],
    }

    def __init__(
        self,
        n_features_to_select: int | float | None = None,
        *,
        hidden_size: int = 1000,
        epsilon: float = 13,
        drop_fraction: float = 0.2,
        noise: float = 0.2,
        dropout: float = 0.2,
        output_activation: Literal["linear", "tanh"] = "linear",
        scale: Literal["standard", "minmax"] | None = "standard",
        epochs: int = 100,
        batch_size: int = 100,
        learning_rate: float = 0.01,
        momentum: float = 0.9,
        weight_decay: float = 1e-5,
        device: Literal["cpu", "cuda", "auto"] = "cpu",
        storage: Literal["csr", "masked", "auto"] = "csr",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.n_features_to_select = n_features_to_select
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
        self.random_state = random_state
        self.verbose = verbose

    def _train(self, rows: RowScaler, n_samples: int, seed: int) -> Floats:
        device = resolve_device(self.device)
        # Two, because torch draws normal numbers faster, numpy uniform ones.
        generator, gaussian = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
        storage = self._storage(device)
        network = Autoencoder(
            self.n_features_in_,
            int(self.hidden_size),
            dropout=self.dropout,
            output_activation=self.output_activation,
            device="meta" if storage == "csr" else "cpu",
        )
        optimizer = torch.optim.SGD(
            network.parameters(), lr=self.learning_rate, momentum=self.momentum, fused=True
        )
        batch_size = min(self.batch_size, n_samples)
        handle = sparsify(
            network,
            optimizer,
            method=self._method(math.ceil(n_samples / batch_size)),
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
        self.history_: dict[str, list[float]] = {
            key: [] for key in ("loss", "seconds", "n_connections", "n_active_inputs")
        }
        for epoch in tqdm(range(self.epochs), "QuickSelection", disable=not self.verbose):
            started = time.perf_counter()
            loss = 0.0
            for index in shuffled_batches(n_samples, batch_size, generator):
                # Feature by feature in memory, as a sparse layer wants it.
                clean = torch.from_numpy(np.ascontiguousarray(rows.rows(index).T)).t().to(device)
                loss += self._step(network, optimizer, clean, generator, gaussian, epoch) * len(
                    index
                )
            self._record(network, loss / n_samples, time.perf_counter() - started)
        if not all(bool(torch.isfinite(p).all()) for p in network.parameters()):
            raise self._diverged(self.epochs - 1)
        self.n_iter_ = self.epochs
        self.density_ = handle.density()
        network.cpu()
        self.connections_ = tuple(to_csr(layer) for layer in (network.encoder, network.decoder))
        strength: Floats = abs(self.connections_[0].astype(np.float64)).sum(axis=1)
        return strength

    def _storage(self, device: torch.device) -> Literal["masked", "csr"]:
        if self.storage != "auto":
            return self.storage
        numel = self.n_features_in_ * self.hidden_size
        density = min(1.0, self.epsilon * (self.n_features_in_ + self.hidden_size) / numel)
        threads = torch.get_num_threads()
        limit = min(
            break_even(self.hidden_size, self.n_features_in_, threads),
            break_even(self.n_features_in_, self.hidden_size, threads),
        )
        return "csr" if device.type == "cpu" and density <= limit else "masked"

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
        network: Autoencoder,
        optimizer: torch.optim.SGD,
        clean: Tensor,
        generator: np.random.Generator,
        gaussian: torch.Generator,
        epoch: int,
    ) -> float:
        shape = clean.shape[1], clean.shape[0]
        noise = torch.randn(shape, generator=gaussian, device="cpu", dtype=torch.float32)
        noisy = torch.add(clean, noise.t().to(clean.device), alpha=self.noise)
        output = network(noisy, generator)
        loss = 0.5 * (output - clean).square().sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(1 - self.weight_decay)
        value = float(loss.detach())
        try:
            optimizer.step()
        except NonFiniteError:
            value = math.nan
        if not math.isfinite(value):
            raise self._diverged(epoch)
        return value

    def _diverged(self, epoch: int) -> TrainingDivergedError:
        return TrainingDivergedError(
            f"training diverged in epoch {epoch + 1}: weights or loss are not finite. Lower "
            f"learning_rate={self.learning_rate}, or scale the features (scale='standard')."
        )

    def _record(self, network: Autoencoder, loss: float, seconds: float) -> None:
        encoder, decoder = to_csr(network.encoder), to_csr(network.decoder)
        self.history_["loss"].append(loss)
        self.history_["seconds"].append(seconds)
        self.history_["n_connections"].append(encoder.nnz + decoder.nnz)
        self.history_["n_active_inputs"].append(int(np.count_nonzero(np.diff(encoder.indptr))))
