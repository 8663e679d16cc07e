# Two commands matter: `make demo` and `make test`. Each level of set-up has one stamp file.
PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt
# Two threads buy nothing on small networks, and tests run side by side.
ONE_THREAD := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE

.PHONY: demo test test-all lint docs bench clean

demo: $(VENV)/core.stamp
	$(ONE_THREAD) $(VENV)/bin/ncollapse demo

test: $(VENV)/dev.stamp
	$(ONE_THREAD) $(VENV)/bin/python -m pytest -n 2 -m "not slow"

test-all: $(VENV)/dev.stamp
	$(ONE_THREAD) $(VENV)/bin/python -m pytest -n 2

lint: $(VENV)/dev.stamp
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

docs: $(VENV)/dev.stamp
	$(ONE_THREAD) $(VENV)/bin/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

bench: $(VENV)/dev.stamp
	$(VENV)/bin/python benchmarks/run.py

$(VENV)/core.stamp: pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	touch $@

$(VENV)/dev.stamp: $(VENV)/core.stamp
	$(PIP) -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) docs/_build .pytest_cache .mypy_cache .ruff_cache
