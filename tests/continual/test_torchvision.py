"""The torchvision remedy: entered for one error only, and invisible where torchvision fits."""

import subprocess
import sys
from pathlib import Path

import pytest

from sparsewire.continual.avalanche._require import require_avalanche

# As the real torchvision does it: the shape of `nms` is registered when the package is imported.
REGISTERS = """
import torch
from torchvision import half
torch.library.register_fake("torchvision::nms")(lambda dets, scores, iou_threshold: dets)
"""
DECLARES = """
import torch
library = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    library.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""
IMPORT = """
from sparsewire.continual import _torchvision
module = _torchvision.import_torchvision()
print(module.__file__, len(_torchvision._declared))
"""


def run(code: str, folder: Path | None = None, *options: str) -> subprocess.CompletedProcess[str]:
    path = f"import sys\nsys.path.insert(0, {str(folder)!r})\n" if folder else ""
    command = [sys.executable, *options, "-c", path + code]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def fake_torchvision(folder: Path, code: str) -> Path:
    package = folder / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(code, encoding="utf-8")
    (package / "half.py").write_text("imported = True\n", encoding="utf-8")
    return package


def test_a_torchvision_that_fits_is_imported_as_it_is(tmp_path: Path) -> None:
    package = fake_torchvision(tmp_path, DECLARES + REGISTERS)
    done = run(IMPORT, tmp_path)
    assert done.stdout.split() == [str(package / "__init__.py"), "0"], done.stderr


def test_operators_that_torchvision_misses_are_declared(tmp_path: Path) -> None:
    package = fake_torchvision(tmp_path, REGISTERS)
    plain = run("import torchvision", tmp_path)
    assert "operator torchvision::nms does not exist" in plain.stderr
    done = run(IMPORT + "print(module.half.imported)", tmp_path)
    assert done.stdout.split() == [str(package / "__init__.py"), "1", "True"], done.stderr


def test_another_error_at_the_import_of_torchvision_is_not_hidden(tmp_path: Path) -> None:
    fake_torchvision(tmp_path, "raise RuntimeError('disk on fire')")
    done = run(IMPORT, tmp_path)
    assert "RuntimeError: disk on fire" in done.stderr
    assert "partially" not in done.stderr


def test_the_installed_torchvision_and_avalanche_import_with_warnings_as_errors() -> None:
    code = """
import sparsewire.continual.avalanche, torchvision
from avalanche.training.supervised import Naive
print(torchvision.transforms.ToTensor.__name__, Naive.__name__)
"""
    done = run(code, None, "-W", "error")
    assert done.stdout.split() == ["ToTensor", "Naive"], done.stderr


@pytest.mark.parametrize("missing", ["avalanche", "torchvision"])
def test_a_missing_extra_is_named_with_what_installs_it(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    message = f'needs {missing}: pip install "sparsewire\\[continual\\]" installs it'
    with pytest.raises(ImportError, match=message):
        require_avalanche()


def test_python_without_distutils_is_told_to_get_setuptools() -> None:
    code = """
import sys
sys.modules["distutils"] = None
import sparsewire.continual.avalanche
"""
    assert "needs setuptools: pip install" in run(code).stderr


def test_importing_the_methods_imports_neither_avalanche_nor_torchvision() -> None:
    code = """
import sys
sys.modules["avalanche"] = sys.modules["torchvision"] = None
import sparsewire.continual.spacenet, sparsewire.continual.dst_masks
print("imported")
"""
    done = run(code)
    assert done.stdout.split() == ["imported"], done.stderr
