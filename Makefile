# Everything runs inside .venv, installed from constraints.txt by the first target that needs it.
BIN := .venv/bin
SHELL := /bin/bash
# getconf, since nproc says what OMP_NUM_THREADS allows
WORKERS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN); echo $$((n > 8 ? 8 : n)))
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

# Sets of releases and the tests that `make matrix` runs under each; what tells most in a minute or two.
SETS ?= oldest middle newest
TESTS ?= tests
TELLING := tests/test_versions.py tests/hooks/test_branches.py tests/models/test_calling.py \
	tests/models/test_pipelines.py tests/shapes/test_places.py tests/sites/test_around.py \
	tests/metrics/test_intervals.py tests/metrics/test_vqa.py \
	tests/cli/test_cli_ablate.py::test_ablate_leaves_images_tables_and_figures

.PHONY: demo test check docs docs-serve older matrix browser mutants soak audit sbom train clean

demo: .venv/installed  ## Measure the embedded U-Net and draw the paper's Figure 2.
	$(BIN)/attnscope convergence --out runs/demo

test: check  ## Format, lint, types and the whole suite, by one process a core.
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal

matrix: $(SETS:%=matrix-%)  ## The quick tests under the oldest, middle and newest releases: make matrix SETS=oldest.

older:  ## The tests that tell most, under the oldest releases.
	$(MAKE) matrix-oldest TESTS="$(TELLING)"

matrix-newest: .venv/installed
	$(BIN)/python -m pytest -m "not slow and not soak" $(TESTS)

matrix-%: .matrix/%/installed
	$(<D)/bin/python -m pytest -m "not slow and not soak" $(TESTS)

.PRECIOUS: .matrix/%/installed
.matrix/%/installed: pyproject.toml constraints-%.txt
	python3 -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --upgrade pip
	$(@D)/bin/python -m pip install --quiet --no-compile -c constraints-$*.txt torch
	$(@D)/bin/python -m pip install --quiet --no-compile -c constraints-$*.txt -e . hypothesis peft pytest
	touch $@

check: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: .venv/installed  ## The site, in docs/_build/html: no warning and no broken link is let pass.
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[docs]"
	$(BIN)/python -m sphinx -W --keep-going --quiet -b html docs docs/_build/html

docs-serve: docs  ## The same, at http://localhost:8000.
	$(BIN)/python -m http.server --directory docs/_build/html 8000

browser: .venv/installed  ## Pages in a real Chromium, which is installed if there is none.
	command -v chromium || $(SUDO) apt-get install -y --no-install-recommends chromium fonts-dejavu-core
	$(BIN)/python -m pytest -m browser

mutants: .venv/installed  ## Faults that the tests of a module let pass: make mutants MODULES="plans.base hooks.attention".
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[mutation]"
	nice $(BIN)/python benchmarks/mutants.py $(MODULES)

soak: .venv/installed  ## Reliability as figures, into docs/reliability/: bad input, kills, a process that lives long.
	$(BIN)/python -m pytest -m soak
	$(BIN)/python -m pytest tests/reliability --hypothesis-profile=soak
	$(BIN)/python benchmarks/soak/kills.py --kills 100
	$(BIN)/python benchmarks/soak/long_lived.py --times 1000 --threads 50

audit: .venv-release/installed  ## Known vulnerabilities of what CI installs; fails where one package cannot be looked up.
	.venv-release/bin/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

sbom: .venv-release/installed  ## The software bill of materials (CycloneDX) that goes beside a wheel.
	mkdir -p dist
	.venv-release/bin/cyclonedx-py requirements constraints.txt --pyproject pyproject.toml \
		--mc-type library --output-reproducible -o dist/attnscope.cdx.json

train: .venv/installed  ## Train the embedded U-Net from nothing; resumes after a stop.
	$(BIN)/attnscope shapes train --start nothing --out training

.venv/installed: pyproject.toml constraints.txt
	python3 -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

.venv-release/installed: Makefile
	python3 -m venv .venv-release
	.venv-release/bin/python -m pip install --quiet pip-audit==2.10.1 cyclonedx-bom==7.5.0
	touch $@

clean:
	rm -rf .venv .venv-release .matrix runs docs/_build
