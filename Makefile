# Everything a person or CI runs. The environment is made once, from pyproject.toml and constraints.txt.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 2
# Tests of one file, and all that share the real runs, stay on one worker (tests/conftest.py says which).
PARALLEL := -n $(WORKERS) --dist loadfile --no-loadscope-reorder
READY := $(VENV)/.ready

.PHONY: run up test check e2e bench campaign format clean help

help: ## Show this list
	@grep -hE '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | sort

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "pt-pipeline needs Python 3.11 or later, found " + sys.version.split()[0] + "; set PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[dev]'
	@touch $@

install: $(READY) ## Make the environment

run: $(READY) ## Run the main job on the digits example (ARGS passes options)
	$(BIN)/pt-pipeline run $(ARGS)

up: $(READY) ## The local stack: Prefect, MLflow, a worker and the webhook receiver (ARGS passes options)
	$(BIN)/pt-pipeline up $(ARGS)

check: $(READY) ## Lint, format, types, layers, deployments: exactly what CI runs before the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m deployments check-deployments prefect.yaml

test: $(READY) ## Every test but the long campaigns
	$(BIN)/python -m pytest -m "not campaign" $(PARALLEL) --durations 15 $(ARGS)

e2e: $(READY) ## The tests of the whole line only
	$(BIN)/python -m pytest -m "e2e or browser" $(ARGS)

campaign: $(READY) ## The long campaigns: thousands of hostile inputs, hundreds of kills
	$(BIN)/python -m pytest -m campaign --timeout 3600 $(ARGS)

bench: $(READY) ## Every figure in the README
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

format: $(READY) ## Fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove the environment and the caches, not the home folder
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache *.egg-info
