# Every command that CI calls, too. Needs Python 3.11 or newer and make; everything else is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Tests wait for servers more than they compute, so several run at once; each worker has servers of its own.
PARALLEL := -n 4 --dist worksteal

.PHONY: demo test faults slow-tests soak bench mutate check lock wheel release clean

# One whole import, all services, from a simulated SISU to SQLite. DEMO=stay keeps it running; DEMO_STAN=1 sends it
# through a nats-streaming-server (NATS_STREAMING_SERVER, or the PATH), to mankelis of that era.
demo: $(READY)
	$(BIN)/python -m demo

test: $(READY)
	$(BIN)/python -m pytest $(PARALLEL)

# All fault tests, including the slow ones.
faults: $(READY)
	$(BIN)/python -m pytest $(PARALLEL) tests/faults -m ""

# What `make test` leaves out: `.ci/run nightly` runs it.
slow-tests: $(READY)
	$(BIN)/python -m pytest $(PARALLEL) -m slow

# Random faults for SECONDS, then the check of all invariants. The same SEED injects the same faults again, as far as
# timing allows. SISU=1: only SISU fails, and no process may end. STAN=1: with mankelis of the STAN era, behind two
# stan_bridges.
soak: $(READY)
	$(BIN)/python -m tests.soak --seconds $(or $(SECONDS),60) $(if $(SEED),--seed $(SEED)) $(if $(SISU),--sisu) $(if $(STAN),--stan)

# Performance, as ratios within one run; FULL=1 measures more, longer and more often. docs/performance.md
bench: $(READY)
	$(BIN)/python -m benchmarks $(if $(FULL),--full)

# Removes the guards of the protocol, one at a time, in a copy; fails where no test fails. docs/mutation.md
mutate: $(READY)
	$(BIN)/python -m tests.mutation

# Format, lint, types, the layers (the contracts under [tool.importlinter] in pyproject.toml), and the vocabulary.
check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/unit/project/test_vocabulary.py

# After a change of the dependencies in pyproject.toml: the lock files, for every supported Python. UPGRADE=1 also renews
# the versions. Needs uv on the path. requirements.lock is what production installs, requirements-build.lock what builds
# the wheel, requirements-dev.lock what tests and the demo need besides, at the versions of the other two.
COMPILE = uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	--custom-compile-command "make lock" $(if $(UPGRADE),--upgrade) --quiet
lock:
	$(COMPILE) pyproject.toml -o requirements.lock
	$(COMPILE) --group build -o requirements-build.lock
	$(COMPILE) pyproject.toml --all-extras --group build -c requirements.lock -c requirements-build.lock \
		-o requirements-dev.lock

# The wheel in dist/, with the commit in it, which `importer --version` prints.
wheel: $(READY)
	rm -rf build dist
	git describe --always --dirty > shared/build.txt
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation -w dist . ; \
		code=$$?; rm -rf shared/build.txt build; exit $$code

# All files of a release in dist/: wheel, lock file, bill of materials, notes. Needs uv, and a commit without changes.
release: $(READY)
	@git diff --quiet HEAD || { echo "There are changes that are not committed."; exit 1; }
	$(MAKE) lock && git diff --exit-code --stat -- 'requirements*.lock'
	$(MAKE) check wheel
	cp requirements.lock supervisord.conf dist/
	$(BIN)/python deploy/generate_sbom.py requirements.lock > dist/sbom.cdx.json
	$(BIN)/python -c 'import re, sys; print(re.split(r"^## ", open("CHANGELOG.md").read(), flags=re.M)[1])' > dist/notes.md
	cd dist && sha256sum * > SHA256SUMS

clean:
	rm -rf $(VENV) .demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# --no-deps: the lock file has everything, with a hash for each package.
$(READY): requirements-dev.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is required (PYTHON=… names another)" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@
