# Needs make, Python 3.11 to 3.14 and a package index; everything else goes into .venv.
#
#   make run     trains on the data that come with RDKit: molae train (RUN_ARGS="..." passes flags)
#   make test    the test suite in two processes (PYTEST_ARGS="-k gaussian" passes flags to pytest)
#   make lint    ruff: rules and format
#   make docs    the documentation, into docs/_build/html
#   make chemprop installs chemprop, with which models are compared, into .venv-chemprop
#   make scatter builds the optional torch-scatter against the installed torch
#   make clean   removes what the targets above made, except .venv
#
# Another interpreter: rm -rf .venv && make PYTHON=python3.12 test

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
REQUIREMENTS := setup.cfg setup.py pyproject.toml constraints.txt molae_pyg/_version.py
PYTEST_ARGS ?=
RUN_ARGS ?=

.PHONY: run test lint docs chemprop scatter clean

run: $(VENV)/.run
	$(BIN)/molae train chembl2321810 runs/first $(RUN_ARGS)

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist worksteal $(PYTEST_ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

docs: $(VENV)/.docs
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

# Its RDKit is another one: an environment of its own, reached through files.
chemprop:
	$(PYTHON) -m venv --clear .venv-chemprop
	.venv-chemprop/bin/python -m pip --disable-pip-version-check install --quiet chemprop==2.3.1

# --use-pep517: the build needs no `wheel` package. The import fails if the build does not fit torch.
scatter: $(VENV)/.run
	$(PIP) --no-build-isolation --use-pep517 -e ".[scatter]"
	$(BIN)/python -c "import torch_scatter"

clean:
	rm -rf build dist docs/_build .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -not -path "./$(VENV)*/*" -prune -exec rm -rf {} +

# Stamps: installed once, and again when a requirement changes. The extras contain the run time.
$(VENV)/.dev: EXTRA := [dev]
$(VENV)/.docs: EXTRA := [docs]
$(VENV)/.run $(VENV)/.dev $(VENV)/.docs: $(REQUIREMENTS) | $(BIN)/python
	@echo "Installing molae_pyg$(EXTRA) into $(VENV)"
	$(PIP) -e ".$(EXTRA)"
	@touch $(VENV)/.run $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 14) \
	  else "molae_pyg needs Python 3.11 to 3.14, $(PYTHON) is %d.%d: make PYTHON=python3.12 ..." % v)'
	$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); echo \
	  "No virtual environment (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
