"""How sparse is an agent, what does that save, and which inputs does it look at?

Counts of connections, parameters and FLOPs against the dense agent, and its *focus*: how many
connections an observed feature has in the mean if it is real, and if it is noise (Grooten et al.,
2023). Action inputs of critics are counted by themselves.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import nn

from sparsewire.core.analysis import LayerSummary
from sparsewire.core.csr.layer import SparseLinear
from sparsewire.core.errors import InvalidArgumentError
from sparsewire.rl.envs.noisy import relevant_mask
from sparsewire.rl.layers import RoleLayer, layers_of
from sparsewire.rl.sparsity_settings import NETWORKS
from sparsewire.rl.topology import Topology

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class LayerReport:
    """One linear layer.

    Attributes
    ----------
    network, layer : str
        Such as ``qf0`` and ``2``; those of the actor have the names of Stable-Baselines3.
    role : {"input", "hidden", "output"}
        Its place.
    storage : {"dense", "masked", "csr"}
        How its weights are stored.
    n_out, n_in : int
        Its shape.
    connections : int
        Active weights; all if it is dense.
    dropped, grown : int
        Connections dropped and grown so far.
    """

    network: str
    layer: str
    role: str
    storage: str
    n_out: int
    n_in: int
    connections: int
    dropped: int
    grown: int

    @property
    def weights(self) -> int:
        """Weights of the dense layer."""
        return self.n_out * self.n_in

    @property
    def density(self) -> float:
        """Connections over all weights."""
        return self.connections / self.weights


@dataclass(frozen=True)
class Focus:
    """Where one network looks.

    Attributes
    ----------
    network : str
        ``actor``, ``qf0``, ...
    real, noise : float
        Mean number of connections of a real and of a noise feature; NaN if there is none.
    action : float or None
        Mean number of connections of an action input; None for the actor.
    """

    network: str
    real: float
    noise: float
    action: float | None = None

    @property
    def ratio(self) -> float:
        """How many times as many connections a real feature has."""
        return self.real / self.noise if self.noise else float("nan")


@dataclass(frozen=True)
class SparsityReport:
    """Numbers of a whole agent, target networks left out; ``print`` it for a table.

    Attributes
    ----------
    layers : tuple of LayerReport
        All linear layers between features and outputs.
    focus : tuple of Focus
        One per network; empty if it is not known which features are real.
    events : dict from str to int
        Topology updates so far of ``actor`` and ``critic``; empty for a dense agent.
    parameters, dense_parameters : int
        Trainable parameters, counting connections only, and counting all weights.
    flops, dense_flops : int
        Of one forward pass of one observation through these layers of all networks: two for each
        connection.
    """

    layers: tuple[LayerReport, ...]
    focus: tuple[Focus, ...]
    events: dict[str, int]
    parameters: int
    dense_parameters: int
    flops: int
    dense_flops: int

    @property
    def density(self) -> float:
        """Connections over all weights of all layers, dense ones included."""
        return self.flops / self.dense_flops

    def to_frame(self) -> "pd.DataFrame":
        """Return one row per layer as a ``pandas.DataFrame``."""
        import pandas as pd

        frame = pd.DataFrame([dataclasses.asdict(layer) for layer in self.layers])
        return frame.assign(density=[layer.density for layer in self.layers])

    def focus_frame(self) -> "pd.DataFrame":
        """Return one row per network as a ``pandas.DataFrame``."""
        import pandas as pd

        columns = ["network", "real", "noise", "action"]
        frame = pd.DataFrame([dataclasses.asdict(f) for f in self.focus], columns=columns)
        return frame.assign(ratio=[focus.ratio for focus in self.focus])

    def __str__(self) -> str:
        """Return the tables."""
        table = [("network", "layer", "role", "storage", "shape", "connections", "density")]
        table += [
            (r.network, r.layer, r.role, r.storage, f"{r.n_out}x{r.n_in}", f"{r.connections:,}",
             f"{r.density:.4f}")
            for r in self.layers
        ]  # fmt: skip
        lines = [
            *_aligned(table),
            "",
            f"parameters: {_share(self.parameters, self.dense_parameters)}",
            f"FLOPs per observation: {_share(self.flops, self.dense_flops)}",
            "topology updates: "
            + (", ".join(f"{n} {count}" for n, count in self.events.items()) or "none, dense"),
        ]
        if any(layer.storage == "masked" for layer in self.layers):
            lines.append("FLOPs are theoretical: masks on dense weights save no time.")
        if self.focus:
            lines += ["", "mean connections of an input:", *_aligned(self._focus_table())]
        return "\n".join(lines)

    def _focus_table(self) -> list[tuple[str, ...]]:
        rows = [("network", "real", "noise", "ratio", "action")]
        for f in self.focus:
            action = "" if f.action is None else f"{f.action:.2f}"
            rows.append((f.network, f"{f.real:.2f}", f"{f.noise:.2f}", f"{f.ratio:.2f}", action))
        return list(rows)


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in rows]


def _share(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} dense ({part / whole:.1%})"


def report_on(model: OffPolicyAlgorithm, relevant: Any = None) -> SparsityReport:
    """Collect the numbers of an agent, dense or sparse.

    Parameters
    ----------
    model : OffPolicyAlgorithm
        A TD3, DDPG or SAC of Stable-Baselines3, or a sparse one.
    relevant : array of bool of shape (n_features,), or None, default None
        True for features that are no noise; None asks the environment.

    Returns
    -------
    SparsityReport
        The numbers.

    Raises
    ------
    InvalidArgumentError
        If `relevant` does not fit the observations.

    Examples
    --------
    >>> import gymnasium as gym, sparsewire.rl
    >>> from stable_baselines3 import TD3
    >>> env = gym.make("NoisyPendulum-v1", noise_fraction=0.5)
    >>> model = TD3("MlpPolicy", env, buffer_size=1)
    >>> report = report_on(model)
    >>> report.density, report.focus[1]
    (1.0, Focus(network='qf0', real=400.0, noise=400.0, action=400.0))
    """
    topology: Topology | None = getattr(model.policy, "topology", None)
    networks: dict[str, nn.Module] = {name: getattr(model.policy, name) for name in NETWORKS}
    layers = {name: layers_of(network) for name, network in networks.items()}
    rows = [
        _row(name, layer, _summaries(topology, name))
        for name, found in layers.items()
        for layer in found
    ]
    trained = {id(p): p.numel() for n in networks.values() for p in n.parameters()}
    stored = sum(trained.values())
    truly_sparse = [row for row in rows if row.storage == "csr"]
    dense = stored + sum(row.weights - row.connections for row in truly_sparse)
    missing = sum(row.weights - row.connections for row in rows)
    mask = _relevant(model, relevant)
    return SparsityReport(
        layers=tuple(rows),
        focus=() if mask is None else tuple(_focus(layers, mask)),
        events={} if topology is None else topology.events,
        parameters=dense - missing,
        dense_parameters=dense,
        flops=2 * sum(row.connections for row in rows),
        dense_flops=2 * sum(row.weights for row in rows),
    )


def _summaries(topology: Topology | None, name: str) -> dict[str, LayerSummary]:
    handle = None if topology is None else topology.handles.get(name)
    return {} if handle is None else {row.name: row for row in handle.summary().layers}


def _row(name: str, layer: RoleLayer, summaries: dict[str, LayerSummary]) -> LayerReport:
    summary = summaries.get(layer.shape.name)
    network, local = _names(name, layer)
    n_out, n_in = layer.shape.shape
    return LayerReport(
        network=network,
        layer=local,
        role=layer.role,
        storage="dense" if summary is None else summary.storage,
        n_out=n_out,
        n_in=n_in,
        connections=layer.shape.numel if summary is None else summary.active,
        dropped=0 if summary is None else summary.dropped,
        grown=0 if summary is None else summary.grown,
    )


def _names(name: str, layer: RoleLayer) -> tuple[str, str]:
    """Return ``("qf0", "2")`` for ``qf0.2`` of the critic, ``("actor", "mu.2")`` for the actor."""
    if name == "actor":
        return name, layer.name
    head, _, local = layer.name.partition(".")
    return head, local


def _relevant(model: OffPolicyAlgorithm, relevant: Any) -> npt.NDArray[np.bool_] | None:
    space, extractor = model.observation_space, model.actor.features_extractor
    vector = isinstance(space, spaces.Box) and len(space.shape) == 1
    if relevant is None:
        asked = model.env is not None and vector and type(extractor) is FlattenExtractor
        return relevant_mask(model.env) if asked else None
    mask = np.asarray(relevant)
    if not vector or type(extractor) is not FlattenExtractor:
        raise InvalidArgumentError(
            "relevant needs observations that are vectors and reach the networks as they are."
        )
    if mask.dtype != np.bool_ or mask.shape != space.shape:
        raise InvalidArgumentError(
            f"relevant must be an array of bool of shape {space.shape}, got {mask.dtype} of shape "
            f"{mask.shape}."
        )
    return mask


def _focus(layers: dict[str, list[RoleLayer]], relevant: npt.NDArray[np.bool_]) -> Iterable[Focus]:
    for name, found in layers.items():
        per_network: dict[str, npt.NDArray[np.int64]] = {}
        for layer in found:
            if layer.role == "input":
                key, counts = _names(name, layer)[0], input_connections(layer.module)
                per_network[key] = per_network.get(key, 0) + counts
        for key, counts in per_network.items():
            observed, actions = counts[: len(relevant)], counts[len(relevant) :]
            yield Focus(
                key,
                real=_mean(observed[relevant]),
                noise=_mean(observed[~relevant]),
                action=_mean(actions) if len(actions) else None,
            )


def _mean(counts: npt.NDArray[np.int64]) -> float:
    return float(counts.mean()) if len(counts) else float("nan")


def input_connections(layer: nn.Linear | SparseLinear) -> npt.NDArray[np.int64]:
    """Return the number of connections of every input of a layer.

    Examples
    --------
    >>> input_connections(nn.Linear(3, 5))
    array([5, 5, 5])
    """
    if isinstance(layer, SparseLinear):
        inputs = layer.positions().numpy() % layer.in_features
        return np.bincount(inputs, minlength=layer.in_features).astype(np.int64)
    mask = getattr(layer, "weight_mask", None)
    if mask is None:
        return np.full(layer.in_features, layer.out_features, dtype=np.int64)
    counts: npt.NDArray[np.int64] = torch.sum(mask, dim=0).cpu().numpy()
    return counts
