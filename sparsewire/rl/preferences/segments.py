"""Which behaviour can be asked about? Segments: some consecutive steps within one episode.

A `SegmentBuffer` remembers what happened and gives random segments with their true returns. What a
reward model learns from, `Segments` and `Preferences`, has no rewards in it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sparsewire.core._validation import check_integer
from sparsewire.core.errors import CheckpointError, InvalidArgumentError, StateError

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Segments:
    """Observations and actions of some segments of equal length.

    Parameters
    ----------
    observations : ndarray of float32 of shape (n, length, n_observation)
        What was observed before each action.
    actions : ndarray of float32 of shape (n, length, n_action)
        The actions as the reward model gets them; see `sparsewire.rl.preferences.environment`.

    Examples
    --------
    >>> segments = Segments(np.zeros((3, 5, 2), np.float32), np.zeros((3, 5, 1), np.float32))
    >>> len(segments), len(segments.take([0, 2]))
    (3, 2)
    """

    observations: Floats
    actions: Floats

    def __len__(self) -> int:
        return len(self.observations)

    def take(self, indices: npt.ArrayLike) -> "Segments":
        """Return some of them, in the order of `indices`."""
        rows = np.asarray(indices, dtype=np.int64)
        return Segments(self.observations[rows], self.actions[rows])

    def __add__(self, other: "Segments") -> "Segments":
        return Segments(
            np.concatenate([self.observations, other.observations]),
            np.concatenate([self.actions, other.actions]),
        )


@dataclass(frozen=True)
class Preferences:
    """Pairs of segments and what the teacher said about them.

    Parameters
    ----------
    first, second : Segments
        The two of each pair; equally many, of one shape.
    labels : ndarray of float32 of shape (n,)
        1 where the second is preferred, 0 where the first is, 0.5 where neither is.

    Raises
    ------
    InvalidArgumentError
        If the shapes do not fit together, or a label is not in [0, 1].

    Examples
    --------
    >>> segments = Segments(np.zeros((3, 5, 2), np.float32), np.zeros((3, 5, 1), np.float32))
    >>> pair = Preferences(segments, segments, np.full(3, 0.5, np.float32))
    >>> len(pair), len(pair + pair)
    (3, 6)
    """

    first: Segments
    second: Segments
    labels: Floats

    def __post_init__(self) -> None:
        """Check that everything fits together."""
        shapes = {
            (s.observations.shape, s.actions.shape[:2], s.actions.shape[2:])
            for s in (self.first, self.second)
        }
        if len(shapes) > 1 or self.labels.shape != (len(self.first),):
            raise InvalidArgumentError(
                "preferences need as many first as second segments as labels, all of one length, "
                f"got {self.first.observations.shape}, {self.second.observations.shape} and "
                f"{self.labels.shape}."
            )
        if not ((self.labels >= 0) & (self.labels <= 1)).all():
            raise InvalidArgumentError(
                "labels must be 1 where the second segment is preferred, 0 where the first is, and "
                f"0.5 where neither is, got {np.unique(self.labels)[:5]}."
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __add__(self, other: "Preferences") -> "Preferences":
        labels = np.concatenate([self.labels, other.labels])
        return Preferences(self.first + other.first, self.second + other.second, labels)


class SegmentBuffer:
    """The last steps of some environments, of which random segments are taken.

    Memory is taken up as it fills, ``4 * (n_observation + n_action + 3)`` bytes a step.

    Parameters
    ----------
    n_observation, n_action : int
        Lengths of an observation and of an action.
    n_envs : int, default 1
        Environments that step at the same time.
    capacity : int, default 100_000
        Steps kept, of all environments together: 100 episodes of 1000 steps, as many as the
        released code of B-Pref keeps.

    Attributes
    ----------
    n_steps : int
        Steps in it now, of all environments together.

    Raises
    ------
    InvalidArgumentError
        If an argument is out of range.

    Examples
    --------
    >>> buffer = SegmentBuffer(n_observation=2, n_action=1)
    >>> for t in range(10):
    ...     buffer.add(np.full((1, 2), t), np.zeros((1, 1)), np.array([t]), np.array([t == 5]))
    >>> segments, returns = buffer.sample(3, length=4, generator=np.random.default_rng(0))
    >>> segments.observations.shape, buffer.count(4)  # steps 0 to 5 and 6 to 9 belong together
    ((3, 4, 2), 4)
    """

    def __init__(
        self, n_observation: int, n_action: int, n_envs: int = 1, capacity: int = 100_000
    ) -> None:
        sizes = {"n_observation": n_observation, "n_action": n_action, "n_envs": n_envs}
        for name, size in sizes.items():
            check_integer(name, size, minimum=1)
        rows = check_integer("capacity", capacity, minimum=n_envs) // n_envs
        self._arrays: dict[str, npt.NDArray[Any]] = {
            "observations": np.empty((rows, n_envs, n_observation), np.float32),
            "actions": np.empty((rows, n_envs, n_action), np.float32),
            "rewards": np.empty((rows, n_envs), np.float32),
            "episodes": np.empty((rows, n_envs), np.int64),
        }
        self._episode = np.zeros(n_envs, np.int64)  # the number each one is in
        self._position = 0
        self._filled = 0

    @property
    def n_steps(self) -> int:
        """Steps in it now, of all environments together."""
        return self._filled * len(self._episode)

    @property
    def observations(self) -> Floats:
        """A view of all observations in it, of shape (rows, n_envs, n_observation), unordered."""
        view: Floats = self._arrays["observations"][: self._filled]
        return view

    def add(
        self,
        observations: npt.ArrayLike,
        actions: npt.ArrayLike,
        rewards: npt.ArrayLike,
        dones: npt.ArrayLike,
    ) -> None:
        """Remember one step of each environment, in place of the oldest if it is full.

        Parameters
        ----------
        observations : array of shape (n_envs, n_observation)
            Before the actions.
        actions : array of shape (n_envs, n_action)
            The actions.
        rewards : array of shape (n_envs,)
            True rewards.
        dones : array of bool of shape (n_envs,)
            Whether the episode ended with this step.
        """
        row = self._position
        values = {"observations": observations, "actions": actions, "rewards": rewards}
        for name, value in values.items():
            self._arrays[name][row] = value
        self._arrays["episodes"][row] = self._episode
        self._episode += np.asarray(dones, dtype=np.bool_)
        self._position = (row + 1) % len(self._arrays["rewards"])
        self._filled = max(self._filled, row + 1)

    def interrupt(self) -> None:
        """Let no segment go on from here: the environments are being reset."""
        self._episode += 1

    def count(self, length: int) -> int:
        """Return how many segments of `length` steps there are."""
        return len(self._starts(length)[0])

    def sample(
        self, n: int, length: int, generator: np.random.Generator
    ) -> tuple[Segments, Floats]:
        """Take random segments, each equally likely, with replacement.

        Parameters
        ----------
        n : int
            How many.
        length : int
            Steps in each.
        generator : numpy.random.Generator
            Draws them.

        Returns
        -------
        segments : Segments
            What was observed and done.
        returns : ndarray of float32 of shape (n,)
            Sums of the true rewards, for the teacher.

        Raises
        ------
        StateError
            If no episode has that many steps yet.
        """
        starts, envs = self._starts(length)
        if not len(starts):
            raise StateError(
                f"there is no segment of {length} steps among {self.n_steps} steps; collect more, "
                "or ask for segments shorter than the episodes."
            )
        chosen = generator.integers(len(starts), size=n)
        age = starts[chosen, None] + np.arange(length)
        rows = (age + self._oldest) % len(self._arrays["rewards"])
        where = rows, envs[chosen, None]
        segments = Segments(self._arrays["observations"][where], self._arrays["actions"][where])
        returns: Floats = self._arrays["rewards"][where].sum(axis=1)
        return segments, returns

    @property
    def _oldest(self) -> int:
        return self._position if self._filled == len(self._arrays["rewards"]) else 0

    def _starts(self, length: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return at which steps, counted from the oldest, and in which environments they start."""
        length = check_integer("length", length, minimum=1)
        if self._filled < length:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        episodes = np.roll(self._arrays["episodes"][: self._filled], -self._oldest, axis=0)
        starts, envs = np.nonzero(episodes[: self._filled - length + 1] == episodes[length - 1 :])
        return starts, envs

    def state_dict(self) -> dict[str, Any]:
        """Return everything in it as tensors and numbers."""
        arrays = {
            name: torch.from_numpy(array[: self._filled].copy())
            for name, array in self._arrays.items()
        }
        episode = torch.from_numpy(self._episode.copy())
        return {**arrays, "episode": episode, "position": self._position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`; nothing changes if it does not fit.

        Raises
        ------
        CheckpointError
            If it is of other observations, actions, environments or capacity, or damaged.
        """
        own = self.state_dict()
        rows = len(self._arrays["rewards"])
        damaged = CheckpointError(
            "the saved segments are damaged, or of another environment, n_envs or capacity."
        )
        if not isinstance(state, dict) or state.keys() != own.keys():
            raise damaged
        position = state["position"]
        arrays = [state[name] for name in self._arrays]
        if not all(isinstance(t, torch.Tensor) for t in [*arrays, state["episode"]]):
            raise damaged
        filled = len(arrays[0])
        fits = all(
            found.shape == (filled, *array.shape[1:]) and found.dtype == own[name].dtype
            for (name, array), found in zip(self._arrays.items(), arrays, strict=True)
        )
        expected = range(rows) if filled == rows else (filled,)
        same = state["episode"].shape == own["episode"].shape
        if not fits or not same or filled > rows or position not in expected:
            raise damaged
        for (_, array), found in zip(self._arrays.items(), arrays, strict=True):
            array[:filled] = found.numpy()
        self._episode = state["episode"].numpy().copy()
        self._position, self._filled = position, filled
