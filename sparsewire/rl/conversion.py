"""How does an agent that exists already become sparse?

`sparsify` builds the sparse class with the same arguments and gives it the weights of the agent,
as far as they are connections.
"""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from stable_baselines3 import DDPG, SAC, TD3
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from torch import Tensor, nn

from sparsewire.core.errors import InvalidArgumentError, StateError, UnsupportedError
from sparsewire.core.imported import keep_largest_
from sparsewire.rl.algorithms import (
    SparseAlgorithmMixin,
    SparseDDPG,
    SparseSAC,
    SparseTD3,
    sparse_policy,
)
from sparsewire.rl.presets import PRESETS, check_overrides
from sparsewire.rl.targets import adopt_, follow_
from sparsewire.rl.topology import Topology

_SPARSE: dict[type[OffPolicyAlgorithm], type[SparseAlgorithmMixin]] = {
    TD3: SparseTD3,
    SAC: SparseSAC,
    DDPG: SparseDDPG,
}
_NETWORKS = ("actor", "critic", "actor_target", "critic_target")
Weights = Mapping[str, Mapping[str, Tensor]]


def sparsify(
    model: OffPolicyAlgorithm,
    preset: str,
    *,
    prune: Literal["magnitude"] | None = None,
    **sparse_kwargs: Any,
) -> SparseTD3 | SparseSAC | SparseDDPG:
    """Make a sparse agent from a dense one of Stable-Baselines3.

    An untrained agent keeps its initial weights where the drawn topology has connections: the
    result is what the sparse class makes of the same arguments and seed.

    Parameters
    ----------
    model : TD3, SAC or DDPG
        The agent. Environment and replay buffer go over to the new one, so do not use it any more.
    preset : str
        How it becomes sparse; see `sparsewire.rl.presets`.
    prune : {"magnitude"} or None, default None
        What to do with a trained agent: with ``"magnitude"`` every layer begins with its largest
        weights as connections. Optimizers of actor and critic then start afresh, their moments
        being those of the dense networks, and so does the clock of topology updates.
    **sparse_kwargs
        Single entries of the preset to be replaced, as in ``sparse_kwargs`` of `SparseTD3`.

    Returns
    -------
    SparseTD3, SparseSAC or SparseDDPG
        The sparse agent.

    Raises
    ------
    InvalidArgumentError
        If the preset or an entry is unknown or out of range.
    UnsupportedError
        If it is another algorithm or has a policy that cannot be sparse.
    StateError
        If it is sparse already, or has been trained and `prune` is None.

    Examples
    --------
    >>> from stable_baselines3 import SAC
    >>> model = sparsify(SAC("MlpPolicy", "Pendulum-v1", buffer_size=100), "anf", density=0.5)
    >>> int(model.topology.handles["actor"].masks()["latent_pi.0.weight"].sum())
    384
    """
    _check(model, preset, prune, sparse_kwargs)
    stock = next(kind for kind in _SPARSE if type(model) in (kind, _SPARSE[kind]))
    sparse: Any = _SPARSE[stock]
    new = sparse(sparse_policy(model.policy_class), None, _init_setup_model=False)
    weights = {
        name: {
            key: t.detach().clone() for key, t in getattr(model.policy, name).state_dict().items()
        }
        for name in _NETWORKS
        if hasattr(model.policy, name)
    }
    _take_over(new, model, {"preset": preset, "sparse_kwargs": dict(sparse_kwargs)})
    assert isinstance(new.topology, Topology)
    _give(new, weights, largest=prune == "magnitude")
    if isinstance(new, SAC) and isinstance(model, SAC):
        _take_over_temperature(new, model)
    return new  # type: ignore[no-any-return]


def _check(model: object, preset: str, prune: str | None, sparse_kwargs: Mapping[str, Any]) -> None:
    if preset is None:
        raise InvalidArgumentError(f"preset must be one of {', '.join(PRESETS)}, got None.")
    check_overrides(preset, sparse_kwargs)
    if prune not in (None, "magnitude"):
        raise InvalidArgumentError(f"prune must be None or 'magnitude', got {prune!r}.")
    if not isinstance(model, OffPolicyAlgorithm) or not any(
        type(model) in pair for pair in _SPARSE.items()
    ):
        raise UnsupportedError(
            f"only TD3, SAC and DDPG can become sparse, not {type(model).__name__}; for a class of "
            "your own, derive from SparseAlgorithmMixin."
        )
    if getattr(model.policy, "topology", None) is not None:
        raise StateError("the agent is sparse already.")
    if model._n_updates > 0 and prune is None:
        raise StateError(
            f"the agent has been trained for {model._n_updates} steps, and random connections "
            "would lose that; pass prune='magnitude' to keep its largest weights."
        )


def _take_over(
    new: SparseAlgorithmMixin, model: OffPolicyAlgorithm, own: Mapping[str, Any]
) -> None:
    """Give an algorithm that has not been set up the state of another, and set it up."""
    kept = {"policy_class": new.policy_class, "sparsity": None, **own}
    new.__dict__.update({**vars(model), **kept, "policy_kwargs": dict(model.policy_kwargs)})
    new.resolve_sparsity()
    # The environment is under way and the replay buffer exists: neither is to be seeded or made
    # again, and global generators go on as if nothing had happened.
    seed, n_steps = new.seed, new.n_steps
    new.seed, new.n_steps = None, 1
    try:
        with torch.random.fork_rng(devices=[]):
            new._setup_model()
    finally:
        new.seed, new.n_steps = seed, n_steps


def _give(new: SparseAlgorithmMixin, weights: Weights, *, largest: bool) -> None:
    topology = new.topology
    assert topology is not None
    for name, handle in topology.handles.items():
        if largest or topology.settings.initial == "magnitude":
            keep_largest_(handle, weights[name])
    for name, state in weights.items():
        network: nn.Module = getattr(new.policy, name)
        online = name.removesuffix("_target")
        if name != online and online in topology.handles:
            follow_(getattr(new.policy, online), network)
        adopt_(network, state)
    topology.recount()


def _take_over_temperature(new: SAC, model: SAC) -> None:
    if new.log_ent_coef is not None and model.log_ent_coef is not None:
        new.log_ent_coef.data.copy_(model.log_ent_coef.data)
    if new.ent_coef_optimizer is not None and model.ent_coef_optimizer is not None:
        new.ent_coef_optimizer.load_state_dict(model.ent_coef_optimizer.state_dict())
