# `make demo` and `make test` are all that a fresh machine needs: Python 3.11 or newer, and make.
PYTHON ?= python3
BIN := .venv/bin
PYTEST_ARGS ?=

# Two workers for two cores, which take files in the order of tests/conftest.py.
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: image demo check test cover slow drills lint format lock clean

demo: .venv/ready
	rm -rf demo
	$(BIN)/python -m autolabel.demo draw demo
	$(BIN)/autolabel label input.uri=demo/images output.uri=demo/labels \
	    exemplars.uri=demo/exemplars.json exemplars.use_text=false
	$(BIN)/autolabel verify output.uri=demo/labels
	$(BIN)/autolabel export output.uri=demo/labels
	$(BIN)/autolabel evaluate output.uri=demo/labels ground_truth.uri=demo/images/ground_truth.json
	$(BIN)/autolabel label input.uri=demo/images output.uri=demo/masks objects.uri=demo/objects.json
	$(BIN)/autolabel verify output.uri=demo/masks
	$(BIN)/autolabel export output.uri=demo/masks
	$(BIN)/python -m autolabel.demo sheet demo
	$(BIN)/autolabel report output.uri=demo/labels
	@echo
	@echo "Open demo/labels/report/index.html first, and demo/contact_sheet.png: what was found for each prompt, box and click."
	@echo "The labels:"
	@echo "  demo/labels/labels/*.parquet        a row per image, masks as RLE"
	@echo "  demo/labels/coco/annotations.json   the same for COCO's readers"

# What each command proves, and how long it takes: tests/README.md.
check: .venv/ready lint
	$(PYTEST) -m 'not ray and not long and not slow' $(PYTEST_ARGS)

test: .venv/ready lint
	$(PYTEST) $(PYTEST_ARGS)

cover: .venv/ready
	$(PYTEST) -m 'not ray and not slow' --cov=autolabel --cov-report=term:skip-covered $(PYTEST_ARGS)

slow: .venv/ready
	$(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

# The fault drills at length; their table is at the end of what is printed.
drills: .venv/ready
	DRILLS=long $(BIN)/python -m pytest tests/drills tests/fuzz $(PYTEST_ARGS)

# The image of k8s/, built without a Docker daemon and tried: minutes and 8 GB, as root on a Debian.
image:
	k8s/image/without_docker.sh

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The environment is exactly requirements.lock. Of what pip says, the files of a megabyte and more are shown as they come.
.venv/ready: SHELL := /bin/bash
.venv/ready: requirements.lock pyproject.toml
	@echo "Setting up .venv, once: 3.6 GB to download and 7.5 GB on disk, most of it torch with its CUDA libraries, which come"
	@echo "without a GPU, too. It takes 3 to 10 minutes on a fast line; pip is silent for half of them, while it unpacks."
	$(PYTHON) -m venv .venv
	@set -o pipefail; $(BIN)/python -m pip install --progress-bar off --require-hashes --requirement requirements.lock \
	    | awk '/Downloading .* [MG]B\)/ { print; fflush() } /^Installing/ { print "  Unpacking all of them"; fflush() }'
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# Both locks anew from pyproject.toml; the image gets the part of the other that running needs.
COMPILE := .venv/lock/bin/uv pip compile pyproject.toml --universal --python-version 3.11 --upgrade \
    --generate-hashes --no-emit-index-url --no-header --quiet

lock:
	$(PYTHON) -m venv .venv/lock
	.venv/lock/bin/python -m pip install --quiet uv
	$(COMPILE) --extra dev --output-file requirements.lock
	$(COMPILE) --constraint requirements.lock --output-file k8s/image/requirements.lock

clean:
	rm -rf .venv build dist demo
