"""How does one classify time series with a sparse recurrent network, in scikit-learn's terms?

What is not about this network is decided in `sparsewire.timeseries.classification`.

References
----------
Liu, Mocanu, Pei & Pechenizkiy (2021). Selfish sparse RNN training. ICML 2021; arXiv:2101.09048.
"""

import os
from numbers import Integral, Real
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sparsewire.core import SparsityHandle
from sparsewire.core.devices import resolve_device
from sparsewire.timeseries.classification.base import BaseSeriesClassifier
from sparsewire.timeseries.classification.parameters import CONSTRAINTS
from sparsewire.timeseries.classification.preparation import Missing, Normalise, Unequal
from sparsewire.timeseries.recurrent.network import (
    Cell,
    RecurrentNetwork,
    RecurrentShape,
    Topology,
    costs,
    make_sparse,
    mask_densities,
)


class SparseRNNClassifier(BaseSeriesClassifier):
    """Classifier of time series by a sparse LSTM or GRU whose connections move between its gates.

    It reads a series sample by sample and decides by the hidden state at its end, so that series
    of unequal length are its home. Sparse from the first step on. Deterministic given
    `random_state`; the global random number generators are left alone.

    Parameters
    ----------
    cell : {"lstm", "gru"}, default "lstm"
        Kind of the recurrent layers.
    n_units : int, default 64
        Hidden units of each layer. The paper's 1500 are for language.
    n_layers : int, default 1
        Layers (paper: 1 for sentiment, 2 for language).
    density : float, default 0.2
        Share of the weights of all recurrent layers that are connections (paper: 0.33; the output
        layer is dense).
    topology : {"dynamic", "static", "dense"}, default "dynamic"
        Whether connections move, stay, or are all there are.
    drop_fraction : float, default 0.8
        Share of the connections of each matrix replaced by the first of the updates, one in each
        epoch; annealed to 0.005 by a cosine (paper, stacked LSTM).
    dropout : float, default 0.0
        Share of hidden values dropped between layers and before the output in training.
    n_epochs : int, default 100
        Epochs.
    batch_size : int or "auto", default "auto"
        Series per step; "auto" is a tenth of the training series, between 2 and 16, as in
        `DSNClassifier`. A last single series joins the batch before.
    learning_rate : float, default 3e-3
        Adam's rate in the first epoch, annealed to 1e-4 by a cosine.
    validation_fraction : float, default 0.0
        Share of the series held out, stratified by class. If above 0, the network with the lowest
        loss on them is kept instead of the one with the lowest training loss.
    patience : int or None, default None
        Epochs without a lower loss, of the held-out series if there are some, after which training
        stops; None trains to the end.
    normalise : {"none", "instance", "train"}, default "none"
        Nothing; each channel of each series to mean 0 and deviation 1; or each channel by the mean
        and deviation of all training series.
    unequal : {"mask", "pad", "raise"}, default "mask"
        Series of unequal length: read to their own ends; padded by zeros up to the longest training
        series and read to there; or refused.
    missing : {"linear", "zero", "raise"}, default "linear"
        Missing values: interpolated in time; zero after normalisation; or refused. Time steps
        missing at the end of a series are taken as its end.
    checkpoint : path or None, default None
        If given, `fit` writes the whole run to this file after every epoch, and continues the run
        of the file if there is one, with the result of an uninterrupted run. Parameters and data
        must be those of that run, and `random_state` an integer.
    device : {"cpu", "cuda", "auto"}, default "cpu"
        Where to compute; "auto" prefers CUDA.
    random_state : int, RandomState or None, default None
        Seed of all randomness.
    verbose : int, default 0
        1 shows a progress bar over epochs on standard error.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels.
    network_ : RecurrentNetwork
        The network that was kept; its buffers ``*_mask`` tell which weights are connections.
    history_ : dict of str to list of float
        Per epoch "loss", "seconds" and, if series are held out, "validation_loss".
    best_epoch_, n_epochs_ : int
        Epoch whose network was kept, counted from 1, and epochs run.
    sparsity_ : float
        Share of the weights of the recurrent layers that are no connections.
    gate_densities_ : dict of str to dict of str to float
        By matrix and gate, the share of connections.
    flops_, dense_flops_ : int
        Theoretical cost of a series as long as the longest training series, with connections only
        and dense; masks save no time.
    n_channels_in_ : int
        Channels of the series.
    n_features_in_ : int
        Length of the series, if they were given as a table of one row each.
    feature_names_in_ : ndarray of str
        Names of the columns of such a table, if it has some.

    Raises
    ------
    ValueError
        From `fit`, on unusable data or parameters, or a checkpoint of another run.
    RuntimeError
        From `fit`, if training diverges (`TrainingDivergedError`).

    Notes
    -----
    Training is by Adam. The paper's `SNTASGD`, which wants its rate tuned and its gradients
    clipped, was no better on JapaneseVowels (mean accuracy over three seeds 0.967 with the best of
    three rates, against 0.966); it can be used in a training loop of one's own.

    See Also
    --------
    sparsewire.timeseries.DSNClassifier : Sparse convolutions, the better choice for long series.

    Examples
    --------
    >>> rng, slopes = np.random.default_rng(0), np.repeat([0.2, -0.2], 20)
    >>> X = [slope * np.arange(n) + rng.normal(size=n)
    ...      for slope, n in zip(slopes, rng.integers(10, 20, 40))]
    >>> y = np.where(slopes > 0, "rises", "falls")
    >>> clf = SparseRNNClassifier(n_units=16, n_epochs=20, random_state=0)
    >>> clf.fit(X[::2], y[::2]).score(X[1::2], y[1::2])
    1.0
    """

    _shape_type = RecurrentShape

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "cell": [StrOptions({"lstm", "gru"})],
        "n_units": [Interval(Integral, 1, None, closed="left")],
        "n_layers": [Interval(Integral, 1, None, closed="left")],
        "density": [Interval(Real, 0, 1, closed="right")],
        "topology": [StrOptions({"dynamic", "static", "dense"})],
        "drop_fraction": [Interval(Real, 0, 1, closed="both")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        **CONSTRAINTS,
    }

    network_: RecurrentNetwork

    def __init__(
        self,
        *,
        cell: Cell = "lstm",
        n_units: int = 64,
        n_layers: int = 1,
        density: float = 0.2,
        topology: Topology = "dynamic",
        drop_fraction: float = 0.8,
        dropout: float = 0.0,
        n_epochs: int = 100,
        batch_size: int | Literal["auto"] = "auto",
        learning_rate: float = 3e-3,
        validation_fraction: float = 0.0,
        patience: int | None = None,
        normalise: Normalise = "none",
        unequal: Unequal = "mask",
        missing: Missing = "linear",
        checkpoint: str | os.PathLike[str] | None = None,
        device: Literal["cpu", "cuda", "auto"] = "cpu",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.cell = cell
        self.n_units = n_units
        self.n_layers = n_layers
        self.density = density
        self.topology = topology
        self.drop_fraction = drop_fraction
        self.dropout = dropout
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.normalise = normalise
        self.unequal = unequal
        self.missing = missing
        self.checkpoint = checkpoint
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def _architecture(self, n_channels: int, n_classes: int, longest: int) -> RecurrentShape:
        return RecurrentShape(
            n_channels=n_channels,
            n_classes=n_classes,
            cell=self.cell,
            n_units=int(self.n_units),
            n_layers=int(self.n_layers),
            dropout=float(self.dropout),
        )

    @staticmethod
    def _new_network(shape: RecurrentShape) -> RecurrentNetwork:
        return RecurrentNetwork(shape)

    def _sparsified(self, shape: RecurrentShape, steps: int, seed: int) -> SparsityHandle:
        network = RecurrentNetwork(shape, seed).to(resolve_device(self.device))
        return make_sparse(
            network,
            torch.optim.Adam(network.parameters(), lr=float(self.learning_rate), fused=True),
            density=float(self.density),
            topology=self.topology,
            drop_fraction=float(self.drop_fraction),
            steps_per_epoch=steps,
            n_epochs=int(self.n_epochs),
            seed=seed,
        )

    @property
    def sparsity_(self) -> float:
        """Share of the weights of the recurrent layers that are no connections."""
        check_is_fitted(self)
        return costs(self.network_, self._treatment.length).sparsity

    @property
    def gate_densities_(self) -> dict[str, dict[str, float]]:
        """By matrix and gate, the share of connections."""
        check_is_fitted(self)
        return mask_densities(self.network_)

    @property
    def flops_(self) -> int:
        """Theoretical cost of a series as long as the longest training series."""
        check_is_fitted(self)
        return costs(self.network_, self._treatment.length).sparse

    @property
    def dense_flops_(self) -> int:
        """Theoretical cost of the same network with all connections."""
        check_is_fitted(self)
        return costs(self.network_, self._treatment.length).dense
