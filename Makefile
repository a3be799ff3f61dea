# A front for the commands: every stage itself knows what is finished.
PYTHON ?= python3
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
REFKD := $(BIN)/refkd

DEMO ?= demo
DEMO_ARGS ?= --threads 1# beside busy neighbours two threads are slower than one
DATA ?= data
TEACHERS ?= teachers
CACHES ?= caches
RUNS ?= runs
REPORT ?= report.html
export QUERY # as it is: a question may hold any character
TABLE ?= 3
NAMED = --teacher id=$(TEACHERS)/id --teacher ood=$(TEACHERS)/ood
# Caches and runs are named by digests; `make cache` and `make distill` note the last one.
CACHE ?= $(or $(shell cat $(CACHES)/.last 2>/dev/null),$(error no cache is noted in $(CACHES)/.last; run `make cache` first, or give CACHE=))
MODEL ?= $(or $(shell cat $(RUNS)/.last 2>/dev/null),$(error no run is noted in $(RUNS)/.last; run `make distill` first, or give MODEL=))
NOTE = cat $(1)/.new && if [ -d "$$(cat $(1)/.new)" ]; then mv $(1)/.new $(1)/.last; fi# a plan or JSON is no folder

.NOTPARALLEL: # each stage reads what the one before it wrote
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow check lint types coverage prepare simulate inspect caches teach cache weigh verify distill ablate evaluate predict score report bench experiments

help: ## Show this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r target text; do printf '  make %-11s %s\n' "$$target" "$$text"; done

setup: $(VENV)/.ready ## Create .venv with everything in it (TORCH_INDEX=URL for another build of torch)

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "python 3.11 or newer is needed; name one: make setup PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q 'pip>=25.1'
	$(BIN)/python -m pip install -q -c constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(BIN)/python -m pip install -q -c constraints.txt --group dev -e .
	@touch $@

demo: setup ## Run every stage on the built-in data set: one table, and DEMO/report.html
	@$(REFKD) demo $(DEMO) $(DEMO_ARGS)

test: setup ## Run the tests but the slow, the real-data and the GPU ones (under 5 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile -m 'not slow and not data and not gpu'

test-slow: setup ## Run the slow, the real-data (REFKD_DATA=DIR) and the GPU tests
	@$(BIN)/python -m pip install -q -c constraints.txt --group bench && OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile -m 'slow or data or gpu'

check: lint types test ## Lint, types and tests: what CI runs

lint: setup ## Check style and formatting
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: setup ## Check types
	$(BIN)/mypy && MYPYPATH=docs $(BIN)/mypy -p experiments

coverage: setup ## Run the fast tests and demand 90% line coverage
	$(BIN)/python -m pytest -q -m 'not slow and not data and not gpu' --cov --cov-report=term:skip-covered --cov-fail-under=90

bench: setup ## Measure side by side and write docs/benchmarks.md (BENCH= names of tests/bench; long)
	@$(BIN)/python -m pip install -q -c constraints.txt --group bench && $(BIN)/python tests/bench/run.py $(BENCH)

experiments: setup ## Train what the tables of docs/results.md lack and write them (DATA= the real data; days)
	PYTHONPATH=docs $(BIN)/python -m experiments --data $(DATA) $(EXPERIMENTS_ARGS)

prepare: setup ## ANNOTATIONS= FEATURES= to the data set DATA=
	$(REFKD) prepare $(DATA) --annotations $(ANNOTATIONS) --features $(FEATURES) $(PREPARE_ARGS)

simulate: setup ## A data set with simulated features in DATA=
	$(REFKD) simulate $(DATA) $(SIMULATE_ARGS)

inspect: setup ## Say what IT= holds
	$(REFKD) inspect $(IT) $(INSPECT_ARGS)

caches: setup ## List the caches in CACHES= and which of RUNS= used them (CACHES_ARGS=--prune deletes)
	$(REFKD) caches $(CACHES) $(if $(wildcard $(RUNS)),--runs $(RUNS)) $(CACHES_ARGS)

teach: setup ## Train both teachers on DATA= into TEACHERS=
	$(REFKD) teach $(DATA) $(TEACHERS)/id --bias id $(TEACH_ARGS) && $(REFKD) teach $(DATA) $(TEACHERS)/ood --bias ood $(TEACH_ARGS)

cache: setup ## Write what TEACHERS= say about DATA= into CACHES=
	mkdir -p $(CACHES) && $(REFKD) cache $(DATA) $(CACHES) $(NAMED) $(CACHE_ARGS) > $(CACHES)/.new && $(call NOTE,$(CACHES))

weigh: setup ## Write the introspective weights of CACHE= (the last one)
	$(REFKD) weigh $(CACHE) $(WEIGH_ARGS)

verify: setup ## Forward some rows of CACHE= again and compare
	$(REFKD) verify $(CACHE) $(DATA) $(NAMED) $(VERIFY_ARGS)

distill: setup ## Train a student on DATA= from CACHE= into RUNS=
	mkdir -p $(RUNS) && $(REFKD) distill $(DATA) $(CACHE) $(RUNS) $(DISTILL_ARGS) > $(RUNS)/.new && $(call NOTE,$(RUNS))

ablate: setup ## Train every row of TABLE= from CACHE= (one or more) into RUNS= and compare
	$(REFKD) ablate $(DATA) $(CACHE) $(RUNS) --table $(TABLE) $(NAMED) $(ABLATE_ARGS)

evaluate: setup ## Score MODEL= (the last run) on DATA=
	$(REFKD) evaluate $(MODEL) $(DATA) $(EVALUATE_ARGS)

predict: setup ## Find QUERY= in the video FEATURES= of DURATION= seconds with MODEL=
	$(REFKD) predict $(MODEL) --features $(FEATURES) --duration $(DURATION) --query "$$QUERY" $(PREDICT_ARGS)

score: setup ## Score PREDICTIONS= against ANNOTATIONS=
	$(REFKD) score $(PREDICTIONS) $(ANNOTATIONS) $(SCORE_ARGS)

report: setup ## Write the page REPORT= about RUNS=
	$(REFKD) report $(RUNS) $(REPORT) --data $(DATA) $(NAMED) $(REPORT_ARGS)
