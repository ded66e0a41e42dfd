# `make demo` and `make test` do all the set-up, with the versions of constraints.txt. CPU only: set PIP_INDEX_URL or
# PIP_EXTRA_INDEX_URL for a CPU build of torch if you do not want the CUDA packages.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
EXTRAS := tools,simulate,publish,jets,cluster,mcp,dev
NOTEBOOKS := $(wildcard notebooks/*.ipynb)

.PHONY: venv demo test test-slow check docs notebooks lock clean

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --constraint constraints.txt -e '.[$(EXTRAS)]'
	touch $(STAMP)

demo: venv
	$(BIN)/beamcrew run --backend analyst --yes \
	  "Is there a new resonance in these dijet events? Give its mass, the number of signal events and a p-value."

PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

test: venv
	$(PYTEST)

test-slow: venv
	$(PYTEST) -m slow

check: venv
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

# The pages of docs/ with the API reference: site/index.html.
docs: venv
	$(INSTALL) --constraint constraints.txt -e '.[docs]'
	$(BIN)/mkdocs build --quiet --strict

# Carry out every notebook from top to bottom; what it prints is not kept.
notebooks: venv
	$(INSTALL) --constraint constraints.txt -e '.[notebooks]'
	for notebook in $(NOTEBOOKS); do $(BIN)/jupyter-execute --timeout=900 $$notebook || exit 1; done

# Take the newest versions that pyproject.toml allows, and pin them.
lock: venv
	mkdir -p build
	$(INSTALL) --dry-run --ignore-installed --report build/lock.json -e '.[$(EXTRAS),local,docs,notebooks]'
	$(BIN)/python .ci/lock.py build/lock.json > constraints.txt

clean:
	rm -rf $(VENV) build site *.egg-info
