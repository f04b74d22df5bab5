"""Which linear layers has an agent, what is their role, and how many connections do they get?

The role of a layer is its place between features and output: "input" layers are fed by features
and actions, "output" layers make the action or the value, the rest is "hidden". The features
extractor has no role and stays dense.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from stable_baselines3.common.policies import ContinuousCritic
from stable_baselines3.sac.policies import Actor as SACActor
from stable_baselines3.td3.policies import Actor as TD3Actor
from torch import nn

from sparsewire.core.allocation import ALLOCATIONS, SetEpsilon
from sparsewire.core.budget import LayerShape, connections, round_counts, water_fill
from sparsewire.core.criteria import drop_count
from sparsewire.core.csr.layer import SparseLinear
from sparsewire.core.errors import InfeasibleDensityError, UnsupportedError
from sparsewire.rl.sparsity_settings import SparsitySettings


@dataclass(frozen=True)
class RoleLayer:
    """One linear layer of a network.

    Attributes
    ----------
    name : str
        Of the module in its network, such as ``qf0.2``.
    module : nn.Linear or SparseLinear
        The layer.
    role : {"input", "hidden", "output"}
        Its place.
    """

    name: str
    module: nn.Linear | SparseLinear
    role: str

    @property
    def shape(self) -> LayerShape:
        """Name of its weight, and the dense shape."""
        size = (self.module.out_features, self.module.in_features)
        return LayerShape(f"{self.name}.weight", size)


def layers_of(network: nn.Module) -> list[RoleLayer]:
    """Return the linear layers of an actor or a critic between features and output.

    Parameters
    ----------
    network : nn.Module
        An actor of TD3 or SAC, or a ``ContinuousCritic``.

    Returns
    -------
    list of RoleLayer
        In the order of the network.

    Raises
    ------
    UnsupportedError
        If it is another kind of network.

    Examples
    --------
    >>> import gymnasium as gym
    >>> from stable_baselines3 import SAC
    >>> model = SAC("MlpPolicy", gym.make("Pendulum-v1"), buffer_size=1)
    >>> [(layer.name, layer.role) for layer in layers_of(model.actor)]
    [('latent_pi.0', 'input'), ('latent_pi.2', 'hidden'), ('mu', 'output'), ('log_std', 'output')]
    """
    if isinstance(network, SACActor):
        trunk = _linears(network, "latent_pi")
        heads = [*_linears(network, "mu"), *_linears(network, "log_std")]
        return [
            RoleLayer(name, module, role)
            for part, role in ((trunk[:1], "input"), (trunk[1:], "hidden"))
            for name, module in part
        ] + [RoleLayer(name, module, "output" if trunk else "input") for name, module in heads]
    if isinstance(network, TD3Actor):
        return _chain(_linears(network, "mu"))
    if isinstance(network, ContinuousCritic):
        chains = (_chain(_linears(network, f"qf{i}")) for i in range(network.n_critics))
        return [layer for chain in chains for layer in chain]
    raise UnsupportedError(
        f"{type(network).__name__} is neither an actor of TD3 or SAC nor a ContinuousCritic, so "
        "the roles of its layers are unknown; use sparsewire.sparsify on it."
    )


def _linears(network: nn.Module, name: str) -> list[tuple[str, nn.Linear | SparseLinear]]:
    part = getattr(network, name)
    modules = part.named_modules() if isinstance(part, nn.Module) else ()
    return [
        (f"{name}.{local}" if local else name, module)
        for local, module in modules
        if isinstance(module, (nn.Linear, SparseLinear))
    ]


def _chain(linears: list[tuple[str, nn.Linear | SparseLinear]]) -> list[RoleLayer]:
    roles = ["hidden"] * len(linears)
    roles[-1] = "output"
    roles[0] = "input"
    return [RoleLayer(*pair, role) for pair, role in zip(linears, roles, strict=True)]


Counts = dict[str, dict[str, int]]


def count_connections(
    settings: SparsitySettings, networks: Mapping[str, list[RoleLayer]]
) -> Counts:
    """Return how many connections every sparse layer gets.

    Parameters
    ----------
    settings : SparsitySettings
        Layers, density and allocation.
    networks : mapping from {"actor", "critic"} to list of RoleLayer
        All layers of both.

    Returns
    -------
    dict from str to dict from str to int
        By network and name of the weight; a network may have no sparse layer.

    Raises
    ------
    InfeasibleDensityError
        If the budget cannot be met.
    """
    sparse = {
        network: [layer for layer in layers if layer.role in settings.layers]
        for network, layers in networks.items()
    }
    if settings.epsilon is not None:
        counts = _by_epsilon(settings.epsilon, sparse)
        full = any(counts[n][s.shape.name] == s.shape.numel for n in sparse for s in sparse[n])
        if not full or settings.density is None:
            return counts
    if settings.allocation == "total":
        return _of_total(settings, networks, sparse)
    return {
        network: _in_network([layer.shape for layer in layers], settings, network)
        for network, layers in sparse.items()
    }


def _by_epsilon(epsilon: Mapping[str, float], sparse: Mapping[str, list[RoleLayer]]) -> Counts:
    return {
        network: {
            name: count
            for layer in layers
            for name, count in SetEpsilon(epsilon[layer.role]).counts([layer.shape], None).items()
        }
        for network, layers in sparse.items()
    }


def _in_network(
    shapes: list[LayerShape], settings: SparsitySettings, network: str
) -> dict[str, int]:
    density = settings.density_of(network)
    if settings.allocation == "uniform":
        # Every layer by itself, rounded down: ANF's K = floor(0.2 * n_in * n_out).
        return {shape.name: max(1, drop_count(shape.numel, density)) for shape in shapes}
    if not shapes:
        return {}
    return ALLOCATIONS[settings.allocation].counts(shapes, connections(shapes, density))


def _of_total(
    settings: SparsitySettings,
    networks: Mapping[str, list[RoleLayer]],
    sparse: Mapping[str, list[RoleLayer]],
) -> Counts:
    """Give hidden and output layers the density, and input layers what is left of all weights.

    What input layers get is spread by the rule of Erdős and Rényi, as DS-TD3 does with one lambda
    for the input layers of all networks.
    """
    density = settings.density_of("actor")
    counts: Counts = {
        network: {
            layer.shape.name: max(1, drop_count(layer.shape.numel, density))
            for layer in layers
            if layer.role != "input"
        }
        for network, layers in sparse.items()
    }
    inputs = [(n, layer.shape) for n in sparse for layer in sparse[n] if layer.role == "input"]
    if not inputs:
        return counts
    weights = sum(layer.shape.numel for layers in networks.values() for layer in layers)
    chosen = {(n, layer.shape.name) for n in sparse for layer in sparse[n]}
    dense = sum(
        layer.shape.numel
        for n, layers in networks.items()
        for layer in layers
        if (n, layer.shape.name) not in chosen
    )
    left = round(density * weights) - dense - sum(sum(c.values()) for c in counts.values())
    sizes = [shape.numel for _, shape in inputs]
    if left < len(inputs):
        raise InfeasibleDensityError(
            f"density {density:g} of all {weights} weights leaves {left} connections for "
            f"{len(inputs)} input layers beside {dense} weights that stay dense; raise density."
        )
    left = min(left, sum(sizes))
    shares = water_fill(sizes, [sum(s.shape) / s.numel for _, s in inputs], left)
    exact = round_counts([d * n for d, n in zip(shares, sizes, strict=True)], sizes, left)
    for (network, shape), count in zip(inputs, exact, strict=True):
        counts[network][shape.name] = count
    return counts
