# The commands of the README. Needs Python 3.11 or later and make; everything else goes into .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
TASK ?= multistep_arithmetic
BIN := .venv/bin
IMPORTED := torch.optim, transformers.trainer, transformers.models.llama.modeling_llama, polars, pyarrow.parquet, \
            prefect.server.api.server, prefect.cli, jinja2, typer, rich.progress

.DEFAULT_GOAL := help
.PHONY: help setup run test check bench bench-gpu test-slow test-gpu test-browser clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 16

setup: .venv/.installed  ## build .venv from the lock

.venv/.installed: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed, and none was found."; exit 2; }
	@echo "Setting up .venv from requirements.lock (some minutes, once)"
	@test -x $(BIN)/python || "$(PYTHON)" -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile -r requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --editable .
	@# Byte-compile what a run imports and no more: all of torch and transformers would take a minute longer.
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -c "import $(IMPORTED)"
	@$(BIN)/python -m flows.database
	@touch $@

run: setup  ## one TriPosT run, TASK=multistep_arithmetic, word_sorting, date_understanding or logical_deduction
	@$(BIN)/tripost run deployments/$(TASK).yaml

test: check  ## tests, lint and types
	$(BIN)/pytest -n 2 --dist loadfile

check: setup  ## lint and types alone
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test-slow: setup  ## the tests that take minutes, or need packages that nothing else does
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c requirements.lock --editable ".[trackers,s3,slow]"
	$(BIN)/pytest -m slow
	$(BIN)/pytest tests/test_tracking.py tests/test_object_store.py tests/test_deployments.py

test-gpu: setup  ## the tests that need a CUDA device
	$(BIN)/pytest -m gpu

test-browser: setup  ## the report in headless Chromium, which is installed where that is possible
	@command -v chromium >/dev/null || { apt-get update -qq && apt-get install -y -qq chromium; } >/dev/null 2>&1 || true
	$(BIN)/pytest tests/test_report_browser.py

bench: setup  ## the benchmarks of docs/log.md, on an idle machine
	$(BIN)/python benchmarks/generation.py --num-prompts 500
	$(BIN)/python benchmarks/oracle.py
	$(BIN)/python benchmarks/expert_client.py
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.training_resume
	$(BIN)/python -m benchmarks.replay  # three to five minutes
	$(BIN)/python benchmarks/orchestration.py

bench-gpu: setup  ## one GPU: loss, training against TRL, generation, the whole run; under ten minutes
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c requirements.lock --editable ".[train,gpu]"
	$(BIN)/python -m benchmarks.gpu --out gpu.json

clean:  ## .venv and caches, not runs
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
