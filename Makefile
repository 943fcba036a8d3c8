# Each target does its own set-up: a virtual environment in the checkout, with the exact versions of constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup demo test test-faults test-long lint docs clean

help:
	@echo "make demo         train on shapes, then colorize a small archive (3 to 5 minutes on 2 cores, after the install)"
	@echo "make test         run the tests (about 15 minutes on 2 cores)"
	@echo "make test-faults  kill processes and break storage under whole jobs (about 10 minutes)"
	@echo "make test-long    run the long forms of all tests too (an hour)"
	@echo "make lint         ruff and mypy"
	@echo "make docs         the documentation as pages, with the library's, in build/site"
	@echo "Before the first of them: an install of about 5 minutes and 7.3 GB, in $(VENV)"

setup: $(VENV)/.installed

# What the environment has already stays, such as PyTorch's CPU build.
$(VENV)/.installed: pyproject.toml constraints.txt setup.py
	$(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info < (3, 14), "Colornet needs Python 3.11, 3.12 or 3.13"'
	@echo "Installing Colornet and all it needs into $(VENV): about 5 minutes, and 7.3 GB with PyTorch's default build"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[test,lint,docs]'
	touch $@

demo: setup
	$(BIN)/python -m demo

test: setup
	$(BIN)/python -m pytest

test-faults: setup
	$(BIN)/python -m pytest -m 'faults and not long'

test-long: setup
	$(BIN)/python -m pytest -m ''

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: setup
	$(BIN)/mkdocs build --quiet --strict

clean:
	rm -rf $(VENV) .demo build
