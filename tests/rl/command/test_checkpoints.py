"""Checkpoints survive a kill -9, and reading files never runs what is in them."""

import base64
import io
import json
import pickle
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer

from sparsewire.core import CheckpointError
from sparsewire.rl.command import arrays, checkpoints
from sparsewire.rl.command.evaluating import evaluate
from sparsewire.rl.command.runs import Run, open_run
from sparsewire.rl.command.training import resume
from tests.rl.command.helpers import settings, stored

SAVE_FOR_EVER = """
import json
import sys
from pathlib import Path
from sparsewire.rl.command import checkpoints
from sparsewire.rl.command.environments import training_env
from sparsewire.rl.command.models import configuration, make_model
from sparsewire.rl.command.settings import Settings

run = Settings.from_plain(json.loads(sys.argv[2]))
model = make_model(configuration(run), training_env(run, None), seed=0, device="cpu")
model.learn(50)
model.replay_buffer.pos = 299_999  # 60 MB, so that writing takes long enough to be interrupted
while True:
    checkpoints.save(model, Path(sys.argv[1]), with_replay_buffer=True)
    model.num_timesteps += 1
"""
BROKEN_INTO = "broken_into"


class Intruder:
    """Unpickling it makes a folder."""

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return Path.mkdir, (Path(BROKEN_INTO),)


@pytest.fixture
def copy(trained: Run, tmp_path: Path) -> Run:
    """A run to be damaged."""
    path = tmp_path / "anf-td3" / "NoisyPendulum-v1_1"
    shutil.copytree(trained.path, path)
    return open_run(path)


def newest(run: Run) -> Path:
    return checkpoints.latest(run.checkpoints)


def replace_in_zip(path: Path, name: str, content: bytes) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = {entry: archive.read(entry) for entry in archive.namelist()}
    assert name in entries
    with zipfile.ZipFile(path, "w") as archive:
        for entry, old in entries.items():
            archive.writestr(entry, content if entry == name else old)


@pytest.mark.slow
def test_a_kill_during_checkpointing_leaves_the_previous_one(tmp_path: Path, copy: Run) -> None:
    folder = tmp_path / "checkpoints"
    run = json.dumps(settings(params={"buffer_size": 300_000}).as_plain())
    process = subprocess.Popen([sys.executable, "-c", SAVE_FOR_EVER, str(folder), run])
    try:
        end = time.monotonic() + 90
        half_written: list[Path] = []
        while not half_written and time.monotonic() < end:
            assert process.poll() is None
            if list(folder.glob("*_steps")):
                half_written = list(folder.glob(".*_steps.*/replay_buffer.npz"))
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert list(folder.glob(".*_steps.*")), "the process died while it wrote"
    previous = checkpoints.latest(folder)
    assert previous.name[0] != "."
    with np.load(previous / "replay_buffer.npz") as content:
        assert int(content["pos"]) == 299_999
    assert stored(previous / "model.zip")
    # The next checkpoint of a run clears away what the crash has left.
    shutil.copytree(next(folder.glob(".*_steps.*")), copy.checkpoints / ".170_steps.1")
    resume(copy.path, changes={"n_timesteps": 165})
    assert not list(copy.checkpoints.glob(".*"))


@pytest.mark.parametrize("name", ["model.zip", "replay_buffer.npz", "state.npz", "state.json"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_truncated_files_are_refused_by_name(name: str, share: float, copy: Run) -> None:
    path = newest(copy) / name
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=r"160_steps.*cannot be continued.*Delete this"):
        resume(copy.path, changes={"n_timesteps": 170})


def test_after_deleting_a_damaged_checkpoint_the_one_before_is_used(copy: Run) -> None:
    shutil.rmtree(newest(copy))
    assert newest(copy).name == "120_steps"
    assert resume(copy.path, changes={}).is_complete


@pytest.mark.parametrize("where", ["model", "checkpoint"])
def test_the_pickle_in_a_model_file_is_never_opened(where: str, copy: Run) -> None:
    """SB3's `load` would unpickle the entry `data`; here it may hold anything."""
    serialized = base64.b64encode(pickle.dumps(Intruder())).decode()
    data = json.dumps({"policy_class": {":type:": "x", ":serialized:": serialized}}).encode()
    path = copy.model_file if where == "model" else newest(copy) / "model.zip"
    replace_in_zip(path, "data", data)
    if where == "model":
        assert len(evaluate(copy, episodes=1).returns) == 1
    else:
        resume(copy.path, changes={"n_timesteps": 165})
    assert not Path(BROKEN_INTO).exists()


@pytest.mark.parametrize("name", ["policy.pth", "actor.optimizer.pth", "pytorch_variables.pth"])
def test_tensors_that_are_pickles_are_refused(name: str, copy: Run) -> None:
    content = io.BytesIO()
    torch.save({"weight": Intruder()}, content)
    replace_in_zip(copy.model_file, name, content.getvalue())
    with pytest.raises(CheckpointError, match="damaged"):
        evaluate(copy, episodes=1)
    assert not Path(BROKEN_INTO).exists()


@pytest.mark.parametrize("name", ["replay_buffer.npz", "state.npz"])
def test_arrays_that_are_pickles_are_refused(name: str, copy: Run) -> None:
    path = newest(copy) / name
    with np.load(path) as content:
        entries = dict(content)
    entries[next(iter(entries))] = np.array([Intruder()], dtype=object)
    np.savez(path, **entries)
    (newest(copy) / "replay_buffer.pkl").write_bytes(pickle.dumps(Intruder()))
    with pytest.raises(CheckpointError, match="allow_pickle"):
        resume(copy.path, changes={"n_timesteps": 165})
    assert not Path(BROKEN_INTO).exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("algo", "anf-sac"), ("algo", "td3"), ("algo", "ds-td3"), ("algo", "no"), ("algo", None),
        ("hyperparameters", {"policy_kwargs": {"net_arch": [9, 9]}}), ("hyperparameters", 3),
        ("hyperparameters", {"buffer_size": 7, "policy_kwargs": {"net_arch": [8, 8]}}),
    ],
)  # fmt: skip
def test_a_checkpoint_of_another_agent_is_refused(key: str, value: object, copy: Run) -> None:
    copy.write_settings({**copy.config, key: value}, "")
    with pytest.raises((CheckpointError, ValueError)):
        resume(copy.path, changes={"n_timesteps": 170})


@pytest.mark.parametrize("config", [{}, {"algo": "anf-td3"}])
def test_an_incomplete_configuration_is_refused(config: dict[str, Any], copy: Run) -> None:
    copy.write_settings(config, "")
    with pytest.raises(CheckpointError, match=r"config\.yml is damaged"):
        resume(copy.path, changes={"n_timesteps": 170})


def test_state_of_another_format_is_refused(copy: Run) -> None:
    path = newest(copy) / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 99}))
    with pytest.raises(CheckpointError, match="version"):
        resume(copy.path, changes={"n_timesteps": 170})


@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize("n_added", [0, 3, 12])
def test_a_replay_buffer_comes_back_as_it_was(memory: bool, n_added: int, tmp_path: Path) -> None:
    space, rng = spaces.Box(-1, 1, (3,)), np.random.default_rng(0)
    kwargs = {"optimize_memory_usage": memory, "handle_timeout_termination": not memory}
    first, second = (ReplayBuffer(10, space, space, "cpu", **kwargs) for _ in range(2))
    for _ in range(n_added):
        row = rng.normal(size=(4, 1, 3)).astype(np.float32)
        first.add(row[0], row[1], row[2], row[3, :, 0], np.array([False]), [{}])
    arrays.write_buffer(tmp_path / "buffer.npz", first)
    arrays.read_buffer(tmp_path / "buffer.npz", second)
    for name, value in vars(first).items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(getattr(second, name), value)
    assert (second.pos, second.full) == (first.pos, first.full)
    other = ReplayBuffer(11, space, space, "cpu", **kwargs)
    if n_added == 12:
        with pytest.raises(CheckpointError, match="does not fit"):
            arrays.read_buffer(tmp_path / "buffer.npz", other)


def test_a_buffer_of_dictionaries_comes_back_as_it_was(tmp_path: Path) -> None:
    inner = spaces.Box(-1, 1, (2,))
    space = spaces.Dict({"a": inner, "b": inner})
    first, second = (DictReplayBuffer(10, space, inner, "cpu") for _ in range(2))
    row = {key: np.full((1, 2), index, np.float32) for index, key in enumerate("ab", 1)}
    one = np.ones((1, 2), np.float32)
    first.add(row, row, one, np.ones(1), np.zeros(1), [{}])
    arrays.write_buffer(tmp_path / "buffer.npz", first)
    arrays.read_buffer(tmp_path / "buffer.npz", second)
    for key in "ab":
        assert (second.observations[key] == first.observations[key]).all()
    with pytest.raises(CheckpointError, match="another kind"):
        arrays.read_buffer(tmp_path / "buffer.npz", ReplayBuffer(10, inner, inner, "cpu"))
