# Everything that is done to poolhouse. `make` alone prints the targets.
#
#   POOLHOUSE_PYTHON=python3.13 make test      another Python than the first that fits
#   POOLHOUSE_TEST_CLICKHOUSE=/path make test  another server than Debian's
#   make test-python ARGS='-k fork'            part of the tests

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules
SHELL := /bin/sh

VENV := .venv
PYTHON := $(VENV)/bin/python
CARGO ?= cargo
URL ?=
ARGS ?=

RUST := Cargo.toml Cargo.lock $(shell find rust -not -path '*/tests/*' \( -name '*.rs' -o -name Cargo.toml \))
CYCLE := target/release/examples/cycle
# The build script of PyO3 asks this Python; with another one each time, everything would be built anew.
export PYO3_PYTHON := $(CURDIR)/$(PYTHON)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help
help: ## Print the targets
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' | awk -F'|' '{printf "  %-17s %s\n", $$1, $$2}'

# Set-up

# pyproject.toml holds the pins, and other things besides: pip finds quickly that all is there. The Python that was
# asked for is checked at every call, and only a change of it touches the stamp's prerequisite.
$(VENV)/stamp: pyproject.toml tools/make-venv.sh .stamps/python
	tools/make-venv.sh $(VENV)
	@touch $@

.stamps/python: FORCE
	@mkdir -p $(@D)
	@wanted=$$(tools/find-python.sh) && { [ "$$(cat $@ 2>/dev/null)" = "$$wanted" ] || echo "$$wanted" > $@; }

.PHONY: FORCE
FORCE:

.PHONY: venv
venv: $(VENV)/stamp ## Make .venv with all that development needs

$(VENV)/stamp-build: $(VENV)/stamp $(RUST)
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(VENV)/bin/maturin develop --release
	@touch $@

.PHONY: build
build: $(VENV)/stamp-build ## Build the native module and install poolhouse into .venv

.PHONY: server
server: ## See to it that there are a ClickHouse server, and proxies to put before it, for the tests
	@tools/install-clickhouse.sh
	@tools/install-proxies.sh

.PHONY: valgrind
valgrind:
	@command -v valgrind >/dev/null || tools/apt-install.sh valgrind

# Use

.PHONY: demo
demo: build ## Run the main job on the embedded engine, or on URL=clickhouse://...
	$(PYTHON) examples/demo.py $(if $(URL),'$(URL)')

# Tests

.PHONY: test
test: test-rust test-loom test-shuttle test-instructions test-python ## Do all set-up and run every test

.PHONY: test-rust
test-rust: ## Run the tests of the core
	$(CARGO) test --package poolhouse-core --release --target-dir target/test $(ARGS)

# They explore many states: optimised, with overflow checks and assertions, but without the link-time optimisation that the
# module is built with.
CHECKERS := test-rust test-loom test-shuttle proof-loom proof-shuttle proof-model planted tsan mutants-core
$(CHECKERS): export CARGO_PROFILE_RELEASE_LTO = off
$(CHECKERS): export CARGO_PROFILE_RELEASE_CODEGEN_UNITS = 16
$(CHECKERS): export CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS = true
$(CHECKERS): export CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS = true

.PHONY: test-loom
test-loom: export RUSTFLAGS = --cfg loom
test-loom: ## Check the protocol's memory orderings with loom
	$(CARGO) test --package poolhouse-core --release --target-dir target/loom --test 'loom_*' $(ARGS)

.PHONY: test-shuttle
test-shuttle: ## Check the protocol under large random schedules with shuttle
	$(CARGO) test --package poolhouse-core --release --target-dir target/shuttle --features shuttle --test 'shuttle_*' $(ARGS)

.PHONY: test-instructions
test-instructions: $(VENV)/stamp $(CYCLE) valgrind ## Count the instructions of a borrow and return in the core; they must not grow
	$(PYTHON) -m benches.instructions $(CYCLE)

.PHONY: test-python
test-python: build server ## Run the Python tests, on real servers
	$(PYTHON) -m pytest $(ARGS)

.PHONY: test-slow
test-slow: build server ## Run the Python tests that take long
	$(PYTHON) -m pytest -m slow $(ARGS)

# A failure is told at the end, on the page and by the exit status.
.PHONY: cluster-faults
cluster-faults: build server ## Several nodes under outages, minutes of them, with the figures shown
	$(PYTHON) -m pytest -s -m 'slow or not slow' tests/cluster/test_outage.py tests/cluster/test_kill.py $(ARGS)

.PHONY: coverage-python
coverage-python: build server ## Run the Python tests, and fail below 95 % of the package's lines and branches
	rm -f .coverage .coverage.*
	$(PYTHON) -m coverage run -m pytest -m 'not slow and not untraced' $(ARGS)
	$(PYTHON) -m coverage combine --quiet
	$(PYTHON) -m coverage report

.PHONY: conformance
conformance: build server ## Run every test, and write what each behaviour came to into docs/conformance.md
	@mkdir -p .stamps/conformance
	-$(PYTHON) -m pytest --junitxml=.stamps/conformance/python.xml
	-$(MAKE) test-rust > .stamps/conformance/core.txt
	-$(MAKE) test-loom > .stamps/conformance/loom.txt
	$(PYTHON) -m tests.conformance_table .stamps/conformance/*

.PHONY: conformance-list
conformance-list: build ## Bring the tests that docs/conformance.md names up to date, without running any
	$(PYTHON) -m tests.conformance_table

WRAPPER_VENV := .wrapper-venv

$(WRAPPER_VENV)/stamp: tests/wrappers/requirements.txt .stamps/python
	rm -rf $(WRAPPER_VENV)
	$$(cat .stamps/python) -m venv $(WRAPPER_VENV)
	$(WRAPPER_VENV)/bin/pip install --quiet -r tests/wrappers/requirements.txt
	@touch $@

# The package as it was built here: the wrappers have an environment of their own, and the same Python.
.PHONY: test-wrappers
test-wrappers: build $(WRAPPER_VENV)/stamp ## An async pool under tracers, patches and other event loops, each in a process of its own
	PYTHONPATH=python $(WRAPPER_VENV)/bin/python -m tests.wrappers $(ARGS)

.PHONY: sqlalchemy-suite
sqlalchemy-suite: build ## Run SQLAlchemy's own tests of its pools on ours
	tools/sqlalchemy-suite.sh $(PYTHON) .sqlalchemy-suite

.PHONY: sqlalchemy-turns
sqlalchemy-turns: build server ## 32 threads on 8 connections: turns of each, with SQLAlchemy's pool beside ours
	$(PYTHON) -m pytest -m slow tests/integrations/test_sqlalchemy_turns.py $(ARGS)

# Proofs: what takes too long for each change. docs/reliability.md says what came out.

# The steps of `make proof`, in this order. Each prints how much it did, and fails when something was found.
PROOFS := proof-loom proof-shuttle proof-model planted tsan test-slow stress stress-freethreaded stress-places fork-stress faults storm \
	cluster-faults

.PHONY: proof
proof: ## Run every proof, one after the other (an hour or two)
	@for step in $(PROOFS); do \
	  printf '\n=== %s\n' $$step; date '+%T'; $(MAKE) --no-print-directory $$step || { printf '=== FAILED: %s\n' $$step; exit 1; }; \
	done; printf '\n=== proved: %s\n' '$(PROOFS)'

.PHONY: proof-loom
proof-loom: export POOLHOUSE_DEEP ?= 1
proof-loom: ## Loom without a bound where that ends, else a preemption deeper than in test-loom
	$(MAKE) --no-print-directory test-loom ARGS='$(ARGS) -- --nocapture'

.PHONY: proof-shuttle
proof-shuttle: export POOLHOUSE_SCHEDULES ?= 5000000
proof-shuttle: ## Shuttle with POOLHOUSE_SCHEDULES schedules, five million unless told
	$(MAKE) --no-print-directory test-shuttle ARGS='$(ARGS) -- --nocapture'

.PHONY: proof-model
proof-model: export POOLHOUSE_CASES ?= 1000000
proof-model: ## The sequential model with POOLHOUSE_CASES runs, a million unless told
	$(MAKE) --no-print-directory test-rust ARGS='--test model $(ARGS) -- --nocapture'

.PHONY: planted
planted: ## Break the protocol on purpose, step by step: each fault must be caught
	$$(tools/find-python.sh) tools/planted.py $(ARGS)

.PHONY: stress
stress: $(VENV)/stamp ## Stress the module for 60 s each on CPython 3.11, 3.12 and 3.13, as far as they are here
	tools/on-pythons.sh $(VENV)/bin/maturin $(CURDIR)/.stress 'tests.stress --seconds $(or $(STRESS_SECONDS),60)' 3.11 3.12 3.13

.PHONY: stress-freethreaded
stress-freethreaded: $(VENV)/stamp ## Stress the module for 60 s on free-threaded CPython 3.13t, built where there is none
	tools/on-pythons.sh $(VENV)/bin/maturin $(CURDIR)/.stress 'tests.stress --seconds $(or $(STRESS_SECONDS),60) --free-threaded' 3.13t

.PHONY: stress-places
stress-places: build server ## 4 event loops and 8 threads on one capacity for 60 s, with each kind of close: never more open than there may be
	$(PYTHON) -X faulthandler -m tests.stress.places --seconds $(or $(STRESS_SECONDS),60)

.PHONY: fork-stress
fork-stress: build server ## Fork 200 times under load: children and parent must go on working
	$(PYTHON) -m pytest tests/pool/test_fork.py
	$(PYTHON) -X faulthandler -m tests.stress.forks --forks 200

.PHONY: faults
faults: build server ## Strike 50 borrowers with each fault on a real server; prints a table. ARGS='--only SIGKILL'
	$(PYTHON) -m tests.faults $(ARGS)

.PHONY: storm
storm: build server ## Ask for values of one's own, three times 60 s, through a front that answers badly; ARGS='--seconds 5 --seed 7'
	$(PYTHON) -X faulthandler -m tests.faults.storm --modern $(ARGS)
	$(PYTHON) -X faulthandler -m tests.faults.storm --no-ids $(ARGS)
	$(PYTHON) -X faulthandler -m tests.faults.storm $(ARGS)

.PHONY: mutants
mutants: mutants-core mutants-python ## Change each decision of the core and of the Python code, see that a test notices (hours)

.PHONY: mutants-python
mutants-python: build ## Change each decision of the Python code, see that a test notices; ARGS='--shard 1/2 url.py'
	PYTHONPATH=python $(PYTHON) -m tools.mutation $(ARGS)

# ThreadSanitizer is not stable, but is there; the standard library is not compiled with it. Without a target of its own, build
# scripts would be.
TSAN = $(CARGO) test --package poolhouse-core --release --target-dir target/tsan --features planted --test threads \
  --target $$(rustc -vV | sed -n 's/^host: //p')

.PHONY: tsan
tsan: export RUSTC_BOOTSTRAP = 1
tsan: export RUSTFLAGS = -Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer
tsan: export TSAN_OPTIONS = halt_on_error=1
tsan: export POOLHOUSE_STRESS_SECONDS ?= 120
tsan: ## The core on real threads under ThreadSanitizer, which must see a race where one is planted
	$(TSAN)
	@POOLHOUSE_PLANTED=TakeRelaxed $(TSAN) 2>&1 | grep -m 1 'ThreadSanitizer: data race' || { echo 'the planted race was not seen'; exit 1; }

.tools/bin/cargo-mutants:
	$(CARGO) install --quiet --locked --root .tools --version 27.1.0 cargo-mutants

.PHONY: mutants-core
mutants-core: .tools/bin/cargo-mutants ## Change each decision of the core, see that a checker notices; ARGS='--shard 1/4'
	$$(tools/find-python.sh) tools/core_mutants.py $(ARGS)

.PHONY: coverage-core
coverage-core: ## Line coverage of the core by its own tests, and the lines that none reached
	$$(tools/find-python.sh) tools/core_coverage.py $(ARGS)

# Linters

.PHONY: lint
lint: lint-rust lint-python ## Run every linter

.PHONY: lint-rust
lint-rust: $(VENV)/stamp ## Check the format of the Rust code, and run clippy
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

.PHONY: lint-python
lint-python: build ## Run ruff, mypy, and stubtest on the native module
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy --strict python tests/support tests/conftest.py tests/conformance_table.py tests/faults tests/stress
	MYPYPATH=python $(PYTHON) -m mypy.stubtest --mypy-config-file pyproject.toml poolhouse._core

.PHONY: format
format: $(VENV)/stamp ## Format all code
	$(CARGO) fmt --all
	$(PYTHON) -m ruff check --fix-only .
	$(PYTHON) -m ruff format .

# Release

.PHONY: wheels
wheels: $(VENV)/stamp server ## Build a wheel for each Python here, and try each in a clean environment
	tools/test-wheels.sh $(VENV)/bin/maturin dist .wheel-venvs

.PHONY: clean
clean: ## Remove all that was made here, .venv too
	rm -rf $(VENV) .bench-venv $(WRAPPER_VENV) .stamps .mutants .tools .wheel-venvs .sqlalchemy-suite .stress dist target .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find python -name '*.so' -delete
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

# Benchmarks

BENCH_VENV := .bench-venv
BENCH_PYTHON := $(BENCH_VENV)/bin/python

$(BENCH_VENV)/stamp: benches/requirements.txt .stamps/python
	rm -rf $(BENCH_VENV)
	$$(cat .stamps/python) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/pip install --quiet -r benches/requirements.txt
	@touch $@

# By pip, not by `maturin develop`, which would also install the dependency groups of pyproject.toml: other releases of the peers.
$(BENCH_VENV)/stamp-build: $(BENCH_VENV)/stamp $(RUST)
	PATH=$(CURDIR)/$(BENCH_VENV)/bin:$$PATH PYO3_PYTHON=$(CURDIR)/$(BENCH_PYTHON) \
		$(BENCH_VENV)/bin/pip install --quiet --no-build-isolation --no-deps --editable .
	@touch $@

.PHONY: bench-build
bench-build: $(BENCH_VENV)/stamp-build ## Build poolhouse beside its pinned peers, into .bench-venv

.PHONY: bench
bench: bench-build server ## Measure poolhouse beside its peers (half an hour); ARGS='run --short calls' for a part
	$(CARGO) bench --quiet --package poolhouse-core --bench cycle
	$(BENCH_PYTHON) -m benches $(or $(ARGS),run)

$(CYCLE): $(RUST) rust/core/examples/cycle.rs
	$(CARGO) build --release --package poolhouse-core --example cycle

.PHONY: bench-freethreaded
bench-freethreaded: $(VENV)/stamp ## Two threads to one on free-threaded CPython 3.13t, built where there is none
	tools/on-pythons.sh $(VENV)/bin/maturin $(CURDIR)/.stress benches.freethreaded 3.13t

.PHONY: bench-check
bench-check: bench-build $(CYCLE) valgrind ## Fail when something fell behind benches/baseline.json
	$(BENCH_PYTHON) -m benches check

.PHONY: bench-baseline
bench-baseline: bench-build $(CYCLE) valgrind ## Make the present figures the baseline of bench-check
	$(BENCH_PYTHON) -m benches baseline
