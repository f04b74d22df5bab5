"""MuJoCo writes a log into the working folder: every test has its own."""

from pathlib import Path

import pytest

from sparsewire.rl.command.runs import Run
from sparsewire.rl.command.training import train
from tests.rl.command.helpers import settings


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A complete run of anf-td3 in NoisyPendulum; only to be read."""
    return train(settings(save_freq=60), tmp_path_factory.mktemp("logs"), command="typed <this>")
