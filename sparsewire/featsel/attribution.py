"""Neuron attribution: feature selection by the derivatives of a sparse classifier.

A multi-layer perceptron is trained from scratch with dynamic sparse training. All along, the mean
absolute derivative of its class probabilities by each input is summed up; the sum ranks the
features.

References
----------
Atashgahi et al. (2024). Unveiling the power of sparse neural networks for feature selection.
European Conference on Artificial Intelligence; arXiv:2408.04583.
"""

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from sparsewire.core import (
    SET,
    Cosine,
    InvalidArgumentError,
    Method,
    RigL,
    SparseLinear,
    Static,
    sparsify,
)
from sparsewire.core.budget import LayerShape
from sparsewire.core.devices import resolve_device
from sparsewire.featsel.base import SupervisedSelector
from sparsewire.featsel.input_gradients import class_gradients, input_strength
from sparsewire.featsel.mlp import MLP
from sparsewire.featsel.rows import Floats, RowScaler, shuffled_batches
from sparsewire.featsel.training import (
    Storage,
    Training,
    resolve_storage,
    uniform,
)
from sparsewire.featsel.validation import LabelledRows, hold_out

MEASURE_EVERY = 4
"""Batches of an epoch per measurement of the importances, counted back from its last batch."""
LAST_DROP_FRACTION = 0.005
"""Share of the connections replaced in the last update (released code)."""


class AttributionSelector(SupervisedSelector):
    """Select features by the gradients of a sparse classifier, summed up while it learns.

    Supervised, for classification. Training is fully deterministic given `random_state` and leaves
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
    importance : {"attribution", "strength"}, default "attribution"
        The mean absolute derivative of the class probabilities by an input (paper), or the sum of
        its absolute weights.
    topology : {"set", "rigl", "static", "dense"}, default "set"
        What becomes of the smallest weights: they give way to random connections, to those of
        largest gradient, or stay; "dense" trains all weights.
    accumulate : {"all", "last_epoch", "last"}, default "all"
        Sum the importances up over all epochs (paper), take those of one epoch, or of its last
        batch alone. No epoch after the one of lowest validation loss counts, and that is the one
        taken; without validation it is the last.
    hidden_layer_sizes : sequence of int, default (1000, 100)
        Hidden neurons per layer (paper).
    density : float, default 0.2
        Share of all weights that are connections, in (0, 1], spread over the layers by ERK. The
        paper chooses it by validation loss, from 0.05 (text) to 0.75 (MNIST). Time and memory go
        with it: 0.02 suits tables of 100 000 columns.
    drop_fraction : float, default 0.3
        Share of each layer's connections replaced in an update (paper), falling to 0.005 along a
        cosine.
    update_interval : int, default 10
        Batches between two updates of the topology (paper).
    validation_fraction : float, default 0.2
        Share of the rows of each class, rounded down, kept for validation (paper); 0 trains on all
        rows for all epochs.
    patience : int, default 50
        Stop after so many epochs without a lower validation loss (paper).
    scale : {"standard", "minmax", "global"} or None, default "standard"
        Scaling of the columns for training only; `transform` returns the original values. "global"
        is a standard score by one mean and deviation of all columns.
    epochs : int, default 200
        Passes over the data at most (paper).
    batch_size : int, default 100
        Rows per step, clipped to the number of rows; a last smaller batch is kept. The paper has
        100, and 32 for text and small tables.
    learning_rate : float, default 1e-3
        Of Adam (paper).
    weight_decay : float, default 1e-4
        L2 penalty in Adam's gradient; the paper tries 5e-5, 1e-4 and 1e-3.
    device : str, default "cpu"
        "cpu", "cuda" or "auto".
    storage : {"csr", "masked", "auto"}, default "csr"
        How connections are stored: "csr" stores and computes them alone, "masked" keeps dense
        matrices with masks, "auto" takes what is faster on this device by measured break-even
        densities. The results are equal up to rounding. No effect on a dense network.
    dtype : {"float32", "float64"}, default "float32"
        Precision of training.
    random_state : int, RandomState or None, default None
        Seed of all randomness.
    verbose : int, default 0
        1 shows a progress bar over epochs on standard error.

    Attributes
    ----------
    feature_importances_ : ndarray of shape (n_features,), float64
        Accumulated importance of each input; 0 for constant features.
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
    classes_ : ndarray of shape (n_classes,)
        The classes, sorted.
    n_iter_ : int
        Epochs run.
    history_ : dict of str to list
        Per epoch: "loss", "seconds", "n_connections", "n_active_inputs", and with validation
        "validation_loss".
    connections_ : tuple of scipy.sparse.csr_array
        Weights of the layers after the last epoch, each of shape (inputs, outputs).
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
    The importance of input j is ``sum_c mean_k |d p_c(x_k) / d x_kj|``, with the rows k of a batch
    and p the softmax of the logits. The absolute value is that of each row and class: the
    probabilities of a row sum to 1, so the derivatives themselves would sum to 0. It is measured
    after the step on every fourth batch, counted back from the last of each epoch, which ranks as
    well as every batch does.

    Known slips of the released code are not repeated: the loss is the cross-entropy of the logits
    (there a softmax over the rows of the batch comes first), updates keep the number of
    connections, a new connection starts without the moments of the one that was dropped, and the
    best epoch itself counts.

    Time and memory of ``storage="csr"`` are proportional to the number of connections;
    ``storage="masked"`` saves no time over a dense network.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> selector = AttributionSelector(5, hidden_layer_sizes=(50,), epochs=5, random_state=0)
    >>> selector.fit_transform(X, y).shape
    (569, 5)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **SupervisedSelector._parameter_constraints,
        "importance": [StrOptions({"attribution", "strength"})],
        "topology": [StrOptions({"set", "rigl", "static", "dense"})],
        "accumulate": [StrOptions({"all", "last_epoch", "last"})],
        "hidden_layer_sizes": ["array-like"],
        "density": [Interval(Real, 0, 1, closed="right")],
        "drop_fraction": [Interval(Real, 0, 1, closed="both")],
        "update_interval": [Interval(Integral, 1, None, closed="left")],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        n_features_to_select: int | float | Literal["probe"] | None = None,
        *,
        redundancy: float = 0.0,
        importance: Literal["attribution", "strength"] = "attribution",
        topology: Literal["set", "rigl", "static", "dense"] = "set",
        accumulate: Literal["all", "last_epoch", "last"] = "all",
        hidden_layer_sizes: Sequence[int] = (1000, 100),
        density: float = 0.2,
        drop_fraction: float = 0.3,
        update_interval: int = 10,
        validation_fraction: float = 0.2,
        patience: int = 50,
        scale: Literal["standard", "minmax", "global"] | None = "standard",
        epochs: int = 200,
        batch_size: int = 100,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-4,
        device: Literal["cpu", "cuda", "auto"] = "cpu",
        storage: Storage = "csr",
        dtype: Literal["float32", "float64"] = "float32",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.n_features_to_select = n_features_to_select
        self.redundancy = redundancy
        self.importance = importance
        self.topology = topology
        self.accumulate = accumulate
        self.hidden_layer_sizes = hidden_layer_sizes
        self.density = density
        self.drop_fraction = drop_fraction
        self.update_interval = update_interval
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.scale = scale
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.device = device
        self.storage = storage
        self.dtype = dtype
        self.random_state = random_state
        self.verbose = verbose

    def _train(self, rows: RowScaler, y: npt.NDArray[Any] | None, seed: int) -> Floats:
        assert y is not None
        device = resolve_device(self.device)
        learnt, held_out = hold_out(y, float(self.validation_fraction), seeded(seed, "split"))
        batch_size = min(int(self.batch_size), len(learnt))
        steps_per_epoch = math.ceil(len(learnt) / batch_size)
        network = self._network(rows.shape[1])
        training = self._prepare(network, steps_per_epoch * self.epochs, device, seed)
        batches = LabelledRows(rows, torch.from_numpy(y).to(device), batch_size)
        importances = _Importances(self.importance, self.accumulate, rows.shape[1])
        order = seeded(seed, "order")
        validation: list[float] = []

        def one_epoch(epoch: int) -> float | None:
            if epoch - importances.best_epoch > self.patience:
                return None
            loss = 0.0
            for number, index in enumerate(shuffled_batches(len(learnt), batch_size, order)):
                x, labels = batches.load(learnt[index])
                loss += len(index) * training.step(cross_entropy(network(x), labels))
                importances.watch(network, x, steps_per_epoch - 1 - number)
            if len(held_out):
                validation.append(batches.loss(network, held_out))
                if not math.isfinite(validation[-1]):
                    raise training.diverged()
            importances.finish_epoch(epoch, validation)
            return loss / len(learnt)

        training.run(self.epochs, one_epoch, title="AttributionSelector", verbose=self.verbose)
        if not np.isfinite(importances.kept).all():
            raise training.diverged()
        self._publish(training, device)
        if validation:
            self.history_["validation_loss"] = validation
        return importances.kept

    def _network(self, n_inputs: int) -> MLP:
        hidden: list[Any] = list(self.hidden_layer_sizes)
        if any(type(n) is bool or not isinstance(n, int | np.integer) or n < 1 for n in hidden):
            raise InvalidArgumentError(
                f"hidden_layer_sizes must hold integers >= 1, got {self.hidden_layer_sizes!r}."
            )
        storage = resolve_storage(self.storage, resolve_device(self.device))
        return MLP(
            [n_inputs, *map(int, hidden), len(self.classes_)],
            activation="relu",
            sparse_device="cpu" if storage == "masked" or self.topology == "dense" else "meta",
            dtype=self._torch_dtype,
        )

    def _prepare(self, network: MLP, n_steps: int, device: torch.device, seed: int) -> Training:
        dense = self.topology == "dense"
        shapes = [tuple(layer.get_parameter("weight").shape) for layer in network.layers]
        optimizer = torch.optim.Adam(
            network.parameters(),
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
            fused=True,
        )
        handle = None
        draw = uniform(lambda n_in, n_out: n_in**-0.5, seeded(seed, "weights"))
        if not dense:
            handle = sparsify(
                network,
                optimizer,
                density=float(self.density),
                method=self._method(n_steps),
                storage=resolve_storage(self.storage, device),
                seed=seed,
            )
            handle.initialize(draw)
        biases = seeded(seed, "biases")
        with torch.no_grad():
            for layer, (n_out, n_in) in zip(network.layers, shapes, strict=True):
                if dense:
                    whole = draw(LayerShape("", (n_out, n_in)), n_in * n_out)
                    layer.get_parameter("weight").copy_(whole.view(n_out, n_in))
                drawn = biases.uniform(-1, 1, n_out) * n_in**-0.5
                layer.get_parameter("bias").copy_(torch.from_numpy(drawn))
        network.to(device)
        return Training(network, optimizer, handle, learning_rate=self.learning_rate)

    def _method(self, n_steps: int) -> Method:
        # An update after the very last step would put untrained connections into the result.
        if self.topology == "static" or self.drop_fraction == 0 or n_steps <= self.update_interval:
            return Static()
        start = float(self.drop_fraction)
        fraction = Cosine(start, min(start, LAST_DROP_FRACTION), end=n_steps)
        interval = int(self.update_interval)
        if self.topology == "rigl":
            return RigL(update_interval=interval, drop_fraction=fraction, end=n_steps)
        return SET(update_interval=interval, drop_fraction=fraction, drop="magnitude", end=n_steps)


class _Importances:
    """Importances of the inputs, summed up batch by batch.

    Attributes
    ----------
    kept : ndarray of shape (n_inputs,)
        Their state after the best epoch so far.
    best_epoch : int
        The epoch of lowest validation loss; without validation, the latest.
    """

    def __init__(self, importance: str, accumulate: str, n_inputs: int) -> None:
        self._importance = importance
        self._accumulate = accumulate
        self._sum = np.zeros(n_inputs)
        self.kept = self._sum
        self.best_epoch = -1

    def watch(self, network: MLP, x: Tensor, batches_left: int) -> None:
        """Measure importances on the batch just learnt if it is due in this epoch."""
        if batches_left % MEASURE_EVERY or (batches_left and self._accumulate == "last"):
            return
        if self._importance == "strength":
            layer = network.layers[0]
            assert isinstance(layer, nn.Linear | SparseLinear)
            measured = input_strength(layer)
        else:
            measured = class_gradients(network, x)
        self._sum += measured.cpu().numpy()

    def finish_epoch(self, epoch: int, validation: Sequence[float]) -> None:
        """Keep the importances if this is the best epoch so far."""
        if not validation or validation[-1] < min(validation[:-1], default=math.inf):
            self.kept, self.best_epoch = self._sum.copy(), epoch
        if self._accumulate != "all":
            self._sum[:] = 0


def seeded(seed: int, purpose: str) -> np.random.Generator:
    """Return a generator that depends on seed and purpose alone.

    Examples
    --------
    >>> seeded(0, "order").integers(9) == seeded(0, "order").integers(9)
    np.True_
    """
    return np.random.default_rng([seed, *purpose.encode()])
