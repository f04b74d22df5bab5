"""Is a run continued from its file, and only from the file of a run of its kind?"""

from pathlib import Path
from typing import Any

import pytest
import torch

import sparsewire
from sparsewire.core import CheckpointError, SparsityHandle
from sparsewire.core.run_file import RunFile


def sparse_layer() -> SparsityHandle:
    model = torch.nn.Linear(6, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return sparsewire.sparsify(model, optimizer, density=0.5, method="set", seed=0)


def epoch_of(content: dict[str, Any]) -> int:
    epoch: int = content["epoch"]
    return epoch


def test_a_run_goes_on_with_weights_and_content(tmp_path: Path) -> None:
    file = RunFile.of(tmp_path / "run.pt", {"a": 1}, data="x")
    stopped, resumed = sparse_layer(), sparse_layer()
    assert file.load(resumed, epoch_of) is None
    file.save(stopped, epoch=3)
    assert file.load(resumed, epoch_of) == 3
    for one, other in zip(stopped.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (RunFile.of("", {"a": 2}, data="x"), "its run has a = 1, this one 2"),
        (RunFile.of("", {"a": 1}, data="y"), "its run has data = x, this one y"),
        (RunFile.of("", {"b": 1}, data="x"), "not written by this estimator"),
    ],
)
def test_another_run_is_refused_by_name(tmp_path: Path, other: RunFile, message: str) -> None:
    path = tmp_path / "run.pt"
    RunFile.of(path, {"a": 1}, data="x").save(sparse_layer(), epoch=3)
    with pytest.raises(CheckpointError, match=f"{message}.*Delete the file"):
        RunFile(path, other.identity).load(sparse_layer(), epoch_of)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.pt").write_bytes(b"no checkpoint")
    with pytest.raises(CheckpointError, match="cannot be continued"):
        RunFile.of(tmp_path / "run.pt", {}).load(sparse_layer(), epoch_of)
