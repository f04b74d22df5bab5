"""How does one forecast a series with a network that finds its own sparsity?

Validation, scaling, and forecasts in the units and on the time axis of the series. What networks
compute, how they are trained and how they become sparse is decided in the modules beside this one.
"""

import os
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import _fit_context
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sparsewire.core.devices import resolve_device
from sparsewire.timeseries import model_files
from sparsewire.timeseries.forecasting import storage
from sparsewire.timeseries.forecasting.containers import History, to_history
from sparsewire.timeseries.forecasting.intervals import half_widths
from sparsewire.timeseries.forecasting.parameters import ForecasterParameters
from sparsewire.timeseries.forecasting.preparation import Preparation, training_rows
from sparsewire.timeseries.forecasting.training import (
    LOSSES,
    Progress,
    Trainer,
    check_outputs,
    forecast,
    residuals,
    run_file,
    train,
)
from sparsewire.timeseries.forecasting.windows import spread
from sparsewire.timeseries.metrics import ErrorSums
from sparsewire.timeseries.protocols import Standardisation

Array = npt.NDArray[np.float64]
_ALIKE = ("checkpoint", "device", "verbose")  # do not make another run


class SparseForecaster(ForecasterParameters):
    """Forecaster of one series of one or several columns by a sparse network.

    Deterministic given `random_state`; the global random number generators are left alone.

    Parameters
    ----------
    model : {"dlinear", "nlinear", "transformer", "nstransformer", "lstm", "gru"} or one's own
        The network; one's own, a Module, maps windows (batch, input_size, n_channels) to (batch,
        horizon, n_channels). A callable makes it from ``(input_size, horizon, n_channels)``.
    input_size, horizon : int, default 96
        Known and forecast steps (long-term protocol; 36 and 24 for the weekly illness data).
    individual : bool, default False
        Whether each channel has linear maps of its own (paper: shared); linear models only.
    d_model, n_heads, d_ff : int, default 64, 4, 128
        Width, heads and inner width of transformers; the first also of recurrent networks. The
        paper's 512, 8 and 2048 take half an hour per epoch on a CPU.
    n_encoder_layers, n_decoder_layers : int, default 2 and 1
        Layers of transformers (paper); the first is also that of recurrent networks (paper).
    projector_sizes : sequence of int, default (64, 64)
        Hidden layers of the projectors of "nstransformer" (paper: 8 to 256).
    dropout : float, default 0.05
        Of transformers (paper) and recurrent networks.
    sparsity : {"pals", "static", "dynamic", "granet"} or None, default "pals"
        Adaptive sparsity; fixed random connections; RigL, or `SelfishRNN` for recurrent networks;
        gradual pruning with regeneration; or a dense network.
    density : float, default 0.2
        Share of the weights that are connections, of all but "pals".
    prune_factor, loss_freedom : float, default 1.1
        Gamma and lambda of `PALS`, each of 1.05, 1.1 and 1.2 in the paper.
    pals_options : mapping or None, default None
        Further arguments of `PALS`, such as ``{"max_sparsity": 0.8}`` or ``{"mode": "reference"}``.
    decision_windows : int or None, default 256
        Validation windows, evenly spaced, by which PALS decides. None means all, as in the paper,
        which costs more than training does.
    scale : {"standard", "none"}, default "standard"
        Whether columns are brought to mean 0 and deviation 1 of the training rows.
    missing : {"raise", "linear"}, default "raise"
        NaN is refused, or interpolated in time.
    loss : {"mse", "mae", "huber"}, default "mse"
        Loss, on the scaled series.
    max_epochs : int, default 10
        Epochs at most (paper).
    batch_size : int, default 32
        Windows per step (paper).
    learning_rate : float or None, default None
        Adam's rate in the first two epochs, halved with each later one (paper); where density
        falls, it stays until that has ended, and then falls to the same rate in the last epoch.
        None is 0.005 for linear and recurrent models, 0.0005 for transformers, 0.001 otherwise.
    validation_size : float or int, default 0.2
        Share or number of the last rows, which are not trained on; windows may begin before them.
    patience : int or None, default 3
        Epochs without a lower validation loss after which training stops (paper). While density
        falls, epochs do not count.
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
    network_ : nn.Module
        The network that was kept; its buffers ``*_mask`` tell which weights are connections.
    sparsity_ : float
        Share of the maskable weights that are no connections.
    n_parameters_, n_dense_parameters_ : int
        Parameters counting only connections, and counting all weights.
    flops_, dense_flops_ : float
        Theoretical cost of one forecast, with connections only and dense; masks save no time.
    history_ : dict of str to list of float
        Per epoch "loss", "validation_loss", "sparsity", "learning_rate" and "seconds".
    decisions_ : dict of str to list, or None
        The history of `PALS`.
    best_epoch_, n_epochs_ : int
        Epoch whose network was kept, counted from 1, and epochs run.
    best_validation_loss_ : float
        Its validation loss, on the scaled series.
    standardisation_ : Standardisation
        Mean and deviation of the columns in the training rows.
    n_channels_in_ : int
        Columns of the series.

    Raises
    ------
    ValueError
        From `fit`, on unusable data or parameters, or a checkpoint of another run.
    RuntimeError
        From `fit`, if training diverges (`TrainingDivergedError`).

    Examples
    --------
    >>> time = np.arange(400)
    >>> y = 20 + np.sin(time / 4) + 0.05 * np.random.default_rng(0).normal(size=400)
    >>> forecaster = SparseForecaster(input_size=48, horizon=12, random_state=0).fit(y)
    >>> truth = 20 + np.sin(np.arange(400, 412) / 4)
    >>> bool(np.abs(forecaster.predict() - truth).max() < 0.3), forecaster.sparsity_ > 0.2
    (True, True)
    """

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, y: Any) -> Self:
        """Train a network.

        Parameters
        ----------
        y : ndarray, Series or DataFrame
            Values (T,) or (T, n_columns) in the order of time. With an index of times, transformers
            learn from the time of day and year, and forecasts carry their times.

        Returns
        -------
        self
            The fitted forecaster.

        Raises
        ------
        ValueError
            If the data or a parameter is unusable, or the checkpoint belongs to another run.
        RuntimeError
            If training diverges.
        """
        self._check_parameters()
        history = to_history(y, missing=self.missing)
        size, horizon = int(self.input_size), int(self.horizon)
        n_train = training_rows(len(history.values), size, horizon, self.validation_size)
        self._preparation = Preparation.fit(
            history,
            n_train,
            input_size=size,
            horizon=horizon,
            scaled=self.scale == "standard",
            takes_time=self._takes_time(),
        )
        self._last = self._preparation.tail(history)
        trainer = self._trainer(history, n_train, self._draw_seed())
        parameters = {k: v for k, v in self.get_params(deep=False).items() if k not in _ALIKE}
        file = None
        if self.checkpoint is not None:
            file = run_file(self.checkpoint, parameters, (history.values, history.times))
        progress = train(
            trainer,
            patience=self.patience,
            file=file,
            verbose=int(self.verbose),
        )
        self._keep(trainer, progress)
        return self

    def _trainer(self, history: History, n_train: int, seed: int) -> Trainer:
        cut, device = self._preparation.windows, resolve_device(self.device)
        windows = cut(history, 0, n_train, device)
        validation = cut(history, n_train - int(self.input_size), len(history.values), device)
        network = self._fresh_network(seed).to(device)
        check_outputs(network, windows)
        steps = -(-len(windows) // int(self.batch_size))
        handle, pals = self._sparsify(network, steps, seed)
        return Trainer(
            handle,
            pals,
            train=windows,
            validation=validation,
            decision_rows=spread(len(validation), self.decision_windows),
            loss=LOSSES[self.loss],
            batch_size=int(self.batch_size),
            max_epochs=int(self.max_epochs),
            learning_rate=self._rate(),
            seed=seed,
        )

    def _fresh_network(self, seed: int) -> nn.Module:
        prepared = self._preparation
        return self._new_network(prepared.n_channels, prepared.n_time_features, seed)

    def _keep(self, trainer: Trainer, progress: Progress) -> None:
        batch = trainer.validation.batch(np.arange(1))
        marked = batch.marks is not None
        summary = trainer.handle.summary((batch.x, batch.marks) if marked else (batch.x,))
        self.sparsity_ = 1 - summary.density
        self.n_parameters_, self.n_dense_parameters_ = summary.parameters, summary.dense_parameters
        self.flops_, self.dense_flops_ = summary.flops, summary.dense_flops
        self.history_ = progress.history
        self.decisions_ = None if trainer.pals is None else trainer.pals.history
        self.best_epoch_, self.n_epochs_ = progress.best_epoch, trainer.epoch
        self.best_validation_loss_ = progress.history["validation_loss"][progress.best_epoch - 1]
        self._residuals = residuals(trainer.network.eval(), trainer.validation)
        self.network_ = trainer.network.cpu()

    # Forecasts

    @property
    def standardisation_(self) -> Standardisation:
        """Mean and deviation of the columns in the training rows."""
        check_is_fitted(self)
        return self._preparation.standardisation

    @property
    def n_channels_in_(self) -> int:
        """Columns of the series."""
        check_is_fitted(self)
        return self._preparation.n_channels

    def _checked(self, y: Any) -> History:
        check_is_fitted(self)
        history = to_history(y, missing=self.missing)
        self._preparation.check(history)
        return history

    def _known(self, y: Any) -> History:
        check_is_fitted(self)
        return self._last if y is None else self._preparation.tail(self._checked(y))

    def _forecast(self, history: History) -> Array:
        """Return the scaled forecast, (horizon, n_channels)."""
        window = self._preparation.last_window(history).batch(np.arange(1))
        with torch.no_grad():
            return forecast(self.network_, window)[0].double().numpy()

    def predict(self, y: Any = None) -> Any:
        """Forecast the next `horizon` steps, in the units of the series.

        Parameters
        ----------
        y : ndarray, Series, DataFrame or None, default None
            The series so far, at least `input_size` rows; None is that of `fit`.

        Returns
        -------
        ndarray, Series or DataFrame
            As `y`: (horizon,) or (horizon, n_columns), with the times that follow.

        Raises
        ------
        ValueError
            If `y` is unusable or too short.
        """
        history = self._known(y)
        return history.restore(self.standardisation_.inverse_transform(self._forecast(history)))

    def predict_interval(self, y: Any = None, *, level: float = 0.9) -> tuple[Any, Any]:
        """Return bounds between which the truth lies in about a share `level` of cases.

        Parameters
        ----------
        y : ndarray, Series, DataFrame or None, default None
            As for `predict`.
        level : float, default 0.9
            In (0, 1).

        Returns
        -------
        lower, upper : ndarray, Series or DataFrame
            As `predict` returns.

        Raises
        ------
        ValueError
            If the level is out of range, or `y` unusable.

        Notes
        -----
        Split conformal, from the errors on the validation windows; as these overlap and a series
        drifts, coverage is approximate.
        """
        history = self._known(y)
        middle, half = self._forecast(history), half_widths(self._residuals.astype(float), level)
        lower, upper = (
            history.restore(self.standardisation_.inverse_transform(bound))
            for bound in (middle - half, middle + half)
        )
        return lower, upper

    def evaluate(self, y: Any) -> ErrorSums:
        """Return the errors over all windows of a series, on the scaled series.

        Parameters
        ----------
        y : ndarray, Series or DataFrame
            At least ``input_size + horizon`` rows: `input_size` rows of context, and those to
            forecast.

        Returns
        -------
        ErrorSums
            With ``mse`` and ``mae`` over windows, steps and columns, whatever the batches.

        Raises
        ------
        ValueError
            If `y` is unusable or too short.
        """
        history, device = self._checked(y), resolve_device(self.device)
        windows = self._preparation.windows(history, 0, len(history.values), device)
        errors = residuals(self.network_.to(device), windows)
        self.network_.cpu()
        return ErrorSums.of(errors, np.zeros_like(errors))

    # Storage

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted forecaster to a file that holds no code; see `load`.

        Parameters
        ----------
        path : path
            File, replaced if it exists, atomically.

        Raises
        ------
        ValueError
            If the model is one's own, which cannot be built from a name.
        """
        check_is_fitted(self)
        storage.save(path, self)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a forecaster that `save` wrote; no code in the file is executed.

        Parameters
        ----------
        path : path
            The file.

        Returns
        -------
        SparseForecaster
            With the same forecasts. A ``RandomState`` object as `random_state` becomes None.

        Raises
        ------
        CheckpointError
            If the file is damaged or something else.
        """
        return storage.load(path, cls)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state with the network as arrays."""
        state: dict[str, Any] = dict(super().__getstate__())
        if isinstance(network := state.get("network_"), nn.Module):
            state["network_"] = model_files.to_arrays(network)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Rebuild the network."""
        super().__setstate__(state)
        if "network_" in state:
            self.network_ = model_files.from_arrays(self._fresh_network(0), state["network_"])

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")
