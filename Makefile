# Needs Python 3.11 or newer and make. What else is needed, scripts/dev.py installs into .venv.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
DEV = $(or $(PYTHON),$(error Python 3.11 or newer is needed and none is on the PATH)) scripts/dev.py

.DEFAULT_GOAL := help
.PHONY: run test check bench fmt lock clean help

run:  ## start the server; HOST=, PORT=, ARGS="--workers 2" and every setting of the README apply
	@$(DEV) run $(ARGS)

test:  ## every check and every test; ARGS go to pytest
	@$(DEV) test $(ARGS)

check:  ## the checks alone: format, lint, types, imports, licences, advisories
	@$(DEV) check

bench:  ## measure; prints the table of docs/benchmarks.md
	@$(DEV) bench $(ARGS)

fmt:  ## put the code into its format and mend what the linter can
	@$(DEV) fmt

lock:  ## resolve pyproject.toml into the lock files again; ARGS="--upgrade" for newer versions
	@$(DEV) lock $(ARGS)

clean:  ## remove what was installed and made here; data/ stays
	rm -rf .venv .test-results .mypy_cache .pytest_cache .ruff_cache .import_linter_cache dist .coverage*

help:
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
