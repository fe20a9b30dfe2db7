# `make help` lists the targets. Everything is installed into .venv and nowhere else.
SHELL := /bin/bash
BIN := .venv/bin
PYTHON ?= python3
UV_OPTIONS ?= --compile-bytecode
EXTRAS := '.[pipeline,video,report,serve,dev]'
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup repro test test-fast test-long lint format bench docs screenshot constraints clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1|/' | column -t -s '|'

setup: .venv/.installed ## create .venv with everything installed; the other targets do this when needed

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is $$($(PYTHON) --version 2>&1); Python 3.11 or newer is needed: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "setting up .venv (PyTorch is large: about 7.7 GB in all, some minutes) ..."
	$(PYTHON) -m venv .venv
	@# uv takes half a minute where pip takes two; it does not read pip's settings, so where it fails pip installs.
	PIP="$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt"; \
	$$PIP uv && $(BIN)/uv pip install --python $(BIN)/python $(UV_OPTIONS) -c constraints.txt -e $(EXTRAS) || $$PIP -e $(EXTRAS)
	@touch $@

repro: setup ## run media to scores: `dvc repro` for the corpora in params.yaml (demo: minutes)
	dferc check
	python -m pipeline.check
	dvc repro
	dferc scores

TESTS := python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test: setup ## run all tests
	$(TESTS)

test-fast: setup ## run the tests that are not slow
	$(TESTS) -m "not slow"

test-long: setup ## run all tests, with 30 kills, 3,000 perturbed inputs a way in, and every text encoder of transformers (CI does not)
	DFERC_KILLS=30 DFERC_PERTURBATIONS=3000 DFERC_LONG=1 $(TESTS)

lint: setup ## run the linters of CI and pre-commit
	ruff check .
	ruff format --check .
	codespell

format: setup ## fix and format the code
	ruff check --fix .
	ruff format .

bench: setup ## measure speed, as ratios and as shares of this machine's measured peak
	python -m benchmarks.train_speed
	python -m benchmarks.peer_speed
	python -m benchmarks.ablation_throughput
	python -m benchmarks.import_features
	python -m benchmarks.extract_audio
	python -m benchmarks.extract_visual
	python -m benchmarks.decode
	python -m benchmarks.extract_text
	python -m benchmarks.encoder_speed
	python -m benchmarks.encoder_audio
	python -m benchmarks.engines
	python -m benchmarks.memory
	python -m benchmarks.shared_machine
	python -m benchmarks.video

docs: setup ## build the documentation as a web site in build/site; a broken link fails
	python docs/copy_pages.py
	zensical build --clean --strict

screenshot: setup ## draw docs/images/report.png and video.png from the finished demo (needs Chromium)
	python docs/demo_talk.py
	python docs/screenshot.py

constraints: setup ## write constraints.txt from the installed packages
	@{ head -2 constraints.txt; $(BIN)/python -m pip freeze --exclude-editable | grep '==' | sort -f; } > constraints.new
	@mv constraints.new constraints.txt

clean: ## delete the caches of unfinished and finished work (.scratch), but no results
	rm -rf .scratch
