# `make help` lists what there is. Nothing but Python 3.11 or newer is needed; the first target
# that wants packages installs them into .venv from uv.lock.

.DEFAULT_GOAL := help
.PHONY: help setup run test check format simulate agreement bench docs clean

BIN := .venv/bin
READY := .venv/.ready
# A copied or moved project, a Python that is gone or that was just named is set up anew.
ifneq ($(shell test -x $(BIN)/python && cat $(READY) 2>/dev/null),$(CURDIR))
.PHONY: $(READY)
else ifeq ($(origin PYTHON),command line)
.PHONY: $(READY)
endif

$(READY): pyproject.toml uv.lock scripts/setup.sh
	@PYTHON='$(PYTHON)' sh scripts/setup.sh

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## /\1|/p' Makefile | while IFS='|' read -r name text; do \
	  printf '  make %-9s %s\n' "$$name" "$$text"; done

setup: $(READY) ## Install the locked packages into .venv (PYTHON=... names the interpreter)
	@echo 'ready; make run starts everything, make help lists what else there is'

run: $(READY) ## Start everything, run the demo DAG, and serve until Ctrl-C
	@exec $(BIN)/orchestrator standalone --demo

test: $(READY) ## Run the tests on real SQLite, PostgreSQL and Redis (ARGS='-k pools')
	@$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

check: $(READY) ## Format, lint, types, import contracts, sizes, generated docs
	@$(BIN)/ruff format --check --quiet . || { echo "run: make format" >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache > .venv/lint-imports.log 2>&1 || { cat .venv/lint-imports.log; exit 1; }
	@$(BIN)/python -m pytest -q tests/tidy

format: $(READY) ## Format and repair what a tool can
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --fix .

simulate: $(READY) ## Run the simulation (SEED=... repeats one world, N=... tries that many)
	@SEED='$(SEED)' N='$(N)' $(BIN)/python -m pytest tests/simulation $(ARGS)

agreement: $(READY) ## Run random DAGs in this process and on workers, compare the ends (SEED=... N=...)
	@SEED='$(or $(SEED),1)' N='$(or $(N),200)' $(BIN)/python -m pytest tests/e2e/test_agreement.py $(ARGS)

bench: $(READY) ## Measure our figures beside raw Celery's, in one run (ONLY=W1,W2 ENGINE=sqlite FULL=1)
	@$(BIN)/python -m tests.benchmarks

docs: $(READY) ## Write the generated documents again: settings, states
	@$(BIN)/python -m scripts.generate_docs

clean: ## Remove .venv and every cache; your data in .orchestrator stays
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
