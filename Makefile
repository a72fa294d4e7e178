# Everything that one does with this repository. `make` alone lists the targets.

PYTHON ?= python3
ROLE ?= both
HOST ?= 127.0.0.1
PORT ?= 8000
SOAK ?= --minutes 10
RECIPE ?= mnist-conv-10

# Two environments: what serves has no torch, as in a deployment.
DEV := .venv
SERVE := .venv-serve
LOWEST := .venv-lowest
INSTALL := bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt

# Tests start many processes, each of which would compile the project anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help serve test test-lowest coverage soak quality check bench format docs train data image image-check sbom lock lock-images audit clean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

serve: $(SERVE)/installed ## Run the service on PORT with the shipped models (ROLE=sender or receiver for one half)
	$(SERVE)/bin/python -m service --role $(ROLE) --host $(HOST) --port $(PORT)

test: $(DEV)/installed ## Run all tests, on all cores; those on data sets need LATENTWIRE_DATA
	$(DEV)/bin/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

coverage: $(DEV)/installed ## Run all tests and measure their coverage, which has a floor
	$(DEV)/bin/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --cov --cov-report=term

test-lowest: $(LOWEST)/installed ## Run the tests with the lowest versions that pyproject.toml allows
	$(LOWEST)/bin/python -m pytest -W default --numprocesses auto --maxprocesses 4 --dist loadfile

soak: $(DEV)/installed ## Drive two replicas behind the edge for ten minutes, with restarts (SOAK='--minutes 60 --pair')
	$(DEV)/bin/python -m tests.soak $(SOAK)

quality: $(DEV)/installed ## Measure every shipped model on all its test images; fails if a card says another RMSE
	for model in models/*/; do $(DEV)/bin/python -m training evaluate --model $$model || exit 1; done

check: $(DEV)/installed ## Format, lint, types and import borders, without changing anything
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/ruff check .
	$(DEV)/bin/mypy
	$(DEV)/bin/lint-imports

bench: $(DEV)/installed ## Measure the service: requests, batches, starts, memory, workers
	$(DEV)/bin/python -m benchmarks.service

format: $(DEV)/installed ## Format the code and mend what the linter can
	$(DEV)/bin/ruff check --fix .
	$(DEV)/bin/ruff format .

docs: $(DEV)/installed ## Build the documentation as a site in build/site; a broken link fails
	$(DEV)/bin/python -m mkdocs build --strict --quiet

data: $(DEV)/installed ## Download MNIST and verify it
	$(DEV)/bin/python -m training data

train: $(DEV)/installed ## Train RECIPE
	$(DEV)/bin/python -m training train --recipe $(RECIPE)

# The builder takes the time of images and layers from SOURCE_DATE_EPOCH.
image: ## Build the four container images with docker (BASE_IMAGE=python:3.11-slim-bookworm@sha256:… for that very one)
	for target in service sender receiver edge; do \
		SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) docker build $(if $(BASE_IMAGE),--build-arg BASE_IMAGE=$(BASE_IMAGE)) \
			--target $$target --tag latentwire-$$target . || exit 1; \
	done

sbom: ## Copy the images' bills of materials (CycloneDX) into build/sbom
	mkdir -p build/sbom
	for target in service sender receiver edge; do \
		docker run --rm --entrypoint cat latentwire-$$target /usr/share/sbom/latentwire-$$target.cdx.json \
			> build/sbom/latentwire-$$target.cdx.json || exit 1; \
	done

image-check: ## Build the images, look into them, and pass a digit from sender to receiver
	.ci/image-check

lock: ## Write constraints.txt anew from the newest versions
	.ci/lock

lock-images: ## Write what the images install anew, at the versions of constraints.txt
	.ci/lock-images

audit: ## Look up known vulnerabilities of the pinned versions; asks a service of the package index
	$(PYTHON) -m venv build/audit
	build/audit/bin/pip install --quiet --disable-pip-version-check pip-audit
	build/audit/bin/pip-audit --strict --disable-pip --no-deps --requirement constraints.txt
	build/audit/bin/pip-audit --strict --disable-pip --require-hashes --requirement deploy/build-requirements.txt

clean: ## Remove the environments and caches
	rm -rf $(DEV) $(SERVE) $(LOWEST) build *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

$(SERVE)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(SERVE)
	$(SERVE)/$(INSTALL) --editable '.[service]'
	touch $@

$(DEV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEV)
	$(DEV)/$(INSTALL) --editable '.[dev]'
	touch $@

$(LOWEST)/installed: pyproject.toml
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/pip install --quiet --disable-pip-version-check uv
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct --editable '.[dev]'
	touch $@
