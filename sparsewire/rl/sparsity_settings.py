"""What has to be known about the sparsity of one agent, as plain data that a file can hold?

`SparsitySettings` checks it, and says which method of the engine it means. Where the values come
from is the business of `sparsewire.rl.presets`.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from sparsewire.core._validation import check_fraction, check_integer, check_positive, suggest
from sparsewire.core.allocation import ALLOCATIONS
from sparsewire.core.errors import InvalidArgumentError
from sparsewire.core.methods import GMP, SET, Method, RigL, Static
from sparsewire.core.placement import Storage
from sparsewire.core.schedule import Constant

ROLES = ("input", "hidden", "output")
NETWORKS = ("actor", "critic")
TARGETS = ("mask", "magnitude")


@dataclass(frozen=True)
class SparsitySettings:
    """Everything about the sparsity of one agent, as plain data.

    Parameters
    ----------
    preset : str
        Name of the preset it comes from.
    method : {"static", "set", "set-magnitude", "rigl", "gmp"}
        How the topology changes.
    layers : tuple of {"input", "hidden", "output"}
        Roles of the sparse layers; the features extractor is always dense.
    density : float, dict from {"actor", "critic"} to float, or None
        Share of connections. With ``"total"``, a share of the weights of all networks together.
    allocation : {"uniform", "er", "erk", "total"}
        How they are spread over layers.
    epsilon : dict from role to float, or None
        Numbers of connections per layer as ``epsilon * (n_in + n_out)``, at most all; if that would
        make a layer dense and there is a `density`, that is used instead.
    drop_fraction : float
        Share of connections replaced in an event; 0 freezes the topology.
    annealed : bool
        Whether the drop fraction falls to 0 at `end` along a cosine.
    update_interval : int
        Critic gradient steps between two events.
    begin, end : int, int or None
        Events happen in ``begin <= step < end``, in critic gradient steps.
    target : {"mask", "magnitude"}
        Which connections target networks have: those of the trained network, or their own largest.
    storage : {"masked", "csr", "auto"}
        How connections are stored; see `sparsewire.rl.topology.choose_storage` for "auto".
    initial : {"random", "magnitude"}
        Which connections there are at first.
    seed : int
        Of every random choice about topology.
    policy_delay : int
        Critic gradient steps per actor gradient step.

    Raises
    ------
    InvalidArgumentError
        If a value is out of range.

    Examples
    --------
    >>> from sparsewire.rl.presets import resolve_settings
    >>> settings = resolve_settings("anf", {"density": 0.1}, algorithm="td3", seed=0)
    >>> settings.layers, settings.density, settings.update_interval
    (('input',), 0.1, 1000)
    >>> SparsitySettings.from_dict(settings.to_dict()) == settings
    True
    """

    preset: str
    method: str
    layers: tuple[str, ...]
    density: float | dict[str, float] | None
    allocation: str = "uniform"
    epsilon: dict[str, float] | None = None
    drop_fraction: float = 0.05
    annealed: bool = False
    update_interval: int = 1000
    begin: int = 0
    end: int | None = None
    target: str = "mask"
    storage: str = "masked"
    initial: str = "random"
    seed: int = 0
    policy_delay: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.layers, tuple) or not self.layers:
            raise InvalidArgumentError(
                f"layers must be a list of {', '.join(ROLES)}, got {self.layers!r}."
            )
        for role in self.layers:
            _check_choice("layers", role, ROLES)
        self._check_density()
        self._check_epsilon()
        self._make_plain("drop_fraction", check_fraction("drop_fraction", self.drop_fraction))
        interval = check_integer("update_interval", self.update_interval, minimum=1)
        self._make_plain("update_interval", interval)
        _check_choice("target", self.target, TARGETS)
        _check_choice("storage", self.storage, get_args(Storage))
        check_integer("seed", self.seed, minimum=0)
        check_integer("policy_delay", self.policy_delay, minimum=1)
        if self.target == "magnitude" and self.storage == "csr":
            raise InvalidArgumentError(
                "storage='csr' needs target='mask': with target='magnitude' the target networks "
                "have connections of their own, which cannot be averaged position by position."
            )
        for network in NETWORKS:
            self.method_of(network)

    def _make_plain(self, name: str, value: object) -> None:
        """Replace what NumPy gave by what JSON can hold."""
        object.__setattr__(self, name, value)

    def _check_density(self) -> None:
        _check_choice("allocation", self.allocation, (*ALLOCATIONS, "total"))
        if self.density is None and self.epsilon is not None:
            return
        if not isinstance(self.density, Mapping):
            self._make_plain("density", check_fraction("density", self.density, open_low=True))
            return
        if self.allocation == "total":
            raise InvalidArgumentError(
                f"density must be one number for all networks with preset {self.preset!r}, got "
                f"{self.density!r}."
            )
        if set(self.density) != set(NETWORKS):
            raise InvalidArgumentError(
                "density must be a number or a dictionary with the keys 'actor' and 'critic', got "
                f"{self.density!r}."
            )
        densities = {
            network: check_fraction(f"density of {network!r}", self.density[network], open_low=True)
            for network in NETWORKS
        }
        self._make_plain("density", densities)

    def _check_epsilon(self) -> None:
        if self.epsilon is None:
            return
        if not isinstance(self.epsilon, Mapping) or set(self.epsilon) != set(self.layers):
            raise InvalidArgumentError(
                "epsilon must be a dictionary with the keys "
                f"{', '.join(map(repr, self.layers))}, got {self.epsilon!r}."
            )
        epsilon = {r: check_positive(f"epsilon of {r!r}", e) for r, e in self.epsilon.items()}
        self._make_plain("epsilon", epsilon)

    def density_of(self, network: str) -> float:
        """Return the density of the "actor" or the "critic"."""
        density = self.density[network] if isinstance(self.density, dict) else self.density
        assert density is not None  # only epsilon does without
        return density

    def method_of(self, network: str) -> Method:
        """Return the method of the "actor" or the "critic", whose steps it counts.

        The actor steps once in `policy_delay` critic steps; its interval is ``update_interval //
        policy_delay`` of its own steps, at least 1, and its window is cut likewise.

        Raises
        ------
        InvalidArgumentError
            If no event falls into the window.
        """
        delay = self.policy_delay if network == "actor" else 1
        interval = max(1, self.update_interval // delay)
        begin, end = self.begin // delay, None if self.end is None else max(1, self.end // delay)
        if self.method == "gmp":
            assert end is not None
            return GMP(end=end, begin=begin, update_interval=interval)
        if self.method == "static" or self.drop_fraction == 0:
            return Static()
        if self.method == "rigl":
            fraction = self.drop_fraction if self.annealed else Constant(self.drop_fraction)
            return RigL(interval, fraction, begin, end)
        drop = "magnitude" if self.method == "set-magnitude" else "sign"
        return SET(interval, Constant(self.drop_fraction), drop, begin, end)  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as numbers, strings, lists and dictionaries."""
        return dataclasses.asdict(self) | {"layers": list(self.layers)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "SparsitySettings":
        """Make settings from what `to_dict` returned.

        Raises
        ------
        InvalidArgumentError
            If a name is missing or unknown, or a value is out of range.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        if strange := names ^ content.keys():
            raise InvalidArgumentError(
                f"settings of sparsity are missing or unknown: {', '.join(sorted(strange))}."
            )
        return cls(**{**content, "layers": tuple(content["layers"])})


def _check_choice(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InvalidArgumentError(
            f"{name} must be one of {', '.join(map(repr, known))}, got {value!r}."
            f"{suggest(str(value), known)}"
        )
