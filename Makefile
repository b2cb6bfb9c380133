# Two commands do everything on a fresh machine with python3 (3.11+), pip, make and git: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: setup dev demo test prove check fix types imports lint bench bench-ledger lock run clean

setup: $(VENV)/.run  ## what a server needs; afterwards the command is .venv/bin/omixa
dev: $(VENV)/.dev    ## setup, and what tests, checks and the benchmark need

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(BIN)/python requirements/run.txt pyproject.toml
	@echo "Installing Omixa into $(VENV) …"
	@$(PIP) install --require-hashes -r requirements/run.txt
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements/dev.txt
	@echo "Installing the tools for tests and checks …"
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

demo: setup          ## the main job, end to end
	@$(BIN)/python scripts/demo.py

test: dev            ## all tests; what needs a missing program is skipped with its name
	@$(BIN)/python -m pytest

prove: dev           ## the full proof of the ledger, up to 90 minutes; goes on where it stopped and writes docs/proof.md
	@$(BIN)/python -m tests.proof

check: lint types imports  ## all that CI runs besides the tests

lint: dev
	@$(BIN)/ruff format --check --quiet src tests bench scripts
	@$(BIN)/ruff check --quiet src tests bench scripts

types: dev
	@$(BIN)/mypy

imports: dev
	@$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

fix: dev             ## format and repair what can be repaired
	@$(BIN)/ruff format src tests bench scripts
	@$(BIN)/ruff check --fix src tests bench scripts

bench: dev           ## added latency, throughput and CPU, then the ledger alone; writes bench/results/
	@$(BIN)/python -m bench
	@$(BIN)/python -m bench.ledger

bench-ledger: dev    ## holds and captures of one workspace per second, on SQLite and PostgreSQL
	@$(BIN)/python -m bench.ledger

run: setup           ## a server with the simulator for test keys
	@$(BIN)/omixa serve

lock:                ## pin again, with hashes (needs uv)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml requirements/build.in -o requirements/run.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml requirements/build.in requirements/dev.in -o requirements/dev.txt

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .import_linter_cache .hypothesis
