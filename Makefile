# Each target sets up what it needs: .venv, with the versions of constraints.txt.
PYTHON ?= python3.11
RUN := .venv/bin/python

.PHONY: quickstart test check bench clean

quickstart: .venv/installed  ## Text+Click against click-only on the embedded benchmark
	$(RUN) -m harness run configs/quickstart.yaml

test: .venv/installed  ## The whole test suite
	$(RUN) -m pytest -n 2

check: .venv/installed  ## Lint, format, types
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

bench: .venv/installed  ## Speed, each measure as a ratio within one run
	$(RUN) -m benchmarks.scoring
	$(RUN) -m benchmarks.engine
	$(RUN) -m benchmarks.engine_on_ray
	$(RUN) -m benchmarks.clicks
	$(RUN) -m benchmarks.sam --rounds 1

.venv/installed: constraints.txt pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf .venv
