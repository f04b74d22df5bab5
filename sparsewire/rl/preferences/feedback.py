"""When is the teacher asked, and what follows? A session of feedback: ask, label, train.

A `FeedbackLoop` owns what is learned from a teacher: the reward model, the segments that can be
asked about, the preferences so far and the budget. It knows nothing of agents or environments,
which tell it what happened and take rewards from it.
"""

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sparsewire.core._validation import check_integer
from sparsewire.core.errors import CheckpointError, InvalidArgumentError, StateError
from sparsewire.rl.envs._random import named_generator
from sparsewire.rl.preferences.exploration import state_entropy_reward
from sparsewire.rl.preferences.queries import check_sampling, choose_queries
from sparsewire.rl.preferences.reward_model import RewardModel
from sparsewire.rl.preferences.segments import Preferences, SegmentBuffer, Segments
from sparsewire.rl.preferences.state import check_counts, check_state
from sparsewire.rl.preferences.teacher import ScriptedTeacher

Floats = npt.NDArray[np.float32]

_FORMAT = {"format": "sparsewire.rl.feedback", "version": 1}
_WHAT = "preference learner"
_REMEMBERED = 10_000  # observations that new ones are compared with, which takes time at each step


@dataclass(frozen=True)
class Schedule:
    """How much feedback there is, and when.

    Parameters
    ----------
    feedback : int
        Preferences in all.
    per_session : int
        Preferences asked for at a time.
    every : int
        Steps between two sessions.
    warmup_steps : int
        Steps before the first one.
    segment_length : int
        Steps of a segment.
    sampling : {"uniform", "disagreement"}
        How pairs are chosen; the first session, when no member has learned anything, is uniform.
    epochs : int
        Passes over all preferences in a session, at most.
    seed : int
        Of the choice of pairs.

    Raises
    ------
    InvalidArgumentError
        If an entry is out of range.

    Examples
    --------
    >>> Schedule(10, 5, every=100, warmup_steps=50, segment_length=5).due_after(1)
    150
    """

    feedback: int
    per_session: int
    every: int
    warmup_steps: int
    segment_length: int
    sampling: str = "uniform"
    epochs: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        """Check all entries."""
        for name in ("feedback", "per_session", "every", "segment_length", "epochs"):
            check_integer(_ARGUMENTS.get(name, name), getattr(self, name), minimum=1)
        for name in ("warmup_steps", "seed"):
            check_integer(name, getattr(self, name), minimum=0)
        check_sampling(self.sampling)

    def due_after(self, sessions: int) -> int:
        """Return after which step the next session is due, given the number of those held."""
        return self.warmup_steps + sessions * self.every


# What the user calls them: the arguments of PreferenceLearner.
_ARGUMENTS = {
    "per_session": "feedback_per_session",
    "every": "feedback_every",
    "epochs": "reward_epochs",
}


@dataclass(frozen=True)
class FeedbackSession:
    """What one session brought.

    Attributes
    ----------
    steps : int
        Steps of all environments before it.
    feedback : int
        Preferences given so far, with this session's.
    epochs : int
        Passes that the reward model made.
    loss, accuracy : float
        Of the last pass: see `sparsewire.rl.preferences.reward_model.Fit`.
    """

    steps: int
    feedback: int
    epochs: int
    loss: float
    accuracy: float


class FeedbackLoop:
    """Learns a reward from a teacher while something else makes steps.

    Parameters
    ----------
    model : RewardModel
        What learns.
    buffer : SegmentBuffer
        Empty, for observations and actions of the model's lengths.
    teacher : ScriptedTeacher
        Who is asked.
    schedule : Schedule
        How much and when.

    Attributes
    ----------
    preferences : Preferences or None
        All given so far.
    sessions : list of FeedbackSession
        Those held so far.
    steps : int
        Steps made so far, of all environments together.

    Examples
    --------
    >>> schedule = Schedule(10, 5, every=100, warmup_steps=50, segment_length=5)
    >>> model = RewardModel(n_observation=2, n_action=1, net_arch=[8])
    >>> loop = FeedbackLoop(model, SegmentBuffer(2, 1), ScriptedTeacher(), schedule)
    >>> for t in range(50):
    ...     x = np.full((1, 2), t, np.float32)
    ...     loop.remember(x, x[:, :1], np.array([t]), np.array([False]))
    >>> loop.due, loop.learn().feedback, loop.due
    (True, 5, False)
    """

    def __init__(
        self,
        model: RewardModel,
        buffer: SegmentBuffer,
        teacher: ScriptedTeacher,
        schedule: Schedule,
    ) -> None:
        self.model = model
        self.buffer = buffer
        self.teacher = teacher
        self.schedule = schedule
        self.preferences: Preferences | None = None
        self.sessions: list[FeedbackSession] = []
        self.steps = 0

    # For the environment

    def reward(self, observations: Floats, actions: Floats) -> Floats:
        """Return the predicted rewards, or before the first session those for exploring."""
        if self.sessions:
            return self.model.predict(observations, actions)
        memory = self.buffer.observations
        memory = memory.reshape(-1, memory.shape[-1])[:_REMEMBERED]
        return state_entropy_reward(observations, memory)

    def remember(
        self,
        observations: Floats,
        actions: Floats,
        rewards: npt.NDArray[Any],
        dones: npt.NDArray[Any],
    ) -> None:
        """Take note of a step of each environment and its true reward."""
        self.buffer.add(observations, actions, rewards, dones)
        self.steps += len(observations)

    def interrupt(self) -> None:
        """Take note that the environments are being reset."""
        self.buffer.interrupt()

    # Feedback

    @property
    def feedback(self) -> int:
        """Preferences given so far."""
        return 0 if self.preferences is None else len(self.preferences)

    @property
    def due(self) -> bool:
        """Whether it is time for a session, there is budget left, and something to ask about."""
        return (
            self.feedback < self.schedule.feedback
            and self.steps >= self.schedule.due_after(len(self.sessions))
            and self.buffer.count(self.schedule.segment_length) > 0
        )

    @property
    def overdue(self) -> bool:
        """Whether a session could not be held until the one after it was due, too."""
        return self.feedback < self.schedule.feedback and self.steps > self.schedule.due_after(
            len(self.sessions) + 1
        )

    def learn(self) -> FeedbackSession:
        """Hold a session now: choose pairs, ask the teacher, train the reward model.

        Returns
        -------
        FeedbackSession
            What it brought.

        Raises
        ------
        StateError
            If the budget is used up, or no episode is as long as a segment yet.
        """
        plan = self.schedule
        n = min(plan.per_session, plan.feedback - self.feedback)
        if n == 0:
            raise StateError(f"all feedback={plan.feedback} preferences have been given.")
        held = len(self.sessions)
        pairs, returns = choose_queries(
            self.buffer,
            self.model,
            n,
            plan.segment_length,
            named_generator("queries", plan.seed, held),
            plan.sampling if held else "uniform",
        )
        new = Preferences(*pairs, self.teacher.compare(*returns))
        self.preferences = new if self.preferences is None else self.preferences + new
        fit = self.model.fit(self.preferences, plan.epochs)
        self.sessions.append(FeedbackSession(self.steps, self.feedback, **asdict(fit)))
        return self.sessions[-1]

    # State

    def state_dict(self) -> dict[str, Any]:
        """Return everything needed to go on bit for bit, as tensors, numbers and strings."""
        return {
            **_FORMAT,
            "schedule": asdict(self.schedule),
            "teacher": self.teacher.settings(),
            "calls": self.teacher.calls,
            "steps": self.steps,
            "sessions": [asdict(session) for session in self.sessions],
            "preferences": None if self.preferences is None else _pack(self.preferences),
            "model": self.model.state_dict(),
            "buffer": self.buffer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`; nothing changes if it does not fit.

        Raises
        ------
        CheckpointError
            If it is damaged, or of other settings.
        """
        check_state(state, self.state_dict(), ("schedule", "teacher"), _WHAT)
        check_counts(state, ("steps", "calls"), _WHAT)
        try:
            sessions = [FeedbackSession(**session) for session in state["sessions"]]
            saved = state["preferences"]
            preferences = None if saved is None else _unpack(saved, self.model)
        except (InvalidArgumentError, TypeError, KeyError, AttributeError) as error:
            raise CheckpointError(f"the saved preferences are damaged: {error}") from error
        before = copy.deepcopy(self.model.state_dict())
        self.model.load_state_dict(state["model"])
        try:
            self.buffer.load_state_dict(state["buffer"])
        except CheckpointError:
            self.model.load_state_dict(before)
            raise
        self.preferences, self.sessions = preferences, sessions
        self.steps, self.teacher.calls = state["steps"], state["calls"]


def _pack(preferences: Preferences) -> dict[str, torch.Tensor]:
    arrays = {"labels": preferences.labels}
    for name in ("first", "second"):
        segments: Segments = getattr(preferences, name)
        arrays[f"{name}_observations"] = segments.observations
        arrays[f"{name}_actions"] = segments.actions
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _unpack(state: Mapping[str, torch.Tensor], model: RewardModel) -> Preferences:
    arrays = {name: tensor.numpy().astype(np.float32) for name, tensor in state.items()}
    first, second = (
        Segments(arrays[f"{name}_observations"], arrays[f"{name}_actions"])
        for name in ("first", "second")
    )
    preferences = Preferences(first, second, arrays["labels"])
    model.probabilities(first.take([]), second.take([]))  # raises if the shapes do not fit
    return preferences
