# Two commands matter: `make demo` and `make test`. Each level of set-up has one stamp file.
PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt
# Two threads buy nothing on small networks, and tests run side by side.
ONE_THREAD := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE

.PHONY: demo test test-all lint docs bench dist clean

demo: $(VENV)/core.stamp
	$(ONE_THREAD) $(VENV)/bin/ncollapse demo

test: $(VENV)/dev.stamp
	$(ONE_THREAD) $(VENV)/bin/python -m pytest -n 2 -m "not slow"

test-all: $(VENV)/dev.stamp
	CHECK_EVERYTHING=1 $(ONE_THREAD) $(VENV)/bin/python -m pytest -n 2

lint: $(VENV)/dev.stamp
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

docs: $(VENV)/dev.stamp
	$(VENV)/bin/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

bench: $(VENV)/dev.stamp
	$(VENV)/bin/python benchmarks/run.py

# The same bytes from the same commit: hatchling sorts what it packs and takes its times from here.
dist: export SOURCE_DATE_EPOCH = $(shell git log -1 --format=%ct)
dist: $(VENV)/release.stamp
	rm -rf dist
	$(VENV)/bin/python -m build --outdir dist
	$(VENV)/bin/python -m twine check --strict dist/*
	$(VENV)/bin/check-wheel-contents dist/*.whl
	$(VENV)/bin/python -c "import hashlib, pathlib; \
	[print(hashlib.sha256(p.read_bytes()).hexdigest(), p) for p in sorted(pathlib.Path('dist').iterdir())]"

$(VENV)/core.stamp: pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	touch $@

$(VENV)/dev.stamp: $(VENV)/core.stamp
	$(PIP) -e '.[dev]'
	touch $@

# Nothing of the package itself is needed to pack it.
$(VENV)/release.stamp: pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(PIP) "build>=1.2" "twine>=6.1" "check-wheel-contents>=0.6"
	touch $@

clean:
	rm -rf dist $(VENV) docs/_build .pytest_cache .mypy_cache .ruff_cache
