PYTHON ?= python3.11
BIN := .venv/bin
# Which tests `make test` runs; `make test MARK=` runs all of them.
MARK ?= not slow

.NOTPARALLEL:
.PHONY: venv demo test test-slow lint type doctest build check docs bench

# The demo installs no more than it needs. torch and torchvision belong together and have the
# versions that `dev` pins, so that a later `make test` in the same .venv does not load them again.
.venv/demo: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -e ".[plot,rl,continual]" torch==2.13.0 torchvision==0.28.0
	touch $@

.venv/dev: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -e ".[dev]"
	touch $@ .venv/demo

venv: .venv/dev

demo: .venv/demo
	$(BIN)/python examples/demo.py
	$(BIN)/python examples/split_digits.py
	$(BIN)/python examples/noisy_pendulum.py --seeds 2 --steps 8000

test: .venv/dev
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "$(MARK)" --cov
	$(BIN)/python -m coverage report --include="sparsewire/core/*" --fail-under=95

test-slow: .venv/dev
	$(BIN)/python -m pytest -n 2 --dist worksteal -m slow

lint: .venv/dev
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

type: .venv/dev
	$(BIN)/python -m mypy
	$(BIN)/python -m mypy --explicit-package-bases tests examples benchmarks

doctest: .venv/dev
	$(BIN)/python -m pytest --doctest-modules sparsewire

# The wheel is built from the sdist, so one import proves both.
build: .venv/dev
	rm -rf dist
	$(BIN)/python -m build -q
	tar -tzf dist/*.tar.gz | grep -q /tests/conftest.py
	$(BIN)/python -m pip install -q --no-deps --target dist/check dist/*.whl
	cd dist/check && PYTHONPATH=. ../../$(BIN)/python -c "import sparsewire as s; assert 'dist/check' in s.__file__, s.__file__"
	test -f dist/check/sparsewire/py.typed

# Cheapest first; this is what continuous integration runs.
check: lint type doctest docs build test

docs: .venv/dev
	$(BIN)/python -m sphinx -W -b html docs docs/_build/html

bench: .venv/dev
	for script in benchmarks/*.py; do $(BIN)/python "$$script" || exit 1; done
