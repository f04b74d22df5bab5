import copy
import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sparsewire.core import CheckpointError, InvalidArgumentError, TrainingDivergedError
from sparsewire.rl import Preferences, RewardModel, Segments
from tests.rl.preferences.helpers import decided_by_the_first_feature, random_segments

FIVE: dict[str, Any] = {"n_observation": 10, "n_action": 1, "net_arch": [16, 16]}
DENSE: dict[str, Any] = {**FIVE, "preset": None}


def weights(model: RewardModel) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.ensemble.state_dict().items()}


def assert_equal(one: RewardModel, two: RewardModel) -> None:
    for name, value in weights(one).items():
        assert torch.equal(value, weights(two)[name]), name


def test_a_prediction_is_the_mean_of_the_members_and_inside_one() -> None:
    model, segments = RewardModel(**FIVE), random_segments(0, 3, 5, 10)
    members = model.predict_members(segments.observations, segments.actions)
    assert members.shape == (3, 3, 5)
    inputs = torch.from_numpy(np.concatenate([segments.observations, segments.actions], axis=2))
    for index, network in enumerate(model.ensemble.members):
        np.testing.assert_allclose(members[index], network(inputs)[..., 0].detach(), rtol=1e-5)
    found = model.predict(segments.observations, segments.actions)
    np.testing.assert_array_equal(found, members.mean(axis=0))
    assert (np.abs(model.predict(1e9 * segments.observations, segments.actions)) <= 1).all()
    assert model.predict(np.zeros((0, 10)), np.zeros((0, 1))).shape == (0,)
    assert model.predict(np.zeros(10), np.zeros(1)).shape == ()


def test_long_predictions_are_made_in_parts_that_fit_together() -> None:
    model = RewardModel(**FIVE)
    observations = np.random.default_rng(0).normal(size=(20_000, 10))
    actions = np.zeros((20_000, 1))
    whole = model.predict(observations, actions)
    np.testing.assert_allclose(
        whole[-7:], model.predict(observations[-7:], actions[-7:]), rtol=1e-5
    )


def test_a_dense_member_learns_like_a_loop_written_by_hand() -> None:
    preferences = decided_by_the_first_feature(0, n=6)
    model = RewardModel(**DENSE, n_members=1, batch_size=4, learning_rate=0.01)
    network = nn.Sequential(
        nn.Linear(11, 16), nn.LeakyReLU(), nn.Linear(16, 16), nn.LeakyReLU(), nn.Linear(16, 1),
        nn.Tanh(),
    )  # fmt: skip
    network.load_state_dict(model.ensemble.members[0].state_dict())
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    seen: list[list[int]] = []
    original = preferences.first.observations[:, 0, 0].tolist()

    def remember(_: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        rows = inputs[0][:, 0, 0].tolist()
        if all(value in original for value in rows):
            seen.append([original.index(value) for value in rows])

    hook = model.ensemble.members[0].register_forward_pre_hook(remember)
    fit = model.fit(preferences, epochs=3, stop_accuracy=1.0)
    hook.remove()
    assert [len(rows) for rows in seen] == [4, 2] * 3
    assert all(sorted(a + b) == list(range(6)) for a, b in zip(seen[::2], seen[1::2], strict=True))
    assert seen[:2] != seen[2:4]
    for rows in seen:
        returns = torch.stack(
            [network(joined(part.take(rows))).sum((1, 2)) for part in both(preferences)], dim=1
        )
        labels = torch.from_numpy(preferences.labels[rows]).long()
        loss = F.cross_entropy(returns, labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert (fit.epochs, model.epochs) == (3, 3)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(weights(model)[f"members.0.{name}"], value)


def both(preferences: Preferences) -> tuple[Segments, Segments]:
    return preferences.first, preferences.second


def joined(segments: Segments) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([segments.observations, segments.actions], axis=2))


def test_anf_has_a_fifth_of_the_input_connections_and_moves_them() -> None:
    model = RewardModel(**FIVE, sparse_kwargs={"update_interval": 2}, batch_size=32)
    assert model.handle is not None
    before = model.handle.masks()
    assert list(before) == [f"members.{i}.0.weight" for i in range(3)]
    assert {int(mask.sum()) for mask in before.values()} == {math.floor(0.2 * 11 * 16)}
    assert not torch.equal(*list(before.values())[:2])
    model.fit(decided_by_the_first_feature(0), epochs=5, stop_accuracy=1.0)
    assert model.handle.step == 5 * 2
    assert model.handle.updates == 5
    after = model.handle.masks()
    state = weights(model)
    for name, mask in after.items():
        assert int(mask.sum()) == int(before[name].sum())
        assert not torch.equal(mask, before[name])
        assert not state[name][~mask].any()


def test_connections_move_every_ten_gradient_steps_by_default() -> None:
    model = RewardModel(**FIVE, batch_size=32)
    model.fit(decided_by_the_first_feature(0), epochs=29, stop_accuracy=1.0)
    assert model.handle is not None
    assert (model.handle.step, model.handle.updates) == (58, 5)


@pytest.mark.parametrize("preset", ["static", "ds", "rigl", "rlx2", "gmp"])
def test_every_preset_of_the_agents_makes_a_reward_model(preset: str) -> None:
    model = RewardModel(**FIVE, preset=preset)
    model.fit(decided_by_the_first_feature(0), epochs=2, stop_accuracy=1.0)
    assert model.handle is not None
    assert model.handle.density() < 1 or preset == "gmp"


def test_a_model_of_density_one_learns_exactly_like_a_dense_one() -> None:
    preferences = decided_by_the_first_feature(0)
    dense = RewardModel(**DENSE)
    full = RewardModel(**FIVE, preset="static", sparse_kwargs={"density": 1.0})
    for model in (dense, full):
        model.fit(preferences, epochs=5, stop_accuracy=1.0)
    state = weights(full)
    for name, value in weights(dense).items():
        assert torch.equal(value, state[name]), name


def test_truly_sparse_storage_has_the_same_connections() -> None:
    masked, csr = (
        RewardModel(**FIVE, preset="static", sparse_kwargs={"storage": storage})
        for storage in ("masked", "csr")
    )
    relevant = np.arange(10) < 2
    assert masked.focus(relevant) == csr.focus(relevant)


def test_the_focus_counts_connections_by_hand() -> None:
    model = RewardModel(**FIVE)
    assert model.handle is not None
    relevant = np.arange(10) % 3 == 0
    for index, focus in enumerate(model.focus(relevant)):
        mask = model.handle.masks()[f"members.{index}.0.weight"].numpy()
        assert focus.network == f"reward{index}"
        assert focus.real == np.mean([mask[:, i].sum() for i in (0, 3, 6, 9)])
        assert focus.noise == np.mean([mask[:, i].sum() for i in (1, 2, 4, 5, 7, 8)])
        assert focus.action == mask[:, 10].sum()


def test_training_stops_when_enough_is_explained() -> None:
    preferences = decided_by_the_first_feature(0)
    model = RewardModel(**DENSE, learning_rate=0.01)
    fit = model.fit(preferences, stop_accuracy=0.9)
    assert 1 < fit.epochs < 200
    assert fit.accuracy > 0.9
    assert model.accuracy(preferences) > 0.9


def test_undecided_preferences_pull_returns_together() -> None:
    first, second = random_segments(0, 64, 5, 10), random_segments(1, 64, 5, 10)
    undecided = Preferences(first, second, np.full(64, 0.5, np.float32))
    model = RewardModel(**DENSE, learning_rate=0.01)
    fit = model.fit(undecided, epochs=100)
    assert fit.epochs == 100
    assert math.isnan(fit.accuracy)
    assert math.isnan(model.accuracy(undecided))
    assert fit.loss == pytest.approx(math.log(2), abs=1e-3)


def test_probabilities_are_sigmoids_of_differences_of_returns() -> None:
    model = RewardModel(**FIVE)
    first, second = random_segments(0, 4, 5, 10), random_segments(1, 4, 5, 10)
    returns = [
        model.predict_members(part.observations, part.actions).sum(axis=2)
        for part in (first, second)
    ]
    expected = 1 / (1 + np.exp(returns[0] - returns[1]))
    np.testing.assert_allclose(model.probabilities(first, second), expected, rtol=1e-5)


def test_the_seed_decides_everything_and_no_global_generator_is_used() -> None:
    preferences = decided_by_the_first_feature(0)

    def trained(seed: int, noise: int) -> RewardModel:
        torch.manual_seed(noise)
        np.random.seed(noise)  # noqa: NPY002
        state = torch.get_rng_state()
        model = RewardModel(**FIVE, seed=seed, sparse_kwargs={"update_interval": 1})
        model.fit(preferences, epochs=3, stop_accuracy=1.0)
        assert torch.equal(torch.get_rng_state(), state)
        assert np.random.get_state(legacy=False)["state"]["pos"] == 624  # noqa: NPY002
        return model

    assert_equal(trained(0, 1), trained(0, 2))
    assert not torch.equal(*(weights(trained(s, 1))["members.0.0.weight"] for s in (0, 1)))


def test_members_begin_with_different_weights_of_torchs_distribution() -> None:
    model = RewardModel(100, 1, preset=None, net_arch=[400])
    state = weights(model)
    assert not torch.equal(state["members.0.0.weight"], state["members.1.0.weight"])
    values = state["members.0.0.weight"].flatten()
    bound = 1 / math.sqrt(101)
    assert float(values.abs().max()) <= bound
    assert float(values.std()) == pytest.approx(bound / math.sqrt(3), rel=0.02)


@pytest.mark.parametrize(
    ("preset", "storage"), [("anf", "masked"), ("anf", "csr"), (None, "masked")]
)
def test_a_resumed_model_learns_bit_for_bit_like_an_uninterrupted_one(
    preset: str | None, storage: str
) -> None:
    preferences = decided_by_the_first_feature(0)
    arguments = {**FIVE, "preset": preset, "batch_size": 16}
    if preset:
        arguments["sparse_kwargs"] = {"update_interval": 3, "storage": storage}
    whole, first, second = (RewardModel(**arguments) for _ in range(3))
    for model in (whole, first):
        model.fit(preferences, epochs=4, stop_accuracy=1.0)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    for model in (whole, second):
        model.fit(preferences, epochs=4, stop_accuracy=1.0)
    assert_equal(whole, second)
    assert whole.epochs == second.epochs == 8


@pytest.mark.parametrize(
    "other",
    [{"seed": 1}, {"preset": None}, {"n_members": 2}, {"net_arch": [16, 8]}, {"n_observation": 9},
     {"preset": "static"}, {"sparse_kwargs": {"density": 0.3}}],
)  # fmt: skip
def test_the_state_of_a_model_with_other_arguments_is_refused(other: dict[str, Any]) -> None:
    model = RewardModel(**FIVE)
    before = weights(model)
    with pytest.raises(CheckpointError, match="the saved reward model has arguments"):
        model.load_state_dict(RewardModel(**{**FIVE, **other}).state_dict())
    assert all(torch.equal(value, weights(model)[name]) for name, value in before.items())


def flip_the_mask(state: dict[str, Any]) -> None:
    mask = state["ensemble"]["members.0.0.weight_mask"]
    mask[:] = ~mask


def cut_a_weight(state: dict[str, Any]) -> None:
    state["ensemble"]["members.1.2.weight"] = torch.zeros(3)


def lose_the_optimizer(state: dict[str, Any]) -> None:
    state["optimizer"] = {}


def lose_a_weight(state: dict[str, Any]) -> None:
    del state["ensemble"]["members.1.2.weight"]


def lose_the_topology(state: dict[str, Any]) -> None:
    state["topology"] = None


def count_backwards(state: dict[str, Any]) -> None:
    state["epochs"] = -1


def forget_the_version(state: dict[str, Any]) -> None:
    state["version"] = 0


@pytest.mark.parametrize(
    "damage",
    [flip_the_mask, cut_a_weight, lose_the_optimizer, lose_a_weight, lose_the_topology,
     count_backwards, forget_the_version, dict.clear],
)  # fmt: skip
def test_a_damaged_state_changes_nothing(damage: Callable[[dict[str, Any]], None]) -> None:
    preferences = decided_by_the_first_feature(0)
    model, twin, source = (RewardModel(**FIVE) for _ in range(3))
    source.fit(preferences, epochs=2)
    state = copy.deepcopy(source.state_dict())
    damage(state)
    with pytest.raises(CheckpointError):
        model.load_state_dict(state)
    for each in (model, twin):
        each.fit(preferences, epochs=2)
    assert_equal(model, twin)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_observation": 0}, "n_observation must be an integer >= 1"),
        ({"n_action": -1}, "n_action must be"),
        ({"n_members": 0}, "n_members must be"),
        ({"net_arch": []}, "at least one hidden layer"),
        ({"net_arch": [16, 0]}, "net_arch must be an integer >= 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"seed": -1}, "seed must be"),
        ({"preset": "anv"}, "Did you mean 'anf'"),
        ({"sparse_kwargs": {"density": 0.0}}, "density must be"),
        ({"sparse_kwargs": {"densty": 0.1}}, "Did you mean 'density'"),
        ({"preset": None, "sparse_kwargs": {"density": 0.1}}, "preset is None"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        RewardModel(**{**FIVE, **arguments})


def test_inputs_of_other_shapes_are_refused() -> None:
    model = RewardModel(**FIVE)
    for observations, actions in (((2, 9), (2, 1)), ((2, 10), (2, 2)), ((2, 10), (3, 1))):
        with pytest.raises(InvalidArgumentError, match=r"shapes \(\.\.\., 10\) and \(\.\.\., 1\)"):
            model.predict(np.zeros(observations), np.zeros(actions))
    with pytest.raises(InvalidArgumentError, match="shapes"):
        model.fit(decided_by_the_first_feature(0, n_observation=9))
    nothing = random_segments(0, 0, 5, 10)
    with pytest.raises(InvalidArgumentError, match="no preference to learn from"):
        model.fit(Preferences(nothing, nothing, np.zeros(0, np.float32)))
    for relevant in (np.zeros(9, bool), np.zeros(10), [[True]]):
        with pytest.raises(InvalidArgumentError, match="relevant must be an array of bool"):
            model.focus(relevant)


def test_an_observation_that_is_not_a_number_stops_training() -> None:
    preferences = decided_by_the_first_feature(0)
    preferences.first.observations[3, 2, 1] = np.nan
    with pytest.raises(TrainingDivergedError, match="look for NaN in the observations"):
        RewardModel(**FIVE).fit(preferences)
