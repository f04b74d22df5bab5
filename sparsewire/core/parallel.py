"""How do several processes train one sparse network together?

In two phases, after WASAP and WASSP. First all processes hold the same network and share their
gradients; then each trains alone on its part of the data, with a topology of its own; at the end
their networks are averaged. Communication is that of ``torch.distributed``; start the processes
with ``torchrun``. What is sent is decided in `sparsewire.core.exchange`, the average in
`sparsewire.core.averaging`.

References
----------
Curci, Mocanu & Pechenizkiy (2021). Truly sparse neural networks at scale; arXiv:2102.01732.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.optim import Optimizer

from sparsewire.core._validation import check_integer
from sparsewire.core.averaging import average_networks_
from sparsewire.core.errors import CheckpointError, NonFiniteError, StateError, UnsupportedError
from sparsewire.core.exchange import Message, check_equal, digest
from sparsewire.core.handle import SparsityHandle
from sparsewire.core.optimizer import held_parameters, state_tensors


class ParallelTraining:
    """Let the processes of the default group train one sparsified model together.

    Make it right after `sparsify`, in every process, with models of equal seeds; then run an
    ordinary training loop on the process's own part of the data, and call `finish` after it.

    Parameters
    ----------
    handle : SparsityHandle
        Of the same model, optimizer, method and seed in every process; the model must not be
        wrapped in ``DistributedDataParallel``.
    local_after : int
        Optimizer steps after which processes train alone; the paper's is 70 % of all.
    delayed : bool, default False
        False: every step waits for the mean gradient of all processes (WASSP). True: a step uses
        the mean gradient of the step before, which travels while the next is computed; entries of
        connections removed meanwhile are left out ("retain valid updates", WASAP). The paper's
        server applies gradients of any age; here the age is one step, so that runs can be repeated.
        The first step then has no gradient, and the last that was shared is never used.

    Raises
    ------
    StateError
        If ``torch.distributed`` is not initialised, or processes start differently.
    InvalidArgumentError
        If `local_after` is not an integer >= 0.

    Notes
    -----
    While gradients are shared, a parameter that only some processes used counts as 0 in the others,
    one that none used has no gradient, and growth sees the mean dense gradient of the step. What
    you clip is the process's own gradient. Buffers such as running statistics stay its own.
    Steps cannot be repeated or skipped by one process alone: closures and the loss scaling of fused
    optimizers are refused; do not use any other. Batches should be equally large. The learning rate
    is yours: with K processes the paper multiplies it by K after a warm-up over five epochs.

    Examples
    --------
    >>> import torch, sparsewire
    >>> import torch.distributed as dist
    >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    >>> model = torch.nn.Sequential(torch.nn.Linear(20, 20), torch.nn.ReLU())
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> handle = sparsewire.sparsify(model, optimizer, density=0.2, method="set", storage="csr")
    >>> parallel = ParallelTraining(handle, local_after=2)
    >>> for _ in range(3):
    ...     optimizer.zero_grad()
    ...     model(torch.ones(4, 20)).square().mean().backward()
    ...     optimizer.step()
    >>> parallel.finish()
    >>> round(handle.density(), 3)
    0.2
    >>> dist.destroy_process_group()
    """

    def __init__(self, handle: SparsityHandle, *, local_after: int, delayed: bool = False) -> None:
        if not (dist.is_available() and dist.is_initialized()):
            raise StateError(
                "torch.distributed is not initialised; start the script with torchrun and call "
                "torch.distributed.init_process_group('gloo') first."
            )
        self.handle = handle
        self.local_after = check_integer("local_after", local_after, minimum=0)
        self.delayed = bool(delayed)
        self._stores = handle._network.stores
        self._pending: Message | None = None
        self._finished = False
        self._check_equal()
        self._hook = handle.optimizer.register_step_pre_hook(self._before_step)
        handle.attach(handle.optimizer)  # its hooks have to run after this one

    def _check_equal(self) -> None:
        """Compare what decides the course of training; later than `local_after` networks differ."""
        handle, network = self.handle, self.handle._network
        optimizer, parameters = handle.optimizer, held_parameters(handle.optimizer)
        mine: dict[str, object] = {
            "arguments": (self.local_after, self.delayed),
            "method": repr(network.method),
            "seed": network.seed,
        }
        if handle.step <= self.local_after:
            groups = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
            states = (state for p in parameters for state in state_tensors(optimizer, p))
            mine |= {
                "step": handle.step,
                "topology": network.topology(),
                "weights": digest([*handle.model.parameters(), *parameters]),
                "optimizer": (type(optimizer).__name__, repr(groups), digest(states)),
            }
        check_equal(mine)

    def _draw(self, *, together: bool) -> None:
        """Let updates draw and grow alike in all processes, or each process on its own."""
        self.handle._network.worker = None if together else dist.get_rank()
        for store in self._stores:
            store.reduce = dist.all_reduce if together else None

    @torch.no_grad()
    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.wait()
        together = self.handle.step < self.local_after
        self._draw(together=together)
        if not together:
            return
        _check_step(optimizer, args, kwargs)
        sent = self._send(self._own_gradients())
        if not self.delayed or self.handle._grows_at(self.handle.step + 1):
            sent.wait()
        received, self._pending = (pending, sent) if self.delayed else (sent, None)
        parameters = held_parameters(optimizer)
        gradients = [None] * len(parameters) if received is None else received.gradients(parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is None or parameter.grad is None:
                parameter.grad = None
            else:
                parameter.grad.copy_(gradient)  # in place: growth has seen this very tensor

    def _own_gradients(self) -> list[Tensor | None]:
        """Return the process's own gradients, masked, after growth has seen them."""
        parameters = held_parameters(self.handle.optimizer)
        gradients = [parameter.grad for parameter in parameters]
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.handle.mask_gradients()
        return gradients

    def _send(self, gradients: list[Tensor | None], *, finishing: bool = False) -> Message:
        message = Message(
            held_parameters(self.handle.optimizer),
            gradients,
            self._stores if self.delayed else (),
            finishing=finishing,
            unsound=not finishing and self._met_nan(),
        )
        message.send()
        return message

    def _met_nan(self) -> bool:
        """Tell whether the handle is about to refuse the step, which no process may do alone."""
        try:
            for store in self._stores:
                store.check_captured(self.handle.step + 1)
        except NonFiniteError:
            return True
        return False

    def finish(self) -> None:
        """Average the networks of all processes and let the optimizers start anew.

        Over the union of their connections, a missing one counting as 0; of these the smallest in
        magnitude are dropped until every layer has its number of connections again. All other
        parameters and floating-point buffers are averaged. The processes hold equal networks then
        and share nothing more. The others wait here for the slowest process.

        Raises
        ------
        StateError
            If it was called before, or while other processes still share gradients.
        NonFiniteError
            If the network of a process contains NaN or infinity; no network has changed then.
        """
        if self._finished:
            raise StateError("finish() was called before; make a new ParallelTraining to go on.")
        self.handle._check_alive()
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.wait()
        if self.handle.step < self.local_after:
            nothing: list[Tensor | None] = [None] * len(held_parameters(self.handle.optimizer))
            self._send(nothing, finishing=True).wait()
        self._draw(together=True)
        for store in self._stores:
            store.reduce = None  # whatever follows, other processes do not take part
        average_networks_(self.handle)
        self._hook.remove()
        self._finished = True

    def state_dict(self) -> dict[str, Any]:
        """Return what it takes to continue bit for bit, besides model, optimizer and handle.

        Gradients on their way are waited for and included. In the second phase every process has a
        state, a model and an optimizer of its own to save.
        """
        gradients = None
        if self._pending is not None:
            self._pending.wait()
            found = self._pending.gradients(held_parameters(self.handle.optimizer))
            gradients = [None if gradient is None else gradient.clone() for gradient in found]
        alone = self.handle.step > self.local_after
        return {
            "local_after": self.local_after,
            "delayed": self.delayed,
            "processes": dist.get_world_size(),
            "step": self.handle.step,
            "process": dist.get_rank() if alone else None,
            "gradients": gradients,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`, after model, optimizer and handle have been loaded.

        Raises
        ------
        CheckpointError
            If it belongs to another run, step or process, or is damaged.
        """
        like, parameters = self.state_dict(), held_parameters(self.handle.optimizer)
        for key in like.keys() - {"gradients"}:
            if state.get(key, "nothing") != like[key]:
                raise CheckpointError(
                    f"the checkpoint has {key} {state.get(key)!r}, this run {like[key]!r}; load "
                    "model, optimizer and handle of the same moment and process first."
                )
        gradients = state.get("gradients")
        if gradients is None:
            self._pending = None
        elif _fit(gradients, parameters):
            pairs = zip(gradients, parameters, strict=True)
            moved = [None if g is None else g.to(p.device) for g, p in pairs]
            self._pending = Message(parameters, moved, self._stores)
        else:
            raise CheckpointError("the gradients of the checkpoint do not fit the parameters.")


def _fit(gradients: object, parameters: Sequence[Tensor]) -> bool:
    return (
        isinstance(gradients, list)
        and len(gradients) == len(parameters)
        and all(
            g is None or (isinstance(g, Tensor) and g.shape == p.shape)
            for g, p in zip(gradients, parameters, strict=True)
        )
    )


def _check_step(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
    """Refuse what would let processes get out of step, or cannot be sent."""
    if kwargs.get("closure", args[1] if len(args) > 1 else None) is not None:
        raise UnsupportedError(
            f"{type(optimizer).__name__}.step was given a closure, which computes gradients after "
            "they are shared; call backward() before step(), with an optimizer other than LBFGS."
        )
    if getattr(optimizer, "found_inf", None) is not None:
        raise UnsupportedError(
            "GradScaler lets one process skip a step that others make; train in float32 or under "
            "bfloat16 autocast, without a scaler."
        )
    for parameter in held_parameters(optimizer):
        if parameter.is_complex() or (parameter.grad is not None and parameter.grad.is_sparse):
            raise UnsupportedError(
                "complex parameters and sparse gradients cannot be shared; leave them out of the "
                "optimizer, or use nn.Embedding(sparse=False)."
            )
