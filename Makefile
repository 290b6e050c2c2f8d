# Two commands for everybody: `make demo` and `make test`. Both set up all they need below .venv.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
RUN = $(VENV)/bin/python
PIP = $(RUN) -m pip --quiet --disable-pip-version-check
# More workers than cores: the suite waits for servers as much as it computes.
TESTS ?= -n 4 --dist worksteal
# What `.dev` holds beside the package; `test` is without the checkers.
GROUP ?= dev

# The first target is what a bare `make` does.
.PHONY: help demo test quick thorough lint types imports floors revision catalog diagram release bench clean

help: ## Say what there is.
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

demo: $(VENV)/.package ## Boot replicas on an embedded PostgreSQL, and show what each did.
	$(RUN) -m todo_schema demo

test: $(VENV)/.dev ## Run every test.
	$(RUN) -m pytest $(TESTS)

quick: $(VENV)/.dev ## Run the tests that take little time.
	$(RUN) -m pytest $(TESTS) -m "not slow"

thorough: $(VENV)/.dev ## Run every test, the long series at their full length: several times as long.
	TODO_SCHEMA_TEST_THOROUGH=1 $(RUN) -m pytest $(TESTS) --timeout 1800

lint: $(VENV)/.dev ## Check the style.
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

types: $(VENV)/.dev ## Check the types: the package strictly, and a consumer as two checkers see it.
	$(RUN) -m mypy
	$(RUN) -m mypy --strict tests/consumer.py
	$(RUN) -m pyright --pythonpath $(RUN) tests/consumer.py

imports: $(VENV)/.dev ## Check who imports whom.
	$(VENV)/bin/lint-imports

floors: ## Run the quick tests with the oldest dependencies that pyproject.toml allows; PYTHON=python3.13 chooses.
	$(MAKE) quick VENV=.venv-floors FLOORS=1 GROUP=test

revision: $(VENV)/.dev ## After a change of the models: make revision ID=017 M="what it does"; ID=c002 to contract.
	PATH="$(abspath $(VENV))/bin:$$PATH" $(RUN) -m alembic revision --autogenerate --rev-id "$(ID)" -m "$(M)"

catalog: $(VENV)/.dev ## After a new revision: write down what each schema version contains.
	$(RUN) -m tests.write_catalog

diagram: $(VENV)/.dev ## After a change of the models: draw the diagram of README.md and docs/schema.md again.
	$(RUN) -m tests.diagram

release: $(VENV)/.dev ## Freeze a release, which never changes again: make release VERSION=0.3.0
	$(RUN) -m tests.release "$(VERSION)"

bench: $(VENV)/.dev ## Measure; prints tables. PARTS="reads writes chat-peers --full" chooses.
	$(PIP) install --group bench
	$(RUN) -m benchmarks $(PARTS)

clean: ## Remove what the other targets made.
	rm -rf .venv .venv-* dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

# Debian's Python may lack ensurepip, and any Python pip: the other then fills the environment; from outside is quicker.
$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "found: no Python 3.11 or newer; needed: one; cure: make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv --clear --without-pip $(VENV)
	$(PYTHON) -m pip --quiet --python $(RUN) install "pip>=25.1" 2>/dev/null || { $(PYTHON) -m venv $(VENV) && \
		$(PIP) install "pip>=25.1"; }
	@touch $@

$(VENV)/.package: pyproject.toml | $(VENV)/.made
	$(PIP) install --editable ".[cli,embedded]"
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/.made
	$(PIP) install --editable ".[cli,embedded,testing]" --group $(GROUP) $(if $(FLOORS),--group floors)
	@touch $@
