# `make help` lists what there is to make. Everything happens in .venv; nothing is installed elsewhere.
SHELL := /bin/bash
BIN := .venv/bin
PYTHON ?= python3
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup repro test test-fast lint format bench constraints clean

help: ## what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1|/' | column -t -s '|'

setup: .venv/.installed ## the virtual environment (.venv) with everything installed; done by the others as needed

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is $$($(PYTHON) --version 2>&1); Python 3.11 or newer is needed: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "setting up .venv (PyTorch is large: about 5 GB, some minutes) ..."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[pipeline,report,dev]'
	@touch $@

repro: setup ## media to scores: `dvc repro` for the corpora that params.yaml names (demo: minutes)
	dferc check
	python -m pipeline.check
	dvc repro
	dvc metrics show

TESTS := python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test: setup ## all tests
	$(TESTS)

test-fast: setup ## the tests without the slow ones
	$(TESTS) -m "not slow"

lint: setup ## what CI and pre-commit check
	ruff check .
	ruff format --check .
	codespell

format: setup ## mend what can be mended
	ruff check --fix .
	ruff format .

bench: setup ## speed, as ratios and fractions of this machine's measured peak
	python -m benchmarks.train_speed
	python -m benchmarks.ablation_throughput
	python -m benchmarks.import_features
	python -m benchmarks.extract_audio
	python -m benchmarks.extract_visual
	python -m benchmarks.decode
	python -m benchmarks.extract_text
	python -m benchmarks.encoder_speed
	python -m benchmarks.engines
	python -m benchmarks.memory

constraints: setup ## write constraints.txt anew from what is installed
	@{ head -2 constraints.txt; $(BIN)/python -m pip freeze --exclude-editable | grep '==' | sort -f; } > constraints.new
	@mv constraints.new constraints.txt

clean: ## forget unfinished work (.scratch), not results
	rm -rf .scratch
