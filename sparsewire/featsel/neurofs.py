"""NeuroFS: supervised feature selection by neuron evolution in a sparse classifier.

A sparse multi-layer perceptron is trained from scratch. After every epoch weak connections are
replaced, and input neurons are removed until little more than the features to select are left; on
the way some removed ones get another chance. What counts is the strength of an input neuron at the
end, the sum of its absolute weights.

References
----------
Atashgahi et al. (2023). Supervised feature selection with neuron evolution in sparse neural
networks. Transactions on Machine Learning Research; arXiv:2303.07200.
"""

from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, ClassVar, Literal, NoReturn

import numpy as np
import numpy.typing as npt
import torch
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor, nn

from sparsewire.core import InvalidArgumentError, NonFiniteError, SetEpsilon, sparsify
from sparsewire.core.devices import resolve_device
from sparsewire.core.on_demand import update_topology
from sparsewire.featsel.base import SupervisedSelector
from sparsewire.featsel.mlp import ACTIVATIONS, MLP
from sparsewire.featsel.neurofs_growth import Regrow, gradients, observe
from sparsewire.featsel.neurofs_topology import InputSchedule, NeuronEvolution
from sparsewire.featsel.rows import Floats, RowScaler, shuffled_batches
from sparsewire.featsel.training import (
    Storage,
    Training,
    resolve_storage,
    uniform,
)

GRADIENT_ROWS = 4096
"""Most rows from which growth takes its gradient."""
HELD_NUMBERS = 2**26
"""Most numbers in those rows, or in a table that is scaled once and for all: 256 MiB."""


class NeuroFS(SupervisedSelector):
    """Select features by the strength of the inputs of a classifier that sheds inputs.

    Supervised, for classes or, with ``task="regression"``, numbers. Training is fully deterministic
    given `random_state` and leaves the global random number generators alone.

    Parameters
    ----------
    n_features_to_select : int, float or None, default None
        How many features to keep: a number, a share in (0, 1], or None for half of them. Training
        depends on it, so another number needs another fit, and "probe" is refused.
    redundancy : float, default 0
        Choose features one by one by importance, over its largest, minus `redundancy` times the
        mean absolute correlation with those chosen before.
    hidden_layer_sizes : sequence of int, default (1000, 1000, 1000)
        Neurons of the hidden layers (paper).
    activation : {"tanh", "relu"}, default "tanh"
        Of the hidden layers. The paper's runs use "relu" on Isolet and "tanh" elsewhere.
    epsilon : float, default 30
        Sparsity: a layer has ``epsilon * (n_inputs + n_outputs)`` connections (paper), or all if
        there are fewer. The output layer is dense, as in the released code.
    drop_fraction_input : float, default 0.2
        Inputs beyond those to select that stay to the end, as a share of all; share of positive
        and, separately, of negative weights of the first layer replaced after each epoch; and most
        inputs exchanged in an epoch, as a share of those removed so far (paper).
    drop_fraction : float, default 0.3
        Share of positive and, separately, of negative weights of the other hidden layers replaced
        after each epoch (paper); in the first two epochs of the first one too.
    shrink_fraction : float, default 0.65
        Share of the epochs in which inputs are removed for good (paper).
    regrow : {"loss", "activation", "random"}, default "loss"
        What new connections, and inputs that come back, are chosen by: the magnitude of the
        gradient of the loss, as the paper describes it; mean absolute input times mean absolute
        gradient at the neuron, which favours bright pixels and frequent words; or at random.
    task : {"classification", "regression"}, default "classification"
        Cross-entropy, or squared loss on the standardised target (our extension).
    scale : {"standard", "minmax", "global"} or None, default "minmax"
        Scaling of the columns for training only; `transform` returns the original values.
    epochs : int, default 100
        Passes over the data (paper). There is no topology update after the last one.
    batch_size : int, default 100
        Rows per step, clipped to the number of rows; the paper takes 20 where rows are few.
    learning_rate, momentum : float, default 0.01 and 0.9
        Stochastic gradient descent (paper).
    weight_decay : float, default 1e-5
        Factor of the sum of squared weights and biases added to the loss (paper); it is not part
        of the loss in `history_`.
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
        Strength of each input after the last epoch; 0 for removed inputs and constant features.
    ranking_ : ndarray of shape (n_features,), int64
        1 for every selected feature, then 2, 3, ... by falling importance.
    order_ : ndarray of shape (n_features,), int64
        Feature indices, best first; those of removed inputs by index.
    support_ : ndarray of shape (n_features,), bool
        The selected features.
    n_features_to_select_ : int
        How many were selected.
    classes_ : ndarray of shape (n_classes,)
        Class labels; classification only.
    n_features_in_ : int
        Features seen in `fit`.
    feature_names_in_ : ndarray of str
        Their names, if `X` has string column names.
    n_iter_ : int
        Epochs run.
    history_ : dict of str to list
        Per epoch, its topology update included: "loss", "seconds", "n_connections",
        "n_active_inputs".
    connections_ : tuple of scipy.sparse.csr_array
        Weights of all layers, shapes (inputs, outputs).
    density_ : float
        Connections over weights.
    device_ : str
        Where training took place.

    Raises
    ------
    ValueError
        From `fit`, on unusable data or parameters.
    RuntimeError
        From `fit`, if training diverges (`TrainingDivergedError`) or CUDA is asked for and absent.

    Notes
    -----
    The released code differs from the paper's description in ways that are not repeated here. It
    grows by the gradient of the sum of all class probabilities, which is constant: what ranks
    connections is rounding noise, larger for larger inputs. ``regrow="activation"`` is a
    deterministic rule of that kind. It also feeds all rows at every step, restarts momentum in
    every epoch, and leaves out growth in epochs that exchange no input.

    The gradient for growth is that of at most 4096 rows, drawn anew in every epoch, fewer if there
    are very many columns. An input that is to stay or come back always gets a connection, so
    "n_active_inputs" follows the schedule exactly; see
    `sparsewire.featsel.neurofs_topology.InputSchedule`. Constant features leave first.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> selector = NeuroFS(5, hidden_layer_sizes=(50, 50), epochs=10, random_state=0).fit(X, y)
    >>> selector.transform(X).shape, selector.history_["n_active_inputs"]
    ((569, 5), [30, 30, 25, 20, 15, 11, 11, 11, 11, 11])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **SupervisedSelector._parameter_constraints,
        "hidden_layer_sizes": ["array-like"],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "drop_fraction_input": [Interval(Real, 0, 1, closed="both")],
        "drop_fraction": [Interval(Real, 0, 1, closed="both")],
        "shrink_fraction": [Interval(Real, 0, 1, closed="both")],
        "regrow": [StrOptions({"loss", "activation", "random"})],
        "task": [StrOptions({"classification", "regression"})],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "weight_decay": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(
        self,
        n_features_to_select: int | float | None = None,
        *,
        redundancy: float = 0.0,
        hidden_layer_sizes: Sequence[int] = (1000, 1000, 1000),
        activation: Literal["tanh", "relu"] = "tanh",
        epsilon: float = 30,
        drop_fraction_input: float = 0.2,
        drop_fraction: float = 0.3,
        shrink_fraction: float = 0.65,
        regrow: Regrow = "loss",
        task: Literal["classification", "regression"] = "classification",
        scale: Literal["standard", "minmax", "global"] | None = "minmax",
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
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.epsilon = epsilon
        self.drop_fraction_input = drop_fraction_input
        self.drop_fraction = drop_fraction
        self.shrink_fraction = shrink_fraction
        self.regrow = regrow
        self.task = task
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

    @property
    def set_n_features(self) -> NoReturn:
        """Not there: training depends on the number of features."""
        raise AttributeError(
            "NeuroFS trains for a given number of features; fit again with another "
            "n_features_to_select."
        )

    @property
    def _accepted(self) -> dict[str, Any]:
        return {**super()._accepted, "y_numeric": self.task == "regression"}

    def _validated(self, X: Any, y: Any) -> tuple[Any, npt.NDArray[Any] | None]:
        if self.n_features_to_select == "probe":
            raise InvalidArgumentError(
                "n_features_to_select='probe' needs importances that do not depend on the number "
                "of features, but NeuroFS trains for it; give a number, a share in (0, 1] or None."
            )
        sizes: list[Any] = list(self.hidden_layer_sizes)
        whole = all(isinstance(n, int | np.integer) and n is not True and n >= 1 for n in sizes)
        if not sizes or not whole:
            raise InvalidArgumentError(
                "hidden_layer_sizes must be one or more integers of at least 1, got "
                f"{self.hidden_layer_sizes!r}."
            )
        return super()._validated(X, y)

    def _encode(self, y: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if self.task == "classification":
            return super()._encode(y)
        self.__dict__.pop("classes_", None)  # of an earlier fit
        target = y.astype(np.float64)
        if target.min() == target.max():
            raise InvalidArgumentError(
                f"y has one value only, {target[0]}, so there is nothing to predict."
            )
        target = target / np.abs(target).max()  # squares of huge values would overflow
        standard: npt.NDArray[np.float64] = (target - target.mean()) / target.std()
        return standard

    def _train(self, rows: RowScaler, y: npt.NDArray[Any] | None, seed: int) -> Floats:
        assert y is not None
        device = resolve_device(self.device)
        weights, order, sample = np.random.default_rng(seed).spawn(3)
        topology = self._topology(rows, device)
        training = self._prepare(rows.shape[1], topology, weights, device, seed)
        loss_of = self._loss(y, device)
        n_samples = rows.shape[0]
        n_seen = min(n_samples, GRADIENT_ROWS, max(1, HELD_NUMBERS // rows.shape[1]))

        read = _reader(rows)

        def output_of(index: npt.NDArray[np.int64]) -> Tensor:
            output: Tensor = training.network(read(index).to(device))
            return output

        def one_epoch(epoch: int) -> float:
            total = 0.0
            for index in shuffled_batches(n_samples, min(self.batch_size, n_samples), order):
                total += len(index) * training.step(loss_of(output_of(index), index))
            if epoch < self.epochs - 1:
                index = np.sort(sample.choice(n_samples, n_seen, replace=False))
                self._evolve(training, topology, lambda: loss_of(output_of(index), index))
            return total / n_samples

        training.run(self.epochs, one_epoch, title="NeuroFS", verbose=self.verbose)
        self._publish(training, device)
        strength: Floats = abs(self.connections_[0].astype(np.float64)).sum(axis=1)
        return strength

    def _topology(self, rows: RowScaler, device: torch.device) -> NeuronEvolution:
        schedule = InputSchedule(
            rows.shape[1],
            self.n_features_to_select_,
            int(self.epochs),
            float(self.drop_fraction_input),
            float(self.shrink_fraction),
        )
        constant = torch.from_numpy(rows.constant).to(device)
        return NeuronEvolution(schedule, float(self.drop_fraction), "layers.0.weight", constant)

    def _prepare(
        self,
        n_inputs: int,
        topology: NeuronEvolution,
        generator: np.random.Generator,
        device: torch.device,
        seed: int,
    ) -> Training:
        storage = resolve_storage(self.storage, device)
        n_outputs = len(self.classes_) if self.task == "classification" else 1
        network = MLP(
            [n_inputs, *map(int, self.hidden_layer_sizes), n_outputs],
            activation=self.activation,
            sparse_device="cpu" if storage == "masked" else "meta",
            n_dense=1,
            dtype=self._torch_dtype,
        )
        optimizer = torch.optim.SGD(
            network.parameters(),
            lr=self.learning_rate,
            momentum=self.momentum,
            weight_decay=2 * self.weight_decay,  # the derivative of a square
            fused=True,
        )
        handle = sparsify(
            network,
            optimizer,
            method=topology,
            allocation=SetEpsilon(float(self.epsilon)),
            exclude=f"layers.{len(network.layers) - 1}.weight",
            storage=storage,
            seed=seed,
        )
        handle.initialize(uniform(_glorot, generator))
        _initialize_dense(network.layers[-1], generator)
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
        network.to(device)
        return Training(network, optimizer, handle, learning_rate=self.learning_rate)

    def _loss(
        self, y: npt.NDArray[Any], device: torch.device
    ) -> Callable[[Tensor, npt.NDArray[np.int64]], Tensor]:
        """Return the mean loss of outputs for the rows with given indices."""
        target = torch.from_numpy(y).to(device)
        if self.task == "classification":
            return lambda output, index: nn.functional.cross_entropy(output, target[index])
        target = target.to(self._torch_dtype)
        return lambda output, index: nn.functional.mse_loss(output.squeeze(1), target[index])

    def _evolve(
        self, training: Training, topology: NeuronEvolution, loss: Callable[[], Tensor]
    ) -> None:
        """Update the topology after an epoch."""
        assert training.handle is not None
        topology.epoch = training.epoch
        try:
            if self.regrow != "random":
                seen = observe(training.network.layers[:-1], loss)
                topology.gradients = gradients(seen, self.regrow)
            update_topology(training.handle)
        except NonFiniteError:
            raise training.diverged() from None
        topology.gradients = {}


def _reader(rows: RowScaler) -> Callable[[npt.NDArray[np.int64]], Tensor]:
    """Return what `RowScaler.tensor` is, but scale a small table only once."""
    n_samples, n_columns = rows.shape
    if n_samples * n_columns > HELD_NUMBERS:
        return rows.tensor
    scaled = torch.from_numpy(rows.rows(np.arange(n_samples)))
    return lambda index: scaled[index].t().contiguous().t()


def _glorot(n_in: int, n_out: int) -> float:
    """Return the largest magnitude of Glorot's uniform initialisation."""
    bound: float = (6 / (n_in + n_out)) ** 0.5
    return bound


@torch.no_grad()
def _initialize_dense(layer: nn.Module, generator: np.random.Generator) -> None:
    assert isinstance(layer, nn.Linear)
    bound = _glorot(layer.in_features, layer.out_features)
    drawn = generator.uniform(-bound, bound, tuple(layer.weight.shape))
    layer.weight.copy_(torch.from_numpy(drawn))
