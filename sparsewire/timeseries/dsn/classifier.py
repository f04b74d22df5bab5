"""How does one classify time series with a dynamic sparse network, in scikit-learn's terms?

Validation, labels and what was learned. What a network computes, how it is trained and how its taps
are explored is decided in the modules beside this one.
"""

import os
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.special import softmax
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from sparsewire.core import InvalidArgumentError
from sparsewire.timeseries.dsn import explain, storage
from sparsewire.timeseries.dsn.costs import Flops, count_flops
from sparsewire.timeseries.dsn.network import DSNNetwork
from sparsewire.timeseries.dsn.parameters import DSNParameters, resolve_device
from sparsewire.timeseries.dsn.preparation import Preparation, Series
from sparsewire.timeseries.dsn.training import Trainer, logits, run_file, train
from sparsewire.timeseries.panel import Panel, is_table, to_panel

Array = npt.NDArray[Any]
_ALIKE = ("checkpoint", "device", "verbose")  # do not make another run
_PLAIN = ("history_", "best_epoch_", "n_epochs_", "n_channels_in_")


class DSNClassifier(ClassifierMixin, DSNParameters):
    """Classifier of time series whose sparse convolution kernels learn what to see.

    A stack of long convolutions of which a fifth of the taps is active from the first step on.
    Training explores other taps, each group of kernels inside a region of its own length.
    Deterministic given `random_state`; the global random number generators are left alone.

    Parameters
    ----------
    n_filters : int, default 47
        Output channels of each group of kernels (paper, UCR archive; 59 for UEA). 16 trains in
        seconds and is often enough.
    depth : int, default 4
        Blocks (paper).
    kernel_size : int, default 39
        Taps of the longest kernels (paper); cut, with a warning, to the longest series.
    n_groups : int, default 3
        Groups of kernels (paper), with regions of 1/3, 2/3 and all of `kernel_size`.
    density : float, default 0.2
        Share of the taps of each region that are active (paper, UCR archive; 0.1 for UEA). Kernels
        of less than 5 taps stay dense.
    padding : {"centre", "right", "same"}, default "centre"
        Where regions lie: around the present sample; from it on (paper); or all beginning at the
        left end of a centred full-length kernel (the reference's option for UCR 2018).
    pad_value : {"zero", "replicate"}, default "zero"
        What lies beyond the ends of a series: zero, or its first and last value. The paper
        replicates; centred zeros were the most robust choice in our measurements.
    topology : {"dynamic", "static", "dense"}, default "dynamic"
        Whether active taps are explored, stay, or are all taps of the regions.
    init : {"left", "random"}, default "left"
        Whether the first taps of each region are active at the beginning (paper), or random ones.
    growth : {"random", "gradient"}, default "random"
        Which taps grow: random ones (paper), or those with the largest gradient.
    drop_fraction : float, default 0.5
        Share of the active taps replaced at the first of the explorations, which take place every
        5 epochs; annealed to 0.001 over 80 % of the epochs (paper).
    n_epochs : int, default 200
        Epochs. The paper trains for 1000.
    batch_size : int or "auto", default "auto"
        Series per step; "auto" is a tenth of the training series, between 2 and 16 (paper). A last
        single series joins the batch before.
    learning_rate : float, default 3e-4
        Adam's rate in the first epoch (paper), annealed to 1e-4 by a cosine.
    validation_fraction : float, default 0.0
        Share of the series held out, stratified by class. If above 0, the network with the lowest
        loss on them is kept instead of the one with the lowest training loss (paper).
    patience : int or None, default None
        Epochs without a lower loss, of the held-out series if there are some, after which training
        stops; None trains to the end.
    normalise : {"none", "instance", "train"}, default "none"
        Nothing, as the archives' series are mostly normalised; each channel of each series to mean
        0 and deviation 1; or each channel by the mean and deviation of all training series.
    unequal : {"mask", "pad", "raise"}, default "mask"
        Series of unequal length: padding has no influence at all; is zero up to the longest
        training series and seen as signal (reference); or is refused.
    missing : {"linear", "zero", "raise"}, default "linear"
        Missing values: interpolated in time; zero after normalisation (reference); or refused. Time
        steps missing at the end of a series are taken as its end.
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
    network_ : DSNNetwork
        The network that was kept; its buffers ``weight_mask`` tell which taps are active.
    history_ : dict of str to list of float
        Per epoch "loss", "seconds" and, if series are held out, "validation_loss".
    best_epoch_, n_epochs_ : int
        Epoch whose network was kept, counted from 1, and epochs run.
    flops_ : Flops
        Theoretical cost of a series as long as the longest training series: of the active taps, of
        all taps inside regions, and of full-length kernels.
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
    Masks save no time: what is computed are all taps inside the regions, two thirds of the
    full-length kernels of the reference. ``padding="right", pad_value="replicate",
    n_epochs=1000`` is the reference's network and run, apart from its errors: labels are not
    rescaled, masks are kept with weights, and fresh taps have fresh optimizer state.

    References
    ----------
    Xiao et al. (2022). Dynamic sparse network for time series classification: learning what to
    "see". NeurIPS 2022.

    Examples
    --------
    >>> time, rng = np.arange(40), np.random.default_rng(0)
    >>> y = np.repeat(["slow", "fast"], 20)
    >>> speed = np.where(y == "slow", 0.2, 0.5)[:, None]
    >>> X = np.sin(speed * time + rng.uniform(0, 6, (40, 1))) + 0.3 * rng.normal(size=(40, 40))
    >>> clf = DSNClassifier(n_filters=4, depth=2, n_epochs=20, random_state=0)
    >>> clf.fit(X[::2], y[::2]).score(X[1::2], y[1::2])
    1.0
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
        treatment = Preparation.fit(
            panel, normalise=self.normalise, unequal=self.unequal, missing=self.missing
        )
        seed = self._draw_seed()
        data = self._labelled(treatment.apply(panel), target.astype(np.int64), seed)
        shape = self._architecture(panel.n_channels, len(classes), treatment.length)
        trainer = self._trainer(shape, data, seed)
        parameters = {k: v for k, v in self.get_params(deep=False).items() if k not in _ALIKE}
        file = None
        if self.checkpoint is not None:
            file = run_file(self.checkpoint, parameters, data)
        progress = train(trainer, patience=self.patience, file=file, verbose=int(self.verbose))
        self.classes_ = classes
        self.history_ = progress.history
        self.best_epoch_, self.n_epochs_ = progress.best_epoch, trainer.epoch
        self._keep(trainer, treatment)
        return self

    def _keep(self, trainer: Trainer, treatment: Preparation) -> None:
        self.network_ = trainer.network.cpu().eval()
        self._treatment = treatment
        self.n_channels_in_ = treatment.n_channels

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

    @property
    def flops_(self) -> Flops:
        """Theoretical cost of one series as long as the longest training series."""
        check_is_fitted(self)
        return count_flops(self.network_, self._treatment.length)

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

    # Explanation

    def class_activation(self, X: Any) -> explain.Activation:
        """Return what each time step contributes to the score of each class.

        Parameters
        ----------
        X : array-like, list of arrays, or DataFrame
            Series with the channels of the training series.

        Returns
        -------
        Activation
            Contributions of shape (n_series, n_classes, longest), which sum up to the logits.
        """
        return explain.class_activation(self.network_, self._series(X))

    def receptive_field(self) -> list[explain.LearnedKernels]:
        """Return where the active taps of each group of kernels lie, block by block."""
        check_is_fitted(self)
        return explain.learned_kernels(self.network_)

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
        names = [*_PLAIN, *(["n_features_in_"] if hasattr(self, "n_features_in_") else [])]
        storage.save(
            path,
            parameters=self.get_params(deep=False),
            fitted={name: getattr(self, name) for name in names},
            classes=self.classes_,
            preparation=self._treatment,
            network=self.network_,
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a classifier that `save` wrote; no code in the file is executed.

        Parameters
        ----------
        path : path
            The file.

        Returns
        -------
        DSNClassifier
            With the same predictions. A ``RandomState`` object as `random_state` becomes None.

        Raises
        ------
        CheckpointError
            If the file is damaged or something else.
        """
        content = storage.load(path)
        self = cls(**content["parameters"])
        for name, value in content["fitted"].items():
            setattr(self, name, value)
        self.classes_ = content["classes"]
        self.network_, self._treatment = content["network"], content["preparation"]
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Return the state with the network as arrays."""
        state: dict[str, Any] = dict(super().__getstate__())
        if isinstance(network := state.get("network_"), DSNNetwork):
            state["network_"] = (network.shape, storage.to_arrays(network))
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Rebuild the network."""
        if "network_" in state:
            state = state | {"network_": storage.from_arrays(*state["network_"])}
        super().__setstate__(state)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.missing != "raise"
        tags.input_tags.three_d_array = True
        return tags
