# Each target does its own set-up: a virtual environment in the checkout, with the exact versions of constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup demo test test-faults test-long lint clean

help:
	@echo "make demo         train on shapes, then colorize a small archive (3 to 5 minutes on 2 cores, after the install)"
	@echo "make test         run the tests (about 12 minutes on 2 cores)"
	@echo "make test-faults  kill processes and break storage under whole jobs (about 10 minutes)"
	@echo "make test-long    run the long forms of all tests too (an hour)"
	@echo "make lint         ruff and mypy"

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Colornet needs Python 3.11 or newer"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo,test,lint]'
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

clean:
	rm -rf $(VENV) .demo
