# Each target sets up what it needs: .venv, with the versions of constraints.txt.
PYTHON ?= python3.11
RUN := .venv/bin/python
.DEFAULT_GOAL := help

.PHONY: help quickstart test fast check bench graph references clean

help:  ## What each target does
	@sed -nE 's/^([a-z]+):[^#]*## (.*)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{ printf "make %-12s%s\n", $$1, $$2 }'

quickstart: .venv/installed  ## Compare Text+Click and click-only on the embedded benchmark
	$(RUN) -m harness run configs/quickstart.yaml

test: .venv/installed  ## Run the whole test suite
	$(RUN) -m pytest -n 2

fast: .venv/installed  ## Run the tests without Ray and slow ones; fails above 90 s on two idle cores
	$(RUN) tests/within.py 90 $(RUN) -m pytest -n 2 -m "not slow and not ray"

check: .venv/installed  ## Check lint, format and types
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

bench: .venv/installed  ## Measure speed, each number as a ratio within one run, and memory
	$(RUN) -m benchmarks.scoring
	$(RUN) -m benchmarks.engine
	$(RUN) -m benchmarks.engine_on_ray
	$(RUN) -m benchmarks.device
	$(RUN) -m benchmarks.starts
	$(RUN) -m benchmarks.clicks
	$(RUN) -m benchmarks.memory
	$(RUN) -m benchmarks.click_systems
	$(RUN) -m benchmarks.sam --rounds 1

graph:  ## Draw docs/rooms.svg: the packages and who imports whom
	$(PYTHON) docs/rooms.py

references: .venv/installed  ## Write docs/config.md and docs/api.md from the code
	$(RUN) -m docs.references

.venv/installed: constraints.txt pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:  ## Remove .venv
	rm -rf .venv
