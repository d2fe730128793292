# Every target sets up what it needs (packaging/tools/setup.sh) and works offline once that is done.
# Labs, demos and part of the tests make namespaces, so they need root.

PYTHON := .venv/bin/python
SEEDS ?= 0:200
ARGS ?=
export PATH := $(CURDIR)/.tools/usr/bin:$(CURDIR)/.venv/bin:$(PATH):/usr/sbin:/sbin

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-data test test-long lint format guest-test bench simulate simulate-mirror mirror-faults faults docs deb clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile

setup: ## install what is missing, nothing else
	@sh packaging/tools/setup.sh

demo: setup ## three servers, a crash, a failover (ARGS=--keep leaves it up)
	@$(PYTHON) -m clusterctl.app demo $(ARGS)

demo-data: setup ## PostgreSQL on a mirrored disk: a power loss, no acknowledged row is lost
	@sh packaging/tools/setup.sh data
	@$(PYTHON) -m clusterctl.app demo --data $(ARGS)

test: setup ## all tests but the long ones
	@$(PYTHON) -m pytest -m "not long" $(ARGS)

test-long: setup ## all tests
	@sh packaging/tools/setup.sh long
	@$(PYTHON) -m pytest $(ARGS)

guest-test: setup ## disks on Debian's kernel, in virtual machines
	@sh packaging/tools/setup.sh guest
	@$(PYTHON) -m pytest -m guest tests/guests $(ARGS)

lint: setup ## style, types and import directions
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy
	@.venv/bin/lint-imports

format: setup ## apply the style
	@$(PYTHON) -m ruff check --fix .
	@$(PYTHON) -m ruff format .

bench: setup ## how long outages last, how fast mirrors are; JSON and a table (ARGS=mirror)
	@sh packaging/tools/setup.sh bench
	@$(PYTHON) -m tests.benchmarks $(ARGS)

simulate: setup ## simulated clusters with faults (SEEDS=0:200)
	@$(PYTHON) -m tests.simulation --seeds $(SEEDS) $(ARGS)

simulate-mirror: setup ## simulated mirrored disks with crashes (SEEDS=0:2000)
	@$(PYTHON) -m tests.mirror.simulation --seeds $(SEEDS) $(ARGS)

mirror-faults: setup ## real faults on two mirror engines (ARGS="--runs 50 --seed 1")
	@$(PYTHON) -m tests.mirror.faults $(ARGS)

faults: setup ## real faults on a lab, out of a seed (ARGS="--minutes 10 --seed 1 --servers 3")
	@$(PYTHON) -m tests.faults $(ARGS)

docs: setup ## write the generated pages under docs/
	@$(PYTHON) -m reconciler.reference
	@$(PYTHON) -m reconciler.events
	@$(PYTHON) -m clusterctl.reference > docs/cli.md

deb: setup ## the Debian package, into dist/
	@sh packaging/deb/build.sh $(ARGS)

clean: ## remove everything that setup and the tools made
	rm -rf .venv .tools build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
