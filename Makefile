# Everything a user or a contributor needs: make demo, make test, make check.
PYTHON ?= python3
LIGHT := .venv-light
VENV := .venv
BIN := $(VENV)/bin
PARALLEL := -n auto --maxprocesses 4 --dist worksteal

.PHONY: demo test check check-full format clean help

help:            ## show what can be made
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/: .*##/\t/'

demo: $(LIGHT)/ready  ## light install, then clean the sample that ships with the project
	$(LIGHT)/bin/jina-data clean tests/data/demo/questions.jsonl.gz tests/data/demo/commands.csv -o demo-run -p pairs -s language.languages=en --overwrite
	@echo "Look at demo-run/report.html, or: $(LIGHT)/bin/jina-data inspect demo-run"

test: $(VENV)/ready   ## full install, then all tests, on all cores
	$(BIN)/python -m pytest $(PARALLEL)

check: $(VENV)/ready  ## format, lint, types, tests with docs and notebooks: what CI runs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest $(PARALLEL)

check-full: $(VENV)/ready  ## the long suites on real data too (their folder in JINA_DATA_CORPORA)
	JINA_DATA_FULL=1 $(BIN)/python -m pytest --timeout 7200

format: $(VENV)/ready ## format the code, mend what lint can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(LIGHT)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(LIGHT)
	$(LIGHT)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt .
	touch $@

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
	touch $@

clean:           ## remove the environments and what the demo wrote
	rm -rf $(LIGHT) $(VENV) demo-run
