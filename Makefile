# Everything a user or a contributor needs: make demo, make test, make check.
PYTHON ?= python3
LIGHT := .venv-light
VENV := .venv
BIN := $(VENV)/bin
PARALLEL := -n auto --maxprocesses 4 --dist worksteal
# Folders and files of tests that start no process and no long run.
QUICK := $(addprefix tests/,test_architecture.py test_progress.py test_project.py read kernels english html run stages/test_examples.py \
	stages/test_rules.py clean/test_recipe.py negation/test_prompt.py negation/test_rules.py negation/test_verify.py \
	publish/test_licenses.py publish/test_scan.py publish/test_split.py train/test_losses.py train/test_masking.py)
INSTALL := -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test quick check check-full format clean help

help:            ## list the targets
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/: .*##/\t/'

demo: $(LIGHT)/ready  ## light install, then clean the sample that ships with the project
	@echo "Cleaning the demo sample (4,592 rows) with the recipe 'pairs'."
	@echo "The first run compiles text kernels: up to a minute; later runs take a few seconds."
	$(LIGHT)/bin/jina-data clean tests/data/demo/questions.jsonl.gz tests/data/demo/commands.csv tests/data/demo/pages.csv.gz -o demo-run -p pairs --overwrite
	@echo
	@echo "Open demo-run/report.html in a browser, or see dropped rows: $(LIGHT)/bin/jina-data inspect demo-run"

test: $(VENV)/ready   ## full install, then all tests, on all cores
	$(BIN)/python -m pytest $(PARALLEL)

quick: $(VENV)/ready  ## lint and the fast tests, in under a minute
	$(BIN)/ruff check .
	$(BIN)/python -m pytest -q $(PARALLEL) $(QUICK)

check: $(VENV)/ready  ## format, lint, types, tests with docs and notebooks: what CI runs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest $(PARALLEL)

check-full: $(VENV)/ready  ## the long suites on real data too (their folder in JINA_DATA_CORPORA)
	JINA_DATA_FULL=1 $(BIN)/python -m pytest --timeout 7200

format: $(VENV)/ready ## format the code, fix what lint can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(LIGHT)/ready: pyproject.toml constraints.txt
	@echo "Installing jina-data without extras into $(LIGHT): about 700 MB, one to three minutes."
	$(PYTHON) -m venv $(LIGHT)
	$(LIGHT)/bin/python $(INSTALL) .
	@touch $@

$(VENV)/ready: pyproject.toml constraints.txt
	@echo "Installing jina-data with all extras into $(VENV): about 3 GB with the CPU build of torch, a few minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(INSTALL) -e '.[all,dev]'
	@touch $@

clean:           ## remove the environments and the demo run
	rm -rf $(LIGHT) $(VENV) demo-run
