"""What are the networks of a reward model? A few small multilayer perceptrons, sparse or dense."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sparsewire.core.handle import SparsityHandle
from sparsewire.core.imported import keep_largest_
from sparsewire.core.network import seeded_generator
from sparsewire.core.sparsify import sparsify
from sparsewire.rl.layers import RoleLayer, count_connections
from sparsewire.rl.sparsity_report import Focus, input_connections
from sparsewire.rl.sparsity_settings import SparsitySettings


class RewardEnsemble(nn.Module):
    """Networks of one shape with different first weights, from (observation, action) to (-1, 1).

    Three hidden layers of leaky ReLUs and a tanh at the end are the released code's of B-Pref (Lee
    et al., 2021, arXiv:2111.03026), which PEBBLE's authors published.

    Parameters
    ----------
    n_inputs : int
        Length of an observation and an action together.
    net_arch : sequence of int
        Hidden units.
    n_members : int
        How many networks.
    seed : int
        Of the first weights, drawn from torch's default distribution. No global generator is used.

    Examples
    --------
    >>> ensemble = RewardEnsemble(4, [8, 8], n_members=3, seed=0)
    >>> ensemble(torch.zeros(5, 4)).shape
    torch.Size([3, 5])
    """

    def __init__(self, n_inputs: int, net_arch: Sequence[int], n_members: int, seed: int) -> None:
        super().__init__()
        sizes = [n_inputs, *net_arch, 1]
        self.members = nn.ModuleList(
            nn.Sequential(*_layers(sizes, seed, member)) for member in range(n_members)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Return what every member predicts, of shape (n_members, ...), for inputs (..., n)."""
        return torch.stack([member(inputs).squeeze(-1) for member in self.members])


def _layers(sizes: Sequence[int], seed: int, member: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for index, (n_in, n_out) in enumerate(pairwise(sizes)):
        generator = seeded_generator(seed, f"members.{member}.{index}", "weights")
        layers += [_linear(n_in, n_out, generator), nn.LeakyReLU()]
    return [*layers[:-1], nn.Tanh()]


def _linear(n_in: int, n_out: int, generator: torch.Generator) -> nn.Linear:
    """Return a layer with torch's default initial weights from a generator of its own."""
    layer = nn.Linear(n_in, n_out, device="meta").to_empty(device="cpu")
    bound = 1 / math.sqrt(n_in)
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator=generator)
    return layer


def member_layers(ensemble: RewardEnsemble) -> list[list[RoleLayer]]:
    """Return the linear layers of every member with their roles.

    Examples
    --------
    >>> layers = member_layers(RewardEnsemble(4, [8], n_members=2, seed=0))
    >>> [(layer.name, layer.role) for layer in layers[1]]
    [('members.1.0', 'input'), ('members.1.2', 'output')]
    """
    return [_roles(f"members.{i}", member) for i, member in enumerate(ensemble.members)]


def _roles(prefix: str, member: nn.Module) -> list[RoleLayer]:
    names = [name for name, part in member.named_children() if hasattr(part, "in_features")]
    last = len(names) - 1
    roles = ["output" if i == last else "hidden" if i else "input" for i in range(len(names))]
    return [
        RoleLayer(f"{prefix}.{name}", member.get_submodule(name), role)  # type: ignore[arg-type]
        for name, role in zip(names, roles, strict=True)
    ]


def make_sparse(
    ensemble: RewardEnsemble, optimizer: Optimizer, settings: SparsitySettings
) -> SparsityHandle:
    """Make every member sparse, each with connections of its own.

    Parameters
    ----------
    ensemble : RewardEnsemble
        Still dense; changed in place.
    optimizer : Optimizer
        What trains it; its steps are the clock of the topology.
    settings : SparsitySettings
        What to make sparse, and how. Those that concern actors and target networks have no effect.

    Returns
    -------
    SparsityHandle
        Of all members together.
    """
    members = member_layers(ensemble)
    counts: dict[str, int] = {}
    for layers in members:
        counts |= count_connections(settings, {"critic": layers})["critic"]
    before = {name: ensemble.get_parameter(name).detach().clone() for name in counts}
    handle = sparsify(
        ensemble,
        optimizer,
        method=settings.method_of("critic"),
        allocation={name: count / before[name].numel() for name, count in counts.items()},
        include=list(counts),
        storage=settings.storage,  # type: ignore[arg-type]
        seed=settings.seed,
    )
    if settings.initial == "magnitude":
        keep_largest_(handle, before)
    return handle


def focus_of(ensemble: RewardEnsemble, relevant: npt.NDArray[np.bool_]) -> list[Focus]:
    """Count the connections of real and of noise features, in the mean, for every member.

    Parameters
    ----------
    ensemble : RewardEnsemble
        Whose inputs are an observation and an action.
    relevant : ndarray of bool of shape (n_observation,)
        True for features that are no noise.

    Returns
    -------
    list of Focus
        One per member, called ``reward0`` and so on.

    Examples
    --------
    >>> focus_of(RewardEnsemble(4, [8], n_members=1, seed=0), np.array([True, False, False]))
    [Focus(network='reward0', real=8.0, noise=8.0, action=8.0)]
    """
    found = []
    for index, layers in enumerate(member_layers(ensemble)):
        counts = input_connections(layers[0].module)
        observed, actions = counts[: len(relevant)], counts[len(relevant) :]
        means = (_mean(part) for part in (observed[relevant], observed[~relevant], actions))
        found.append(Focus(f"reward{index}", *means))
    return found


def _mean(counts: npt.NDArray[np.int64]) -> float:
    return float(counts.mean()) if len(counts) else float("nan")
