# Every target first makes and fills .venv when that is needed (.ci/install.py), so each of them works
# on a machine that has only git, make and Python 3.11 with pip, can be run again at any time, and
# needs no network once installed. Another Python: make PYTHON=/path/to/python3.12 test

PYTHON ?= python3.11 python3.12 python3.13 python3 python
SUITABLE = import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
RUN = .venv/bin/python -m
PORT ?= 6006

.PHONY: help demo test verify mutants lint board setup
.DEFAULT_GOAL := help

help:
	@echo "make demo    train every application on embedded data, score it, export it, ask it"
	@echo "make test    style, types and tests (under 10 minutes)"
	@echo "make verify  what is too long for that: matrices, kills, backends (under 30 minutes)"
	@echo "make mutants small changes of the attention core: which ones no test notices (hours)"
	@echo "make board   TensorBoard on runs/ (PORT=$(PORT))"
	@echo "make lint    style and types only"

demo: setup
	@$(RUN) benchmarks.demo

test: lint
	$(RUN) pytest --numprocesses 2 --dist loadfile

verify: setup .torch/2.13.0
	TORCH_FOLDER=.torch $(RUN) pytest -m verify --numprocesses 2 --dist worksteal

# PyTorch, against which attention is checked, in a folder of its own that only the process reads
# that answers for it: TensorFlow must not meet it. It appears whole or not at all.
.torch/2.13.0: | setup
	@rm -rf .torch .torch-begun
	$(RUN) pip install --quiet --target .torch-begun --constraint constraints.txt torch==2.13.0
	@touch .torch-begun/2.13.0 && mv .torch-begun .torch

lint: setup
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy

mutants: setup
	@$(RUN) benchmarks.mutants

# By default TensorBoard keeps 10 pictures of a tag and 100 steps of a plugin's tag.
board: setup
	@test -d runs || { echo "error: no runs yet; make them with: make demo" >&2; exit 1; }
	@$(RUN) tensorboard.main --logdir runs --port $(PORT) \
		--samples_per_plugin images=1000,text=1000,attention=1000

setup:
	@for python in $(PYTHON); do \
		"$$python" -c '$(SUITABLE)' 2>/dev/null && exec "$$python" .ci/install.py; \
	done; \
	echo "error: no Python 3.11, 3.12 or 3.13 among: $(PYTHON)." \
		"Name one: make PYTHON=/path/to/python3.11 ..." >&2; exit 1
