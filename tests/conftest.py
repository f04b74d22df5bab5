"""One thread per process, fixed seeds, and the folder with the benchmark data."""

import os

# Before numpy loads: two test workers with a full thread pool each would fight over the cores.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_variable] = "1"

from pathlib import Path

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("ci", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("ci")


@pytest.fixture(autouse=True)
def _seeded_layers() -> None:
    """Layers draw their first weights from torch's global generator; give each test the same."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder that SPARSEWIRE_DATA names; without it a test skips, but never in CI."""
    named = os.environ.get("SPARSEWIRE_DATA", "")
    if named and Path(named).is_dir():
        return Path(named)
    message = f"SPARSEWIRE_DATA={named!r} is not a folder; set it to the one with the data sets"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)
