"""How does an agent learn what somebody prefers? It is given rewards that are learned meanwhile.

`PreferenceLearner` is PEBBLE (Lee et al., 2021, arXiv:2106.05091) around any off-policy algorithm
of Stable-Baselines3, with the sparse reward model of R2N (see
`sparsewire.rl.preferences.reward_model`). Neither the algorithm nor its training loop is changed:
the environment gives learned rewards, and a callback asks the teacher, trains the reward model and
rewrites the rewards in the replay buffer.

Three things differ from PEBBLE's code. Rewards of the unsupervised phase are computed once (see
`sparsewire.rl.preferences.exploration`); critics are not reset after it; and feedback comes at the
end of a rollout, the first moment at which every transition is in the replay buffer.
"""

import os
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from sparsewire.core._files import replacing
from sparsewire.core._validation import suggest
from sparsewire.core.errors import CheckpointError, InvalidArgumentError, UnsupportedError
from sparsewire.rl.envs.noisy import relevant_mask
from sparsewire.rl.preferences.environment import (
    ActionEncoder,
    LearnedReward,
    as_vec_env,
    layers_of_env,
)
from sparsewire.rl.preferences.feedback import FeedbackLoop, FeedbackSession, Schedule
from sparsewire.rl.preferences.reward_model import RewardModel
from sparsewire.rl.preferences.segments import SegmentBuffer
from sparsewire.rl.preferences.teacher import ScriptedTeacher
from sparsewire.rl.sparsity_report import Focus

_REWARD_KWARGS = ("n_members", "net_arch", "learning_rate", "batch_size", "device")
_ROWS_AT_ONCE = 4096  # of the replay buffer


class PreferenceLearner(BaseCallback):
    """Learns a reward from preferences while an agent learns from that reward.

    Give the algorithm `env` of this object, and this object to ``learn`` as a callback. The first
    `warmup_steps` reward new observations. Then the teacher compares pairs of segments of what the
    agent did, `feedback_per_session` at a time, until `feedback` preferences are given; after each
    session the reward model learns from all of them and the replay buffer gets its rewards.

    Parameters
    ----------
    env : gymnasium.Env or VecEnv
        With observations that are vectors, and continuous or numbered actions.
    feedback : int, default 1400
        Preferences in all.
    feedback_per_session : int, default 128
        Preferences asked for at a time; the last session takes what is left.
    feedback_every : int, default 5000
        Steps between two sessions, of all environments together.
    warmup_steps : int, default 6000
        Steps before the first session; in B-Pref's code 1000 random and 5000 exploring ones. The
        algorithm's ``learning_starts`` says how many are random.
    segment_length : int, default 50
        Steps of a segment; episodes that are shorter are never asked about, which is warned of if
        there are no others.
    sampling : {"uniform", "disagreement"}, default "uniform"
        Whether pairs are random, or those that the networks of the reward model disagree about
        most.
    teacher : ScriptedTeacher or None, default None
        Who is asked; None is one that never errs.
    preset : str or None, default "anf"
        How the reward model is sparse; None is PEBBLE's dense one. See `RewardModel`.
    sparse_kwargs : mapping or None, default None
        Single entries of the preset to be replaced; see `RewardModel`.
    reward_kwargs : mapping or None, default None
        Other arguments of `RewardModel`: ``n_members``, ``net_arch``, ``learning_rate``,
        ``batch_size``, ``device``.
    reward_epochs : int, default 200
        Passes over all preferences in a session; fewer if 97 % of them are explained.
    seed : int, default 0
        Of the reward model and the choice of pairs. The global generators are not touched.
    verbose : int, default 0
        1 prints each session.

    Attributes
    ----------
    env : VecEnv
        The environments with learned rewards; the true ones are in ``info["true_reward"]`` and, as
        sums, in what ``Monitor`` reports.
    reward_model : RewardModel
        What is learned.
    sessions : list of FeedbackSession
        Those held so far.
    feedback_given : int
        Preferences given so far.

    Raises
    ------
    InvalidArgumentError
        If an argument is out of range, or `env` normalises or has learned rewards already. When
        training starts, if the algorithm has another environment.
    UnsupportedError
        If observations or actions are of another kind. When training starts, if the algorithm has
        no replay buffer or one that does not hold what was observed, such as
        `FreshNoiseReplayBuffer`.

    Notes
    -----
    Defaults are those of the released code of B-Pref (Lee et al., 2021, arXiv:2111.03026), except
    for `preset`.

    To normalise, wrap `env` of this object: ``VecNormalize(learner.env)``. The reward model sees
    raw observations all the same, as the replay buffer holds them, and running moments of rewards
    mix those of all its versions, so ``norm_reward=False`` is the safer choice. Other wrappers
    outside must leave observations and actions as they are. After a permutation of `NoisyFeatures`,
    segments and preferences from before keep the old order.

    `feedback_every` and the rest count steps that this object has seen, also over several calls of
    ``learn``. Evaluation environments give the true reward; one made by `eval_env` is wrapped like
    the training environment, which ``EvalCallback`` compares.

    Examples
    --------
    >>> import sparsewire.rl
    >>> from sparsewire.rl import SparseSAC
    >>> env = gym.make("NoisyPendulum-v1", noise_fraction=0.9)
    >>> learner = PreferenceLearner(
    ...     env, feedback=20, feedback_per_session=10, feedback_every=50, warmup_steps=50,
    ...     segment_length=10, reward_kwargs={"net_arch": [16]}, reward_epochs=2,
    ... )
    >>> model = SparseSAC("MlpPolicy", learner.env, preset="anf", buffer_size=500, seed=0)
    >>> _ = model.learn(120, callback=learner)
    >>> [(session.steps, session.feedback) for session in learner.sessions]
    [(50, 10), (100, 20)]
    """

    def __init__(
        self,
        env: gym.Env[Any, Any] | VecEnv,
        feedback: int = 1400,
        feedback_per_session: int = 128,
        feedback_every: int = 5000,
        warmup_steps: int = 6000,
        segment_length: int = 50,
        sampling: str = "uniform",
        teacher: ScriptedTeacher | None = None,
        preset: str | None = "anf",
        sparse_kwargs: Mapping[str, Any] | None = None,
        reward_kwargs: Mapping[str, Any] | None = None,
        reward_epochs: int = 200,
        seed: int = 0,
        verbose: int = 0,
    ) -> None:
        super().__init__(verbose)
        schedule = Schedule(
            feedback,
            feedback_per_session,
            feedback_every,
            warmup_steps,
            segment_length,
            sampling,
            reward_epochs,
            seed,
        )
        venv = as_vec_env(env)
        n_observation = _check_env(venv)
        self._encode = ActionEncoder(venv.action_space)
        model = RewardModel(
            n_observation,
            self._encode.size,
            preset=preset,
            sparse_kwargs=sparse_kwargs,
            seed=seed,
            **_check_reward_kwargs(reward_kwargs),
        )
        buffer = SegmentBuffer(n_observation, self._encode.size, venv.num_envs)
        self._loop = FeedbackLoop(model, buffer, teacher or ScriptedTeacher(seed=seed), schedule)
        self.env: VecEnv = LearnedReward(venv, self._loop)
        self._warned = False

    @property
    def reward_model(self) -> RewardModel:
        """What is learned."""
        return self._loop.model

    @property
    def sessions(self) -> list[FeedbackSession]:
        """Sessions held so far."""
        return self._loop.sessions

    @property
    def feedback_given(self) -> int:
        """Preferences given so far."""
        return self._loop.feedback

    def eval_env(self, env: gym.Env[Any, Any] | VecEnv) -> VecEnv:
        """Wrap an evaluation environment like the training environment; its rewards stay true.

        Parameters
        ----------
        env : gymnasium.Env or VecEnv
            Made like the training environment.

        Returns
        -------
        VecEnv
            For ``EvalCallback``; wrap it in ``VecNormalize`` if the training environment is.
        """
        return LearnedReward(as_vec_env(env), None)

    def focus(self) -> list[Focus]:
        """Count the reward model's connections of real and of noise features.

        Returns
        -------
        list of Focus
            One per network; empty if the environment does not say which features are real.
        """
        mask = relevant_mask(self.env)
        return [] if mask is None else self.reward_model.focus(mask)

    # While the agent learns

    def _on_training_start(self) -> None:
        if not isinstance(self.model, OffPolicyAlgorithm):
            raise UnsupportedError(
                f"{type(self.model).__name__} has no replay buffer; use an off-policy algorithm, "
                "such as SparseSAC."
            )
        if self.env not in layers_of_env(self.training_env):
            raise InvalidArgumentError(
                "the algorithm has another environment than this learner's; make it with "
                "learner.env, not with the environment that the learner was given."
            )
        self._buffer()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        if not self._loop.due:
            self._warn_if_overdue()
            return
        session = self._loop.learn()
        self.relabel(self._buffer())
        for name in ("feedback", "loss", "accuracy", "epochs"):
            self.logger.record(f"preference/{name}", getattr(session, name))
        for focus in self.focus():
            self.logger.record(f"focus/{focus.network}_ratio", focus.ratio)
        if self.verbose:
            print(  # noqa: T201
                f"step {session.steps}: {session.feedback} preferences, "
                f"{session.accuracy:.0%} explained after {session.epochs} passes"
            )

    def _warn_if_overdue(self) -> None:
        if self._loop.overdue and not self._warned:
            self._warned = True
            length = self._loop.schedule.segment_length
            warnings.warn(
                f"no episode has had segment_length={length} steps so far, so the teacher has "
                "nothing to compare; choose shorter segments unless episodes will get longer.",
                UserWarning,
                stacklevel=2,
            )

    def relabel(self, replay_buffer: ReplayBuffer) -> None:
        """Replace all rewards in a replay buffer by what the model predicts now.

        Parameters
        ----------
        replay_buffer : ReplayBuffer
            With observations of the training environment, not normalised.
        """
        for start in range(0, replay_buffer.size(), _ROWS_AT_ONCE):
            rows = slice(start, min(start + _ROWS_AT_ONCE, replay_buffer.size()))
            actions = self._encode.of_buffer(replay_buffer.actions[rows])
            replay_buffer.rewards[rows] = self.reward_model.predict(
                replay_buffer.observations[rows], actions
            )

    def _buffer(self) -> ReplayBuffer:
        """Return the replay buffer of the agent if it holds what the environment shows."""
        assert isinstance(self.model, OffPolicyAlgorithm)
        buffer = self.model.replay_buffer
        size = self.reward_model.n_observation
        if not isinstance(buffer, ReplayBuffer) or getattr(buffer, "obs_shape", None) != (size,):
            raise UnsupportedError(
                f"{type(buffer).__name__} does not hold observations as the environment shows "
                f"them, vectors of {size} features, so their rewards cannot be predicted; use an "
                "ordinary ReplayBuffer and no wrapper that changes observations."
            )
        return buffer

    # Files

    def state_dict(self) -> dict[str, Any]:
        """Return everything learned and remembered as tensors, numbers and strings."""
        return self._loop.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`; nothing changes if it does not fit.

        Raises
        ------
        CheckpointError
            If it is damaged, or of a learner made with other arguments.
        """
        self._loop.load_state_dict(state)
        self._loop.interrupt()  # the environments have not made the saved steps

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the state to a file, atomically; the agent and its replay buffer are not in it.

        Parameters
        ----------
        path : path
            File to write; an existing one is replaced only when the new one is complete.
        """
        with replacing(path) as temporary:
            torch.save(self.state_dict(), temporary)

    def restore(self, path: str | os.PathLike[str]) -> None:
        """Read a file written by `save` into a learner made with the same arguments.

        Parameters
        ----------
        path : path
            File to read; no code in it is executed.

        Raises
        ------
        CheckpointError
            If it is damaged or does not fit; nothing has changed then.
        OSError
            If it cannot be opened.
        """
        with Path(path).open("rb") as file:
            try:
                with zipfile.ZipFile(file) as archive:  # torch ignores its files' checksums
                    damaged = archive.testzip()
                file.seek(0)
                state = torch.load(file, map_location="cpu", weights_only=True)
            except Exception as error:  # parsing foreign bytes can raise anything
                raise CheckpointError(
                    f"{path} cannot be read: {type(error).__name__}: {error}"
                ) from error
        if damaged is not None:
            raise CheckpointError(f"{path} cannot be read: {damaged} is damaged.")
        self.load_state_dict(state)


def _check_env(venv: VecEnv) -> int:
    """Return the number of observed features."""
    for layer in layers_of_env(venv):
        if isinstance(layer, LearnedReward):
            raise InvalidArgumentError(
                "env has learned rewards already; give the learner the environment itself."
            )
        if isinstance(layer, VecNormalize):
            raise InvalidArgumentError(
                "env is in a VecNormalize, whose replayed rewards would be the true ones; give the "
                "learner what is inside, and the algorithm VecNormalize(learner.env)."
            )
    space = venv.observation_space
    if not isinstance(space, spaces.Box) or len(space.shape) != 1:
        raise UnsupportedError(
            "learned rewards need observations that are vectors, a Box of shape (n,), but the "
            f"environment has {space}; apply gymnasium.wrappers.FlattenObservation first."
        )
    return int(space.shape[0])


def _check_reward_kwargs(reward_kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
    for name in reward_kwargs or {}:
        if name not in _REWARD_KWARGS:
            raise InvalidArgumentError(
                f"reward_kwargs has an unknown entry {name!r}; known are "
                f"{', '.join(_REWARD_KWARGS)}.{suggest(str(name), _REWARD_KWARGS)}"
            )
    return dict(reward_kwargs or {})
