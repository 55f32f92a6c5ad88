# Everything runs out of .venv, which the first target makes from requirements.lock. Nothing is installed elsewhere.
PYTHON ?= python3
CONFIG ?= configs/demo.yaml
PORT ?= 5000
BIN := .venv/bin
READY := .venv/.ready
BESIDE := -n 2 --dist loadfile --no-loadscope-reorder
WORKSPACE := $(or $(PRIVADV_WORKSPACE),$(CURDIR)/.privadv)

.DEFAULT_GOAL := help

include k8s/targets.mk

.PHONY: help setup run smoke test test-full test-tensorflow test-store test-ui lint bench mlflow compile submit-pipeline lock clean clean-runs

help:  ## Show this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1	/p' $(MAKEFILE_LIST) | while IFS='	' read -r name text; do \
		printf '  make %-16s %s\n' "$$name" "$$text"; done

setup: $(READY)  ## .venv alone, which run, test and all the others make by themselves too

run: $(READY)  ## The whole pipeline on this machine; CONFIG=configs/demo.yaml ARGS="--seeds 0,1,2 --set attack.x=y"
	@$(BIN)/python pipeline.py run --config $(CONFIG) $(ARGS)

smoke: $(READY)  ## The whole pipeline at its smallest: does everything work here?
	@$(BIN)/python pipeline.py run --config configs/smoke.yaml $(ARGS)

test: $(READY)  ## The tests
	@$(BIN)/python -m pytest -q $(BESIDE) $(ARGS)

test-full: $(READY)  ## The tests and the long checks
	@$(BIN)/python -m pytest $(BESIDE) -m "not k8s and not ui and not containers" $(ARGS)

test-ui: $(READY)  ## MLflow's pages after two small runs, in a real browser (chromium on PATH)
	@$(BIN)/python -m pytest -m ui $(ARGS)

test-tensorflow: $(READY)  ## Old checkpoints and layers beside TensorFlow itself, in an environment of its own
	@test -e build/tensorflow/.ready || { $(PYTHON) -m venv build/tensorflow && \
		build/tensorflow/bin/python -m pip install -q tensorflow-cpu && touch build/tensorflow/.ready; }
	@PRIVADV_TENSORFLOW_PYTHON="$(CURDIR)/build/tensorflow/bin/python" TF_CPP_MIN_LOG_LEVEL=3 \
		$(BIN)/python -m pytest -m full -rA -k tensorflow_itself tests/test_tf_checkpoint.py $(ARGS)

test-store: $(READY)  ## What an S3 server must survive; ENDPOINT=http://host:port and AWS_* in the environment
	@PRIVADV_TEST_S3_ENDPOINT=$(ENDPOINT) $(BIN)/python -m pytest -m "" -rP tests/test_store.py tests/test_store_faults.py \
		tests/test_checkpoints.py tests/test_garbage.py $(if $(ENDPOINT),,tests/test_server_faults.py) $(ARGS)

lint: $(READY)  ## Style, types and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports --no-cache

bench: $(READY)  ## What it costs beside what else one would use, into docs/benchmarks.md; ARGS="--only training --repetitions 3"
	@$(BIN)/python -m benchmarks $(ARGS)

mlflow: $(READY)  ## MLflow's pages over the runs of this machine; PORT=5000
	@PRIVADV_WORKSPACE="$(WORKSPACE)" MLFLOW_TRACKING_URI= $(BIN)/python -m privadv.tracking http://127.0.0.1:$(PORT)
	@MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_DISABLE_TELEMETRY=true $(BIN)/mlflow server \
		--host 127.0.0.1 --port $(PORT) --workers 1 --backend-store-uri "sqlite:///$(WORKSPACE)/mlflow.db" \
		--artifacts-destination "$(WORKSPACE)/mlflow-artifacts"

compile: $(READY)  ## The pipeline as YAML for Kubeflow; OUTPUT=build/pipeline.yaml
	@mkdir -p $(dir $(or $(OUTPUT),build/pipeline.yaml))
	@$(BIN)/python pipeline.py compile --config $(CONFIG) --output $(or $(OUTPUT),build/pipeline.yaml) $(ARGS)

submit-pipeline: $(READY)  ## A run on Kubeflow Pipelines; HOST=https://...
	@test -n "$(HOST)" || { echo "name the server: make submit-pipeline HOST=https://..."; exit 1; }
	@$(BIN)/python pipeline.py submit --config $(CONFIG) --host $(HOST) $(ARGS)

lock: $(READY)  ## Renew requirements.lock from pyproject.toml
	@$(BIN)/python -m pip install -q uv
	@$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --no-header \
		--no-annotate --no-emit-index-url --no-emit-find-links -o requirements.lock

clean:  ## Remove caches and builds
	@rm -rf build .pytest_cache .ruff_cache
	@find . -path ./.venv -prune -o -name __pycache__ -prune -exec rm -rf {} +

clean-runs: $(READY)  ## Remove every run in .privadv, or PRIVADV_WORKSPACE: data, models, reports, MLflow's records
	@$(BIN)/python -m privadv.workspace "$(WORKSPACE)"

$(READY): requirements.lock pyproject.toml
	@$(BIN)/python -c '' 2>/dev/null || { \
		$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
			|| { echo "Python 3.11 to 3.13 is needed: make PYTHON=python3.11"; exit 1; }; \
		$(PYTHON) -m venv --clear .venv; }
	@echo "installing requirements.lock into .venv (once)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.lock || { \
		echo "set-up stopped at pip's error above. It takes about 7 GB here, and TMPDIR holds the downloads meanwhile; free is:"; \
		df -h . "$${TMPDIR:-/tmp}"; exit 1; }
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
