"""Trained agents: evaluated in the same episodes each time, shown, and recorded."""

import importlib.util
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import pytest

from sparsewire.core import CheckpointError, InvalidArgumentError, SparsewireError
from sparsewire.rl.command import evaluating
from sparsewire.rl.command.curves import read_evaluations
from sparsewire.rl.command.evaluating import enjoy, evaluate, opened
from sparsewire.rl.command.runs import Run, create_run
from sparsewire.rl.command.settings import EVALUATION_SEED_OFFSET
from sparsewire.rl.command.training import train
from tests.rl.command.helpers import settings


@pytest.fixture(scope="module")
def corridor(tmp_path_factory: pytest.TempPathFactory) -> Run:
    given = settings(algo="td3", env="Corridor-v0", env_kwargs={}, n_timesteps=60, eval_freq=20)
    return train(given, tmp_path_factory.mktemp("logs"))


def test_a_seed_decides_the_episodes(corridor: Run) -> None:
    first, again = (evaluate(corridor, episodes=5, seed=3) for _ in range(2))
    assert (first.returns == again.returns).all()
    assert first.lengths.tolist() == [4] * 5
    assert len(set(first.returns)) == 5, "every episode has a start of its own"
    assert (first.returns != evaluate(corridor, episodes=5, seed=4).returns).all()


def test_the_stored_model_is_the_one_that_was_evaluated(corridor: Run) -> None:
    """The best evaluation is found again from files alone: same model, same first episodes."""
    evaluations = read_evaluations(corridor)
    seed = corridor.settings.seed + EVALUATION_SEED_OFFSET
    best = int(evaluations.returns.mean(axis=1).argmax())
    again = evaluate(corridor, episodes=len(evaluations.steps), seed=seed, best=True)
    assert again.returns[best] == pytest.approx(evaluations.returns[best, 0])


@pytest.mark.parametrize("best", [False, True])
def test_normalised_observations_and_phases_are_restored(best: bool, tmp_path: Path) -> None:
    given = settings(
        algo="td3", params={"normalize": True}, n_timesteps=420, eval_freq=210,
        env_kwargs={"noise_fraction": 0.75, "permute_every": 100},
    )  # fmt: skip
    run = train(given, tmp_path)
    assert run.result["phase"] == 2
    with opened(run, seed=10_000, best=best, device="cpu") as (_, env):
        env.reset()
        evaluations = read_evaluations(run)
        last = int(evaluations.returns.mean(axis=1).argmax()) if best else -1
        with np.load(run.evaluations_file) as content:
            phases = content["phases"].tolist()
        assert phases == [0, 1, 2]
        assert env.get_attr("phase") == [phases[last]]
        moments = "best_vecnormalize.npz" if best else "vecnormalize.npz"
        with np.load(run.path / moments) as content:
            assert (content["obs_mean"] == env.obs_rms.mean).all()  # type: ignore[attr-defined]
    assert len(evaluate(run, episodes=1, best=best).returns) == 1


def test_a_missing_model_is_refused(tmp_path: Path, corridor: Run) -> None:
    run = create_run(tmp_path, corridor.settings)
    run.write_settings(corridor.config, "")
    with pytest.raises(CheckpointError, match=r"there is no .*Corridor-v0\.zip"):
        evaluate(run, episodes=1)


def test_a_video_shows_every_step(corridor: Run, tmp_path: Path) -> None:
    path = tmp_path / "video.gif"
    found = enjoy(corridor, steps=7, record=path)
    assert found.lengths.tolist() == [4]
    frames = imageio.mimread(path)
    assert len(frames) == 7
    brightest = [int(frame[..., 0].mean(axis=0).argmax()) // 16 for frame in frames]
    assert brightest == [0, 1, 2, 3, 0, 1, 2]


def test_without_rendering_the_returns_are_the_same(corridor: Run, tmp_path: Path) -> None:
    recorded = enjoy(corridor, steps=8, seed=2, record=tmp_path / "video.gif")
    plain = enjoy(corridor, steps=8, seed=2, render=False)
    assert (recorded.returns == plain.returns).all()


def test_a_missing_display_says_what_to_do(corridor: Run) -> None:
    with pytest.raises(SparsewireError, match=r"no display.*MUJOCO_GL=egl.*--no-render"):
        enjoy(corridor, steps=1)


def test_other_formats_are_refused(corridor: Run, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match=r"\.mp4 or \.gif"):
        enjoy(corridor, record=tmp_path / "video.avi")


def test_a_missing_video_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "sparsewire\[rl\]"'):
        evaluating.check_video(Path("video.mp4"))
