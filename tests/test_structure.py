"""The package's shape: what may import what, what loads when, and how long a module may be."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sparsewire

PACKAGE = Path(sparsewire.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
APPLICATIONS = {"featsel", "neural_network", "rl", "continual", "timeseries"}
# For each package, the parts of sparsewire that its modules may import.
ARROWS = {
    "core": {"core"},
    "bench": {"core", "bench"},
    "datasets": {"core", "datasets"},
    "reporting": {"core", "reporting"},
    **{name: {"core", "datasets", "reporting", name} for name in APPLICATIONS},
}
OPTIONAL = (
    "sklearn",
    "pandas",
    "typer",
    "rich",
    "tqdm",
    "pooch",
    "pyarrow",
    "matplotlib",
    "gymnasium",
    "stable_baselines3",
    "avalanche",
    "torchvision",
    "sktime",
    "aeon",
)
IMPORT_CORE_WITHOUT_OPTIONAL_PACKAGES = f"""
import importlib, pkgutil, sys
for name in {OPTIONAL!r}:
    sys.modules[name] = None
import sparsewire, sparsewire.core
names = [m.name for m in pkgutil.walk_packages(sparsewire.core.__path__, "sparsewire.core.")]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def parts(module: Path) -> tuple[str, ...]:
    return module.relative_to(PACKAGE).with_suffix("").parts


def module_id(module: Path) -> str:
    return ".".join(parts(module))


def imported_parts(tree: ast.AST) -> Iterator[str]:
    """Which parts of sparsewire the code imports: "core", "cli", ...; "" for sparsewire itself."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            top, _, rest = name.partition(".")
            if top == "sparsewire":
                yield rest.partition(".")[0]


def is_public(module: Path) -> bool:
    return all(part == "__init__" or not part.startswith("_") for part in parts(module))


def test_core_imports_without_any_optional_package() -> None:
    assert int(run_python(IMPORT_CORE_WITHOUT_OPTIONAL_PACKAGES)) > 0


def test_importing_sparsewire_loads_no_heavy_package() -> None:
    heavy = {"sklearn", "pandas", "matplotlib"}
    loaded = run_python(f"import sys, sparsewire; print(sorted({heavy} & set(sys.modules)))")
    assert loaded == "[]"


@pytest.mark.parametrize("module", MODULES, ids=module_id)
def test_imports_point_down_only(module: Path) -> None:
    package, name = parts(module)[0], parts(module)[-1]
    imported = set(imported_parts(ast.parse(module.read_text(encoding="utf-8"))))
    if name in {"cli", "__main__"}:
        imported.discard("cli")
    assert "cli" not in imported, "only the cli modules know the command"
    upwards = imported - ARROWS[package] if package in ARROWS else set()
    assert not upwards, f"{package} may import only {sorted(ARROWS[package])} of sparsewire"


@pytest.mark.parametrize("module", MODULES, ids=module_id)
def test_module_is_short_and_says_what_it_is_for(module: Path) -> None:
    source = module.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 400
    assert ast.get_docstring(ast.parse(source)) or not is_public(module)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import sparsewire", {""}),
        ("import numpy, sparsewire.core.masked", {"core"}),
        ("from sparsewire import featsel", {"featsel"}),
        ("def f():\n    from sparsewire.rl.agents import A, B", {"rl"}),
        ("from sparsewired import core", set()),
    ],
)
def test_imported_parts_sees_every_form_of_import(code: str, expected: set[str]) -> None:
    assert set(imported_parts(ast.parse(code))) == expected


def test_demo_installs_the_torch_that_the_developers_pin() -> None:
    root = PACKAGE.parent
    pin = "torch==2.13.0"
    assert pin in (root / "Makefile").read_text(encoding="utf-8")
    assert f'"{pin}"' in (root / "pyproject.toml").read_text(encoding="utf-8")
