"""What does a user see of a layer that has no dense matrix?

`SparseLinear` is an ordinary module: ``weight`` is a parameter with one entry per connection, two
integer buffers hold the index, and autograd, optimizers, ``state_dict``, ``deepcopy`` and pickle
work as for any other. Its output is laid out feature-major in memory, as a transposed view, which
elementwise layers keep, so that a chain of sparse layers copies nothing.
"""

import math
from typing import Any, Self

import torch
from torch import Tensor, nn

from sparsewire.core._validation import check_integer
from sparsewire.core.csr.autograd import Anchored, apply
from sparsewire.core.csr.checks import (
    SUPPORTED,
    buffer_state,
    check_shapes,
    checked_dtype,
    sorted_positions,
    unsupported,
)
from sparsewire.core.csr.convert import Convertible
from sparsewire.core.csr.index import Index, default_layout
from sparsewire.core.csr.record import Record
from sparsewire.core.csr.saved import BUFFERS, misfit, resize, saved_tensors
from sparsewire.core.csr.size import count_connections
from sparsewire.core.errors import InvalidArgumentError
from sparsewire.core.ranking import random_subset


class SparseLinear(Convertible):
    """A linear layer that stores, computes and learns its connections only.

    ``y = x @ W.T + b`` like ``nn.Linear``, with a W that exists as a list of connections. Time and
    memory are proportional to their number. The topology is drawn uniformly at random; let
    `sparsewire.sparsify` change it during training.

    Parameters
    ----------
    in_features, out_features : int
        Size of each input and output sample.
    density : float, optional
        Share of all possible connections, in [0, 1].
    epsilon : float, optional
        ``epsilon * (in_features + out_features)`` connections, at most all: the rule of SET (Mocanu
        et al., 2018, Nature Communications 9:2383).
    n_connections : int, optional
        The number itself. Exactly one of the three has to be given.
    bias : bool, default True
        Whether to learn an additive bias.
    generator : torch.Generator, optional
        CPU generator of topology and initial values; None is torch's global one, as for
        ``nn.Linear``.
    device, dtype
        Of the parameters; float32 and float64 are supported.

    Attributes
    ----------
    weight : Parameter, shape (n_connections,)
        In the order of the index.
    bias : Parameter, shape (out_features,), or None
        The bias.
    record, driven
        For the engine that drives the layer.

    Raises
    ------
    InvalidArgumentError
        If an argument is out of range or not exactly one of the three sizes is given.

    Notes
    -----
    Input has shape (..., in_features) and any strides. An input that is feature-major in memory and
    whose batch is a multiple of 16 (8 in float64) is used where it lies; any other is copied once.
    On a CPU, numba kernels follow ``torch.get_num_threads()``; elsewhere torch's own sparse
    operations are used.

    Examples
    --------
    >>> import torch
    >>> layer = SparseLinear(784, 1000, epsilon=20)
    >>> layer(torch.randn(128, 784)).shape, layer.n_connections
    (torch.Size([128, 1000]), 35680)
    """

    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        density: float | None = None,
        epsilon: float | None = None,
        n_connections: int | None = None,
        bias: bool = True,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_integer("in_features", in_features, minimum=1)
        check_integer("out_features", out_features, minimum=1)
        count = count_connections(
            in_features, out_features, density=density, epsilon=epsilon, n_connections=n_connections
        )
        own = generator if generator is not None else torch.default_generator
        positions = random_subset(in_features * out_features, count, own)
        self._build(positions, in_features, out_features, bias, device, checked_dtype(dtype))
        self.reset_parameters(generator)

    def _build(
        self,
        positions: Tensor,
        in_features: int,
        out_features: int,
        bias: bool,
        device: torch.device | str | None,
        dtype: torch.dtype,
    ) -> None:
        """Take ascending flat positions as topology; the values stay uninitialised."""
        self.in_features = in_features
        self.out_features = out_features
        self.layout = default_layout(out_features, in_features)
        self._cached: Anchored | None = None
        self._state: tuple[int, ...] | None = None
        self.record: Record | None = None
        self.driven = False
        index, _ = Index.from_positions(positions.numpy(), out_features, in_features, self.layout)
        target = torch.get_default_device() if device is None else torch.device(device)
        for name, array in zip(BUFFERS[self.layout], (index.indptr, index.indices), strict=True):
            self.register_buffer(name, torch.from_numpy(array).to(target))
        shape = torch.tensor([out_features, in_features], device="cpu").to(target)
        self.register_buffer("dense_shape", shape)
        values = torch.empty(len(index.indices), device=target, dtype=dtype)
        self.weight = nn.Parameter(values)
        if bias:
            self.bias = nn.Parameter(torch.empty(out_features, device=target, dtype=dtype))
        else:
            self.register_parameter("bias", None)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw weights and bias uniformly within ``1 / sqrt(k)`` of 0.

        The rule of ``nn.Linear``, with k the mean number of connections an output really has. The
        draw is made connection by connection in row-major order, so it does not depend on how they
        are stored.

        Parameters
        ----------
        generator : torch.Generator, optional
            CPU generator; None is torch's global one.
        """
        bound = 1 / math.sqrt(max(1.0, self.n_connections / self.out_features))
        draw = torch.empty(self.n_connections, dtype=self.weight.dtype, device="cpu")
        self.set_values(draw.uniform_(-bound, bound, generator=generator))
        if self.bias is not None:
            draw = torch.empty(self.out_features, dtype=self.bias.dtype, device="cpu")
            self.bias.copy_(draw.uniform_(-bound, bound, generator=generator))

    @property
    def n_connections(self) -> int:
        """Number of connections."""
        return self.weight.numel()

    @property
    def density(self) -> float:
        """Share of all possible connections."""
        return self.n_connections / (self.in_features * self.out_features)

    def extra_repr(self) -> str:
        """Describe the layer as ``nn.Linear`` does, with its number of connections."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"n_connections={self.n_connections}, bias={self.bias is not None}"
        )

    def forward(self, input: Tensor) -> Tensor:
        """Apply the layer.

        Parameters
        ----------
        input : Tensor, shape (..., in_features)
            Of the dtype of the weights; under autocast it is converted.

        Returns
        -------
        Tensor, shape (..., out_features)
            A transposed view of feature-major memory.
        """
        if input.ndim == 0 or input.shape[-1] != self.in_features:
            raise InvalidArgumentError(
                f"expected an input of shape (..., {self.in_features}), got {tuple(input.shape)}."
            )
        weight = self.weight
        if weight.dtype not in SUPPORTED:
            raise InvalidArgumentError(unsupported(weight.dtype))
        if input.dtype != weight.dtype:
            if not torch.is_autocast_enabled(input.device.type):
                raise InvalidArgumentError(
                    f"the input is {input.dtype} and the weights are {self.weight.dtype}; convert "
                    "one of them, for example with layer.to(input.dtype)."
                )
            input = input.to(weight.dtype)
        return apply(input, weight, self.bias, self._anchored(), self.record)

    # The topology

    @property
    def index(self) -> Index:
        """The connections as the kernels use them; its arrays share the buffers' memory.

        Buffers that were written to or replaced, for example by ``load_state_dict``, are checked
        when they are next used.
        """
        return self._anchored().index

    def _anchored(self) -> Anchored:
        indptr, indices = self._index_buffers()
        cached, state = self._cached, buffer_state(indptr, indices)
        if (
            cached is None
            or cached.indptr is not indptr
            or cached.indices is not indices
            or state is None
            or state != self._state
        ):
            index = Index(
                self.out_features,
                self.in_features,
                self.layout,
                indptr.cpu().numpy(),
                indices.cpu().numpy(),
            )
            index.check()
            cached = Anchored(index, indptr, indices)
            self._cached, self._state = cached, state
        return cached

    @property
    def index_names(self) -> tuple[str, str]:
        """Names of the two index buffers, which tell the layout."""
        return BUFFERS[self.layout]

    def _index_buffers(self) -> tuple[Tensor, Tensor]:
        first, second = (self._buffers[name] for name in BUFFERS[self.layout])
        assert first is not None
        assert second is not None
        return first, second

    def set_index(self, index: Index) -> None:
        """Replace the topology; the caller takes care of weights and optimizer state.

        Parameters
        ----------
        index : Index
            Of this layer's shape and layout, known to be sound.
        """
        buffers = self._index_buffers()
        for buffer, array in zip(buffers, (index.indptr, index.indices), strict=True):
            new = torch.from_numpy(array)
            if buffer.shape == new.shape:
                buffer.copy_(new)
            else:
                buffer.data = new.to(buffer.device)

    def positions(self) -> Tensor:
        """Return the flat row-major positions of the connections, ascending, int64 on the CPU."""
        return torch.from_numpy(self.index.positions())

    def values(self) -> Tensor:
        """Return a copy of the weights in the order of `positions`."""
        order = self.index.order()
        self.index.release()
        weight = self.weight.detach()
        if order is None:
            return weight.clone()
        return weight.index_select(0, torch.from_numpy(order).to(weight.device))

    @torch.no_grad()
    def set_values(self, values: Tensor) -> None:
        """Set the weights, given in the order of `positions`.

        Raises `InvalidArgumentError` unless there is one for each connection.
        """
        if values.shape != self.weight.shape:
            raise InvalidArgumentError(
                f"the layer has {self.n_connections} connections, got values of shape "
                f"{tuple(values.shape)}."
            )
        self.weight.copy_(self.stored(values.to(self.weight)))

    def stored(self, values: Tensor) -> Tensor:
        """Return numbers given in the order of `positions` in that of the weights."""
        order = self.index.order()
        self.index.release()
        if order is None:
            return values
        stored = torch.empty_like(values)
        stored[torch.from_numpy(order).to(values.device, torch.int64)] = values
        return stored

    # Copies, pickles and files

    def __getstate__(self) -> dict[str, Any]:
        """Leave what can be computed again out of copies and pickles."""
        return self.__dict__ | {"_cached": None, "_state": None, "record": None}

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Take over the number of connections and the layout of the file, too."""
        if (fault := misfit(self.shape, state_dict, prefix)) is not None:
            error_msgs.append(fault)
            return
        if (found := saved_tensors(state_dict, prefix)) is not None:
            resize(self, found[0], found[2].numel())
        super()._load_from_state_dict(
            state_dict,
            prefix,
            local_metadata,
            strict,
            missing_keys,
            unexpected_keys,
            error_msgs,
        )

    @classmethod
    def from_positions(
        cls,
        in_features: int,
        out_features: int,
        positions: Tensor,
        values: Tensor,
        bias: Tensor | None = None,
    ) -> Self:
        """Make a layer with given connections.

        Parameters
        ----------
        in_features, out_features : int
            Its shape.
        positions : Tensor, shape (n_connections,), int64
            Distinct flat row-major positions, ``output * in_features + input``, in any order.
        values : Tensor, shape (n_connections,)
            Weights; they give device and dtype.
        bias : Tensor, shape (out_features,), or None
            Bias.

        Returns
        -------
        SparseLinear
            A layer with copies of the values.

        Raises
        ------
        TopologyError
            If positions repeat or lie outside.
        InvalidArgumentError
            If shapes or types do not fit.

        Examples
        --------
        >>> import torch
        >>> layer = SparseLinear.from_positions(3, 2, torch.tensor([0, 5]), torch.ones(2))
        >>> layer(torch.tensor([[1.0, 2.0, 3.0]])).tolist()
        [[1.0, 3.0]]
        """
        check_integer("in_features", in_features, minimum=1)
        check_integer("out_features", out_features, minimum=1)
        check_shapes(out_features, positions, values, bias)
        ordered, order = sorted_positions(positions, in_features * out_features)
        layer = cls.__new__(cls)
        nn.Module.__init__(layer)
        layer._build(
            ordered,
            in_features,
            out_features,
            bias is not None,
            values.device,
            checked_dtype(values.dtype),
        )
        layer.set_values(values.detach()[order.to(values.device)])
        if bias is not None and layer.bias is not None:
            with torch.no_grad():
                layer.bias.copy_(bias)
        return layer
