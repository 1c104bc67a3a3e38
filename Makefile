# The commands of this repository. `make run` and `make test` start from nothing: Python >= 3.11 with venv, make and git.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.PHONY: run test check demo proof bench guide lock clean setup components

PYTHON ?= python3
UV ?= uv
YUMEN_HOME ?= var
export YUMEN_HOME
# Two thirds of the time to collect the tests is compiling them: what is compiled is kept, whatever the caller's habit.
export PYTHONDONTWRITEBYTECODE :=

BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --no-input --quiet
HASHED := --require-hashes --only-binary :all: --no-deps
CATALOGUES := $(patsubst %.po,%.mo,$(wildcard web/translations/*/LC_MESSAGES/*.po))

# Everything from nothing, then the service in the foreground.
run: .venv/run $(CATALOGUES)
	@test -f "$(YUMEN_HOME)/yumen.toml" || $(BIN)/yumen init --demo
	@exec $(BIN)/yumen serve

# The whole suite with the real components; what cannot be installed is named and its tests are skipped (CI=true: a failure).
# First what can run side by side, in as many processes as there are processors, then what must have the machine alone.
test: .venv/dev $(CATALOGUES) components
	@beside=passed alone=passed; \
	$(BIN)/python -m pytest -m "not alone and not proof" --numprocesses auto --maxprocesses 4 --dist loadscope --no-loadscope-reorder \
		|| beside=FAILED; \
	$(BIN)/python -m pytest -m "alone and not proof" || alone=FAILED; \
	echo "side by side: $$beside, alone: $$alone"; \
	[[ $$beside$$alone == passedpassed ]]

# Unit tests are what is left without servers, browsers and stories. Plug-ins that only other tests need take their time to load.
UNIT = -m "not component and not journey and not slow and not alone and not proof" --hypothesis-profile check -p no:schemathesis -p no:anyio \
	-o tmp_path_retention_policy=failed
# Their homes lie in memory where there is a gigabyte: the disk is waited for a thousand times, and no unit test is about it.
SCRATCH = $(shell test "$$(df --output=avail /dev/shm 2>/dev/null | tail -n 1)" -gt 1000000 2>/dev/null && echo /dev/shm)

# Style, types, import law, shape and unit tests: about a minute when warm.
check: .venv/dev $(CATALOGUES)
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(if $(SCRATCH),TMPDIR=$(SCRATCH)) $(BIN)/python -m pytest --quiet --numprocesses 2 --dist loadfile $(UNIT)

# The main story, told line by line, against the running service or one of its own.
demo: .venv/run $(CATALOGUES)
	@$(BIN)/python -m cli.story

# The long forms: kills, soaks, sizes, and a minimal Debian.
proof: .venv/dev $(CATALOGUES) components
	$(BIN)/python -m pytest -m proof --timeout 3600
	$(BIN)/python -m pytest -m "hypothesis and not proof" --hypothesis-profile proof --timeout 3600
	tests/bare/run

bench: .venv/dev $(CATALOGUES)
	@$(BIN)/python -m bench

# The pictures of docs/guide, made anew: each role's journey in a browser.
guide: .venv/dev $(CATALOGUES) components
	YUMEN_GUIDE=1 $(BIN)/python -m pytest --quiet -m proof tests/pages/test_guide.py
	$(BIN)/python -m pytest --quiet -m "not proof" tests/pages/test_guide.py

components:
	@$(PYTHON) tests/components.py --install

# Compile the locks: packages at least a week old, every file by its hash, no index named. UV names the `uv` to use.
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --only-binary :all: --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links --exclude-newer "$$(date -u -d '7 days ago' +%Y-%m-%dT00:00:00Z)"
lock:
	$(COMPILE) pyproject.toml --output-file requirements.txt
	$(COMPILE) --group dev --constraint requirements.txt --output-file requirements-dev.txt

# Leaves the homes alone: what a home holds is not ours to throw away.
clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -r {} +
	find . -name '*.mo' -path './web/translations/*' -delete

setup: .venv/dev

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Yumen needs Python 3.11 or newer: call `make PYTHON=python3.11`" if sys.version_info < (3, 11) else 0)'
	@echo "making the virtual environment .venv"
	@$(PYTHON) -m venv .venv || { echo "Python comes without venv: install the package python3-venv" >&2; exit 1; }

.venv/run: requirements.txt pyproject.toml | $(BIN)/python
	@echo "installing what Yumen needs to run (hashed, binary)"
	@$(INSTALL) $(HASHED) -r requirements.txt
	@$(INSTALL) --no-deps --no-build-isolation --config-settings editable_mode=compat --editable .
	@touch $@

.venv/dev: .venv/run requirements-dev.txt
	@echo "installing what the tests need (hashed, binary)"
	@$(INSTALL) $(HASHED) -r requirements-dev.txt
	@touch $@

%.mo: %.po | .venv/run
	@$(BIN)/pybabel --quiet compile --input-file $< --output-file $@
