# The suite's commands; `make help` lists them. Everything runs inside .venv, which nobody has to
# activate. Works with GNU make 3.81 and later, in folders with spaces in their names.

CORES ?= 4
PYTHON ?=
CPU ?=

READY := .venv/.ready
ACTIVE := PATH="$$PWD/.venv/bin:$$PATH"
RUN := $(ACTIVE) .venv/bin/python -m
SNAKEMAKE := $(RUN) snakemake --cores $(CORES)
RULES := Snakefile workflow/rules
# The files that take longest first (tests/conftest.py), each whole on one of two workers.
PYTEST := $(RUN) pytest -n 2 --dist loadfile --no-loadscope-reorder
PIP_OPTIONS := $(if $(filter 1,$(CPU)),--extra-index-url https://download.pytorch.org/whl/cpu)

# Settings of other environments must not leak into this one.
unexport PYTHONPATH PYTHONHOME
export PYTHONNOUSERSITE := 1
export PIP_USER := 0

.PHONY: help env all smoke test test-full lint format clean clean-env moved

help: ## list the commands
	@echo "Usage: make COMMAND [CORES=4] [PYTHON=/path/to/python3] [CPU=1: torch without CUDA packages]"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' Makefile | \
		while IFS='|' read -r name text; do printf '%-12s %s\n' "$$name" "$$text"; done

env: $(READY) ## make or update the environment in .venv, at the versions of constraints.txt
	@echo "== .venv is up to date; to work in it: . .venv/bin/activate"

all: $(READY) ## run the default tier: rows, tables, figures and the report, in results/
	@echo "== snakemake --cores $(CORES) all: runs what is missing; results land in results/"
	@$(SNAKEMAKE) all
	@$(RUN) workflow.report verdicts

smoke: $(READY) ## run the smallest tier (minutes), in results/smoke/
	@echo "== snakemake --cores $(CORES) smoke: the smallest tier; results land in results/smoke/"
	@$(SNAKEMAKE) smoke
	@$(RUN) workflow.report verdicts --table results/smoke/tables/claims.csv

test: $(READY) ## check the style and run the tests, except those marked full
	@echo "== pytest: style, types and tests; what cannot run here is skipped with a reason"
	@$(PYTEST) --durations=10

test-full: $(READY) ## run all tests, also those that take many minutes
	@echo "== pytest --full: style, types and all tests"
	@$(PYTEST) --full --durations=20 --cov --cov-report=term:skip-covered

lint: $(READY) ## check format, style, types and the workflow's rules
	@$(RUN) ruff format --check --output-format concise .
	@$(RUN) ruff check --output-format concise .
	@$(RUN) mypy
	@$(ACTIVE) .venv/bin/snakefmt --check $(RULES)
	@$(RUN) snakemake --lint

format: $(READY) ## format the code and the rules
	@$(RUN) ruff check --fix-only .
	@$(RUN) ruff format .
	@$(ACTIVE) .venv/bin/snakefmt $(RULES)

clean: ## remove results, measured rows among them, but results/paper and results/reference
	@echo "== removing generated results"
	@find -H results -mindepth 1 -maxdepth 1 ! -name paper ! -name reference -exec rm -rf {} +
	@find results/paper -mindepth 1 -maxdepth 1 ! -name '*.csv' -exec rm -rf {} +
	@rm -f results/paper/rows.csv results/paper/estimates.csv

clean-env: ## remove the environment in .venv
	@echo "== removing .venv"
	@rm -rf .venv

# The stamp holds the folder's path: in a moved or copied folder the environment is made anew.
ifneq "$(shell cat $(READY) 2>/dev/null)" "$(CURDIR)"
$(READY): moved
endif
moved:

$(READY): pyproject.toml constraints.txt .ci/make-environment
	@sh .ci/make-environment "$(PYTHON)" $(PIP_OPTIONS)
	@pwd -P > $@
