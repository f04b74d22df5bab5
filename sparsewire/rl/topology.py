"""What keeps the networks of one policy sparse, and how is it stored?

A `Topology` bundles one `sparsewire.core.SparsityHandle` for the actor with its optimizer and one
for the critic with its, and lets target networks follow. It is attached to optimizers by hooks, so
that the training loops of Stable-Baselines3 need no change.

The clock is the critic's gradient step. The actor of TD3 steps once in ``policy_delay`` of them,
so its interval in steps of its own is ``update_interval // policy_delay``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from torch import nn
from torch.optim import Optimizer

from sparsewire.core import checkpoint
from sparsewire.core.errors import CheckpointError, NoMaskableLayersError
from sparsewire.core.handle import SparsityHandle
from sparsewire.core.imported import accept_masks, keep_largest_
from sparsewire.core.sparsify import sparsify
from sparsewire.rl.layers import Counts, count_connections, layers_of
from sparsewire.rl.sparsity_settings import SparsitySettings
from sparsewire.rl.targets import Truncation, follow_, mirror_, prepare

# Measured with batches of 100 (benchmarks/rl_speed.py): 256 outputs and a density of 0.2 break even
# at about 100 inputs; 256 × 256 gains at 0.05. Above 0.7 core's break-even table favours masks.
_LARGE = 2**15
_SPARSE = 0.7

_FORMAT = {"format": "sparsewire.rl.topology", "version": 1}


@dataclass(frozen=True)
class Part:
    """One network that an optimizer trains.

    Attributes
    ----------
    name : {"actor", "critic"}
        Which one.
    network : nn.Module
        The network.
    optimizer : Optimizer
        What trains it.
    target : nn.Module or None
        The slowly following copy of it.
    """

    name: str
    network: nn.Module
    optimizer: Optimizer
    target: nn.Module | None


class Topology:
    """The connections of a policy's networks; made by the sparse policies, ``policy.topology``.

    Parameters
    ----------
    settings : SparsitySettings
        What to make sparse, and how.
    parts : sequence of Part
        The networks, still dense; changed in place.

    Attributes
    ----------
    settings : SparsitySettings
        As given.
    handles : dict from {"actor", "critic"} to SparsityHandle
        A network without sparse layers has none.

    Raises
    ------
    NoMaskableLayersError
        If no network has a layer of the roles to be sparse.
    """

    def __init__(self, settings: SparsitySettings, parts: Sequence[Part]) -> None:
        self.settings = settings
        self._parts = {part.name: part for part in parts}
        layers = {part.name: layers_of(part.network) for part in parts}
        counts = count_connections(settings, layers)
        if not any(counts.values()):
            roles = sorted({layer.role for found in layers.values() for layer in found})
            raise NoMaskableLayersError(
                f"no network has a layer of role {' or '.join(settings.layers)}, only "
                f"{', '.join(roles)}; choose other layers, or a deeper net_arch."
            )
        self.handles = {
            part.name: self._sparsify(part, counts) for part in parts if counts[part.name]
        }
        self._truncations: list[Truncation] = []
        for part in parts:
            if part.target is not None and part.name in self.handles:
                self._prepare_target(part.network, part.target)
        self._attach()

    def _sparsify(self, part: Part, counts: Counts) -> SparsityHandle:
        shares = {
            name: count / part.network.get_parameter(name).numel()
            for name, count in counts[part.name].items()
        }
        before = {name: part.network.get_parameter(name).detach().clone() for name in shares}
        handle = sparsify(
            part.network,
            part.optimizer,
            method=self.settings.method_of(part.name),
            allocation=shares,
            include=list(shares),
            storage=choose_storage(self.settings, counts[part.name], part.network),
            seed=self.settings.seed,
        )
        if self.settings.initial == "magnitude":
            keep_largest_(handle, before)
        return handle

    def _prepare_target(self, network: nn.Module, target: nn.Module) -> None:
        prepare(network, target)
        if self.settings.target == "magnitude":
            truncation = Truncation(target)
            target.register_forward_pre_hook(truncation)
            self._truncations.append(truncation)

    # Around optimizer steps

    def _attach(self) -> None:
        """Register all hooks, those of the handles before the rest."""
        self._seen = self.events
        for name, part in self._parts.items():
            if (handle := self.handles.get(name)) is not None:
                handle.attach(part.optimizer)
            part.optimizer.register_step_post_hook(partial(self._after_step, name))

    def _after_step(self, name: str, *_: Any) -> None:
        """Let the target follow an event; note that averaging follows the actor's step."""
        handle, target = self.handles.get(name), self._parts[name].target
        if handle is not None and handle.updates != self._seen[name]:
            self._seen[name] = handle.updates
            if target is not None:
                self._follow(handle.model, target)
        if name == "actor":
            for truncation in self._truncations:
                truncation.due = True

    def _follow(self, network: nn.Module, target: nn.Module) -> None:
        if self.settings.target == "mask":
            follow_(network, target)
            return
        mirror_(network, target)
        for truncation in self._truncations:
            truncation.recount()

    def settle_targets(self) -> None:
        """Truncate target networks that have been averaged since they were last used."""
        for truncation in self._truncations:
            truncation()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Follow the copied optimizers."""
        self.__dict__.update(state)
        self._attach()

    # What it is and what has happened

    @property
    def events(self) -> dict[str, int]:
        """Topology updates so far, by network."""
        return {name: handle.updates for name, handle in self.handles.items()}

    def recount(self) -> None:
        """Take note of masks that were loaded into the networks without the rest of the state."""
        for handle in self.handles.values():
            accept_masks(handle)
        for truncation in self._truncations:
            truncation.recount()

    def state_dict(self) -> dict[str, Any]:
        """Return clocks and records as tensors, numbers and strings.

        Masks and weights are in the policy's own ``state_dict``, moments in the optimizers'.
        """
        return _FORMAT | {name: handle.state_dict() for name, handle in self.handles.items()}

    def check_state_dict(self, state: object, strict: bool = True) -> None:
        """Raise `CheckpointError` if a `state_dict` is none or is of other settings or networks."""
        if not isinstance(state, Mapping) or any(state.get(k) != v for k, v in _FORMAT.items()):
            raise CheckpointError("this is not the topology of a sparse policy.")
        names = state.keys() - _FORMAT.keys()
        if names - self.handles.keys() or (strict and names != self.handles.keys()):
            raise CheckpointError(
                f"the saved policy has sparse networks {', '.join(sorted(names))}, this one "
                f"{', '.join(sorted(self.handles))}."
            )
        for name in names:
            checkpoint.check(state[name], like=self.handles[name].state_dict())

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Continue from a `state_dict`; nothing changes if it does not fit.

        Parameters
        ----------
        state : mapping
            What `state_dict` returned. Load the policy's and the optimizers' of the same moment,
            too, in any order.
        strict : bool, default True
            Whether every sparse network must be in it.

        Raises
        ------
        CheckpointError
            If it is of another preset, density, seed or architecture.
        """
        self.check_state_dict(state, strict)
        for name, handle in self.handles.items():
            if name in state:
                handle.load_state_dict(state[name])
        self._seen = self.events


def choose_storage(
    settings: SparsitySettings, counts: Mapping[str, int], network: nn.Module
) -> Literal["masked", "csr"]:
    """Return how the connections of a network are stored.

    With ``storage="auto"`` truly sparse, if one of its layers is large and sparse enough to gain
    more than the small ones lose. Unlike core's choice layer by layer, this one depends on neither
    threads nor device, so that a file finds the same layers wherever it is loaded.

    Parameters
    ----------
    settings : SparsitySettings
        Storage, and the method: pruning starts dense, where masks are faster.
    counts : mapping from str to int
        Connections by name of the weight.
    network : nn.Module
        The network, still dense.

    Returns
    -------
    {"masked", "csr"}
        For all its sparse layers.
    """
    if settings.storage != "auto":
        return "csr" if settings.storage == "csr" else "masked"
    sizes = {name: network.get_parameter(name).numel() for name in counts}
    gains = any(size >= _LARGE and counts[name] / size <= _SPARSE for name, size in sizes.items())
    return "csr" if gains and settings.method != "gmp" else "masked"
