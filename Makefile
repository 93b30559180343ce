# Works on a Debian 12 or Ubuntu 24.04 with make and Python 3.11 or later and nothing else set up.
# `make` alone tells what there is.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# Another Python than python3.11 or python3: make venv PYTHON=/usr/bin/python3.13
PYTHON ?=
# What `sync` reads, and more flags for the command line or for pytest.
CONFIG ?= config.json
ARGS ?=

PACKAGES := docker-registry skopeo umoci apache2-utils postgresql
# By itself: where there is no such package, as on Ubuntu, the others are installed all the same.
BROWSER := chromium
FOLDERS := imageferry cli flows tasks orchestration deployments testkit tests benchmarks demo
QUICK := not (slow or prefect or registry or browser)
CODE := $(foreach folder,$(FOLDERS),$(if $(wildcard $(folder)/*.py),$(folder)))

# pip must find the same on every machine, with no question and no word about its own age.
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

.PHONY: help
help: ## this list
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 16

.PHONY: venv
venv: $(INSTALLED) ## make .venv with everything in it
	@:

$(INSTALLED): pyproject.toml constraints.txt
	@python=$$(.ci/python "$(PYTHON)")
	$(BIN)/python -m pip --version >/dev/null 2>&1 || "$$python" -m venv --clear $(VENV)
	echo "installing into $(VENV): a minute or two the first time"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,lint]'
	touch $@

.PHONY: sync
sync: $(INSTALLED) ## copy images: make sync CONFIG=config.json ARGS='--dry-run'
	@exec $(BIN)/python -m flows.sync --config "$(CONFIG)" $(ARGS)

.PHONY: demo
demo: $(INSTALLED) ## two registries on this machine, and two runs between them
	@.ci/packages docker-registry || true
	exec $(BIN)/python -m demo

.PHONY: test
test: $(INSTALLED) ## all tests; more for pytest: make test ARGS='-k plan'
	@for packages in "$(PACKAGES)" $(BROWSER); do
		.ci/packages $$packages && continue
		[ "$${CI:-}" != true ] || exit 1
		echo "tests that need them are skipped" >&2
	done
	exec $(BIN)/python -m pytest -n $$(( $$(nproc) + 1 )) --dist loadgroup $(ARGS)

.PHONY: quick
quick: $(INSTALLED) ## the tests that need neither Prefect's server nor a registry, and are quick
	@exec $(BIN)/python -m pytest -n auto --dist loadgroup --quick -m '$(QUICK)' --hypothesis-profile=dev $(ARGS)

.PHONY: coverage
coverage: override ARGS += --cov --cov-report=term:skip-covered
coverage: test ## all tests, and what of the engine they run: fails below the floor in pyproject.toml

.PHONY: versions
versions: ## tests of the flows with the lowest and the newest Prefect: some minutes
	@.ci/packages $(PACKAGES) || true
	exec env PYTHON="$(PYTHON)" .ci/versions $(ARGS)

.PHONY: soak
soak: $(INSTALLED) ## copies through random faults and kills: make soak ARGS='--seeds 50'
	@.ci/packages docker-registry
	exec $(BIN)/python -m tests.soak $(ARGS)

.PHONY: bench
bench: $(INSTALLED) ## Imageferry against its peers: make bench ARGS='--works a,c --rounds 3'
	@.ci/packages docker-registry skopeo curl
	$(BIN)/python -c 'import matplotlib' 2>/dev/null ||
		$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	exec $(BIN)/python -m benchmarks $(ARGS)

.PHONY: lint
lint: $(INSTALLED) ## ruff, mypy, the layers of the house and the lengths in it
	@failed=0
	$(BIN)/ruff check . || failed=1
	$(BIN)/ruff format --check . || failed=1
	$(BIN)/python .ci/sizes.py || failed=1
	$(BIN)/lint-imports --no-logo || failed=1
	$(BIN)/mypy $(CODE) || failed=1
	exit $$failed

.PHONY: server
server: $(INSTALLED) ## Prefect's server and its UI on this machine, in the background
	@exec $(BIN)/python -P -m imageferry server $(ARGS)

.PHONY: deploy
deploy: $(INSTALLED) ## the deployments, on the Prefect server at PREFECT_API_URL or on this machine's
	@exec $(BIN)/python -P -m imageferry deploy $(ARGS)

.PHONY: worker
worker: $(INSTALLED) ## a worker for the deployments, until Ctrl-C
	@exec $(BIN)/python -P -m imageferry worker $(ARGS)

.PHONY: clean
clean: ## remove the environment, the demo's files and all caches
	@rm -rf $(VENV) .versions .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage* build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.ONESHELL:
