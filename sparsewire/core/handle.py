"""How is a model kept sparse while somebody else's loop trains it?

A `SparsityHandle` hooks itself onto the optimizer. Before each optimizer step it captures dense
gradients if an update is due, then masks them; after it, it masks the weights and the optimizer's
state and runs the due topology update. It also reports, checkpoints and finally removes the
sparsity. The state itself is a `sparsewire.core.network.SparseNetwork`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from sparsewire.core import checkpoint
from sparsewire.core._validation import check_fraction
from sparsewire.core.allocation import check_patterns, matches_layer
from sparsewire.core.analysis import Summary, count_uses, summarize
from sparsewire.core.budget import LayerShape
from sparsewire.core.errors import StateError, UnsupportedError
from sparsewire.core.methods import Method
from sparsewire.core.network import SparseNetwork, Trace
from sparsewire.core.optimizer import (
    check_optimizer,
    gradient_scale,
    held_parameters,
    maps_zero_to_zero,
    step_is_skipped,
    warn_about_other_state,
    wrap_closure,
)
from sparsewire.core.roots import FastRoots
from sparsewire.core.selection import Decision

# Weights written to through ``.data`` leave no trace; this many steps later they are masked again.
_MASK_ALL_EVERY = 20


class SparsityHandle:
    """Keeps a model sparse; returned by `sparsewire.sparsify`.

    Attributes
    ----------
    model : nn.Module
        The unwrapped model.
    optimizer : torch.optim.Optimizer
        The optimizer whose steps are followed.
    step : int
        Optimizer steps so far, without those a fused optimizer skipped for infinite gradients.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        network: SparseNetwork,
        decisions: Sequence[Decision],
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.step = 0
        self._network = network
        self._roots = FastRoots(network.stores)
        self._decisions = decisions
        self._unverified = False
        self._finalized = False
        # Whether weights and optimizer state are known to be zero where inactive, and whether the
        # optimizer keeps them so if only the gradients are masked.
        self._settled = False
        self._keeps_zeros = False
        self._traces: list[Trace] = []
        self._gradient_traces: list[Trace] = []
        self._hooks: list[RemovableHandle] = []
        self.attach(optimizer)

    @property
    def method(self) -> Method:
        """The method in use."""
        return self._network.method

    @property
    def updates(self) -> int:
        """Topology updates so far."""
        return self._network.updates

    def attach(self, optimizer: Optimizer) -> None:
        """Follow another optimizer, such as one restored from a pickle, which loses its hooks.

        Parameters
        ----------
        optimizer : torch.optim.Optimizer
            Must hold every sparsified parameter.

        Raises
        ------
        UnsupportedError
            If it cannot be driven or lacks a parameter.
        StateError
            After `finalize`.
        """
        self._check_alive()
        check_optimizer(optimizer, dynamic=self.method.when is not None)
        held = {id(parameter) for parameter in held_parameters(optimizer)}
        if missing := [p.name for p in self._network.stores if id(p.weight) not in held]:
            raise UnsupportedError(
                f"the optimizer does not hold {', '.join(missing)}; build it from the parameters "
                "of this very model."
            )
        self._detach()
        self.optimizer = optimizer
        self._hooks = [
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
            optimizer.register_load_state_dict_post_hook(self._after_load),
        ]
        self._after_load(optimizer)
        self._watch()

    def _after_load(self, optimizer: Optimizer) -> None:
        self._settled = False
        self._keeps_zeros = maps_zero_to_zero(optimizer)

    def _detach(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def _check_alive(self) -> None:
        if self._finalized:
            raise StateError("the handle was finalized; call sparsify again for a new one.")

    def __getstate__(self) -> dict[str, Any]:
        """Leave hooks out of copies and pickles."""
        return self.__dict__ | {"_hooks": []}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Follow the copied optimizer."""
        self.__dict__.update(state)
        if not self._finalized:
            self.attach(self.optimizer)

    def finalize(self) -> nn.Module:
        """Remove masks and hooks and return the plain model, zeros baked in.

        Sparse layers that took the place of dense ones give it back, with new parameters that the
        optimizer does not hold; a `SparseLinear` of your own stays.

        Returns
        -------
        nn.Module
            The same model; its ``state_dict`` is that of the dense architecture.
        """
        self._check_alive()
        self._detach()
        for store in self._network.stores:
            store.zero_inactive_(store.weight)
            store.remove()
        self._finalized = True
        return self.model

    # Around the optimizer step

    def _before_step(
        self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if self._unverified:
            self.verify()
            self._unverified = False
        if not self._settled or self._traces != self._network.traces(optimizer):
            self._network.zero_inactive_(optimizer)
        replaced = wrap_closure(args, kwargs, self._capture_and_mask)
        if replaced is None:
            self._capture_and_mask()
        if self._keeps_zeros:
            self._roots.before(optimizer)
        return replaced

    def _capture_and_mask(self) -> None:
        self.mask_gradients()
        for store in self._network.stores:
            if step_is_skipped(self.optimizer):
                store.forget()
            store.check_captured(self.step + 1)
        self._gradient_traces = self._network.gradient_traces()

    def mask_gradients(self) -> None:
        """Zero the gradients of inactive connections now instead of at the optimizer step.

        Only needed to clip the gradient norm of the sparse network: call it after ``backward`` (and
        ``scaler.unscale_``) and before ``clip_grad_norm_``, once or after every micro-batch. The
        dense gradients that growth needs are captured first. Clear those of a batch that you give
        up with ``zero_grad(set_to_none=True)``: zeroed in place they seem to accumulate still.
        """
        self._check_alive()
        capture = self._grows_at(self.step + 1)
        for store in self._network.stores:
            if capture:
                store.capture(gradient_scale(self.optimizer))
            if store.weight.grad is not None:
                store.zero_inactive_(store.weight.grad)

    def _grows_at(self, step: int) -> bool:
        """Tell whether gradients decide what grows after a step."""
        when = self.method.when
        return self.method.needs_gradient and when is not None and when.due(step)

    def _watch(self) -> None:
        """Let layers prepare for the next step."""
        wanted = self._grows_at(self.step + 1)
        for store in self._network.stores:
            store.watch(wanted)

    def _after_step(
        self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self._roots.after()
        if step_is_skipped(optimizer):
            return
        untouched = self._gradient_traces == self._network.gradient_traces()
        trusted = self._settled and self._keeps_zeros and untouched
        if not trusted or self.step % _MASK_ALL_EVERY == 0:
            self._network.zero_inactive_(optimizer)
            self._settled = True
        if self.step == 0:
            warn_about_other_state(optimizer, self._network.stores)
        self.step += 1
        if (when := self.method.when) is not None and when.due(self.step):
            self._network.update_topology_(optimizer, self.step)
            for store in self._network.stores:
                store.forget()
        self._watch()
        self._traces = self._network.traces(optimizer)

    def initialize(self, draw: Callable[[LayerShape, int], Tensor]) -> None:
        """Set the initial weights of all connections, layer by layer.

        The same `draw` gives the same network in every storage; nothing dense is made.

        Parameters
        ----------
        draw : callable
            From a layer and its number of connections to their weights, a one-dimensional tensor in
            row-major order of position.

        Raises
        ------
        StateError
            After `finalize`.

        Examples
        --------
        >>> import torch, sparsewire
        >>> model = torch.nn.Linear(4, 4)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> handle = sparsewire.sparsify(model, optimizer, density=0.5, method="static")
        >>> handle.initialize(lambda layer, count: torch.full((count,), 0.5))
        >>> float(model.weight.detach().sum())
        4.0
        """
        self._check_alive()
        for store in self._network.stores:
            counts = (self._network.active[layer.name] for layer in store.layers)
            store.set_values([draw(*row) for row in zip(store.layers, counts, strict=True)])
        self._traces = self._network.traces(self.optimizer)

    def prune_neurons(self, share: float, layers: Sequence[str] | None = None) -> int:
        """Remove all connections into the weakest neurons, for good (importance pruning).

        In each layer the neurons at or below the percentile `share` of strength, the sum of the
        magnitudes of incoming weights, lose their connections. Topology updates keep the smaller
        number and may connect such neurons again.

        Parameters
        ----------
        share : float
            In [0, 1]; the released code uses 0.1 and 0.2, every 10 or 20 epochs after the 200th.
        layers : sequence of str or None, default None
            Names or globs; None means all but the last sparsified layer, whose neurons are outputs.

        Returns
        -------
        int
            How many connections were removed.

        Raises
        ------
        InvalidArgumentError
            If `share` is out of range, or, as `UnknownLayerError`, a name matches no layer.
        StateError
            After `finalize`.

        References
        ----------
        Curci, Mocanu & Pechenizkiy (2021), arXiv:2102.01732.

        Examples
        --------
        >>> import torch, sparsewire
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 2))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> handle = sparsewire.sparsify(model, optimizer, density=1.0, method="static")
        >>> handle.prune_neurons(0.25)
        16
        """
        self._check_alive()
        check_fraction("share", share)
        check_optimizer(self.optimizer, dynamic=True)
        names = list(self._network.targets)
        chosen = names[:-1]
        if layers is not None:
            check_patterns("layers", layers, names)
            chosen = [n for n in names if any(matches_layer(pattern, n) for pattern in layers)]
        removed = self._network.prune_neurons_(self.optimizer, share, chosen)
        self._traces = self._network.traces(self.optimizer)
        return removed

    # Reports

    def masks(self) -> dict[str, Tensor]:
        """Return a copy of every mask by parameter name, True where a connection is active."""
        self._check_alive()
        return {store.name: store.mask.clone() for store in self._network.stores}

    def density(self) -> float:
        """Return the share of active connections in the weights of the sparsified layers."""
        return sum(self._network.active.values()) / self._weights()

    def _weights(self) -> int:
        return sum(layer.numel for store in self._network.stores for layer in store.layers)

    def exploration_rate(self) -> float:
        """Return the in-time over-parameterisation rate (Liu et al., 2021, arXiv:2102.02887).

        The share of weights that have been active at some time; NaN if a layer keeps no record.
        """
        counts = self._network.count_explored().values()
        return sum(math.nan if n is None else n for n in counts) / self._weights()

    def summary(self, example_input: Any = None) -> Summary:
        """Return counts, densities, FLOPs and the reason why each layer is in or out.

        Parameters
        ----------
        example_input : Tensor, tuple of Tensor, or None
            Input of one forward pass, needed to count FLOPs of anything but linear layers. Without
            it every linear layer is taken to process one row.

        Returns
        -------
        Summary
            ``print`` it for a table.
        """
        self._check_alive()
        uses = count_uses(self.model, self._decisions, example_input)
        return summarize(self._network, self._decisions, uses, self.step)

    # Checkpoints

    def verify(self) -> None:
        """Raise `CheckpointError` unless masks, counts and weights of the model fit the handle.

        Called by itself at the first step after `load_state_dict`.
        """
        self._check_alive()
        self._network.verify()

    def state_dict(self) -> dict[str, Any]:
        """Return everything needed to continue bit for bit, besides model and optimizer.

        Masks travel in ``model.state_dict()``. Tensors, numbers and strings only, so ``torch.load``
        reads it back without executing code.
        """
        self._check_alive()
        return checkpoint.pack(self.step, self._network.state())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`; nothing changes if it does not fit.

        Load those of model and optimizer of the same moment too, in any order.

        Parameters
        ----------
        state : mapping
            From a handle of the same model, method, allocation and seed.

        Raises
        ------
        CheckpointError
            If it is corrupted, foreign, or of another model, method or seed.
        """
        self._check_alive()
        checkpoint.check(state, like=self.state_dict())
        self.step = state["step"]
        self._network.load_state(state)
        for store in self._network.stores:
            store.forget()
        self._watch()
        self._unverified = True
