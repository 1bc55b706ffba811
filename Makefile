# `make` lists the targets. Each of them sets up what it needs by itself.
# A CPU-only torch on Linux: PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make setup

PYTHON ?= python3
VENV ?= .venv
OUT ?= out
WORKERS ?= 2
MUTATIONS ?= 100000

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TORCH := $(shell sed -n '/^torch==/p' constraints.txt)

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format types arch bench vectors docs fuzz clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1|\2/p' Makefile | awk -F'|' '{printf "  make %-9s %s\n", $$1, $$2}'

setup: $(STAMP) ## make the virtual environment, at the versions of constraints.txt

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,fast,server,postgres,object-store]'
	$(BIN)/secure-bfl info # compiles the kernels for this processor, and says so
	touch $@

demo: $(STAMP) ## train a small federation into ./out, then verify it from its files alone
	$(BIN)/secure-bfl demo --out $(OUT)
	$(BIN)/secure-bfl verify $(OUT)

test: $(STAMP) ## all tests (EXTERNAL_VECTORS=folder adds the vectors of others)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadscope

lint: $(STAMP) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP) ## ruff: mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP) ## mypy --strict, tests too
	$(BIN)/mypy

arch: $(STAMP) ## direction of imports, one importer a library, size and names of modules, links
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/arch

bench: $(STAMP) ## time and bytes of the encrypted sum and of a demo round; one JSON line
	$(BIN)/python bench/round.py

vectors: $(STAMP) ## regenerate the test vectors and compare; verify them with independent code
	$(BIN)/python tests/vectors/generate.py --check
	$(BIN)/python tests/vectors/verify.py

docs: $(STAMP) ## code printed in the documents is the code that runs
	$(BIN)/python docs/build.py --check

fuzz: $(STAMP) ## 100,000 mutations of every reader of bytes from others; findings into ./out/fuzz
	$(BIN)/python -W ignore -m tests.fuzz --mutations $(MUTATIONS) --findings $(OUT)/fuzz

clean: ## remove ./out, build files and caches (not the virtual environment)
	rm -rf out build dist *.egg-info .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find ledger protocols secure_bfl tests bench docs -type d -name __pycache__ -prune -exec rm -rf {} +
