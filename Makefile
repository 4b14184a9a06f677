# Every target sets up what it needs in .venv first; nothing has to be installed but Python 3.11 or later.
#
#   make demo            the walk-through, then the demo stays up at http://127.0.0.1:8000/ until Ctrl-C
#   make demo SERVE=0    the walk-through alone
#   make test            the tests, on SQLite and then on PostgreSQL
#   make explore         the property tests, at random and for longer
#   make simulate        schedules of devices and a server on which everything goes wrong: SCHEDULES, from SEED on
#   make fuzz            requests that are drawn from the OpenAPI document, and valid ones that are bent: CASES, from SEED on,
#                        on DATABASE (sqlite or postgresql)
#   make mutants         deliberate mistakes, one by one: each must be caught by the tests named for it; MUTANTS names some
#   make kill            a real server, database, worker and devices, killed at random: ROUNDS, from SEED on
#   make restores        the database restored in every way, and failed over: ROUNDS, from SEED on
#   make lint            ruff, mypy, and the floors that modules may import from
#   make format          what ruff can put right by itself
#   make clean           removes what all of these made
#
# PORT, DATABASE_URL and REDIS_URL change the demo; PYTHON chooses the interpreter; PYTEST_ARGS goes to
# pytest, EXPLORE is how many times as many examples as usual are drawn.

SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

SERVE ?= 1
PORT ?= 8000
PYTEST_ARGS ?=
EXPLORE ?= 10
SCHEDULES ?= 150
SEED ?= 1
CASES ?= 1500
DATABASE ?= sqlite
MUTANTS ?=
ROUNDS ?= 1
# The hooks that look for faults of C code cost a tenth of the time, and there is no C code of ours.
PYTEST := PYTHONDEVMODE=1 PYTHONMALLOC=pymalloc $(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

export SERVE PORT
# An empty DATABASE_URL or REDIS_URL would not be a default.
ifdef DATABASE_URL
export DATABASE_URL
endif
ifdef REDIS_URL
export REDIS_URL
endif

.DEFAULT_GOAL := help
.PHONY: help demo test test-sqlite test-postgresql explore simulate fuzz mutants kill restores migrations lint format clean

help:
	@sed -n 's/^#   //p' Makefile

# A stamp is as new as the requirements that it stands for were when they were installed.
$(BIN)/python:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "syncreset needs Python 3.11 or later: make PYTHON=/path/to/python3.11"; exit 1; }
	"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/demo.stamp: requirements/base.txt requirements/demo.txt pyproject.toml | $(BIN)/python
	$(PIP) -r requirements/demo.txt
	$(PIP) --no-deps --editable .
	@touch $@

$(VENV)/test.stamp: requirements/test.txt $(VENV)/demo.stamp
	$(PIP) -r requirements/test.txt
	@touch $@

$(VENV)/fuzz.stamp: requirements/fuzz.txt $(VENV)/test.stamp
	$(PIP) -r requirements/fuzz.txt
	@touch $@

$(VENV)/lint.stamp: requirements/lint.txt $(VENV)/fuzz.stamp
	$(PIP) -r requirements/lint.txt
	@touch $@

demo: $(VENV)/demo.stamp
	@exec $(BIN)/python -m demo_project.walkthrough

# What fails on one database is seen on the other, too.
test: migrations
	@failed=; for half in test-sqlite test-postgresql; do \
		$(MAKE) --no-print-directory $$half || failed="$$failed $$half"; \
	done; \
	test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

migrations: $(VENV)/test.stamp
	$(BIN)/python -m django makemigrations --check --dry-run --settings tests.settings

test-sqlite: $(VENV)/test.stamp
	SYNCRESET_TEST_DATABASE=sqlite $(PYTEST)

# The SDK and the documentation do not know which database the server has.
test-postgresql: $(VENV)/test.stamp
	SYNCRESET_TEST_DATABASE=postgresql $(PYTEST) --ignore tests/sdk --ignore tests/docs

# Property tests draw EXPLORE times as many examples, other ones each time. What is found is kept in .hypothesis.
explore: $(VENV)/test.stamp
	SYNCRESET_EXPLORE=$(EXPLORE) SYNCRESET_TEST_DATABASE=sqlite $(PYTEST) -m hypothesis

simulate: $(VENV)/test.stamp
	SYNCRESET_SCHEDULES=$(SCHEDULES) SYNCRESET_SEED=$(SEED) SYNCRESET_TEST_DATABASE=sqlite PYTHONHASHSEED=0 \
		$(BIN)/python -m pytest -n 2 $(PYTEST_ARGS) --ds tests.simulation.settings -p no:randomly tests/simulation

fuzz: $(VENV)/fuzz.stamp
	SYNCRESET_CASES=$(CASES) SYNCRESET_SEED=$(SEED) SYNCRESET_TEST_DATABASE=$(DATABASE) PYTHONHASHSEED=0 \
		$(BIN)/python -m pytest -n 2 $(PYTEST_ARGS) --ds tests.fuzz.settings -p no:randomly tests/fuzz

mutants: $(VENV)/test.stamp
	$(BIN)/python -m tests.mutants --only $(MUTANTS)

kill restores: $(VENV)/test.stamp
	$(BIN)/python -m tests.kills $@ --rounds $(ROUNDS) --seed $(SEED)

lint: $(VENV)/lint.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/lint.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .demo .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage htmlcov *.egg-info build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
