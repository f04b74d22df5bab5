"""How does one classify time series with a dynamic sparse network, in scikit-learn's terms?

What was learned. What a network computes, and how its taps are explored, is decided in the modules
beside this one, everything that is not about this network in
`sparsewire.timeseries.classification`.
"""

from typing import Any

from sklearn.utils.validation import check_is_fitted

from sparsewire.timeseries.dsn import explain
from sparsewire.timeseries.dsn.costs import Flops, count_flops
from sparsewire.timeseries.dsn.network import DSNNetwork
from sparsewire.timeseries.dsn.parameters import DSNParameters


class DSNClassifier(DSNParameters):
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
    >>> import numpy as np
    >>> time, rng = np.arange(40), np.random.default_rng(0)
    >>> y = np.repeat(["slow", "fast"], 20)
    >>> speed = np.where(y == "slow", 0.2, 0.5)[:, None]
    >>> X = np.sin(speed * time + rng.uniform(0, 6, (40, 1))) + 0.3 * rng.normal(size=(40, 40))
    >>> clf = DSNClassifier(n_filters=4, depth=2, n_epochs=20, random_state=0)
    >>> clf.fit(X[::2], y[::2]).score(X[1::2], y[1::2])
    1.0
    """

    network_: DSNNetwork

    @property
    def flops_(self) -> Flops:
        """Theoretical cost of one series as long as the longest training series."""
        check_is_fitted(self)
        return count_flops(self.network_, self._treatment.length)

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
