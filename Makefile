# What a person types and what CI runs: the same targets. Needs GNU Make and Python 3.11 or later, nothing else.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV ?= .venv
# Two workers: the protocol tests are a third faster with them, and the tests of processes wait more than they work.
WORKERS ?= 2
# Handed on by `make demo`, `make run`, `make bench` and the test targets: make demo ARGS=--once
ARGS ?=

BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
RULES := tests/protocol tests/vectors

.PHONY: help
help: ## list these targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 24

# ── set up ───────────────────────────────────────────────────────────────────────────────────────

.PHONY: venv
venv: $(VENV)/installed ## make .venv and install coopnode and its test tools in it

# The stamp is a copy of the setup.cfg that was installed: a new time stamp alone (a fresh checkout) installs nothing.
$(VENV)/installed: setup.cfg
	@if cmp -s setup.cfg $@ && $(BIN)/python -c 'import coopnode, pytest' 2>/dev/null; then touch $@; exit 0; fi; \
	fail() { echo "$$1" >&2; exit 1; }; \
	new_enough='import sys; sys.exit(sys.version_info < (3, 11))'; \
	if ! $(BIN)/python -c "$$new_enough" 2>/dev/null || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		command -v '$(PYTHON)' >/dev/null || fail "There is no '$(PYTHON)' here. Install Python 3.11 or later, or name it: make PYTHON=python3.12"; \
		$(PYTHON) -c "$$new_enough" || fail "coopnode needs Python 3.11 or later; '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Name a newer one: make PYTHON=python3.12"; \
		$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || fail "'$(PYTHON)' cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv"; \
		echo "Making $(VENV) with $$($(PYTHON) --version)."; \
		$(PYTHON) -m venv --clear $(VENV) || fail "The virtual environment $(VENV) could not be made; the reason is above."; \
	fi; \
	echo "Installing coopnode and its test tools in $(VENV)."; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --editable '.[test]' >$(VENV)/pip.log 2>&1 \
		|| { cat $(VENV)/pip.log >&2; fail "Installing failed; what pip said is above. It needs the network once."; }; \
	cp setup.cfg $@

# ── use ──────────────────────────────────────────────────────────────────────────────────────────

.PHONY: demo
demo: venv ## a co-op of five shops on this machine, until Ctrl-C (ARGS=--once checks it and ends)
	@$(BIN)/coopnode demo $(ARGS)

.PHONY: run
run: venv ## run the node of this machine's user (ARGS='--port 8421')
	@$(BIN)/coopnode run $(ARGS)

# ── check ────────────────────────────────────────────────────────────────────────────────────────

.PHONY: test
test: lint types coverage ## everything that must hold: lint, types, coverage of protocol/, all tests
	$(PYTEST) --numprocesses=$(WORKERS) $(ARGS)

.PHONY: test-quick
test-quick: venv ## the tests that need no processes and no patience
	$(PYTEST) --numprocesses=$(WORKERS) -m 'not e2e and not slow' $(ARGS)

.PHONY: e2e
e2e: venv ## the tests with real processes
	$(PYTEST) -m e2e $(ARGS)

.PHONY: lint
lint: venv ## ruff: rules and format
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --quiet --check .

.PHONY: types
types: venv ## mypy, strict
	$(BIN)/mypy --no-error-summary

.PHONY: coverage
coverage: venv ## every branch of protocol/ is reached by its own tests
	@mkdir -p build/coverage
	@$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --quiet --numprocesses=$(WORKERS) $(RULES)
	@$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

.PHONY: format
format: venv ## rewrite the code the way `make lint` wants it
	$(BIN)/ruff check --quiet --fix .
	$(BIN)/ruff format --quiet .

.PHONY: vectors
vectors: venv ## write protocol/vectors/ anew; a changed vector is a changed protocol
	$(BIN)/python -m tests.vectors.generate

.PHONY: vectors-check
vectors-check: venv ## fail if a vector would change
	$(BIN)/python -m tests.vectors.generate --check

.PHONY: mutants
mutants: venv ## plant bugs, one at a time: does the simulator find them? (minutes; ARGS='--only session')
	$(BIN)/python -m tests.mutants --workers $(WORKERS) --json build/mutants.json $(ARGS)

.PHONY: bench
bench: venv ## measure the promises of docs/promises.md; results in build/bench/
	@mkdir -p build/bench
	$(BIN)/python -m benchmarks $(ARGS)

.PHONY: simulations
simulations: venv ## play the scenarios of docs/promises.md (half an hour; 10,000 nodes are the longest)
	@for what in 'single --nodes 100' 'many --nodes 100' 'burst --nodes 100' \
		'crash --nodes 1000 --share 0.3' 'crash --nodes 1000 --share 0.5' 'crash --nodes 1000 --share 0.8' \
		'crash --nodes 1000 --share 0.9' 'crash --nodes 1000 --share 0.95' 'liars --nodes 300' \
		'partition --nodes 100 --minutes 60' 'anti-entropy --nodes 1000' 'reconnect --nodes 10002 --held 10000' \
		'cost --nodes 200 --members 5000' 'random --nodes 10000 --items 20 --warm 20'; do \
		echo "── $$what ──"; $(BIN)/coopnode simulate --seed 7 --scenario $$what $(ARGS) || exit 1; \
	done

# ── tidy ─────────────────────────────────────────────────────────────────────────────────────────

.PHONY: clean
clean: ## remove what was built and cached; .venv stays
	@rm -rf build dist .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache *.egg-info
	@find protocol coopnode tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
