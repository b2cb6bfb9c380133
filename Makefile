# Two commands do everything on a fresh machine with python3 (3.11+), pip, make and git: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Other people's client libraries have versions of their own, and so an environment of their own.
CLIENTS := .venv-clients
# A process of its own for each core, and the tests of a file in one of them, because they share servers.
PARALLEL := -n auto --maxprocesses 4 --dist loadfile
# Tests and the proof start hundreds of processes, each of which would compile all modules anew.
unexport PYTHONDONTWRITEBYTECODE
NODE_CLIENTS := openai_node vercel_ai langchain_js oidc_provider

.PHONY: setup dev clients demo screenshots samples test prove check fix types imports lint bench bench-ledger bench-codecs bench-pages bench-engines lock run clean

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

clients: $(CLIENTS)/.done $(NODE_CLIENTS:%=tests/clients/%/node_modules/.package-lock.json)  ## the client libraries of tests/clients

$(CLIENTS)/.done: tests/clients/requirements.txt
	@echo "Installing client libraries and Node.js into $(CLIENTS) …"
	@$(PYTHON) -m venv $(CLIENTS)
	@$(CLIENTS)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r $<
	@touch $@

tests/clients/%/node_modules/.package-lock.json: tests/clients/%/package-lock.json $(CLIENTS)/.done
	@echo "Installing the client $* …"
	@cd tests/clients/$* && PATH="$(CURDIR)/$(CLIENTS)/bin:$$PATH" npm ci --ignore-scripts --no-audit --no-fund --silent
	@touch $@

demo: setup          ## the main job, end to end; JOB=edit or another one saves pictures before and after
	@$(BIN)/python scripts/demo.py $(JOB)

screenshots: dev     ## pictures of every page, light, dark and 390 pixels wide, in build/screenshots/ (needs Chromium)
	@$(BIN)/python -m tests.web.screenshots

samples: dev clients ## runs every program that the pages print, and writes down when
	@$(BIN)/python -m tests.web.check_samples

test: dev            ## all tests; what needs a missing program is skipped with its name
	@$(BIN)/python -m pytest $(PARALLEL)

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

bench: dev           ## added latency, throughput and CPU, failover, the ledger and the codecs alone, pages over a full ledger; writes bench/results/
	@$(BIN)/python -m bench
	@$(BIN)/python -m bench.failover
	@$(BIN)/python -m bench.saturation
	@$(BIN)/python -m bench.ledger
	@$(BIN)/python -m bench.codecs
	@$(BIN)/python -m bench.pages

bench-ledger: dev    ## holds and captures of one workspace per second, on SQLite and PostgreSQL
	@$(BIN)/python -m bench.ledger

bench-codecs: dev    ## a picture converted apart from the server, beside the codec alone
	@$(BIN)/python -m bench.codecs

bench-pages: dev     ## what each page and filter takes with a million requests in the ledger
	@$(BIN)/python -m bench.pages

bench-engines: dev   ## enlarging and cutting out: quality, time and memory
	@$(BIN)/python -m bench.engines

run: setup           ## a server with the simulator for test keys
	@$(BIN)/omixa serve

lock:                ## pin again, with hashes (needs uv); the clients for Node.js: npm update in each of their directories
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --extra vision pyproject.toml requirements/build.in -o requirements/run.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --extra vision pyproject.toml requirements/build.in requirements/dev.in -o requirements/dev.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate tests/clients/requirements.in -o tests/clients/requirements.txt

clean:
	rm -rf $(VENV) $(CLIENTS) tests/clients/*/node_modules build dist .mypy_cache .ruff_cache .import_linter_cache .hypothesis
