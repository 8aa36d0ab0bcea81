# make demo    the digits example, end to end
# make test    every test         make lint    ruff        make types    mypy
# make fpga    the tools that `systolith build` needs
# The first use makes .venv and installs what is needed; later uses start at once.

VENV := .venv
BIN := $(VENV)/bin
# the first Python of at least 3.11
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

.PHONY: demo test lint types icarus fpga clean
.DEFAULT_GOAL := demo

demo: $(VENV)/.demo icarus
	$(BIN)/python examples/digits/demo.py

test: $(VENV)/.dev icarus
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: $(VENV)/.dev
	$(BIN)/ruff check .

# Type checkers do not follow an editable install: these links show them its layout.
types: $(VENV)/.dev
	@mkdir -p build/types/systolith
	@for name in __init__.py __main__.py py.typed; do \
		ln -sfn ../../../systolith/$$name build/types/systolith/$$name; done
	@for name in rtl gen sim; do ln -sfn ../../../$$name build/types/systolith/$$name; done
	$(BIN)/mypy

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Systolith needs Python 3.11 or newer: install it, or say where: make PYTHON=..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { rm -rf $(VENV); virtualenv -q -p $(PYTHON) $(VENV) 2>/dev/null; } \
		|| { rm -rf $(VENV); echo "$(PYTHON) cannot make a virtual environment: apt-get install python3-venv"; exit 1; }

# A stamp an extra; what `dev` installs holds all that `demo` needs.
$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(VENV)/.demo $@

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[sim,demo]'
	@touch $@

fpga: $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fpga]'

# Icarus Verilog is the only thing that PyPI does not have. Without it what needs it is skipped.
icarus:
	@command -v iverilog >/dev/null || { \
		if [ "$$(id -u)" = 0 ]; then sudo=; else sudo="sudo -n"; fi; \
		{ $$sudo apt-get install -y -qq iverilog || { $$sudo apt-get update -qq && $$sudo apt-get install -y -qq iverilog; }; } \
			>/dev/null 2>&1; } \
		|| echo "Icarus Verilog is missing, and what needs it is skipped: sudo apt-get install iverilog"

clean:
	rm -rf build
