"""WAST: unsupervised feature selection by a sparse autoencoder that attends to what matters.

A small denoising autoencoder is trained for few epochs, and its topology changes after every batch:
connections of features that are badly reconstructed or strongly connected are kept and multiplied.
What a feature has gathered of both in all batches ranks it.

References
----------
Sokar et al. (2022). Where to pay attention in sparse training for feature selection? NeurIPS;
arXiv:2211.14627.
"""

import math
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import validate_data
from torch import Tensor

from sparsewire.core import InvalidArgumentError, sparsify
from sparsewire.core.devices import resolve_device
from sparsewire.featsel.autoencoder import Autoencoder
from sparsewire.featsel.base import BaseSparseSelector
from sparsewire.featsel.rows import Floats, RowScaler, shuffled_batches
from sparsewire.featsel.training import (
    Storage,
    Training,
    resolve_storage,
    uniform,
)
from sparsewire.featsel.wast_stream import MeasuredRows, Memory, Moments, Run
from sparsewire.featsel.wast_topology import AttentionTopology

_FIXED = ("hidden_size", "density", "scale", "device", "storage", "dtype")
"""Parameters that cannot change in the middle of a stream."""


class WAST(BaseSparseSelector):
    """Select features by attention: reconstruction error and strength of their connections.

    Unsupervised: `y` is ignored. Training is fully deterministic given `random_state` and leaves
    the global random number generators alone. Data that do not fit into memory, or arrive over
    time, are learnt chunk by chunk with `partial_fit`.

    Parameters
    ----------
    n_features_to_select : int, float, "probe" or None, default None
        How many features to keep: a number, a share in (0, 1], None for half of them, or "probe"
        for those more important than every shadow, a shuffled copy of a column that is trained on
        as well.
    redundancy : float, default 0
        Choose features one by one by importance, over its largest, minus `redundancy` times the
        mean absolute correlation with those chosen before.
    hidden_size : int, default 200
        Hidden neurons (paper).
    density : float, default 0.2
        Share of all possible connections that exist in each layer, exactly (paper: on average).
    drop_fraction : float, default 0.3
        Share of positive and, separately, of negative connections replaced in a topology update
        (paper's alpha).
    sensitivity : float, default 0.9
        Weight of the reconstruction error in a feature's importance, in [0, 1]; the rest is that of
        its strength (paper's lambda). The paper uses 0.4 for images, 0.01 and 0.001 for the
        two data sets with tens of thousands of features, and 0.9 for all others.
    noise : float, default 0.2
        Standard deviation of the Gaussian noise added to the scaled inputs, drawn afresh for every
        batch (paper).
    update : {"batch", "epoch"}, default "batch"
        Whether the topology changes after every batch (paper) or at the end of an epoch; importance
        is gathered in every batch either way.
    scale : {"standard", "minmax", "global"} or None, default "global"
        Scaling for training only; `transform` returns the original values. "global" is the standard
        score by one mean and deviation of the whole matrix (paper), so a column that varies little
        stays unimportant; where columns have different units, "standard" is right.
    epochs : int, default 10
        Passes over the data (paper). Some fifty batches are needed to tell features apart.
    batch_size : int, default 128
        Rows per step (paper), clipped to the number of rows; a last smaller batch is kept.
    learning_rate, momentum : float, default 0.1 and 0.9
        Stochastic gradient descent with Nesterov momentum (paper).
    device : str, default "cpu"
        "cpu", "cuda" or "auto".
    storage : {"csr", "masked", "auto"}, default "csr"
        How connections are stored: "csr" stores and computes them alone, "masked" keeps dense
        matrices with masks, "auto" takes what is faster on this device by measured break-even
        densities. The results are equal up to rounding.
    dtype : {"float32", "float64"}, default "float32"
        Precision of training; importances are always float64.
    random_state : int, RandomState or None, default None
        Seed of all randomness.
    verbose : int, default 0
        1 shows a progress bar over epochs on standard error.

    Attributes
    ----------
    feature_importances_ : ndarray of shape (n_features,), float64
        What each input has gathered over all batches; 0 for constant features. It grows with the
        number of batches, so compare it within one selector only.
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
        Epochs run, and calls of `partial_fit`.
    history_ : dict of str to list
        Per epoch or call: "loss", "seconds", "n_connections", "n_active_inputs".
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
    Known slips of the released code are not repeated: integers are scaled as they are, a dropped
    connection is gone at once with its momentum, a new one starts without any, and the number of
    connections is exact.

    Time and memory of ``storage="csr"`` are proportional to the number of connections.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, _ = load_digits(return_X_y=True)
    >>> import warnings; warnings.simplefilter("ignore")  # three pixels are always 0
    >>> selector = WAST(20, sensitivity=0.4, epochs=3, random_state=0).fit(X)
    >>> selector.transform(X).shape
    (1797, 20)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseSparseSelector._parameter_constraints,
        "hidden_size": [Interval(Integral, 1, None, closed="left")],
        "density": [Interval(Real, 0, 1, closed="right")],
        "drop_fraction": [Interval(Real, 0, 1, closed="both")],
        "sensitivity": [Interval(Real, 0, 1, closed="both")],
        "noise": [Interval(Real, 0, None, closed="left")],
        "update": [StrOptions({"batch", "epoch"})],
        "momentum": [Interval(Real, 0, 1, closed="left")],
    }

    _memory: Memory | None = None

    def __init__(
        self,
        n_features_to_select: int | float | Literal["probe"] | None = None,
        *,
        redundancy: float = 0.0,
        hidden_size: int = 200,
        density: float = 0.2,
        drop_fraction: float = 0.3,
        sensitivity: float = 0.9,
        noise: float = 0.2,
        update: Literal["batch", "epoch"] = "batch",
        scale: Literal["standard", "minmax", "global"] | None = "global",
        epochs: int = 10,
        batch_size: int = 128,
        learning_rate: float = 0.1,
        momentum: float = 0.9,
        device: Literal["cpu", "cuda", "auto"] = "cpu",
        storage: Storage = "csr",
        dtype: Literal["float32", "float64"] = "float32",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.n_features_to_select = n_features_to_select
        self.redundancy = redundancy
        self.hidden_size = hidden_size
        self.density = density
        self.drop_fraction = drop_fraction
        self.sensitivity = sensitivity
        self.noise = noise
        self.update = update
        self.scale = scale
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.device = device
        self.storage = storage
        self.dtype = dtype
        self.random_state = random_state
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Train for one pass over a chunk of rows and rank the features anew.

        The first call defines the features; a call after `fit` goes on from what `fit` has learnt,
        unless that was with shadows or ``scale="minmax"``, as later calls go on from earlier ones.
        Copies and pickles in between change nothing.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_samples, n_features)
            The chunk, finite; at least two rows in the first call. Rows are shuffled within a
            chunk, so chunks should be like each other.
        y : object
            Ignored.

        Returns
        -------
        self
            With all fitted attributes up to date. A feature that has had one value only so far has
            importance 0.

        Raises
        ------
        ValueError
            If the chunk is unusable, a parameter needs all rows at once
            (``n_features_to_select="probe"``, ``scale="minmax"``, ``redundancy`` above 0), or one
            that shapes the network has changed since the first call.
        RuntimeError
            If training diverges; the selector is as before the call.

        Notes
        -----
        Rows are scaled by the moments of all rows so far, those of the chunk included.
        `batch_size`, `learning_rate`, `drop_fraction` and the like may change between calls.

        Examples
        --------
        >>> chunks = np.random.default_rng(0).normal(size=(3, 50, 6))
        >>> selector = WAST(2, random_state=0)
        >>> for chunk in chunks:
        ...     selector = selector.partial_fit(chunk)
        >>> selector.support_.sum(), len(selector.history_["loss"])
        (np.int64(2), 3)
        """
        self._validate_params()  # scikit-learn does so before the first call only
        self._reject_booleans()
        self._reject_what_needs_all_rows()
        memory = self._memory
        accepted = self._accepted | {"ensure_min_samples": 2 if memory is None else 1}
        X = validate_data(self, X, reset=memory is None, **accepted)
        moments = Moments.of(X)
        if memory is None:
            seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        else:
            memory.check_settings(self._settings)
            moments, seed = memory.moments.merged(moments), memory.seed
        if moments.constant.all():
            self._check_constant(moments.constant)
        count = self._resolve_count(self.n_features_to_select)
        rows = MeasuredRows(X, self.scale, self.dtype, moments)
        with torch.inference_mode(False), torch.enable_grad():
            run = self._start(rows.shape[1], seed)
            if memory is not None:
                memory.restore(run)
            self._learn(run, rows, 1)
            self._memory = Memory.of(run, seed, self._settings, moments)
        self.__dict__.pop("shadow_importance_", None)
        self.n_features_to_select_ = count
        self.feature_importances_ = np.where(moments.constant, 0.0, run.topology.inputs.cpu())
        self._order(X, moments.constant)
        self._rank()
        return self

    def _reject_what_needs_all_rows(self) -> None:
        refused: dict[str, tuple[bool, str]] = {
            "n_features_to_select": (self.n_features_to_select == "probe", "a number"),
            "scale": (self.scale == "minmax", "'global', 'standard' or None"),
            "redundancy": (self.redundancy > 0, "0"),
        }
        for name, (needs_all_rows, instead) in refused.items():
            if needs_all_rows:
                raise InvalidArgumentError(
                    f"{name}={getattr(self, name)!r} needs all rows at once, so partial_fit does "
                    f"not support it; use {instead}, or fit."
                )

    @property
    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _FIXED}

    def _validated(self, X: Any, y: Any) -> tuple[Any, npt.NDArray[Any] | None]:
        self._memory = None  # whatever comes of this fit, an earlier stream is over
        return super()._validated(X, y)

    def _rows(self, X: Any) -> RowScaler:
        if self.scale == "minmax":
            return super()._rows(X)
        return MeasuredRows(X, self.scale, self.dtype, Moments.of(X))

    def _train(self, rows: RowScaler, y: npt.NDArray[Any] | None, seed: int) -> Floats:
        run = self._start(rows.shape[1], seed)
        self._learn(run, rows, self.epochs)
        if isinstance(rows, MeasuredRows) and self.n_features_to_select != "probe":
            self._memory = Memory.of(run, seed, self._settings, rows.moments)
        importances: Floats = run.topology.inputs.cpu().numpy()
        return importances

    def _start(self, n_features: int, seed: int) -> Run:
        """Build network, optimizer and topology, with weights as torch draws them for a layer."""
        device = resolve_device(self.device)
        storage = resolve_storage(self.storage, device)
        network = Autoencoder(
            n_features,
            int(self.hidden_size),
            dropout=0.0,
            output_activation="linear",
            device="cpu" if storage == "masked" else "meta",
            dtype=self._torch_dtype,
        )
        optimizer = torch.optim.SGD(
            network.parameters(),
            lr=self.learning_rate,
            momentum=self.momentum,
            nesterov=self.momentum > 0,
            fused=True,
        )
        topology = AttentionTopology(
            n_features,
            drop_fraction=self.drop_fraction,
            sensitivity=self.sensitivity,
            device=device,
        )
        handle = sparsify(
            network,
            optimizer,
            density=float(self.density),
            method=topology,
            allocation="uniform",
            storage=storage,
            seed=seed,
        )
        order = np.random.default_rng(seed)
        handle.initialize(uniform(lambda n_in, _: n_in**-0.5, order))
        _draw_biases(network, (n_features, int(self.hidden_size)), order)
        network.to(device)
        training = Training(network, optimizer, handle, learning_rate=self.learning_rate)
        noise = torch.Generator().manual_seed(seed)
        return Run(training, network, handle, topology, order, noise)

    def _learn(self, run: Run, rows: RowScaler, epochs: int) -> None:
        """Train and publish what is to be seen of it."""
        n_samples, device = rows.shape[0], run.topology.inputs.device
        batch_size = min(self.batch_size, n_samples)
        n_batches = math.ceil(n_samples / batch_size)

        def one_epoch(_: int) -> float:
            loss = 0.0
            batches = shuffled_batches(n_samples, batch_size, run.order)
            for number, index in enumerate(batches, 1):
                run.topology.due = self.update == "batch" or number == n_batches
                loss += len(index) * self._step(run, rows.tensor(index).to(device))
            return loss / n_samples

        run.training.run(epochs, one_epoch, title="WAST", verbose=self.verbose)
        self._publish(run.training, device)

    def _step(self, run: Run, clean: Tensor) -> float:
        shape = clean.shape[1], clean.shape[0]
        noise = torch.randn(shape, generator=run.noise, device="cpu", dtype=torch.float32)
        noisy = torch.add(clean, noise.t().to(clean), alpha=self.noise)
        residual: Tensor = run.network(noisy, run.order) - clean
        run.topology.error = residual.detach().abs().mean(0, dtype=torch.float64)
        return run.training.step(residual.square().mean())


@torch.no_grad()
def _draw_biases(network: Autoencoder, fans: tuple[int, int], order: np.random.Generator) -> None:
    for layer, n_in in zip(network.layers, fans, strict=True):
        bias = layer.get_parameter("bias")
        bias.copy_(torch.from_numpy(order.uniform(-(n_in**-0.5), n_in**-0.5, len(bias))))
