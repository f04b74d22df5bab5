"""Run folders: numbered without gaps or clashes, read without executing anything."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sparsewire.core import CheckpointError, InvalidArgumentError
from sparsewire.rl.command.runs import create_run, find_runs, latest_run, open_run
from tests.rl.command.helpers import settings


def test_folders_are_numbered_per_algorithm_and_environment(tmp_path: Path) -> None:
    first = create_run(tmp_path, settings())
    other = create_run(tmp_path, settings(env="NoisyPendulum-v1_2"))
    second = create_run(tmp_path, settings())
    assert [run.path.name for run in (first, second)] == [
        "NoisyPendulum-v1_1",
        "NoisyPendulum-v1_2",
    ]
    assert other.path.name == "NoisyPendulum-v1_2_1"


def test_processes_that_start_together_get_different_folders(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: create_run(tmp_path, settings()), range(40)))
    assert sorted(int(run.path.name.rpartition("_")[2]) for run in runs) == list(range(1, 41))


def test_an_id_with_a_module_becomes_one_folder_name(tmp_path: Path) -> None:
    run = create_run(tmp_path, settings(env="my.module:space/Env-v0"))
    assert run.path == tmp_path / "anf-td3" / "my.module-space-Env-v0_1"


def test_settings_come_back_as_written(tmp_path: Path) -> None:
    run = create_run(tmp_path, settings())
    config = {"algo": "x", "normalize": None, "noise_std": 0.1, "hyperparameters": {"gamma": 0.9}}
    run.write_settings(config, "sparsewire rl train")
    assert open_run(run.path) == run
    assert find_runs(tmp_path) == [run]
    assert (run.command, run.config) == ("sparsewire rl train", config)
    assert not run.is_complete
    run.write_result({"timesteps": run.settings.n_timesteps})
    assert run.is_complete


def test_yaml_cannot_run_code(tmp_path: Path) -> None:
    run = create_run(tmp_path, settings())
    text = "!!python/object/apply:os.mkdir [broken_into]"
    (run.path / "args.yml").write_text(text)
    with pytest.raises(CheckpointError, match="damaged"):
        open_run(run.path)
    assert not Path("broken_into").exists()


@pytest.mark.parametrize("text", ["", "[1, 2]", "algo: td3", "{", "\x00", "a: &a [*a]\nb"])
def test_damaged_settings_are_refused(tmp_path: Path, text: str) -> None:
    run = create_run(tmp_path, settings())
    (run.path / "args.yml").write_text(text)
    with pytest.raises(CheckpointError, match=r"args\.yml"):
        open_run(run.path)


def test_missing_and_empty_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="there is no folder"):
        open_run(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match=r"no args\.yml"):
        open_run(tmp_path)
    with pytest.raises(InvalidArgumentError, match="no run below"):
        find_runs(tmp_path)


def test_the_latest_run_is_the_one_with_the_highest_number(tmp_path: Path) -> None:
    for _ in range(11):
        create_run(tmp_path, settings()).write_settings({}, "")
    found = latest_run(tmp_path, "anf-td3", "NoisyPendulum-v1")
    assert found.path.name == "NoisyPendulum-v1_11"
    assert latest_run(tmp_path, "anf-td3", "NoisyPendulum-v1", 2).path.name == "NoisyPendulum-v1_2"
    with pytest.raises(InvalidArgumentError, match=r"number 12.*there are 1, 2"):
        latest_run(tmp_path, "anf-td3", "NoisyPendulum-v1", 12)
    with pytest.raises(InvalidArgumentError, match="no run of td3"):
        latest_run(tmp_path, "td3", "NoisyPendulum-v1")
