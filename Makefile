# Two commands are all that a newcomer needs: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 1

.PHONY: demo test lint types layers docs bench clean

demo: $(VENV)/.demo  ## simulate collisions, score them with the shipped detectors, write an HTML report
	$(BIN)/tamis demo -o demo

test: $(VENV)/.dev  ## the whole suite
	$(BIN)/python -m pytest -n 2 --dist worksteal --cov --cov-report=term -q

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tools/prose.py

types: $(VENV)/.dev
	$(BIN)/mypy

layers: $(VENV)/.dev
	$(BIN)/lint-imports

docs: $(VENV)/.dev
	$(BIN)/mkdocs build --strict --quiet

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -e '.[simulate,plot]'
	touch $@

# torch first and pinned: the release that everything is tested with, and the one whose CPU wheel pip may have at hand.
# nvidia-pytriton is there for the Triton binary inside it; its Python wants an older numpy, and is never imported.
# Where pip finds only the CUDA build, install the CPU build of this very release into .venv beforehand.
$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps nvidia-pytriton==0.7.0 || echo "no NVIDIA Triton for this machine: its tests are skipped"
	touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) demo site .coverage* .mypy_cache .ruff_cache .pytest_cache
