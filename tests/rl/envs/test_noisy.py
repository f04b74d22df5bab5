"""The wrapper: what it adds, what it leaves alone, when it permutes, and how it is seeded."""

import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import FlattenObservation, FrameStackObservation

from sparsewire.core.errors import InvalidArgumentError, UnsupportedError
from sparsewire.rl import FeatureHistogram, NoisyFeatures, relevant_mask
from tests.rl.envs.helpers import Counter, laplace, noisy_counter, observations


def test_real_features_come_first_and_are_those_of_the_environment() -> None:
    seen = observations(noisy_counter(), 4, seed=3)
    assert seen.shape == (5, 10)
    assert seen.dtype == np.float32
    assert np.array_equal(seen[:, :3], observations(Counter(), 4, seed=3))


def test_reward_end_and_info_are_passed_on() -> None:
    env = noisy_counter(length=2)
    assert env.reset()[1] == {"base": "kept", "noise_phase": 0}
    assert env.step(np.zeros(1))[1:] == (1.0, False, False, {"base": "kept", "noise_phase": 0})
    assert env.step(np.zeros(1))[1:4] == (2.0, True, False)


@pytest.mark.parametrize("base_id", ["Pendulum-v1", "Hopper-v5"])
def test_the_base_trajectory_is_the_same_for_every_noise_fraction(base_id: str) -> None:
    def trajectory(**arguments: Any) -> tuple[list[Any], list[Any]]:
        env = gym.make(f"Noisy{base_id}", **arguments)
        env.action_space.seed(5)
        seen, outcome = [env.reset(seed=11)[0]], []
        for _ in range(60):
            observation, *rest = env.step(env.action_space.sample())
            seen.append(observation)
            outcome.append(tuple(rest[:3]))
            if rest[1] or rest[2]:
                seen.append(env.reset()[0])
        n_real = gym.make(base_id).observation_space.shape[0]  # type: ignore[index]
        return [observation[:n_real].tolist() for observation in seen], outcome

    clean = trajectory(noise_fraction=0)
    assert trajectory(noise_fraction=0.98) == clean
    assert trajectory(noise_fraction=0.9, distribution="uniform", refresh="episode") == clean


def test_without_noise_the_wrapper_changes_only_the_type() -> None:
    env = noisy_counter(noise_fraction=0.0)
    assert env.relevant_mask.all()
    assert np.array_equal(observations(env, 9, seed=0), observations(Counter(), 9, seed=0))


def test_noise_is_new_at_every_step_and_every_reset() -> None:
    noise = observations(noisy_counter(length=3), 30)[:, 3:]
    assert len(np.unique(noise)) == noise.size


def test_noise_can_last_for_an_episode() -> None:
    noise = observations(noisy_counter(length=3, refresh="episode"), 6)[:, 3:]
    assert all(np.array_equal(row, noise[0]) for row in noise[:4])
    assert all(np.array_equal(row, noise[4]) for row in noise[4:8])
    assert not np.isclose(noise[0], noise[4]).any()


def test_noise_has_the_moments_asked_for_and_ignores_the_state() -> None:
    seen = observations(noisy_counter(noise_std=4.0, noise_fraction=0.9), 3000, seed=0)
    noise = seen[:, 3:]
    assert noise.mean() == pytest.approx(0, abs=0.1)
    assert noise.std() == pytest.approx(4, rel=0.02)
    correlations = [np.corrcoef(seen[:, 0], column)[0, 1] for column in noise.T]
    assert np.abs(correlations).max() < 5 / np.sqrt(len(seen))


def test_noise_can_follow_the_histogram_of_real_observations() -> None:
    real = observations(Counter(), 60, seed=0)
    env = noisy_counter(distribution=FeatureHistogram.fit(real, bins=10))
    noise = observations(env, 60)[:, 3:]
    for i, column in enumerate(noise.T):
        assert real[:, i % 3].min() <= column.min()
        assert column.max() <= real[:, i % 3].max()


def test_noise_can_be_anything_callable() -> None:
    assert np.isfinite(observations(noisy_counter(distribution=laplace), 9)).all()


def test_the_same_seed_gives_the_same_noise_and_another_seed_another() -> None:
    first = observations(noisy_counter(), 12, seed=1)
    env = noisy_counter(seed=99)
    observations(env, 7, seed=5)
    assert np.array_equal(observations(env, 12, seed=1), first)
    assert not np.isclose(observations(env, 12, seed=2)[:, 3:], first[:, 3:]).any()


def test_a_reset_without_a_seed_continues_the_noise() -> None:
    env = noisy_counter()
    first = env.reset(seed=1)[0]
    assert not np.isclose(env.reset()[0][3:], first[3:]).any()


def test_before_any_seeded_reset_the_constructor_seeds_the_noise() -> None:
    first, again, other = (observations(noisy_counter(seed=s), 3)[:, 3:] for s in (4, 4, 5))
    assert np.array_equal(first, again)
    assert not np.isclose(first, other).any()
    unseeded, too = (observations(noisy_counter(), 3)[:, 3:] for _ in range(2))
    assert not np.isclose(unseeded, too).any()


def test_global_random_state_is_left_alone() -> None:
    before = np.random.get_state(legacy=False)  # noqa: NPY002
    observations(noisy_counter(permute_every=3), 20)
    after = np.random.get_state(legacy=False)  # noqa: NPY002
    assert before["state"]["pos"] == after["state"]["pos"]
    assert np.array_equal(before["state"]["key"], after["state"]["key"])


def test_features_are_permuted_at_the_first_reset_after_the_period() -> None:
    env = noisy_counter(length=4, permute_every=6)
    phases = []
    env.reset(seed=0)
    for _ in range(20):
        *_, over, _, info = env.step(np.zeros(1))
        assert info["noise_phase"] == env.phase
        phases.append(env.phase)
        if over:
            env.reset()
    # Six steps end inside the second episode; a phase therefore lasts two episodes of four.
    assert phases == [0] * 8 + [1] * 8 + [2] * 4


def test_a_permuted_observation_holds_the_real_features_where_the_mask_says() -> None:
    env = noisy_counter(permute_every=1, permutation_seed=3)
    env.reset(seed=0)
    for phase in range(1, 6):
        env.step(np.zeros(1))
        observation, info = env.reset()
        base: Any = env.unwrapped
        assert info["noise_phase"] == env.phase == phase
        assert sorted(observation[env.relevant_mask]) == sorted([0.0, base.start, 0.0])
        order = env.layout.permutation(phase)
        assert observation[np.flatnonzero(order == 1)] == base.start
        assert env.relevant_mask.sum() == 3


def test_noise_moves_with_its_place_too() -> None:
    plain, permuted = noisy_counter(), noisy_counter()
    permuted.set_phase(2)
    before, after = plain.reset(seed=4)[0], permuted.reset(seed=4)[0]
    assert np.array_equal(before[permuted.layout.permutation(2)], after)


def test_a_phase_that_was_set_starts_at_the_next_reset() -> None:
    env = noisy_counter()
    env.reset()
    env.set_phase(2)
    assert env.phase == 0
    assert env.step(np.zeros(1))[-1]["noise_phase"] == 0
    assert env.reset()[1]["noise_phase"] == 2
    assert env.reset()[1]["noise_phase"] == 2


def test_a_seeded_reset_does_not_change_the_phase() -> None:
    env = noisy_counter()
    env.set_phase(1)
    assert env.reset(seed=0)[1]["noise_phase"] == 1
    assert env.reset(seed=0)[1]["noise_phase"] == 1


def test_a_held_phase_outlasts_the_period() -> None:
    env = noisy_counter(length=2, permute_every=2)
    env.set_phase(1, hold=True)
    observations(env, 10)
    assert env.phase == 1


def test_a_phase_can_be_resumed_in_its_middle() -> None:
    env = noisy_counter(length=2, permute_every=4)
    env.set_phase(3, steps=2)
    env.reset()
    assert (env.phase, env.steps_in_phase) == (3, 2)
    observations(env, 2)
    assert (env.phase, env.steps_in_phase) == (4, 0)


def test_a_second_wrapper_of_the_same_seed_permutes_alike() -> None:
    first, second = (noisy_counter(permutation_seed=8) for _ in range(2))
    other = noisy_counter(permutation_seed=9)
    for env in (first, second, other):
        env.set_phase(1)
        env.reset()
    assert np.array_equal(first.layout.permutation(1), second.layout.permutation(1))
    assert not np.array_equal(first.layout.permutation(1), other.layout.permutation(1))


def test_the_wrapper_can_be_pickled_with_its_noise() -> None:
    env = noisy_counter(distribution=laplace)
    env.reset(seed=0)
    twin = pickle.loads(pickle.dumps(env))
    assert np.array_equal(observations(twin, 5), observations(env, 5))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"noise_fraction": 1}, "noise_fraction"),
        ({"noise_fraction": -0.1}, "noise_fraction"),
        ({"noise_fraction": float("nan")}, "noise_fraction"),
        ({"noise_fraction": "0.9"}, "noise_fraction"),
        ({"noise_std": -1.0}, "noise_std"),
        ({"distribution": "unifrom"}, "Did you mean 'uniform'"),
        ({"refresh": "steps"}, "Did you mean 'step'"),
        ({"permute_every": 0}, "permute_every"),
        ({"permute_every": 2.5}, "permute_every"),
        ({"permutation_seed": -1}, "permutation_seed"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        NoisyFeatures(Counter(), **arguments)


@pytest.mark.parametrize("phase", [-1, 1.0, "1", None])
def test_a_wrong_phase_is_refused(phase: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="phase"):
        noisy_counter().set_phase(phase)


def test_a_phase_beyond_the_last_order_is_refused_when_set() -> None:
    with pytest.raises(InvalidArgumentError, match="only 6 orders"):
        noisy_counter(noise_fraction=0).set_phase(6)


@pytest.mark.parametrize(
    "space",
    [
        gym.spaces.Discrete(4),
        gym.spaces.Dict({"a": gym.spaces.Box(0, 1, (3,))}),
        gym.spaces.Box(0, 255, (8, 8, 3), np.uint8),
        gym.spaces.Box(0, 1, ()),
    ],
    ids=["discrete", "dict", "image", "scalar"],
)
def test_observations_that_are_no_vectors_are_refused(space: gym.Space[Any]) -> None:
    env: Any = Counter()
    env.observation_space = space
    with pytest.raises(UnsupportedError, match="FlattenObservation"):
        NoisyFeatures(env)


def test_a_flattened_observation_is_a_vector() -> None:
    env = Counter()
    assert NoisyFeatures(FlattenObservation(env)).observation_space.shape == (30,)


def test_noise_upon_noise_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="already"):
        NoisyFeatures(noisy_counter())


def test_the_mask_is_unknown_where_there_is_no_noise_or_another_space() -> None:
    assert relevant_mask(Counter()) is None
    assert relevant_mask(FrameStackObservation(noisy_counter(), 2)) is None
