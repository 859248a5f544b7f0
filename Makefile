# smsbridge. Python 3.11 and make are enough: `make demo` and `make test` fetch the rest.
#
# PYTHON=python3.12   another Python to make .venv with
# KEEP=1              `make demo` stays up
# CONFIG=config.toml  the config of `make run`
# TESTS=tests/store   a part of the tests
# ARGS="--help"       more arguments for the command of `make run`, `bench`, `test`, `test-quick`, `lock`

MAKEFLAGS += --no-builtin-rules --no-print-directory
SHELL := /bin/sh
.DEFAULT_GOAL := help

export PYTHON
CONFIG ?= config.toml
TESTS ?= tests
BIN := .venv/bin
READY := .venv/.ready
COMPILED := .venv/.compiled

# Where it is set, each process of the tests would compile every module that it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo run test test-quick check servers bench bench-parse bench-fidelity fuzz flips \
	attacks posts-test kills simulate lock runtime generate dist package-test clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile

setup: $(READY) ## .venv with everything that requirements.lock names
	@echo "smsbridge: the command is $(BIN)/smsbridge"

$(READY): requirements.lock pyproject.toml scripts/setup
	@scripts/setup
	@touch $@

runtime: ## .venv with only what the daemon and its commands need
	@scripts/setup --runtime
	@rm -f $(READY)

demo: $(READY) ## real mails in, verified webhooks out; KEEP=1 stays up
	@$(BIN)/smsbridge demo $(if $(KEEP),--keep) $(ARGS)

run: $(READY) ## the daemon with CONFIG=config.toml
	@exec $(BIN)/smsbridge run -c $(CONFIG) $(ARGS)

test: $(READY) ## check, and all tests with real servers
	@$(MAKE) -j 3 --output-sync=target check servers $(COMPILED)
	$(BIN)/python -m pytest -n auto --dist worksteal $(TESTS) $(ARGS)

test-quick: $(READY) ## the tests that start no process, in less than a minute
	$(BIN)/python -m pytest -q -n auto --dist worksteal --quick $(TESTS) $(ARGS)

$(COMPILED): $(READY) # the tests, once: each process of the first run would do it for itself
	@$(BIN)/python -m pytest --collect-only -qqq tests >/dev/null 2>&1 || true # the run will tell
	@touch $@

check: $(READY) ## format, lint, types, and which room may import which
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

servers: $(READY) # the real servers that the tests talk to, as far as they can be installed
	@$(BIN)/python -m tests.servers.install

bench: $(READY) ## the figures of benchmarks/README.md, on this machine
	@$(BIN)/python benchmarks/run.py $(ARGS)

bench-parse: $(READY) ## reading one mail, as a ratio to the standard library
	@$(BIN)/python -m benchmarks.parse $(ARGS)

bench-fidelity: $(READY) ## our reading beside others'; ARGS="FOLDER …", needs npm
	@$(BIN)/python -m benchmarks.fidelity $(ARGS)

fuzz: $(READY) ## 2,000,000 hostile inputs; ARGS="--seed 1 --cases 1000"
	@$(BIN)/python -m benchmarks.fuzz $(ARGS)

flips: $(READY) ## 200 flipped bits in the database and its log; ARGS="--checks off" must lose
	@$(BIN)/python -m benchmarks.flips $(ARGS)

posts-test: $(READY) ## providers' posts the long way: kills, fuzz; ten minutes
	POSTS_SMS=1000 POSTS_KILLS=50 POSTS_EXAMPLES=400 POSTS_SEED=$${POSTS_SEED:-$$$$} \
		$(BIN)/python -m pytest -s -n 2 tests/chaos/test_posts.py tests/sources/posts/test_openapi.py $(ARGS)

kills: $(READY) ## every change of state dies at its commit, twenty times each; minutes
	CHAOS_KILLS=20 $(BIN)/python -m pytest -s -n 2 \
		tests/chaos/test_changes.py tests/chaos/test_failover.py $(ARGS)

simulate: $(READY) ## nights of kills, stalls and lying receivers; ARGS="--messages 20000 --seed 1"
	@$(BIN)/python -m tests.simulation $(ARGS)

attacks: $(READY) ## hostile peers; ARGS="--before COMMIT" compares
	@$(BIN)/python -m benchmarks.attacks $(ARGS)

lock: ## requirements.lock from pyproject.toml; ARGS=--upgrade
	@scripts/lock $(ARGS)

generate: $(READY) ## completions, man page and the API's description
	@PYTHONPATH=. $(BIN)/python packaging/generate.py
	@$(BIN)/python -m bridge.web.api.openapi

dist: ## wheel, Debian package, bill of materials, checksums in dist/
	@scripts/dist $(ARGS)

package-test: $(READY) ## the package in a bare Debian, all its life; as root
	@scripts/apt-install mmdebstrap systemd-container lintian buildah
	$(BIN)/python -m pytest -n 0 tests/packaging/bare_debian.py tests/packaging/bare_exim.py $(ARGS)

clean: ## away with .venv and all caches
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
