"""How is a model kept sparse while somebody else's loop trains it?

A `SparsityHandle` hooks itself onto the optimizer. Before each optimizer step it captures dense
gradients if an update is due, then masks them; after it, it masks the weights and the optimizer's
state and runs the due topology update. It also reports, checkpoints and finally removes the
sparsity. The state itself is a `sparsewire.core.network.SparseNetwork`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from sparsewire.core import checkpoint
from sparsewire.core.analysis import Summary, count_uses, summarize
from sparsewire.core.criteria import check_finite
from sparsewire.core.errors import StateError, UnsupportedError
from sparsewire.core.masked import MaskedParameter
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
        Optimizer steps so far. Steps that a fused optimizer skipped because of
        infinite gradients do not count.
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
        self._decisions = decisions
        # By parameter name: the gradient tensor, and its dense values from before masking.
        self._captured: dict[str, tuple[Tensor, Tensor]] = {}
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
        if missing := [p.name for p in self._network.parameters if id(p.weight) not in held]:
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
        """Leave hooks and captured gradients out of copies and pickles."""
        return self.__dict__ | {"_hooks": [], "_captured": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Follow the copied optimizer."""
        self.__dict__.update(state)
        if not self._finalized:
            self.attach(self.optimizer)

    def finalize(self) -> nn.Module:
        """Remove masks and hooks and return the plain model, zeros baked in.

        Returns
        -------
        nn.Module
            The same model; its ``state_dict`` is that of the dense architecture.
        """
        self._check_alive()
        self._detach()
        for parameter in self._network.parameters:
            parameter.zero_inactive_(parameter.weight)
            parameter.remove()
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
        return replaced

    def _capture_and_mask(self) -> None:
        self.mask_gradients()
        if step_is_skipped(self.optimizer):
            self._captured.clear()
        for name, (_, dense) in self._captured.items():
            check_finite(
                dense, f"entries of the gradient of {name} captured at step {self.step + 1}"
            )
        self._gradient_traces = self._network.gradient_traces()

    def mask_gradients(self) -> None:
        """Zero the gradients of inactive connections now instead of at the optimizer step.

        Only needed to clip the gradient norm of the sparse network: call it after ``backward`` (and
        ``scaler.unscale_``) and before ``clip_grad_norm_``. The dense gradients that growth needs
        are captured first. Calling it more than once, or after every micro-batch, does no harm.
        After abandoning a batch, clear gradients with ``zero_grad(set_to_none=True)``, torch's
        default: gradients zeroed in place look like ones that still accumulate.
        """
        self._check_alive()
        when = self.method.when
        capture = self.method.needs_gradient and when is not None and when.due(self.step + 1)
        for parameter in self._network.parameters:
            gradient = parameter.weight.grad
            if gradient is not None:
                if capture:
                    self._capture(parameter, gradient)
                parameter.zero_inactive_(gradient)

    def _capture(self, parameter: MaskedParameter, gradient: Tensor) -> None:
        """Keep the dense gradient; add to what was kept of the same, still accumulating tensor."""
        wide = torch.promote_types(gradient.dtype, torch.float32)
        dense = gradient.detach().to(wide) / gradient_scale(self.optimizer)
        source, before = self._captured.get(parameter.name, (None, dense))
        if source is gradient and all(map(math.isfinite, before.aminmax())):
            fresh = dense.masked_fill(parameter.mask, 0)
            if not bool(fresh.any()):
                return
            dense = torch.where(parameter.mask, dense, before + fresh)
        self._captured[parameter.name] = (gradient, dense)

    def _after_step(
        self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        if step_is_skipped(optimizer):
            return
        untouched = self._gradient_traces == self._network.gradient_traces()
        trusted = self._settled and self._keeps_zeros and untouched
        if not trusted or self.step % _MASK_ALL_EVERY == 0:
            self._network.zero_inactive_(optimizer)
            self._settled = True
        if self.step == 0:
            warn_about_other_state(optimizer, self._network.parameters)
        self.step += 1
        if (when := self.method.when) is not None and when.due(self.step):
            gradients = {name: dense for name, (_, dense) in self._captured.items()}
            self._network.update_topology_(optimizer, self.step, gradients)
            self._captured.clear()
        self._traces = self._network.traces(optimizer)

    # Reports

    def masks(self) -> dict[str, Tensor]:
        """Return a copy of every mask by parameter name, True where a connection is active."""
        self._check_alive()
        return {parameter.name: parameter.mask.clone() for parameter in self._network.parameters}

    def density(self) -> float:
        """Return the share of active connections in the weights of the sparsified layers."""
        weights = sum(parameter.weight.numel() for parameter in self._network.parameters)
        return sum(self._network.active.values()) / weights

    def exploration_rate(self) -> float:
        """Return the in-time over-parameterisation rate (Liu et al., 2021, arXiv:2102.02887).

        The share of weights of the sparsified layers that have been active at some time: the
        density at first, never falling, at most 1.
        """
        explored = sum(int(mask.sum()) for mask in self._network.explored.values())
        return explored / sum(mask.numel() for mask in self._network.explored.values())

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

        Masks travel in ``model.state_dict()``. The dictionary holds tensors, numbers and strings
        only, so ``torch.load`` reads it back without executing code.
        """
        self._check_alive()
        return checkpoint.pack(self.step, self._network.state())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`; nothing changes if it does not fit.

        Load ``model.state_dict()`` and ``optimizer.state_dict()`` of the same moment too, in any
        order.

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
        self._captured.clear()
        self._unverified = True
