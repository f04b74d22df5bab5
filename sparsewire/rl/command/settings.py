"""What does a run consist of? Its settings, as typed by the user, and their YAML form."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sparsewire.core._validation import check_integer
from sparsewire.core.errors import InvalidArgumentError
from sparsewire.reporting.arguments import plain

EVALUATION_SEED_OFFSET = 10_000
"""Added to a run's seed for its evaluation environment, which shares no episode with training."""

MAX_SEED = 2**32 - 1 - EVALUATION_SEED_OFFSET
"""The largest seed for which the evaluation's seed still fits NumPy's 32 bits."""

_WITHOUT_EFFECT = ("save_freq", "save_replay_buffer", "tensorboard_log", "device", "num_threads")
"""Settings that say how a run is done, not what it is."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One training run. Defaults are the RL Zoo's unless another reason is given.

    Attributes
    ----------
    algo : str
        Name of the algorithm, such as ``anf-td3``.
    env : str
        Id of the environment.
    env_kwargs : dict
        Arguments of the environment, such as ``noise_fraction``.
    n_timesteps : int
        Environment steps of the whole run; 1e6 is what the papers train.
    seed : int
        Seed of everything random.
    eval_freq : int
        Environment steps between two evaluations, 0 for none; 5000 is also DS-TD3's.
    eval_episodes : int
        Episodes of one evaluation; 10 is DS-TD3's.
    save_freq : int
        Environment steps between two checkpoints; 0 (the default) for only one at the end.
    save_replay_buffer : bool
        Whether checkpoints hold the replay buffer, without which a resumed run differs.
    tensorboard_log : str or None
        Folder of the TensorBoard logs.
    device : str
        Where the networks are: "auto", "cpu", "cuda".
    num_threads : int
        Threads of torch; 1, because networks this small gain nothing from more.
    params : dict
        Hyperparameters that replace the algorithm's own.

    Raises
    ------
    InvalidArgumentError
        If a number is outside its range or a value is of a kind that YAML cannot hold safely.

    Examples
    --------
    >>> settings = Settings(algo="td3", env="Pendulum-v1", n_timesteps=1000)
    >>> Settings.from_plain(settings.as_plain()) == settings
    True
    """

    algo: str
    env: str
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    n_timesteps: int = 1_000_000
    seed: int = 0
    eval_freq: int = 5000
    eval_episodes: int = 10
    save_freq: int = 0
    save_replay_buffer: bool = False
    tensorboard_log: str | None = None
    device: str = "auto"
    num_threads: int = 1
    params: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, minimum in (
            ("n_timesteps", 1), ("seed", 0), ("eval_freq", 0), ("eval_episodes", 1),
            ("save_freq", 0), ("num_threads", 1),
        ):  # fmt: skip
            check_integer(name, getattr(self, name), minimum=minimum)
        if self.seed > MAX_SEED:
            raise InvalidArgumentError(f"seed must be at most {MAX_SEED}, got {self.seed}.")
        for name in ("algo", "env", "device"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise InvalidArgumentError(f"{name} must be a name, got {getattr(self, name)!r}.")
        for name in ("env_kwargs", "params"):
            object.__setattr__(self, name, _plain_dict(name, getattr(self, name)))
        _check_noise_fraction(self.env_kwargs)

    def as_plain(self) -> dict[str, Any]:
        """Return the settings as a dictionary that YAML can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_plain(cls, content: Mapping[str, Any]) -> Settings:
        """Make settings from what `as_plain` returned.

        Raises
        ------
        InvalidArgumentError
            If a name is missing or unknown, or a value is wrong.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        if strange := names ^ content.keys():
            raise InvalidArgumentError(
                f"settings are missing or unknown: {', '.join(sorted(map(str, strange)))}."
            )
        return cls(**content)

    def same_training(self, other: Settings) -> bool:
        """Tell whether two runs would give the same evaluations, wherever they are logged."""
        return self._outcome() == other._outcome()

    def _outcome(self) -> dict[str, Any]:
        content = self.as_plain()
        for name in _WITHOUT_EFFECT:
            del content[name]
        return content


def _plain_dict(name: str, values: object) -> dict[str, Any]:
    try:
        content = plain(values)
    except ValueError:
        content = None
    if isinstance(content, dict):
        return content
    raise InvalidArgumentError(
        f"{name} must be a dictionary of numbers, strings, lists and dictionaries, got {values!r}."
    )


def _check_noise_fraction(env_kwargs: Mapping[str, Any]) -> None:
    fraction = env_kwargs.get("noise_fraction", 0.0)
    if not isinstance(fraction, int | float) or not 0 <= fraction < 1:  # NaN fails as well
        raise InvalidArgumentError(f"noise_fraction must be in [0, 1), got {fraction!r}.")
