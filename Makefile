# Two commands are all that a newcomer needs: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet
LOCK := constraints.txt
# Set COVERAGE=1 to measure the coverage of the quick tests, which then take about a third longer, and to check its floor.
ifdef COVERAGE
COV := --cov --cov-report=term --cov-fail-under=90
endif
SLOWEST := --durations=25 --durations-min=5
export OMP_NUM_THREADS ?= 1

.PHONY: demo test slow nightly versions lint types layers docs lock latest clean

demo: $(VENV)/.demo  ## simulate collisions, score them with the shipped detectors, write an HTML report
	$(BIN)/tamis demo -o demo

test: $(VENV)/.dev  ## every test that is not marked `slow`
	$(BIN)/python -m pytest -n 2 --dist worksteal -q -m "not slow" $(SLOWEST) $(COV)

slow: $(VENV)/.dev  ## the tests marked `slow`: sanitizers, exhaustive corruption, other processors under emulation
	$(BIN)/python -m pytest -n 2 --dist worksteal -q -m "slow and not nightly" $(SLOWEST)

nightly: $(VENV)/.dev  ## the tests that take minutes each, and are not part of CI: run them before a release
	$(BIN)/python -m pytest -n 2 --dist worksteal -q -m nightly $(SLOWEST)

versions: $(VENV)/.dev  ## the wheel without extras on each supported Python that the host has, with tests on the newest
	$(BIN)/python tools/python_versions.py

lint: $(VENV)/.dev  ## style of the code and of its English
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tools/prose.py

types: $(VENV)/.dev
	$(BIN)/mypy

layers: $(VENV)/.dev  ## imports go one way
	$(BIN)/lint-imports

docs: $(VENV)/.dev  ## the documentation, every warning an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# First the version, since pip and venv fail in other words where Python is too old or missing.
$(VENV)/bin/python:
	@found=$$($(PYTHON) --version 2>&1 | head -n 1); case "$$found" in \
	    "Python 3.1"[1-9]*|"Python 3."[2-9][0-9]*|"Python "[4-9]*) ;; \
	    *) echo "tamis needs Python 3.11 or later, but $(PYTHON) --version says '$$found': name another Python, such as" \
	        "'make demo PYTHON=python3.12', or get one with 'uv python install 3.12' (docs/install.md)" >&2; exit 1 ;; \
	esac
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
	$(PIP) --upgrade pip

$(VENV)/.demo: pyproject.toml $(LOCK) | $(VENV)/bin/python
	$(PIP) -c $(LOCK) -e '.[simulate,plot]'
	touch $@

# torch comes first: where pip finds only a CUDA build, install the CPU build of this release into .venv beforehand.
# nvidia-pytriton is there for the Triton binary inside it; its Python wants an older numpy, and is never imported.
$(VENV)/.dev: pyproject.toml $(LOCK) | $(VENV)/bin/python
	$(PIP) -c $(LOCK) torch==2.13.0
	$(PIP) -c $(LOCK) -e '.[dev]'
	$(PIP) --no-deps nvidia-pytriton==0.7.0 || echo "NVIDIA Triton has no wheel for this machine: its tests are skipped"
	$(PIP) --no-deps pyacts==48.1.0 || echo "ACTS has no wheel for this machine: its tests are skipped"
	$(BIN)/python tools/perf_analyzer.py || echo "perf_analyzer cannot be downloaded: its tests are skipped"
	touch $@ $(VENV)/.demo

lock:  ## write constraints.txt anew, from the newest releases that pyproject.toml allows
	rm -rf .venv-latest && $(PYTHON) -m venv .venv-latest
	.venv-latest/bin/python -m pip install --quiet --upgrade pip
	.venv-latest/bin/python -m pip install --quiet torch==2.13.0
	.venv-latest/bin/python -m pip install --quiet -e '.[dev]'
	$(PYTHON) tools/lock.py .venv-latest/bin/python > $(LOCK).new && mv $(LOCK).new $(LOCK)

latest:  ## the tests against the newest releases: tells when one of them breaks something
	rm -rf .venv-latest && $(PYTHON) -m venv .venv-latest
	.venv-latest/bin/python -m pip install --quiet --upgrade pip
	.venv-latest/bin/python -m pip install --quiet torch==2.13.0
	.venv-latest/bin/python -m pip install --quiet -e '.[test]'
	if $(PYTHON) tools/lock.py .venv-latest/bin/python | grep -vxFf $(LOCK); then \
	    .venv-latest/bin/python -m pytest -n 2 -q -m "not slow" tests/bundle tests/engines tests/events tests/trigger; \
	else echo "there are no newer releases"; fi

clean:
	rm -rf $(VENV) .venv-latest demo site .coverage* .mypy_cache .ruff_cache .pytest_cache
