"""Training: a resumed run equals an uninterrupted one, and evaluation changes nothing."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sparsewire.core import CheckpointError, InvalidArgumentError
from sparsewire.rl.command.curves import read_evaluations
from sparsewire.rl.command.focus import Record
from sparsewire.rl.command.models import configuration
from sparsewire.rl.command.runs import Run
from sparsewire.rl.command.training import resume, train
from tests.rl.command.helpers import PARAMS, assert_same_model, global_keys, settings, stored

N_STEPS = 160
RUNS: dict[str, dict[str, Any]] = {
    "anf-td3": {},
    "fresh noise, permuted": {
        "env_kwargs": {"noise_fraction": 0.75, "permute_every": 50},
        "params": {"replay_buffer_class": "FreshNoiseReplayBuffer", "buffer_size": 90},
    },
    "ds-sac, normalised": {"algo": "ds-sac", "params": {"normalize": True}},
    "short episodes": {"algo": "ds-ddpg", "env": "NoisyInvertedPendulum-v5"},
    "gmp-sac": {
        "algo": "gmp-sac",
        "params": {"sparse_kwargs": {"update_interval": 10, "total_steps": 120}},
    },
}


def episodes(run: Run) -> list[list[str]]:
    """Return and length of every training episode; the third column is a time."""
    return [line.split(",")[:2] for line in run.monitor_file.read_text().splitlines()[2:]]


@pytest.mark.parametrize("name", RUNS)
def test_a_resumed_run_equals_an_uninterrupted_one(name: str, tmp_path: Path) -> None:
    """Bit for bit, though it stopped in the middle of an episode and of Adam's momentum."""
    whole = train(settings(**RUNS[name]), tmp_path)
    part = train(settings(**RUNS[name], save_freq=30, n_timesteps=110), tmp_path)
    assert part.path != whole.path
    resumed = resume(part.path, changes={"n_timesteps": N_STEPS})
    assert resumed.is_complete
    assert_same_model(whole, resumed)
    assert episodes(whole) == episodes(resumed)
    with np.load(whole.evaluations_file) as ours, np.load(resumed.evaluations_file) as theirs:
        assert ours["timesteps"].tolist() == [0, 80, 160]
        for key in ours.files:
            assert (ours[key] == theirs[key]).all(), key
    focus = Record.read(whole.focus_file)
    theirs = Record.read(resumed.focus_file)
    for step in focus.steps:
        for network in focus.networks:
            assert focus.at(network, [step]) == theirs.at(network, [step])


def test_a_crash_repeats_what_came_after_the_last_checkpoint(tmp_path: Path, trained: Run) -> None:
    """The folder of a killed run has evaluations and episodes that its checkpoint does not know."""
    run = train(settings(save_freq=60), tmp_path)
    (run.path / "result.yml").unlink()
    for name in ("120_steps", "160_steps"):
        (run.checkpoints / name / "replay_buffer.npz").unlink(missing_ok=True)
    part = train(settings(n_timesteps=60), tmp_path)
    for path in run.checkpoints.iterdir():
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    (part.checkpoints / "60_steps").rename(run.checkpoints / "60_steps")
    assert_same_model(trained, resume(run.path, changes={}))
    assert read_evaluations(run).steps.tolist() == [0, 80, 160]


def test_the_same_seed_gives_the_same_run_and_another_seed_another(
    tmp_path: Path, trained: Run
) -> None:
    assert_same_model(trained, train(settings(), tmp_path))
    with pytest.raises(AssertionError):
        assert_same_model(trained, train(settings(seed=1), tmp_path))


@pytest.mark.parametrize(
    ("algo", "changes"),
    [("anf-td3", {"eval_freq": 50, "eval_episodes": 2}), ("sac", {"eval_freq": 0})],
)
def test_evaluation_does_not_change_training(
    algo: str, changes: dict[str, int], tmp_path: Path
) -> None:
    once = train(settings(algo=algo), tmp_path)
    often = train(settings(algo=algo, **changes), tmp_path)
    assert_same_model(once, often)
    assert episodes(once) == episodes(often)


def test_global_generators_and_threads_are_given_back(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    before = random.getstate(), global_keys(), torch.get_rng_state()
    train(settings(n_timesteps=50, eval_freq=0), tmp_path)
    assert random.getstate() == before[0]
    assert (global_keys() == before[1]).all()
    assert torch.equal(torch.get_rng_state(), before[2])
    assert torch.get_num_threads() == threads


def test_only_the_newest_checkpoint_keeps_its_replay_buffer(trained: Run) -> None:
    found = {path.parent.name for path in trained.checkpoints.glob("*/replay_buffer.npz")}
    assert found == {"160_steps"}
    models = {path.parent.name for path in trained.checkpoints.glob("*/model.zip")}
    assert models == {"60_steps", "120_steps", "160_steps"}


def test_the_best_model_is_that_of_the_best_evaluation(tmp_path: Path) -> None:
    """The best of three evaluations is found by training to each of them again."""
    run = train(settings(eval_freq=60, seed=2), tmp_path)
    evaluations = read_evaluations(run)
    best = int(evaluations.steps[evaluations.returns.mean(axis=1).argmax()])
    assert best in (0, 60, 120)
    counts = [v for k, v in stored(run.best_model_file).items() if k.endswith("critic/step")]
    assert all(int(count) == max(0, best - 1 - PARAMS["learning_starts"]) for count in counts)


def test_without_the_replay_buffer_a_resumption_warns(tmp_path: Path) -> None:
    run = train(settings(save_replay_buffer=False), tmp_path)
    said: list[str] = []
    resume(run.path, changes={"n_timesteps": 170}, say=said.append)
    assert "no replay buffer" in said[0]


def test_a_complete_run_is_only_resumed_to_go_further(trained: Run) -> None:
    with pytest.raises(InvalidArgumentError, match=r"160 steps already.*larger -n"):
        resume(trained.path, changes={})


def test_a_run_without_checkpoint_cannot_be_resumed(tmp_path: Path) -> None:
    run = train(settings(n_timesteps=50, eval_freq=0), tmp_path)
    for file in sorted(run.checkpoints.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        resume(run.path, changes={"n_timesteps": 99})


def test_dense_arms_of_a_bench_have_the_hyperparameters_of_the_sparse_ones() -> None:
    """A TD3 without weight decay is not the baseline of the papers."""
    dense = configuration(settings(algo="td3"))
    sparse = configuration(settings(algo="static-td3", params={"sparse_kwargs": {}}))
    assert dense["noise_std"] == sparse["noise_std"] == 0.1
    kwargs = dict(sparse["hyperparameters"])
    assert kwargs.pop("sparse_kwargs") == {}
    assert dense["hyperparameters"] == kwargs
    assert kwargs["policy_kwargs"] == {
        "net_arch": [8, 8], "optimizer_kwargs": {"weight_decay": 2e-4},
    }  # fmt: skip


def test_a_paper_can_be_named_for_the_dense_baseline() -> None:
    found = configuration(settings(algo="sac", params={"like": "ds"}))["hyperparameters"]
    assert (found["learning_rate"], found["target_update_interval"]) == (3e-4, 1000)


def test_schedules_end_with_the_training() -> None:
    sparse = {"sparse_kwargs": {"update_interval": 10}}
    config = configuration(settings(algo="rigl-td3", n_timesteps=160, params=sparse))
    expected = {"total_steps": 120, "update_interval": 10}
    assert config["hyperparameters"]["sparse_kwargs"] == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"algo": "anv-td3"}, r"unknown algorithm 'anv-td3'.*Did you mean 'anf-td3'"),
        ({"env": "NoisyPendulom-v1"}, r"unknown environment.*Did you mean 'NoisyPendulum-v1'"),
        ({"env": "no_such_module:Env-v0"}, "cannot import no_such_module"),
        ({"env": "CartPole-v1", "env_kwargs": {}}, "continuous actions"),
        ({"env_kwargs": {"noise_frac": 0.5}}, "noise_frac"),
        ({"params": {"batch_sise": 8}}, "batch_sise"),
        ({"params": {"sparse_kwargs": {"densety": 1}}}, "densety.*Did you mean 'density'"),
        ({"params": {"noise_std": -1}}, "noise_std"),
        ({"params": {"replay_buffer_class": "HerReplayBuffer"}}, "FreshNoiseReplayBuffer"),
        ({"params": {"like": "anv"}}, "like"),
        ({"params": {"learning_starts": 160}}, "learning starts after 160 steps"),
        ({"params": {"policy": "NoPolicy"}}, "NoPolicy"),
    ],
)
def test_bad_input_is_refused_before_a_folder_is_made(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises((InvalidArgumentError, TypeError), match=message):
        train(settings(**changes), tmp_path / "logs")
    assert not (tmp_path / "logs").exists()
