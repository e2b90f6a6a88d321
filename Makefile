# Everything that is done with this project, by name. `make` lists it.
# One environment (.venv) and one Cargo target folder serve all targets: the extension is built in the release
# profile, tests and lints use the dev profile, so neither makes the other build again.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEPENDENCIES := $(VENV)/.dependencies
PEERS := $(VENV)/.peers
EXTENSION := $(VENV)/.extension
RUST_SOURCES := $(shell find rust -name target -prune -o \( -name '*.rs' -o -name Cargo.toml \) -print 2>/dev/null)
REPORTS := target/reports
FUZZ_SECONDS ?= 60
# Tests mostly wait, for a broker or for a child to be killed. Each process has a broker of its own (0.5 GB).
TEST_PROCESSES ?= 4

# What these variables point at would change how Cargo builds for each caller, and so build everything twice.
unexport VIRTUAL_ENV
unexport PYTHONPATH
# Tests start hundreds of Python programs, each of which would compile its modules anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help env broker demo test test-rust test-python lint format bench bench-check drill fuzz lock clean

help: ## List the targets
	@echo "chio_fast: policy enforcement in process, with signed receipts, for agents on Kafka"
	@echo
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

env: $(EXTENSION) ## Make the environment in .venv and build the extension

$(BIN)/python:
	@tools/check-machine.sh $(PYTHON)
	$(PYTHON) -m venv $(VENV)

$(DEPENDENCIES): requirements-dev.lock $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

$(PEERS): requirements-peers.lock $(DEPENDENCIES)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

$(EXTENSION): $(DEPENDENCIES) $(RUST_SOURCES) Cargo.toml Cargo.lock rust-toolchain.toml .cargo/config.toml pyproject.toml
	@tools/check-machine.sh $(BIN)/python
	PIP_QUIET=1 $(BIN)/maturin develop --release --quiet
	@touch $@

broker: $(DEPENDENCIES) ## Fetch the Kafka broker of the tests into .kafka/ (needs a JDK and Maven)
	$(BIN)/python -m tests.kafka.broker

demo: env ## Run the main job on an embedded broker and look at what it left
	$(BIN)/chio-fast demo

test: test-rust test-python ## Run all tests; some need a JDK and Maven, some a PostgreSQL server

test-rust: ## Run the tests of the Rust crates
	@tools/check-machine.sh $(PYTHON)
	cargo test --locked --quiet --features chio-store/postgres

test-python: env ## Run the tests of the package, on a real broker
	cargo build --locked --quiet --features chio-store/postgres --example verdicts
	@mkdir -p $(REPORTS)
	@$(BIN)/python -m tests.kafka.broker || true
	$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist worksteal --junitxml=$(REPORTS)/python.xml

lint: $(DEPENDENCIES) ## Check formatting, lints and types
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets --quiet -- -D warnings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(DEPENDENCIES) ## Format all sources
	cargo fmt --all
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format --quiet .

bench: env $(PEERS) ## Measure; prints one table, writes benches/results/latest.json
	$(BIN)/python -m benches

bench-check: env ## Compare ratios of a short run with benches/baseline.json
	$(BIN)/python -m benches --check

drill: env ## Run the long kill -9 drills; counts and seeds go to docs/operations.md
	$(BIN)/python -m tests.kafka.broker
	$(BIN)/python -m pytest -m drill --timeout 3600 --drill-report=docs/operations.md

fuzz: env ## Fuzz for FUZZ_SECONDS per target (default 60; needs nightly Rust)
	tools/fuzz.sh $(FUZZ_SECONDS)

lock: ## Pin all Python dependencies anew (needs uv)
	tools/lock-dependencies.sh

clean: ## Remove everything that was built or fetched
	rm -rf $(VENV) target .kafka .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks demo-output rust/fuzz/target
	find python tests benches -name __pycache__ -prune -exec rm -rf {} +
	rm -f python/chio_fast/*.so
