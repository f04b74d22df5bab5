import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparsewire.core import CheckpointError, InvalidArgumentError, StateError
from sparsewire.rl import Preferences, SegmentBuffer
from tests.rl.preferences.helpers import filled_buffer, random_segments

RNG = np.random.default_rng


@given(st.integers(1, 60), st.integers(1, 3), st.integers(1, 40), st.integers(1, 8), st.integers())
def test_every_segment_lies_in_one_episode_and_none_is_missed(
    steps: int, n_envs: int, rows: int, length: int, seed: int
) -> None:
    buffer = filled_buffer(seed % 1000, steps, n_envs, rows * n_envs)
    episodes: dict[tuple[float, float], int] = {}
    for _, env, episode in buffer.observations.reshape(-1, 3):  # what is still in it
        episodes[env, episode] = episodes.get((env, episode), 0) + 1
    expected = sum(max(0, n - length + 1) for n in episodes.values())
    assert buffer.count(length) == expected
    assert buffer.n_steps == min(steps, rows) * n_envs
    if not expected:
        return
    segments, returns = buffer.sample(50, length, RNG(0))
    time, env, episode = np.moveaxis(segments.observations, 2, 0)
    assert (np.diff(time) == 1).all()
    assert (env == env[:, :1]).all()
    assert (episode == episode[:, :1]).all()
    assert (time >= steps - rows).all()
    np.testing.assert_array_equal(segments.actions[..., 0], -time)
    np.testing.assert_allclose(returns, (2.0 ** -(time % 7)).sum(axis=1), rtol=1e-6)


def test_all_segments_are_equally_likely() -> None:
    buffer = filled_buffer(0, 40, n_envs=2, capacity=60, end=0.05)
    segments, _ = buffer.sample(40_000, 4, RNG(0))
    _, counts = np.unique(segments.observations[:, 0, :2], axis=0, return_counts=True)
    assert len(counts) == buffer.count(4)
    expected = 40_000 / len(counts)
    assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)


def test_no_segment_spans_an_interruption() -> None:
    buffer = filled_buffer(0, 5, end=0.0)
    assert buffer.count(5) == 1
    buffer.interrupt()
    buffer.add(np.zeros((1, 3)), np.zeros((1, 1)), [0], [False])
    assert (buffer.count(5), buffer.count(6)) == (1, 0)


def test_segments_too_long_for_the_episodes_are_refused() -> None:
    buffer = filled_buffer(0, 10, end=1.0)
    with pytest.raises(StateError, match="no segment of 2 steps among 10 steps"):
        buffer.sample(1, 2, RNG(0))


def test_a_restored_buffer_goes_on_as_the_saved_one() -> None:
    def more(buffer: SegmentBuffer) -> None:
        for t in range(100, 112):
            buffer.add(np.full((2, 3), t), np.zeros((2, 1)), [t, t], [t == 105, False])

    saved = filled_buffer(3, 37, n_envs=2, capacity=50)
    restored = SegmentBuffer(3, 1, 2, 50)
    restored.load_state_dict(saved.state_dict())
    for buffer in (saved, restored):
        more(buffer)
    one, two = (buffer.sample(99, 3, RNG(1)) for buffer in (saved, restored))
    np.testing.assert_array_equal(one[0].observations, two[0].observations)
    np.testing.assert_array_equal(one[1], two[1])


def test_what_was_saved_does_not_change_with_the_buffer() -> None:
    buffer = filled_buffer(0, 5)
    state = buffer.state_dict()
    before = state["rewards"].clone()
    buffer.add(np.ones((1, 3)), np.ones((1, 1)), [9.0], [False])
    assert torch.equal(state["rewards"], before)


@pytest.mark.parametrize(
    "other",
    [
        SegmentBuffer(4, 1, 2, 50),
        SegmentBuffer(3, 2, 2, 50),
        SegmentBuffer(3, 1, 1, 50),
        SegmentBuffer(3, 1, 2, 20),
    ],
)
def test_the_state_of_another_buffer_is_refused(other: SegmentBuffer) -> None:
    with pytest.raises(CheckpointError, match="saved segments"):
        other.load_state_dict(filled_buffer(0, 37, n_envs=2, capacity=50).state_dict())
    assert other.n_steps == 0


@pytest.mark.parametrize("key", ["rewards", "position", "episode"])
def test_a_damaged_state_is_refused(key: str) -> None:
    state = filled_buffer(0, 37).state_dict()
    for broken in ({**state, key: None}, {k: v for k, v in state.items() if k != key}):
        with pytest.raises(CheckpointError, match="damaged"):
            SegmentBuffer(3, 1).load_state_dict(broken)


@pytest.mark.parametrize(
    "arguments", [(0, 1), (1, 0), (1, 1, 0), (1, 1, 2, 1), (1.5, 1), (True, 1)]
)
def test_sizes_must_be_positive_integers(arguments: tuple[int, ...]) -> None:
    with pytest.raises(InvalidArgumentError, match="must be an integer"):
        SegmentBuffer(*arguments)


def test_preferences_of_unequal_segments_are_refused() -> None:
    short, long = random_segments(0, 3, 4, 2), random_segments(0, 3, 5, 2)
    labels = np.zeros(3, np.float32)
    with pytest.raises(InvalidArgumentError, match="all of one length"):
        Preferences(short, long, labels)
    with pytest.raises(InvalidArgumentError, match="as many first as second"):
        Preferences(short, short, labels[:2])
    with pytest.raises(InvalidArgumentError, match="labels must be 1 where"):
        Preferences(short, short, labels - 1)
    with pytest.raises(InvalidArgumentError, match="labels must be 1 where"):
        Preferences(short, short, labels + np.float32(np.nan))
