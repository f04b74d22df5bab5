import pickle
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import DQN, PPO, SAC, TD3
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecFrameStack, VecNormalize

from sparsewire.core import CheckpointError, InvalidArgumentError, StateError, UnsupportedError
from sparsewire.rl import (
    FreshNoiseReplayBuffer,
    NoisyFeatures,
    PreferenceLearner,
    ScriptedTeacher,
    SparseSAC,
)
from tests.rl.preferences.helpers import Array, Drift

SMALL: dict[str, Any] = {
    "feedback": 25,
    "feedback_per_session": 10,
    "feedback_every": 40,
    "warmup_steps": 60,
    "segment_length": 5,
    "reward_kwargs": {"net_arch": [8]},
    "reward_epochs": 2,
}


def agent(**changes: Any) -> dict[str, Any]:
    """Return settings of a tiny agent; Stable-Baselines3 writes into ``policy_kwargs``."""
    return {
        "buffer_size": 400,
        "learning_starts": 30,
        "batch_size": 8,
        "policy_kwargs": {"net_arch": [8]},
        "seed": 0,
        **changes,
    }


def envs(n: int, **arguments: Any) -> DummyVecEnv:
    return DummyVecEnv([lambda: Drift(**arguments) for _ in range(n)])


def replay(model: OffPolicyAlgorithm) -> ReplayBuffer:
    assert isinstance(model.replay_buffer, ReplayBuffer)
    return model.replay_buffer


def assert_relabelled(learner: PreferenceLearner, buffer: ReplayBuffer, rows: slice) -> None:
    size = buffer.size()
    actions = buffer.actions[:size].astype(np.float32)
    if buffer.actions.dtype.kind == "i":
        actions = np.eye(3, dtype=np.float32)[buffer.actions[:size, :, 0]]
    expected = learner.reward_model.predict(buffer.observations[:size], actions)
    np.testing.assert_allclose(buffer.rewards[:size][rows], expected[rows], rtol=1e-3, atol=2e-6)


@pytest.mark.parametrize(
    ("algorithm", "discrete", "n_envs"),
    [(SparseSAC, False, 1), (SAC, False, 2), (TD3, False, 1), (DQN, True, 1), (DQN, True, 3)],
)
def test_replayed_rewards_are_the_models_predictions(
    algorithm: type[OffPolicyAlgorithm], discrete: bool, n_envs: int
) -> None:
    learner = PreferenceLearner(envs(n_envs, discrete=discrete), **SMALL)
    model = algorithm("MlpPolicy", learner.env, **agent())
    model.learn(200, callback=learner)
    assert learner.feedback_given == 25
    assert 200 <= replay(model).size() * n_envs < 200 + 4 * n_envs  # DQN makes four steps at a time
    # The last session was the last change of the model, so every reward is its prediction now:
    # those before it by relabelling, those after it because the environment gave them.
    assert_relabelled(learner, replay(model), slice(None))


def test_rewards_are_replaced_at_the_end_of_the_rollout_of_a_session() -> None:
    learner = PreferenceLearner(envs(1), **{**SMALL, "feedback_every": 1000})
    model = SAC("MlpPolicy", learner.env, **agent())
    model.learn(60, callback=learner)
    assert [session.steps for session in learner.sessions] == [60]
    assert_relabelled(learner, replay(model), slice(None))


def test_a_full_replay_buffer_is_relabelled_as_a_whole() -> None:
    learner = PreferenceLearner(envs(1), **SMALL)
    model = SAC("MlpPolicy", learner.env, **agent(buffer_size=50))
    model.learn(150, callback=learner)
    assert replay(model).full
    assert_relabelled(learner, replay(model), slice(None))


@pytest.mark.parametrize("steps", [59, 60, 100, 140, 400])
def test_the_budget_is_spent_on_schedule_and_never_exceeded(steps: int) -> None:
    learner = PreferenceLearner(envs(2), **SMALL)
    SAC("MlpPolicy", learner.env, **agent()).learn(steps, callback=learner)
    held = [(60, 10), (100, 20), (140, 25)]
    expected = [session for session in held if session[0] <= steps + steps % 2]
    assert [(s.steps, s.feedback) for s in learner.sessions] == expected
    assert learner.feedback_given == (expected[-1][1] if expected else 0)


def test_the_budget_cannot_be_exceeded_by_asking_directly() -> None:
    learner = PreferenceLearner(envs(1), **{**SMALL, "feedback": 10})
    SAC("MlpPolicy", learner.env, **agent()).learn(80, callback=learner)
    with pytest.raises(StateError, match="all feedback=10 preferences have been given"):
        learner._loop.learn()


def test_the_true_reward_never_reaches_the_agent_but_monitor_and_info() -> None:
    seen: list[float] = []

    class Watching(SAC):
        def _store_transition(self, *args: Any, **kwargs: Any) -> None:
            super()._store_transition(*args, **kwargs)
            seen.extend(info["true_reward"] for info in args[5])

        def train(self, gradient_steps: int, batch_size: int = 64) -> None:
            assert np.abs(replay(self).rewards).max() < 20  # warm-up: log of a distance
            super().train(gradient_steps, batch_size)

    learner = PreferenceLearner(Drift(), **SMALL)
    model = Watching("MlpPolicy", learner.env, **agent())
    model.learn(200, callback=learner)
    assert len(seen) == 200
    assert min(seen) > 900  # each true reward is above 900
    assert np.abs(replay(model).rewards[:200]).max() <= 1
    assert model.ep_info_buffer is not None
    assert all(episode["r"] > 20 * 900 for episode in model.ep_info_buffer)


def test_the_teacher_alone_gets_true_returns() -> None:
    class Watching(ScriptedTeacher):
        def compare(self, first: Any, second: Any) -> Any:
            returns.extend([*first, *second])
            return super().compare(first, second)

    returns: list[float] = []
    learner = PreferenceLearner(envs(1), **SMALL, teacher=Watching())
    SAC("MlpPolicy", learner.env, **agent()).learn(160, callback=learner)
    assert len(returns) == 2 * 25
    assert 5 * 900 < min(returns) < max(returns) < 5 * 1100


def test_before_the_first_session_what_is_new_is_rewarded() -> None:
    learner = PreferenceLearner(envs(1), **{**SMALL, "warmup_steps": 10_000})
    model = SAC("MlpPolicy", learner.env, **agent())
    model.learn(40, callback=learner)
    buffer = replay(model)
    assert buffer.rewards[0, 0] == 0
    for t in range(1, 40):
        distances = np.linalg.norm(buffer.observations[:t, 0] - buffer.observations[t, 0], axis=1)
        expected = np.log1p(np.sort(distances)[min(5, t) - 1])
        np.testing.assert_allclose(buffer.rewards[t, 0], expected, rtol=1e-4)
    assert learner.sessions == []


def test_episodes_shorter_than_a_segment_are_never_asked_about() -> None:
    learner = PreferenceLearner(envs(1, length=4), **SMALL)
    model = SAC("MlpPolicy", learner.env, **agent())
    model.learn(100, callback=learner)
    with pytest.warns(UserWarning, match="no episode has had segment_length=5 steps") as warned:
        model.learn(100, callback=learner)
    assert len(warned) == 1
    assert learner.sessions == []


def test_the_model_learns_to_prefer_what_the_teacher_prefers() -> None:
    learner = PreferenceLearner(
        envs(1), feedback=200, feedback_per_session=100, feedback_every=100, warmup_steps=400,
        segment_length=5, reward_kwargs={"net_arch": [32], "learning_rate": 0.01},
    )  # fmt: skip
    SAC("MlpPolicy", learner.env, **agent(buffer_size=600)).learn(500, callback=learner)
    grid = np.zeros((9, 4), np.float32)
    grid[:, 0] = np.linspace(-2, 2, 9)  # the feature that is the reward
    rewards = learner.reward_model.predict(grid, np.zeros((9, 1)))
    assert np.corrcoef(rewards, grid[:, 0])[0, 1] > 0.8


def test_equal_seeds_give_equal_runs_and_another_seed_another_run() -> None:
    def rewards(seed: int, sampling: str = "disagreement") -> Array:
        vec = envs(2)
        learner = PreferenceLearner(vec, **SMALL, seed=seed, sampling=sampling)
        model = SparseSAC("MlpPolicy", learner.env, preset="anf", **agent())
        return replay(model.learn(160, callback=learner)).rewards.copy()

    np.testing.assert_array_equal(rewards(0), rewards(0))
    assert (rewards(0) != rewards(1)).any()
    assert (rewards(0) != rewards(0, "uniform")).any()


def test_the_learner_leaves_global_generators_alone() -> None:
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    learner = PreferenceLearner(envs(2), **SMALL, sampling="disagreement")
    drive(learner, 200)
    assert learner.feedback_given == 25
    state = torch.get_rng_state(), np.random.get_state(legacy=False)  # noqa: NPY002
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    assert torch.equal(state[0], torch.get_rng_state())
    fresh: Any = np.random.get_state(legacy=False)  # noqa: NPY002
    assert state[1]["state"]["pos"] == fresh["state"]["pos"]


def drive(learner: PreferenceLearner, steps: int, seed: int = 0) -> None:
    """Make steps without an agent, with feedback when it is due."""
    env, generator = learner.env, np.random.default_rng(seed)
    env.seed(seed)
    env.reset()
    for _ in range(steps // env.num_envs):
        env.step(generator.uniform(-2, 2, size=(env.num_envs, 1)).astype(np.float32))
        if learner._loop.due:
            learner._loop.learn()


def test_a_restored_learner_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole, first, second = (
        PreferenceLearner(
            envs(2), **SMALL, sampling="disagreement", teacher=ScriptedTeacher(beta=0.0)
        )
        for _ in range(3)
    )
    for learner in (whole, first):
        drive(learner, 60)
    first.save(tmp_path / "learner.pt")
    second.restore(tmp_path / "learner.pt")
    assert second.sessions == first.sessions
    for learner in (whole, second):
        drive(learner, 120, seed=1)
    assert whole.sessions == second.sessions
    assert len(whole.sessions) == 3
    one, two = (learner.reward_model.ensemble.state_dict() for learner in (whole, second))
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    assert [path.name for path in tmp_path.iterdir()] == ["learner.pt"]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"feedback": 30}, "has schedule"),
        ({"segment_length": 6}, "has schedule"),
        ({"seed": 1}, "has schedule"),
        ({"teacher": ScriptedTeacher(beta=1.0)}, "has teacher"),
        ({"preset": None}, "has arguments"),
        ({"reward_kwargs": {"net_arch": [9]}}, "has arguments"),
    ],
)
def test_a_learner_with_other_arguments_is_not_restored(
    tmp_path: Path, other: dict[str, Any], message: str
) -> None:
    saved = PreferenceLearner(envs(1), **SMALL)
    drive(saved, 60)
    saved.save(tmp_path / "learner.pt")
    learner = PreferenceLearner(envs(1), **{**SMALL, **other})
    with pytest.raises(CheckpointError, match=message):
        learner.restore(tmp_path / "learner.pt")
    assert learner.feedback_given == 0
    assert learner._loop.steps == 0


def test_a_learner_with_other_environments_is_not_restored(tmp_path: Path) -> None:
    saved = PreferenceLearner(envs(2), **SMALL)
    drive(saved, 60)
    saved.save(tmp_path / "learner.pt")
    learner = PreferenceLearner(envs(1), **SMALL)
    before = learner.reward_model.predict(np.ones((1, 4)), np.ones((1, 1)))
    with pytest.raises(CheckpointError, match="n_envs"):
        learner.restore(tmp_path / "learner.pt")
    after = learner.reward_model.predict(np.ones((1, 4)), np.ones((1, 1)))
    np.testing.assert_array_equal(before, after)


def test_truncated_and_foreign_files_and_code_are_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "executed",)

    learner = PreferenceLearner(envs(1), **SMALL)
    learner.save(tmp_path / "whole.pt")
    content = (tmp_path / "whole.pt").read_bytes()
    weight = learner.reward_model.ensemble.state_dict()["members.0.0.bias"]
    middle = content.index(weight.numpy().tobytes())
    files = {
        "short.pt": content[:middle],
        "flipped.pt": content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :],
        "evil.pt": pickle.dumps(Evil()),
        "empty.pt": b"",
    }
    torch.save({"evil": Evil()}, tmp_path / "zipped.pt")
    torch.save({"format": "other"}, tmp_path / "foreign.pt")
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    for name in (*files, "zipped.pt", "foreign.pt"):
        with pytest.raises(CheckpointError):
            learner.restore(tmp_path / name)
    assert not (tmp_path / "executed").exists()
    with pytest.raises(FileNotFoundError):
        learner.restore(tmp_path / "missing.pt")


@pytest.mark.parametrize("key", ["preferences", "sessions", "steps", "calls", "buffer", "model"])
def test_a_damaged_state_is_refused(key: str) -> None:
    saved, learner = (PreferenceLearner(envs(1), **SMALL) for _ in range(2))
    drive(saved, 60)
    state = saved.state_dict()
    broken = {"preferences": {"labels": torch.zeros(2)}, "sessions": [{"steps": 1}]}
    for damaged in ({**state, key: broken.get(key, "nonsense")}, state.keys() - {key}):
        with pytest.raises(CheckpointError):
            learner.load_state_dict(damaged)  # type: ignore[arg-type]
    assert learner.feedback_given == 0


def test_normalisation_outside_leaves_raw_observations_to_the_model() -> None:
    learner = PreferenceLearner(envs(2), **SMALL)
    model = SAC("MlpPolicy", VecNormalize(learner.env), **agent())
    model.learn(200, callback=learner)
    assert learner.feedback_given == 25
    assert_relabelled(learner, replay(model), slice(None))


def test_normalisation_inside_would_leak_the_true_reward_and_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match=r"VecNormalize\(learner.env\)"):
        PreferenceLearner(VecNormalize(envs(1)))


@pytest.mark.parametrize("normalised", [False, True])
def test_an_evaluation_environment_gives_true_rewards_without_complaint(normalised: bool) -> None:
    learner = PreferenceLearner(Drift(), **SMALL)
    training, judging = learner.env, learner.eval_env(Drift())
    if normalised:
        training, judging = VecNormalize(training), VecNormalize(judging, training=False)
    model = SAC("MlpPolicy", training, **agent())
    judge = EvalCallback(judging, eval_freq=50, n_eval_episodes=1, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.learn(100, callback=[learner, judge])
    assert judge.last_mean_reward > 20 * 900


def test_processes_can_run_the_environments() -> None:
    learner = PreferenceLearner(SubprocVecEnv([Drift, Drift], start_method="fork"), **SMALL)
    try:
        SAC("MlpPolicy", learner.env, **agent()).learn(100, callback=learner)
    finally:
        learner.env.close()
    assert learner.feedback_given == 20


def test_learning_goes_on_over_several_calls() -> None:
    learner = PreferenceLearner(envs(1), **SMALL)
    model = SAC("MlpPolicy", learner.env, **agent())
    for _ in range(3):
        model.learn(50, callback=learner)
    assert [session.steps for session in learner.sessions] == [60, 100, 140]


def test_sessions_are_logged_with_the_focus() -> None:
    env = NoisyFeatures(Drift(), noise_fraction=0.5)
    learner = PreferenceLearner(env, **SMALL)
    model = SAC("MlpPolicy", learner.env, **agent())
    model.learn(60, callback=learner)
    logged = model.logger.name_to_value
    session, focus = learner.sessions[0], learner.focus()
    assert logged["preference/feedback"] == session.feedback == 10
    assert logged["preference/loss"] == session.loss
    assert [logged[f"focus/reward{i}_ratio"] for i in range(3)] == [f.ratio for f in focus]
    assert PreferenceLearner(envs(1), **SMALL).focus() == []


def test_verbose_prints_each_session(capsys: pytest.CaptureFixture[str]) -> None:
    learner = PreferenceLearner(envs(1), **SMALL, verbose=1)
    SAC("MlpPolicy", learner.env, **agent()).learn(60, callback=learner)
    assert capsys.readouterr().out.startswith("step 60: 10 preferences, ")


def test_an_algorithm_without_the_learners_environment_is_refused() -> None:
    learner = PreferenceLearner(envs(1), **SMALL)
    with pytest.raises(InvalidArgumentError, match=r"make it with learner\.env"):
        SAC("MlpPolicy", Drift(), **agent()).learn(10, callback=learner)


def test_an_algorithm_without_replay_buffer_is_refused() -> None:
    learner = PreferenceLearner(envs(1), **SMALL)
    with pytest.raises(UnsupportedError, match="PPO has no replay buffer"):
        PPO("MlpPolicy", learner.env, n_steps=8, batch_size=8).learn(8, callback=learner)


def test_replay_buffers_that_hold_something_else_are_refused() -> None:
    learner = PreferenceLearner(NoisyFeatures(Drift(), noise_fraction=0.5), **SMALL)
    model = SAC("MlpPolicy", learner.env, replay_buffer_class=FreshNoiseReplayBuffer, **agent())
    with pytest.raises(UnsupportedError, match="FreshNoiseReplayBuffer does not hold"):
        model.learn(10, callback=learner)
    learner = PreferenceLearner(envs(1), **SMALL)
    model = SAC("MlpPolicy", VecFrameStack(learner.env, 2), **agent())
    with pytest.raises(UnsupportedError, match="no wrapper that changes observations"):
        model.learn(10, callback=learner)


def test_environments_of_other_kinds_are_refused() -> None:
    picture = gym.wrappers.ReshapeObservation(Drift(), (2, 2))
    with pytest.raises(UnsupportedError, match="FlattenObservation"):
        PreferenceLearner(picture)
    with pytest.raises(InvalidArgumentError, match="learned rewards already"):
        PreferenceLearner(PreferenceLearner(Drift()).env)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"feedback": 0}, "feedback must be an integer >= 1"),
        ({"feedback_per_session": 0}, "feedback_per_session must be"),
        ({"feedback_every": 0}, "feedback_every must be"),
        ({"warmup_steps": -1}, "warmup_steps must be"),
        ({"segment_length": 0}, "segment_length must be"),
        ({"sampling": "unifrom"}, "Did you mean 'uniform'"),
        ({"reward_epochs": 0}, "reward_epochs must be"),
        ({"seed": -1}, "seed must be"),
        ({"preset": "anv"}, "Did you mean 'anf'"),
        ({"reward_kwargs": {"netarch": [8]}}, "Did you mean 'net_arch'"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        PreferenceLearner(Drift(), **arguments)
