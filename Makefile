# Everything is set up into this checkout: .venv and .slipway. Nothing needs to be installed by hand.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
RUN := .venv/bin
WHAT ?= cluster
KEEP ?=

.PHONY: demo test lint format bench docs tools setup clean

demo: setup tools            ## start a cluster, play every scene; KEEP=1 leaves it running
	@PATH="$$PWD/.slipway/tools/bin:$$PATH" KEEP="$(KEEP)" $(RUN)/python -m tests.demo

test: setup tools            ## every test
	@scripts/system-packages.sh
	@PATH="$$PWD/.slipway/tools/bin:$$PATH" $(RUN)/pytest -n 2 --dist worksteal $(ARGS)

lint: setup                  ## format, lint, types, import contracts
	@$(RUN)/ruff check .
	@$(RUN)/ruff format --check .
	@$(RUN)/mypy
	@$(RUN)/lint-imports

format: setup
	@$(RUN)/ruff check --fix . ; $(RUN)/ruff format .

bench: setup tools           ## make bench WHAT=cluster|startup|watchers|pods|crowd|kco|sungather
	@PATH="$$PWD/.slipway/tools/bin:$$PATH" $(RUN)/python -m bench.$(WHAT)

docs: setup                  ## the site, into ./site
	@scripts/uv.sh sync --quiet --frozen --group docs
	@$(RUN)/mkdocs build --strict

tools: setup                 ## kubectl and Helm, built once where the machine has none
	@scripts/tools.sh

setup: .slipway/ready

.slipway/ready: pyproject.toml uv.lock scripts/uv.sh $(wildcard operators/*/pyproject.toml workloads/*/pyproject.toml)
	@scripts/uv.sh sync --quiet --frozen --compile-bytecode
	@$(RUN)/python -m compileall -q src operators workloads  # starts twice as fast, also where Python may not write
	@touch $@

clean:
	rm -rf .venv .slipway site
