# Everything that CI calls, too. Needs Python 3.11 or newer and make; the rest goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Tests wait for servers more than they compute, so several at once; each of these workers has servers of its own.
PARALLEL := -n 4 --dist worksteal

.PHONY: demo test faults slow-faults soak bench mutate check lock clean

# One whole import, all services, from a simulated SISU to SQLite. DEMO=stay keeps it running.
demo: $(READY)
	$(BIN)/python -m demo

test: $(READY)
	$(BIN)/python -m pytest $(PARALLEL)

# Everything that can go wrong, the slow ones among it.
faults: $(READY)
	$(BIN)/python -m pytest $(PARALLEL) tests/faults -m ""

slow-faults: $(READY)
	$(BIN)/python -m pytest $(PARALLEL) tests/faults -m slow

# Faults at random for SECONDS, then quiet, then the verdict. The same SEED does the same again, as far as a machine can.
soak: $(READY)
	$(BIN)/python -m tests.soak --seconds $(or $(SECONDS),60) $(if $(SEED),--seed $(SEED))

# How fast the importer is, as ratios within one run; FULL=1 measures more, longer and more often. docs/performance.md
bench: $(READY)
	$(BIN)/python -m benchmarks $(if $(FULL),--full)

# Takes the guards of the protocol away, one at a time, in a copy, and fails where no test notices. docs/mutation.md
mutate: $(READY)
	$(BIN)/python -m tests.mutation

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# After a change of the dependencies in pyproject.toml: the lock file, for every Python we support. UPGRADE=1 also renews
# the versions. Needs uv on the path.
lock:
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade) --quiet -o requirements.lock

clean:
	rm -rf $(VENV) .demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# --no-deps: all is in the lock file, and a hash is demanded of each.
$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed (PYTHON=… names another)" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@
