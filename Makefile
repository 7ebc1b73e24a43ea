# What can be done with a checkout; `make help` lists it. Needs python3 (3.11 or newer) and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# A stamp says which lock files .venv was brought to; it is made anew only when they change.
RUNTIME := $(VENV)/.runtime-is-locked
DEV := $(VENV)/.dev-is-locked
LOCKS := requirements/bootstrap.txt requirements/runtime.txt pyproject.toml packaging/bootstrap.py

.DEFAULT_GOAL := help
.PHONY: help run demo-sites test check format lint types layers docs binary deb bench bench-record bench-report soak lock clean
.DELETE_ON_ERROR:

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18

run: $(RUNTIME) ## Start a demo appliance on this machine (data in demo-data, keys in demo-keys)
	@exec $(BIN)/strongroom demo

demo-sites: $(RUNTIME) ## Show headquarters and two branches here; a line is cut, and heals
	@$(BIN)/strongroom demo-sites

test: check ## Run every gate, then every test
	@$(BIN)/pytest -q

check: format lint types layers ## Run the gates alone: format, lint, types, layers

format: $(DEV)
	@$(BIN)/ruff format --check --quiet .

lint: $(DEV)
	@$(BIN)/ruff check --quiet .

# packaging/ holds scripts, not a package: checked on its own, each file by its own name.
types: $(DEV)
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/mypy --no-error-summary --no-explicit-package-bases packaging/*.py

layers: $(DEV)
	@$(BIN)/lint-imports --no-logo

docs: $(DEV) ## Write the reference pages in docs/ anew from the code
	@$(BIN)/python -m cli.reference docs
	@$(BIN)/python -m tests.docs.generate

binary: $(DEV) ## Build the program for machines without Python: dist/strongroom, and as one file
	@$(BIN)/python packaging/build_binary.py

deb: binary ## Make the Debian package of it: dist/strongroom_VERSION_amd64.deb
	@$(BIN)/python packaging/build_deb.py
	@$(BIN)/python packaging/checksums.py

bench: $(DEV) ## Run the benchmarks (W=W1 runs one), a line of JSON each
	@$(BIN)/python -m benchmarks.run $(W)

bench-record: $(DEV) ## The same, and keep the lines for the report (TIMES=3 runs each thrice)
	@$(BIN)/python -m benchmarks.run --record $(or $(TIMES),1) $(W)

bench-report: $(DEV) ## Write the table and the plot of docs/performance.md from what is kept
	@$(BIN)/python -m benchmarks.report

soak: $(DEV) ## Run the tests of durability and order for longer (SOAK_SECONDS, default 600)
	@STRONGROOM_TEST_ALL=1 STRONGROOM_SOAK_SECONDS=$${SOAK_SECONDS:-600} $(BIN)/pytest -q -m soak

lock: $(DEV) ## Write the lock files anew (UPGRADE=--upgrade takes the newest versions)
	@$(BIN)/pip install --quiet --require-hashes --only-binary :all: --upgrade \
		--target build/lock -r requirements/lock.txt
	@packaging/lock.sh $(UPGRADE)

clean: ## Remove what was built here, but neither data nor keys
	@rm -rf $(VENV) build dist strongroom.egg-info .mypy_cache .ruff_cache .pytest_cache \
		.hypothesis .import_linter_cache .coverage
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUNTIME): $(LOCKS)
	@$(PYTHON) packaging/bootstrap.py
	@touch $@

$(DEV): $(LOCKS) requirements/dev.txt
	@$(PYTHON) packaging/bootstrap.py --dev
	@touch $(RUNTIME) $@
