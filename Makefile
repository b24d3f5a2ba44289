# Everything from a bare checkout: Python 3.11 or newer and the package index are enough.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
CHECKOV := .checkov
# Most tests wait for a server: two processes take little more than half the time of one. A file's
# tests stay together, because they share its server; more processes want memory, 1.5 GiB each.
PARALLEL := --numprocesses auto --maxprocesses 4 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help serve test test-nightly test-offline lint screenshots format startup bench reliability \
  checkov loadtest clean

help: ## Show what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 16

serve: $(VENV)/runtime.stamp ## Start the server on port 8000 (PORT=, HOST=, SENTIMENT_*)
	$(RUN) -m sentiment serve --host $(or $(HOST),127.0.0.1) --port $(or $(PORT),8000)

test: $(VENV)/dev.stamp ## Run every test (ARGS= goes to pytest)
	$(RUN) -m pytest $(PARALLEL) -m "not nightly and not undisturbed" \
	  --cov --cov-report= --cov-fail-under=0 $(ARGS) || [ $$? = 5 ] # 5: ARGS leave none
	$(RUN) -m pytest -m "undisturbed and not nightly" --cov --cov-append --cov-report=term $(ARGS) \
	  || [ $$? = 5 ]

test-nightly: $(VENV)/dev.stamp ## Run the tests that take minutes (ARGS= goes to pytest)
	$(RUN) -m pytest -m nightly --timeout 3600 $(ARGS)

test-offline: $(VENV)/dev.stamp ## Run every test without a network, and fail if one wants it
	$(RUN) tests/offline.py $(ARGS)

lint: $(VENV)/dev.stamp ## Check style and types
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

screenshots: $(VENV)/dev.stamp ## Take the pictures of the playground anew (needs Chromium)
	SCREENSHOTS=docs/images $(RUN) -m pytest tests/e2e/test_playground.py -k pictures

format: $(VENV)/dev.stamp ## Put the code into the house style
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

startup: $(VENV)/runtime.stamp ## Measure how long the server takes until it is ready
	$(RUN) benchmarks/startup.py

bench: $(VENV)/dev.stamp ## Measure how fast it is, half an hour (ARGS=engine, server, scaling, --quick)
	$(RUN) -m benchmarks $(ARGS)

reliability: $(VENV)/dev.stamp ## Measure what is promised under overload and faults (ARGS=part ...)
	$(RUN) -m benchmarks.reliability $(ARGS)

checkov: $(CHECKOV)/stamp $(VENV)/dev.stamp ## Look for what is unsafe in the manifests (its own environment)
	rm -rf $(CHECKOV)/manifests
	$(RUN) -m tests.manifests $(CHECKOV)/manifests
	$(CHECKOV)/bin/checkov --config-file deploy/checkov.yaml --directory $(CHECKOV)/manifests

loadtest: $(VENV)/dev.stamp ## Load a server with Locust (SHAPE=, HOST=, MODEL=, ARGS=)
	$(RUN) -m loadtests --shape $(or $(SHAPE),staircase) $(if $(HOST),--host $(HOST)) \
	  --model $(or $(MODEL),compact) $(ARGS)

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) $(CHECKOV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage

# A changed requirements.txt builds the environment anew; a changed file of the others adds to it.
$(VENV)/runtime.stamp: requirements.txt
	@$(PYTHON) -c 'import sys; sys.version_info < (3, 11) and \
	  sys.exit("error: Python 3.11 or newer is needed, as in: make PYTHON=python3.12")'
	$(PYTHON) -m venv --clear $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/dev.stamp: $(VENV)/runtime.stamp requirements-bulk.txt requirements-train.txt \
  requirements-otel.txt requirements-ray.txt requirements-dev.txt
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

$(CHECKOV)/stamp: requirements-checkov.txt
	$(PYTHON) -m venv --clear $(CHECKOV)
	$(CHECKOV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-checkov.txt
	touch $@
