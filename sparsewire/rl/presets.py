"""Which layers of an agent are sparse, how sparse, and how does their topology change?

A preset is one published answer to all of it; `resolve_settings` makes of it and of the user's
changes the answer for one run. The papers' other hyperparameters, such as learning rates, are in
`sparsewire.rl.settings`.

| preset | sparse layers | density | drop and growth | targets |
|---|---|---|---|---|
| ``ds`` | input, hidden | 0.5 of all weights, or by environment | smallest per sign, random | own |
| ``anf`` | input | 0.2 | smallest, random | mask |
| ``static`` | input | 0.2 | none | mask |
| ``rigl`` | all | 0.1, Erdős–Rényi | smallest, gradient; cosine to 0 at 80 % | mask |
| ``rlx2`` | all | 0.1 actor, 0.15 critic, Erdős–Rényi | smallest, gradient; cosine to 0 | mask |
| ``gmp`` | all | to 0.1, Erdős–Rényi | cubic pruning from 20 % to 80 % | mask |

References
----------
``ds``: Sokar et al. (2022), Dynamic sparse training for deep reinforcement learning, IJCAI.
``anf``: Grooten et al. (2023), Automatic noise filtering with dynamic sparse training, AAMAS.
``static``, ``rigl``, ``gmp``: Graesser et al. (2022), The state of sparse training in deep
reinforcement learning, ICML; here ``static`` begins with the topology of ``anf``.
``rlx2``: Tan et al. (2023), RLx2: training a sparse deep reinforcement learning model from scratch,
ICLR.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sparsewire.core._validation import check_integer, suggest
from sparsewire.core.errors import InvalidArgumentError
from sparsewire.rl.sparsity_settings import ROLES, SparsitySettings


@dataclass(frozen=True)
class Preset:
    """A published way of keeping an agent sparse.

    Attributes
    ----------
    name : str
        As in ``preset="anf"``.
    settings : dict
        Entries of `SparsitySettings` that differ from their defaults.
    window : (float, float) or None
        First and last event, as shares of ``total_steps``; None for events that never end.
    fixed : tuple of str
        Entries that have no meaning for it, so that nobody may set them.
    """

    name: str
    settings: dict[str, Any]
    window: tuple[float, float] | None = None
    fixed: tuple[str, ...] = ("epsilon",)


_TEN_PER_CENT = {"layers": ROLES, "density": 0.1, "allocation": "er"}
_INPUT = {"layers": ("input",), "density": 0.2}

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            "ds",
            {
                "method": "set",
                "layers": ("input", "hidden"),
                "density": 0.5,
                "allocation": "total",
                "target": "magnitude",
            },
            fixed=(),
        ),
        Preset("anf", {"method": "set-magnitude", **_INPUT}),
        Preset(
            "static",
            {"method": "static", "drop_fraction": 0.0, **_INPUT},
            fixed=("epsilon", "drop_fraction", "update_interval"),
        ),
        Preset(
            "rigl",
            {"method": "rigl", "drop_fraction": 0.5, "annealed": True, **_TEN_PER_CENT},
            window=(0.0, 0.8),
        ),
        Preset(
            "rlx2",
            {
                "method": "rigl",
                **_TEN_PER_CENT,
                "density": {"actor": 0.1, "critic": 0.15},
                "drop_fraction": 0.5,
                "annealed": True,
                "update_interval": 10_000,
                "initial": "magnitude",
            },
            window=(0.0, 1.0),
        ),
        Preset(
            "gmp",
            {"method": "gmp", **_TEN_PER_CENT},
            window=(0.2, 0.8),
            fixed=("epsilon", "drop_fraction"),
        ),
    )
}
"""By name. RLx2's densities are a choice of ours: the paper has one pair per environment."""

OVERRIDES = (
    "layers",
    "density",
    "allocation",
    "epsilon",
    "drop_fraction",
    "update_interval",
    "total_steps",
    "target",
    "storage",
)
"""What ``sparse_kwargs`` may hold."""

_EPSILON_TD3 = {"HalfCheetah": 7, "Hopper": 7, "Walker2d": 7, "Ant": 40, "Humanoid": 61}
_EPSILON_SAC = {
    "HalfCheetah": (12, 80),
    "Walker2d": (12, 80),
    "Hopper": (7, 20),
    "Ant": (30, 64),
    "Humanoid": (61, 64),
}


def published_epsilon(env_id: str, algorithm: str) -> dict[str, float] | None:
    """Return DS-TD3's or DS-SAC's lambda for the input and the hidden layer.

    Parameters
    ----------
    env_id : str
        Such as ``HalfCheetah-v5`` or ``NoisyHalfCheetah-v5``, of any version.
    algorithm : {"td3", "ddpg", "sac"}
        DDPG takes TD3's.

    Returns
    -------
    dict or None
        None if the paper did not train in it.

    Examples
    --------
    >>> published_epsilon("NoisyAnt-v5", "td3"), published_epsilon("Pendulum-v1", "td3")
    ({'input': 40.0, 'hidden': 64.0}, None)
    """
    found = re.fullmatch(r"(?:Noisy)?(\w+?)-v\d+", env_id.rpartition("/")[2])
    name = found[1] if found else ""
    if algorithm == "sac":
        pair = _EPSILON_SAC.get(name)
    else:
        pair = (_EPSILON_TD3[name], 64) if name in _EPSILON_TD3 else None
    return None if pair is None else {"input": float(pair[0]), "hidden": float(pair[1])}


def check_overrides(preset: str | None, sparse_kwargs: Mapping[str, Any] | None) -> None:
    """Raise `InvalidArgumentError` unless preset and changes to it are known.

    Examples
    --------
    >>> check_overrides("anv", None)
    Traceback (most recent call last):
        ...
    sparsewire.core.errors.InvalidArgumentError: unknown preset 'anv'; use one of ds, anf, static,
    rigl, rlx2, gmp, or None for a dense agent. Did you mean 'anf'?
    """
    changes = {} if sparse_kwargs is None else sparse_kwargs
    if preset is None:
        if changes:
            raise InvalidArgumentError(
                "sparse_kwargs change a preset, but preset is None, a dense agent; pass one of "
                f"{', '.join(PRESETS)}."
            )
        return
    if not isinstance(preset, str) or preset not in PRESETS:
        raise InvalidArgumentError(
            f"unknown preset {preset!r}; use one of {', '.join(PRESETS)}, or None for a dense "
            f"agent.{suggest(str(preset), PRESETS)}"
        )
    for key in changes:
        if key not in OVERRIDES:
            raise InvalidArgumentError(
                f"sparse_kwargs has an unknown entry {key!r}; known are {', '.join(OVERRIDES)}."
                f"{suggest(str(key), OVERRIDES)}"
            )
        if key in PRESETS[preset].fixed:
            raise InvalidArgumentError(f"{key} has no meaning for preset {preset!r}; leave it out.")


def resolve_settings(
    preset: str,
    sparse_kwargs: Mapping[str, Any] | None = None,
    *,
    algorithm: str,
    env_id: str = "",
    seed: int | None = None,
    policy_delay: int = 1,
) -> SparsitySettings:
    """Work out the settings of one run.

    Parameters
    ----------
    preset : str
        Name of a preset.
    sparse_kwargs : mapping or None
        What replaces single entries: those of `OVERRIDES`. ``total_steps`` (1,000,000 unless given)
        is the length of training in critic gradient steps, at whose shares the presets ``rigl``,
        ``rlx2`` and ``gmp`` end.
    algorithm : {"td3", "ddpg", "sac"}
        The algorithm.
    env_id : str, default ""
        Name of the environment, for DS-TD3's densities.
    seed : int or None
        None draws one from fresh entropy, without touching any global generator.
    policy_delay : int, default 1
        Critic gradient steps per actor gradient step.

    Returns
    -------
    SparsitySettings
        Nothing in it is left to be decided.

    Raises
    ------
    InvalidArgumentError
        If a name is unknown or a value is out of range.
    """
    check_overrides(preset, sparse_kwargs)
    changes = dict(sparse_kwargs or {})
    row = PRESETS[preset]
    content: dict[str, Any] = {"preset": preset, **row.settings}
    if preset == "ds":
        content["drop_fraction"] = 0.1 if algorithm == "sac" else 0.05
        if not changes.keys() & {"density", "layers", "allocation"}:
            content["epsilon"] = published_epsilon(env_id, algorithm)
        if changes.get("epsilon") is not None:
            if changes.keys() & {"density", "allocation"}:
                raise InvalidArgumentError(
                    "epsilon fixes the number of connections; leave density and allocation out."
                )
            content["density"] = None
    total = check_integer("total_steps", changes.pop("total_steps", 1_000_000), minimum=1)
    if row.window is not None:
        begin, end = (round(share * total) for share in row.window)
        content |= {"begin": begin, "end": end}
    content |= changes
    if isinstance(content["layers"], list):
        content["layers"] = tuple(content["layers"])
    if content.get("storage") == "auto" and content.get("target") == "magnitude":
        content["storage"] = "masked"  # its target networks cannot be truly sparse
    if seed is None:
        seed = int(np.random.SeedSequence().generate_state(1)[0])
    return SparsitySettings(**content, seed=seed, policy_delay=policy_delay)
