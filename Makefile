# Two commands do everything: `make demo` and `make test`.
#   TORCH_INDEX=URL   another wheel index for torch, for example
#                     https://download.pytorch.org/whl/cpu (small) or …/cu130 (for a GPU)
#   DEMO_TIME=4m30s      how long the demo may evolve

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INDEX := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
DEMO_TIME ?= 4m30s

.PHONY: demo test check setup setup-dev clean

demo: setup
	@PATH="$(CURDIR)/$(BIN):$$PATH" DEMO_TIME=$(DEMO_TIME) sh scripts/demo.sh

test: setup-dev check
	$(BIN)/pytest -n 2 --dist loadgroup

check: setup-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

setup: $(VENV)/.installed

setup-dev: $(VENV)/.installed-dev

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "darwin-git needs Python 3.11 or newer: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "no venv module: apt-get install python3-venv, then run make again" >&2; exit 1; }

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt $(INDEX) -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt $(INDEX) -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) demo
