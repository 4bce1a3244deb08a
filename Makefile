# Everything runs inside .venv, installed from constraints.txt by the first target that needs it.
BIN := .venv/bin
SHELL := /bin/bash
WORKERS ?= $(shell n=$$(nproc); echo $$((n > 8 ? 8 : n)))
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: demo test check docs docs-serve browser mutants train clean

demo: .venv/installed  ## Measure the embedded U-Net and draw the paper's Figure 2.
	$(BIN)/attnscope convergence --out runs/demo

test: check  ## Format, lint, types and the whole suite, by one process a core.
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal

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

train: .venv/installed  ## Train the embedded U-Net from nothing; resumes after a stop.
	$(BIN)/attnscope shapes train --start nothing --out training

.venv/installed: pyproject.toml constraints.txt
	python3 -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf .venv runs docs/_build
