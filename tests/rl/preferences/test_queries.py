import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sparsewire.core import InvalidArgumentError
from sparsewire.rl import RewardModel
from sparsewire.rl.preferences.exploration import state_entropy_reward
from sparsewire.rl.preferences.queries import CANDIDATES, choose_queries, most_disputed
from tests.rl.preferences.helpers import Array, filled_buffer

UNIT = st.floats(0, 1, width=32)


@given(arrays(np.float32, (3, 12), elements=UNIT), st.integers(1, 12))
def test_the_most_disputed_pairs_are_chosen(probabilities: Array, n: int) -> None:
    spread = [float(column.std()) for column in probabilities.T]
    by_hand = sorted(range(12), key=lambda pair: (-spread[pair], pair))[:n]
    np.testing.assert_allclose(
        [spread[i] for i in most_disputed(probabilities, n)],
        [spread[i] for i in by_hand],
        atol=1e-6,
    )


def test_disagreement_chooses_from_ten_times_as_many_random_pairs() -> None:
    buffer, model = filled_buffer(0, 200, end=0.0), RewardModel(3, 1, net_arch=[16], seed=1)
    pairs, returns = choose_queries(buffer, model, 5, 4, np.random.default_rng(0), "disagreement")
    generator = np.random.default_rng(0)
    (first, first_returns), (second, _) = (
        buffer.sample(5 * CANDIDATES, 4, generator) for _ in range(2)
    )
    spread = model.probabilities(first, second).std(axis=0)
    chosen = np.argsort(-spread)[:5]
    np.testing.assert_array_equal(pairs[0].observations, first.observations[chosen])
    np.testing.assert_array_equal(pairs[1].actions, second.actions[chosen])
    np.testing.assert_array_equal(returns[0], first_returns[chosen])


def test_uniform_queries_do_not_depend_on_the_model() -> None:
    buffer = filled_buffer(0, 200, end=0.0)
    drawn = [
        choose_queries(
            buffer, RewardModel(3, 1, net_arch=[4], seed=s), 5, 4, np.random.default_rng(0)
        )
        for s in range(2)
    ]
    np.testing.assert_array_equal(drawn[0][1], drawn[1][1])


def test_an_unknown_way_of_choosing_is_named() -> None:
    buffer, model = filled_buffer(0, 9), RewardModel(3, 1, net_arch=[4])
    with pytest.raises(InvalidArgumentError, match="Did you mean 'disagreement'"):
        choose_queries(buffer, model, 1, 2, np.random.default_rng(0), "disagree")
    with pytest.raises(InvalidArgumentError, match="n must be an integer >= 1"):
        choose_queries(buffer, model, 0, 2, np.random.default_rng(0))


@given(
    arrays(np.float32, (2, 3), elements=st.floats(-5, 5, width=32)),
    arrays(
        np.float32, st.tuples(st.integers(0, 8), st.just(3)), elements=st.floats(-5, 5, width=32)
    ),
    st.integers(1, 6),
)
def test_exploring_is_rewarded_by_the_distance_to_a_neighbour(
    observations: Array, memory: Array, k: int
) -> None:
    expected = []
    for row in observations:
        distances = sorted(float(np.linalg.norm(row - other)) for other in memory)
        expected.append(np.log1p(distances[min(k, len(distances)) - 1]) if distances else 0.0)
    found = state_entropy_reward(observations, memory, k)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
