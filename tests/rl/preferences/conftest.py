"""A folder of its own for each test: MuJoCo writes MUJOCO_LOG.TXT where it runs."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _scratch_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
